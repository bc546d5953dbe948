//! A contact sheet: photos in, one HTML file out that needs nothing beside it, to be looked at in any browser.
//!
//! The photos are decoded in a process of their own, as the daemon does it: one that breaks its decoder costs its
//! picture on the sheet, not the answer.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use anyhow::{Context, bail};
use data_encoding::BASE64;
use fast_image_resize::images::Image;
use fast_image_resize::{PixelType, Resizer};
use resembled::decode::{Decoders, Limits, Need, Program};
use resembled::ingest::{self, Contents};
use resembled::photo::Rgb;

use crate::output;

/// Longest side of a thumbnail, in pixels: twice the side it is shown at, for dense screens.
const THUMBNAIL: u32 = 480;

/// Quality of a thumbnail's JPEG, of 100.
const QUALITY: f32 = 80.0;

/// What stands around the photos. `color-scheme` lets the browser be light or dark.
const HEAD: &str = "<meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><style>\
:root{color-scheme:light dark}body{font:14px/1.4 system-ui,sans-serif;margin:24px}h1{font-size:20px}\
h2{font-size:15px;margin:24px 0 8px}main,section{display:flex;flex-wrap:wrap;gap:16px}\
figure{margin:0;width:240px}figure>div{height:240px;display:flex;align-items:center;justify-content:center;\
background:#8882;border-radius:6px;overflow:hidden}img{max-width:100%;max-height:100%}\
figcaption{margin-top:6px;overflow-wrap:anywhere}small{opacity:.7;display:block}</style>";

/// A sheet that is being put together.
pub(crate) struct Sheet {
    html: String,
    decoders: Decoders,
    resizer: Resizer,
}

impl Sheet {
    /// Starts a sheet under a heading; `decoder` is what decodes its photos.
    pub(crate) fn new(title: &str, decoder: Program) -> Self {
        let title = escaped(title);
        let html =
            format!("<!doctype html><html lang=\"en\"><title>{title}</title>{HEAD}<h1>{title}</h1><main>\n");
        Self { html, decoders: Decoders::new(decoder, Limits::default()), resizer: Resizer::new() }
    }

    /// Adds a photo: its picture, or why there is none, its path, and a line about it.
    pub(crate) fn add(&mut self, path: &[u8], about: &str) {
        let picture = match self.thumbnail(&output::path(path)) {
            Ok(jpeg) => format!("<img alt=\"\" src=\"data:image/jpeg;base64,{}\">", BASE64.encode(&jpeg)),
            Err(error) => format!("<small>{}</small>", escaped(&format!("{error:#}"))),
        };
        let (path, about) = (escaped(&output::shown(path)), escaped(about));
        // Writing to a string does not fail.
        let _ = writeln!(
            self.html,
            "<figure><div>{picture}</div><figcaption>{about}<small>{path}</small></figcaption></figure>"
        );
    }

    /// Writes the sheet to `file`.
    pub(crate) fn write(mut self, file: &Path) -> anyhow::Result<()> {
        self.html.push_str("</main></html>\n");
        fs::write(file, self.html).with_context(|| format!("cannot write {}", file.display()))
    }

    fn thumbnail(&mut self, path: &Path) -> anyhow::Result<Vec<u8>> {
        let bytes = match ingest::read(path, self.decoders.limits().max_bytes) {
            Contents::Whole { bytes, .. } => bytes,
            Contents::TooLarge { .. } => bail!("the file is too large to be shown"),
            Contents::Unreadable { error } => return Err(error).context("the file cannot be read"),
            Contents::NoAnswer(error) => return Err(error.into()),
            Contents::Changing => bail!("the file is being written"),
            Contents::Vanished | Contents::NotAPhoto { .. } => bail!("the photo is no longer there"),
        };
        let image = self.decoders.decode(&bytes, Need::short_side(THUMBNAIL))?.image;
        to_jpeg(&self.fitted(image)?)
    }

    /// Scales a picture down until its long side is that of a thumbnail.
    fn fitted(&mut self, image: Rgb) -> anyhow::Result<Rgb> {
        let long = image.width.max(image.height);
        if long <= THUMBNAIL {
            return Ok(image);
        }
        let scaled = |side: u32| (u64::from(side) * u64::from(THUMBNAIL)).div_ceil(u64::from(long)) as u32;
        let (width, height) = (scaled(image.width), scaled(image.height));
        let source = Image::from_vec_u8(image.width, image.height, image.pixels, PixelType::U8x3)?;
        let mut target = Image::new(width, height, PixelType::U8x3);
        self.resizer.resize(&source, &mut target, None)?;
        Ok(Rgb { width, height, pixels: target.into_vec() })
    }
}

fn to_jpeg(image: &Rgb) -> anyhow::Result<Vec<u8>> {
    let mut compress = mozjpeg::Compress::new(mozjpeg::ColorSpace::JCS_RGB);
    compress.set_size(image.width as usize, image.height as usize);
    compress.set_quality(QUALITY);
    let mut started = compress.start_compress(Vec::new())?;
    started.write_scanlines(&image.pixels)?;
    Ok(started.finish()?)
}

/// Returns the text as HTML shows it.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use resembled::decode::{decode, serve_worker};

    use super::*;

    const ROLE: &str = "RESEMBLE_TEST_WORKER";

    /// Not a test by itself: the process in which those below decode, which is this very test program.
    #[test]
    fn being_the_worker() {
        match std::env::var(ROLE).as_deref() {
            Ok("decode") => serve_worker().unwrap(),
            Ok(_) => std::process::abort(),
            Err(_) => {}
        }
    }

    fn sheet(title: &str, role: &str) -> Sheet {
        let decoder = Program {
            path: std::env::current_exe().unwrap(),
            arguments: ["--exact", "sheet::tests::being_the_worker", "--nocapture"].map(Into::into).to_vec(),
            environment: vec![(ROLE.into(), role.into())],
        };
        Sheet::new(title, decoder)
    }

    fn written(sheet: Sheet, directory: &Path) -> String {
        let file = directory.join("sheet.html");
        sheet.write(&file).unwrap();
        fs::read_to_string(file).unwrap()
    }

    #[test]
    fn a_photo_is_shown_scaled_down_and_one_that_is_gone_says_so() {
        let directory = tempfile::tempdir().unwrap();
        let photo = directory.path().join("a<b>.jpg");
        let wide = Rgb { width: 960, height: 480, pixels: vec![90; 960 * 480 * 3] };
        fs::write(&photo, to_jpeg(&wide).unwrap()).unwrap();
        let mut sheet = sheet("photos & \"friends\"", "decode");
        assert_eq!(sheet.fitted(wide).map(|fitted| (fitted.width, fitted.height)).unwrap(), (480, 240));
        sheet.add(photo.as_os_str().as_encoded_bytes(), "0.1000");
        sheet.add(b"/nowhere/c.jpg", "0.2000");
        let html = written(sheet, directory.path());
        assert!(html.contains("<h1>photos &amp; &quot;friends&quot;</h1>"), "{html}");
        assert!(html.contains("a&lt;b&gt;.jpg") && !html.contains("a<b>"), "{html}");
        assert!(html.contains("the photo is no longer there"), "{html}");
        let start = html.find("base64,").unwrap() + "base64,".len();
        let end = start + html[start..].find('"').unwrap();
        let thumbnail = BASE64.decode(&html.as_bytes()[start..end]).unwrap();
        let shown = decode(&thumbnail, Need::full(), &Limits::default()).unwrap().image;
        assert_eq!((shown.width, shown.height), (480, 240));
    }

    /// A photo once was decoded in the client itself, and one that ended its decoder ended the client.
    #[test]
    fn a_photo_that_ends_its_decoder_costs_its_picture_only() {
        let directory = tempfile::tempdir().unwrap();
        let photo = directory.path().join("a.jpg");
        fs::write(&photo, to_jpeg(&Rgb { width: 8, height: 8, pixels: vec![90; 192] }).unwrap()).unwrap();
        let mut sheet = sheet("photos", "abort");
        sheet.add(photo.as_os_str().as_encoded_bytes(), "0.1000");
        let html = written(sheet, directory.path());
        assert!(html.contains("a.jpg") && !html.contains("<img"), "{html}");
    }
}
