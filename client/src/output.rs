//! Lines for people and for scripts.

use std::ffi::OsStr;
use std::io::{self, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use comfy_table::{Attribute, Cell, ContentArrangement, Table, presets};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_encode};
use resembled_api::proto;
use serde_json::{Map, Value, json};

/// What is printed cannot be written. Told from other errors, since a reader who has gone, as `head` does, is none, and a
/// daemon who has gone is.
#[derive(Debug, thiserror::Error)]
#[error("cannot write to the standard output")]
pub(crate) struct CannotPrint(#[from] io::Error);

impl CannotPrint {
    /// Whether the reader of our output has gone.
    pub(crate) fn is_closed_pipe(&self) -> bool {
        self.0.kind() == io::ErrorKind::BrokenPipe
    }
}

/// Prints bytes.
pub(crate) fn print_all(bytes: &[u8]) -> anyhow::Result<()> {
    Ok(io::stdout().lock().write_all(bytes).map_err(CannotPrint)?)
}

/// Prints one JSON object on a line.
pub(crate) fn json_line(object: &Map<String, Value>) -> anyhow::Result<()> {
    let mut bytes = serde_json::to_vec(object)?;
    bytes.push(b'\n');
    print_all(&bytes)
}

/// Starts a table with these columns.
pub(crate) fn table<'a>(columns: impl IntoIterator<Item = &'a str>) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(columns.into_iter().map(|name| Cell::new(name).add_attribute(Attribute::Bold)));
    table
}

/// Prints a table.
pub(crate) fn print(table: &Table) -> anyhow::Result<()> {
    table.lines().try_for_each(|row| line(row.trim_end()))
}

/// Prints a line.
pub(crate) fn line(text: impl std::fmt::Display) -> anyhow::Result<()> {
    print_all(format!("{text}\n").as_bytes())
}

/// Asks whoever sits at the terminal; without one, there is nobody to say yes.
pub(crate) fn confirm(question: &str) -> anyhow::Result<bool> {
    if !io::stdin().is_terminal() {
        anyhow::bail!("nobody can be asked here: --yes says yes");
    }
    eprint!("{question} [y/N] ");
    let mut answer = String::new();
    io::stdin().read_line(&mut answer)?;
    Ok(matches!(answer.trim().to_lowercase().as_str(), "y" | "yes"))
}

/// Returns the path of a file as the system knows it.
pub(crate) fn path(bytes: &[u8]) -> PathBuf {
    PathBuf::from(OsStr::from_bytes(bytes))
}

/// Returns the path for the eyes: no line breaks, no control characters.
pub(crate) fn shown(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    text.chars().flat_map(|c| if c.is_control() { c.escape_default().collect() } else { vec![c] }).collect()
}

/// What a path in a `file:` URI shows as it is (RFC 3986, 3.3: unreserved characters, and the slash).
const AS_IT_IS: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// Puts a path into an object: `path` for people, and `uri`, absolute and with every byte of a name that is not UTF-8.
pub(crate) fn put_path(object: &mut Map<String, Value>, bytes: &[u8]) {
    object.insert("path".into(), String::from_utf8_lossy(bytes).into());
    if let Ok(absolute) = absolute(&path(bytes)) {
        let encoded = percent_encode(absolute.as_os_str().as_bytes(), AS_IT_IS);
        object.insert("uri".into(), format!("file://{encoded}").into());
    }
}

/// Returns what a script may want of a file: whether it can be reached and, where the daemon looked, what it saw.
pub(crate) fn file_json(file: &proto::File) -> Map<String, Value> {
    let mut object = Map::new();
    put_path(&mut object, &file.path);
    object.insert("online".into(), file.online.into());
    if let Some(presence) = presence(file.presence()) {
        object.insert("presence".into(), presence.into());
    }
    if !file.other_paths.is_empty() {
        let others = file.other_paths.iter().map(|path| {
            let mut object = Map::new();
            put_path(&mut object, path);
            Value::Object(object)
        });
        object.insert("other_paths".into(), others.collect());
    }
    object
}

/// Returns the word for what was seen of a file.
fn presence(presence: proto::FilePresence) -> Option<&'static str> {
    match presence {
        proto::FilePresence::Unspecified => None,
        proto::FilePresence::Verified => Some("verified"),
        proto::FilePresence::Offline => Some("offline"),
        proto::FilePresence::Unreachable => Some("unreachable"),
        proto::FilePresence::Changed => Some("changed"),
        proto::FilePresence::Gone => Some("gone"),
    }
}

/// Returns a file for the eyes: its path, and what keeps it from being looked at.
pub(crate) fn file(file: &proto::File) -> String {
    let mark = match file.presence() {
        proto::FilePresence::Unreachable => "  (does not answer)",
        _ if !file.online => "  (offline)",
        _ => "",
    };
    format!("{}{mark}", shown(&file.path))
}

/// Makes an object of `json!({..})`.
pub(crate) fn object(value: Value) -> Map<String, Value> {
    match value {
        Value::Object(object) => object,
        other => Map::from_iter([("value".to_owned(), other)]),
    }
}

/// Returns seconds since 1970 as RFC 3339, or null.
pub(crate) fn time(timestamp: Option<&prost_types::Timestamp>) -> Value {
    timestamp
        .and_then(|time| jiff::Timestamp::new(time.seconds, time.nanos).ok())
        .map_or(Value::Null, |time| json!(time.to_string()))
}

/// Makes a path absolute: the daemon does not know our directory.
pub(crate) fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    Ok(std::path::absolute(path)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_a_line_break_stays_on_its_line() {
        assert_eq!(shown(b"a\nb\x1b[31m"), "a\\nb\\u{1b}[31m");
    }

    #[test]
    fn a_name_that_is_not_utf8_keeps_its_bytes_in_json() {
        let check = |bytes: &[u8], expected: Value| {
            let mut object = Map::new();
            put_path(&mut object, bytes);
            assert_eq!(Value::Object(object), expected);
        };
        check(b"/p/a-1.jpg", json!({ "path": "/p/a-1.jpg", "uri": "file:///p/a-1.jpg" }));
        check(b"/p/\xff%.jpg", json!({ "path": "/p/\u{fffd}%.jpg", "uri": "file:///p/%FF%25.jpg" }));
        check("/ü b#".as_bytes(), json!({ "path": "/ü b#", "uri": "file:///%C3%BC%20b%23" }));
    }
}
