//! The encode room: an upright picture in, an embedding out.

pub mod preprocess;
