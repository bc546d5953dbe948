//! The bearer token of TCP: made once, kept in a file that only the user can read.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use data_encoding::HEXLOWER;
use tonic::{Code, Request, Status};

use super::refuse::{self, Reason};
use crate::private;

/// Proof that a caller may read the user's files.
#[derive(Clone)]
pub struct Token {
    /// Comparing hashes takes the same time wherever the texts differ.
    hash: blake3::Hash,
}

/// Why there is no token.
#[derive(Debug, thiserror::Error)]
#[error("cannot read or make the token {}", path.display())]
pub struct TokenError {
    path: PathBuf,
    source: io::Error,
}

impl Token {
    /// Reads the token, and makes one where there is none. Whoever else could read it cannot any more.
    ///
    /// # Errors
    /// The file cannot be read or made, or its token is too short.
    pub fn load(path: &Path) -> Result<Self, TokenError> {
        private::tighten(path);
        let failed = |source| TokenError { path: path.to_path_buf(), source };
        match fs::read_to_string(path) {
            Ok(text) if text.trim().len() >= 32 => Ok(Self { hash: blake3::hash(text.trim().as_bytes()) }),
            Ok(_) => Err(failed(io::Error::other(
                "it is shorter than 32 characters; delete the file for a new one",
            ))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Self::make(path).map_err(failed),
            Err(error) => Err(failed(error)),
        }
    }

    fn make(path: &Path) -> io::Result<Self> {
        let mut random = [0; 32];
        let filled = rustix::rand::getrandom(&mut random, rustix::rand::GetRandomFlags::empty())?;
        if filled != random.len() {
            return Err(io::Error::other("the system gave too little randomness"));
        }
        let text = HEXLOWER.encode(&random);
        if let Some(directory) = path.parent() {
            private::create_directory(directory)?;
        }
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
        writeln!(file, "{text}")?;
        file.sync_all()?;
        Ok(Self { hash: blake3::hash(text.as_bytes()) })
    }

    /// Lets a request through that carries `authorization: Bearer TOKEN`.
    pub(super) fn check(&self, request: Request<()>) -> Result<Request<()>, Status> {
        let given = request.metadata().get("authorization").and_then(|value| value.to_str().ok());
        match given.and_then(|value| value.strip_prefix("Bearer ")) {
            Some(token) if blake3::hash(token.trim().as_bytes()) == self.hash => Ok(request),
            _ => Err(refuse::because(
                Code::Unauthenticated,
                Reason::Unauthenticated,
                "a bearer token is needed: send `authorization: Bearer TOKEN` with the token from the daemon's data directory",
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn request(authorization: Option<&str>) -> Request<()> {
        let mut request = Request::new(());
        if let Some(value) = authorization {
            request.metadata_mut().insert("authorization", value.parse().unwrap());
        }
        request
    }

    #[test]
    fn the_token_is_made_once_and_private() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("data/token");
        let made = Token::load(&path).unwrap();
        let read = Token::load(&path).unwrap();
        assert_eq!(made.hash, read.hash);
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }

    #[test]
    fn only_the_right_token_is_let_through() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        let token = Token::load(&path).unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert!(token.check(request(Some(&format!("Bearer {}", text.trim())))).is_ok());
        for wrong in [None, Some("Bearer "), Some("Bearer 0"), Some(text.trim())] {
            assert!(token.check(request(wrong)).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_token_that_is_too_short_is_refused() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        fs::write(&path, "secret").unwrap();
        assert!(Token::load(&path).is_err());
    }
}
