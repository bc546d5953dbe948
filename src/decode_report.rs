//! `resembled decode-report`: decodes every photo below some folders, as the daemon would, and says what became of
//! each. Nothing is stored.

use std::collections::HashMap;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::Context;
use image::{GenericImage, RgbImage};
use resembled::cli::DecodeReport;
use resembled::decode::{self, Decoded, Decoders, FailureKind, IsolatedError, Limits, Need, Program};
use resembled::ingest::{self, Contents};
use resembled::photo::Rgb;

/// Longer side of a picture on the contact sheet, in pixels.
const THUMBNAIL: u32 = 128;
const COLUMNS: u32 = 12;

/// What became of one file.
struct Row {
    path: PathBuf,
    verdict: Verdict,
    took: Duration,
}

enum Verdict {
    Indexed(Box<decode::PhotoInfo>),
    Failed(Option<FailureKind>, String),
    Skipped(&'static str),
}

pub(crate) fn run(limits: Limits, report: &DecodeReport) -> anyhow::Result<ExitCode> {
    let mut files = Vec::new();
    for folder in &report.folders {
        collect(folder, &mut files).with_context(|| format!("cannot list {}", folder.display()))?;
    }
    files.sort();
    let expected = report.expect.as_deref().map(Expected::load).transpose()?;
    let decoders = Decoders::new(Program::this(), limits);
    let protection = decoders.protection()?;
    let mut out = io::stdout().lock();
    let mut sheet = report.contact_sheet.as_deref().map(|_| Sheet::default());
    let mut rows = Vec::new();
    writeln!(out, "verdict\tformat\tsize\tms\tpath\treason")?;
    for path in files {
        let begun = Instant::now();
        let (verdict, image) = look_at(&path, &decoders, Need::short_side(report.need))?;
        let row = Row { path, verdict, took: begun.elapsed() };
        row.print(&mut out)?;
        if let (Some(sheet), Some(image)) = (&mut sheet, image) {
            sheet.thumbnails.push(thumbnail(image));
        }
        rows.push(row);
    }
    out.flush()?;
    if let (Some(sheet), Some(path)) = (sheet, &report.contact_sheet) {
        sheet.draw().save_with_format(path, image::ImageFormat::Png)?;
    }
    summary(&rows, &decoders);
    eprintln!("confined by: {protection}");
    let differences = expected.map_or(0, |expected| expected.compare(&rows));
    Ok(if differences == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Lists regular files, without following links.
fn collect(path: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    if !path.is_dir() {
        files.push(path.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(path)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            collect(&entry.path(), files)?;
        } else if kind.is_file() {
            files.push(entry.path());
        }
    }
    Ok(())
}

fn look_at(path: &Path, decoders: &Decoders, need: Need) -> anyhow::Result<(Verdict, Option<Rgb>)> {
    let name = path.file_name().unwrap_or_default();
    if path.extension().is_some() && !decode::is_photo_name(name) {
        return Ok((Verdict::Skipped("not the name of a photo"), None));
    }
    let bytes = match ingest::read(path, decoders.limits().max_bytes) {
        Contents::Whole { bytes, .. } => bytes,
        Contents::NotAPhoto { .. } => {
            return Ok((Verdict::Skipped("neither name nor content of a photo"), None));
        }
        Contents::Vanished => return Ok((Verdict::Skipped("gone, or no regular file"), None)),
        Contents::Changing => return Ok((Verdict::Skipped("it is being written"), None)),
        Contents::TooLarge { .. } => {
            let limit = decoders.limits().max_bytes >> 20;
            let reason = format!("the file is larger than the limit of {limit} MiB");
            return Ok((Verdict::Failed(Some(FailureKind::TooLarge), reason), None));
        }
        Contents::Unreadable { error } => return Ok((Verdict::Failed(None, error.to_string()), None)),
        Contents::NoAnswer(error) => return Ok((Verdict::Failed(None, error.to_string()), None)),
    };
    match decoders.decode(&bytes, need) {
        Ok(Decoded { image, info }) => Ok((Verdict::Indexed(Box::new(info)), Some(image))),
        Err(IsolatedError::Photo(error)) => {
            Ok((Verdict::Failed(Some(error.kind()), error.to_string()), None))
        }
        Err(error @ IsolatedError::Interrupted { .. }) => {
            Ok((Verdict::Failed(None, error.to_string()), None))
        }
        Err(error) => Err(error.into()),
    }
}

impl Row {
    fn print(&self, out: &mut impl Write) -> io::Result<()> {
        let (ms, path) = (self.took.as_secs_f64() * 1e3, self.path.display());
        match &self.verdict {
            Verdict::Indexed(info) => {
                let reason = if info.is_damaged { "damaged, shown in part" } else { "" };
                let (format, width, height) = (info.format, info.width, info.height);
                writeln!(out, "indexed\t{format}\t{width}x{height}\t{ms:.1}\t{path}\t{reason}")
            }
            Verdict::Failed(kind, reason) => {
                let kind = kind.map_or("unreadable", FailureKind::name);
                writeln!(out, "failed: {kind}\t\t\t{ms:.1}\t{path}\t{reason}")
            }
            Verdict::Skipped(reason) => writeln!(out, "skipped\t\t\t{ms:.1}\t{path}\t{reason}"),
        }
    }
}

fn summary(rows: &[Row], decoders: &Decoders) {
    let count = |is_it: fn(&Verdict) -> bool| rows.iter().filter(|row| is_it(&row.verdict)).count();
    eprintln!(
        "{} indexed, {} failed, {} skipped; {} decoding processes lost",
        count(|verdict| matches!(verdict, Verdict::Indexed(_))),
        count(|verdict| matches!(verdict, Verdict::Failed(..))),
        count(|verdict| matches!(verdict, Verdict::Skipped(_))),
        decoders.lost(),
    );
    if let Some(slowest) = rows.iter().max_by_key(|row| row.took) {
        eprintln!("longest: {} ms, {}", slowest.took.as_millis(), slowest.path.display());
    }
    if let Some(peak) = decoders.peak_memory_bytes() {
        eprintln!("most memory of a decoding process: {} MiB", peak >> 20);
    }
}

/// What a manifest of a collection of odd files says should become of each.
struct Expected {
    folder: PathBuf,
    policies: HashMap<String, Policy>,
}

struct Policy {
    name: String,
    /// Width and height, turned or not, in the order of their size.
    sides: Option<[u32; 2]>,
}

impl Expected {
    /// Reads a table whose first row names its columns: `path`, `policy`, `ref_w` and `ref_h` are read.
    fn load(path: &Path) -> anyhow::Result<Self> {
        let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let mut lines = text.lines().map(|line| line.split('\t').collect::<Vec<_>>());
        let head = lines.next().context("the manifest is empty")?;
        let column = |name: &str| {
            head.iter()
                .position(|column| *column == name)
                .with_context(|| format!("the manifest has no column {name}"))
        };
        let columns = [column("path")?, column("policy")?, column("ref_w")?, column("ref_h")?];
        let policies = lines.map(|cells| {
            let [path, policy, width, height] = columns.map(|at| cells.get(at).copied().unwrap_or_default());
            let sides =
                width.parse().ok().zip(height.parse().ok()).map(|(a, b): (u32, u32)| [a.min(b), a.max(b)]);
            (path.to_owned(), Policy { name: policy.to_owned(), sides })
        });
        let folder = path.canonicalize()?.parent().map(Path::to_path_buf).unwrap_or_default();
        Ok(Self { folder, policies: policies.collect() })
    }

    /// Prints each file that came out otherwise, and returns how many they are.
    fn compare(&self, rows: &[Row]) -> usize {
        let mut differences = 0;
        for row in rows {
            let Ok(path) = row.path.canonicalize() else { continue };
            let Ok(relative) = path.strip_prefix(&self.folder) else { continue };
            let Some(policy) = self.policies.get(&*relative.to_string_lossy()) else { continue };
            if let Some(difference) = policy.difference(&row.verdict) {
                differences += 1;
                eprintln!("DIFFERS\t{}\t{difference}", relative.display());
            }
        }
        eprintln!("{differences} of {} files differ from the manifest", rows.len());
        differences
    }
}

impl Policy {
    fn difference(&self, verdict: &Verdict) -> Option<String> {
        match (self.name.as_str(), verdict) {
            (_, Verdict::Failed(Some(FailureKind::Crashed | FailureKind::TimedOut), reason)) => {
                Some(format!("{}: {reason}", self.name))
            }
            ("index" | "index-if-supported", Verdict::Indexed(info)) => {
                let sides = [info.width.min(info.height), info.width.max(info.height)];
                let expected = self.sides.filter(|expected| *expected != sides)?;
                Some(format!("the sides are {sides:?}, not {expected:?}"))
            }
            ("index-if-supported", Verdict::Failed(Some(FailureKind::Unsupported), _)) => None,
            ("index" | "index-if-supported", Verdict::Failed(_, reason)) => {
                Some(format!("should be indexed, but: {reason}"))
            }
            ("index" | "index-if-supported", Verdict::Skipped(reason)) => {
                Some(format!("should be indexed, but is skipped: {reason}"))
            }
            ("reject", Verdict::Indexed(_)) => Some("should be refused, but is indexed".to_owned()),
            _ => None,
        }
    }
}

/// Small pictures in rows, in the order of the table.
#[derive(Default)]
struct Sheet {
    thumbnails: Vec<RgbImage>,
}

impl Sheet {
    fn draw(&self) -> RgbImage {
        let cell = THUMBNAIL + 4;
        let rows = (self.thumbnails.len() as u32).div_ceil(COLUMNS).max(1);
        let mut sheet = RgbImage::from_pixel(COLUMNS * cell, rows * cell, image::Rgb([90, 90, 90]));
        for (number, thumbnail) in (0..).zip(&self.thumbnails) {
            let left = number % COLUMNS * cell + (cell - thumbnail.width()) / 2;
            let top = number / COLUMNS * cell + (cell - thumbnail.height()) / 2;
            let copied = sheet.copy_from(thumbnail, left, top);
            debug_assert!(copied.is_ok(), "a thumbnail is smaller than its cell");
        }
        sheet
    }
}

fn thumbnail(image: Rgb) -> RgbImage {
    let Some(image) = RgbImage::from_raw(image.width, image.height, image.pixels) else {
        return RgbImage::new(1, 1);
    };
    let scale = f64::from(THUMBNAIL) / f64::from(image.width().max(image.height()));
    let side = |side: u32| ((f64::from(side) * scale.min(1.0)) as u32).max(1);
    image::imageops::thumbnail(&image, side(image.width()), side(image.height()))
}
