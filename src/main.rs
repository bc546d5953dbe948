//! `resembled`: argv to configuration to daemon to exit code. The only file that exits.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Parser;
use resembled::cli::{Cli, Command};
use resembled::config::Config;
use resembled::daemon::DaemonError;
use resembled::{daemon, log};

mod commands;
mod decode_report;

/// Ends with this where the disk under the index has failed for good (`EX_IOERR` of `sysexits.h`): systemd does not start
/// the daemon again for it.
const DISK_FAILED: u8 = 74;

/// How long threads may take that were left behind.
const GRACE: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("resembled: {error:#}");
            let is_for_good = error.downcast_ref::<DaemonError>().is_some_and(DaemonError::is_for_good);
            if is_for_good { ExitCode::from(DISK_FAILED) } else { ExitCode::FAILURE }
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let Cli { command, run, config: file } = cli;
    let load = move || Config::load(&run, file.as_deref(), &|name| std::env::var_os(name));
    match command {
        Some(Command::DecodeWorker) => {
            resembled::decode::serve_worker().context("the daemon is gone")?;
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::CheckConfig) => commands::check_config(&load()?),
        Some(Command::Models(models)) => commands::models(&load()?, &models),
        Some(Command::DecodeReport(report)) => decode_report::run(load()?.decode.limits(), &report),
        None => {
            let config = load()?;
            log::start(&config.log)?;
            daemon::give_back_what_is_freed();
            daemon::raise_descriptor_limit();
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .context("cannot start the threads that serve")?;
            let ended = runtime.block_on(daemon::run(config, Box::new(load)));
            // What still blocks then is a message that nobody reads.
            runtime.shutdown_timeout(GRACE);
            ended?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
