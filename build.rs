//! Compiles `proto/` with a compiler in Rust, so that no `protoc` is needed, and keeps the descriptors for reflection. Run
//! for the package in `api/`.

use std::error::Error;
use std::path::PathBuf;
use std::{env, fs};

use prost::Message;

const PROTOS: [&str; 7] = [
    "resembled/v1/photo.proto",
    "resembled/v1/search.proto",
    "resembled/v1/duplicates.proto",
    "resembled/v1/library.proto",
    "resembled/v1/daemon.proto",
    "resembled/v1/errors.proto",
    "resembled/v1/events.proto",
];

fn main() -> Result<(), Box<dyn Error>> {
    let proto = PathBuf::from(env::var("CARGO_MANIFEST_DIR")?).with_file_name("proto");
    println!("cargo::rerun-if-changed={}", proto.display());
    let descriptors = protox::compile(PROTOS, [proto])?;
    let out = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out.join("descriptors.bin"), descriptors.encode_to_vec())?;
    tonic_prost_build::configure()
        .build_transport(false)
        .bytes(".resembled.v1.SearchPhotosRequest.image")
        .bytes(".resembled.v1.Example.image")
        .compile_fds(descriptors)?;
    Ok(())
}
