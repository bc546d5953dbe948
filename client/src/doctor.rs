//! `resemble doctor`: what could be better, and what to do about it.

use std::path::Path;

use resembled_api::dirs::Dirs;
use resembled_api::proto;
use resembled_api::proto::daemon_service_client::DaemonServiceClient;
use serde_json::{Map, Value, json};

use crate::Answer;
use crate::cli::Target;
use crate::connect::{self, refused};
use crate::{library, output, service, status};

/// Less than this on the disk of the index is worth a word.
const ENOUGH_BYTES: u64 = 1 << 30;

/// A sketched search that finds less is worth a word, as for the daemon itself.
const ENOUGH_RECALL: f64 = 0.98;

/// One thing that was looked at.
pub(crate) struct Finding {
    is_well: bool,
    pub(crate) what: String,
}

impl Finding {
    /// Returns what a script may want of it.
    pub(crate) fn json(&self) -> Map<String, Value> {
        output::object(json!({ "well": self.is_well, "what": self.what }))
    }
}

pub(crate) fn well(what: impl Into<String>) -> Finding {
    Finding { is_well: true, what: what.into() }
}

pub(crate) fn unwell(what: impl Into<String>) -> Finding {
    Finding { is_well: false, what: what.into() }
}

/// [`Answer::Found`] when all is well.
pub(crate) async fn doctor(target: &Target, json: bool) -> anyhow::Result<Answer> {
    let mut findings = Vec::new();
    let answers = match ask(target).await {
        Ok(status) => {
            findings.extend(examine(&status));
            true
        }
        Err(error) => {
            findings.push(unwell(format!("{error:#}").replace(connect::ASK_THE_DOCTOR, "")));
            false
        }
    };
    if target.connect.is_none() {
        // Another socket is that of another daemon than the user's service.
        let is_service = target.socket.is_none();
        findings.extend(service::findings(is_service && !answers).await);
        findings.extend(disk(&Dirs::find(&|name| std::env::var_os(name))?.data));
    }
    for finding in &findings {
        let Finding { is_well, what } = finding;
        match json {
            true => output::json_line(&finding.json())?,
            false => output::line(format_args!("{}  {what}", if *is_well { "ok  " } else { "look" }))?,
        }
    }
    let all_is_well = findings.iter().all(|finding| finding.is_well);
    Ok(if all_is_well { Answer::Found } else { Answer::Nothing })
}

async fn ask(target: &Target) -> anyhow::Result<proto::Status> {
    let mut client = DaemonServiceClient::new(connect::connect(target).await?);
    Ok(client.get_status(proto::GetStatusRequest {}).await.map_err(refused)?.into_inner())
}

/// Judges what the daemon says of itself.
pub(crate) fn examine(status: &proto::Status) -> Vec<Finding> {
    let mut findings = Vec::new();
    findings.push(match env!("CARGO_PKG_VERSION") {
        ours if ours == status.version => well(format!("resembled {ours} answers")),
        ours => unwell(format!(
            "resembled {} answers, and this is resemble {ours}: restart the daemon after an update",
            status.version
        )),
    });
    let model = status.model.as_ref().map_or("", |model| model.name.as_str());
    findings.push(match model {
        "builtin" if status.filling.is_none() => unwell(
            "the small built-in network answers: `resembled models pull` gets a better one, and a restart of the \
             daemon takes it",
        ),
        model => well(format!("the network {model} answers")),
    });
    findings.push(if status.runtime.starts_with("tract") {
        unwell(format!(
            "networks run in {}: ONNX Runtime takes half the time (`resembled runtime pull`)",
            status.runtime
        ))
    } else {
        well(format!("networks run in {}", status.runtime))
    });
    findings
        .extend(status.pauses().map(|pause| unwell(format!("photos wait: {}", status::why(status, pause)))));
    findings.push(match status.failed {
        0 => well(format!("{} searchable, none failed", output::counted(status.files, "file"))),
        failed => {
            let failed = output::counted(failed, "file");
            unwell(format!("{failed} could not be indexed: `resemble failures` says why"))
        }
    });
    if status.roots.is_empty() {
        findings.push(unwell("no folder is watched: `resemble roots add DIR` adds one"));
    }
    for root in &status.roots {
        let path = output::shown(&root.path);
        findings.push(match root.state() {
            proto::RootState::Online => well(format!("{path} is watched")),
            _ => unwell(format!("{path}: {}", root.detail)),
        });
        let away = root.mounts.iter().filter(|mount| mount.state() != proto::RootState::Online);
        findings
            .extend(away.map(|mount| unwell(format!("{}: {}", output::shown(&mount.path), mount.detail))));
        findings.extend(library::left_out(root).map(|what| unwell(format!("{path}: {what}"))));
    }
    findings.push(match status.decoder {
        Some(proto::Decoder { seccomp: true, landlock: true, memory_limit: true, .. }) => {
            well("photos are decoded in processes without rights")
        }
        Some(_) => unwell("this kernel confines the decoding processes in part only (`resemble status`)"),
        None => unwell("no decoding process could be started: the daemon's log says why"),
    });
    if let Some(recall) = status.search.and_then(|search| search.recall)
        && recall.share < ENOUGH_RECALL
    {
        let share = recall.share * 100.0;
        findings
            .push(unwell(format!("a search finds {share:.1} % of the nearest photos; `--exact` finds all")));
    }
    findings
}

/// Looks at the disk of the index, if it is where the defaults put it.
fn disk(data: &Path) -> Option<Finding> {
    let disk = rustix::fs::statvfs(data).ok()?;
    let free = disk.f_bavail.saturating_mul(disk.f_frsize);
    let shown = data.display();
    Some(match free < ENOUGH_BYTES {
        true => unwell(format!("{} MiB are left for the index in {shown}: make room", free >> 20)),
        false => well(format!("{} GiB are left for the index in {shown}", free >> 30)),
    })
}
