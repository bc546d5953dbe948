//! The daemon: wiring only. This room knows all others, and no other knows it.
//!
//! `run::run` reads top to bottom as the start order: store, model, index, watch, then scan, bind, ready; and as the
//! stop order: refuse calls, stop watching, finish and commit what is in hand, close the store. Around it, `lifetime` sees
//! to it that the process ends in time whatever hangs.

mod adapters;
mod batches;
mod candidates;
mod cores;
mod decoders;
mod descriptors;
mod disk;
mod error;
mod follow;
mod handover;
mod index;
mod lifetime;
mod maintenance;
mod networks;
mod power;
mod pressure;
mod priority;
mod reload;
mod restart;
mod retries;
mod roots;
mod run;
mod second_look;
mod signals;
mod supervisor;
mod systemd;

pub use self::descriptors::raise_descriptor_limit;
pub use self::disk::DiskFailed;
pub use self::error::DaemonError;
pub use self::lifetime::{Ended, run};
pub use self::reload::check;
pub use self::restart::start_over_if_damaged;
pub use self::run::Reload;
