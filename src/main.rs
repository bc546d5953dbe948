//! `resembled`: argv to configuration to daemon to exit code. The only file that exits.

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use resembled::cli::{Cli, Command, Runtime};
use resembled::config::{Config, ConfigError};
use resembled::daemon::DaemonError;
use resembled::log::LogError;
use resembled::models::ModelError;
use resembled::watch::WatchError;
use resembled::{daemon, log};

use crate::stray::StrayWord;

mod commands;
mod decode_report;
mod manual;
mod stray;

/// What the command line asks for makes no sense; as clap has it.
const USAGE: u8 = 2;

/// The configuration is not valid, or names what is not there (`EX_CONFIG` of sysexits.h). The unit tells systemd not to
/// start us again.
const CONFIGURATION: u8 = 78;

/// Ends with this where the disk under the index has failed for good (`EX_IOERR` of `sysexits.h`): systemd does not start
/// the daemon again for it.
const DISK_FAILED: u8 = 74;

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("resembled: {error:#}");
            resembled::serve::turn_callers_away();
            exit_code(&error)
        }
    }
}

/// Says what kind of failure it is to systemd and to scripts; `--help` lists them.
fn exit_code(error: &anyhow::Error) -> ExitCode {
    let is_configuration = error.is::<ConfigError>()
        || error.is::<ModelError>()
        || error.is::<LogError>()
        || matches!(
            error.downcast_ref(),
            Some(DaemonError::Model(_) | DaemonError::Watch(WatchError::Rule(_)))
        );
    if error.is::<StrayWord>() {
        ExitCode::from(USAGE)
    } else if error.downcast_ref().is_some_and(DaemonError::is_for_good) {
        ExitCode::from(DISK_FAILED)
    } else if is_configuration {
        ExitCode::from(CONFIGURATION)
    } else {
        ExitCode::FAILURE
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let Cli { command, run, config: file } = cli;
    let words = run.roots.clone();
    let load = move || Config::load(&run, file.as_deref(), &|name| std::env::var_os(name));
    match command {
        Some(Command::DecodeWorker) => {
            resembled::decode::serve_worker().context("the daemon is gone")?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::CheckConfig) => commands::check_config(&load()?),
        Some(Command::Repair) => commands::repair(&load()?),
        Some(Command::Restore { file, force }) => commands::restore(&load()?, &file, force),
        Some(Command::Models(models)) => commands::networks(&load()?, &models),
        Some(Command::Runtime(Runtime::Pull)) => commands::pull_runtime(&load()?),
        Some(Command::Completions { shell }) => manual::completions(shell),
        Some(Command::Man { folder }) => manual::pages(&folder),
        Some(Command::DecodeReport(report)) => decode_report::run(load()?.decode.limits(), &report),
        None => {
            stray::check(&words)?;
            let config = load()?;
            log::start(&config.log)?;
            resembled::memory::keep_little();
            daemon::raise_descriptor_limit();
            let ended = daemon::run(config, Box::new(load));
            daemon::start_over_if_damaged(&ended);
            match ended? {
                daemon::Ended::Wholly => Ok(ExitCode::SUCCESS),
                // Without what usually happens at the end of a process, which the threads left behind may be using.
                daemon::Ended::LeftBehind => signal_hook::low_level::exit(0),
            }
        }
    }
}
