//! Where things belong: the XDG base directories
//! (<https://specifications.freedesktop.org/basedir-spec/latest/>), one `resembled` folder in each.

use std::ffi::OsString;
use std::path::PathBuf;

/// The environment, as far as it is asked for.
pub type Environment<'a> = &'a dyn Fn(&str) -> Option<OsString>;

/// Neither `HOME` nor the XDG variables say where data belongs.
#[derive(Debug, thiserror::Error)]
#[error(
    "HOME is not set, so there is no place for data: set HOME, or all of XDG_CONFIG_HOME, XDG_DATA_HOME, XDG_STATE_HOME and XDG_CACHE_HOME"
)]
pub struct NoHome;

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
    /// The user's home, where it is known.
    pub home: Option<PathBuf>,
}

impl Dirs {
    /// Reads the XDG variables. An empty or relative one counts as unset, as the specification demands.
    ///
    /// Without `XDG_RUNTIME_DIR` (a shell without a login session) the socket goes into the state directory,
    /// which is as private and which the client finds in the same way.
    ///
    /// # Errors
    /// [`NoHome`].
    pub fn find(environment: Environment<'_>) -> Result<Self, NoHome> {
        let absolute =
            |name: &str| environment(name).map(PathBuf::from).filter(|path: &PathBuf| path.is_absolute());
        let home = absolute("HOME");
        let base = |name: &str, below_home: &str| {
            absolute(name)
                .or_else(|| home.as_ref().map(|home| home.join(below_home)))
                .map(|base| base.join("resembled"))
                .ok_or(NoHome)
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
}
