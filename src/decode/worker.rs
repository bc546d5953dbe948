//! The other side of [`Decoders`](super::Decoders): a process that only decodes.
//!
//! It takes requests from its standard input, which is a socket, and answers there; the photo lies in its standard output,
//! which is memory that it shares with the daemon. Before the first photo it gives away what it does not need
//! ([`confine`](super::confine)): after that it can neither open a file nor a connection,
//! start nothing, and allocate only so much. Whatever a photo makes of it, it is worth one photo.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};

use memmap2::MmapOptions;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::confine::{Protection, confine, limit_time, tie_to_parent};
use super::{DecodeError, Decoded, Limits, Need, PhotoInfo, Square, Squares};
use crate::appearance::Appearance;
use crate::photo::Rgb;

/// Messages are small; pixels follow them without a frame.
const MAX_MESSAGE_BYTES: u32 = 1 << 20;

/// The first message to the worker.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Start {
    pub limits: Limits,
    /// The process that sends this.
    pub daemon: u32,
}

/// Its answer.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Hello {
    pub protection: Protection,
}

/// A photo to decode: so many bytes from the start of the shared memory.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Request {
    pub wanted: Wanted,
    pub len_bytes: u64,
}

/// What to make of it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) enum Wanted {
    Picture(Need),
    Squares(Vec<Square>),
    /// The whole picture, its longer side at most so many pixels.
    Fitted(u32),
}

impl Wanted {
    /// Returns whether an answer may have pictures of these sizes.
    pub(super) fn allows(&self, sizes: &[(u32, u32)], limits: &Limits) -> bool {
        match self {
            Self::Picture(_) => {
                let pixels = |&(width, height): &(u32, u32)| u64::from(width) * u64::from(height);
                let most = limits.max_pixels.min(u64::from(u32::MAX));
                sizes.len() == 1 && sizes.iter().all(|size| (1..=most).contains(&pixels(size)))
            }
            Self::Squares(squares) => {
                squares.iter().map(|square| (square.side, square.side)).eq(sizes.iter().copied())
            }
            Self::Fitted(longest_side) => {
                let fits = |&(width, height): &(u32, u32)| {
                    (1..=*longest_side).contains(&width) && (1..=*longest_side).contains(&height)
                };
                sizes.len() == 1 && sizes.iter().all(fits)
            }
        }
    }

    /// Returns whether an answer tells what all of the picture looks like.
    pub(super) fn is_looked_at(&self) -> bool {
        matches!(self, Self::Squares(_))
    }

    fn decode(&self, bytes: &[u8], limits: &Limits) -> Result<Answer, DecodeError> {
        match self {
            Self::Picture(need) => super::decode(bytes, *need, limits).map(Answer::of),
            Self::Squares(squares) => {
                let Squares { images, info, appearance } = super::decode_squares(bytes, squares, limits)?;
                Ok(Answer { images, info, appearance: Some(Box::new(appearance)) })
            }
            Self::Fitted(longest_side) => super::decode_fitted(bytes, *longest_side, limits).map(Answer::of),
        }
    }
}

/// What was made of a photo.
#[derive(Debug)]
pub(super) struct Answer {
    pub images: Vec<Rgb>,
    pub info: PhotoInfo,
    /// Of [`Wanted::Squares`].
    pub appearance: Option<Box<Appearance>>,
}

impl Answer {
    fn of(Decoded { image, info }: Decoded) -> Self {
        Self { images: vec![image], info, appearance: None }
    }
}

/// What became of it; on success `width * height * 3` bytes of pixels follow for each picture.
#[derive(Debug, Serialize, Deserialize)]
pub(super) enum Response {
    Decoded { sizes: Vec<(u32, u32)>, info: PhotoInfo, appearance: Option<Box<Appearance>> },
    Failed(DecodeError),
}

/// Serves until the socket closes. This is all that `resembled decode-worker` does; it is not for people.
///
/// # Errors
/// Returns what went wrong with the socket. A photo's failure is an answer, not an error.
#[expect(unsafe_code, reason = "memory is shared with the daemon")]
pub fn serve_worker() -> io::Result<()> {
    let file = |fd: BorrowedFd<'_>| fd.try_clone_to_owned().map(File::from);
    let (mut socket, photo) = (file(io::stdin().as_fd())?, file(io::stdout().as_fd())?);
    // A panic is an answer as well, and its backtrace would want to open files.
    std::panic::set_hook(Box::new(|_| ()));
    let Start { limits, daemon } = receive(&mut socket)?;
    tie_to_parent(daemon)?;
    send(&mut socket, &Hello { protection: confine(&limits) })?;
    loop {
        let Request { wanted, len_bytes } = match receive(&mut socket) {
            // The daemon has no more photos, or is gone.
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            request => request?,
        };
        limit_time(&limits);
        let len = usize::try_from(len_bytes).map_err(io::Error::other)?;
        // SAFETY: the daemon has written that much, and changes nothing before it has the answer.
        let bytes = unsafe { MmapOptions::new().len(len).map(&photo)? };
        match wanted.decode(&bytes, &limits) {
            Ok(Answer { images, info, appearance }) => {
                let sizes = images.iter().map(|image| (image.width, image.height)).collect();
                send(&mut socket, &Response::Decoded { sizes, info, appearance })?;
                images.iter().try_for_each(|Rgb { pixels, .. }| socket.write_all(pixels))?;
            }
            Err(error) => send(&mut socket, &Response::Failed(error))?,
        }
    }
}

pub(super) fn send(socket: &mut impl Write, message: &impl Serialize) -> io::Result<()> {
    let body = postcard::to_stdvec(message).map_err(io::Error::other)?;
    let len = u32::try_from(body.len()).map_err(io::Error::other)?;
    socket.write_all(&[&len.to_le_bytes()[..], &body].concat())
}

pub(super) fn receive<T: DeserializeOwned>(socket: &mut impl Read) -> io::Result<T> {
    let mut len = [0; 4];
    socket.read_exact(&mut len)?;
    let len = u32::from_le_bytes(len);
    if len > MAX_MESSAGE_BYTES {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "a message is too long"));
    }
    let mut body = vec![0; len as usize];
    socket.read_exact(&mut body)?;
    postcard::from_bytes(&body).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}
