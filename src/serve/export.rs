//! `ExportPhotos`: photos with their embeddings, a few at a time, at the pace of whoever takes them.
//!
//! Each message is read from a view of the store of its own: a slow reader keeps no page from being used again.

use std::sync::Arc;

use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::blocking::blocking;
use super::convert::{self, Roots};
use super::networks::Served;
use super::{Api, filter, listing, refuse};
use crate::photo::PhotoId;
use crate::proto;

/// Photos in a message: with 1,280 numbers each, less than a mebibyte.
const AT_ONCE: usize = 128;

type Message = Result<proto::ExportPhotosResponse, Status>;

/// Begins an export.
#[expect(clippy::disallowed_methods, reason = "ends with its client or with the daemon, whichever is first")]
pub(super) async fn stream(
    api: &Arc<Api>,
    request: proto::ExportPhotosRequest,
) -> Result<ReceiverStream<Message>, Status> {
    let filter = request.filter.as_ref().map(filter::parse).transpose()?.unwrap_or_default();
    // A change of the network meanwhile changes nothing in this answer.
    let served = api.networks.answering();
    let asked = Arc::clone(api);
    let ids = blocking(move |_| listing::meant(&asked, &filter)).await?;
    let head = proto::ExportPhotosResponse {
        model: served.model.name.clone(),
        model_digest: served.digest.to_string(),
        dimensions: served.model.dim,
        total_size: ids.len() as u64,
        ..Default::default()
    };
    let (messages, stream) = mpsc::channel(2);
    let api = Arc::clone(api);
    tokio::spawn(async move {
        let is_gone = messages.clone();
        tokio::select! {
            () = api.stop.cancelled() => {
                // Where its client does not read, it is cut off.
                let _ = is_gone.try_send(Err(refuse::stopping()));
            }
            () = is_gone.closed() => {}
            () = send(Arc::clone(&api), served, head, ids, messages) => {}
        }
    });
    Ok(ReceiverStream::new(stream))
}

async fn send(
    api: Arc<Api>,
    served: Arc<Served>,
    head: proto::ExportPhotosResponse,
    ids: Vec<PhotoId>,
    messages: mpsc::Sender<Message>,
) {
    let mut next = Ok(head);
    let mut chunks = ids.chunks(AT_ONCE);
    loop {
        let is_last = next.is_err();
        // Its client has gone, or waits for no more.
        if messages.send(next).await.is_err() || is_last {
            return;
        }
        let Some(chunk) = chunks.next() else { return };
        let (api, served, chunk) = (Arc::clone(&api), Arc::clone(&served), chunk.to_vec());
        next = blocking(move |_| some(&api, &served, &chunk)).await;
    }
}

fn some(api: &Api, served: &Served, ids: &[PhotoId]) -> Message {
    let reader = api.store.read()?;
    let (known, roots) = (reader.photos()?, Roots::of(api));
    let mut found = Vec::with_capacity(ids.len());
    reader.embeddings(&served.model, ids, &mut |id, values| found.push((id, values.to_vec())))?;
    let mut message = proto::ExportPhotosResponse::default();
    for (id, values) in found {
        // One that has gone since is left out.
        if let Some(photo) = convert::photo(&known, &roots, id)? {
            message.photos.push(photo);
            message.embeddings.push(proto::Embedding { values, ..Default::default() });
        }
    }
    Ok(message)
}
