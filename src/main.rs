//! The daemon's executable.
fn main() {}
