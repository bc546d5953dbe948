//! A backup: the whole store as it was at one moment, in one file, and the way back.
//!
//! A backup is a store: a packed copy with a checksum for each block. It is made while the daemon runs, from one view of the
//! last commit, in a file without a name on the store's disk; whoever takes it away may take his time, and keeps no page of
//! the store from being used again. Restoring copies it row by row into a new store, so that it need not be of this version.
//!
//! Invariant: a backup that is damaged or cut off is refused, and what was there before is as it was. A store that gives way
//! to a backup is kept beside it.

use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Database, ReadableDatabase, ReadableTable};

use super::beside::{build_beside, build_on, take_name, take_name_from, with_suffix};
use super::checked::Checked;
use super::decisions::{Decided, Decisions};
use super::disk::{Disk, FileDisk};
use super::open::{Found, exists, look, now, open_disk};
use super::rebuild::{self, Kind, Rebuilt};
use super::record::{ModelRecord, RootRecord};
use super::rows::{from_bytes, to_bytes};
use super::schema::{MODELS, ROOTS, SCHEMA_VERSION, VECTORS};
use super::source::Source;
use super::{Store, StoreError};
use crate::private;

/// A copy of the store, whole and on the disk, without a name. It is gone when this is dropped.
#[derive(Debug)]
pub struct Backup {
    disk: Arc<FileDisk>,
    len: u64,
    holds: Rebuilt,
}

impl Backup {
    /// Returns how many bytes it has.
    pub fn size_bytes(&self) -> u64 {
        self.len
    }

    /// Returns what is in it.
    pub fn holds(&self) -> &Rebuilt {
        &self.holds
    }

    /// Reads into `out` what stands at `offset`, and returns how many bytes these are: fewer than wanted only at the end.
    ///
    /// # Errors
    /// Those of the disk.
    pub fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        self.disk.read_at(offset, out)
    }
}

impl Store {
    /// Copies the store as it is now, while others read and write it. Ends soon after `is_wanted` says no. One at a time.
    ///
    /// # Errors
    /// [`StoreError::NoRoom`] where the disk has less room than the store takes, [`StoreError::GivenUp`]; those of the disk.
    pub fn back_up(&self, is_wanted: impl Fn() -> bool + 'static) -> Result<Backup, StoreError> {
        let path = self.path();
        let at = |source| StoreError::Build { path: path.to_path_buf(), source };
        // A copy is packed, so it takes no more than that. A disk that it filled would take no writes of the store.
        let needed = fs::metadata(path).map_err(at)?.len();
        let room = rustix::fs::statvfs(path).map_err(|error| at(error.into()))?;
        let free = room.f_bavail.saturating_mul(room.f_frsize);
        if free < needed {
            return Err(StoreError::NoRoom { path: path.to_path_buf(), needed, free });
        }
        let name = with_suffix(path, "copy");
        let disk = Arc::new(open_disk(&name)?);
        // Whatever ends the process, nothing is left of it.
        fs::remove_file(&name).map_err(at)?;
        let mut from = Source::snapshot(self.db.begin_read()?, Box::new(is_wanted));
        let decided = Decided::default();
        let holds = build_on(Arc::clone(&disk), path, |db| {
            rebuild::fill(db, &mut from, Kind::Pack, &decided, now())
        })?;
        if from.is_damaged() {
            return Err(match *self.damage().borrow() {
                Some(block) => StoreError::DamagedBlock { path: path.to_path_buf(), block },
                None => StoreError::Damaged { what: "a part" },
            });
        }
        let len = disk.len().map_err(at)?;
        Ok(Backup { disk, len, holds })
    }
}

/// What a backup gave.
#[derive(Debug)]
pub struct Restored {
    /// What the store has now.
    pub holds: Rebuilt,
    /// The networks that its embeddings are of.
    pub networks: Vec<String>,
    /// Where the store lies that was there before.
    pub former: Option<PathBuf>,
}

/// Why a backup was not restored. The store is as it was.
#[derive(Debug, thiserror::Error)]
pub enum RestoreError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The backup.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },

    /// Something else.
    #[error("{} is no backup of resembled: `resemble backup FILE` makes one", path.display())]
    NotABackup {
        /// The file.
        path: PathBuf,
    },

    /// The store itself.
    #[error("{} is the store itself: there is nothing to restore", path.display())]
    TheStore {
        /// The file.
        path: PathBuf,
    },

    /// Not every block of it passes its check.
    #[error("{} is damaged or was cut off: nothing was changed. Copy it again from where it came, or take another backup", path.display())]
    Damaged {
        /// The backup.
        path: PathBuf,
        /// What was found first.
        source: Option<io::Error>,
    },

    /// Of a newer version.
    #[error("{} was made by a newer resembled (format {found}, this one knows formats up to {SCHEMA_VERSION}): install that version", path.display())]
    Newer {
        /// The backup.
        path: PathBuf,
        /// Its format.
        found: u64,
    },

    /// There is a store, and it was not said that it may be replaced.
    #[error("there is an index already, {}: with --force the backup takes its place, and it is kept beside it", path.display())]
    InTheWay {
        /// The store.
        path: PathBuf,
    },

    /// The new store could not be made.
    #[error(transparent)]
    Store(#[from] StoreError),
}

/// Makes a store at `path` of what a backup has. One that is there gives way only to `replace`, and is kept beside.
///
/// `is_elsewhere` says of a watched folder that its path is on another volume now than when the backup was made, as on another
/// computer: it then is where its photos are found.
///
/// # Errors
/// [`StoreError::InUse`] while a daemon runs on the store, and as the variants of [`RestoreError`] say.
pub fn restore(
    path: &Path,
    backup: &Path,
    replace: bool,
    is_elsewhere: &dyn Fn(&RootRecord) -> bool,
) -> Result<Restored, RestoreError> {
    let mut from = Source::damaged(whole_backup(path, backup)?);
    if let Some(directory) = path.parent() {
        private::create_directory(directory)
            .map_err(|source| StoreError::CreateDirectory { path: directory.to_path_buf(), source })?;
    }
    // Held until the end, so that no daemon starts on it meanwhile.
    let former = if exists(path)? { Some(open_disk(path)?) } else { None };
    let has_former = match &former {
        Some(disk) => !matches!(look(disk), Ok(Found::NeverMade)),
        None => false,
    };
    if has_former && !replace {
        return Err(RestoreError::InTheWay { path: path.to_path_buf() });
    }
    // Where the store is lost, its second copy of the user's decisions may be younger than the backup.
    let decided = if has_former { Decided::default() } else { Decisions::beside(path).read() };
    let (holds, networks) = build_beside(path, |db| {
        let holds = rebuild::fill(db, &mut from, Kind::Restore, &decided, now())?;
        forget_volumes(db, is_elsewhere)?;
        if from.is_damaged() {
            return Err(StoreError::Damaged { what: "a part" });
        }
        Ok((holds, networks(db)?))
    })?;
    let former =
        if has_former { Some(take_name_from(path, "former")?) } else { take_name(path).map(|()| None)? };
    Ok(Restored { holds, networks, former })
}

/// Opens a backup all of whose blocks are whole.
fn whole_backup(store: &Path, path: &Path) -> Result<Arc<Checked<FileDisk>>, RestoreError> {
    let cannot_read = |source| RestoreError::Read { path: path.to_path_buf(), source };
    let damaged = |source| RestoreError::Damaged { path: path.to_path_buf(), source };
    let file = fs::metadata(path).map_err(cannot_read)?;
    if !file.is_file() {
        return Err(RestoreError::NotABackup { path: path.to_path_buf() });
    }
    if fs::metadata(store).is_ok_and(|store| (store.dev(), store.ino()) == (file.dev(), file.ino())) {
        return Err(RestoreError::TheStore { path: path.to_path_buf() });
    }
    let disk = FileDisk::to_read(path).map_err(cannot_read)?;
    if !super::checked::is_ours(&disk).map_err(cannot_read)? {
        return Err(RestoreError::NotABackup { path: path.to_path_buf() });
    }
    let checked = match super::open::open_checked(path, disk) {
        Ok(checked) => checked,
        Err(StoreError::Newer { path, found, .. }) => return Err(RestoreError::Newer { path, found }),
        Err(StoreError::Refused { .. }) => return Err(damaged(None)),
        Err(error) => return Err(error.into()),
    };
    if checked.is_damaged() {
        return Err(damaged(None));
    }
    match checked.check_all() {
        Ok(()) => Ok(checked),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => Err(damaged(Some(error))),
        Err(error) => Err(cannot_read(error)),
    }
}

/// Lets folders that are elsewhere take the volume that holds their photos.
fn forget_volumes(db: &Database, is_elsewhere: &dyn Fn(&RootRecord) -> bool) -> Result<(), StoreError> {
    let mut transaction = db.begin_write()?;
    transaction.set_quick_repair(true);
    {
        let mut roots = transaction.open_table(ROOTS)?;
        let mut elsewhere = Vec::new();
        for row in roots.iter()? {
            let (id, bytes) = row?;
            let record: RootRecord = from_bytes(bytes.value())?;
            if is_elsewhere(&record) {
                elsewhere.push((id.value(), RootRecord { volume: None, seen_at: None, ..record }));
            }
        }
        for (id, record) in elsewhere {
            roots.insert(id, to_bytes(&record)?.as_slice())?;
        }
    }
    transaction.commit()?;
    Ok(())
}

/// Returns the names of the networks that there are embeddings of.
fn networks(db: &Database) -> Result<Vec<String>, StoreError> {
    let view = db.begin_read()?;
    let vectors = view.open_table(VECTORS)?;
    let mut names = Vec::new();
    for row in view.open_table(MODELS)?.iter()? {
        let model: ModelRecord = from_bytes(row?.1.value())?;
        if vectors.range((model.id, 0)..(model.id + 1, 0))?.next().is_some() {
            names.push(model.name);
        }
    }
    Ok(names)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::photo::RootId;

    fn write_out(backup: &Backup, path: &Path) {
        let mut bytes = vec![0; usize::try_from(backup.size_bytes()).unwrap()];
        assert_eq!(backup.read_at(0, &mut bytes).unwrap(), bytes.len());
        fs::write(path, bytes).unwrap();
    }

    fn store_with_a_folder(path: &Path, folder: &str) -> RootId {
        Store::open(path).unwrap().add_root(Path::new(folder), true).unwrap()
    }

    fn folders(path: &Path) -> Vec<String> {
        let roots = Store::open(path).unwrap().read().unwrap().roots().unwrap();
        roots.into_iter().map(|(_, root)| String::from_utf8(root.path).unwrap()).collect()
    }

    #[test]
    fn a_backup_is_what_was_committed_when_it_was_begun_and_leaves_no_file() {
        let home = tempfile::tempdir().unwrap();
        let (path, file) = (home.path().join("s.redb"), home.path().join("backup"));
        let store = Store::open(&path).unwrap();
        store.add_root(Path::new("/first"), true).unwrap();
        let transaction = store.db.begin_read().unwrap();
        store.add_root(Path::new("/second"), true).unwrap();
        let mut from = Source::snapshot(transaction, Box::new(|| true));
        let disk = Arc::new(open_disk(&file).unwrap());
        build_on(disk, &path, |db| rebuild::fill(db, &mut from, Kind::Pack, &Decided::default(), 0)).unwrap();
        assert_eq!(folders(&file), ["/first"]);

        let backup = store.back_up(|| true).unwrap();
        assert_eq!(backup.holds().folders, 2);
        let names: Vec<_> =
            fs::read_dir(home.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
        assert!(!names.iter().any(|name| name.to_string_lossy().contains("copy")), "{names:?}");
        assert!(matches!(store.back_up(|| false), Err(StoreError::GivenUp)));
        write_out(&backup, &home.path().join("other"));
        assert_eq!(folders(&home.path().join("other")), ["/first", "/second"]);
    }

    #[test]
    fn a_backup_takes_the_place_of_nothing_unless_it_is_told_to_and_keeps_what_was_there() {
        let home = tempfile::tempdir().unwrap();
        let [one, other, file] = ["one.redb", "other.redb", "backup"].map(|name| home.path().join(name));
        store_with_a_folder(&one, "/one");
        write_out(&Store::open(&one).unwrap().back_up(|| true).unwrap(), &file);
        store_with_a_folder(&other, "/other");
        let here = |_: &RootRecord| false;
        assert!(matches!(restore(&other, &file, false, &here), Err(RestoreError::InTheWay { .. })));
        assert!(matches!(restore(&one, &one, true, &here), Err(RestoreError::TheStore { .. })));
        let open = Store::open(&other).unwrap();
        let in_use = restore(&other, &file, true, &here);
        assert!(matches!(in_use, Err(RestoreError::Store(StoreError::InUse { .. }))), "{in_use:?}");
        drop(open);
        assert_eq!(folders(&other), ["/other"]);

        let restored = restore(&other, &file, true, &here).unwrap();
        assert_eq!((restored.holds.folders, restored.networks.len()), (1, 0));
        assert_eq!(folders(&other), ["/one"]);
        assert_eq!(folders(&restored.former.unwrap()), ["/other"]);
        // Where the store is lost, what the user decided since is not.
        store_with_a_folder(&one, "/later");
        fs::remove_file(&one).unwrap();
        restore(&one, &file, false, &here).unwrap();
        assert_eq!(folders(&one), ["/one", "/later"]);
    }

    #[test]
    fn a_folder_that_is_elsewhere_takes_another_volume() {
        let home = tempfile::tempdir().unwrap();
        let [path, file] = ["s.redb", "backup"].map(|name| home.path().join(name));
        let volume = crate::watch::Volume {
            uuid: Some("1234".into()),
            file_system_id: None,
            kind: "ext4".into(),
            source: "/dev/sda1".into(),
            inner_path: b"/photos".to_vec(),
        };
        for folder in ["/moved", "/same"] {
            let id = store_with_a_folder(&path, folder);
            let store = Store::open(&path).unwrap();
            store.update_root(id, |record| record.volume = Some(volume.clone())).unwrap();
        }
        write_out(&Store::open(&path).unwrap().back_up(|| true).unwrap(), &file);
        restore(&path, &file, true, &|record| record.path == b"/moved").unwrap();
        let roots = Store::open(&path).unwrap().read().unwrap().roots().unwrap();
        let volumes: Vec<_> = roots.into_iter().map(|(_, root)| root.volume).collect();
        assert_eq!(volumes, [None, Some(volume)]);
    }

    #[test]
    fn a_backup_that_was_cut_off_or_damaged_anywhere_is_refused_and_nothing_is_changed() {
        let home = tempfile::tempdir().unwrap();
        let [path, file, other] = ["s.redb", "backup", "other.redb"].map(|name| home.path().join(name));
        store_with_a_folder(&path, "/folder");
        write_out(&Store::open(&path).unwrap().back_up(|| true).unwrap(), &file);
        let whole = fs::read(&file).unwrap();
        let here = |_: &RootRecord| false;
        let mut refused = 0;
        let mut check = |bytes: &[u8], what: &str| {
            fs::write(&file, bytes).unwrap();
            match restore(&other, &file, false, &here) {
                Err(RestoreError::Damaged { .. } | RestoreError::NotABackup { .. }) => refused += 1,
                // One of both heads, or what nobody wrote.
                Ok(restored) => {
                    assert_eq!(folders(&other), ["/folder"], "{what}");
                    assert_eq!(restored.holds.folders, 1);
                    fs::remove_file(&other).unwrap();
                    fs::remove_file(other.with_extension("decisions")).unwrap();
                }
                Err(error) => panic!("{what}: {error}"),
            }
            assert!(!other.exists(), "{what}");
            assert!(!with_suffix(&other, "new").exists(), "{what}");
        };
        for cut in (0..whole.len()).step_by(4096).chain([1, 100, 5000]) {
            check(&whole[..cut], &format!("cut at {cut}"));
        }
        for at in (0..whole.len()).step_by(1021) {
            let mut bytes = whole.clone();
            bytes[at] ^= 0x10;
            check(&bytes, &format!("byte {at} changed"));
        }
        assert!(refused > whole.len() / 4096, "{refused}");
        fs::write(&file, b"a letter").unwrap();
        assert!(matches!(restore(&other, &file, false, &here), Err(RestoreError::NotABackup { .. })));
        let gone = home.path().join("gone");
        assert!(matches!(restore(&other, &gone, false, &here), Err(RestoreError::Read { .. })));
        // What was checked is not written to.
        fs::write(&file, &whole).unwrap();
        let middle = whole.len() as u64 / 2;
        fs::File::options().write(true).open(&file).unwrap().write_all_at(b"spoiled", middle).unwrap();
        let before = fs::read(&file).unwrap();
        assert!(restore(&other, &file, false, &here).is_err());
        assert_eq!(fs::read(&file).unwrap(), before);
    }
}
