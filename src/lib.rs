//! `resembled` finds the photos that resemble a photo.
//!
//! Read the rooms in this order and you have followed a photo from the disk to an answer.

pub mod photo;
pub mod watch;
