//! Which request asks for what.

use std::sync::Arc;
use std::time::Duration;

use http_body_util::{BodyExt, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::{Method, Request, Response, StatusCode};
use tokio::time::timeout;

use super::Window;
use super::answer::{self, Body, Failure};
use super::asking::{parse, parse_json};
use super::guard::Way;
use super::state::Order;
use super::{acting, groups, importing, photos, state};

/// Up to this size a picture is taken, as on the command line.
const MOST_BYTES: usize = 60 << 20;

/// How long a request's body may take.
const BODY_WITHIN: Duration = Duration::from_secs(120);

/// The page's files.
const FILES: [(&str, &str, &str); 14] = [
    ("", "text/html; charset=utf-8", include_str!("page/index.html")),
    ("style.css", "text/css; charset=utf-8", include_str!("page/style.css")),
    ("icon.svg", "image/svg+xml", include_str!("page/icon.svg")),
    ("main.js", SCRIPT, include_str!("page/main.js")),
    ("ask.js", SCRIPT, include_str!("page/ask.js")),
    ("make.js", SCRIPT, include_str!("page/make.js")),
    ("tiles.js", SCRIPT, include_str!("page/tiles.js")),
    ("filters.js", SCRIPT, include_str!("page/filters.js")),
    ("photos.js", SCRIPT, include_str!("page/photos.js")),
    ("search.js", SCRIPT, include_str!("page/search.js")),
    ("duplicates.js", SCRIPT, include_str!("page/duplicates.js")),
    ("import.js", SCRIPT, include_str!("page/import.js")),
    ("viewer.js", SCRIPT, include_str!("page/viewer.js")),
    ("state.js", SCRIPT, include_str!("page/state.js")),
];

const SCRIPT: &str = "text/javascript; charset=utf-8";

/// Answers a request, whatever it is.
pub(super) async fn answer(window: Arc<Window>, request: Request<Incoming>) -> Response<Body> {
    let judged = window.guard.judge(request.method(), request.uri(), request.headers());
    let below = match judged {
        Err(refusal) => return answer::refusal(refusal.status(), &refusal.to_string()),
        Ok(Way::Enter) => return answer::entry(&window.guard.home(), &window.guard.set_cookie()),
        Ok(Way::Inside(below)) => below,
    };
    // A page that is only left open asks how the daemon is, and nothing else.
    let used = Arc::clone(&window);
    let _in_use = (below != "api/state").then(|| used.usage.begin());
    let answered = match *request.method() {
        Method::GET => get(&window, &below, request.uri().query()).await,
        _ => post(window, &below, request).await,
    };
    answered.unwrap_or_else(Failure::answer)
}

async fn get(window: &Window, below: &str, query: Option<&str>) -> Result<Response<Body>, Failure> {
    if let Some((_, media_type, text)) = FILES.iter().find(|(name, ..)| *name == below) {
        return Ok(answer::file(media_type, text));
    }
    let json = match below.split('/').collect::<Vec<_>>().as_slice() {
        ["thumbnails", side, content] => {
            let side = side.parse().map_err(|_| not_found())?;
            return photos::thumbnail(window, content, side).await;
        }
        ["api", "photos"] => photos::list(window, parse(query)?).await?,
        ["api", "photos", content] => photos::photo(window, content).await?,
        ["api", "labels", content] => photos::labels(window, content).await?,
        ["api", "counts"] => photos::count(window, parse(query)?).await?,
        ["api", "words"] => photos::words(window, parse(query)?).await?,
        ["api", "groups"] => groups::list(window, parse(query)?).await?,
        ["api", "cards"] => importing::cards().await?,
        ["api", "state"] => state::state(window).await?,
        ["api", "failures"] => state::failures(window, parse(query)?).await?,
        _ => return Err(not_found()),
    };
    Ok(answer::json(&json))
}

async fn post(
    window: Arc<Window>,
    below: &str,
    request: Request<Incoming>,
) -> Result<Response<Body>, Failure> {
    let (head, body) = request.into_parts();
    let body = whole(body).await?;
    if below == "api/check" {
        return importing::check(window, parse_json(&body)?);
    }
    let window = &*window;
    let json = match below {
        "api/used" => serde_json::json!({}),
        "api/search" => photos::search(window, parse(head.uri.query())?, body).await?,
        "api/pause" => state::order(window, Order::Pause).await?,
        "api/resume" => state::order(window, Order::Resume).await?,
        "api/rescan" => state::order(window, Order::Rescan).await?,
        "api/trash" => groups::trash(window, parse_json(&body)?).await?,
        "api/restore" => groups::restore(window, parse_json(&body)?).await?,
        "api/apart" => groups::tell_apart(window, parse_json(&body)?).await?,
        "api/reveal" => acting::reveal(window, parse_json(&body)?).await?,
        _ => return Err(not_found()),
    };
    Ok(answer::json(&json))
}

async fn whole(body: Incoming) -> Result<Bytes, Failure> {
    match timeout(BODY_WITHIN, Limited::new(body, MOST_BYTES).collect()).await {
        Ok(Ok(body)) => Ok(body.to_bytes()),
        Ok(Err(error)) if error.is::<http_body_util::LengthLimitError>() => {
            Err(Failure::new(StatusCode::PAYLOAD_TOO_LARGE, "the picture is too large to be sent"))
        }
        _ => Err(Failure::new(StatusCode::REQUEST_TIMEOUT, "the request broke off")),
    }
}

fn not_found() -> Failure {
    Failure::new(StatusCode::NOT_FOUND, "there is nothing of that name")
}
