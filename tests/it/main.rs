//! Integration tests: a real daemon in its own process, its real API and client, a temporary world.
//!
//! Small libraries are searched by full vectors in memory, large ones by codes. What depends on it is tested in both ways;
//! `RESEMBLED_MAX_FULL_VECTORS=50 cargo test --release --test it` runs everything as if libraries were large beyond 50 photos.
//!
//! One binary. No sleeps: a test waits for `READY=1`, for a status, or for a process to end, each with a deadline.

#![allow(clippy::unwrap_used, reason = "tests")]

mod api;
mod backup;
mod checking;
mod client;
mod comparing;
mod contract;
mod crash;
mod dual;
mod events;
mod examples;
mod export;
mod failing_disk;
mod faults;
mod formats;
mod full_disk;
mod fuse;
mod hangs;
mod leaving;
mod library;
mod listing;
mod mcp;
mod metrics;
mod model_based;
mod namespace;
mod networks;
mod omissions;
mod passing;
mod pausing;
mod pictures;
mod private_disk;
mod random;
mod sameness;
mod searching;
mod second_look;
mod service;
mod stores;
mod thumbnails;
mod turned;
mod waiting;
mod watches;
mod watching;
mod window;
mod words;
mod world;
