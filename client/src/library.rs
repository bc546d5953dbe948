//! `resemble failures`, `roots` and `rescan`

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use resembled_api::proto;
use resembled_api::proto::daemon_service_client::DaemonServiceClient;
use resembled_api::proto::library_service_client::LibraryServiceClient;
use serde_json::json;

use crate::Answer;
use crate::cli::Roots;
use crate::connect::{Connection, refused};
use crate::output;

/// Rows asked for at a time.
const PAGE: i32 = 1_000;

fn client(channel: Connection) -> LibraryServiceClient<Connection> {
    LibraryServiceClient::new(channel).max_decoding_message_size(usize::MAX)
}

/// Lists files that could not be indexed, and what is left out before it could be tried; of that what a pattern leaves out
/// only where `ignored` asks for it.
pub(crate) async fn failures(channel: Connection, ignored: bool, json: bool) -> anyhow::Result<Answer> {
    let mut client = client(channel);
    let failed = print_failures(&mut client, json).await?;
    let left_out = print_omissions(&mut client, ignored, json).await?;
    Ok(if failed || left_out { Answer::Found } else { Answer::Nothing })
}

async fn print_omissions(
    client: &mut LibraryServiceClient<Connection>,
    ignored: bool,
    json: bool,
) -> anyhow::Result<bool> {
    let mut found = false;
    let mut page_token = String::new();
    loop {
        let request = proto::ListOmissionsRequest { root: String::new(), page_size: PAGE, page_token };
        let page = client.list_omissions(request).await.map_err(refused)?.into_inner();
        for omission in &page.omissions {
            if omission.kind() == proto::OmissionKind::Ignored && !ignored {
                continue;
            }
            found = true;
            if json {
                let mut object = serde_json::Map::new();
                output::put_path(&mut object, &omission.path);
                let kind = omission.kind().as_str_name().trim_start_matches("OMISSION_KIND_").to_lowercase();
                object.extend(output::object(json!({ "reason": omission.reason, "kind": kind })));
                output::json_line(&object)?;
            } else {
                let why = match omission.kind() {
                    proto::OmissionKind::UnreadableFolder => "the folder cannot be read: ",
                    proto::OmissionKind::UnreadableFile => "the file cannot be looked at: ",
                    proto::OmissionKind::Ignored => "ignored: ",
                    _ => "",
                };
                output::line(format_args!("{}: {why}{}", output::shown(&omission.path), omission.reason))?;
            }
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(found);
        }
    }
}

async fn print_failures(client: &mut LibraryServiceClient<Connection>, json: bool) -> anyhow::Result<bool> {
    let mut found = false;
    let mut page_token = String::new();
    loop {
        let request = proto::ListFailuresRequest { page_size: PAGE, page_token };
        let page = client.list_failures(request).await.map_err(refused)?.into_inner();
        for failure in &page.failures {
            found = true;
            if json {
                output::json_line(&failure_json(failure))?;
            } else {
                let retried = if failure.retried { "; it will be tried again" } else { "" };
                output::line(format_args!("{}: {}{retried}", output::shown(&failure.path), failure.reason))?;
            }
        }
        page_token = page.next_page_token;
        if page_token.is_empty() {
            return Ok(found);
        }
    }
}

/// Returns what a script may want of a failure.
pub(crate) fn failure_json(failure: &proto::Failure) -> serde_json::Map<String, serde_json::Value> {
    let mut object = serde_json::Map::new();
    output::put_path(&mut object, &failure.path);
    let kind = failure.kind().as_str_name().trim_start_matches("FAILURE_KIND_").to_lowercase();
    object.extend(output::object(json!({
        "reason": failure.reason,
        "kind": kind,
        "size": failure.size_bytes,
        "retried": failure.retried,
        "time": output::time(failure.failure_time.as_ref()),
    })));
    object
}

pub(crate) async fn roots(channel: Connection, command: Option<Roots>, json: bool) -> anyhow::Result<Answer> {
    let mut client = client(channel);
    let roots = match command {
        Some(Roots::Add { folder }) => {
            let path = output::absolute(&folder)?.as_os_str().as_bytes().to_vec();
            vec![
                client
                    .add_root(proto::AddRootRequest { path, ..Default::default() })
                    .await
                    .map_err(refused)?
                    .into_inner(),
            ]
        }
        Some(Roots::Remove { folder }) => {
            let name = root_name(&mut client, &folder).await?;
            client.remove_root(proto::RemoveRootRequest { name }).await.map_err(refused)?;
            eprintln!(
                "{} is no longer watched, and its files are forgotten; they are where they were",
                folder.display()
            );
            return Ok(Answer::Found);
        }
        Some(Roots::Accept { folder, yes }) => return accept(&mut client, &folder, yes).await,
        None => client.list_roots(proto::ListRootsRequest {}).await.map_err(refused)?.into_inner().roots,
    };
    if json {
        for root in &roots {
            let mut object = serde_json::Map::new();
            output::put_path(&mut object, &root.path);
            object.extend(root_json(root));
            output::json_line(&object)?;
        }
    } else {
        print_roots(&roots)?;
    }
    Ok(if roots.is_empty() { Answer::Nothing } else { Answer::Found })
}

/// Says what accepting a folder forgets, asks, and does it.
async fn accept(
    client: &mut LibraryServiceClient<Connection>,
    folder: &Path,
    yes: bool,
) -> anyhow::Result<Answer> {
    let given = output::absolute(folder)?;
    let real = given.canonicalize().ok();
    let roots = client.list_roots(proto::ListRootsRequest {}).await.map_err(refused)?.into_inner().roots;
    let paths = roots.iter().flat_map(|root| {
        let mounts = root.mounts.iter().map(|mount| &mount.path);
        [&root.path, &root.configured_path].into_iter().chain(mounts)
    });
    let is_meant = |path: &PathBuf| *path == given || Some(path) == real.as_ref();
    let Some(folder) = paths.map(|path| output::path(path)).find(is_meant) else {
        bail!(
            "{} is neither a watched folder nor a drive mounted in one: `resemble roots` lists them",
            given.display()
        );
    };
    let path = folder.as_os_str().as_bytes().to_vec();
    let request = proto::AcceptRootRequest { path, validate_only: true, ..Default::default() };
    let proto::AcceptRootResponse { known_files, forgotten_files } =
        client.accept_root(request.clone()).await.map_err(refused)?.into_inner();
    output::line(format_args!(
        "{}: {forgotten_files} of {known_files} files in the index are not there now, and are forgotten; nothing on the disk is touched",
        folder.display()
    ))?;
    if forgotten_files > 0 && !yes && !output::confirm("Go on?")? {
        return Ok(Answer::Nothing);
    }
    client
        .accept_root(proto::AcceptRootRequest { validate_only: false, ..request })
        .await
        .map_err(refused)?;
    Ok(Answer::Found)
}

/// Prints watched folders for people, and below each the drives mounted in it.
pub(crate) fn print_roots(roots: &[proto::Root]) -> anyhow::Result<()> {
    let mut table = output::table(["folder", "files", "state", ""]);
    for root in roots {
        table.add_row([
            output::shown(&root.path),
            root.files.to_string(),
            state(root.state()).to_owned(),
            [Some(root.detail.clone()).filter(|detail| !detail.is_empty()), left_out(root)]
                .into_iter()
                .flatten()
                .collect::<Vec<_>>()
                .join("; "),
        ]);
        for mount in &root.mounts {
            table.add_row([
                format!("  {}", output::shown(&mount.path)),
                mount.files.to_string(),
                state(mount.state()).to_owned(),
                mount.detail.clone(),
            ]);
        }
    }
    output::print(&table)
}

/// Says how much of a root is left out that its owner may miss; none where nothing is.
pub(crate) fn left_out(root: &proto::Root) -> Option<String> {
    let counted: Vec<String> = root
        .omissions
        .iter()
        .filter_map(|counted| {
            let (count, one) = (counted.count, counted.count == 1);
            Some(match counted.kind() {
                proto::OmissionKind::UnreadableFolder if one => "1 folder cannot be read".to_owned(),
                proto::OmissionKind::UnreadableFolder => format!("{count} folders cannot be read"),
                proto::OmissionKind::UnreadableFile if one => "1 file cannot be looked at".to_owned(),
                proto::OmissionKind::UnreadableFile => format!("{count} files cannot be looked at"),
                proto::OmissionKind::Link if one => "1 link is not followed".to_owned(),
                proto::OmissionKind::Link => format!("{count} links are not followed"),
                proto::OmissionKind::TooLong if one => "1 path is too long".to_owned(),
                proto::OmissionKind::TooLong => format!("{count} paths are too long"),
                proto::OmissionKind::HeldBack => {
                    format!(
                        "{count} photos seem to be gone, all at once, and are kept until that is seen again"
                    )
                }
                // What the user's own patterns leave out is listed on request only.
                proto::OmissionKind::Ignored | proto::OmissionKind::Unspecified => return None,
            })
        })
        .collect();
    (!counted.is_empty()).then(|| format!("{} (`resemble failures` lists them)", counted.join(", ")))
}

/// Returns what a script may want of a root, but for its path.
pub(crate) fn root_json(root: &proto::Root) -> serde_json::Map<String, serde_json::Value> {
    output::object(json!({
        "name": root.name,
        "files": root.files,
        "state": state(root.state()),
        "detail": root.detail,
        "configured": root.configured,
        "configured_path": String::from_utf8_lossy(&root.configured_path),
        "mounts": root.mounts.iter().map(mount_json).collect::<Vec<_>>(),
        "left_out": root.omissions.iter().map(omission_json).collect::<Vec<_>>(),
    }))
}

fn mount_json(mount: &proto::Mount) -> serde_json::Map<String, serde_json::Value> {
    let mut object = serde_json::Map::new();
    output::put_path(&mut object, &mount.path);
    object.extend(output::object(json!({
        "files": mount.files,
        "state": state(mount.state()),
        "detail": mount.detail,
    })));
    object
}

fn omission_json(counted: &proto::OmissionCount) -> serde_json::Value {
    let kind = counted.kind().as_str_name().trim_start_matches("OMISSION_KIND_").to_lowercase();
    json!({ "kind": kind, "count": counted.count })
}

fn state(state: proto::RootState) -> &'static str {
    match state {
        proto::RootState::Unspecified => "unknown",
        proto::RootState::Online => "online",
        proto::RootState::Polled => "polled",
        proto::RootState::Offline => "offline",
        proto::RootState::NotAnswering => "not answering",
    }
}

/// Finds the number of a watched folder.
async fn root_name(client: &mut LibraryServiceClient<Connection>, folder: &Path) -> anyhow::Result<String> {
    let given = output::absolute(folder)?;
    let real = given.canonicalize().ok();
    let roots = client.list_roots(proto::ListRootsRequest {}).await.map_err(refused)?.into_inner().roots;
    let found = roots.into_iter().find(|root| {
        let paths = [output::path(&root.path), output::path(&root.configured_path)];
        paths.iter().any(|path| *path == given || Some(path) == real.as_ref())
    });
    match found {
        Some(root) => Ok(root.name),
        None => bail!("{} is not a watched folder: `resemble roots` lists them", given.display()),
    }
}

pub(crate) async fn rescan(channel: Connection, folder: Option<&Path>) -> anyhow::Result<Answer> {
    let root = match folder {
        Some(folder) => root_name(&mut client(channel.clone()), folder).await.context("cannot rescan")?,
        None => String::new(),
    };
    DaemonServiceClient::new(channel).rescan(proto::RescanRequest { root }).await.map_err(refused)?;
    let what =
        folder.map_or("all watched folders are".to_owned(), |folder| format!("{} is", folder.display()));
    eprintln!("{what} being compared with the index; `resemble status --watch` shows how far that is");
    Ok(Answer::Found)
}
