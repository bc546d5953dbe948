//! The bytes of a model's file, read where and when they are needed.
//!
//! A network of some hundred megabytes must not lie in memory as a file beside what the runtime makes of it, so a file stays
//! open and is read once more for each load. It was held against its digest before; a file that was written to since then is
//! refused.

use std::fs::{self, File};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;
use std::sync::Arc;

use prost::Message;
use prost::bytes::Buf;

use super::FileDigest;

/// The bytes of one file; clones share them.
#[derive(Clone, Debug)]
pub struct Content {
    place: Place,
    bytes: u64,
    digest: FileDigest,
}

#[derive(Clone, Debug)]
enum Place {
    Executable(&'static [u8]),
    Memory(Arc<[u8]>),
    File { file: Arc<File>, written: Written },
}

/// When a file was last written to. Renaming and removing it do not change that.
type Written = (i64, i64);

/// The bytes cannot be had, or are no message of the format.
#[derive(Debug, thiserror::Error)]
pub enum ContentError {
    /// The disk does not give them, or not those of the first time.
    #[error("the file of the network cannot be read")]
    Read(#[from] io::Error),
    /// They are something else.
    #[error(transparent)]
    Malformed(#[from] prost::DecodeError),
}

impl Content {
    /// Takes bytes that are a part of the executable.
    pub fn in_executable(bytes: &'static [u8]) -> Self {
        let digest = FileDigest::of(bytes);
        Self { place: Place::Executable(bytes), bytes: bytes.len() as u64, digest }
    }

    /// Takes bytes that are in memory.
    pub fn in_memory(bytes: impl Into<Arc<[u8]>>) -> Self {
        let bytes = bytes.into();
        let (length, digest) = (bytes.len() as u64, FileDigest::of(&bytes));
        Self { place: Place::Memory(bytes), bytes: length, digest }
    }

    /// Opens a file and hashes it.
    ///
    /// # Errors
    /// The file cannot be read.
    pub fn of_file(path: &Path) -> io::Result<Self> {
        // A FIFO in place of the file would block for ever.
        if !fs::metadata(path)?.is_file() {
            return Err(io::Error::new(ErrorKind::InvalidInput, "not a regular file"));
        }
        let file = File::open(path)?;
        let written = written(&file)?;
        let (digest, bytes) = FileDigest::of_reader(&file)?;
        Ok(Self { place: Place::File { file: Arc::new(file), written }, bytes, digest })
    }

    /// How many bytes.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Digest of the bytes.
    pub fn digest(&self) -> FileDigest {
        self.digest
    }

    /// Reads the message that the bytes are. A file is read in small parts, so that only the message is in memory afterwards.
    ///
    /// # Errors
    /// The file cannot be read any more, or holds no such message.
    pub fn decode<M: Message + Default>(&self) -> Result<M, ContentError> {
        match &self.place {
            Place::Executable(bytes) => Ok(M::decode(*bytes)?),
            Place::Memory(bytes) => Ok(M::decode(&**bytes)?),
            Place::File { file, written } => {
                let mut reader = FileBuf::new(file, self.bytes);
                let decoded = M::decode(&mut reader);
                // What the message was made of without them is not what is wrong.
                if let Some(error) = reader.error {
                    return Err(error.into());
                }
                check_unchanged(file, *written)?;
                Ok(decoded?)
            }
        }
    }

    /// Reads `length` bytes from `offset` on.
    ///
    /// # Errors
    /// [`ErrorKind::UnexpectedEof`] where there are not so many.
    pub fn range(&self, offset: u64, length: u64) -> io::Result<Vec<u8>> {
        if offset.checked_add(length).is_none_or(|end| end > self.bytes) {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        let in_memory = |bytes: &[u8]| bytes[offset as usize..][..length as usize].to_vec();
        match &self.place {
            Place::Executable(bytes) => Ok(in_memory(bytes)),
            Place::Memory(bytes) => Ok(in_memory(bytes)),
            Place::File { file, written } => {
                let mut bytes = vec![0; length as usize];
                file.read_exact_at(&mut bytes, offset)?;
                check_unchanged(file, *written)?;
                Ok(bytes)
            }
        }
    }

    /// Reads all bytes.
    ///
    /// # Errors
    /// The file cannot be read any more.
    pub fn read(&self) -> io::Result<Vec<u8>> {
        self.range(0, self.bytes)
    }
}

fn written(file: &File) -> io::Result<Written> {
    let metadata = file.metadata()?;
    Ok((metadata.mtime(), metadata.mtime_nsec()))
}

fn check_unchanged(file: &File, known: Written) -> io::Result<()> {
    match written(file)? == known {
        true => Ok(()),
        false => Err(io::Error::new(ErrorKind::InvalidData, "it was written to while it was in use")),
    }
}

/// A file as a buffer of the format's decoder. After an error it gives zeros, which decode to nothing.
struct FileBuf<'a> {
    file: &'a File,
    /// Place in the file of what follows the buffer.
    offset: u64,
    left: u64,
    buffer: Vec<u8>,
    at: usize,
    error: Option<io::Error>,
}

impl<'a> FileBuf<'a> {
    fn new(file: &'a File, bytes: u64) -> Self {
        let mut this = Self { file, offset: 0, left: bytes, buffer: Vec::new(), at: 0, error: None };
        this.fill();
        this
    }

    fn fill(&mut self) {
        const PART: u64 = 256 << 10;
        let length = self.left.min(PART) as usize;
        self.buffer.resize(length, 0);
        self.at = 0;
        if self.error.is_none()
            && let Err(error) = self.file.read_exact_at(&mut self.buffer, self.offset)
        {
            self.error = Some(error);
        }
        if self.error.is_some() {
            self.buffer.fill(0);
        }
        self.offset += length as u64;
    }
}

impl Buf for FileBuf<'_> {
    fn remaining(&self) -> usize {
        self.left as usize
    }

    fn chunk(&self) -> &[u8] {
        &self.buffer[self.at..]
    }

    fn advance(&mut self, mut count: usize) {
        while count > 0 {
            let step = count.min(self.buffer.len() - self.at);
            assert!(step > 0, "advanced past the end");
            self.at += step;
            self.left -= step as u64;
            count -= step;
            if self.at == self.buffer.len() && self.left > 0 {
                self.fill();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;

    /// A message of a megabyte, so that it does not fit into one part.
    fn message() -> prost_types::Any {
        let value = (0..1_000_003_u32).map(|number| (number % 251) as u8).collect();
        prost_types::Any { type_url: "name".to_owned(), value }
    }

    #[test]
    fn a_file_decodes_as_its_bytes_do() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        let bytes = message().encode_to_vec();
        fs::write(&path, &bytes).unwrap();
        let content = Content::of_file(&path).unwrap();
        assert_eq!((content.bytes(), content.digest()), (bytes.len() as u64, FileDigest::of(&bytes)));
        assert_eq!(content.decode::<prost_types::Any>().unwrap(), message());
        assert_eq!(content.range(7, 9).unwrap(), bytes[7..16]);
        assert_eq!(content.read().unwrap(), bytes);
        assert!(content.range(content.bytes(), 1).is_err());
        assert_eq!(Content::in_memory(bytes).decode::<prost_types::Any>().unwrap(), message());
        // What was opened is there until nobody needs it.
        fs::remove_file(&path).unwrap();
        assert_eq!(content.decode::<prost_types::Any>().unwrap(), message());
    }

    #[test]
    fn a_file_that_changes_after_it_was_hashed_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a");
        fs::write(&path, message().encode_to_vec()).unwrap();
        let content = Content::of_file(&path).unwrap();
        let file = fs::OpenOptions::new().write(true).open(&path).unwrap();
        // Clocks of file systems go by ticks.
        let future = std::time::SystemTime::now() + std::time::Duration::from_secs(10);
        (&file).write_all(b"x").unwrap();
        file.set_modified(future).unwrap();
        assert!(matches!(content.decode::<prost_types::Any>(), Err(ContentError::Read(_))));
        assert!(content.read().is_err());
        file.set_len(10).unwrap();
        assert!(matches!(content.decode::<prost_types::Any>(), Err(ContentError::Read(_))));
    }

    #[test]
    fn what_is_no_file_is_not_waited_for() {
        assert!(Content::of_file(Path::new("/dev/zero")).is_err());
    }
}
