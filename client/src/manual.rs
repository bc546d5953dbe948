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
    script.extend(match shell {
        Shell::Bash => include_bytes!("completions/words.bash").as_slice(),
        Shell::Fish => include_bytes!("completions/words.fish"),
        _ => &[],
    });
    output::print_all(&script)?;
    Ok(Answer::Found)
}

pub(crate) fn pages(folder: &Path) -> anyhow::Result<Answer> {
    let failed = || format!("cannot write the pages into {}", folder.display());
    fs::create_dir_all(folder).with_context(failed)?;
    clap_mangen::generate_to(Cli::command(), folder).with_context(failed)?;
    Ok(Answer::Found)
}
