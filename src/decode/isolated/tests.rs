use std::fs::File;
use std::io::{Read, Write};
use std::net::UdpSocket;
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::process::Command;

use rustix::process::{Pid, Signal, kill_process, test_kill_process};

use super::super::confine::{confine, limit_time};
use super::super::serve_worker;
use super::super::worker::{Hello, Request, Response, Start, receive, send};
use super::*;

/// The environment variable that makes the test below be a worker.
const ROLE: &str = "RESEMBLED_TEST_WORKER";

/// Not a test by itself: the process that the others start, which is this very test program.
#[test]
fn being_the_worker() {
    let Ok(role) = std::env::var(ROLE) else { return };
    let mut socket = File::from(io::stdin().as_fd().try_clone_to_owned().unwrap());
    if role == "decode" {
        return serve_worker().unwrap();
    }
    let daemon = rustix::process::getppid().unwrap();
    let Start { limits, .. } = receive(&mut socket).unwrap();
    let protection = if role == "break out" { confine(&limits) } else { Protection::default() };
    send(&mut socket, &Hello { protection }).unwrap();
    let Request { .. } = receive(&mut socket).unwrap();
    let signal_itself = |signal| kill_process(rustix::process::getpid(), signal).unwrap();
    match role.as_str() {
        "be killed" => signal_itself(Signal::KILL),
        "be terminated" => signal_itself(Signal::TERM),
        "be stopped" => signal_itself(Signal::STOP),
        "call what is not allowed" => signal_itself(Signal::SYS),
        "break out" => {
            let refused = [
                File::open("/etc/passwd").is_err(),
                UdpSocket::bind("127.0.0.1:0").is_err(),
                UnixStream::pair().is_err(),
                Command::new("/bin/true").spawn().is_err(),
                File::create("/tmp/resembled-broke-out").is_err(),
                kill_process(daemon, Signal::CONT).is_err(),
            ];
            let reason = format!("{refused:?}");
            send(&mut socket, &Response::Failed(DecodeError::Crashed { reason })).unwrap();
            let mut rest = Vec::new();
            socket.read_to_end(&mut rest).unwrap();
        }
        "wait for ever" => loop {
            std::thread::park();
        },
        "compute for ever" => {
            limit_time(&limits);
            loop {
                std::hint::spin_loop();
            }
        }
        "abort" => std::process::abort(),
        "overflow the stack" => assert_eq!(deeper(0), 0),
        "run out of memory" => std::alloc::handle_alloc_error(std::alloc::Layout::new::<[u8; 1000]>()),
        "lie" => {
            let info = super::super::decode(&png(1), Need::full(), &limits).unwrap().info;
            let lie = Response::Decoded { sizes: vec![(u32::MAX, u32::MAX)], info, appearance: None };
            send(&mut socket, &lie).unwrap();
        }
        "babble" => socket.write_all(&[0xff; 100]).unwrap(),
        other => panic!("{other} is no role"),
    }
}

/// Each call puts more on the stack; there is no room for the last one.
fn deeper(depth: u64) -> u64 {
    let own = std::hint::black_box([depth; 64]);
    if depth == u64::MAX { 0 } else { deeper(depth + 1) + own[3] }
}

impl Program {
    /// This test program in a role; `decode` for tests of other rooms.
    pub(crate) fn of_tests(role: &str) -> Self {
        let name = module_path!().split_once("::").unwrap().1.to_owned() + "::being_the_worker";
        Self {
            path: std::env::current_exe().unwrap(),
            arguments: ["--exact", &name, "--test-threads=1", "--nocapture"].map(OsString::from).to_vec(),
            environment: vec![(ROLE.into(), role.into())],
        }
    }
}

fn decoders(role: &str, limits: Limits) -> Decoders {
    Decoders::new(Program::of_tests(role), limits)
}

/// The processes that wait for a photo.
fn idle(decoders: &Decoders) -> Vec<Pid> {
    decoders.0.places.each_idle(|process| Pid::from_child(&process.child))
}

/// Waits until a process has ended and was collected.
fn wait_until_gone(process: Pid) {
    let deadline = std::time::Instant::now() + Duration::from_secs(60);
    while test_kill_process(process).is_ok() {
        assert!(std::time::Instant::now() < deadline, "{process:?} stays");
        thread::yield_now();
    }
}

/// A picture of noise.
fn png(side: u32) -> Vec<u8> {
    let mut seed = 1u32;
    let image = image::RgbImage::from_fn(side, side, |_, _| {
        seed = seed.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        image::Rgb([(seed >> 24) as u8, (seed >> 16) as u8, (seed >> 8) as u8])
    });
    let mut bytes = io::Cursor::new(Vec::new());
    image.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    bytes.into_inner()
}

fn failure(decoders: &Decoders, bytes: &[u8]) -> DecodeError {
    match decoders.decode(bytes, Need::full()) {
        Err(IsolatedError::Photo(error)) => error,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_confined_process_opens_nothing_starts_nothing_and_signals_nobody() {
    let decoders = decoders("break out", Limits::default());
    let protection = decoders.protection().unwrap();
    assert!(protection.system_calls && protection.memory, "{protection}");
    assert_eq!(failure(&decoders, b"x"), DecodeError::Crashed { reason: format!("{:?}", [true; 6]) });
}

#[test]
fn the_worker_answers_what_decoding_here_gives() {
    let decoders = decoders("decode", Limits::default());
    let good = png(40);
    let broken = &good[..good.len() / 2];
    for bytes in [&good[..], broken, b"", b"no photo", &good] {
        let here = super::super::decode(bytes, Need::full(), &Limits::default());
        match (decoders.decode(bytes, Need::full()), here) {
            (Ok(there), Ok(here)) => assert_eq!(there, here),
            (Err(IsolatedError::Photo(there)), Err(here)) => assert_eq!(there, here),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(decoders.lost(), 0);
    assert_eq!(idle(&decoders).len(), 1, "one thread, one process");
}

#[test]
fn squares_cut_by_the_worker_are_those_cut_here() {
    let decoders = decoders("decode", Limits::default());
    let squares = [(64, 56), (40, 40), (64, 56)].map(|(resize_short_side, side)| Square {
        resize_short_side,
        side,
        squash: false,
        resampling: Default::default(),
    });
    for photo in [png(40), png(300)] {
        let answer = decoders.decode_squares(&photo, &squares, &Cancel::default()).unwrap();
        let here = super::super::decode_squares(&photo, &squares, &Limits::default()).unwrap();
        assert_eq!(answer, here);
    }
    let error = decoders.decode_squares(b"no photo", &squares, &Cancel::default()).unwrap_err();
    assert!(matches!(error, IsolatedError::Photo(DecodeError::NotAPhoto)), "{error}");
}

#[test]
fn an_answer_of_other_sizes_than_were_asked_for_is_not_believed() {
    let limits = Limits { max_pixels: 100, ..Limits::default() };
    let picture = Wanted::Picture(Need::full());
    for (sizes, is_allowed) in [
        (&[(10, 10)][..], true),
        (&[(10, 11)], false),
        (&[(0, 10)], false),
        (&[(u32::MAX, u32::MAX)], false),
        (&[(5, 5), (5, 5)], false),
        (&[], false),
    ] {
        assert_eq!(picture.allows(sizes, &limits), is_allowed, "{sizes:?}");
    }
    let squares = Wanted::Squares(vec![
        Square {
            resize_short_side: 9,
            side: 8,
            squash: false,
            resampling: Default::default()
        };
        2
    ]);
    assert!(squares.allows(&[(8, 8), (8, 8)], &limits));
    assert!(!squares.allows(&[(8, 8)], &limits) && !squares.allows(&[(8, 8), (8, 9)], &limits));
}

#[test]
fn a_worker_that_was_killed_while_it_waited_costs_no_photo() {
    let decoders = decoders("decode", Limits::default());
    let photo = png(8);
    decoders.decode(&photo, Need::full()).unwrap();
    kill_process(idle(&decoders)[0], Signal::KILL).unwrap();
    decoders.decode(&photo, Need::full()).unwrap();
    assert_eq!(decoders.lost(), 1);
}

#[test]
fn a_photo_that_takes_too_long_is_given_up_once() {
    // Of the first, ten times as long passes by the clock; the other needs some of a busy processor's time.
    for (role, limit_ms) in [("wait for ever", 200), ("compute for ever", 3000)] {
        let limits = Limits { max_time: Duration::from_millis(limit_ms), ..Limits::default() };
        let decoders = decoders(role, limits);
        assert_eq!(failure(&decoders, b"x"), DecodeError::TimedOut { limit_ms });
        assert_eq!(decoders.lost(), 1, "{role}");
    }
}

#[test]
fn a_photo_that_kills_two_workers_is_at_fault() {
    for (role, expected) in [
        ("abort", "the decoder failed: it aborted"),
        ("call what is not allowed", "the decoder failed: ended by signal 31"),
        ("overflow the stack", "the decoder failed: it aborted: "),
        ("run out of memory", "too large: decoding took more than the limit of 805306368 bytes of memory"),
        ("lie", "the decoder failed: the answer makes no sense"),
        ("babble", "the decoder failed: the answer makes no sense"),
    ] {
        let decoders = decoders(role, Limits::default());
        let error = failure(&decoders, b"x").to_string();
        assert!(error.starts_with(expected), "{role}: {error}");
        assert_eq!(decoders.lost(), 2, "{role}");
    }
}

#[test]
fn a_program_that_is_not_there_condemns_no_photo() {
    let program = Program { path: "/nonexistent".into(), ..Program::this() };
    let error = Decoders::new(program, Limits::default()).decode(b"x", Need::full()).unwrap_err();
    assert!(matches!(error, IsolatedError::Start { .. }), "{error:?}");
    assert!(error.is_passing());
}

#[test]
fn a_worker_that_others_kill_or_stop_is_never_the_photos_fault() {
    for (role, reason) in [
        ("be killed", "killed, perhaps for lack of memory"),
        ("be terminated", "ended by signal 15"),
        ("be stopped", "was stopped"),
    ] {
        let decoders = decoders(role, Limits::default());
        let error = decoders.decode(b"x", Need::full()).unwrap_err();
        assert!(matches!(error, IsolatedError::Interrupted { .. }) && error.is_passing(), "{role}: {error}");
        assert!(error.to_string().contains(reason), "{role}: {error}");
        assert_eq!(decoders.lost(), u64::from(TRIES), "{role}");
    }
}

/// The program cannot be killed before its first word by a test, but one that ends there is the same to us.
#[test]
fn a_worker_that_ends_before_its_first_word_condemns_no_photo() {
    let program = Program { path: "/bin/false".into(), ..Program::this() };
    let error = Decoders::new(program, Limits::default()).decode(b"x", Need::full()).unwrap_err();
    assert!(matches!(error, IsolatedError::Start { .. }) && error.is_passing(), "{error:?}");
}

/// Decodes on a thread of its own, does something once the process is at it, and returns what became of both.
fn interrupted(
    decoders: &Decoders,
    cancel: &Cancel,
    interrupt: impl FnOnce(),
) -> (Pid, Result<Squares, IsolatedError>) {
    decoders.protection().unwrap();
    let process = idle(decoders)[0];
    thread::scope(|scope| {
        let decoding = scope.spawn(|| decoders.decode_squares(b"x", &[], cancel));
        while !idle(decoders).is_empty() {
            thread::yield_now();
        }
        interrupt();
        (process, decoding.join().unwrap())
    })
}

#[test]
fn a_decoding_that_is_given_up_ends_with_its_process() {
    for role in ["wait for ever", "be stopped"] {
        let (decoders, cancel) = (decoders(role, Limits::default()), Cancel::default());
        let (process, decoded) = interrupted(&decoders, &cancel, || cancel.cancel());
        assert!(matches!(decoded, Err(IsolatedError::Cancelled)), "{role}");
        wait_until_gone(process);
        let again = decoders.decode_squares(b"x", &[], &cancel);
        assert!(matches!(again, Err(IsolatedError::Cancelled)), "given up before it begins");
        assert_eq!((decoders.lost(), idle(&decoders).len()), (0, 0), "{role}");
    }
}

#[test]
fn closed_decoders_give_up_what_they_do_and_do_nothing_more() {
    let decoders = decoders("be stopped", Limits::default());
    let (process, decoded) = interrupted(&decoders, &Cancel::default(), || decoders.close());
    assert!(matches!(decoded, Err(IsolatedError::Cancelled)));
    wait_until_gone(process);
    assert!(matches!(decoders.decode(b"x", Need::full()), Err(IsolatedError::Cancelled)));
}

#[test]
fn processes_that_have_waited_for_long_are_ended() {
    let decoders = decoders("decode", Limits::default());
    decoders.decode(&png(8), Need::full()).unwrap();
    let process = idle(&decoders)[0];
    decoders.end_idle_for(Duration::from_secs(3600));
    assert_eq!(idle(&decoders), [process]);
    decoders.end_idle_for(Duration::ZERO);
    assert_eq!(idle(&decoders), []);
    wait_until_gone(process);
}
