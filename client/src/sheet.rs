//! A contact sheet: photos in, one HTML file out that needs nothing beside it, to be looked at in any browser.
//!
//! The pictures come from the daemon: nothing is decoded here.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, ensure};
use data_encoding::BASE64;
use resembled_api::proto;
use resembled_api::proto::get_thumbnail_request;
use resembled_api::proto::library_service_client::LibraryServiceClient;
use tokio::task::JoinSet;

use crate::connect::Connection;
use crate::output;

/// Longer side of a thumbnail, in pixels: twice the side it is shown at, for dense screens.
const THUMBNAIL: i32 = 480;

/// Thumbnails asked for at a time.
const AT_ONCE: usize = 8;

/// What stands around the photos. `color-scheme` lets the browser be light or dark.
const HEAD: &str = "<meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\"><style>\
:root{color-scheme:light dark}body{font:14px/1.4 system-ui,sans-serif;margin:24px}h1{font-size:20px}\
h2{font-size:15px;margin:24px 0 8px}main{display:flex;flex-wrap:wrap;gap:16px}\
figure{margin:0;width:240px}figure>div{height:240px;display:flex;align-items:center;justify-content:center;\
background:#8882;border-radius:6px;overflow:hidden}a{display:contents}img{max-width:100%;max-height:100%}\
figcaption{margin-top:6px;overflow-wrap:anywhere}small{opacity:.7;display:block}</style>";

/// A photo to be shown.
pub(crate) struct Figure<'a> {
    pub(crate) photo: &'a proto::Photo,
    /// The file that is named and linked, its first one where there is none.
    pub(crate) file: Option<&'a proto::File>,
    /// A line about it.
    pub(crate) about: String,
}

impl<'a> Figure<'a> {
    pub(crate) fn new(photo: &'a proto::Photo, about: String) -> Self {
        Self { photo, file: photo.files.first(), about }
    }
}

/// A sheet that is being put together.
pub(crate) struct Sheet {
    html: String,
}

impl Sheet {
    /// Starts a sheet under a heading.
    pub(crate) fn new(title: &str) -> Self {
        let title = escaped(title);
        let html =
            format!("<!doctype html><html lang=\"en\"><title>{title}</title>{HEAD}<h1>{title}</h1><main>\n");
        Self { html }
    }

    /// Adds photos, with their pictures from the daemon, or why there are none.
    pub(crate) async fn add(&mut self, client: &LibraryServiceClient<Connection>, figures: &[Figure<'_>]) {
        for figures in figures.chunks(AT_ONCE) {
            let mut asked = JoinSet::new();
            for (place, figure) in figures.iter().enumerate() {
                let (mut client, name) = (client.clone(), figure.photo.name.clone());
                let photo = Some(get_thumbnail_request::Photo::Name(name));
                let request = proto::GetThumbnailRequest { photo, longest_side: THUMBNAIL };
                asked.spawn(async move { (place, client.get_thumbnail(request).await) });
            }
            let mut pictures = asked.join_all().await;
            pictures.sort_by_key(|(place, _)| *place);
            for (figure, (_, picture)) in figures.iter().zip(pictures) {
                let picture = picture.map(|thumbnail| thumbnail.into_inner().jpeg);
                self.put(figure, picture.as_deref().map_err(|status| status.message()));
            }
        }
    }

    fn put(&mut self, figure: &Figure<'_>, picture: Result<&[u8], &str>) {
        let picture = match picture {
            Ok(jpeg) => format!("<img alt=\"\" src=\"data:image/jpeg;base64,{}\">", BASE64.encode(jpeg)),
            Err(why) => format!("<small>{}</small>", escaped(why)),
        };
        let path = figure.file.map(|file| output::shown(&file.path)).unwrap_or_default();
        let (path, about) = (escaped(&path), escaped(&figure.about));
        let taken = match figure.photo.capture_time {
            Some(_) => format!("<small>{}</small>", output::taken_text(figure.photo)),
            None => String::new(),
        };
        // The page is opened from a file, so that the browser follows it.
        let picture = match figure.file.map(|file| escaped(&file.uri)).filter(|uri| !uri.is_empty()) {
            Some(uri) => format!("<a href=\"{uri}\">{picture}</a>"),
            None => picture,
        };
        // Writing to a string does not fail.
        let _ = writeln!(
            self.html,
            "<figure><div>{picture}</div><figcaption>{about}{taken}<small>{path}</small></figcaption></figure>"
        );
    }

    /// Starts a group of photos under a heading of its own.
    pub(crate) fn start_group(&mut self, title: &str) {
        let title = escaped(title);
        let _ = writeln!(self.html, "</main><h2>{title}</h2><main>");
    }

    /// Writes the sheet to `file`, says so, and opens it if that is asked for.
    pub(crate) fn write(mut self, file: &Path, open: bool) -> anyhow::Result<()> {
        self.html.push_str("</main></html>\n");
        fs::write(file, self.html).with_context(|| format!("cannot write {}", file.display()))?;
        let file = output::absolute(file)?;
        output::line(format_args!("the photos are shown in {}", file.display()))?;
        if open {
            let opened = Command::new("xdg-open").arg(&file).stdin(Stdio::null()).status();
            let opened = opened.context("the browser cannot be opened: xdg-open")?;
            ensure!(opened.success(), "the browser could not be opened: xdg-open ended with {opened}");
        }
        Ok(())
    }
}

/// Returns the text as HTML shows it.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use resembled_api::uri;

    use super::*;

    #[test]
    fn a_photo_is_shown_and_one_without_a_picture_says_why() {
        let directory = tempfile::tempdir().unwrap();
        let mut sheet = Sheet::new("photos & \"friends\"");
        let photo = |path: &[u8]| proto::Photo {
            files: vec![proto::File { path: path.to_vec(), uri: uri::of_path(path), ..Default::default() }],
            capture_time: Some(prost_types::Timestamp { seconds: 0, nanos: 0 }),
            ..Default::default()
        };
        let (shown, away) = (photo(b"/p/a<b>.jpg"), photo(b"/p/c.jpg"));
        sheet.put(&Figure::new(&shown, "0.1000".into()), Ok(b"\xff\xd8\xff\xd9"));
        sheet.start_group("others");
        sheet.put(&Figure::new(&away, "0.2000".into()), Err("its drive is <away>"));
        let file = directory.path().join("sheet.html");
        sheet.write(&file, false).unwrap();
        let html = fs::read_to_string(file).unwrap();
        assert!(html.contains("<h1>photos &amp; &quot;friends&quot;</h1>"), "{html}");
        assert!(html.contains("a&lt;b&gt;.jpg") && !html.contains("a<b>"), "{html}");
        assert!(html.contains("data:image/jpeg;base64,/9j/2Q=="), "{html}");
        assert!(html.contains("its drive is &lt;away&gt;"), "{html}");
        assert!(html.contains("<a href=\"file:///p/a%3Cb%3E.jpg\"><img"), "{html}");
        assert!(html.contains("<h2>others</h2>") && html.contains("1970-01-01"), "{html}");
    }
}
