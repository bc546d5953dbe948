//! The command that is run for a photo.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::Path;
use std::process::Stdio;

use anyhow::bail;
use tokio::process::Command;

/// What stands for the path.
const PLACE: &[u8] = b"{}";

/// A command with a place for a path.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Exec {
    words: Vec<OsString>,
    is_shell: bool,
}

impl Exec {
    /// `None` where none is given.
    pub(super) fn of(words: &[String], is_shell: bool) -> anyhow::Result<Option<Self>> {
        match words {
            [] => return Ok(None),
            [_, .., _] if is_shell => bail!("with --shell, --exec is one line: put it into quotes"),
            _ => {}
        }
        Ok(Some(Self { words: words.iter().map(OsString::from).collect(), is_shell }))
    }

    /// Returns program and arguments. The path is always an argument of its own or a part of one, and never read by a shell.
    fn line(&self, path: &Path) -> Vec<OsString> {
        if self.is_shell {
            let shell = ["sh", "-c"].map(OsString::from);
            // The line's own name stands where $0 is.
            let rest = [OsString::from("resemble-watch"), path.into()];
            return shell.into_iter().chain(self.words.iter().cloned()).chain(rest).collect();
        }
        let (program, arguments) =
            self.words.split_first().map_or((None, &[][..]), |(first, rest)| (Some(first), rest));
        let mut line: Vec<OsString> = program.cloned().into_iter().collect();
        line.extend(arguments.iter().map(|word| filled(word, path)));
        if !arguments.iter().any(|word| place(word.as_bytes()).is_some()) {
            line.push(path.into());
        }
        line
    }

    /// Runs it to its end, and says what became of it.
    pub(super) async fn run(&self, path: &Path) -> String {
        let line = self.line(path);
        let Some((program, arguments)) = line.split_first() else { return String::new() };
        let shown = match self.is_shell {
            true => self.words.first().map(|word| word.display().to_string()).unwrap_or_default(),
            false => line.iter().map(|word| format!("{word:?}")).collect::<Vec<_>>().join(" "),
        };
        // Its output is not ours: scripts read that.
        let ended = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(std::io::stderr())
            .status()
            .await;
        match ended {
            Ok(status) if status.success() => format!("done: {shown}"),
            Ok(status) => format!("failed ({status}): {shown}"),
            Err(error) => format!("could not be run ({error}): {shown}"),
        }
    }
}

fn place(word: &[u8]) -> Option<usize> {
    word.windows(PLACE.len()).position(|window| window == PLACE)
}

/// Puts the path wherever its place is.
fn filled(word: &OsStr, path: &Path) -> OsString {
    let mut rest = word.as_bytes();
    let mut bytes = Vec::new();
    while let Some(at) = place(rest) {
        bytes.extend_from_slice(&rest[..at]);
        bytes.extend_from_slice(path.as_os_str().as_bytes());
        rest = &rest[at + PLACE.len()..];
    }
    bytes.extend_from_slice(rest);
    OsString::from_vec(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(words: &[&str], is_shell: bool, path: &[u8], expected: &[&[u8]]) {
        let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
        let exec = Exec::of(&words, is_shell).unwrap().unwrap();
        let line = exec.line(Path::new(OsStr::from_bytes(path)));
        assert_eq!(line, expected.iter().map(|word| OsStr::from_bytes(word)).collect::<Vec<_>>());
    }

    #[test]
    fn the_path_is_an_argument_of_its_own_whatever_is_in_it() {
        check(&["cp", "-n", "{}", "/to"], false, b"/a b.jpg", &[b"cp", b"-n", b"/a b.jpg", b"/to"]);
        check(&["echo", "new:"], false, b"/$(rm x);'\n.jpg", &[b"echo", b"new:", b"/$(rm x);'\n.jpg"]);
        check(&["x", "--in={}", "{}{}"], false, b"/\xff{}", &[b"x", b"--in=/\xff{}", b"/\xff{}/\xff{}"]);
        let shell: [&[u8]; 5] = [b"sh", b"-c", b"cp \"$1\" ~", b"resemble-watch", b"/`a`"];
        check(&["cp \"$1\" ~"], true, b"/`a`", &shell);
        assert_eq!(Exec::of(&[], false).unwrap(), None);
        assert!(Exec::of(&["a".into(), "b".into()], true).unwrap_err().to_string().contains("one line"));
    }
}
