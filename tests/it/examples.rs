//! The clients in `examples/`, as somebody would run them. `PYTHON` names a Python with grpcio and grpcio-tools where `python3` has
//! none, `NODE_PATH` a folder with @grpc/grpc-js and @grpc/proto-loader.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};

use crate::pictures;
use crate::world::World;

/// Makes a command that sees the world, and what the tool needs of the machine's. `None`: it is not there, which is said.
fn tool(world: &World, program: &str, try_out: &[&str], needs: &str) -> Option<Command> {
    let make = || {
        let mut command = world.command(program);
        for name in ["PATH", "NODE_PATH"] {
            command.envs(std::env::var_os(name).map(|value| (name, value)));
        }
        // It is found by the tool itself, whatever stands for it in the search path.
        command.envs(std::env::var_os("HOME").map(|home| ("HOME", home)));
        command
    };
    let is_there = make().args(try_out).stderr(Stdio::null()).status().is_ok_and(|status| status.success());
    if !is_there {
        eprintln!("SKIPPED: {program} with {needs} is not here");
    }
    is_there.then(make)
}

fn example(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_python_client_searches_and_follows() {
    let world = World::new();
    let python = std::env::var("PYTHON").unwrap_or_else(|_| "python3".to_owned());
    let Some(mut command) =
        tool(&world, &python, &["-c", "import grpc, grpc_tools"], "grpcio and grpcio-tools")
    else {
        return;
    };
    for seed in 0..7 {
        pictures::write(&world.photo(format!("{seed}.png")), seed);
    }
    let daemon = world.start().await;
    daemon.wait_for_files(7).await;
    let lines = std::fs::read_to_string(example("client.py")).unwrap().lines().count();
    assert!(lines <= 60, "{lines} lines");
    let mut child = command
        .arg(example("client.py"))
        .arg(world.photo("3.png"))
        .arg("--follow")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let mut next = || tokio::task::block_in_place(|| lines.next().unwrap().unwrap());
    let first = next();
    assert!(first.starts_with("0.0000  file:///") && first.ends_with("/3.png"), "{first}");
    for _ in 1..7 {
        assert!(next().contains("  file:///"));
    }
    pictures::write(&world.photo("new one.png"), 8);
    let event = next();
    assert!(event.starts_with("EVENT_KIND_ADDED file:///") && event.ends_with("/new%20one.png"), "{event}");
    child.kill().unwrap();
    child.wait().unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_javascript_client_counts_and_lists() {
    let world = World::new();
    let needed = "require('@grpc/grpc-js'); require('@grpc/proto-loader')";
    let Some(mut command) = tool(&world, "node", &["-e", needed], "@grpc/grpc-js and @grpc/proto-loader")
    else {
        return;
    };
    for seed in 0..2 {
        pictures::write(&world.photo(format!("{seed}.png")), seed);
    }
    let daemon = world.start().await;
    daemon.wait_for_files(2).await;
    let output = command.arg(example("client.js")).output().unwrap();
    let text = String::from_utf8(output.stdout.clone()).unwrap();
    let lines: Vec<&str> = text.lines().collect();
    assert_eq!((lines.len(), lines.first().copied()), (3, Some("no date: 2")), "{output:?}");
    assert!(lines[1..].iter().all(|line| line.starts_with("file:///")), "{text}");
}
