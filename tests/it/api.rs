//! The API as a stranger meets it.

use std::os::unix::ffi::OsStrExt;

use resembled::photo::ContentHash;
use resembled::proto;
use resembled::proto::duplicate_service_client::DuplicateServiceClient;
use resembled::proto::search_photos_request::Query;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_client::HealthClient;
use tonic_reflection::pb::v1::ServerReflectionRequest;
use tonic_reflection::pb::v1::server_reflection_client::ServerReflectionClient;
use tonic_reflection::pb::v1::server_reflection_request::MessageRequest;
use tonic_reflection::pb::v1::server_reflection_response::MessageResponse;
use tonic_types::StatusExt;

use crate::pictures;
use crate::world::{Daemon, World};

fn request(query: Query) -> proto::SearchPhotosRequest {
    proto::SearchPhotosRequest { query: Some(query), k: 3, ..Default::default() }
}

async fn names(daemon: &Daemon, request: proto::SearchPhotosRequest) -> Vec<String> {
    let response = daemon.search().search_photos(request).await.unwrap().into_inner();
    response.matches.into_iter().map(|found| found.photo.unwrap().name).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_picture_is_found_by_bytes_path_and_photo_alike() {
    let world = World::new();
    for seed in 0..4 {
        pictures::write(&world.photo(format!("{seed}.png")), seed);
    }
    let daemon = world.start().await;
    daemon.wait_for_files(4).await;
    let by_bytes = names(&daemon, request(Query::Image(pictures::png(0).into()))).await;
    let path = world.photo("0.png").as_os_str().as_bytes().to_vec();
    assert_eq!(names(&daemon, request(Query::Path(path))).await, by_bytes);
    let name = format!("photos/{}", ContentHash::of(&pictures::png(0)));
    assert_eq!(by_bytes[0], name);
    let others = names(&daemon, request(Query::Photo(name.clone()))).await;
    assert_eq!(others[..2], by_bytes[1..], "the photo itself is not among its neighbors");
    assert_eq!(others.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_embedding_is_a_query_too_and_both_metrics_order_by_their_own_distance() {
    let world = World::new();
    for seed in 0..4 {
        pictures::write(&world.photo(format!("{seed}.png")), seed);
    }
    let daemon = world.start().await;
    let status = daemon.wait_for_files(4).await;
    let dimensions = status.model.unwrap().dimensions as usize;
    let values: Vec<f32> = (0..dimensions).map(|at| (at % 5) as f32 - 2.0).collect();
    for metric in [proto::Metric::L2, proto::Metric::Cosine] {
        let query = Query::Embedding(proto::Embedding { values: values.clone(), ..Default::default() });
        let request = proto::SearchPhotosRequest { metric: metric.into(), k: 10, ..request(query) };
        let response = daemon.search().search_photos(request.clone()).await.unwrap().into_inner();
        assert_eq!((response.metric(), response.matches.len(), response.photos_searched), (metric, 4, 4));
        assert!(response.matches.is_sorted_by(|a, b| a.distance <= b.distance));
        assert!(response.matches.is_sorted_by(|a, b| a.similarity >= b.similarity));
        let limit = response.matches[1].distance;
        let limited = proto::SearchPhotosRequest { max_distance: Some(limit), ..request };
        let matches = daemon.search().search_photos(limited).await.unwrap().into_inner().matches;
        assert_eq!(matches, response.matches[..2], "the limit itself is within");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_makes_no_sense_is_refused_with_the_field_that_is_wrong() {
    let world = World::new();
    let daemon = world.start().await;
    let long = Query::Embedding(proto::Embedding { values: vec![1.0], ..Default::default() });
    let wild = Query::Embedding(proto::Embedding { values: vec![f32::NAN; 1], ..Default::default() });
    let image = || Query::Image(pictures::png(1).into());
    for (request, code, field) in [
        (proto::SearchPhotosRequest::default(), Code::InvalidArgument, "query"),
        (request(Query::Image("no picture".into())), Code::InvalidArgument, "image"),
        (request(Query::Path(b"relative.jpg"[..].into())), Code::InvalidArgument, "path"),
        (request(Query::Path(b"/nowhere.jpg"[..].into())), Code::NotFound, ""),
        (request(Query::Path(b"/dev/zero"[..].into())), Code::NotFound, ""),
        (request(Query::Photo("photos/1".into())), Code::InvalidArgument, "photo"),
        (request(Query::Photo(format!("photos/{:064}", 0))), Code::NotFound, ""),
        (request(long), Code::InvalidArgument, "embedding"),
        (request(wild), Code::InvalidArgument, "embedding"),
        (proto::SearchPhotosRequest { k: 10_001, ..request(image()) }, Code::InvalidArgument, "k"),
        (proto::SearchPhotosRequest { metric: 9, ..request(image()) }, Code::InvalidArgument, "metric"),
        (
            proto::SearchPhotosRequest { max_distance: Some(-1.0), ..request(image()) },
            Code::InvalidArgument,
            "max_distance",
        ),
    ] {
        let status = daemon.search().search_photos(request.clone()).await.unwrap_err();
        assert_eq!(status.code(), code, "{request:?}: {status:?}");
        let violations =
            status.get_details_bad_request().map(|details| details.field_violations).unwrap_or_default();
        let named = violations.first().map_or("", |violation| violation.field.as_str());
        assert_eq!(named, field, "{status:?}");
    }
    let bad_page = proto::ListPhotosRequest { page_size: -1, ..Default::default() };
    assert_eq!(daemon.library().list_photos(bad_page).await.unwrap_err().code(), Code::InvalidArgument);
    let bad_token = proto::ListFailuresRequest { page_size: 0, page_token: "x".into() };
    assert_eq!(daemon.library().list_failures(bad_token).await.unwrap_err().code(), Code::InvalidArgument);
    let bad_root = proto::RescanRequest { root: "roots/99".into() };
    assert_eq!(daemon.daemon().rescan(bad_root).await.unwrap_err().code(), Code::NotFound);
    let relative = proto::AddRootRequest { path: b"here".to_vec(), ..Default::default() };
    assert_eq!(daemon.library().add_root(relative).await.unwrap_err().code(), Code::InvalidArgument);
    // None of it hurt the daemon.
    daemon.wait_for("rest", |status| status.state() == proto::State::Idle).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_and_both_reflections_are_served() {
    let world = World::new();
    let daemon = world.start().await;
    for service in [
        "",
        "resembled.v1.SearchService",
        "resembled.v1.LibraryService",
        "resembled.v1.DaemonService",
        "resembled.v1.EventService",
    ] {
        let request = HealthCheckRequest { service: service.into() };
        let health = HealthClient::new(daemon.channel.clone()).check(request).await.unwrap().into_inner();
        assert_eq!(health.status, 1, "{service} is SERVING");
    }
    let request = ServerReflectionRequest {
        host: String::new(),
        message_request: Some(MessageRequest::ListServices(String::new())),
    };
    let mut answers = ServerReflectionClient::new(daemon.channel.clone())
        .server_reflection_info(tokio_stream::once(request))
        .await
        .unwrap()
        .into_inner();
    let answer = answers.message().await.unwrap().unwrap();
    let Some(MessageResponse::ListServicesResponse(list)) = answer.message_response else {
        panic!("{answer:?}")
    };
    let names: Vec<_> = list.service.iter().map(|service| service.name.as_str()).collect();
    for service in
        ["resembled.v1.SearchService", "grpc.health.v1.Health", "grpc.reflection.v1.ServerReflection"]
    {
        assert!(names.contains(&service), "{names:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn pages_of_photos_and_failures_are_complete_and_without_repeats() {
    let world = World::new();
    for seed in 0..20 {
        pictures::write(&world.photo(format!("{seed}.png")), seed);
        std::fs::write(world.photo(format!("bad {seed}.jpg")), "x").unwrap();
    }
    let daemon = world.start().await;
    daemon.wait_for_files(20).await;
    // `files` asks for pages of seven.
    assert_eq!(daemon.files().await.len(), 20);
    let mut paths = Vec::new();
    let mut page_token = String::new();
    loop {
        let request = proto::ListFailuresRequest { page_size: 6, page_token };
        let page = daemon.library().list_failures(request).await.unwrap().into_inner();
        paths.extend(page.failures.into_iter().map(|failure| failure.path));
        page_token = page.next_page_token;
        if page_token.is_empty() {
            break;
        }
    }
    assert!(paths.is_sorted_by(|a, b| a < b));
    assert_eq!(paths.len(), 20);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_page_needs_no_picture_again_and_another_network_is_refused() {
    let world = World::new();
    for seed in 0..6 {
        pictures::write(&world.photo(format!("{seed}.png")), seed);
    }
    let daemon = world.start().await;
    let model = daemon.wait_for_files(6).await.model.unwrap();
    let mut next = proto::SearchPhotosRequest {
        k: 6,
        page_size: 4,
        model_digest: model.digest.to_uppercase(),
        ..request(Query::Image(pictures::png(0).into()))
    };
    let first = daemon.search().search_photos(next.clone()).await.unwrap().into_inner();
    assert_eq!((first.matches.len(), &first.model_digest), (4, &model.digest));
    next.page_token = first.next_page_token;
    let with_query = names(&daemon, next.clone()).await;
    let other =
        proto::SearchPhotosRequest { query: Some(Query::Image(pictures::png(1).into())), ..next.clone() };
    let refused = daemon.search().search_photos(other).await.unwrap_err();
    assert!(refused.message().contains("belongs to another request"), "{refused:?}");
    next.query = None;
    let without_query = names(&daemon, next.clone()).await;
    assert_eq!((without_query.len(), &without_query), (2, &with_query));

    let elsewhere = "0".repeat(64);
    let values = vec![1.0; model.dimensions as usize];
    let embedding = |model_digest: &str| {
        request(Query::Embedding(proto::Embedding {
            values: values.clone(),
            model_digest: model_digest.into(),
        }))
    };
    assert_eq!(names(&daemon, embedding(&model.digest)).await.len(), 3);
    let asked = proto::SearchPhotosRequest { model_digest: elsewhere.clone(), ..embedding("") };
    for request in [embedding(&elsewhere), asked] {
        let refused = daemon.search().search_photos(request).await.unwrap_err();
        assert_eq!(refused.code(), Code::FailedPrecondition);
        assert_eq!(refused.get_details_error_info().unwrap().reason, "OTHER_NETWORK");
        assert!(refused.message().contains(&model.digest), "{refused:?}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn photos_are_had_many_at_once_and_duplicates_are_summed_up() {
    let world = World::new();
    for (name, seed) in [("a", 1), ("b", 1), ("c", 1), ("d", 2), ("e", 2), ("f", 3)] {
        pictures::write(&world.photo(format!("{name}.png")), seed);
    }
    let daemon = world.start().await;
    daemon.wait_for_files(6).await;
    let name = |seed| format!("photos/{}", ContentHash::of(&pictures::png(seed)));
    let wanted: Vec<String> = [3, 1, 3].map(name).into();
    let batch = proto::BatchGetPhotosRequest { names: wanted.clone() };
    let photos = daemon.library().batch_get_photos(batch).await.unwrap().into_inner().photos;
    assert_eq!(photos.iter().map(|photo| photo.name.clone()).collect::<Vec<_>>(), wanted);
    assert_eq!(photos.iter().map(|photo| photo.files.len()).collect::<Vec<_>>(), [1, 3, 1]);

    let mut client = DuplicateServiceClient::new(daemon.channel.clone());
    let kind = proto::DuplicateKind::Exact.into();
    let request = proto::ListDuplicateGroupsRequest { kind, page_size: 1, ..Default::default() };
    let groups = client.list_duplicate_groups(request).await.unwrap().into_inner();
    let bytes = |seed| pictures::png(seed).len() as u64;
    assert_eq!((groups.groups.len(), groups.total_size, groups.total_files), (1, 2, 5));
    assert_eq!(groups.total_bytes, 3 * bytes(1) + 2 * bytes(2));
    assert_eq!(groups.rest_bytes, 2 * bytes(1) + bytes(2), "one of each stays");
    assert_eq!(groups.model_digest, daemon.status().await.model.unwrap().digest);

    // More than a page may have is taken for that (AIP-158).
    let list = proto::ListPhotosRequest { page_size: i32::MAX, ..Default::default() };
    assert_eq!(daemon.library().list_photos(list).await.unwrap().into_inner().photos.len(), 3);
}
