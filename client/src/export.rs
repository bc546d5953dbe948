//! `resemble export`: photos and embeddings for other programs, as they come: memory does not grow with the library.

use std::io::{self, BufWriter, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use indicatif::{ProgressBar, ProgressStyle};
use resembled_api::proto;
use resembled_api::proto::library_service_client::LibraryServiceClient;
use serde_json::{Map, Value, json};

use crate::cli::{ExportArgs, ExportFormat};
use crate::connect::{Connection, refused};
use crate::output::CannotPrint;
use crate::part::Part;
use crate::{Answer, filter, output};

/// Where lines go before they go on.
const BUFFER_BYTES: usize = 1 << 20;

pub(crate) async fn export(channel: Connection, args: &ExportArgs) -> anyhow::Result<Answer> {
    let mut sink = Sink::of(args)?;
    let mut client = LibraryServiceClient::new(channel).max_decoding_message_size(usize::MAX);
    let request = proto::ExportPhotosRequest { filter: filter::filter(&args.filter)? };
    let mut stream = client.export_photos(request).await.map_err(refused)?.into_inner();
    let Some(head) = stream.message().await.map_err(refused)? else {
        bail!("the daemon sent nothing: it may be of another version");
    };
    let bar = ProgressBar::new(head.total_size);
    bar.set_style(ProgressStyle::with_template("{bar:40} {pos} of {len} photos")?);
    sink.begin(head.dimensions)?;
    let mut photos = 0;
    while let Some(some) = stream.message().await.map_err(refused)? {
        for (photo, embedding) in some.photos.iter().zip(&some.embeddings) {
            sink.put(about(photo, &head), &embedding.values)?;
            photos += 1;
        }
        bar.set_position(photos);
    }
    bar.finish_and_clear();
    let written = sink.finish(head.dimensions, photos)?;
    if !written.is_empty() {
        let files: Vec<String> = written.iter().map(|path| path.display().to_string()).collect();
        output::line(format_args!(
            "{} with {} numbers each, of the network {}, are in {}",
            output::counted(photos, "photo"),
            head.dimensions,
            head.model,
            files.join(" and ")
        ))?;
    }
    Ok(if photos == 0 { Answer::Nothing } else { Answer::Found })
}

/// What is written of a photo.
fn about(photo: &proto::Photo, head: &proto::ExportPhotosResponse) -> Map<String, Value> {
    let mut object = output::about(photo);
    let files = photo.files.iter().map(|file| Value::Object(output::file_json(file)));
    object.insert("files".into(), files.collect());
    object.insert("model".into(), head.model.clone().into());
    object.insert("model_digest".into(), head.model_digest.clone().into());
    object
}

/// Where it goes.
enum Sink {
    Out(BufWriter<io::Stdout>),
    Lines(BufWriter<PartFile>),
    Array { array: BufWriter<PartFile>, lines: BufWriter<PartFile> },
}

/// A part that is written to through a buffer.
struct PartFile {
    part: Part,
    target: PathBuf,
}

impl PartFile {
    fn begin(target: &Path, force: bool) -> anyhow::Result<BufWriter<Self>> {
        let part = Part::of(target, force)?;
        Ok(BufWriter::with_capacity(BUFFER_BYTES, Self { part, target: target.to_path_buf() }))
    }

    fn finish(writer: BufWriter<Self>) -> anyhow::Result<PathBuf> {
        let Self { part, target } = writer.into_inner().map_err(io::IntoInnerError::into_error)?;
        part.finish()?;
        Ok(target)
    }
}

impl Write for PartFile {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.part.file().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.part.file().flush()
    }
}

impl Seek for PartFile {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.part.file().seek(to)
    }
}

impl Sink {
    fn of(args: &ExportArgs) -> anyhow::Result<Self> {
        let ExportArgs { file, format, force, .. } = args;
        match format {
            ExportFormat::Ndjson if file.as_os_str() == "-" => {
                Ok(Self::Out(BufWriter::with_capacity(BUFFER_BYTES, io::stdout())))
            }
            ExportFormat::Ndjson => Ok(Self::Lines(PartFile::begin(file, *force)?)),
            ExportFormat::Npy if file.extension().is_none_or(|extension| extension != "npy") => {
                bail!("--format npy makes two files: name the first one, NAME.npy; the other is NAME.ndjson")
            }
            ExportFormat::Npy => Ok(Self::Array {
                array: PartFile::begin(file, *force)?,
                lines: PartFile::begin(&file.with_extension("ndjson"), *force)?,
            }),
        }
    }

    fn begin(&mut self, dimensions: u32) -> anyhow::Result<()> {
        match self {
            // How many rows there are is known in the end.
            Self::Array { array, .. } => {
                array.write_all(&npy_head(0, dimensions)).context("cannot write the array")
            }
            _ => Ok(()),
        }
    }

    fn put(&mut self, mut about: Map<String, Value>, values: &[f32]) -> anyhow::Result<()> {
        match self {
            Self::Out(out) => {
                about.insert("embedding".into(), json!(values));
                line(out, &about).map_err(CannotPrint::from)?;
            }
            Self::Lines(lines) => {
                about.insert("embedding".into(), json!(values));
                line(lines, &about).context("cannot write the lines")?;
            }
            Self::Array { array, lines } => {
                line(lines, &about).context("cannot write the lines")?;
                let mut write = || values.iter().try_for_each(|value| array.write_all(&value.to_le_bytes()));
                write().context("cannot write the array")?;
            }
        }
        Ok(())
    }

    /// Returns the files that are there now.
    fn finish(self, dimensions: u32, photos: u64) -> anyhow::Result<Vec<PathBuf>> {
        match self {
            Self::Out(mut out) => {
                out.flush().map_err(CannotPrint::from)?;
                Ok(Vec::new())
            }
            Self::Lines(lines) => Ok(vec![PartFile::finish(lines)?]),
            Self::Array { mut array, lines } => {
                let head = npy_head(photos, dimensions);
                let mut write = || array.rewind().and_then(|()| array.write_all(&head));
                write().context("cannot write the array")?;
                Ok(vec![PartFile::finish(array)?, PartFile::finish(lines)?])
            }
        }
    }
}

fn line(to: &mut impl Write, object: &Map<String, Value>) -> io::Result<()> {
    serde_json::to_writer(&mut *to, object)?;
    to.write_all(b"\n")
}

/// The head of an array of 32-bit floats, row by row, in NumPy's format 1.0: of one length, however many rows there are.
fn npy_head(rows: u64, columns: u32) -> [u8; 128] {
    let mut head = [b' '; 128];
    head[..10].copy_from_slice(b"\x93NUMPY\x01\x00\x76\x00");
    let text = format!("{{'descr': '<f4', 'fortran_order': False, 'shape': ({rows}, {columns}), }}");
    head[10..10 + text.len()].copy_from_slice(text.as_bytes());
    head[127] = b'\n';
    head
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_head_of_an_array_has_room_for_any_shape() {
        let head = npy_head(u64::MAX, u32::MAX);
        assert_eq!(usize::from(u16::from_le_bytes([head[8], head[9]])) + 10, head.len());
        let text = std::str::from_utf8(&head[10..]).unwrap();
        assert!(text.contains("'shape': (18446744073709551615, 4294967295), }") && text.ends_with(" \n"));
    }
}
