//! Lines for people and for scripts.

use std::ffi::OsStr;
use std::io::{self, IsTerminal, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use comfy_table::{Attribute, Cell, ContentArrangement, Table, presets};
use resembled_api::{proto, uri};
use serde_json::{Map, Value, json};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

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

/// `1 photo`, `2 photos`.
pub(crate) fn counted(count: u64, noun: &str) -> String {
    match count {
        1 => format!("1 {noun}"),
        count => format!("{count} {noun}s"),
    }
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

/// Columns of a path that are shown at the least, however narrow the terminal.
const FEWEST_COLUMNS: usize = 24;

/// Returns the path for a line of which other things take so many columns. On a terminal, `~` stands for the home, and of what
/// is too long the end is shown, which tells more than the beginning. Elsewhere it is whole.
pub(crate) fn fitted(bytes: &[u8], taken: usize) -> String {
    let shown = shown(bytes);
    let Some(columns) = columns() else { return shown };
    let home = std::env::var("HOME").ok().filter(|home| home.starts_with('/') && home.len() > 1);
    fit(&shown, home.as_deref(), columns.saturating_sub(taken).max(FEWEST_COLUMNS))
}

/// Returns how wide the terminal is; `None` where none is written to.
fn columns() -> Option<usize> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    Some(usize::from(size.ws_col)).filter(|&columns| columns > 0)
}

fn fit(path: &str, home: Option<&str>, columns: usize) -> String {
    let below_home = home.and_then(|home| path.strip_prefix(home.trim_end_matches('/')));
    let path = match below_home {
        Some(rest) if rest.is_empty() || rest.starts_with('/') => format!("~{rest}"),
        _ => path.to_owned(),
    };
    if path.width() <= columns {
        return path;
    }
    let mut start = path.len();
    let mut width = 1;
    for (at, c) in path.char_indices().rev() {
        width += c.width().unwrap_or(0);
        if width > columns {
            break;
        }
        start = at;
    }
    // At the start of a name, where one fits.
    let end = &path[start..];
    let end = end.find('/').filter(|at| at + 1 < end.len()).map_or(end, |at| &end[at..]);
    format!("…{end}")
}

/// Puts a path into an object: `path` for people, and `uri`, absolute and with every byte of a name that is not UTF-8.
pub(crate) fn put_path(object: &mut Map<String, Value>, bytes: &[u8]) {
    object.insert("path".into(), String::from_utf8_lossy(bytes).into());
    if let Ok(absolute) = absolute(&path(bytes)) {
        object.insert("uri".into(), uri::of_path(absolute.as_os_str().as_bytes()).into());
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

/// Returns a file for the eyes, beside so many columns of other things: its path, and what keeps it from being looked at.
pub(crate) fn file(file: &proto::File, taken: usize) -> String {
    let mark = match file.presence() {
        proto::FilePresence::Unreachable => "  (does not answer)",
        _ if !file.online => "  (offline)",
        _ => "",
    };
    format!("{}{mark}", fitted(&file.path, taken + mark.len()))
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

/// Returns when a photo was taken as RFC 3339, or null. Without `Z` where it is the camera's clock, whose zone nobody knows.
pub(crate) fn taken(photo: &proto::Photo) -> Value {
    match time(photo.capture_time.as_ref()) {
        Value::String(time) if photo.capture_time_is_local => json!(time.trim_end_matches('Z')),
        time => time,
    }
}

/// Returns the same for the eyes, to the second, or a dash.
pub(crate) fn taken_text(photo: &proto::Photo) -> String {
    let taken = photo.capture_time.as_ref().and_then(|time| jiff::Timestamp::from_second(time.seconds).ok());
    taken.map_or("-".to_owned(), |taken| taken.strftime("%Y-%m-%d %H:%M:%S").to_string())
}

/// Returns what a script may want of a photo beside its files.
pub(crate) fn about(photo: &proto::Photo) -> Map<String, Value> {
    object(json!({
        "content": photo.name.trim_start_matches("photos/"),
        "size": photo.size_bytes,
        "width": photo.width,
        "height": photo.height,
        "type": photo.media_type,
        "taken": taken(photo),
        "camera": photo.camera,
        "lens": photo.lens,
        "position": photo.position.map(|place| json!([place.latitude, place.longitude])),
        "altitude": photo.position.and_then(|place| place.altitude_metres),
        "damaged": photo.damaged,
    }))
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
    fn a_path_that_is_too_long_keeps_its_end_and_the_home_is_short() {
        let check = |path: &str, columns, expected: &str| {
            assert_eq!(fit(path, Some("/home/u"), columns), expected);
            assert!(fit(path, Some("/home/u"), columns).width() <= columns.max(1));
        };
        check("/home/u/a.jpg", 40, "~/a.jpg");
        check("/home/u", 40, "~");
        check("/home/user/a.jpg", 40, "/home/user/a.jpg");
        check("/mnt/photos/2024/Urlaub/IMG_1234.jpg", 30, "…/2024/Urlaub/IMG_1234.jpg");
        check("/mnt/photos/a-very-long-name-of-a-photo.jpg", 12, "…a-photo.jpg");
        check("/mnt/写真写真写真/写真.jpg", 12, "…/写真.jpg");
    }

    #[test]
    fn a_time_without_a_zone_has_none() {
        let seconds = Some(prost_types::Timestamp { seconds: 0, nanos: 0 });
        let mut photo = proto::Photo { capture_time: seconds, ..Default::default() };
        assert_eq!(taken(&photo), json!("1970-01-01T00:00:00Z"));
        photo.capture_time_is_local = true;
        assert_eq!(
            (taken(&photo), taken_text(&photo)),
            (json!("1970-01-01T00:00:00"), "1970-01-01 00:00:00".into())
        );
        assert_eq!(taken(&proto::Photo::default()), Value::Null);
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
