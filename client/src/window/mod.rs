//! `resemble window`: the library in the browser, to be looked at instead of read.
//!
//! HTTP requests on loopback come in, and a page, JSON and thumbnails go out; what they say is the daemon's, asked as the other
//! commands ask it. Nothing is decoded here, and no file is served but the page's own: pictures are the daemon's thumbnails of
//! indexed photos. One thread runs it, as it does the whole client; files are read beside it.
//!
//! | file | what |
//! | --- | --- |
//! | [`guard`] | who is let in |
//! | [`server`] | connections, and when it ends |
//! | [`routes`] | which request asks for what |
//! | [`answer`] | how answers look |
//! | [`asking`] | what the page asks for: filters, examples |
//! | [`photos`] | lists, counts, one photo, thumbnails, searches |
//! | [`groups`] | duplicates, and what the user says of them |
//! | [`importing`] | what of a card or folder is there already |
//! | [`acting`] | what is done on this machine beside that |
//! | [`state`] | how the daemon is, and what it may be told |
//! | `page/` | HTML, style and scripts, without anything from elsewhere |

mod acting;
mod answer;
mod asking;
mod groups;
mod guard;
mod importing;
mod photos;
mod routes;
mod server;
mod state;

use std::net::Ipv4Addr;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use resembled_api::proto::daemon_service_client::DaemonServiceClient;
use resembled_api::proto::duplicate_service_client::DuplicateServiceClient;
use resembled_api::proto::library_service_client::LibraryServiceClient;
use resembled_api::proto::search_service_client::SearchServiceClient;
use tokio::net::TcpListener;
use tokio::process::Command;

use self::groups::Groups;
use self::guard::Guard;
use self::server::Usage;
use crate::Answer;
use crate::cli::{Target, WindowArgs};
use crate::connect::{self, Connection};
use crate::output;

/// What all requests share.
struct Window {
    guard: Guard,
    usage: Usage,
    channel: Connection,
    /// The daemon runs on this machine, so that its paths are ours.
    is_local: bool,
    groups: Groups,
}

impl Window {
    fn library(&self) -> LibraryServiceClient<Connection> {
        LibraryServiceClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX)
    }

    fn search(&self) -> SearchServiceClient<Connection> {
        SearchServiceClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX)
    }

    fn duplicates(&self) -> DuplicateServiceClient<Connection> {
        DuplicateServiceClient::new(self.channel.clone()).max_decoding_message_size(usize::MAX)
    }

    fn daemon(&self) -> DaemonServiceClient<Connection> {
        DaemonServiceClient::new(self.channel.clone())
    }
}

/// Serves the page until it is not used any more.
pub(crate) async fn window(target: &Target, args: &WindowArgs) -> anyhow::Result<Answer> {
    let channel = connect::connect(target).await?;
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, args.port))
        .await
        .with_context(|| format!("port {} of this machine cannot be had: --port names another", args.port))?;
    let guard = Guard::new().context("the system gives no random numbers")?;
    let entry = guard.entry().unwrap_or_default();
    let address = format!("http://{}{entry}", listener.local_addr()?);
    let longest = Some(args.unused).filter(|longest| *longest > Duration::ZERO);
    let usage = Usage::new(longest);
    let window = Arc::new(Window {
        guard,
        usage,
        channel,
        is_local: target.connect.is_none(),
        groups: Groups::default(),
    });
    output::line(&address)?;
    let opening = async {
        let opened = !args.no_open && open(&address).await;
        eprintln!("{}", told(opened, args));
        // A browser may run for as long as the window does.
        std::future::pending::<()>().await;
    };
    tokio::select! {
        () = server::serve(listener, window) => {}
        () = opening => {}
    }
    eprintln!("the window was not used any more, and is closed");
    Ok(Answer::Found)
}

fn told(opened: bool, args: &WindowArgs) -> String {
    let what = match (opened, args.no_open) {
        (true, _) => "the window is open in your browser",
        (false, true) => "open the address in a browser of this machine; it is good for one visit",
        (false, false) => {
            "no browser could be opened (xdg-open): open the address yourself; it is good for one visit"
        }
    };
    format!("{what}. Ctrl+C closes it")
}

/// Opens the user's browser, and says whether that worked.
async fn open(address: &str) -> bool {
    let mut command = Command::new("xdg-open");
    command.arg(address).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().await.is_ok_and(|status| status.success())
}
