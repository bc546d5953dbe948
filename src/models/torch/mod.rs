//! The bytes of a PyTorch checkpoint in, its tensors out.
//!
//! What is read is the format that PyTorch wrote before 1.6: five pickles (a magic number, a version, the machine it was
//! written on, the tensors without their numbers, the names of the storages), then the storages themselves. Whatever a
//! checkpoint could hold besides plain tensors of numbers is refused.

mod pickle;
mod state;

pub(super) use state::StateDict;
pub use state::{StateError, Unreadable};

#[cfg(test)]
pub(super) use state::tests::checkpoint;
