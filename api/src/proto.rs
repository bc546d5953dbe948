//! What `build.rs` made of `proto/`: messages, the services, their clients. Documented there.

#![allow(missing_docs, clippy::all, clippy::unwrap_used, clippy::missing_errors_doc, reason = "generated")]

tonic::include_proto!("resembled.v1");

/// The descriptors of all messages and services, for reflection.
pub const DESCRIPTORS: &[u8] = include_bytes!(concat!(env!("OUT_DIR"), "/descriptors.bin"));
