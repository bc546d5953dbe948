//! What the user typed.

use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use clap::{Args, Parser, Subcommand, ValueEnum, ValueHint};
use resembled_api::proto;

use crate::output;
use crate::rest::Keep;

/// What scripts go by.
const EXIT_CODES: &str = "Exit codes: 0 something was found or done, 1 nothing was found, 2 an error; \
                          `check` and `doctor` have their own meanings, see their --help";

const EXIT_CODES_OF_CHECK: &str = "\
Each file is one of:
  copy          another file of the index holds the same bytes, and is there now
  copy-offline  one did when its drive was last seen; it is away or does not answer now
  only          the index knows this very file (by whatever path), and no copy of it
  same          no copy, but a photo that looks the same as a whole: shown, and no more than that
  near          the same, of a photo that shows the same scene or thing: its three nearest are looked at side by side
  new           nothing like it
  other         named like a photo, but no picture that could be compared
  unreadable    it could not be read
  no-photo      a film, a sidecar, trash: not compared, only counted

A copy is another file on the disk: no link to the file, and nothing below the paths that were given.

Exit codes: 0 there is a copy of every photo, 1 there is not, 2 a file could not be read, or another error";

const EXIT_CODES_OF_COMPARE: &str =
    "Exit codes: 0 they have something in common, 1 they are different, 2 an error";

const EXIT_CODES_OF_DOCTOR: &str = "Exit codes: 0 all is well, 1 there is something to look at, 2 an error";

const READ_EXPORTS: &str = "\
Python reads it so; photos[i] and vectors[i] are of one photo:
  photos = [json.loads(line) for line in open('photos.ndjson')]
  vectors = numpy.array([photo['embedding'] for photo in photos], 'f4')
  vectors = numpy.load('photos.npy')    # the same, of --format npy";

/// Asks resembled: which photos resemble this one?
#[derive(Debug, Parser)]
#[command(name = "resemble", version, after_help = EXIT_CODES)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) target: Target,

    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Which daemon to ask.
#[derive(Clone, Debug, Args)]
pub(crate) struct Target {
    /// Unix socket of the daemon [default: $XDG_RUNTIME_DIR/resembled/resembled.sock]
    #[arg(long, value_name = "PATH", env = "RESEMBLED_SOCKET", global = true)]
    pub(crate) socket: Option<PathBuf>,

    /// Ask over TCP instead of the socket
    #[arg(long, value_name = "HOST:PORT", global = true, conflicts_with = "socket", value_parser = host_and_port)]
    pub(crate) connect: Option<String>,

    /// Waits so long for the daemon's first sign of life and for each answer; 0 waits for ever [default: 15 and 300]
    #[arg(long, value_name = "SECONDS", global = true)]
    pub(crate) timeout: Option<u64>,

    /// File with the bearer token for --connect [default: $XDG_DATA_HOME/resembled/token]
    #[arg(long, value_name = "FILE", global = true, requires = "connect")]
    pub(crate) token_file: Option<PathBuf>,
}

/// Reads `localhost:7420`, `192.168.1.2:7420` or `[::1]:7420`.
fn host_and_port(text: &str) -> Result<String, String> {
    let parts = text.rsplit_once(':').filter(|(host, port)| !host.is_empty() && port.parse::<u16>().is_ok());
    let is_bare_ipv6 = |host: &str| host.contains(':') && !host.starts_with('[');
    match parts {
        Some((host, _)) if !is_bare_ipv6(host) && !host.contains('/') => Ok(text.to_owned()),
        _ => Err("write HOST:PORT, as localhost:7420 or [::1]:7420".to_owned()),
    }
}

/// How to print.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Output {
    /// One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,
}

/// How to print what has paths.
#[derive(Clone, Copy, Debug, Args)]
pub(crate) struct Listing {
    /// One JSON object a line
    #[arg(long)]
    pub(crate) json: bool,

    /// Nothing but the paths, one a line, each byte as it is
    #[arg(long, conflicts_with = "json")]
    pub(crate) paths: bool,

    /// The same, each ended by a zero byte: for `xargs -0`
    #[arg(short = '0', long, conflicts_with_all = ["json", "paths"])]
    pub(crate) print0: bool,
}

impl Listing {
    /// Whether no person reads it.
    pub(crate) fn is_for_programs(self) -> bool {
        self.json || self.paths || self.print0
    }

    /// Prints a path, if that is what is asked for.
    pub(crate) fn print_path(self, path: &[u8]) -> anyhow::Result<bool> {
        let end = match (self.paths, self.print0) {
            (_, true) => b'\0',
            (true, false) => b'\n',
            (false, false) => return Ok(false),
        };
        output::print_all(&[path, &[end]].concat())?;
        Ok(true)
    }
}

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// How many photos in each year, or with each camera, instead of the photos themselves
    #[arg(long, value_enum, conflicts_with_all = ["by_date", "paths", "print0"])]
    pub(crate) by: Option<By>,

    /// The newest first
    #[arg(long)]
    pub(crate) by_date: bool,

    /// With --by-date: the oldest first
    #[arg(long, requires = "by_date")]
    pub(crate) reverse: bool,

    /// So many at the most
    #[arg(short = 'k', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) limit: Option<u32>,

    #[command(flatten)]
    pub(crate) filter: crate::filter::FilterArgs,

    #[command(flatten)]
    pub(crate) listing: Listing,
}

#[derive(Debug, Args)]
pub(crate) struct ExportArgs {
    /// A new file; - is the standard output
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,

    #[arg(long, value_enum, default_value = "ndjson")]
    pub(crate) format: ExportFormat,

    /// Replaces files that are there
    #[arg(long)]
    pub(crate) force: bool,

    #[command(flatten)]
    pub(crate) filter: crate::filter::FilterArgs,
}

/// How photos and embeddings are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ExportFormat {
    /// One JSON object a line: content, files, what the photo says of itself, embedding, network
    Ndjson,
    /// An array of NumPy, a row of 32-bit floats for each photo; beside it the same in NDJSON without embeddings
    Npy,
}

/// What photos have in common.
#[derive(Clone, Copy, Debug, serde::Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum By {
    Year,
    Month,
    Camera,
    Lens,
    Type,
    /// The folder itself, not those around it
    Folder,
}

impl From<By> for proto::Facet {
    fn from(by: By) -> Self {
        match by {
            By::Year => Self::Year,
            By::Month => Self::Month,
            By::Camera => Self::Camera,
            By::Lens => Self::Lens,
            By::Type => Self::MediaType,
            By::Folder => Self::Folder,
        }
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Shows the photos in the browser, to be looked at instead of read
    Window(WindowArgs),
    /// Finds the photos that show something, by a word for it, or that resemble a picture
    Search(SearchArgs),
    /// Finds the photos that resemble a photo of the index, nearest first; its drive may be away
    Similar(SimilarArgs),
    /// Lists the words that can be searched for
    Words {
        /// Only words that begin with it
        #[arg(value_name = "PREFIX", default_value = "", hide_default_value = true)]
        prefix: String,
        #[command(flatten)]
        output: Output,
    },
    /// Says what a picture shows
    Describe {
        /// A picture, indexed or not; - reads it from the standard input
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: PathBuf,
        #[command(flatten)]
        output: Output,
    },
    /// Says what two pictures are to each other: a copy, an edit, turned, mirrored, another shot, or different
    #[command(after_help = EXIT_CODES_OF_COMPARE)]
    Compare {
        /// A picture, indexed or not
        #[arg(value_name = "FILE")]
        first: PathBuf,
        /// Another one
        #[arg(value_name = "FILE")]
        second: PathBuf,
        #[command(flatten)]
        output: Output,
    },
    /// Says of which of these photos the index has a copy, byte for byte, or nearly the same picture
    #[command(after_help = EXIT_CODES_OF_CHECK)]
    Check(CheckArgs),
    /// Lists photos that are there more than once, a group at a time
    Duplicates(DuplicatesArgs),
    /// Lists the searchable files, or counts photos by year, camera, ...
    List(ListArgs),
    /// Tells what happens to the library, as it happens: photos that come, change, move and go, drives that come and go
    Events(crate::events::EventsArgs),
    /// Waits for new photos that resemble a picture, or show something, and runs a command with each
    Watch(crate::watch::WatchArgs),
    /// Says how far the daemon is
    Status {
        /// Goes on until everything is indexed
        #[arg(long)]
        watch: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Writes the whole index into one file, while the daemon goes on; `resembled restore FILE` takes it, here or on another
    /// computer
    Backup {
        /// A new file
        #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
        file: PathBuf,
        /// Replaces a file that is there
        #[arg(long)]
        force: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Writes the photos and their embeddings for other programs to read
    #[command(after_help = READ_EXPORTS)]
    Export(ExportArgs),
    /// Lets new and changed photos wait until `resume`, or until the daemon is started anew
    Pause {
        /// For so long, also if the daemon is started anew: 90s, 30m, 2h
        #[arg(long = "for", value_name = "TIME", value_parser = parse_positive_duration)]
        length: Option<Duration>,
        /// Also if the daemon is started anew
        #[arg(long)]
        keep: bool,
    },
    /// Ends `pause`
    Resume,
    /// Lets an assistant ask, by the Model Context Protocol on the standard input and output
    Mcp,
    /// Looks for what could be better: the daemon, its service, configuration, network and runtime, folders, disk
    #[command(after_help = EXIT_CODES_OF_DOCTOR)]
    Doctor(Output),
    /// Prints what the shell needs to complete our commands
    Completions {
        #[arg(value_enum)]
        shell: clap_complete::Shell,
    },
    /// Writes the manual pages, resemble.1 and one a command, into a folder
    Man {
        #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
        folder: PathBuf,
    },
    /// Lists the watched folders, adds or removes one, or accepts what became of one
    Roots {
        #[command(subcommand)]
        command: Option<Roots>,
        #[command(flatten)]
        output: Output,
    },
    /// Lists the files that could not be indexed, and what else is left out, and why
    Failures {
        /// Also what ignore patterns leave out, and hidden folders
        #[arg(long)]
        ignored: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Compares the folders with the index again
    Rescan {
        /// Only this watched folder
        #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
        folder: Option<PathBuf>,
    },
}

#[derive(Debug, Args)]
pub(crate) struct WindowArgs {
    /// Opens no browser, only prints the address
    #[arg(long)]
    pub(crate) no_open: bool,

    /// Port of this machine [default: any that is free]
    #[arg(long, value_name = "PORT", default_value_t = 0, hide_default_value = true)]
    pub(crate) port: u16,

    /// Ends when it was not used for so long: 90s, 30m, 2h; 0 never
    #[arg(long, value_name = "TIME", default_value = "1h", value_parser = parse_duration)]
    pub(crate) unused: Duration,
}

/// Reads `90s`, `30m` or `2h`.
fn parse_positive_duration(text: &str) -> Result<Duration, String> {
    parse_duration(text)
        .ok()
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| "write 90s, 30m or 2h".to_owned())
}

/// Reads `90s`, `30m`, `2h` or `0`.
fn parse_duration(text: &str) -> Result<Duration, String> {
    let (number, seconds) = match text.chars().last() {
        Some('s') => (&text[..text.len() - 1], 1),
        Some('m') => (&text[..text.len() - 1], 60),
        Some('h') => (&text[..text.len() - 1], 3_600),
        _ if text == "0" => (text, 1),
        _ => ("", 1),
    };
    // So many hours are for ever, and can still be added to the time of day.
    let number = number.parse::<u32>().map_err(|_| "write 90s, 30m, 2h, or 0 for never".to_owned())?;
    Ok(Duration::from_secs(u64::from(number) * seconds))
}

#[derive(Debug, Args)]
pub(crate) struct SearchArgs {
    /// Words for what photos show (`resemble words` lists them): dog, "cat or dog", dog not dalmatian. Or a picture, indexed
    /// or not; - reads it from the standard input
    #[arg(value_name = "WORD|FILE", required = true)]
    pub(crate) asked: Vec<PathBuf>,

    /// They are words, even if there is a file of that name
    #[arg(long)]
    pub(crate) text: bool,

    /// One more example; 2:FILE counts twice. A word must be shown too
    #[arg(long, value_name = "[WEIGHT:]FILE|WORD")]
    pub(crate) like: Vec<Weighted>,

    /// An example of what is not meant; 0.5:FILE counts half. Pictures that are not meant count half of those that are, at the
    /// most. A word must not be shown
    #[arg(long, value_name = "[WEIGHT:]FILE|WORD")]
    pub(crate) unlike: Vec<Weighted>,

    /// Looks for the picture turned three other ways too, even if something near is found without
    #[arg(long, conflicts_with_all = ["text", "like", "unlike"])]
    pub(crate) turned: bool,

    /// Looks at the picture and its first three matches side by side, so that "near" is said of what shows the same, and says what
    /// it is: a copy, an edit, turned, mirrored, another shot
    #[arg(long, conflicts_with_all = ["text", "like", "unlike"])]
    pub(crate) verify: bool,

    #[command(flatten)]
    pub(crate) wanted: Wanted,
}

#[derive(Debug, Args)]
pub(crate) struct SimilarArgs {
    /// A file of the index
    #[arg(value_name = "FILE", value_hint = ValueHint::FilePath)]
    pub(crate) file: PathBuf,

    #[command(flatten)]
    pub(crate) wanted: Wanted,
}

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    /// Files, or folders for all the files in them
    #[arg(value_name = "PATH", required = true)]
    pub(crate) files: Vec<PathBuf>,

    /// Lists only the photos that there is no copy of, and what could not be read, without a word beside them
    #[arg(long)]
    pub(crate) missing: bool,

    /// Looks for copies only, not for nearly the same pictures: fast, since nothing is decoded
    #[arg(long)]
    pub(crate) copies: bool,

    /// Copies the photos that there is no copy of into this folder; nothing there is replaced
    #[arg(long, value_name = "DIR", value_hint = ValueHint::DirPath)]
    pub(crate) copy_missing_to: Option<PathBuf>,

    /// Takes a copy on a drive that is away for a copy: it was there when the drive was last seen
    #[arg(long)]
    pub(crate) trust_offline: bool,

    #[command(flatten)]
    pub(crate) output: Output,
}

/// What is wanted of a search.
#[derive(Debug, Args)]
pub(crate) struct Wanted {
    /// How many matches at the most [default: 20; with --max-distance all within it, of words all that show it]
    #[arg(short, long = "limit", value_name = "N", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    pub(crate) k: Option<u32>,

    /// Metric of the distances [default: the network's own]
    #[arg(long, value_enum)]
    pub(crate) metric: Option<Metric>,

    /// Leaves out what is farther away; 0 leaves copies
    #[arg(long, value_name = "D")]
    pub(crate) max_distance: Option<f32>,

    /// Shows the photos in one HTML file instead of listing them
    #[arg(long, value_name = "FILE", conflicts_with_all = ["json", "paths", "print0"])]
    pub(crate) html: Option<PathBuf>,

    /// With --html: opens it in the browser
    #[arg(long, requires = "html")]
    pub(crate) open: bool,

    /// The newest first, instead of the nearest
    #[arg(long)]
    pub(crate) by_date: bool,

    /// Compares with every photo's full embedding, however long that takes
    #[arg(long)]
    pub(crate) exact: bool,

    #[command(flatten)]
    pub(crate) filter: crate::filter::FilterArgs,

    #[command(flatten)]
    pub(crate) listing: Listing,
}

#[derive(Debug, Args)]
pub(crate) struct DuplicatesArgs {
    /// What counts as the same
    #[arg(value_enum, default_value = "near")]
    pub(crate) kind: DuplicateKind,

    /// Only photos that are at most so far apart; at the most the network's band "similar"
    #[arg(long, value_name = "D")]
    pub(crate) max_distance: Option<f32>,

    /// Seconds between two shots of a burst at the most [default: 10]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..))]
    pub(crate) seconds: Option<u32>,

    /// Lists nothing, but remembers that these photos are not the same, however near they are
    #[arg(long, value_name = "FILE", num_args = 2..)]
    pub(crate) not_same: Vec<PathBuf>,

    /// Takes --not-same back for these photos
    #[arg(long, requires = "not_same")]
    pub(crate) undo: bool,

    /// Marks which files of each group stay: the largest, oldest or newest one, or all in a folder
    #[arg(long, value_name = "largest|oldest|newest|DIR", conflicts_with = "not_same")]
    pub(crate) keep: Option<Keep>,

    /// Lists only the files that do not stay
    #[arg(long, conflicts_with = "not_same")]
    pub(crate) rest: bool,

    /// Moves the files that do not stay to the trash; asks first. Of near photos only where --keep says which
    #[arg(long, conflicts_with_all = ["rest", "not_same", "json", "paths", "print0"])]
    pub(crate) trash: bool,

    /// Shows the photos side by side in one HTML file instead of listing them
    #[arg(long, value_name = "FILE", value_hint = ValueHint::FilePath,
          conflicts_with_all = ["json", "paths", "print0", "rest", "not_same"])]
    pub(crate) html: Option<PathBuf>,

    /// With --html: opens it in the browser
    #[arg(long, requires = "html")]
    pub(crate) open: bool,

    /// Does not ask
    #[arg(long, requires = "trash")]
    pub(crate) yes: bool,

    #[command(flatten)]
    pub(crate) filter: crate::filter::FilterArgs,

    #[command(flatten)]
    pub(crate) listing: Listing,
}

#[derive(Clone, Copy, Debug, serde::Deserialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum DuplicateKind {
    /// Copies of a file
    Exact,
    /// Resized, recompressed, turned or edited, and shots of one scene
    Near,
    /// Taken within seconds by one camera, and similar
    Burst,
    /// The same pixels in other bytes: edited metadata, another lossless file
    Pixels,
}

impl From<DuplicateKind> for proto::DuplicateKind {
    fn from(kind: DuplicateKind) -> Self {
        match kind {
            DuplicateKind::Exact => Self::Exact,
            DuplicateKind::Near => Self::Near,
            DuplicateKind::Burst => Self::Burst,
            DuplicateKind::Pixels => Self::Pixels,
        }
    }
}

/// A file and how much it counts.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Weighted {
    pub(crate) weight: f32,
    pub(crate) file: PathBuf,
}

impl FromStr for Weighted {
    type Err = Infallible;

    /// What is no number before the first colon is part of the name; `./2:a.jpg` is a file.
    fn from_str(text: &str) -> Result<Self, Infallible> {
        let weighted = text.split_once(':').and_then(|(weight, file)| {
            let weight = weight.parse().ok().filter(|weight: &f32| weight.is_finite() && *weight > 0.0)?;
            Some(Self { weight, file: file.into() })
        });
        Ok(weighted.unwrap_or_else(|| Self { weight: 1.0, file: text.into() }))
    }
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
        #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
        folder: PathBuf,
    },
    /// Stops watching a folder, and forgets its files; nothing on the disk is touched
    Remove {
        #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
        folder: PathBuf,
    },
    /// Takes what is in a folder now for what should be there: another drive, a folder emptied on purpose. Says how many
    /// files are forgotten by that, and asks; nothing on the disk is touched
    Accept {
        /// A watched folder, or a drive mounted in one
        #[arg(value_name = "DIR", value_hint = ValueHint::DirPath)]
        folder: PathBuf,

        /// Does not ask
        #[arg(long)]
        yes: bool,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_daemon_is_named_by_host_and_port() {
        for good in ["localhost:7420", "192.168.1.2:1", "[::1]:7420", "nas.local:65535"] {
            assert_eq!(host_and_port(good).as_deref(), Ok(good));
        }
        for bad in ["localhost", "localhost:", ":7420", "a:b", "::1:7420", "a:65536", "http://a:1"] {
            assert!(host_and_port(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_time_is_a_number_and_its_unit() {
        let check = |text: &str, expected: Option<u64>| {
            assert_eq!(parse_duration(text).ok(), expected.map(Duration::from_secs), "{text}");
        };
        check("90s", Some(90));
        check("30m", Some(1_800));
        check("2h", Some(7_200));
        check("0", Some(0));
        for wrong in ["", "h", "1", "-1h", "1.5h", "1d", "1µ", "99999999999h"] {
            check(wrong, None);
        }
    }

    #[test]
    fn a_weight_stands_before_a_colon_and_all_else_is_a_name() {
        let check = |text: &str, weight: f32, file: &str| {
            assert_eq!(text.parse(), Ok(Weighted { weight, file: file.into() }));
        };
        check("2:a.jpg", 2.0, "a.jpg");
        check("0.5:a:b.jpg", 0.5, "a:b.jpg");
        check("a.jpg", 1.0, "a.jpg");
        check("./2:a.jpg", 1.0, "./2:a.jpg");
        check("-1:a.jpg", 1.0, "-1:a.jpg");
    }
}
