//! The network that answers, which for a while may be another than the configured one.
//!
//! To encode a large library with another network takes hours. Until the index of the new one is full, the former
//! network goes on answering by its own; then all calls that begin are answered by the new one. A call stays with the
//! network it began with, since the numbers of two networks cannot be compared.

use std::sync::Arc;

use arc_swap::ArcSwap;

use crate::encode::TextHandle;
use crate::ingest::Encoding;
use crate::models::Manifest;
use crate::photo::ModelDigest;
use crate::search::Index;
use crate::store::ModelRecord;
use crate::words::Words;

/// A network with all that is needed to answer by it.
pub struct Served {
    /// Whose embeddings count.
    pub model: ModelRecord,
    /// What is known of the network.
    pub manifest: Arc<Manifest>,
    /// What decides its embeddings.
    pub digest: ModelDigest,
    /// Its embeddings, ready to be searched.
    pub index: Arc<Index>,
    /// What answers words; `None` where the network has no classifier with labels that have words.
    pub words: Option<Arc<Words>>,
    /// What reads texts; `None` where the network has no text tower.
    pub text: Option<TextHandle>,
    /// Bytes to embedding, for queries.
    pub encoding: Encoding,
}

/// The configured network, and the one that answers.
pub struct Networks {
    configured: Arc<Served>,
    answering: ArcSwap<Served>,
}

impl Networks {
    /// Lets `former` answer until [`Self::switch`], if there is one.
    pub fn new(configured: Served, former: Option<Served>) -> Self {
        let configured = Arc::new(configured);
        let answering = former.map_or_else(|| Arc::clone(&configured), Arc::new);
        Self { configured, answering: ArcSwap::new(answering) }
    }

    /// Returns the network that calls which begin now are answered by.
    pub fn answering(&self) -> Arc<Served> {
        self.answering.load_full()
    }

    /// Returns the network that photos are encoded with.
    pub fn configured(&self) -> &Arc<Served> {
        &self.configured
    }

    /// Returns the network that answers meanwhile, if it is another than the configured one.
    pub fn former(&self) -> Option<Arc<Served>> {
        Some(self.answering()).filter(|answering| !Arc::ptr_eq(answering, &self.configured))
    }

    /// Lets the configured network answer from now on.
    pub fn switch(&self) {
        self.answering.store(Arc::clone(&self.configured));
    }
}
