//! Tests that mount: each runs itself again in a user and mount namespace of its own.

use std::process::Command;

const INSIDE: &str = "RESEMBLED_TEST_IN_NAMESPACE";

/// Returns true where the test may mount. Otherwise it has run the test `name` (with its module) where that may, or said
/// aloud that nobody may, and there is nothing left to do.
pub fn may_mount(name: &str) -> bool {
    if std::env::var_os(INSIDE).is_some() {
        return true;
    }
    let flags = ["--user", "--map-root-user", "--mount"];
    let is_allowed = Command::new("unshare").args(flags).arg("true").output();
    if !is_allowed.is_ok_and(|output| output.status.success()) {
        eprintln!("SKIPPED {name}: this machine allows no user and mount namespace");
        return false;
    }
    let output = Command::new("unshare")
        .args(flags)
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--include-ignored"])
        .env(INSIDE, "1")
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
    for line in text.lines().filter(|line| line.starts_with("RESULT")) {
        println!("{line}");
    }
    false
}
