//! Words on the command line that are no folders: `resembled start` must not watch a folder `start` that never comes.
//!
//! A folder whose drive is away is not there either. So a path (a word with a slash in it) is taken as it is; a single word
//! must stand for something in the current directory. Folders of the configuration are meant, whatever they look like.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use resembled::deadline::{self, PATIENCE};

/// Commands of `resemble` that are none of ours; a test compares them with its help.
const ASKING: &[&str] = &[
    "window",
    "search",
    "similar",
    "words",
    "describe",
    "check",
    "compare",
    "duplicates",
    "list",
    "events",
    "watch",
    "status",
    "backup",
    "export",
    "pause",
    "resume",
    "doctor",
    "mcp",
    "roots",
    "failures",
    "rescan",
];

/// Commands of `systemctl`.
const OF_THE_SERVICE: [&str; 6] = ["start", "stop", "restart", "reload", "enable", "disable"];

/// A word that is no folder to watch.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum StrayWord {
    /// A file, a device.
    #[error(
        "{word} is no folder to watch; `resemble search {word}` finds the photos that resemble a picture"
    )]
    NoFolder {
        /// As it was typed.
        word: String,
    },

    /// A command of the client.
    #[error("{word} is no folder here: did you mean `resemble {line}`?")]
    Client {
        /// As it was typed.
        word: String,
        /// It, and what follows it.
        line: String,
    },

    /// A command of the service.
    #[error("{word} is no folder here: did you mean `systemctl --user {word} resembled`?")]
    Service {
        /// As it was typed.
        word: String,
    },

    /// Anything else.
    #[error(
        "there is no folder {word} here; if its drive is away, write its whole path, or ./{word}; \
         `resembled --help` lists the commands"
    )]
    Unknown {
        /// As it was typed.
        word: String,
    },
}

/// Refuses the first word that is no folder to watch.
pub(crate) fn check(words: &[PathBuf]) -> Result<(), StrayWord> {
    words.iter().enumerate().try_for_each(|(at, word)| judge(word, &words[at..]))
}

fn judge(word: &Path, rest: &[PathBuf]) -> Result<(), StrayWord> {
    let shown = word.display().to_string();
    let asked = word.to_path_buf();
    let look = move |_: &deadline::Pulse| match fs::metadata(&asked) {
        Ok(metadata) => Some(metadata.is_dir()),
        // A link stands for something, though what it leads to may be away.
        Err(_) if fs::symlink_metadata(&asked).is_ok() => Some(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => None,
        Err(_) => Some(true),
    };
    let found = deadline::ask_blocking(word, PATIENCE, look);
    // A disk that does not answer is one of the watched folder's troubles, not of the command line's.
    match found.unwrap_or(Some(true)) {
        Some(true) => return Ok(()),
        Some(false) => return Err(StrayWord::NoFolder { word: shown }),
        None if word.as_os_str().as_bytes().contains(&b'/') => return Ok(()),
        None => {}
    }
    Err(match shown.as_str() {
        word if ASKING.contains(&word) => {
            let line: Vec<String> = rest.iter().map(|word| word.display().to_string()).collect();
            StrayWord::Client { word: shown, line: line.join(" ") }
        }
        word if OF_THE_SERVICE.contains(&word) => StrayWord::Service { word: shown },
        _ => StrayWord::Unknown { word: shown },
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check_words(words: &[&str], expected: Result<(), &str>) {
        let words: Vec<PathBuf> = words.iter().map(PathBuf::from).collect();
        let found = check(&words).map_err(|error| error.to_string());
        match (&found, expected) {
            (Ok(()), Ok(())) => {}
            (Err(text), Err(part)) => assert!(text.contains(part), "{text}"),
            _ => panic!("{words:?}: {found:?}"),
        }
    }

    #[test]
    fn a_path_is_taken_and_a_word_must_be_a_folder_here() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        fs::write(path("cat.jpg"), "x").unwrap();
        std::os::unix::fs::symlink("/away", path("drive")).unwrap();
        check_words(&[&path("")], Ok(()));
        check_words(&[&path("away")], Ok(()));
        check_words(&[&path("drive")], Ok(()));
        check_words(&["./nothing"], Ok(()));
        // Tests run in the package's folder.
        check_words(&["src"], Ok(()));
        check_words(&[&path("cat.jpg")], Err("cat.jpg is no folder to watch; `resemble search"));
        check_words(&["start"], Err("`systemctl --user start resembled`"));
        check_words(&["similar", "a.jpg"], Err("`resemble similar a.jpg`"));
        check_words(&["src", "nonsense"], Err("no folder nonsense here"));
    }
}
