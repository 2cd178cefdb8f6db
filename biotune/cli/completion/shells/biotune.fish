# Completion of biotune for fish; load it by: biotune completion fish | source
function __biotune_complete
    set -l words (commandline -opc)
    set -l token (commandline -ct)
    set -l program (string replace -r '^~/' "$HOME/" -- $words[1])
    set -e words[1]
    type -q -- $program; or set program biotune
    set -l answer ($program __complete fish $words "$token" 2>/dev/null)
    set -l key (string match -r -- '^.*?=' "$token")
    set -l value (string replace -r -- '^.*?=' '' "$token")
    switch "$answer[1]"
        case files
            # an empty command has no completions of its own, so fish lists files
            for path in (complete -C "'' $value")
                printf '%s%s\n' "$key" $path
            end
        case folders
            for path in (complete -C "'' $value" | string match -r -- '.*/(?:\t.*)?$')
                printf '%s%s\n' "$key" $path
            end
        case '*'
            set -e answer[1]
            string join \n -- $answer
    end
end
complete -c biotune -e
complete -c biotune -f -a '(__biotune_complete)'
