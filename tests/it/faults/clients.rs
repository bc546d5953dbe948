//! Clients that mean no good, or do not know what they do, beside one that is honest. All of them connect to addresses of this
//! machine that the test's own daemon made, and no further.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Command;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use prost::bytes::Bytes;
use resembled::proto;
use resembled::proto::search_photos_request::Query;
use resembled::proto::search_service_client::SearchServiceClient;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpStream, UnixStream};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::Code;
use tonic::transport::Channel;

use crate::pictures;
use crate::random::Random;
use crate::world::{DEADLINE, Daemon, World, connect};

/// What clients ask for, the first 30 of it in the library. Made once: clients that are busy drawing answer no ping.
static PICTURES: LazyLock<Vec<Bytes>> =
    LazyLock::new(|| (0..300).map(|seed| pictures::png(seed).into()).collect());

/// The preface of HTTP/2 and empty settings (RFC 9113, 3.4).
const HELLO: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";

/// How long one hostile connection lasts at the most.
const CONNECTION: Duration = Duration::from_secs(2);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_few_idle_and_hostile_clients() {
    campaign(1, 150, 8, 30).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn two_thousand_idle_and_sixty_four_hostile_clients() {
    campaign(2, 2000, 64, 300).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_few_honest_and_greedy_clients() {
    crowd(1, 10, 3, 3).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "takes minutes"]
async fn a_hundred_honest_and_thirty_two_greedy_clients() {
    crowd(2, 100, 32, 5).await;
}

/// On TCP, who shows no token in time is shown the door, so that nobody takes the descriptors of others.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_without_a_token_are_closed_by_themselves() {
    let world = World::new();
    let (_daemon, tcp) = start(&world).await;
    let mut silent = JoinSet::new();
    for number in 0..100 {
        let mut stream = TcpStream::connect(tcp).await.unwrap();
        silent.spawn(async move {
            if number % 2 == 0 {
                // Closed meanwhile, it cannot say hello any more.
                let _ = stream.write_all(HELLO).await;
            }
            until_closed(&mut stream).await;
        });
    }
    let closed = tokio::time::timeout(DEADLINE, silent.join_all());
    closed.await.expect("each is closed by the daemon");
}

/// Sixty calls, each a picture of 120 megapixels in some hundred KB, given up after a moment: what each leaves behind must not
/// add up.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn calls_that_are_given_up_leave_no_decoding_behind() {
    const CALLS: usize = 60;

    let world = World::new();
    pictures::write(&world.photo("a.png"), 1);
    let daemon = world.start().await;
    daemon.wait_for_files(1).await;
    let large = image::GrayImage::new(12_000, 10_000);
    let mut bytes = io::Cursor::new(Vec::new());
    large.write_to(&mut bytes, image::ImageFormat::Png).unwrap();
    let bytes = prost::bytes::Bytes::from(bytes.into_inner());
    let mut most = 0;
    for _ in 0..CALLS {
        let (mut search, query) = (daemon.search(), Some(Query::Image(bytes.clone())));
        let request = proto::SearchPhotosRequest { query, ..Default::default() };
        let given_up = tokio::time::timeout(Duration::from_millis(100), search.search_photos(request)).await;
        assert!(given_up.is_err(), "such a picture takes longer: {given_up:?}");
        most = most.max(daemon.children().len());
    }
    let cores = std::thread::available_parallelism().unwrap().get();
    assert!(most <= cores + 1, "{most} decoding processes on {cores} cores");
    assert_eq!(daemon.nearest(pictures::png(1), 1).await.len(), 1);
    println!("{CALLS} calls given up: {most} decoding processes at the most");
}

/// An honest client asks before and during the time in which so many others are idle or hostile.
async fn campaign(seed: u64, idle: usize, hostile: usize, calls: usize) {
    let descriptors = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: descriptors, maximum: descriptors }).unwrap();
    let world = World::new();
    for photo in 0..30 {
        pictures::write(&world.photo(format!("{photo}.png")), photo);
    }
    let (daemon, tcp) = start(&world).await;
    daemon.wait_for_files(30).await;
    let before = latencies(&daemon.search(), calls).await;
    let (files_before, processes_before) = (files(&daemon), daemon.children().len());
    let lines_before = world.log().lines().count();

    let stop = CancellationToken::new();
    let mut others = JoinSet::new();
    for number in 0..idle {
        let (stop, socket) = (stop.clone(), world.socket());
        others.spawn(async move {
            // Half of them on each; who is closed does not come back.
            if number % 2 == 0 {
                stay(UnixStream::connect(socket).await, &stop).await;
            } else {
                stay(TcpStream::connect(tcp).await, &stop).await;
            }
        });
    }
    for number in 0..hostile {
        let random = Random::new(seed + number as u64);
        others.spawn(attack(number, random, world.socket(), tcp, stop.clone()));
    }
    let during = latencies(&daemon.search(), calls).await;
    // A photo that comes meanwhile is indexed, and a client that comes meanwhile is let in.
    pictures::write(&world.photo("late.png"), 1000);
    daemon.wait_for_files(31).await;
    let output = tokio::task::block_in_place(|| world.resemble(["status"]));
    assert!(output.status.success(), "{output:?}");
    let (files_during, processes_during) = (files(&daemon), daemon.children().len());
    stop.cancel();
    others.join_all().await;

    assert_eq!(daemon.failures().await, []);
    let deadline = Instant::now() + DEADLINE;
    while files(&daemon) > files_before || daemon.children().len() > processes_before {
        assert!(Instant::now() < deadline, "{} descriptors, {files_before} before", files(&daemon));
        // The daemon's own clock decides when it lets them go.
        daemon.status().await;
    }
    let lines = world.log().lines().count() - lines_before;
    assert!(lines < 20, "one line for each hostile connection\n{}", world.log());
    println!(
        "seed {seed}: {idle} idle and {hostile} hostile clients, {calls} honest calls: p99 {:.1?} before, {:.1?} during; \
         descriptors {files_before}, {files_during}, {}; processes {processes_before}, {processes_during}, {}; {lines} lines in the log",
        p99(before),
        p99(during),
        files(&daemon),
        daemon.children().len(),
    );
    daemon.stop(&world).await;
}

/// Honest clients ask one thing after the other while greedy ones ask many at once and wait for none of the answers, and while
/// photos are indexed. Nobody honest is refused.
async fn crowd(seed: u64, honest: usize, greedy: usize, calls: usize) {
    let world = World::new();
    for photo in 0..30 {
        pictures::write(&world.photo(format!("{photo}.png")), photo);
    }
    let daemon = world.start().await;
    daemon.wait_for_files(30).await;
    let before = latencies(&daemon.search(), calls).await;
    let lines_before = world.log().lines().count();

    let stop = CancellationToken::new();
    let mut others = JoinSet::new();
    for number in 0..greedy {
        let search = SearchServiceClient::new(connect(world.socket()));
        others.spawn(want_much(search, Random::new(seed + number as u64), stop.clone()));
    }
    for photo in 100..300 {
        pictures::write(&world.photo(format!("{photo}.png")), photo);
    }
    let mut asking = JoinSet::new();
    for _ in 0..honest {
        let search = SearchServiceClient::new(connect(world.socket()));
        asking.spawn(async move { latencies(&search, calls).await });
    }
    let mut during = asking.join_all().await.concat();
    stop.cancel();
    others.join_all().await;
    daemon.wait_for_files(230).await;
    assert_eq!(daemon.failures().await, []);
    let lines = world.log().lines().count() - lines_before;
    assert!(lines < 20, "one line for each hostile call\n{}", world.log());
    during.sort();
    println!(
        "seed {seed}: {honest} honest and {greedy} greedy clients while indexing: p99 of one alone {:.1?}; of all p50 {:.1?}, \
         p99 {:.1?}; 0 of {} calls refused; {lines} lines in the log",
        p99(before),
        during[during.len() / 2],
        p99(during.clone()),
        during.len(),
    );
    daemon.stop(&world).await;
}

/// Has as many calls in hand as one connection may, and gives each up after a moment.
async fn want_much(search: SearchServiceClient<Channel>, mut random: Random, stop: CancellationToken) {
    let mut calls = JoinSet::new();
    while !stop.is_cancelled() {
        while calls.len() < 64 {
            let (mut search, number) = (search.clone(), random.below(PICTURES.len()));
            let patience = Duration::from_millis(50 + random.below(500) as u64);
            calls.spawn(async move {
                let query = Some(Query::Image(PICTURES[number].clone()));
                let request = proto::SearchPhotosRequest { query, ..Default::default() };
                // Whether it is answered in time does not matter here.
                let _ = tokio::time::timeout(patience, search.search_photos(request)).await;
            });
        }
        calls.join_next().await;
    }
}

/// Starts the daemon on its socket and on TCP, with no more descriptors than a system may give.
async fn start(world: &World) -> (Daemon, SocketAddr) {
    // The port is free when it was just given and let go.
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let resembled = world.resembled();
    let mut command = Command::new("/bin/sh");
    command.env_clear().envs(resembled.get_envs().filter_map(|(name, value)| Some((name, value?))));
    command.args(["-c", "ulimit -n 1024 && exec \"$@\"", "sh"]).arg(resembled.get_program());
    command.arg(world.photos()).args(["--listen", &tcp.to_string()]);
    (world.start_command(command).await, tcp)
}

/// Returns how long each of some searches took, of which none is refused.
async fn latencies(search: &SearchServiceClient<Channel>, calls: usize) -> Vec<Duration> {
    let (mut search, mut latencies) = (search.clone(), Vec::with_capacity(calls));
    for call in 0..calls {
        let begun = Instant::now();
        let query = Some(Query::Image(PICTURES[call % 30].clone()));
        let request = proto::SearchPhotosRequest { query, k: 3, ..Default::default() };
        let matches = search.search_photos(request).await.unwrap().into_inner().matches;
        latencies.push(begun.elapsed());
        assert_eq!((matches.len(), matches[0].distance < 1e-3), (3, true), "{matches:?}");
    }
    latencies
}

fn p99(mut latencies: Vec<Duration>) -> Duration {
    latencies.sort();
    latencies[latencies.len() * 99 / 100]
}

/// Returns how many descriptors the daemon has.
fn files(daemon: &Daemon) -> usize {
    fs::read_dir(format!("/proc/{}/fd", daemon.pid())).unwrap().count()
}

/// Says nothing until the end.
async fn stay<S: AsyncRead + Unpin>(connected: io::Result<S>, stop: &CancellationToken) {
    // Where nobody may connect any more, there is one less.
    let Ok(mut stream) = connected else { return };
    tokio::select! {
        () = stop.cancelled() => {}
        () = until_closed(&mut stream) => stop.cancelled().await,
    }
}

async fn until_closed(stream: &mut (impl AsyncRead + Unpin)) {
    let mut bytes = [0; 4096];
    while let Ok(1..) = stream.read(&mut bytes).await {}
}

/// Connects again and again, each time to do harm in another way.
async fn attack(
    number: usize,
    mut random: Random,
    socket: PathBuf,
    tcp: SocketAddr,
    stop: CancellationToken,
) {
    while !stop.is_cancelled() {
        let way = random.below(6);
        let attacked = async {
            match (way, number % 2) {
                (5, _) => call_without_token(tcp).await,
                (way, 0) => harm(UnixStream::connect(&socket).await?, way, &mut random).await?,
                (way, _) => harm(TcpStream::connect(tcp).await?, way, &mut random).await?,
            }
            Ok::<(), io::Error>(())
        };
        tokio::select! {
            () = stop.cancelled() => {}
            // That it fails is what is wished for.
            _ = tokio::time::timeout(CONNECTION, attacked) => {}
        }
    }
}

async fn harm(
    mut stream: impl AsyncRead + AsyncWrite + Unpin,
    way: usize,
    random: &mut Random,
) -> io::Result<()> {
    match way {
        // No HTTP/2 at all.
        0 => {
            let garbage: Vec<u8> = (0..1000).map(|_| random.next() as u8).collect();
            stream.write_all(&garbage).await?;
        }
        // Half of a hello.
        1 => stream.write_all(&HELLO[..random.below(HELLO.len())]).await?,
        // A frame of 9 bytes of head, byte by byte, each when the last has gone.
        2 => {
            stream.write_all(HELLO).await?;
            for byte in [0, 1, 0, 1, 4, 0, 0, 0, 1] {
                stream.write_all(&[byte]).await?;
                tokio::time::sleep(CONNECTION / 10).await;
            }
        }
        // A request whose head never ends: HEADERS without END_HEADERS, then CONTINUATION after CONTINUATION.
        3 => {
            stream.write_all(HELLO).await?;
            let frame = |kind: u8| [&[0, 0x40, 0, kind, 0, 0, 0, 0, 1][..], &[0x40; 0x4000]].concat();
            stream.write_all(&frame(1)).await?;
            for _ in 0..64 {
                stream.write_all(&frame(9)).await?;
            }
        }
        // Answers to questions that nobody asked: acknowledged pings.
        _ => {
            stream.write_all(HELLO).await?;
            for _ in 0..1000 {
                stream.write_all(b"\0\0\x08\x06\x01\0\0\0\0unasked.").await?;
            }
        }
    }
    until_closed(&mut stream).await;
    Ok(())
}

async fn call_without_token(tcp: SocketAddr) {
    let endpoint = tonic::transport::Endpoint::from_shared(format!("http://{tcp}")).unwrap();
    // It may be closed for others before it has asked.
    let Ok(channel) = endpoint.connect().await else { return };
    let mut client = proto::daemon_service_client::DaemonServiceClient::new(channel);
    while let Err(refused) = client.get_status(proto::GetStatusRequest {}).await {
        match refused.code() {
            Code::Unauthenticated => {}
            _ => return,
        }
    }
    panic!("answered without a token");
}
