
# Words that the daemon knows, and files: `resemble search gold<Tab>`. Nothing of what the daemon says is evaluated.
_resemble_and_words() {
    _resemble "$@"
    local cur=${COMP_WORDS[COMP_CWORD]} word
    [[ $cur == [[:alpha:]]* && " ${COMP_WORDS[*]:1:COMP_CWORD-1} " == *" "@(search|words)" "* ]] || return 0
    while IFS= read -r word; do
        COMPREPLY+=("$(printf %q "$word")")
    done < <("${COMP_WORDS[0]}" --timeout 2 words -- "$cur" 2>/dev/null)
    [[ " ${COMP_WORDS[*]:1:COMP_CWORD-1} " == *" search "* ]] || return 0
    while IFS= read -r word; do
        if [[ -d $word ]]; then
            word+=/
            compopt -o nospace 2>/dev/null
        fi
        COMPREPLY+=("$(printf %q "$word")")
    done < <(compgen -f -- "$cur")
}
complete -F _resemble_and_words -o bashdefault -o default resemble
