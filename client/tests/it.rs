//! The client where no daemon is. With one it is tested beside the daemon, in `tests/it`; this test has the same name, so
//! that whoever runs those by `--test it` has the client built for them.

#![allow(clippy::unwrap_used, reason = "tests")]

use std::fs;
use std::path::Path;
use std::process::{Command, Output};

/// Runs the client in a home of its own.
fn resemble(home: &Path, args: &[&str]) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_resemble"));
    command.env_clear().env("HOME", home).current_dir(home).args(args).output().unwrap()
}

#[test]
fn completions_and_manual_pages_need_no_daemon() {
    let home = tempfile::tempdir().unwrap();
    let script = String::from_utf8(resemble(home.path(), &["completions", "bash"]).stdout).unwrap();
    assert!(script.contains("--max-distance") && script.contains("duplicates"), "{script}");
    assert_eq!(resemble(home.path(), &["man", "pages"]).status.code(), Some(0));
    let page = fs::read_to_string(home.path().join("pages/resemble-search.1")).unwrap();
    assert!(page.contains("max"), "{page}");
}

/// What the shell offers behind `resemble search do`, where a daemon knows three words and there is a file.
#[test]
fn words_and_files_are_completed_and_never_evaluated() {
    let home = tempfile::tempdir().unwrap();
    let script = resemble(home.path(), &["completions", "bash"]).stdout;
    fs::write(home.path().join("completions.bash"), script).unwrap();
    fs::write(home.path().join("dove.jpg"), "").unwrap();
    fs::create_dir(home.path().join("dolls")).unwrap();
    let offered = |line: &str| {
        let asked = format!(
            "source completions.bash; resemble() {{ printf '%s\\n' dog 'dog sled' 'do$(touch evil)'; }}
             COMP_WORDS=({line}); COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1))
             _resemble_and_words resemble \"${{COMP_WORDS[COMP_CWORD]}}\" \"${{COMP_WORDS[COMP_CWORD - 1]}}\"
             printf '%s\\n' \"${{COMPREPLY[@]}}\""
        );
        let output = Command::new("bash").current_dir(home.path()).args(["-c", &asked]).output().unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let search = offered("resemble search do");
    let lines: Vec<&str> = search.lines().collect();
    for expected in ["dog", "dog\\ sled", "dove.jpg", "dolls/"] {
        assert!(lines.contains(&expected), "{expected} is not in {search}");
    }
    assert!(offered("resemble search --by").contains("--by-date"));
    assert!(!offered("resemble words do").contains("dove.jpg"));
    assert!(!offered("resemble similar do").contains("dog"));
    assert!(!home.path().join("evil").exists());
}

#[test]
fn where_no_daemon_is_it_is_said_once_how_to_start_one() {
    let home = tempfile::tempdir().unwrap();
    let lonely = resemble(home.path(), &["status"]);
    assert_eq!(lonely.status.code(), Some(2));
    let text = String::from_utf8(lonely.stderr).unwrap();
    assert!(text.contains("no daemon answers") && text.contains("resembled DIR"), "{text}");
    assert_eq!((text.lines().count(), text.matches("os error").count()), (1, 0), "{text}");
}
