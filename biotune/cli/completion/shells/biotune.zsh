# Completion of biotune for zsh; load it by: eval "$(biotune completion zsh)"
_biotune() {
    local program=${${(Q)words[1]}/#\~\//$HOME/}
    local -a answer candidates
    (( $+commands[$program] )) || [[ -x $program ]] || program=biotune
    answer=("${(@f)$("$program" __complete zsh "${(@Q)words[2,CURRENT-1]}" "${(Q)PREFIX}" 2>/dev/null)}")
    candidates=("${(@)answer[2,-1]}")
    case $answer[1] in
        files) compset -P '*='; _files ;;
        folders) compset -P '*='; _files -/ ;;
        nospace) _describe -t biotune biotune candidates -S '' ;;
        words) _describe -t biotune biotune candidates ;;
    esac
}
(( $+functions[compdef] )) || { autoload -Uz compinit && compinit -i }
compdef _biotune biotune
