//! Files that are whole or not there.
//!
//! Invariant: a file takes its name once it is whole and on the disk. Nothing is replaced unless that was asked for.

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use crate::naming::{part_name, rename_to_new};

/// A file that takes its name at the end. Dropped before that, it is gone.
pub(crate) struct Part {
    file: File,
    path: PathBuf,
    target: PathBuf,
    force: bool,
}

impl Drop for Part {
    fn drop(&mut self) {
        // Where it has taken its name, there is none.
        let _ = fs::remove_file(&self.path);
    }
}

impl Part {
    /// Begins a file beside `target`, for its owner alone. With `force` it replaces one of that name.
    pub(crate) fn of(target: &Path, force: bool) -> anyhow::Result<Self> {
        let shown = target.display();
        match target.metadata() {
            Ok(found) if found.is_dir() => bail!("{shown} is a folder: name a file in it"),
            Ok(_) if !force => bail!("{shown} is there already: --force replaces it"),
            _ => {}
        }
        let name = target.file_name().with_context(|| format!("{shown} names no file"))?;
        let path = target.with_file_name(part_name(name));
        let begin = || -> io::Result<File> {
            let mut options = OpenOptions::new();
            let file = options.write(true).create(true).truncate(false).mode(0o600).open(&path)?;
            // Two that write into one file would make neither.
            file.try_lock()?;
            file.set_len(0)?;
            Ok(file)
        };
        let file = begin().with_context(|| format!("cannot write {shown}"))?;
        Ok(Self { file, path, target: target.to_path_buf(), force })
    }

    pub(crate) fn file(&mut self) -> &mut File {
        &mut self.file
    }

    /// Takes the name, for good.
    pub(crate) fn finish(self) -> anyhow::Result<()> {
        let shown = self.target.display();
        let finish = || -> io::Result<()> {
            self.file.sync_all()?;
            match self.force {
                true => fs::rename(&self.path, &self.target)?,
                false => rename_to_new(&self.path, &self.target)?,
            }
            folder_of(&self.target).and_then(File::open)?.sync_all()
        };
        match finish() {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                bail!("{shown} has come into being meanwhile: --force replaces it")
            }
            finished => finished.with_context(|| format!("cannot write {shown}")),
        }
    }
}

/// Returns the folder that a file lies in.
pub(crate) fn folder_of(path: &Path) -> io::Result<PathBuf> {
    let absolute = std::path::absolute(path)?;
    Ok(absolute.parent().map_or_else(|| absolute.clone(), Path::to_path_buf))
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    #[test]
    fn a_file_is_there_when_it_is_whole_and_replaces_another_only_when_told_to() {
        let folder = tempfile::tempdir().unwrap();
        let target = folder.path().join("a");
        let begin = |force| Part::of(&target, force);
        let names = || fs::read_dir(folder.path()).unwrap().count();
        let mut part = begin(false).unwrap();
        part.file().write_all(b"1").unwrap();
        assert!(!target.exists());
        assert!(begin(false).is_err(), "it is being written");
        drop(part);
        assert_eq!(names(), 0);

        let mut part = begin(false).unwrap();
        part.file().write_all(b"2").unwrap();
        fs::write(&target, "other").unwrap();
        assert!(part.finish().unwrap_err().to_string().contains("meanwhile"));
        assert_eq!((fs::read(&target).unwrap(), names()), (b"other".to_vec(), 1));
        assert!(begin(false).err().unwrap().to_string().contains("--force replaces it"));
        let mut part = begin(true).unwrap();
        part.file().write_all(b"3").unwrap();
        part.finish().unwrap();
        assert_eq!((fs::read(&target).unwrap(), names()), (b"3".to_vec(), 1));
    }
}
