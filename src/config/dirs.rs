//! Where things belong: the XDG base directories
//! (<https://specifications.freedesktop.org/basedir-spec/latest/>), one `resembled` folder in each.

use std::ffi::OsString;
use std::path::{Component, Path, PathBuf};

use super::{ConfigError, Environment};

/// The daemon's folders.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Dirs {
    /// `config.toml` and the user's manifests.
    pub config: PathBuf,
    /// The store, pulled models, the token.
    pub data: PathBuf,
    /// Logs, if they go to a file.
    pub state: PathBuf,
    /// What may be deleted at any time.
    pub cache: PathBuf,
    /// The socket.
    pub runtime: PathBuf,
    home: Option<PathBuf>,
}

impl Dirs {
    /// Reads the XDG variables. An empty or relative one counts as unset, as the specification demands.
    ///
    /// Without `XDG_RUNTIME_DIR` (a shell without a login session) the socket goes into the state directory,
    /// which is as private and which the client finds in the same way.
    pub fn find(environment: Environment<'_>) -> Result<Self, ConfigError> {
        let absolute =
            |name: &str| environment(name).map(PathBuf::from).filter(|path: &PathBuf| path.is_absolute());
        let home = absolute("HOME");
        let base = |name: &str, below_home: &str| {
            absolute(name)
                .or_else(|| home.as_ref().map(|home| home.join(below_home)))
                .map(|base| base.join("resembled"))
                .ok_or(ConfigError::NoHome)
        };
        let state = base("XDG_STATE_HOME", ".local/state")?;
        Ok(Self {
            config: base("XDG_CONFIG_HOME", ".config")?,
            data: base("XDG_DATA_HOME", ".local/share")?,
            cache: base("XDG_CACHE_HOME", ".cache")?,
            runtime: absolute("XDG_RUNTIME_DIR").map_or_else(|| state.clone(), |dir| dir.join("resembled")),
            state,
            home,
        })
    }

    /// Makes a path of the configuration absolute: `~/` is the home, all else is relative to the file.
    pub(super) fn expand(&self, path: &Path, file_dir: &Path) -> PathBuf {
        match (path.strip_prefix("~"), &self.home) {
            (Ok(rest), Some(home)) => home.join(rest),
            _ => file_dir.join(path),
        }
    }
}

/// Removes `.`, `..` and trailing slashes by their names alone: the folder may not be there at the moment.
pub(super) fn normalise(path: &Path) -> PathBuf {
    let mut parts: Vec<OsString> = Vec::new();
    for part in path.components() {
        match part {
            Component::ParentDir => drop(parts.pop()),
            Component::Normal(name) => parts.push(name.to_owned()),
            Component::RootDir | Component::CurDir | Component::Prefix(_) => {}
        }
    }
    let mut normal = PathBuf::from("/");
    normal.extend(parts);
    normal
}
