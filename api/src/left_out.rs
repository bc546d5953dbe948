//! Files and folders that hold no photos of anybody's, wherever they stand.

use std::path::Path;
use std::sync::OnceLock;

use ignore::gitignore::{Gitignore, GitignoreBuilder};

/// Their names, in the syntax of `.gitignore`.
pub const PATTERNS: &[&str] = &[
    // Version control and programs' own folders.
    ".git/",
    ".hg/",
    ".svn/",
    "node_modules/",
    "lost+found/",
    // Trash.
    ".Trash/",
    ".Trashes/",
    ".Trash-*/",
    ".trash/",
    ".dtrash/",
    "$RECYCLE.BIN/",
    "RECYCLER/",
    "\\#recycle/",
    "@Recycle/",
    ".trashed-*",
    // Thumbnails and previews.
    ".thumbnails/",
    ".thumbs/",
    ".@__thumb/",
    "@eaDir/",
    ".picasaoriginals/",
    // Volumes' own folders, snapshots.
    "System Volume Information/",
    ".Spotlight-V100/",
    ".fseventsd/",
    ".TemporaryItems/",
    ".DocumentRevisions-V100/",
    "\\#snapshot/",
    ".snapshots/",
    ".stversions/",
    // Resource forks beside the photos on disks that a Mac wrote to; files that wait to be deleted.
    "._*",
    ".nfs*",
    ".fuse_hidden*",
    // Android's mark of a file that is not there yet.
    ".pending-*",
];

/// Says whether an entry of a disk, or a folder above it, is of those that hold no photos of anybody's wherever they stand:
/// trash, thumbnails, what programs and systems keep for themselves. Hidden folders are not among them.
pub fn is_never_looked_at(entry: &Path, is_directory: bool) -> bool {
    static MATCHER: OnceLock<Gitignore> = OnceLock::new();
    let matcher = MATCHER.get_or_init(|| {
        let mut builder = GitignoreBuilder::new("");
        for pattern in PATTERNS {
            builder.add_line(None, pattern).expect("the built-in patterns are valid");
        }
        builder.build().expect("the built-in patterns are valid")
    });
    matcher.matched_path_or_any_parents(entry, is_directory).is_ignore()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trash_and_system_folders_hold_no_photos_on_any_disk_and_hidden_folders_may() {
        let check =
            |path: &str, expected| assert_eq!(is_never_looked_at(Path::new(path), false), expected, "{path}");
        check(".Trashes/501/a.jpg", true);
        check("DCIM/.Trash-1000/files/a.jpg", true);
        check("DCIM/._a.jpg", true);
        check("System Volume Information/a.jpg", true);
        check(".hidden/a.jpg", false);
        check("DCIM/a.jpg", false);
    }
}
