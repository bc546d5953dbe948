//! One worker: a change in, a write out. Each runs on a thread of its own, at background priority.
//!
//! A photo that cannot be indexed becomes a failure record, and the next one is taken; whether it is at fault itself
//! decides whether it is tried [`again`](super::Again). Only a store that cannot be read ends the worker, and with it the
//! daemon.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use rustix::io::Errno;

use super::progress::{Progress, Step};
use super::queue::{Claim, Queue, files};
use super::read::{self, Contents};
use super::{Encoding, Former, IngestError, IsGone};
use crate::decode::{self, Cancel, DecodeError, IsolatedError, Square, Squares};
use crate::encode::EncodeError;
use crate::photo::{ContentHash, FileId, Fingerprint};
use crate::store::{FailureKind, FailureRecord, ModelRecord, PhotoRecord, Store, Write, WriterHandle};
use crate::watch::{self, Change};

/// What a worker needs.
#[derive(Clone)]
pub(super) struct Worker {
    pub(super) queue: Arc<Queue>,
    pub(super) store: Arc<Store>,
    pub(super) model: ModelRecord,
    pub(super) writer: WriterHandle,
    pub(super) encoding: Encoding,
    pub(super) former: Arc<Former>,
    pub(super) progress: Arc<Progress>,
    pub(super) is_gone: IsGone,
}

impl Worker {
    /// Works until the queue is closed.
    pub(super) fn run(&self) -> Result<(), IngestError> {
        while let Some(change) = self.queue.take() {
            self.handle(change)?;
        }
        Ok(())
    }

    fn handle(&self, change: Change) -> Result<(), IngestError> {
        let outcome = match &change {
            // It may have come back, or be let in again, while this waited. What stands there then is known, or has a change of
            // its own behind this one.
            Change::Gone { file } if !(self.is_gone)(file) => Outcome::Nothing,
            Change::Gone { file } => Outcome::write(Write::Gone { file: file.clone() }),
            Change::Doubtful { file } => Outcome::write(Write::Doubtful { file: file.clone() }),
            Change::Moved { from, to, path, fingerprint } => {
                self.adopt(&change, from, to, path, fingerprint)?
            }
            Change::Read { file, path, fingerprint } => self.read(&change, file, path, fingerprint)?,
        };
        match outcome {
            // The commit ends the works on it, see `super::committed`.
            Outcome::Write(write) => self.writer.write(*write)?,
            Outcome::Nothing => files(&change).for_each(|file| self.queue.done(file)),
            // The content's release brings the change back; until then the file stays busy.
            Outcome::Parked => {}
        }
        Ok(())
    }

    /// Lets `to` have what is known of `from`, or reads it where that is not known any more, or not as it was seen, or is
    /// back.
    fn adopt(
        &self,
        change: &Change,
        from: &FileId,
        to: &FileId,
        path: &Path,
        seen: &Fingerprint,
    ) -> Result<Outcome, IngestError> {
        let known = self.store.read()?.file(from)?.map(|record| record.fingerprint);
        let is_same = |known: Fingerprint| (known.len, known.modified_ns) == (seen.len, seen.modified_ns);
        let is_gone = (self.is_gone)(from);
        if is_gone && known.is_some_and(is_same) {
            let is_there = read::look(path).is_some_and(|now| watch::is_unchanged(seen, &now));
            let (from, to) = (from.clone(), to.clone());
            // What stands there by now, if it is something else, has a change of its own on the way.
            return Ok(if is_there {
                Outcome::write(Write::Moved { from, to, fingerprint: *seen })
            } else {
                Outcome::Nothing
            });
        }
        match known {
            // Its commit ends the works on it.
            Some(_) if is_gone => self.writer.write(Write::Gone { file: from.clone() })?,
            _ => self.queue.done(from),
        }
        self.read(change, to, path, seen)
    }

    fn read(
        &self,
        change: &Change,
        file: &FileId,
        path: &Path,
        seen: &Fingerprint,
    ) -> Result<Outcome, IngestError> {
        let begun = Instant::now();
        // On file systems that make inode numbers up at each mount, the watching room leaves them out.
        let without_inode = |fingerprint| match seen.inode {
            0 => Fingerprint { inode: 0, ..fingerprint },
            _ => fingerprint,
        };
        let (bytes, fingerprint) = match read::read(path, self.encoding.decoders.limits().max_bytes) {
            Contents::Whole { bytes, fingerprint } => (bytes, without_inode(fingerprint)),
            Contents::Changing | Contents::Vanished => return self.not_read(file, seen),
            Contents::NotAPhoto { fingerprint } => {
                let fingerprint = without_inode(fingerprint);
                return Ok(Outcome::write(Write::NotAPhoto { file: file.clone(), fingerprint }));
            }
            Contents::TooLarge { fingerprint } => {
                let limit = self.encoding.decoders.limits().max_bytes >> 20;
                let reason =
                    format!("the file is larger than the limit of {limit} MiB (decode.max_file_mib)");
                return Ok(Outcome::failed(file, without_inode(fingerprint), FailureKind::TooLarge, reason));
            }
            Contents::NoAnswer(error) => {
                tracing::debug!(path = %path.display(), %error, "not read");
                // Nothing is known of it. Its root is looked for anew once the disk answers, and it is found then.
                return Ok(Outcome::Nothing);
            }
            Contents::Unreadable { error } => {
                let Some(metadata) = read::look(path) else { return Ok(Outcome::Nothing) };
                let reason = format!("the file cannot be read: {error}");
                let fingerprint = without_inode(Fingerprint::of(&metadata));
                let kind = if is_shortage(&error) { FailureKind::Passing } else { FailureKind::Unreadable };
                return Ok(Outcome::failed(file, fingerprint, kind, reason));
            }
        };
        let content = ContentHash::of(&bytes);
        self.progress.spent(Step::Read, begun.elapsed());
        let known = || Write::Known { file: file.clone(), fingerprint, content, appearance: None };
        if self.is_known(content)? {
            return Ok(Outcome::write(known()));
        }
        if self.queue.claim(content, change) == Claim::Parked {
            return Ok(Outcome::Parked);
        }
        // Between the look above and the claim, the worker that had it may have committed it.
        if self.is_known(content)? {
            self.queue.release(content);
            return Ok(Outcome::write(known()));
        }
        let outcome = self.encode(file, fingerprint, content, &bytes);
        // The commit releases what it makes known.
        if !matches!(&outcome, Ok(Outcome::Write(write)) if makes_known(write)) {
            self.queue.release(content);
        }
        outcome
    }

    /// What is known of a file that changed, and was then gone or changed again before it could be read, must not be
    /// adopted by whoever finds it under another name.
    fn not_read(&self, file: &FileId, seen: &Fingerprint) -> Result<Outcome, IngestError> {
        let known = self.store.read()?.file(file)?.map(|record| record.fingerprint);
        Ok(match known {
            Some(known) if known != *seen => Outcome::write(Write::Doubtful { file: file.clone() }),
            _ => Outcome::Nothing,
        })
    }

    /// Says whether the network has encoded the content, and what it looks like is known too.
    fn is_known(&self, content: ContentHash) -> Result<bool, IngestError> {
        let reader = self.store.read()?;
        let Some(photo) = reader.photo_with(content)? else { return Ok(false) };
        Ok(reader.has_embedding(&self.model, photo)? && reader.appearances()?.has(photo)?)
    }

    /// Says whether the network has encoded the content.
    fn is_encoded(&self, content: ContentHash) -> Result<bool, IngestError> {
        let reader = self.store.read()?;
        let Some(photo) = reader.photo_with(content)? else { return Ok(false) };
        Ok(reader.has_embedding(&self.model, photo)?)
    }

    /// Returns the network that answers meanwhile, if it does not know the content.
    fn former_without(&self, content: ContentHash) -> Result<Option<(ModelRecord, Encoding)>, IngestError> {
        let Some(former) = self.former.get() else { return Ok(None) };
        let reader = self.store.read()?;
        let is_known = match reader.photo_with(content)? {
            Some(photo) => reader.has_embedding(&former.0, photo)?,
            None => false,
        };
        Ok(Some(former).filter(|_| !is_known))
    }

    fn decode(&self, bytes: &[u8], squares: &[Square]) -> Result<Squares, IsolatedError> {
        self.encoding.decoders.decode_squares(bytes, squares, &Cancel::default())
    }

    fn encode(
        &self,
        file: &FileId,
        fingerprint: Fingerprint,
        content: ContentHash,
        bytes: &[u8],
    ) -> Result<Outcome, IngestError> {
        let begun = Instant::now();
        let former = self.former_without(content)?;
        let networks = [&self.encoding].into_iter().chain(former.as_ref().map(|(_, encoding)| encoding));
        let squares: Vec<_> = networks.map(|encoding| encoding.preprocessing.square()).collect();
        let Squares { images, info, appearance } = match self.decode(bytes, &squares) {
            Ok(squares) => squares,
            Err(IsolatedError::Photo(error)) => return Ok(refused(file, fingerprint, &error)),
            // The daemon stops, and the next start finds the photo again.
            Err(IsolatedError::Cancelled) => return Ok(Outcome::Nothing),
            // No photo is at fault, and none is given up for it.
            Err(error) => return Ok(Outcome::failed(file, fingerprint, FailureKind::Passing, chain(&error))),
        };
        self.progress.spent(Step::Decode, begun.elapsed());
        // It was only to be looked at. What is transparent lay on white, whatever it was, when it was encoded.
        if !appearance.is_transparent && self.is_encoded(content)? {
            let (file, appearance) = (file.clone(), Some(Box::new(appearance)));
            return Ok(Outcome::write(Write::Known { file, fingerprint, content, appearance }));
        }

        let begun = Instant::now();
        let embedding =
            match self.encoding.encoder.embed_blocking(self.encoding.preprocessing.input(&images[0])) {
                Ok(embedding) => embedding,
                Err(error @ (EncodeError::Stopped | EncodeError::Panicked(_))) => return Err(error.into()),
                Err(error) => {
                    let kind = match error {
                        // It was loaded before, so what is short now will not be for ever.
                        EncodeError::Load(_)
                        | EncodeError::Run(_)
                        | EncodeError::Busy
                        | EncodeError::Thread(_) => FailureKind::Passing,
                        _ => FailureKind::Internal,
                    };
                    return Ok(Outcome::failed(file, fingerprint, kind, chain(&error)));
                }
            };
        // Where the former network fails on a photo, the photo is found once that one answers no more.
        let former = former.and_then(|(model, encoding)| {
            let input = encoding.preprocessing.input(&images[1]);
            Some((model, encoding.encoder.embed_blocking(input).ok()?))
        });
        self.progress.spent(Step::Encode, begun.elapsed());
        self.progress.add_encoded();
        let photo = PhotoRecord { content, size_bytes: bytes.len() as u64, info };
        let (file, appearance) = (file.clone(), Some(Box::new(appearance)));
        Ok(Outcome::write(Write::Encoded { file, fingerprint, photo, appearance, embedding, former }))
    }
}

/// Whether a write tells something of a content that nobody knew.
fn makes_known(write: &Write) -> bool {
    matches!(write, Write::Encoded { .. } | Write::Known { appearance: Some(_), .. })
}

/// What reading a file leads to.
enum Outcome {
    Write(Box<Write>),
    Nothing,
    Parked,
}

impl Outcome {
    fn write(write: Write) -> Self {
        Self::Write(Box::new(write))
    }

    fn failed(file: &FileId, fingerprint: Fingerprint, kind: FailureKind, reason: String) -> Self {
        let at = Timestamp::now().as_second();
        let reason = cut(reason);
        let failure = FailureRecord { kind, reason, at, size_bytes: fingerprint.len };
        Self::write(Write::Failed { file: file.clone(), fingerprint, failure })
    }
}

/// Whether the machine, or our share of it, ran short of something that it will have again.
fn is_shortage(error: &io::Error) -> bool {
    let shortages = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::AGAIN, Errno::NOBUFS];
    shortages.iter().any(|errno| error.raw_os_error() == Some(errno.raw_os_error()))
}

/// The photo cannot be decoded, and why.
fn refused(file: &FileId, fingerprint: Fingerprint, error: &DecodeError) -> Outcome {
    let kind = match error.kind() {
        decode::FailureKind::NotAPhoto => FailureKind::NotAPhoto,
        decode::FailureKind::Corrupt => FailureKind::Corrupt,
        decode::FailureKind::Unsupported => FailureKind::Unsupported,
        decode::FailureKind::TooLarge => FailureKind::TooLarge,
        decode::FailureKind::TimedOut => FailureKind::TimedOut,
        decode::FailureKind::Crashed => FailureKind::Internal,
    };
    Outcome::failed(file, fingerprint, kind, chain(error))
}

/// Prints an error with its causes, since the store keeps text.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(": ");
        text.push_str(&error.to_string());
        cause = error.source();
    }
    text
}

/// Characters of a reason that are kept. Decoders put what they have read into it.
const MOST_OF_A_REASON: usize = 300;

fn cut(mut reason: String) -> String {
    if let Some((end, _)) = reason.char_indices().nth(MOST_OF_A_REASON) {
        reason.truncate(end);
        reason.push('…');
    }
    reason
}

#[cfg(test)]
#[path = "worker_tests.rs"]
mod tests;
