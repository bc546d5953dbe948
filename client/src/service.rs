//! What is to be known of the daemon without asking it: its systemd service, its last words, its configuration.

use std::path::{Path, PathBuf};
use std::process::Output;
use std::time::Duration;

use tokio::process::Command;
use tokio::time::timeout;

use crate::doctor::{Finding, unwell, well};

/// The daemon's units, if they were installed as the README says.
const SERVICE: &str = "resembled.service";
const SOCKET: &str = "resembled.socket";

/// Lines of the journal that are shown.
const LAST_LINES: &str = "10";

/// How long systemd, the journal and `check-config` may take.
const PATIENCE: Duration = Duration::from_secs(10);

/// A unit, as `systemctl show` tells.
struct Unit {
    name: &'static str,
    /// `active`, `activating`, `inactive`, `failed`, ...
    state: String,
    /// `exit-code`, `start-limit-hit`, ...
    result: String,
    exit_status: String,
}

/// Looks at the configuration, and at the service if that does not answer.
pub(crate) async fn findings(is_silent: bool) -> Vec<Finding> {
    let mut findings = vec![check_config().await];
    if is_silent {
        let units: Vec<Unit> = [unit(SERVICE).await, unit(SOCKET).await].into_iter().flatten().collect();
        findings.extend(units.iter().find(|unit| unit.name == SERVICE).map(|service| judge(service, &units)));
        if let Some(words) = last_words().await {
            findings.push(unwell(format!("the service said last:\n{}", indented(&words))));
        }
    }
    findings
}

/// Has the daemon's program read the configuration.
async fn check_config() -> Finding {
    let program = program();
    match run(Command::new(&program).arg("check-config")).await {
        Some(output) if output.status.success() => well("the configuration is valid"),
        Some(output) => {
            let words = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            unwell(format!("`resembled check-config` fails:\n{}", indented(&words)))
        }
        None => unwell(format!("{} could not be run: is resembled installed?", program.display())),
    }
}

/// Returns the daemon's program: the one beside us, which has our version.
fn program() -> PathBuf {
    let beside = std::env::current_exe().ok().and_then(|this| Some(this.parent()?.join("resembled")));
    beside.filter(|path| path.is_file()).unwrap_or_else(|| Path::new("resembled").to_path_buf())
}

/// Returns what systemd knows of a unit; `None` where it was not installed, or there is no systemd.
async fn unit(name: &'static str) -> Option<Unit> {
    let properties = "--property=LoadState,ActiveState,Result,ExecMainStatus";
    let output = run(Command::new("systemctl").args(["--user", "show", name, properties])).await?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let property = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
        line.unwrap_or_default().to_owned()
    };
    (property("LoadState") == "loaded").then(|| Unit {
        name,
        state: property("ActiveState"),
        result: property("Result"),
        exit_status: property("ExecMainStatus"),
    })
}

/// Says how the service is, which does not answer, and what to do.
fn judge(service: &Unit, units: &[Unit]) -> Finding {
    let names = |units: &[&Unit]| units.iter().map(|unit| unit.name).collect::<Vec<_>>().join(" ");
    let all: Vec<&Unit> = units.iter().collect();
    let failed: Vec<&Unit> = units.iter().filter(|unit| unit.state == "failed").collect();
    let start = format!("`systemctl --user start {}`", names(&all));
    unwell(match service.state.as_str() {
        "active" | "reloading" => {
            format!("{SERVICE} runs and does not answer: `systemctl --user restart {SERVICE}`")
        }
        "activating" => format!(
            "{SERVICE} is starting, or about to be started again: `systemctl --user status {SERVICE}` tells"
        ),
        _ if !failed.is_empty() => {
            let ended = match (service.result.as_str(), service.exit_status.as_str()) {
                ("exit-code", status) => format!("has ended with exit code {status}{}", meaning(status)),
                ("success" | "", _) => "does not run".to_owned(),
                (result, _) => format!("has failed ({result})"),
            };
            let reset = names(&failed);
            format!(
                "{SERVICE} {ended}: mend what it says below, then `systemctl --user reset-failed {reset}` and {start}"
            )
        }
        _ => format!("{SERVICE} does not run: {start}"),
    })
}

/// Says what the daemon means by an exit code.
fn meaning(status: &str) -> &'static str {
    match status {
        "2" => ", its command line is wrong",
        "78" => ", its configuration is not valid",
        "74" => ", the disk of its index fails",
        "203" => ", its program is not where the unit says",
        _ => "",
    }
}

/// Returns the last lines of the service in the journal.
async fn last_words() -> Option<String> {
    let mut command = Command::new("journalctl");
    command.args([
        "--user",
        "--unit",
        SERVICE,
        "--lines",
        LAST_LINES,
        "--no-pager",
        "--quiet",
        "--output",
        "cat",
    ]);
    let output = run(&mut command).await?;
    let words = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (output.status.success() && !words.is_empty()).then_some(words)
}

/// Runs a command to its end; `None` where it cannot be run, or takes too long.
async fn run(command: &mut Command) -> Option<Output> {
    timeout(PATIENCE, command.kill_on_drop(true).output()).await.ok()?.ok()
}

fn indented(text: &str) -> String {
    // What a log says is for the eyes only.
    let lines = text.lines().map(|line| format!("      {}", crate::output::shown(line.as_bytes())));
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(name: &'static str, state: &str, result: &str, exit_status: &str) -> Unit {
        Unit { name, state: state.into(), result: result.into(), exit_status: exit_status.into() }
    }

    #[test]
    fn each_state_of_the_service_has_a_command_that_helps() {
        let check = |service: Unit, socket: Unit, expected: &[&str]| {
            let units = [service, socket];
            let what = judge(&units[0], &units).what;
            assert!(expected.iter().all(|part| what.contains(part)), "{what}");
        };
        let listening = || unit(SOCKET, "active", "success", "");
        check(unit(SERVICE, "active", "success", "0"), listening(), &["restart resembled.service"]);
        check(
            unit(SERVICE, "failed", "exit-code", "78"),
            listening(),
            &[
                "configuration is not valid",
                "reset-failed resembled.service`",
                "start resembled.service resembled.socket`",
            ],
        );
        check(
            unit(SERVICE, "failed", "start-limit-hit", "1"),
            unit(SOCKET, "failed", "service-start-limit-hit", ""),
            &["start-limit-hit", "reset-failed resembled.service resembled.socket`"],
        );
        check(
            unit(SERVICE, "inactive", "success", "0"),
            listening(),
            &["does not run", "`systemctl --user start"],
        );
    }
}
