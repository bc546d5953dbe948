//! A package's name in, the address of one of its wheels out, as pip asks a package index.
//!
//! The index is asked by PEP 691 (JSON) and understood by PEP 503 (HTML) too, since mirrors are often no more than a folder
//! of links. Which indexes there are, say pip's own settings ([`Pip`]).

use data_encoding::BASE64;
use serde::Deserialize;
use ureq::http::header::{ACCEPT, AUTHORIZATION};
use ureq::http::{Response, StatusCode};
use ureq::{Agent, Body, ResponseExt};

use super::PullError;
use super::pip::Pip;
use crate::models::FileDigest;

/// The best that an index can say first.
const WANTED: &str =
    "application/vnd.pypi.simple.v1+json, application/vnd.pypi.simple.v1+html;q=0.2, text/html;q=0.01";

/// A page of the index with a package's files may have so many bytes.
const MAX_PAGE_BYTES: u64 = 32 << 20;

/// A wheel that is looked for.
pub(super) struct Asked<'a> {
    pub(super) package: &'a str,
    pub(super) file: &'a str,
    pub(super) sha256: FileDigest,
}

/// What the index says of a file.
#[derive(Debug, PartialEq, Eq)]
struct Offer {
    file: String,
    /// Relative to the page, as it stands there.
    url: String,
    sha256: Option<String>,
}

/// Returns the address of the wheel by the first index that has it.
pub(super) fn find(agent: &Agent, pip: &Pip, wheel: &Asked<'_>) -> Result<String, PullError> {
    let mut failures = Vec::new();
    for index in &pip.indexes {
        match find_in(agent, index, wheel) {
            Ok(url) => return Ok(url),
            Err(error) => failures.push(error),
        }
    }
    match failures.len() {
        0 => Err(PullError::NoIndex(wheel.package.to_owned())),
        1 => Err(failures.remove(0)),
        _ => Err(PullError::NoSource { name: wheel.package.to_owned(), failures }),
    }
}

fn find_in(agent: &Agent, index: &str, wheel: &Asked<'_>) -> Result<String, PullError> {
    let page = format!("{}/{}/", index.trim_end_matches('/'), normalised(wheel.package));
    let http = |source| PullError::Http { url: without_password(&page), source: Box::new(source) };
    let mut response = get(agent, &page, |request| request.header(ACCEPT, WANTED)).map_err(http)?;
    match response.status() {
        StatusCode::OK => {}
        status => return Err(PullError::Status { url: without_password(&page), status }),
    }
    let not_offered =
        |reason| PullError::NotOffered { url: without_password(&page), wheel: wheel.file.to_owned(), reason };
    // Where the page was in the end: its links are relative to that. Who may see it, may see what it links to.
    let base = with_credentials(&response.get_uri().to_string(), &page);
    let is_json = response.body().mime_type().is_some_and(|mime| mime.ends_with("json"));
    let text = response.body_mut().with_config().limit(MAX_PAGE_BYTES).read_to_string().map_err(http)?;
    let (base, offers) = match is_json {
        true => (base, of_json(&text).ok_or_else(|| not_offered("it answers with JSON of another kind"))?),
        false => {
            let (other_base, offers) = of_html(&text);
            (other_base.and_then(|other| join(&base, &other)).unwrap_or(base), offers)
        }
    };
    let offer = offers.into_iter().find(|offer| offer.file == wheel.file);
    let offer = offer.ok_or_else(|| not_offered("the package is there without this file"))?;
    if let Some(sha256) = &offer.sha256
        && sha256.parse::<FileDigest>() != Ok(wheel.sha256)
    {
        return Err(not_offered("the file there has another SHA-256 than is expected"));
    }
    let url = join(&base, &offer.url).ok_or_else(|| not_offered("its address cannot be understood"))?;
    Ok(with_credentials(&url, &base))
}

/// Asks for `url`, with the credentials in it.
pub(super) fn get(
    agent: &Agent,
    url: &str,
    more: impl FnOnce(
        ureq::RequestBuilder<ureq::typestate::WithoutBody>,
    ) -> ureq::RequestBuilder<ureq::typestate::WithoutBody>,
) -> Result<Response<Body>, ureq::Error> {
    let (plain, credentials) = split(url);
    let mut request = more(agent.get(plain));
    if let Some(credentials) = credentials {
        request = request.header(AUTHORIZATION, format!("Basic {}", BASE64.encode(&decoded(credentials))));
    }
    request.call()
}

/// Returns an address that may be shown.
pub(super) fn without_password(url: &str) -> String {
    split(url).0
}

/// Takes `user:password` out of an address.
fn split(url: &str) -> (String, Option<&str>) {
    let Some((scheme, rest)) = url.split_once("://") else { return (url.to_owned(), None) };
    let authority = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    match rest[..authority].rsplit_once('@') {
        Some((credentials, _)) => {
            (format!("{scheme}://{}", &rest[credentials.len() + 1..]), Some(credentials))
        }
        None => (url.to_owned(), None),
    }
}

/// Gives an address the credentials of another one of the same host, unless it has some.
fn with_credentials(url: &str, like: &str) -> String {
    let host = |url: &str| -> Option<String> {
        let (scheme, rest) = url.split_once("://")?;
        Some(format!("{scheme}://{}", rest.split(['/', '?', '#']).next()?))
    };
    let (plain, credentials) = split(like);
    match (credentials, split(url), url.split_once("://")) {
        (Some(credentials), (_, None), Some((scheme, rest))) if host(&plain) == host(url) => {
            format!("{scheme}://{credentials}@{rest}")
        }
        _ => url.to_owned(),
    }
}

/// Undoes percent encoding.
fn decoded(text: &str) -> Vec<u8> {
    percent_encoding::percent_decode_str(text).collect()
}

/// The name as indexes write it, by PEP 503.
fn normalised(package: &str) -> String {
    let words = package.split(['-', '_', '.']).filter(|word| !word.is_empty());
    words.collect::<Vec<_>>().join("-").to_ascii_lowercase()
}

fn of_json(text: &str) -> Option<Vec<Offer>> {
    #[derive(Deserialize)]
    struct Page {
        files: Vec<File>,
    }
    #[derive(Deserialize)]
    struct File {
        filename: String,
        url: String,
        #[serde(default)]
        hashes: std::collections::BTreeMap<String, String>,
    }
    let page: Page = serde_json::from_str(text).ok()?;
    let offer =
        |mut file: File| Offer { file: file.filename, url: file.url, sha256: file.hashes.remove("sha256") };
    Some(page.files.into_iter().map(offer).collect())
}

/// Reads the links of a page, and what they are relative to where it says so.
fn of_html(text: &str) -> (Option<String>, Vec<Offer>) {
    let (mut base, mut offers) = (None, Vec::new());
    let mut rest = text;
    while let Some((_, tag)) = rest.split_once('<') {
        let Some((tag, after)) = tag.split_once('>') else { break };
        rest = after;
        let name = tag.split_ascii_whitespace().next().unwrap_or_default();
        let Some(href) = attribute(tag, "href") else { continue };
        if name.eq_ignore_ascii_case("base") {
            base = base.or(Some(href));
        } else if name.eq_ignore_ascii_case("a") {
            let (url, fragment) = href.split_once('#').unwrap_or((&href, ""));
            let file = url.rsplit('/').next().unwrap_or_default().split('?').next().unwrap_or_default();
            offers.push(Offer {
                file: String::from_utf8_lossy(&decoded(file)).into_owned(),
                url: url.to_owned(),
                sha256: fragment.strip_prefix("sha256=").map(str::to_owned),
            });
        }
    }
    (base, offers)
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let lower = tag.to_ascii_lowercase();
    let at = lower.match_indices(name).map(|(at, _)| at).find(|&at| {
        let before = lower[..at].chars().next_back();
        before.is_some_and(|c| c.is_ascii_whitespace())
            && lower[at + name.len()..].trim_start().starts_with('=')
    })?;
    let value = tag[at + name.len()..].trim_start().strip_prefix('=')?.trim_start();
    let value = match value.chars().next()? {
        quote @ ('"' | '\'') => value[1..].split(quote).next()?,
        _ => value.split_ascii_whitespace().next()?,
    };
    Some(value.replace("&amp;", "&"))
}

/// Resolves a link of the page `base`.
fn join(base: &str, link: &str) -> Option<String> {
    if link.starts_with("http://") || link.starts_with("https://") {
        return Some(link.to_owned());
    }
    let (scheme, rest) = base.split_once("://")?;
    if let Some(elsewhere) = link.strip_prefix("//") {
        return Some(format!("{scheme}://{elsewhere}"));
    }
    if link.contains("://") {
        return None;
    }
    let authority = rest.find(['/', '?', '#']).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(authority);
    let path = path.split(['?', '#']).next().unwrap_or_default();
    let mut segments: Vec<&str> = match link.starts_with('/') {
        true => Vec::new(),
        false => path.split('/').skip(1).collect(),
    };
    // What follows the last slash is the page itself.
    segments.pop();
    for segment in link.trim_start_matches('/').split('/') {
        match segment {
            "." => {}
            ".." => {
                segments.pop();
            }
            segment => segments.push(segment),
        }
    }
    Some(format!("{scheme}://{authority}/{}", segments.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_are_resolved_against_their_page() {
        let check = |link, expected: &str| {
            assert_eq!(join("https://host/a/simple/pack/?x=1", link).as_deref(), Some(expected), "{link}");
        };
        check("https://files.example.org/f.whl", "https://files.example.org/f.whl");
        check("//files.example.org/f.whl", "https://files.example.org/f.whl");
        check("/f.whl", "https://host/f.whl");
        check("f.whl", "https://host/a/simple/pack/f.whl");
        check("../../files/f.whl", "https://host/a/files/f.whl");
        check("../../../../../f.whl", "https://host/f.whl");
        assert_eq!(join("https://host", "f.whl").as_deref(), Some("https://host/f.whl"));
        assert_eq!(join("https://host/", "file:///etc/passwd"), None);
    }

    #[test]
    fn a_page_of_links_is_read() {
        let page = r#"<!DOCTYPE html><html><head><BASE href="https://host/x/"></head><body>
            <a href="a-1.0.tar.gz#md5=00">a-1.0.tar.gz</a>
            <a data-requires-python="&gt;=3" class=x HREF='../f/a%2B-1.0-py3-none-any.whl?y=1&amp;z=2#sha256=ab'>a</a><a
            href=b.whl>b</a><a name="nothing">"#;
        let (base, offers) = of_html(page);
        assert_eq!(base.as_deref(), Some("https://host/x/"));
        let seen: Vec<(&str, &str, Option<&str>)> =
            offers.iter().map(|offer| (&*offer.file, &*offer.url, offer.sha256.as_deref())).collect();
        assert_eq!(
            seen,
            [
                ("a-1.0.tar.gz", "a-1.0.tar.gz", None),
                ("a+-1.0-py3-none-any.whl", "../f/a%2B-1.0-py3-none-any.whl?y=1&z=2", Some("ab")),
                ("b.whl", "b.whl", None),
            ]
        );
    }

    #[test]
    fn a_password_goes_to_its_own_host_and_is_never_shown() {
        let index = "https://me:se%40cret@host:8443/simple";
        assert_eq!(without_password(index), "https://host:8443/simple");
        assert_eq!(split(index).1.map(decoded), Some(b"me:se@cret".to_vec()));
        assert_eq!(with_credentials("https://host:8443/f", index), "https://me:se%40cret@host:8443/f");
        assert_eq!(with_credentials("https://other/f", index), "https://other/f");
        assert_eq!(with_credentials("http://host:8443/f", index), "http://host:8443/f");
        assert_eq!(without_password("https://host/a@b"), "https://host/a@b");
    }

    #[test]
    fn a_package_has_one_name() {
        assert_eq!(normalised("Efficientnet_Lite0.-pytorch"), "efficientnet-lite0-pytorch");
    }
}
