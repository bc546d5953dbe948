//! `resembled completions` and `man`: both are made of the same description as `--help`.

use std::fs;
use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use clap::CommandFactory;
use clap_complete::Shell;
use resembled::cli::Cli;

pub(crate) fn completions(shell: Shell) -> anyhow::Result<ExitCode> {
    // Into memory first: the generator panics where its reader has gone.
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "resembled", &mut script);
    io::stdout().lock().write_all(&script)?;
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn pages(folder: &Path) -> anyhow::Result<ExitCode> {
    let failed = || format!("cannot write the pages into {}", folder.display());
    fs::create_dir_all(folder).with_context(failed)?;
    clap_mangen::generate_to(Cli::command(), folder).with_context(failed)?;
    Ok(ExitCode::SUCCESS)
}
