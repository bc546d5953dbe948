//! What the user typed. Nothing in here has an effect.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

/// What systemd and scripts go by.
const EXIT_CODES: &str = "Exit codes: 0 done, or stopped when asked to; 1 failed; 2 the command line is wrong; \
                          74 the disk of the index fails; 78 the configuration is not valid";

/// Watches photo folders and answers: which photos resemble this one?
#[derive(Debug, Parser)]
#[command(name = "resembled", version, args_conflicts_with_subcommands = true, after_help = EXIT_CODES)]
pub struct Cli {
    /// What to do; without it, the daemon runs.
    #[command(subcommand)]
    pub command: Option<Command>,

    /// How to run.
    #[command(flatten)]
    pub run: Run,

    /// Configuration file [default: $XDG_CONFIG_HOME/resembled/config.toml, if it is there]
    #[arg(long, value_name = "FILE", env = "RESEMBLED_CONFIG", global = true)]
    pub config: Option<PathBuf>,
}

/// Flags of the daemon.
#[derive(Debug, Default, Args)]
pub struct Run {
    /// Folders to watch, besides those in the configuration
    #[arg(value_name = "DIR")]
    pub roots: Vec<PathBuf>,

    /// Network: a name of `resembled models list`, or an ONNX file
    #[arg(long, value_name = "NAME|PATH", env = "RESEMBLED_MODEL")]
    pub model: Option<String>,

    /// Unix socket to answer on [default: $XDG_RUNTIME_DIR/resembled/resembled.sock]
    #[arg(long, value_name = "PATH", env = "RESEMBLED_SOCKET")]
    pub socket: Option<PathBuf>,

    /// Answer on TCP too; callers then need the token that the daemon writes to its data directory
    #[arg(long, value_name = "ADDRESS:PORT")]
    pub listen: Option<SocketAddr>,

    /// Log filter: error, warn, info, debug, trace, or one a module (`resembled::watch=debug`)
    #[arg(long, value_name = "FILTER", env = "RESEMBLED_LOG")]
    pub log: Option<String>,

    /// Up to how many photos full embeddings stay in memory; from then on sketches do. For tests, which have few photos
    #[arg(long, value_name = "PHOTOS", env = "RESEMBLED_MAX_FULL_VECTORS", hide = true)]
    pub max_full_vectors: Option<usize>,
}

/// Commands that are not the daemon.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Networks: which there are, fetching one, checking files
    #[command(subcommand)]
    Models(Models),
    /// ONNX Runtime, in which networks run in half the time
    #[command(subcommand)]
    Runtime(Runtime),
    /// Prints what the shell needs to complete our commands
    Completions {
        /// The shell
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Writes the manual pages, resembled.1 and one a command, into a folder
    Man {
        /// The folder
        #[arg(value_name = "DIR")]
        folder: PathBuf,
    },
    /// Decodes a photo sent by the daemon; not for people
    #[command(hide = true)]
    DecodeWorker,
    /// Decodes every photo in some folders, as the daemon would, and says what became of each; stores nothing
    DecodeReport(DecodeReport),
    /// Checks every byte of the store; a damaged one is moved aside, and what can be read of it is kept
    Repair,
    /// Makes the index of a backup that `resemble backup` has written, here or on another computer; the daemon must not run
    Restore {
        /// The backup
        #[arg(value_name = "FILE")]
        file: PathBuf,
        /// Takes the place of an index that is there, which is kept beside it
        #[arg(long)]
        force: bool,
    },
    /// Reads the configuration, says what is wrong with it, or what follows from it
    CheckConfig,
}

/// `resembled decode-report`
#[derive(Debug, Args)]
pub struct DecodeReport {
    /// Folders, or files
    #[arg(value_name = "DIR", required = true)]
    pub folders: Vec<PathBuf>,

    /// Also writes the decoded pictures, small and in the order of the table, into one PNG
    #[arg(long, value_name = "FILE.png")]
    pub contact_sheet: Option<PathBuf>,

    /// Compares with a table of what should become of each file (tab-separated: path, policy, ref_w, ref_h), and
    /// fails if something differs
    #[arg(long, value_name = "MANIFEST.tsv")]
    pub expect: Option<PathBuf>,

    /// Smallest acceptable short side of a decoded picture, in pixels
    #[arg(long, value_name = "PIXELS", default_value_t = 512)]
    pub need: u32,
}

/// `resembled models`
#[derive(Debug, Subcommand)]
pub enum Models {
    /// Lists the networks of the catalogue: how good each is, how long a photo takes here, where its files are
    List,
    /// Downloads a network into the data directory, and checks it
    Pull {
        /// Name of the network [default: the best that is quick enough here]
        name: Option<String>,
    },
    /// Checks the files that are there against their digests
    Verify,
}

/// `resembled runtime`
#[derive(Debug, Subcommand)]
pub enum Runtime {
    /// Downloads the library into the data directory, out of its wheel on the package index, and tries it
    Pull,
}
