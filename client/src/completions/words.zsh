# Words that the daemon knows, and files: `resemble search gold<Tab>`. Nothing of what the daemon says is evaluated.
_resemble_words() {
    local -a known
    known=("${(@f)$(_call_program words resemble --timeout 2 words -- ${(q)PREFIX} 2>/dev/null)}")
    compadd -- ${known:#}
}
_resemble_words_and_files() {
    local found=1
    _resemble_words && found=0
    _files && found=0
    return found
}

