use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};

use super::{Config, ConfigError, paths};
use crate::cli;

/// Loads `text` as the configuration file, under `flags` and `variables`.
fn load(text: &str, flags: &cli::Run, variables: &[(&str, &str)]) -> Result<Config, ConfigError> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("config.toml");
    fs::write(&path, text).unwrap();
    let variables: HashMap<&str, OsString> =
        [("HOME", "/home/u")].iter().chain(variables).map(|&(name, value)| (name, value.into())).collect();
    Config::load(flags, Some(&path), &|name| variables.get(name).cloned())
}

#[test]
fn without_anything_there_are_defaults_below_home() {
    let config = load("", &cli::Run::default(), &[]).unwrap();
    assert_eq!(config.store, Path::new("/home/u/.local/share/resembled/resembled.redb"));
    assert_eq!(config.socket, Path::new("/home/u/.local/state/resembled/resembled.sock"));
    assert_eq!(config.log, "info");
    assert!(config.roots.is_empty());
}

#[test]
fn an_empty_or_relative_xdg_variable_counts_as_unset() {
    for value in ["", "relative"] {
        let config = load("", &cli::Run::default(), &[("XDG_DATA_HOME", value)]).unwrap();
        assert_eq!(config.store, Path::new("/home/u/.local/share/resembled/resembled.redb"));
    }
    let config = load("", &cli::Run::default(), &[("XDG_RUNTIME_DIR", "/run/user/7")]).unwrap();
    assert_eq!(config.socket, Path::new("/run/user/7/resembled/resembled.sock"));
}

#[test]
fn a_flag_wins_over_the_file() {
    let flags = cli::Run { model: Some("mine".into()), socket: Some("/s".into()), ..cli::Run::default() };
    let config = load("model = \"other\"\nsocket = \"~/x\"\nlog = \"debug\"", &flags, &[]).unwrap();
    assert_eq!((config.model.as_deref(), config.socket.as_path()), (Some("mine"), Path::new("/s")));
    assert_eq!(config.log, "debug");
}

#[test]
fn roots_are_absolute_and_plain() {
    let flags = cli::Run { roots: vec!["/a/./b/../c/".into()], ..cli::Run::default() };
    let config = load("roots = [\"~/Pictures\"]", &flags, &[]).unwrap();
    assert_eq!(config.roots, [PathBuf::from("/a/c"), PathBuf::from("/home/u/Pictures")]);
    assert_eq!(paths::normalise(Path::new("/../x")), Path::new("/x"));
}

#[test]
fn an_unknown_key_is_refused_with_its_line() {
    let error = load("log = \"info\"\n[watch]\nignored = []", &cli::Run::default(), &[]).unwrap_err();
    let ConfigError::Parse { source, .. } = error else { panic!("{error}") };
    let text = source.to_string();
    assert!(text.contains("line 3") && text.contains("ignored"), "{text}");
}

#[test]
fn a_value_without_sense_is_refused() {
    assert!(matches!(
        load("[decode]\nmax_megapixels = 0", &cli::Run::default(), &[]),
        Err(ConfigError::Value { key: "decode.max_megapixels", .. })
    ));
}

#[test]
fn a_named_file_that_is_missing_is_an_error() {
    let missing =
        Config::load(&cli::Run::default(), Some(Path::new("/nowhere/c.toml")), &|_| Some("/h".into()));
    assert!(matches!(missing, Err(ConfigError::Read { .. })));
}

#[test]
fn model_files_are_looked_for_where_the_environment_says_first() {
    let config =
        load("model_dirs = [\"/m\"]", &cli::Run::default(), &[("RESEMBLED_MODEL_DIR", "/env")]).unwrap();
    let expected = ["/env", "/m", "/home/u/.local/share/resembled/models"].map(PathBuf::from);
    assert_eq!(config.model_dirs, expected);
}
