//! Events from the daemon, one message after the other, whatever becomes of the daemon meanwhile.

use std::time::Duration;

use resembled_api::proto;
use resembled_api::proto::event_service_client::EventServiceClient;
use tonic::{Code, Status, Streaming};

use crate::cli::Target;
use crate::connect::{self, Connection, refused};

/// How often a daemon that has ended is looked for.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// A stream of events that is opened again where it broke off.
pub(crate) struct Follower<'a> {
    target: &'a Target,
    channel: Connection,
    stream: Streaming<proto::WatchEventsResponse>,
    /// Where it goes on when it is opened again.
    after: Option<u64>,
    only_past: bool,
}

impl<'a> Follower<'a> {
    /// Opens the stream behind an event; without one, from now on.
    pub(crate) async fn open(
        target: &'a Target,
        after: Option<u64>,
        only_past: bool,
    ) -> anyhow::Result<Result<Self, Status>> {
        let channel = connect::connect(target).await?;
        let stream = open(&channel, after, only_past).await;
        Ok(stream.map(|stream| Self { target, channel, stream, after, only_past }))
    }

    /// The connection to the daemon of the moment.
    pub(crate) fn channel(&self) -> Connection {
        self.channel.clone()
    }

    /// Returns the next message, and waits for a daemon where there is none; `None` at the end of what has happened, where
    /// only that was asked for.
    pub(crate) async fn next(&mut self) -> anyhow::Result<Option<proto::WatchEventsResponse>> {
        loop {
            match self.stream.message().await {
                Ok(Some(message)) => {
                    self.after = Some(message.sequence);
                    return Ok(Some(message));
                }
                Ok(None) if self.only_past => return Ok(None),
                Ok(None) => self.open_again(self.after).await?,
                Err(status) if is_passing(&status) => self.open_again(self.after).await?,
                Err(status) => return Err(refused(status)),
            }
        }
    }

    /// Waits for the daemon, and goes on behind an event.
    pub(crate) async fn open_again(&mut self, after: Option<u64>) -> anyhow::Result<()> {
        eprintln!("the daemon has ended; waiting for it");
        loop {
            tokio::time::sleep(LOOK_EVERY).await;
            let Ok(channel) = connect::connect(self.target).await else { continue };
            match open(&channel, after, self.only_past).await {
                Ok(stream) => {
                    eprintln!("it is there again");
                    (self.channel, self.stream, self.after) = (channel, stream, after);
                    return Ok(());
                }
                Err(status) if is_passing(&status) => {}
                Err(status) => return Err(refused(status)),
            }
        }
    }
}

/// Whether the daemon has only gone, or has no time.
pub(crate) fn is_passing(status: &Status) -> bool {
    connect::is_broken(status) || matches!(status.code(), Code::Unavailable | Code::ResourceExhausted)
}

async fn open(
    channel: &Connection,
    after: Option<u64>,
    only_past: bool,
) -> Result<Streaming<proto::WatchEventsResponse>, Status> {
    let mut client = EventServiceClient::new(channel.clone()).max_decoding_message_size(usize::MAX);
    let request = proto::WatchEventsRequest { after, only_past };
    Ok(client.watch_events(request).await?.into_inner())
}
