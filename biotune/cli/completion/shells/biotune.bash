# Completion of biotune for bash; load it by: eval "$(biotune completion bash)"
_biotune() {
    local program="${1/#\~\//$HOME/}" mode candidate
    type -P "$program" >/dev/null 2>&1 || program=biotune
    COMPREPLY=()
    {
        IFS= read -r mode
        while IFS= read -r candidate; do COMPREPLY+=("$candidate"); done
    } < <("$program" __complete bash "${COMP_LINE:0:COMP_POINT}" "$COMP_WORDBREAKS" 2>/dev/null)
    # bash before 4 has no compopt
    case $mode in
        nospace) compopt -o nospace 2>/dev/null ;;
        files) compopt -o default 2>/dev/null || COMPREPLY=($(compgen -f -- "$2")) ;;
        folders) compopt -o filenames -o dirnames 2>/dev/null || COMPREPLY=($(compgen -d -- "$2")) ;;
    esac
    return 0
}
complete -F _biotune biotune
