//! Commands that are not the daemon: `check-config`, `repair`, `restore`, `runtime` and `models`.

use std::ffi::OsStr;
use std::io::{self, Write};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};
use resembled::cli::Models;
use resembled::config::Config;
use resembled::daemon;
use resembled::deadline;
use resembled::encode::{self, Runtime, RuntimeChoice};
use resembled::models::{self, Catalogue, Model, ModelState, Quality, RUNTIME_VERSION, Verdict};
use resembled::store::{self, Repair, RootRecord};
use resembled::watch::{MountTable, Volumes};
use resembled::words::Vocabulary;

/// Says what follows from the configuration, or why the daemon would neither start nor reload with it.
pub(crate) fn check_config(config: &Config) -> anyhow::Result<ExitCode> {
    let mut out = io::stdout().lock();
    let model = daemon::check(config)?;
    writeln!(out, "the configuration is valid")?;
    for root in &config.roots {
        let note = if root.is_dir() { "" } else { "  (not there now)" };
        writeln!(out, "folder   {}{note}", root.display())?;
    }
    writeln!(out, "model    {model}")?;
    writeln!(out, "store    {}", config.store.display())?;
    writeln!(out, "socket   {}", config.socket.display())?;
    if let Some(address) = config.listen {
        writeln!(out, "TCP      {address}, token in {}", config.token.display())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Checks the store, and puts a damaged one in order.
pub(crate) fn repair(config: &Config) -> anyhow::Result<ExitCode> {
    let repaired = store::repair(&config.store)?;
    let mut out = io::stdout().lock();
    match repaired {
        Repair::NotNeeded => {
            writeln!(out, "{} is whole: there is nothing to repair", config.store.display())?
        }
        Repair::Done { kept, moved_to } => {
            writeln!(out, "the damaged store is now {}", moved_to.display())?;
            writeln!(
                out,
                "kept: {} folders, {} marks of \"not the same\", {} photos in {} files",
                kept.folders, kept.marks, kept.photos, kept.files
            )?;
            writeln!(out, "start resembled: it reads the rest again from the photos")?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn counted(number: u64, noun: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{number} {noun}{ending}")
}

/// Makes the index of a backup.
pub(crate) fn restore(config: &Config, file: &Path, force: bool) -> anyhow::Result<ExitCode> {
    let restored = store::restore(&config.store, file, force, &is_elsewhere)?;
    let mut out = io::stdout().lock();
    let holds = restored.holds;
    writeln!(
        out,
        "the index has: {} in {}, {}, {} of \"not the same\"",
        counted(holds.photos, "photo"),
        counted(holds.files, "file"),
        counted(holds.folders, "folder"),
        counted(holds.marks, "mark")
    )?;
    if let Some(former) = restored.former {
        writeln!(out, "what was there before is {}: delete it when all is well", former.display())?;
    }
    let catalogue = catalogue(config)?;
    let is_here = |name: &String| {
        let row = catalogue.list().into_iter().find(|row| row.manifest.name == *name);
        row.is_some_and(|row| matches!(row.state, ModelState::BuiltIn | ModelState::Installed(_)))
    };
    if !restored.networks.is_empty() && !restored.networks.iter().any(is_here) {
        let names = restored.networks.join(" and ");
        writeln!(
            out,
            "its photos were encoded with {names}, which is not installed here: get it first (`resembled models pull`), or \
             all photos are encoded anew"
        )?;
    }
    writeln!(out, "start resembled: it compares the index with the folders")?;
    Ok(ExitCode::SUCCESS)
}

/// Says whether a watched folder is on another volume than when it was last seen, as on another computer. One that is not there,
/// or does not answer, is not.
fn is_elsewhere(root: &RootRecord) -> bool {
    let path = PathBuf::from(OsStr::from_bytes(&root.path));
    let Some(known) = root.volume.clone() else { return false };
    let asked = path.clone();
    let found = deadline::ask_blocking(&path, deadline::PATIENCE, move |_| MountTable.at(&asked));
    matches!(found, Ok(Ok(mounted)) if !known.is_same_volume(&mounted.volume))
}

/// Lists, fetches or checks networks.
pub(crate) fn networks(config: &Config, command: &Models) -> anyhow::Result<ExitCode> {
    let catalogue = catalogue(config)?;
    let done = match command {
        Models::List => list(config, &catalogue),
        Models::Pull { name } => pull(config, &catalogue, name.as_deref()),
        Models::Verify => verify(&catalogue),
    };
    match done {
        // Whoever reads, as `head` does, has had enough.
        Err(error) if is_broken_pipe(&error) => Ok(ExitCode::SUCCESS),
        done => done,
    }
}

fn is_broken_pipe(error: &anyhow::Error) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
}

fn catalogue(config: &Config) -> anyhow::Result<Catalogue> {
    Ok(Catalogue::new(std::slice::from_ref(&config.manifest_dir), config.model_dirs.clone())?)
}

fn list(config: &Config, catalogue: &Catalogue) -> anyhow::Result<ExitCode> {
    let built_in = built_in_time(config, catalogue)?;
    let mut out = io::stdout().lock();
    for row in catalogue.list() {
        let state = match &row.state {
            ModelState::BuiltIn => "built in".to_owned(),
            ModelState::Installed(path) => path.display().to_string(),
            ModelState::Pullable(bytes) => {
                let size = indicatif::HumanBytes(*bytes);
                format!("not installed; `resembled models pull {}` downloads {size}", row.manifest.name)
            }
            ModelState::Missing => "not installed".to_owned(),
        };
        let manifest = &row.manifest;
        writeln!(
            out,
            "{}: {} ({}, {} numbers a photo)",
            manifest.name, manifest.title, manifest.licence, manifest.dim
        )?;
        let has_classifier = |path: &Path| {
            let source = manifest.sources.iter().find(|source| path.ends_with(&source.file));
            source.is_none_or(|source| source.output.is_none())
        };
        let words = match &row.state {
            ModelState::Installed(path) if !has_classifier(path) => 0,
            _ => manifest.labels.map_or(0, |labels| Vocabulary::of(labels).len()),
        };
        match words {
            _ if manifest.text.is_some() => writeln!(out, "    finds by pictures, and by any text")?,
            0 => writeln!(out, "    finds by pictures, not by words")?,
            words => writeln!(out, "    finds by pictures, and by {words} words")?,
        }
        if let Some((quality, time)) = manifest.quality.zip(catalogue.estimated_time(manifest, built_in)) {
            writeln!(out, "    {}", praise(quality, time))?;
        }
        writeln!(out, "    {state}")?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Says how good a network is.
fn praise(quality: Quality, time: Duration) -> String {
    let near = quality
        .near_shots
        .map(|share| format!("; {:.0} of 100 further shots of a scene are near", share * 100.0));
    format!(
        "{:.0} of 100 photos that it finds first show the same kind of thing{}; about {:.0} ms a photo here",
        quality.p_at_5 * 100.0,
        near.unwrap_or_default(),
        time.as_secs_f32() * 1000.0
    )
}

/// Measures what the built-in encoder takes here; the catalogue says how many times longer others take.
fn built_in_time(config: &Config, catalogue: &Catalogue) -> anyhow::Result<Duration> {
    let runtime = Runtime::start(config.encoder.runtime, &config.onnxruntime)?;
    Ok(encode::try_out(&runtime, &catalogue.built_in()?)?.time)
}

fn pull(config: &Config, catalogue: &Catalogue, name: Option<&str>) -> anyhow::Result<ExitCode> {
    let chosen;
    let name = match name {
        Some(name) => name,
        None => {
            chosen = choose(config, catalogue)?;
            chosen.as_str()
        }
    };
    let bar = download_bar(name)?;
    let runtime = Runtime::start(config.encoder.runtime, &config.onnxruntime)?;
    let accept = |model: &Model| encode::try_out(&runtime, model).map(drop).map_err(Into::into);
    let path = catalogue.pull(name, &config.pull_dir, &accept, &mut |progress| {
        bar.set_length(progress.total);
        bar.set_position(progress.done);
    })?;
    bar.finish_and_clear();
    let mut out = io::stdout().lock();
    writeln!(out, "{name} is in {}", path.display())?;
    let next = match &config.model {
        Some(configured) if configured == name => "a restart of the daemon takes it".to_owned(),
        Some(configured) => {
            format!("the configuration names {configured}: write model = {name:?} there to use it")
        }
        None => match catalogue.default_model()?.model.manifest.name.as_str() {
            best if best == name => "a restart of the daemon takes it".to_owned(),
            best => format!(
                "{best} goes on being used: write model = {name:?} in the configuration to use this one"
            ),
        },
    };
    writeln!(out, "{next}")?;
    Ok(ExitCode::SUCCESS)
}

fn download_bar(what: &str) -> anyhow::Result<ProgressBar> {
    let bar = ProgressBar::new(0);
    bar.set_style(
        ProgressStyle::with_template("{msg} [{bar:30}] {bytes} of {total_bytes}, {eta} left")
            .context("the progress bar's template")?,
    );
    bar.set_message(what.to_owned());
    Ok(bar)
}

/// Fetches ONNX Runtime.
pub(crate) fn pull_runtime(config: &Config) -> anyhow::Result<ExitCode> {
    let bar = download_bar("ONNX Runtime")?;
    let accept = |path: &Path| encode::check_library(path).map_err(Into::into);
    let path = models::pull_runtime(&config.runtime_dir, &accept, &mut |progress| {
        bar.set_length(progress.total);
        bar.set_position(progress.done);
    })?;
    bar.finish_and_clear();
    let mut out = io::stdout().lock();
    writeln!(out, "ONNX Runtime {RUNTIME_VERSION} (MIT) is in {}", path.display())?;
    let next = match config.encoder.runtime {
        RuntimeChoice::Tract => {
            "the configuration says runtime = \"tract\": it is not used until that is gone"
        }
        _ => "a restart of the daemon takes it",
    };
    writeln!(out, "{next}")?;
    Ok(ExitCode::SUCCESS)
}

/// Takes the best network that is quick enough on this machine, and says why.
fn choose(config: &Config, catalogue: &Catalogue) -> anyhow::Result<String> {
    let built_in = built_in_time(config, catalogue)?;
    let choice = catalogue.best_for(built_in).context("no network of the catalogue can be downloaded")?;
    let mut out = io::stdout().lock();
    writeln!(out, "{}: {}", choice.manifest.name, choice.manifest.title)?;
    writeln!(out, "    {}", praise(choice.quality, choice.time))?;
    if let Some((better, time)) = choice.too_slow {
        let milliseconds = time.as_secs_f32() * 1000.0;
        writeln!(out, "    {} finds more, but would take {milliseconds:.0} ms a photo", better.name)?;
    }
    Ok(choice.manifest.name.clone())
}

/// Checks every model file that is there. Fails where one of them is not what its manifest promises.
fn verify(catalogue: &Catalogue) -> anyhow::Result<ExitCode> {
    let mut out = io::stdout().lock();
    let mut code = ExitCode::SUCCESS;
    for row in catalogue.verify() {
        let place = row.path.map_or_else(|| "built in".to_owned(), |path| path.display().to_string());
        let verdict = match row.verdict {
            Verdict::Good => "good".to_owned(),
            Verdict::Unpromised(digest) => {
                format!("not compared: its manifest has no sha256; it is {digest}")
            }
            Verdict::Wrong(difference) => {
                code = ExitCode::FAILURE;
                format!("WRONG: {difference}; delete it and get it again")
            }
            Verdict::Unreadable(error) => {
                code = ExitCode::FAILURE;
                format!("cannot be read: {error}")
            }
            _ => "not known".to_owned(),
        };
        writeln!(out, "{}: {verdict} ({place})", row.name)?;
    }
    Ok(code)
}
