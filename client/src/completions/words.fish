
# Words that the daemon knows, and files: `resemble search gold<Tab>`.
complete -c resemble -n "__fish_resemble_using_subcommand search; or __fish_resemble_using_subcommand words" -a "(resemble --timeout 2 words -- (commandline -ct) 2>/dev/null)"
