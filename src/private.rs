//! Files and folders that are for their owner alone, whatever the umask says: photos, and what can be found out from an
//! index of them, are nobody else's.

use std::fs::{self, DirBuilder, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

/// Our folder in each of the XDG base directories.
const OUR_NAME: &str = "resembled";

/// Makes a folder of mode 0700, with those above it that are missing. One that is there is tightened if it bears our
/// name; any other (a socket may be wanted in `/tmp`) may be there for other things too.
///
/// # Errors
/// It is not there and cannot be made.
pub fn create_directory(path: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(path)?;
    if path.file_name().is_some_and(|name| name == OUR_NAME) {
        tighten(path);
    }
    Ok(())
}

/// Takes from group and others what they may do with a file or a folder of ours, as an earlier version or a careless
/// umask left it. That it cannot be taken from them is said, and no reason to stop.
pub fn tighten(path: &Path) {
    let Ok(metadata) = fs::metadata(path) else { return };
    let mode = metadata.mode();
    if mode & 0o077 == 0 || metadata.uid() != rustix::process::geteuid().as_raw() {
        return;
    }
    if let Err(error) = fs::set_permissions(path, Permissions::from_mode(mode & 0o7700)) {
        tracing::warn!("{} can be read by others, and that cannot be changed: {error}", path.display());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().mode() & 0o777
    }

    #[test]
    fn what_is_ours_is_made_for_us_alone_or_tightened_and_other_folders_are_let_be() {
        let directory = tempfile::tempdir().unwrap();
        let (outer, inner) = (directory.path().join("a"), directory.path().join("a/resembled"));
        create_directory(&inner).unwrap();
        assert_eq!((mode(&outer), mode(&inner)), (0o700, 0o700));
        for (folder, after) in [(&inner, 0o700), (&outer, 0o755)] {
            fs::set_permissions(folder, Permissions::from_mode(0o755)).unwrap();
            create_directory(folder).unwrap();
            assert_eq!(mode(folder), after, "{}", folder.display());
        }
        let file = inner.join("f");
        fs::write(&file, "").unwrap();
        fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
        tighten(&file);
        assert_eq!(mode(&file), 0o600);
    }
}
