//! What every call of the API does with a good request, an empty one, one that makes no sense, one that names what is not there, one that
//! is too large, one that is given up, one that has no time, and one of somebody who has no token.
//!
//! The calls are those of the descriptors that reflection serves: one without a row fails the test.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::OsStr;
use std::net::TcpListener;
use std::os::unix::ffi::OsStrExt;
use std::time::Duration;

use prost::Message;
use prost::bytes::{Buf, BufMut};
use prost_types::FileDescriptorSet;
use resembled::photo::ContentHash;
use resembled::proto;
use resembled::proto::{ErrorReason, search_photos_request};
use tonic::client::Grpc;
use tonic::codec::{Codec, DecodeBuf, Decoder, EncodeBuf, Encoder};
use tonic::codegen::http::uri::PathAndQuery;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status, Streaming};
use tonic_types::StatusExt;

use crate::pictures;
use crate::world::{DEADLINE, World};

/// Larger than any message that is taken.
const TOO_LARGE: usize = 65 << 20;

/// Messages as they are on the wire.
#[derive(Clone, Copy, Default)]
struct Raw;

impl Codec for Raw {
    type Encode = Vec<u8>;
    type Decode = Vec<u8>;
    type Encoder = Self;
    type Decoder = Self;

    fn encoder(&mut self) -> Self {
        Self
    }

    fn decoder(&mut self) -> Self {
        Self
    }
}

impl Encoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn encode(&mut self, message: Vec<u8>, to: &mut EncodeBuf<'_>) -> Result<(), Status> {
        to.put_slice(&message);
        Ok(())
    }
}

impl Decoder for Raw {
    type Item = Vec<u8>;
    type Error = Status;

    fn decode(&mut self, from: &mut DecodeBuf<'_>) -> Result<Option<Vec<u8>>, Status> {
        let mut message = vec![0; from.remaining()];
        from.copy_to_slice(&mut message);
        Ok(Some(message))
    }
}

/// Calls, and returns the first message of the answer. Answers of one message are streams of one on the wire.
async fn call(channel: &Channel, method: &str, request: Request<Vec<u8>>) -> Result<Vec<u8>, Status> {
    let mut stream = begin(channel, method, request).await?;
    stream.message().await?.ok_or_else(|| Status::unknown("an answer without a message"))
}

async fn begin(
    channel: &Channel,
    method: &str,
    request: Request<Vec<u8>>,
) -> Result<Streaming<Vec<u8>>, Status> {
    let mut client = Grpc::new(channel.clone()).max_decoding_message_size(usize::MAX);
    client.ready().await.unwrap();
    let path = PathAndQuery::try_from(format!("/resembled.v1.{method}")).unwrap();
    Ok(client.server_streaming(request, path, Raw).await?.into_inner())
}

/// What becomes of the requests of one call.
struct Row {
    method: &'static str,
    good: Vec<u8>,
    empty_is: Code,
    /// One that makes no sense; `None` where no field could.
    bad: Option<Vec<u8>>,
    /// One that names what is not there; `None` where nothing is named.
    missing: Option<Vec<u8>>,
}

fn row(method: &'static str, good: &impl Message, empty_is: Code) -> Row {
    Row { method, good: good.encode_to_vec(), empty_is, bad: None, missing: None }
}

impl Row {
    fn bad(self, request: &impl Message) -> Self {
        Self { bad: Some(request.encode_to_vec()), ..self }
    }

    fn missing(self, request: &impl Message) -> Self {
        Self { missing: Some(request.encode_to_vec()), ..self }
    }
}

fn rows(world: &World) -> Vec<Row> {
    use Code::{InvalidArgument, Ok};
    use search_photos_request::Query;

    let name = |seed| format!("photos/{}", ContentHash::of(&pictures::png(seed)));
    let (photo, nowhere) = (name(1), format!("photos/{:064}", 0));
    let path = |below: &str| world.path(below).as_os_str().as_bytes().to_vec();
    let search = |query| proto::SearchPhotosRequest { query: Some(query), ..Default::default() };
    let example = |name: &str| {
        Some(proto::Example { query: Some(proto::example::Query::Photo(name.into())), weight: None })
    };
    let compare =
        |second: &str| proto::ComparePicturesRequest { first: example(&photo), second: example(second) };
    let root = |name: &str| proto::RemoveRootRequest { name: name.into() };
    let add = |path: Vec<u8>| proto::AddRootRequest { path, ..Default::default() };
    let accept = |path: Vec<u8>| proto::AcceptRootRequest { path, validate_only: true, ..Default::default() };
    let near = proto::DuplicateKind::Near.into();
    let duplicates = |kind| proto::ListDuplicateGroupsRequest { kind, ..Default::default() };
    let apart = |one: &str| proto::TellApartRequest { photos: vec![photo.clone(), one.into()], undo: false };
    let thumbnail = |name: &str| proto::GetThumbnailRequest {
        photo: Some(proto::get_thumbnail_request::Photo::Name(name.into())),
        longest_side: 0,
    };
    let count = |facet: i32| proto::CountPhotosRequest { facet, ..Default::default() };
    let batch = |names: &[&str]| proto::BatchGetPhotosRequest {
        names: names.iter().map(|&name| name.to_owned()).collect(),
    };
    let get = |name: &str| proto::GetPhotoRequest { name: name.into() };
    let copies = |photo: &str| proto::FindCopiesRequest { photo: photo.into(), ..Default::default() };
    let omissions = |root: &str| proto::ListOmissionsRequest { root: root.into(), ..Default::default() };
    let rescan = |root: &str| proto::RescanRequest { root: root.into() };
    let describe = |name: &str| proto::DescribePhotoRequest { picture: example(name) };
    let backwards = -1;
    let nonsense = proto::ExportPhotosRequest {
        filter: Some(proto::Filter { photos: vec!["x".into()], ..Default::default() }),
    };

    vec![
        row("SearchService/SearchPhotos", &search(Query::Photo(photo.clone())), InvalidArgument)
            .bad(&search(Query::Image("no picture".into())))
            .missing(&search(Query::Photo(nowhere.clone()))),
        row("SearchService/ListWords", &proto::ListWordsRequest::default(), Ok),
        row("SearchService/DescribePhoto", &describe(&photo), InvalidArgument)
            .bad(&describe("x"))
            .missing(&describe(&nowhere)),
        row("SearchService/ComparePictures", &compare(&name(2)), InvalidArgument)
            .bad(&compare("photos/x"))
            .missing(&compare(&nowhere)),
        row("DuplicateService/ListDuplicateGroups", &duplicates(near), InvalidArgument).bad(&duplicates(99)),
        row("DuplicateService/TellApart", &apart(&name(2)), InvalidArgument)
            .bad(&apart("x"))
            .missing(&apart(&nowhere)),
        row("LibraryService/GetPhoto", &get(&photo), InvalidArgument)
            .bad(&get("photos/1"))
            .missing(&get(&nowhere)),
        row("LibraryService/BatchGetPhotos", &batch(&[&photo, &name(2)]), InvalidArgument)
            .bad(&batch(&[&photo, "x"]))
            .missing(&batch(&[&photo, &nowhere])),
        row("LibraryService/GetThumbnail", &thumbnail(&photo), InvalidArgument)
            .bad(&proto::GetThumbnailRequest { longest_side: 5_000, ..thumbnail(&photo) })
            .missing(&thumbnail(&nowhere)),
        row("LibraryService/ListPhotos", &proto::ListPhotosRequest::default(), Ok)
            .bad(&proto::ListPhotosRequest { order_by: "colour".into(), ..Default::default() }),
        row("LibraryService/ExportPhotos", &proto::ExportPhotosRequest::default(), Ok).bad(&nonsense),
        row("LibraryService/CountPhotos", &count(proto::Facet::Year.into()), InvalidArgument).bad(&count(99)),
        row("LibraryService/FindCopies", &copies(&photo), InvalidArgument).bad(&copies("x")),
        row("LibraryService/ListFailures", &proto::ListFailuresRequest::default(), Ok)
            .bad(&proto::ListFailuresRequest { page_size: backwards, ..Default::default() }),
        row("LibraryService/ListOmissions", &omissions(""), Ok)
            .bad(&omissions("x"))
            .missing(&omissions("roots/99")),
        row("LibraryService/ListRoots", &proto::ListRootsRequest {}, Ok),
        row("LibraryService/AddRoot", &add(path("more")), InvalidArgument).bad(&add(b"here".to_vec())),
        row("LibraryService/RemoveRoot", &root("roots/2"), InvalidArgument)
            .bad(&root("x"))
            .missing(&root("roots/99")),
        row("LibraryService/AcceptRoot", &accept(path("photos")), InvalidArgument)
            .bad(&accept(b"here".to_vec()))
            .missing(&accept(path("nowhere"))),
        row("DaemonService/GetStatus", &proto::GetStatusRequest {}, Ok),
        row("DaemonService/WatchStatus", &proto::WatchStatusRequest {}, Ok),
        row("DaemonService/Rescan", &rescan("roots/1"), Ok).bad(&rescan("x")).missing(&rescan("roots/99")),
        row("DaemonService/PauseIndexing", &proto::PauseIndexingRequest::default(), Ok),
        row("DaemonService/ResumeIndexing", &proto::ResumeIndexingRequest {}, Ok),
        row("DaemonService/BackUpIndex", &proto::BackUpIndexRequest {}, Ok),
        row("EventService/WatchEvents", &proto::WatchEventsRequest::default(), Ok),
    ]
}

/// The calls that there are.
fn methods() -> BTreeSet<String> {
    let files = FileDescriptorSet::decode(proto::DESCRIPTORS).unwrap().file;
    let ours = files.iter().filter(|file| file.package() == "resembled.v1");
    let services = ours.flat_map(|file| &file.service);
    services
        .flat_map(|service| {
            service.method.iter().map(|method| format!("{}/{}", service.name(), method.name()))
        })
        .collect()
}

/// A refusal says why, for programs, and says something to people.
fn check_reason(case: &str, status: &Status) {
    let info = status.get_details_error_info().unwrap_or_else(|| panic!("{case}: no reason in {status:?}"));
    assert_eq!(info.domain, "resembled", "{case}");
    let name = format!("ERROR_REASON_{}", info.reason);
    assert!(ErrorReason::from_str_name(&name).is_some(), "{case}: {}", info.reason);
    assert!(status.message().len() > 10, "{case}: {status:?}");
    if status.code() == Code::InvalidArgument {
        assert!(status.get_details_bad_request().is_some(), "{case}: which field? {status:?}");
    }
}

async fn check(channel: &Channel, method: &str, case: &str, request: Vec<u8>, expected: Code) {
    let case = format!("{method}, {case}");
    // The former one may not have ended yet where only one may be made at a time.
    let patiently = async {
        loop {
            match call(channel, method, Request::new(request.clone())).await {
                Err(status) if status.get_details_retry_info().is_some() => tokio::task::yield_now().await,
                answer => return answer,
            }
        }
    };
    let answer = tokio::time::timeout(DEADLINE, patiently);
    let code = match answer.await.unwrap_or_else(|_| panic!("{case}: no answer")) {
        Ok(_) => Code::Ok,
        Err(status) => {
            check_reason(&case, &status);
            status.code()
        }
    };
    assert_eq!(code, expected, "{case}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_call_keeps_the_contract() {
    let world = World::new();
    for seed in 1..4 {
        pictures::write(&world.photo(format!("{seed}.png")), seed);
    }
    pictures::write(&world.path("more/4.png"), 4);
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let address = format!("127.0.0.1:{port}");
    let photos = world.photos();
    let daemon = world.start_with(&[OsStr::new("--listen"), OsStr::new(&address), photos.as_os_str()]).await;
    daemon.wait_for_files(3).await;
    let strangers = Endpoint::from_shared(format!("http://{address}")).unwrap().connect().await.unwrap();

    let rows = rows(&world);
    let with_row: BTreeMap<&str, &Row> = rows.iter().map(|row| (row.method, row)).collect();
    let listed: BTreeSet<String> = with_row.keys().map(|&method| method.to_owned()).collect();
    assert_eq!(listed, methods(), "each call has a row here");

    for row in &rows {
        let method = row.method;
        check(&daemon.channel, method, "good", row.good.clone(), Code::Ok).await;
        check(&daemon.channel, method, "empty", Vec::new(), row.empty_is).await;
        if let Some(bad) = &row.bad {
            check(&daemon.channel, method, "bad", bad.clone(), Code::InvalidArgument).await;
        }
        if let Some(missing) = &row.missing {
            check(&daemon.channel, method, "missing", missing.clone(), Code::NotFound).await;
        }

        // The library refuses it by its length, before anything of it is read.
        let large = call(&daemon.channel, method, Request::new(vec![0; TOO_LARGE])).await.unwrap_err();
        assert!(
            matches!(large.code(), Code::OutOfRange | Code::ResourceExhausted),
            "{method}, too large: {large:?}"
        );

        // Given up before its answer, or while it comes.
        let given_up = call(&daemon.channel, method, Request::new(row.good.clone()));
        drop(tokio::time::timeout(Duration::ZERO, given_up).await);

        // What needs no other thread may be done within no time at all.
        let mut hurried = Request::new(row.good.clone());
        hurried.metadata_mut().insert("grpc-timeout", "1n".parse().unwrap());
        if let Err(status) = call(&daemon.channel, method, hurried).await {
            let is_late = matches!(status.code(), Code::Cancelled | Code::DeadlineExceeded);
            // The folder was added or removed by the good one.
            let is_done = matches!(status.code(), Code::AlreadyExists | Code::NotFound);
            let is_busy = status.get_details_retry_info().is_some();
            assert!(is_late || is_done || is_busy, "{method}, no time: {status:?}");
        }

        for token in [None, Some("Bearer wrong")] {
            let mut request = Request::new(row.good.clone());
            if let Some(token) = token {
                request.metadata_mut().insert("authorization", token.parse().unwrap());
            }
            let refused = call(&strangers, method, request).await.unwrap_err();
            assert_eq!(refused.code(), Code::Unauthenticated, "{method}: {refused:?}");
            check_reason(method, &refused);
        }
    }
    daemon.wait_for_rest().await;
    daemon.stop(&world).await;
}
