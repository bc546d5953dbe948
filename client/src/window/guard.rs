//! Who may look in: the owner, from the page that we served, and nobody else who reaches a port of this machine.
//!
//! Other users of the machine reach it, other programs of the owner, and, by the owner's browser, every web page: under a name of
//! their own for 127.0.0.1 (DNS rebinding), with requests made for them (CSRF), or as a server on another port, to which
//! browsers send the cookies of this one, since cookies know no ports.
//!
//! - The address that is printed holds a token, good for one visit. It becomes a cookie that no script can read, and no other
//!   site can make the browser send.
//! - The cookie is good below a secret path only, which no other server knows, so that none is sent it. The path alone, as
//!   the address bar shows it, opens nothing.
//! - Requests are for this machine by name, come from our page where the browser says from where they come, and change
//!   something only where it does.

use std::sync::{Mutex, PoisonError};

use data_encoding::BASE64URL_NOPAD;
use hyper::header::{COOKIE, HOST, HeaderMap, HeaderName, ORIGIN};
use hyper::{Method, StatusCode, Uri};

/// Bytes of each secret.
const SECRET_BYTES: usize = 32;

/// The cookie's name.
const NAME: &str = "resemble";

/// The names of this machine for itself.
const HOSTS: [&str; 3] = ["127.0.0.1", "localhost", "[::1]"];

/// What opens the window.
pub(super) struct Guard {
    /// In the address that is printed. Gone after the first visit.
    token: Mutex<Option<String>>,
    /// The folder below which everything is.
    folder: String,
    cookie: String,
}

/// What a request that is let in asks for.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// The first visit: it is given the cookie and sent on.
    Enter,
    /// Something inside: the path below the secret folder.
    Inside(String),
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    #[error("this is not the machine that was asked for")]
    Host,
    #[error("another page asks")]
    Origin,
    #[error("only GET, and POST from the page itself")]
    Method,
    #[error("there is nothing here for you: `resemble window` opens a window")]
    Locked,
    #[error("this address was used already: `resemble window` makes a new one")]
    Used,
}

impl Refusal {
    pub(super) fn status(self) -> StatusCode {
        match self {
            Self::Host => StatusCode::MISDIRECTED_REQUEST,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::Origin | Self::Locked => StatusCode::FORBIDDEN,
            Self::Used => StatusCode::GONE,
        }
    }
}

impl Guard {
    /// Makes new secrets.
    pub(super) fn new() -> std::io::Result<Self> {
        Ok(Self { token: Mutex::new(Some(secret()?)), folder: secret()?, cookie: secret()? })
    }

    /// Returns the path of the first visit.
    pub(super) fn entry(&self) -> Option<String> {
        let token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
        token.as_ref().map(|token| format!("/open/{token}"))
    }

    /// Returns the path of the page.
    pub(super) fn home(&self) -> String {
        format!("/{}/", self.folder)
    }

    /// Returns the value of the header that sets the cookie. It is gone when the browser is closed.
    pub(super) fn set_cookie(&self) -> String {
        format!("{NAME}={}; Path={}; HttpOnly; SameSite=Strict", self.cookie, self.home())
    }

    /// Judges a request by its head. A first visit uses up the token.
    ///
    /// # Errors
    /// What is wrong with it; nothing was done then.
    pub(super) fn judge(&self, method: &Method, uri: &Uri, headers: &HeaderMap) -> Result<Way, Refusal> {
        let host = one(headers, &HOST).filter(|host| is_ours(host)).ok_or(Refusal::Host)?;
        // As a proxy is asked.
        if uri.authority().is_some() {
            return Err(Refusal::Host);
        }
        let is_changing = match *method {
            Method::GET => false,
            Method::POST => true,
            _ => return Err(Refusal::Method),
        };
        let entering = uri.path().strip_prefix("/open/").filter(|_| !is_changing);
        self.judge_origin(headers, host, is_changing, entering.is_some())?;
        if let Some(shown) = entering {
            let mut token = self.token.lock().unwrap_or_else(PoisonError::into_inner);
            return match token.take_if(|token| is_same(token, shown)) {
                Some(_) => Ok(Way::Enter),
                None if token.is_none() => Err(Refusal::Used),
                None => Err(Refusal::Locked),
            };
        }
        let below = uri.path().strip_prefix('/').and_then(|path| path.split_once('/'));
        let (folder, below) = below.ok_or(Refusal::Locked)?;
        let has_cookie = cookies(headers).any(|(name, value)| name == NAME && is_same(value, &self.cookie));
        match is_same(folder, &self.folder) && has_cookie {
            true => Ok(Way::Inside(below.to_owned())),
            false => Err(Refusal::Locked),
        }
    }

    fn judge_origin(
        &self,
        headers: &HeaderMap,
        host: &str,
        is_changing: bool,
        is_entering: bool,
    ) -> Result<(), Refusal> {
        match headers.get(ORIGIN) {
            Some(_)
                if one(headers, &ORIGIN).and_then(|origin| origin.strip_prefix("http://")) != Some(host) =>
            {
                return Err(Refusal::Origin);
            }
            None if is_changing => return Err(Refusal::Origin),
            _ => {}
        }
        let said = |name: &'static str| one(headers, &HeaderName::from_static(name));
        match said("sec-fetch-site") {
            // A browser too old to say it; one that is told by the user.
            None | Some("same-origin" | "none") => Ok(()),
            // A link in another page, as a terminal in the browser has it: it holds the token.
            Some(_) if is_entering && said("sec-fetch-mode") == Some("navigate") => Ok(()),
            Some(_) => Err(Refusal::Origin),
        }
    }
}

/// Returns a header that is there once; several contradict one another.
fn one<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?.to_str().ok()?;
    values.next().is_none().then_some(value)
}

/// Whether a host, with any port, is this machine by one of its own names: ports are forwarded (`ssh -L`), names are not.
fn is_ours(host: &str) -> bool {
    HOSTS.iter().any(|name| match host.strip_prefix(name) {
        Some("") => true,
        Some(rest) => rest.strip_prefix(':').is_some_and(|port| port.parse::<u16>().is_ok()),
        None => false,
    })
}

fn cookies(headers: &HeaderMap) -> impl Iterator<Item = (&str, &str)> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(';')).filter_map(|cookie| cookie.trim().split_once('='))
}

/// Compares without telling by its time how much is right.
fn is_same(one: &str, other: &str) -> bool {
    one.len() == other.len()
        && one.bytes().zip(other.bytes()).fold(0, |differences, (a, b)| differences | (a ^ b)) == 0
}

fn secret() -> std::io::Result<String> {
    let mut bytes = [0; SECRET_BYTES];
    let mut filled = 0;
    while filled < bytes.len() {
        filled += rustix::rand::getrandom(&mut bytes[filled..], rustix::rand::GetRandomFlags::empty())?;
    }
    Ok(BASE64URL_NOPAD.encode(&bytes))
}

#[cfg(test)]
mod tests {
    use hyper::header::HeaderValue;

    use super::*;

    const HOME: &str = "127.0.0.1:7000";

    fn judge(
        guard: &Guard,
        method: Method,
        path: &str,
        given: &[(&'static str, &str)],
    ) -> Result<Way, Refusal> {
        let mut headers = HeaderMap::new();
        for (name, value) in given {
            headers.append(HeaderName::from_static(name), HeaderValue::from_str(value).unwrap());
        }
        guard.judge(&method, &path.parse().unwrap(), &headers)
    }

    fn guard() -> Guard {
        let guard = Guard::new().unwrap();
        Guard { folder: "folder".into(), cookie: "biscuit".into(), ..guard }
    }

    #[test]
    fn the_token_opens_once_and_the_cookie_from_then_on() {
        let guard = guard();
        let entry = guard.entry().unwrap();
        assert!(entry.len() > 43, "{entry}");
        let enter = |path: &str| judge(&guard, Method::GET, path, &[("host", HOME)]);
        assert_eq!(enter("/open/wrong"), Err(Refusal::Locked));
        assert_eq!(enter("/open/"), Err(Refusal::Locked));
        assert_eq!(judge(&guard, Method::POST, &entry, &[("host", HOME)]), Err(Refusal::Origin));
        assert_eq!(enter(&entry), Ok(Way::Enter));
        assert_eq!(enter(&entry), Err(Refusal::Used));
        assert_eq!(guard.entry(), None);
        let inside = |cookie: &str| {
            judge(&guard, Method::GET, "/folder/api/status?q=1", &[("host", HOME), ("cookie", cookie)])
        };
        assert_eq!(inside("a=b; resemble=biscuit"), Ok(Way::Inside("api/status".into())));
        for wrong in ["", "resemble=", "resemble=biscui", "resemble=biscuits", "other=biscuit"] {
            assert_eq!(inside(wrong), Err(Refusal::Locked), "{wrong}");
        }
        let set = guard.set_cookie();
        assert_eq!(set, "resemble=biscuit; Path=/folder/; HttpOnly; SameSite=Strict");
    }

    #[test]
    fn other_names_of_this_machine_are_refused() {
        let guard = guard();
        let check = |hosts: &[&str], expected: Result<(), Refusal>| {
            let mut given = vec![("cookie", "resemble=biscuit")];
            given.extend(hosts.iter().map(|host| ("host", *host)));
            let found = judge(&guard, Method::GET, "/folder/", &given);
            assert_eq!(found.map(drop), expected, "{hosts:?}");
        };
        for good in ["127.0.0.1:7000", "localhost:7000", "[::1]:7000", "localhost", "localhost:8000"] {
            check(&[good], Ok(()));
        }
        for bad in [
            "evil.example:7000",
            "127.0.0.1.evil.example",
            "localhost.evil.example:7000",
            "evil@127.0.0.1",
            "127.0.0.1:7000x",
            "127.0.0.2:7000",
            "0.0.0.0:7000",
            "LOCALHOST.",
            "",
        ] {
            check(&[bad], Err(Refusal::Host));
        }
        check(&[], Err(Refusal::Host));
        check(&[HOME, "evil.example"], Err(Refusal::Host));
        let proxied = judge(&guard, Method::GET, "http://127.0.0.1:7000/folder/", &[("host", HOME)]);
        assert_eq!(proxied, Err(Refusal::Host));
    }

    #[test]
    fn what_another_page_asks_is_refused_and_changes_come_from_ours_alone() {
        let guard = guard();
        let check = |method: Method, more: &[(&'static str, &str)], expected: Result<(), Refusal>| {
            let mut given = vec![("host", HOME), ("cookie", "resemble=biscuit")];
            given.extend(more);
            let found = judge(&guard, method.clone(), "/folder/api/pause", &given);
            assert_eq!(found.map(drop), expected, "{method} {more:?}");
        };
        let ours = ("origin", "http://127.0.0.1:7000");
        check(Method::POST, &[ours], Ok(()));
        check(Method::POST, &[ours, ("sec-fetch-site", "same-origin")], Ok(()));
        check(Method::POST, &[], Err(Refusal::Origin));
        for other in [
            "http://evil.example",
            "null",
            "http://127.0.0.1:7001",
            "https://127.0.0.1:7000",
            "http://localhost:7000",
            "",
        ] {
            check(Method::POST, &[("origin", other)], Err(Refusal::Origin));
            check(Method::GET, &[("origin", other)], Err(Refusal::Origin));
        }
        check(Method::POST, &[ours, ("origin", "http://evil.example")], Err(Refusal::Origin));
        check(Method::GET, &[("sec-fetch-site", "none")], Ok(()));
        for other in ["cross-site", "same-site"] {
            check(Method::GET, &[("sec-fetch-site", other)], Err(Refusal::Origin));
            check(
                Method::GET,
                &[("sec-fetch-site", other), ("sec-fetch-mode", "navigate")],
                Err(Refusal::Origin),
            );
            check(Method::POST, &[ours, ("sec-fetch-site", other)], Err(Refusal::Origin));
        }
        for method in [Method::PUT, Method::DELETE, Method::OPTIONS, Method::HEAD, Method::TRACE] {
            check(method, &[ours], Err(Refusal::Method));
        }
    }

    #[test]
    fn a_link_elsewhere_may_lead_in_but_no_picture_or_script_elsewhere() {
        let guard = guard();
        let entry = guard.entry().unwrap();
        let from = |mode| {
            judge(
                &guard,
                Method::GET,
                &entry,
                &[("host", HOME), ("sec-fetch-site", "cross-site"), ("sec-fetch-mode", mode)],
            )
        };
        assert_eq!(from("no-cors"), Err(Refusal::Origin));
        assert_eq!(from("navigate"), Ok(Way::Enter));
    }
}
