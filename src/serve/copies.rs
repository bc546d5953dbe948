//! `FindCopies`: where else is what this file holds?
//!
//! Invariant: a file that is asked about is never told to be a copy, by whatever path the index knows it, and what is told
//! to be one was looked at in this call.

use std::fs;
use std::sync::{Arc, OnceLock};

use tonic::Status;

use super::blocking::blocking;
use super::convert::{self, Roots};
use super::files::{self, Identity, Looked};
use super::{Api, refuse};
use crate::decode::Cancel;
use crate::proto;
use crate::proto::FilePresence;
use crate::store::StoreError;

/// Files of one content that can be asked about at a time.
const MAX_FILES: usize = 10_000;

/// Folders that can be asked about at a time.
const MAX_FOLDERS: usize = 1_000;

/// Answers the call.
pub(super) async fn find(
    api: &Arc<Api>,
    request: proto::FindCopiesRequest,
) -> Result<proto::FindCopiesResponse, Status> {
    let content = convert::parse_photo_name("photo", &request.photo)?;
    for (field, given, most) in
        [("files", request.files.len(), MAX_FILES), ("folders", request.folders.len(), MAX_FOLDERS)]
    {
        if given > most {
            return Err(refuse::field(field, format_args!("{given} are more than {most}")));
        }
    }
    let asked: Vec<Identity> = request.files.iter().map(convert::parse_identity).collect();
    let same_machine = !request.boot_id.is_empty() && request.boot_id.trim() == boot_id();
    let folders: Vec<(u64, u64)> = match same_machine {
        true => request.folders.iter().map(|folder| (folder.device, folder.inode)).collect(),
        false => Vec::new(),
    };

    let roots = Arc::new(Roots::of(api));
    let (store, reading) = (Arc::clone(&api.store), Arc::clone(&roots));
    let read = move |_: &Cancel| -> Result<_, StoreError> {
        let reader = store.read()?;
        let Some(photo) = reader.photo_with(content)? else { return Ok(None) };
        let (photos, roots) = (reader.photos()?, reading);
        let known = files::known(&reader, &photos, &roots, photo)?;
        Ok(convert::photo(&photos, &roots, photo)?.map(|photo| (photo, known)))
    };
    let found = blocking(read).await?;
    let Some((photo, known)) = found else {
        return Ok(proto::FindCopiesResponse { same_machine, ..Default::default() });
    };

    let mut looked = files::look(&roots, known, &folders).await;
    looked.sort_by_key(|file| rank(file.presence));
    let (asked_files, others): (Vec<Looked>, Vec<Looked>) =
        looked.into_iter().partition(|file| file.is_one_of(&asked, same_machine));
    let listed = |files| files::fold(files).into_iter().map(proto::File::from).collect();
    Ok(proto::FindCopiesResponse {
        photo: Some(proto::Photo { files: listed(others), ..photo }),
        asked_files: listed(asked_files),
        same_machine,
    })
}

/// Files that are certain come first.
fn rank(presence: FilePresence) -> u8 {
    match presence {
        FilePresence::Verified => 0,
        FilePresence::Offline => 1,
        FilePresence::Unreachable | FilePresence::Unspecified => 2,
        FilePresence::Changed => 3,
        FilePresence::Gone => 4,
    }
}

/// Returns what tells this run of the kernel from all others; empty where it does not say.
fn boot_id() -> &'static str {
    static BOOT_ID: OnceLock<String> = OnceLock::new();
    BOOT_ID.get_or_init(|| {
        let read = fs::read_to_string("/proc/sys/kernel/random/boot_id");
        read.map(|id| id.trim().to_owned()).unwrap_or_default()
    })
}
