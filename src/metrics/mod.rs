//! Numbers for those who watch over machines: what was counted in, the text format of Prometheus out.
//!
//! [`Histogram`] is what any thread adds times to, [`Exposition`] the text, `process` what the kernel says of the daemon. What
//! the numbers are is put together in `serve`, as every answer is. No name of a photo or a folder is among them.

mod exposition;
mod histogram;
mod process;

pub use exposition::{Exposition, Kind};
pub use histogram::Histogram;
pub use process::Process;
