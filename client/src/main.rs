//! `resemble`: asks the daemon, and prints its answer for people or, with `--json`, for scripts.
//!
//! Exit codes: 0 something was found or done, 1 nothing was found, 2 an error; `--help` says more.

mod asked;
mod backup;
mod check;
mod cli;
mod compare;
mod connect;
mod doctor;
mod duplicates;
mod events;
mod export;
mod filter;
mod follow;
mod library;
mod list;
mod manual;
mod mcp;
mod naming;
mod output;
mod part;
mod rest;
mod search;
mod service;
mod sheet;
mod status;
mod trash;
mod watch;
mod window;
mod words;

use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};
use crate::output::CannotPrint;

/// Whether there is an answer. Becomes the exit code.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Answer {
    /// At least one line.
    Found,
    /// No line, and no error either.
    Nothing,
    /// Some of it could not be done, as was said.
    Incomplete,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => return failed(&anyhow::Error::from(error).context("cannot start")),
    };
    match runtime.block_on(run(cli)) {
        Ok(Answer::Found) => ExitCode::SUCCESS,
        Ok(Answer::Nothing) => ExitCode::from(1),
        Ok(Answer::Incomplete) => ExitCode::from(2),
        Err(error) if error.downcast_ref().is_some_and(CannotPrint::is_closed_pipe) => ExitCode::SUCCESS,
        Err(error) => failed(&error),
    }
}

fn failed(error: &anyhow::Error) -> ExitCode {
    eprintln!("resemble: {error:#}");
    ExitCode::from(2)
}

async fn run(cli: Cli) -> anyhow::Result<Answer> {
    match &cli.command {
        Command::Completions { shell } => return manual::completions(*shell),
        Command::Man { folder } => return manual::pages(folder),
        // It has something to say of a daemon that does not answer.
        Command::Doctor(args) => return doctor::doctor(&cli.target, args.json).await,
        // It asks a daemon for each call, and has something to say of one that is away.
        Command::Mcp => return mcp::mcp(&cli.target).await,
        // It says the address only where somebody answers, and then needs to know where that is.
        Command::Window(args) => return window::window(&cli.target, args).await,
        // They look for the daemon again and again.
        Command::Events(args) => return events::events(&cli.target, args).await,
        Command::Watch(args) => return watch::watch(&cli.target, args).await,
        // Its paths are those of another machine.
        Command::Duplicates(args) if args.trash && cli.target.connect.is_some() => {
            anyhow::bail!("--trash moves files of this machine: ask the daemon here, without --connect");
        }
        _ => {}
    }
    let channel = connect::connect(&cli.target).await?;
    match cli.command {
        Command::Search(args) => search::search(channel, &args).await,
        Command::Similar(args) => search::similar(channel, &args).await,
        Command::Words { prefix, output } => words::words(channel, prefix, output.json).await,
        Command::Describe { file, output } => words::describe(channel, &file, output.json).await,
        Command::Compare { first, second, output } => {
            compare::compare(channel, &first, &second, output.json).await
        }
        Command::Check(args) => check::check(channel, &args).await,
        Command::Duplicates(args) => duplicates::duplicates(channel, &args).await,
        Command::List(args) => list::list(channel, &args).await,
        Command::Failures { ignored, output } => library::failures(channel, ignored, output.json).await,
        Command::Roots { command, output } => library::roots(channel, command, output.json).await,
        Command::Rescan { folder } => library::rescan(channel, folder.as_deref()).await,
        Command::Backup { file, force, output } => backup::backup(channel, &file, force, output.json).await,
        Command::Export(args) => export::export(channel, &args).await,
        Command::Pause { length, keep } => status::pause(channel, length, keep).await,
        Command::Resume => status::resume(channel).await,
        Command::Completions { .. }
        | Command::Man { .. }
        | Command::Doctor(_)
        | Command::Mcp
        | Command::Events(_)
        | Command::Watch(_)
        | Command::Window(_) => Ok(Answer::Nothing),
        Command::Status { watch, output } => status::status(channel, watch, output.json).await,
    }
}
