//! How the daemon is, what it failed at, and what it may be told.

use resembled_api::proto;
use serde::Deserialize;
use serde_json::{Value, json};

use super::Window;
use super::answer::Failure;
use crate::{doctor, library, status};

/// Failures of a page.
const PAGE: i32 = 200;

pub(super) async fn state(window: &Window) -> Result<Value, Failure> {
    let status = window.daemon().get_status(proto::GetStatusRequest {}).await?.into_inner();
    let mut object = status::status_json(&status);
    let whys: Vec<_> = status.pauses().map(|pause| status::why(&status, pause)).collect();
    object.insert("why".into(), json!(whys));
    let findings: Vec<_> = doctor::examine(&status).iter().map(doctor::Finding::json).collect();
    object.insert("findings".into(), json!(findings));
    object.insert("local".into(), json!(window.is_local));
    Ok(Value::Object(object))
}

#[derive(Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(super) struct FailuresAsked {
    page_token: String,
}

pub(super) async fn failures(window: &Window, asked: FailuresAsked) -> Result<Value, Failure> {
    let request = proto::ListFailuresRequest { page_size: PAGE, page_token: asked.page_token };
    let page = window.library().list_failures(request).await?.into_inner();
    let failures: Vec<_> = page.failures.iter().map(library::failure_json).collect();
    Ok(json!({ "failures": failures, "next": page.next_page_token }))
}

/// What the daemon is told with one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    Pause,
    Resume,
    Rescan,
}

pub(super) async fn order(window: &Window, order: Order) -> Result<Value, Failure> {
    let mut daemon = window.daemon();
    match order {
        Order::Pause => _ = daemon.pause_indexing(proto::PauseIndexingRequest::default()).await?,
        Order::Resume => _ = daemon.resume_indexing(proto::ResumeIndexingRequest {}).await?,
        Order::Rescan => _ = daemon.rescan(proto::RescanRequest::default()).await?,
    }
    state(window).await
}
