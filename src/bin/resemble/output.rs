//! Lines for people and for scripts.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use comfy_table::{Attribute, Cell, ContentArrangement, Table, presets};
use serde_json::{Map, Value, json};

/// Prints one JSON object on a line.
pub(crate) fn json_line(object: &Map<String, Value>) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    serde_json::to_writer(&mut out, object)?;
    out.write_all(b"\n")?;
    Ok(())
}

/// Starts a table with these columns.
pub(crate) fn table<const N: usize>(columns: [&str; N]) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Disabled)
        .set_header(columns.map(|name| Cell::new(name).add_attribute(Attribute::Bold)));
    table
}

/// Prints a table.
pub(crate) fn print(table: &Table) -> anyhow::Result<()> {
    let mut out = io::stdout().lock();
    for line in table.lines() {
        writeln!(out, "{}", line.trim_end())?;
    }
    Ok(())
}

/// Prints a line.
pub(crate) fn line(text: impl std::fmt::Display) -> anyhow::Result<()> {
    writeln!(io::stdout().lock(), "{text}")?;
    Ok(())
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

/// Puts a path into an object: `path` as text and, where it is not UTF-8, `path_hex` with its bytes.
pub(crate) fn put_path(object: &mut Map<String, Value>, bytes: &[u8]) {
    object.insert("path".into(), String::from_utf8_lossy(bytes).into());
    if std::str::from_utf8(bytes).is_err() {
        let hex: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
        object.insert("path_hex".into(), hex.into());
    }
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

/// Returns a size as people say it.
pub(crate) fn size(bytes: u64) -> String {
    indicatif::HumanBytes(bytes).to_string()
}

/// Makes a path absolute: the daemon does not know our directory.
pub(crate) fn absolute(path: &Path) -> anyhow::Result<PathBuf> {
    Ok(std::path::absolute(path)?)
}

/// Whether the reader of our output has gone, as `head` does.
pub(crate) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
            || cause
                .downcast_ref::<serde_json::Error>()
                .is_some_and(|error| error.io_error_kind() == Some(io::ErrorKind::BrokenPipe))
    })
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
        let mut object = Map::new();
        put_path(&mut object, b"/p/\xff.jpg");
        assert_eq!(object["path_hex"], "2f702fff2e6a7067");
        let mut plain = Map::new();
        put_path(&mut plain, b"/p/a.jpg");
        assert_eq!(Value::Object(plain), json!({ "path": "/p/a.jpg" }));
    }
}
