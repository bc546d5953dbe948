//! Integration tests: a real daemon in its own process, its real API and client, a temporary world.
//!
//! One binary. No sleeps: a test waits for `READY=1`, for a status, or for a process to end, each with a deadline.

#![allow(clippy::unwrap_used, reason = "tests")]

mod api;
mod checking;
mod client;
mod crash;
mod faults;
mod formats;
mod full_disk;
mod leaving;
mod library;
mod model_based;
mod namespace;
mod networks;
mod passing;
mod pictures;
mod private_disk;
mod random;
mod searching;
mod service;
mod stores;
mod waiting;
mod watching;
mod world;
