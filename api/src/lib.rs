//! What the daemon and its clients agree on: in [`proto`] the messages of the API, in [`content`] what a photo is known by, in
//! [`dirs`] where the socket and the token are, in [`format`](mod@format) and [`left_out`] which files are photos at all, and in
//! [`uri`] how paths are written as text.
//!
//! Small, since everybody who asks the daemon has all of it.

pub mod content;
pub mod dirs;
pub mod format;
pub mod left_out;
pub mod proto;
pub mod uri;
