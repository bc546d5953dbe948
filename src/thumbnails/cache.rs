//! Where thumbnails and features are kept: a folder of files, each named by the photo's content and by what it is, within a limit.
//!
//! Nobody but this room writes there, and all of it may be deleted at any time. Files appear whole, by renaming; one that a
//! power cut has cut short is noticed and made again. When they take more than the limit, those that nobody has asked for
//! for the longest time go, and of these first the ones that can be made again.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

use super::Side;
use crate::photo::ContentHash;
use crate::private;

/// How exactly it is known when a thumbnail was last asked for: a write a day is little.
const USED_WITHIN: Duration = Duration::from_secs(24 * 3600);

/// A file that was begun so long ago was left behind by a crash.
const ABANDONED: Duration = Duration::from_secs(3600);

/// What is measured only once it is needed.
const NOT_MEASURED: u64 = u64::MAX;

/// Thumbnails on the disk.
#[derive(Debug)]
pub struct Cache {
    folder: PathBuf,
    max_bytes: u64,
    /// About what the files take; [`NOT_MEASURED`].
    used_bytes: AtomicU64,
    /// Held by whoever makes room; nobody waits for it.
    making_room: Mutex<()>,
    /// Numbers files that are being written.
    begun: AtomicU64,
    /// Whether a failure to keep one has been told of.
    told: AtomicBool,
}

/// What is kept of a content.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// A JPEG file of this size.
    Thumbnail(Side),
    /// Local features, which have a checksum of their own.
    Features,
}

impl Kind {
    /// Returns whether a file is whole, as far as its ends tell.
    fn is_whole(self, bytes: &[u8]) -> bool {
        match self {
            // As a JPEG file begins and ends.
            Self::Thumbnail(_) => bytes.starts_with(&[0xff, 0xd8]) && bytes.ends_with(&[0xff, 0xd9]),
            Self::Features => true,
        }
    }
}

/// A file of the cache.
struct Kept {
    path: PathBuf,
    content: Option<ContentHash>,
    bytes: u64,
    used: SystemTime,
}

impl Cache {
    /// Keeps up to `max_bytes` in `folder`, which is made once there is something to keep. 0 bytes: keeps nothing.
    pub fn new(folder: PathBuf, max_bytes: u64) -> Self {
        Self {
            folder,
            max_bytes,
            used_bytes: AtomicU64::new(NOT_MEASURED),
            making_room: Mutex::new(()),
            begun: AtomicU64::new(0),
            told: AtomicBool::new(false),
        }
    }

    /// Returns a file that is there and whole.
    pub(super) fn get(&self, content: ContentHash, kind: Kind) -> Option<Vec<u8>> {
        let mut file = File::open(self.path(content, kind)).ok()?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes).ok()?;
        if !kind.is_whole(&bytes) {
            return None;
        }
        let now = SystemTime::now();
        let used = file.metadata().and_then(|metadata| metadata.modified()).unwrap_or(now);
        if now.duration_since(used).is_ok_and(|age| age > USED_WITHIN) {
            // If it cannot be written down, it goes earlier.
            let _ = file.set_modified(now);
        }
        Some(bytes)
    }

    /// Keeps a file, and makes room where there is too little.
    pub(super) fn put(
        &self,
        content: ContentHash,
        kind: Kind,
        bytes: &[u8],
        is_away: &dyn Fn(ContentHash) -> bool,
    ) {
        if self.max_bytes == 0 {
            return;
        }
        let kept = self.write(content, kind, bytes).and_then(|()| {
            let bytes = bytes.len() as u64;
            let is_full = self.used_bytes.load(Ordering::Relaxed) == NOT_MEASURED
                || self.used_bytes.fetch_add(bytes, Ordering::Relaxed) + bytes > self.max_bytes;
            if is_full { self.make_room(is_away) } else { Ok(()) }
        });
        self.tell("thumbnails cannot be kept", kept);
    }

    /// Drops the files of contents that `is_known` does not accept.
    pub(super) fn retain<E>(
        &self,
        is_known: &mut dyn FnMut(ContentHash) -> Result<bool, E>,
    ) -> Result<(), E> {
        let kept = match self.files() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => {
                self.tell("thumbnails cannot be looked through", Err(error));
                return Ok(());
            }
            Ok(kept) => kept,
        };
        for file in kept {
            let is_known = match file.content {
                Some(content) => is_known(content)?,
                None => false,
            };
            if !is_known {
                self.tell("thumbnails cannot be dropped", fs::remove_file(&file.path));
            }
        }
        self.used_bytes.store(NOT_MEASURED, Ordering::Relaxed);
        Ok(())
    }

    /// Says once what cannot be done. Whatever it is, thumbnails are made and shown.
    fn tell(&self, what: &str, done: io::Result<()>) {
        if let Err(error) = done
            && !self.told.swap(true, Ordering::Relaxed)
        {
            tracing::warn!("{what} in {}: {error}", self.folder.display());
        }
    }

    fn path(&self, content: ContentHash, kind: Kind) -> PathBuf {
        let name = content.to_string();
        let file = match kind {
            Kind::Thumbnail(side) => format!("{name}-{}.jpg", side.pixels()),
            Kind::Features => format!("{name}-features"),
        };
        self.folder.join(&name[..2]).join(file)
    }

    fn write(&self, content: ContentHash, kind: Kind, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(content, kind);
        let folder = path.parent().unwrap_or(&self.folder);
        private::create_directory(folder)?;
        let number = self.begun.fetch_add(1, Ordering::Relaxed);
        let begun = folder.join(format!("{}-{number}.part", std::process::id()));
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(&begun)?;
        let written = file.write_all(bytes).and_then(|()| fs::rename(&begun, &path));
        if written.is_err() {
            let _ = fs::remove_file(&begun);
        }
        written
    }

    /// Drops files until a tenth is free, if there are too many.
    fn make_room(&self, is_away: &dyn Fn(ContentHash) -> bool) -> io::Result<()> {
        // Whoever is at it already makes room for all.
        let Ok(_making) = self.making_room.try_lock() else { return Ok(()) };
        let mut kept = self.files()?;
        let mut used: u64 = kept.iter().map(|file| file.bytes).sum();
        if used > self.max_bytes {
            kept.sort_by_key(|file| file.used);
            let enough = self.max_bytes / 10 * 9;
            let mut away = Vec::new();
            for file in kept {
                if used <= enough {
                    break;
                }
                if file.content.is_some_and(is_away) {
                    away.push(file);
                    continue;
                }
                fs::remove_file(&file.path)?;
                used -= file.bytes;
            }
            for file in away {
                if used <= enough {
                    break;
                }
                fs::remove_file(&file.path)?;
                used -= file.bytes;
            }
        }
        self.used_bytes.store(used, Ordering::Relaxed);
        Ok(())
    }

    /// Lists the files, and removes what crashes left behind.
    fn files(&self) -> io::Result<Vec<Kept>> {
        let mut kept = Vec::new();
        for folder in fs::read_dir(&self.folder)? {
            let folder = folder?;
            if !folder.file_type()?.is_dir() {
                continue;
            }
            for file in fs::read_dir(folder.path())? {
                let file = file?;
                // It may have gone since.
                let Ok(metadata) = file.metadata() else { continue };
                let (path, used) = (file.path(), metadata.modified()?);
                if path.extension().is_some_and(|extension| extension == "part") {
                    if used.elapsed().is_ok_and(|age| age > ABANDONED) {
                        fs::remove_file(&path)?;
                    }
                    continue;
                }
                kept.push(Kept { content: content_of(&path), path, bytes: metadata.len(), used });
            }
        }
        Ok(kept)
    }
}

fn content_of(path: &Path) -> Option<ContentHash> {
    path.file_name()?.to_str()?.split_once('-')?.0.parse().ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const SIDE: Kind = Kind::Thumbnail(Side(256));

    fn jpeg(len: usize) -> Vec<u8> {
        let mut jpeg = vec![7; len];
        jpeg[..2].copy_from_slice(&[0xff, 0xd8]);
        jpeg[len - 2..].copy_from_slice(&[0xff, 0xd9]);
        jpeg
    }

    fn content(number: u8) -> ContentHash {
        ContentHash::of(&[number])
    }

    fn nothing_is_away(_: ContentHash) -> bool {
        false
    }

    #[test]
    fn what_is_kept_outlives_a_restart_and_is_private() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("resembled/thumbnails");
        let cache = Cache::new(folder.clone(), 10_000);
        assert_eq!(cache.get(content(1), SIDE), None);
        cache.put(content(1), SIDE, &jpeg(100), &nothing_is_away);
        let again = Cache::new(folder.clone(), 10_000);
        assert_eq!(again.get(content(1), SIDE), Some(jpeg(100)));
        assert_eq!(again.get(content(1), Kind::Thumbnail(Side(128))), None, "each side is a file of its own");
        assert_eq!(again.get(content(1), Kind::Features), None);
        assert_eq!(again.get(content(2), SIDE), None);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let file = again.path(content(1), SIDE);
        assert_eq!((mode(&folder), mode(file.parent().unwrap()), mode(&file)), (0o700, 0o700, 0o600));
    }

    #[test]
    fn a_file_that_was_cut_short_is_made_again() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().into(), 10_000);
        cache.put(content(1), SIDE, &jpeg(100), &nothing_is_away);
        let path = cache.path(content(1), SIDE);
        for len in [0, 1, 50] {
            fs::write(&path, &jpeg(100)[..len]).unwrap();
            assert_eq!(cache.get(content(1), SIDE), None);
        }
        cache.put(content(1), SIDE, &jpeg(100), &nothing_is_away);
        assert_eq!(cache.get(content(1), SIDE), Some(jpeg(100)));
    }

    #[test]
    fn beyond_the_limit_the_longest_unused_go_and_those_of_drives_that_are_away_last() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().into(), 1000);
        let now = SystemTime::now();
        let is_away = |asked: ContentHash| asked == content(0);
        for number in 0..10 {
            cache.put(content(number), SIDE, &jpeg(100), &is_away);
            let file = File::open(cache.path(content(number), SIDE)).unwrap();
            file.set_modified(now - Duration::from_secs(100 * 3600 - u64::from(number))).unwrap();
        }
        assert!((0..10).all(|number| cache.path(content(number), SIDE).exists()), "all fit");
        // Asked for lately.
        assert!(cache.get(content(1), SIDE).is_some());
        let stale = folder.path().join("ab");
        fs::create_dir_all(&stale).unwrap();
        let stale = stale.join("1-1.part");
        fs::write(&stale, "half").unwrap();
        File::open(&stale).unwrap().set_modified(now - 2 * ABANDONED).unwrap();

        cache.put(content(10), SIDE, &jpeg(100), &is_away);
        let left: Vec<u8> = (0..=10).filter(|&number| cache.get(content(number), SIDE).is_some()).collect();
        assert_eq!(left, [0, 1, 4, 5, 6, 7, 8, 9, 10], "2 and 3 made room for a tenth");
        assert!(!stale.exists());

        // Where only such are left, they go too: the limit holds.
        let cache = Cache::new(folder.path().into(), 300);
        cache.put(content(11), SIDE, &jpeg(100), &|_| true);
        let left = (0..=11).filter(|&number| cache.get(content(number), SIDE).is_some()).count();
        assert_eq!(left, 2);
    }

    #[test]
    fn what_is_known_no_more_is_dropped_and_nothing_is_kept_where_nothing_may_be() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::new(folder.path().join("kept"), 1000);
        cache.retain::<()>(&mut |_| Ok(true)).unwrap();
        for number in 0..3 {
            cache.put(content(number), SIDE, &jpeg(100), &nothing_is_away);
        }
        cache.retain::<()>(&mut |asked| Ok(asked != content(1))).unwrap();
        let kept = [0, 1, 2].map(|number| cache.get(content(number), SIDE).is_some());
        assert_eq!(kept, [true, false, true]);
        assert_eq!(cache.retain(&mut |_| Err("the store")), Err("the store"));

        let none = Cache::new(folder.path().join("none"), 0);
        none.put(content(1), SIDE, &jpeg(100), &nothing_is_away);
        assert!(!folder.path().join("none").exists());
    }

    #[test]
    fn a_folder_that_cannot_be_written_costs_the_keeping_only() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("not a folder");
        fs::write(&file, "").unwrap();
        let cache = Cache::new(file, 1000);
        cache.put(content(1), SIDE, &jpeg(100), &nothing_is_away);
        assert_eq!(cache.get(content(1), SIDE), None);
    }
}
