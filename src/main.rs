//! `resembled`: argv to configuration to daemon to exit code. The only file that exits.

use std::process::ExitCode;

use anyhow::Context;
use clap::Parser;
use resembled::cli::{Cli, Command};
use resembled::config::Config;
use resembled::{daemon, log};

mod commands;

fn main() -> ExitCode {
    match run(Cli::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("resembled: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let Cli { command, run, config: file } = cli;
    let load = move || Config::load(&run, file.as_deref(), &|name| std::env::var_os(name));
    let config = load()?;
    match command {
        Some(Command::CheckConfig) => commands::check_config(&config),
        Some(Command::Models(models)) => commands::models(&config, &models),
        None => {
            log::start(&config.log)?;
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .context("cannot start the threads that serve")?;
            runtime.block_on(daemon::run(config, Box::new(load)))?;
            Ok(ExitCode::SUCCESS)
        }
    }
}
