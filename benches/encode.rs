//! Time of one photo through an encoder, on one thread, without decoding it.
//!
//! `cargo bench --bench encode` measures every model that is there, in ONNX Runtime and in tract, in one run. A process
//! has one runtime, so this one starts itself again for each. `RESEMBLED_MODEL_DIR` is searched for models, and
//! `ORT_DYLIB_PATH` names ONNX Runtime's library.

use std::env;
use std::path::PathBuf;
use std::process::{Command, ExitCode};

use divan::Bencher;
use resembled::encode::{Candidate, Encoder, Input, Network, OnnxEncoder, Runtime, RuntimeChoice};
use resembled::models::Catalogue;

const RUNTIME: &str = "RESEMBLED_BENCH_RUNTIME";

fn main() -> ExitCode {
    if env::var_os(RUNTIME).is_some() {
        divan::main();
        return ExitCode::SUCCESS;
    }
    let mut choices = vec!["tract"];
    match env::var_os("ORT_DYLIB_PATH") {
        Some(_) => choices.push("onnxruntime"),
        None => eprintln!("SKIPPED: ONNX Runtime; set ORT_DYLIB_PATH to its library"),
    }
    for choice in choices {
        let this = env::current_exe().expect("the path of this executable");
        let status = Command::new(this).args(env::args_os().skip(1)).env(RUNTIME, choice).status();
        if !status.expect("this executable starts again").success() {
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

#[divan::bench(args = ["mobilenet_v2", "builtin"], sample_count = 50, sample_size = 1)]
fn one_photo(bencher: Bencher<'_, '_>, name: &str) {
    let runtime = match env::var(RUNTIME).as_deref() {
        Ok("onnxruntime") => {
            let library = PathBuf::from(env::var_os("ORT_DYLIB_PATH").expect("the parent has looked"));
            Runtime::start(RuntimeChoice::OnnxRuntime, &[Candidate::File(library)])
        }
        _ => Runtime::start(RuntimeChoice::Tract, &[]),
    };
    let runtime = runtime.expect("the runtime starts");
    let dirs = env::var_os("RESEMBLED_MODEL_DIR").map(PathBuf::from).into_iter().collect();
    let catalogue = Catalogue::new(&[], dirs).expect("the built-in manifests are whole");
    let model = match catalogue.resolve(name.as_ref()) {
        Ok(model) => model,
        Err(error) => return eprintln!("SKIPPED: {error}"),
    };
    let network = Network::of(&model).expect("the network is cut");
    let side = network.side;
    let mut encoder = OnnxEncoder::new(&runtime, network).expect("the network is loaded");
    let values = (0..3 * side * side).map(|at| (at as f32 / 57.0).sin()).collect();
    let photo = [Input { side, values }];
    eprintln!("{name} in {runtime}");
    bencher.bench_local(|| encoder.embed(divan::black_box(&photo)));
}
