//! Answers: pages, JSON, pictures and refusals, all with the headers that keep others out.

use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Frame};
use hyper::header::{CACHE_CONTROL, CONTENT_SECURITY_POLICY, CONTENT_TYPE, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tonic::{Code, Status};

use crate::connect::refused;

pub(super) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// The page loads what we serve and nothing else, no script can make HTML of text, and nobody can put it into a frame.
/// Pictures that the user drops are shown from memory (`blob:`).
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob:; connect-src 'self'; \
                      base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
                      trusted-types 'none'";

/// With each answer.
const HEADERS: [(&str, &str); 6] = [
    ("x-content-type-options", "nosniff"),
    ("x-frame-options", "DENY"),
    ("referrer-policy", "no-referrer"),
    ("cross-origin-opener-policy", "same-origin"),
    ("cross-origin-resource-policy", "same-origin"),
    ("permissions-policy", "camera=(), geolocation=(), microphone=()"),
];

/// Something that was asked for cannot be had.
#[derive(Debug)]
pub(super) struct Failure {
    status: StatusCode,
    /// For a person.
    message: String,
}

impl Failure {
    pub(super) fn new(status: StatusCode, message: impl Into<String>) -> Self {
        Self { status, message: message.into() }
    }

    /// The page asks in a way that it does not.
    pub(super) fn bad(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, message)
    }

    pub(super) fn answer(self) -> Response<Body> {
        let mut answer = json(&json!({ "error": self.message }));
        *answer.status_mut() = self.status;
        answer
    }
}

impl From<Status> for Failure {
    /// What the daemon refused, in its words.
    fn from(status: Status) -> Self {
        let code = match status.code() {
            Code::InvalidArgument => StatusCode::BAD_REQUEST,
            Code::NotFound => StatusCode::NOT_FOUND,
            Code::FailedPrecondition | Code::AlreadyExists => StatusCode::CONFLICT,
            Code::ResourceExhausted => StatusCode::TOO_MANY_REQUESTS,
            Code::Unavailable => StatusCode::BAD_GATEWAY,
            Code::DeadlineExceeded | Code::Cancelled => StatusCode::GATEWAY_TIMEOUT,
            _ => StatusCode::INTERNAL_SERVER_ERROR,
        };
        Self::new(code, refused(status).to_string())
    }
}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, format!("{error:#}"))
    }
}

/// A file of the page.
pub(super) fn file(media_type: &'static str, text: &'static str) -> Response<Body> {
    // The next version of the program may have others under the same names.
    whole(media_type, "no-cache", Bytes::from_static(text.as_bytes()))
}

/// The answer to the first visit. A page that goes on by itself: of a redirection that began at another site browsers think as
/// of that site, and send it no cookie.
pub(super) fn entry(home: &str, set_cookie: &str) -> Response<Body> {
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta http-equiv=\"refresh\" content=\"0;url={home}\">\
         <title>resembled</title><link rel=\"icon\" href=\"{home}icon.svg\"><a href=\"{home}\">On to the photos</a>"
    );
    let mut answer = whole("text/html; charset=utf-8", "no-store", html.into());
    // Made of letters of base64.
    if let Ok(cookie) = HeaderValue::from_str(set_cookie) {
        answer.headers_mut().insert(hyper::header::SET_COOKIE, cookie);
    }
    answer
}

/// A refusal as a page, for whoever opened an address.
pub(super) fn refusal(status: StatusCode, message: &str) -> Response<Body> {
    let html = format!(
        "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>resembled</title><p>{message}</p>"
    );
    let mut answer = whole("text/html; charset=utf-8", "no-store", html.into());
    *answer.status_mut() = status;
    answer
}

pub(super) fn json(value: &Value) -> Response<Body> {
    whole("application/json", "no-store", value.to_string().into())
}

/// A thumbnail. Its address names its content, so it never changes.
pub(super) fn jpeg(bytes: Vec<u8>) -> Response<Body> {
    whole("image/jpeg", "private, max-age=86400, immutable", bytes.into())
}

/// An answer that comes line by line, while what makes the lines goes on. It ends with the connection.
pub(super) fn lines(
    making: impl Future<Output = ()> + Send + 'static,
    lines: mpsc::Receiver<Bytes>,
) -> Response<Body> {
    let body = Lines { making: Some(Box::pin(making)), lines };
    with_headers("application/x-ndjson", "no-store", body.boxed_unsync())
}

struct Lines {
    /// `None` once it has ended.
    making: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    lines: mpsc::Receiver<Bytes>,
}

impl hyper::body::Body for Lines {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        if let Some(making) = &mut self.making
            && making.as_mut().poll(context).is_ready()
        {
            self.making = None;
        }
        self.lines.poll_recv(context).map(|line| line.map(|line| Ok(Frame::data(line))))
    }
}

fn whole(media_type: &'static str, cache: &'static str, bytes: Bytes) -> Response<Body> {
    with_headers(media_type, cache, Full::new(bytes).boxed_unsync())
}

fn with_headers(media_type: &'static str, cache: &'static str, body: Body) -> Response<Body> {
    let mut answer = Response::new(body);
    let headers = answer.headers_mut();
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(media_type));
    headers.insert(CACHE_CONTROL, HeaderValue::from_static(cache));
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    for (name, value) in HEADERS {
        headers.insert(HeaderName::from_static(name), HeaderValue::from_static(value));
    }
    answer
}
