//! What the user typed.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use resembled::proto;

/// Asks resembled: which photos resemble this one?
#[derive(Debug, Parser)]
#[command(name = "resemble", version)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) target: Target,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Which daemon to ask.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// Unix socket of the daemon [default: $XDG_RUNTIME_DIR/resembled/resembled.sock]
    #[arg(long, value_name = "PATH", env = "RESEMBLED_SOCKET", global = true)]
    pub(crate) socket: Option<PathBuf>,

    /// Ask over TCP instead of the socket
    #[arg(long, value_name = "ADDRESS:PORT", global = true, conflicts_with = "socket")]
    pub(crate) connect: Option<SocketAddr>,

    /// File with the bearer token for --connect [default: $XDG_DATA_HOME/resembled/token]
    #[arg(long, value_name = "FILE", global = true, requires = "connect")]
    pub(crate) token_file: Option<PathBuf>,
}

/// How to print.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Output {
    /// One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Finds the photos that resemble a picture, nearest first
    Search(SearchArgs),
    /// Lists the searchable files
    List(Output),
    /// Says how far the daemon is
    Status {
        /// Goes on until everything is indexed
        #[arg(long)]
        watch: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Lists the watched folders, adds or removes one
    Roots {
        #[command(subcommand)]
        command: Option<Roots>,
        #[command(flatten)]
        output: Output,
    },
    /// Lists the files that could not be indexed, and why
    Failures(Output),
    /// Compares the folders with the index again
    Rescan {
        /// Only this watched folder
        #[arg(value_name = "DIR")]
        folder: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct SearchArgs {
    /// A picture, indexed or not; - reads it from the standard input
    #[arg(value_name = "FILE")]
    pub(crate) file: PathBuf,

    /// How many matches at the most
    #[arg(short, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) k: u32,

    /// Metric of the distances [default: the network's own]
    #[arg(long, value_enum)]
    pub(crate) metric: Option<Metric>,

    /// Leaves out what is farther away
    #[arg(long, value_name = "D")]
    pub(crate) max_distance: Option<f32>,

    /// Shows the photos in one HTML file instead of listing them
    #[arg(long, value_name = "FILE", conflicts_with = "json")]
    pub(crate) html: Option<PathBuf>,

    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Metric {
    /// Euclidean distance of the embeddings
    L2,
    /// 1 - cosine of their angle
    Cosine,
}

impl From<Metric> for proto::Metric {
    fn from(metric: Metric) -> Self {
        match metric {
            Metric::L2 => Self::L2,
            Metric::Cosine => Self::Cosine,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Roots {
    /// Watches one more folder
    Add {
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// Stops watching a folder, and forgets its files; nothing on the disk is touched
    Remove {
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
}
