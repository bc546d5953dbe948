//! The client's executable.
fn main() {}
