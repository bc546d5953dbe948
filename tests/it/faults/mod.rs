//! Campaigns: hundreds of faults each, with a seed and a line that says what became of them. They take minutes, so that only
//! a small version of each runs with the other tests. All of them:
//!
//! ```sh
//! cargo test --release --test it -- --ignored --nocapture faults::
//! ```

mod clients;
mod decoders;
mod first_start;
mod full_disk;
mod hangs;
mod kills;
mod volumes;
