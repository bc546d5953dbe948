//! Paths as text that loses no byte of them: `file:` URIs (RFC 8089).
//!
//! A path is bytes, and not always UTF-8; JSON, and fields of text in any language, hold text.

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, percent_decode_str, percent_encode};

/// What a path in a URI shows as it is (RFC 3986, 3.3: unreserved characters, and the slash).
const AS_IT_IS: &AsciiSet =
    &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~').remove(b'/');

/// The text is not the `file:` URI of an absolute path on this machine.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be file:/// and an absolute path, percent-encoded")]
pub struct NotAFileUri;

/// Returns the URI of an absolute path.
pub fn of_path(path: &[u8]) -> String {
    format!("file://{}", percent_encode(path, AS_IT_IS))
}

/// Returns the absolute path of a URI.
///
/// # Errors
/// [`NotAFileUri`]: another scheme or machine, no absolute path, a query or a fragment, a percent sign that encodes nothing.
pub fn to_path(uri: &str) -> Result<Vec<u8>, NotAFileUri> {
    let (scheme, rest) = uri.split_once(':').ok_or(NotAFileUri)?;
    if !scheme.eq_ignore_ascii_case("file") || rest.contains(['?', '#']) {
        return Err(NotAFileUri);
    }
    let path = match rest.strip_prefix("//") {
        None => rest,
        Some(rest) => {
            let (host, _) = rest.split_once('/').ok_or(NotAFileUri)?;
            if !host.is_empty() && !host.eq_ignore_ascii_case("localhost") {
                return Err(NotAFileUri);
            }
            &rest[host.len()..]
        }
    };
    let is_encoded = |at: usize| {
        path.as_bytes().get(at + 1..at + 3).is_some_and(|code| code.iter().all(u8::is_ascii_hexdigit))
    };
    if !path.starts_with('/') || !path.match_indices('%').all(|(at, _)| is_encoded(at)) {
        return Err(NotAFileUri);
    }
    Ok(percent_decode_str(path).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_byte_of_a_path_comes_back() {
        assert_eq!(of_path(b"/p/a-1.jpg"), "file:///p/a-1.jpg");
        assert_eq!(of_path(b"/p/\xff%#?.jpg"), "file:///p/%FF%25%23%3F.jpg");
        let every: Vec<u8> = std::iter::once(b'/').chain(1..=255).collect();
        assert_eq!(to_path(&of_path(&every)), Ok(every));
    }

    #[test]
    fn what_others_write_is_read_and_nothing_else() {
        let path = |uri| to_path(uri).map(|path| String::from_utf8(path).unwrap());
        let check = |uri, expected: &str| assert_eq!(path(uri), Ok(expected.to_owned()), "{uri}");
        check("file:/p/a.jpg", "/p/a.jpg");
        check("FILE://localhost/p/a%20b.jpg", "/p/a b.jpg");
        check("file:///p/ü.jpg", "/p/ü.jpg");
        for wrong in [
            "",
            "/p/a.jpg",
            "http:///p",
            "file:",
            "file:p",
            "file://",
            "file://nas/p",
            "file:///p?x",
            "file:///p%2",
            "file:///p%zz",
        ] {
            assert_eq!(path(wrong), Err(NotAFileUri), "{wrong}");
        }
    }
}
