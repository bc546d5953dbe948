//! `resemble completions` and `man`: both are made of the same description as `--help`.

use std::fs;
use std::path::Path;

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;
use crate::{Answer, output};

pub(crate) fn completions(shell: Shell) -> anyhow::Result<Answer> {
    // Into memory first: the generator panics where its reader has gone.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "resemble", &mut script);
    let script = with_words(shell, String::from_utf8(script)?);
    output::print_all(script.as_bytes())?;
    Ok(Answer::Found)
}

/// Where the functions of zsh's script end, and what it does begins.
const ZSH_END: &str = "if [ \"$funcstack[1]\" = \"_resemble\" ]";

/// What zsh's script completes the words of `search` and `words` by, and what completes them by the daemon's words.
const ZSH_WORDS: [(&str, &str, &str); 2] = [
    ("'*::asked -- ", ":_files' ", ":_resemble_words_and_files' "),
    ("'::prefix -- ", ":_default' ", ":_resemble_words' "),
];

/// Has the script complete what the daemon knows too.
fn with_words(shell: Shell, mut script: String) -> String {
    match shell {
        Shell::Bash => script.push_str(include_str!("completions/words.bash")),
        Shell::Fish => script.push_str(include_str!("completions/words.fish")),
        Shell::Zsh => {
            for (argument, by, better) in ZSH_WORDS {
                if let Some(begin) = script.find(argument)
                    && let Some(end) = script[begin..].find(by)
                {
                    script.replace_range(begin + end..begin + end + by.len(), better);
                }
            }
            if let Some(end) = script.rfind(ZSH_END) {
                script.insert_str(end, include_str!("completions/words.zsh"));
            }
        }
        _ => {}
    }
    script
}

pub(crate) fn pages(folder: &Path) -> anyhow::Result<Answer> {
    let failed = || format!("cannot write the pages into {}", folder.display());
    fs::create_dir_all(folder).with_context(failed)?;
    clap_mangen::generate_to(Cli::command(), folder).with_context(failed)?;
    Ok(Answer::Found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn zsh_completes_the_words_of_what_takes_words() {
        let mut script = Vec::new();
        clap_complete::generate(Shell::Zsh, &mut Cli::command(), "resemble", &mut script);
        let script = with_words(Shell::Zsh, String::from_utf8(script).unwrap());
        let line = |argument: &str| script.lines().find(|line| line.starts_with(argument)).unwrap();
        assert!(line("'*::asked").ends_with(":_resemble_words_and_files' \\"), "{}", line("'*::asked"));
        assert!(line("'::prefix").ends_with(":_resemble_words' \\"), "{}", line("'::prefix"));
        let defined = script.find("\n_resemble_words() {").unwrap();
        assert!(defined < script.find(ZSH_END).unwrap(), "defined before it is called");
    }
}
