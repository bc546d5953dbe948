//! Decodes every file below some folders and prints what became of each.
//!
//!     cargo run --release --example decode_report -- [--all] [--contact-sheet FILE.html] DIR...
//!
//! One line a file, separated by tabs: verdict (`indexed`, `failed`, `skipped`), kind of failure, format,
//! upright size, how the pixels were needed, milliseconds, path, reason. Without `--all` only the files whose
//! name is that of a photo are looked at, as the daemon does. A summary goes to standard error.

use std::ffi::OsStr;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use resembled::decode::{self, Limits, Need};
use resembled::photo::Rgb;

struct Arguments {
    all: bool,
    contact_sheet: Option<PathBuf>,
    folders: Vec<PathBuf>,
}

fn main() -> anyhow::Result<()> {
    let arguments = arguments()?;
    let mut files = Vec::new();
    for folder in &arguments.folders {
        collect(folder, &mut files)?;
    }
    files.sort();
    std::panic::set_hook(Box::new(|_| ())); // a panic is a verdict here, with its message in the table

    let mut out = std::io::stdout().lock();
    let mut sheet = String::new();
    let (mut indexed, mut failed, mut skipped) = (0, 0, 0);
    let (mut longest, mut longest_path) = (Duration::ZERO, PathBuf::new());
    writeln!(out, "verdict\tkind\tformat\tsize\tscaled\tms\tpath\treason")?;
    for path in &files {
        if !arguments.all && !decode::is_photo_name(path.file_name().unwrap_or_default()) {
            skipped += 1;
            writeln!(out, "skipped\t\t\t\t\t\t{}\t", path.display())?;
            continue;
        }
        let bytes = fs::read(path)?;
        let begin = Instant::now();
        let decoded = decode::decode(&bytes, Need::short_side(512), &Limits::default());
        let took = begin.elapsed();
        if took > longest {
            (longest, longest_path) = (took, path.clone());
        }
        let ms = took.as_secs_f64() * 1e3;
        match decoded {
            Ok(decoded) => {
                indexed += 1;
                let (info, image) = (&decoded.info, &decoded.image);
                let size = format!("{}x{}", info.width, info.height);
                let scaled = format!("{}x{}", image.width, image.height);
                writeln!(out, "indexed\t\t{}\t{size}\t{scaled}\t{ms:.1}\t{}\t", info.format, path.display())?;
                if arguments.contact_sheet.is_some() {
                    sheet.push_str(&thumbnail(image, path));
                }
            }
            Err(error) => {
                failed += 1;
                let kind = error.kind().name();
                let format = decode::sniff(&bytes).map_or("", |format| format.name());
                writeln!(out, "failed\t{kind}\t{format}\t\t\t{ms:.1}\t{}\t{error}", path.display())?;
            }
        }
    }
    if let Some(path) = &arguments.contact_sheet {
        fs::write(path, format!("<!doctype html><meta charset=utf-8><body>{sheet}"))?;
    }
    let (ms, peak) = (longest.as_secs_f64() * 1e3, peak_memory_mib());
    eprintln!("{indexed} indexed, {failed} failed, {skipped} skipped");
    eprintln!("longest {ms:.0} ms: {}; peak memory {peak} MiB", longest_path.display());
    Ok(())
}

fn arguments() -> anyhow::Result<Arguments> {
    let mut arguments = Arguments { all: false, contact_sheet: None, folders: Vec::new() };
    let mut given = std::env::args_os().skip(1);
    while let Some(argument) = given.next() {
        if argument == "--all" {
            arguments.all = true;
        } else if argument == "--contact-sheet" {
            let file = given.next().ok_or_else(|| anyhow::anyhow!("--contact-sheet needs a file"))?;
            arguments.contact_sheet = Some(file.into());
        } else {
            arguments.folders.push(argument.into());
        }
    }
    anyhow::ensure!(!arguments.folders.is_empty(), "which folders?");
    Ok(arguments)
}

fn collect(folder: &Path, files: &mut Vec<PathBuf>) -> anyhow::Result<()> {
    if folder.is_file() {
        files.push(folder.to_owned());
        return Ok(());
    }
    for entry in fs::read_dir(folder)? {
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

/// An HTML figure with the picture as a bitmap inside, which needs no encoder.
fn thumbnail(image: &Rgb, path: &Path) -> String {
    let step = image.width.max(image.height).div_ceil(160).max(1);
    let (width, height) = (image.width.div_ceil(step), image.height.div_ceil(step));
    let mut bitmap = Vec::new();
    let row_len = (width * 3).next_multiple_of(4);
    bitmap.extend(b"BM");
    bitmap.extend((54 + row_len * height).to_le_bytes());
    bitmap.extend(0u32.to_le_bytes());
    bitmap.extend(54u32.to_le_bytes());
    bitmap.extend(40u32.to_le_bytes());
    bitmap.extend(width.to_le_bytes());
    bitmap.extend((-(height as i32)).to_le_bytes());
    bitmap.extend(1u16.to_le_bytes());
    bitmap.extend(24u16.to_le_bytes());
    bitmap.extend([0; 24]);
    for y in 0..height {
        let start = bitmap.len();
        for x in 0..width {
            let at = ((y * step * image.width + x * step) * 3) as usize;
            bitmap.extend([image.pixels[at + 2], image.pixels[at + 1], image.pixels[at]]);
        }
        bitmap.resize(start + row_len as usize, 0);
    }
    let name = path.file_name().unwrap_or(OsStr::new("")).to_string_lossy();
    let name = name.replace('&', "&amp;").replace('<', "&lt;");
    format!(
        "<figure style='display:inline-block;width:170px;font:9px sans-serif;overflow:hidden'>\
         <img src='data:image/bmp;base64,{}'><figcaption>{name}</figcaption></figure>\n",
        base64(&bitmap)
    )
}

fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let word = chunk.iter().fold(0u32, |word, &byte| word << 8 | u32::from(byte)) << (8 * (3 - chunk.len()));
        for digit in 0..4 {
            let is_data = digit <= chunk.len();
            text.push(if is_data { DIGITS[(word >> (18 - 6 * digit) & 63) as usize] as char } else { '=' });
        }
    }
    text
}

/// The most memory this process ever had, as the kernel counts it.
fn peak_memory_mib() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok()).unwrap_or(0) / 1024
}
