//! pip's settings, as far as they say where packages come from.
//!
//! On a machine behind a mirror, these are set already, for Python. What pip reads is read: `PIP_*` variables over
//! `PIP_CONFIG_FILE`, over the virtual environment's file, over the user's, over the system's.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use super::PullError;

/// Where packages come from where nobody says anything.
const PYPI: &str = "https://pypi.org/simple";

/// The settings that matter here.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Pip {
    /// Addresses of package indexes, to be asked in this order.
    pub indexes: Vec<String>,
    /// Whom to trust: a file of certificates.
    pub cert: Option<PathBuf>,
}

/// Values of `[global]` and `[install]`, by names like `index-url`.
type Values = HashMap<String, String>;

impl Pip {
    /// Reads the settings of this machine and this user.
    pub fn of_this_machine() -> Result<Self, PullError> {
        Self::read(&|name| std::env::var_os(name).filter(|value| !value.is_empty()), Path::new("/"))
    }

    fn read(env: &dyn Fn(&str) -> Option<OsString>, root: &Path) -> Result<Self, PullError> {
        let mut values = Values::new();
        for path in files(env, root) {
            match fs::read_to_string(&path) {
                Ok(text) => values.extend(parse(&text)),
                Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {}
                Err(error) => return Err(PullError::Settings { path, reason: error.to_string() }),
            }
        }
        for name in ["index-url", "extra-index-url", "no-index", "cert"] {
            let variable = format!("PIP_{}", name.to_ascii_uppercase().replace('-', "_"));
            if let Some(value) = env(&variable) {
                values.insert(name.to_owned(), value.to_string_lossy().into_owned());
            }
        }
        let value = |name: &str| values.get(name).map(|value| value.trim()).filter(|value| !value.is_empty());
        let is_on = |value: &str| {
            matches!(value.to_ascii_lowercase().as_str(), "1" | "true" | "yes" | "on" | "y" | "t")
        };
        let indexes = match value("no-index").is_some_and(is_on) {
            true => Vec::new(),
            false => {
                let extra = value("extra-index-url").unwrap_or_default().split_whitespace();
                std::iter::once(value("index-url").unwrap_or(PYPI)).chain(extra).map(str::to_owned).collect()
            }
        };
        Ok(Self { indexes, cert: value("cert").map(PathBuf::from) })
    }
}

/// The files that pip reads, a later one over an earlier one.
fn files(env: &dyn Fn(&str) -> Option<OsString>, root: &Path) -> Vec<PathBuf> {
    let named = env("PIP_CONFIG_FILE").map(PathBuf::from);
    if named.as_deref() == Some(Path::new("/dev/null")) {
        return Vec::new();
    }
    let system = env("XDG_CONFIG_DIRS").unwrap_or_else(|| root.join("etc/xdg").into_os_string());
    let mut files: Vec<PathBuf> =
        std::env::split_paths(&system).map(|dir| dir.join("pip/pip.conf")).collect();
    files.push(root.join("etc/pip.conf"));
    if named.as_deref().is_none_or(|named| !named.exists()) {
        let home = env("HOME").map(PathBuf::from);
        files.extend(home.iter().map(|home| home.join(".pip/pip.conf")));
        let config =
            env("XDG_CONFIG_HOME").map(PathBuf::from).or_else(|| home.map(|home| home.join(".config")));
        files.extend(config.map(|config| config.join("pip/pip.conf")));
    }
    files.extend(env("VIRTUAL_ENV").map(|environment| Path::new(&environment).join("pip.conf")));
    files.extend(named);
    files
}

/// Reads what Python's configparser reads: `name = value` or `name: value` in sections, lines that go on where they are
/// indented, comments on lines of their own. `[install]` is over `[global]`.
fn parse(text: &str) -> Values {
    let (mut global, mut install) = (Values::new(), Values::new());
    let mut section = String::new();
    let mut last: Option<String> = None;
    for line in text.lines() {
        let trimmed = line.trim();
        if trimmed.is_empty() || trimmed.starts_with(['#', ';']) {
            continue;
        }
        let values = match section.as_str() {
            "global" => Some(&mut global),
            "install" => Some(&mut install),
            _ => None,
        };
        if line.starts_with(char::is_whitespace) && last.is_some() {
            let value = values.zip(last.as_ref()).and_then(|(values, last)| values.get_mut(last));
            if let Some(value) = value {
                value.push('\n');
                value.push_str(trimmed);
            }
        } else if let Some(name) = trimmed.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            section = name.trim().to_owned();
            last = None;
        } else if let Some((name, value)) = trimmed.split_once(['=', ':']) {
            let name = name.trim().to_ascii_lowercase().replace('_', "-");
            if let Some(values) = values {
                values.insert(name.clone(), value.trim().to_owned());
            }
            last = Some(name);
        }
    }
    global.extend(install);
    global
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Reads settings below a folder of its own, with these variables.
    fn read(files: &[(&str, &str)], variables: &[(&str, &str)]) -> Result<Pip, PullError> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        let below = |value: &str| value.replace('~', root.path().to_str().unwrap());
        let variables: HashMap<&str, String> =
            variables.iter().map(|(name, value)| (*name, below(value))).collect();
        Pip::read(&|name| variables.get(name).map(OsString::from), root.path())
    }

    fn indexes(files: &[(&str, &str)], variables: &[(&str, &str)]) -> Vec<String> {
        read(files, variables).unwrap().indexes
    }

    #[test]
    fn without_settings_it_is_pypi() {
        assert_eq!(read(&[], &[]).unwrap(), Pip { indexes: vec![PYPI.to_owned()], cert: None });
    }

    #[test]
    fn a_variable_is_over_the_files_and_the_user_over_the_system() {
        let files = [
            ("etc/pip.conf", "[global]\nindex-url = https://system/simple\ncert = /etc/ca.pem\n"),
            ("home/.config/pip/pip.conf", "[global]\nindex_url: https://user/simple\n"),
            (
                "venv/pip.conf",
                "[install]\nindex-url = https://venv/simple\n[global]\nindex-url = https://x/\n",
            ),
        ];
        assert_eq!(indexes(&files[..1], &[("HOME", "~/home")]), ["https://system/simple"]);
        assert_eq!(indexes(&files, &[("HOME", "~/home")]), ["https://user/simple"]);
        let venv = ("VIRTUAL_ENV", "~/venv");
        assert_eq!(indexes(&files, &[("HOME", "~/home"), venv]), ["https://venv/simple"]);
        let variables = [("HOME", "~/home"), venv, ("PIP_INDEX_URL", "https://variable/simple")];
        let pip = read(&files, &variables).unwrap();
        assert_eq!(pip.indexes, ["https://variable/simple"]);
        assert_eq!(pip.cert, Some(PathBuf::from("/etc/ca.pem")));
    }

    #[test]
    fn a_named_file_stands_for_the_users_and_dev_null_for_none() {
        let files = [
            ("home/.pip/pip.conf", "[global]\nindex-url = https://user/simple\n"),
            ("other.conf", "[global]\nindex-url = https://named/simple\n"),
        ];
        let home = ("HOME", "~/home");
        assert_eq!(indexes(&files, &[home]), ["https://user/simple"]);
        assert_eq!(indexes(&files, &[home, ("PIP_CONFIG_FILE", "~/other.conf")]), ["https://named/simple"]);
        assert_eq!(indexes(&files, &[home, ("PIP_CONFIG_FILE", "/dev/null")]), [PYPI]);
    }

    #[test]
    fn more_indexes_follow_the_first_and_no_index_means_none() {
        let text = "[global]\n# a comment\nextra-index-url =\n    https://one/simple\n    # another\n    https://two/simple\n\
                    [list]\nformat = columns\n  index-url = https://not/\n";
        assert_eq!(
            indexes(&[("etc/pip.conf", text)], &[]),
            [PYPI, "https://one/simple", "https://two/simple"]
        );
        assert!(indexes(&[], &[("PIP_NO_INDEX", "1")]).is_empty());
        assert_eq!(indexes(&[], &[("PIP_NO_INDEX", "false")]), [PYPI]);
    }
}
