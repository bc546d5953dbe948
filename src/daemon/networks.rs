//! The networks of this run and what runs them: the configured one, and after a change the former one for a while.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::cores::threads_or_cores;
use super::error::DaemonError;
use super::handover::{self, Found};
use super::index::{self, Written};
use super::priority;
use super::supervisor::Supervisor;
use crate::config::Config;
use crate::decode::{Decoders, Program};
use crate::encode::{
    EncodeError, EncoderHandle, EncoderPool, Loader, Network, PoolOptions, Runtime, TextHandle, TextPool,
};
use crate::ingest::{Encoding, Former};
use crate::models::{Catalogue, Model};
use crate::search::{FactTable, Index};
use crate::serve::{Networks, Served};
use crate::store::{ModelRecord, Store};
use crate::words::{Head, TopLabels, Words};

/// Threads that encode, where the configuration does not say. One keeps up with three that decode camera files.
const MAX_ENCODERS: usize = 4;

/// A large network is given back when it had nothing to encode for so long. To load it again takes a second or two.
const IDLE: Duration = Duration::from_secs(300);

/// What is loaded.
pub(super) struct Loaded {
    pub(super) networks: Arc<Networks>,
    /// The former network as long as it answers.
    pub(super) former: Arc<Former>,
    /// What runs them, and its version.
    pub(super) runtime: String,
    /// What filters ask of photos.
    pub(super) facts: FactTable,
    /// Which codes of the configured network the store has.
    pub(super) written: Written,
}

/// Loads the configured network with its index, and the former one where it has to answer meanwhile. Their encoders run
/// under the supervisor.
pub(super) fn load(
    config: &Config,
    store: &Arc<Store>,
    supervisor: &mut Supervisor,
    stop: &CancellationToken,
) -> Result<Loaded, DaemonError> {
    let catalogue = catalogue(config)?;
    let model = configured(config, &catalogue)?;
    let runtime = start_runtime(config)?;
    tracing::info!("the network {} runs in {runtime}", model.manifest.name);
    let manifest = &model.manifest;
    let record = store.ensure_model(model.digest, &manifest.name, manifest.dim, manifest.metric)?;
    let index::Loaded { index, facts, written } = index::load(store, &record, config.max_full_vectors)?;

    let decoders =
        Decoders::for_indexing_and_queries(&Program::this(), config.decode.limits(), priority::lower);
    let threads = match config.encoder.threads {
        0 => threads_or_cores(0).min(MAX_ENCODERS),
        threads => threads,
    };
    let (pool, encoder, head) = start_encoders(&runtime, &model, threads)?;
    supervisor.start("the encoder", pool.ended());
    let found = handover::find(
        store,
        &catalogue,
        &record,
        index.len(),
        facts.snapshot().len(),
        config.max_full_vectors,
    )?;
    let former = match found {
        Some(Found { model, record, index }) => {
            tracing::info!("the network {} answers until all photos are encoded anew", record.name);
            let (pool, encoder, head) = start_encoders(&runtime, &model, 1)?;
            supervisor.start("the former encoder", ended_before(pool, stop.clone()));
            let words = load_words(store, &model, &record, head)?;
            let text = start_text(&runtime, &model)?.map(|(pool, text)| {
                let stop = stop.clone();
                supervisor.start("the former text encoder", async move {
                    pool.ended().await?;
                    stop.cancelled().await;
                    Ok::<(), EncodeError>(())
                });
                text
            });
            Some(serve(model, record, index, (words, text), encoder, &decoders))
        }
        None => None,
    };
    let cell = former.as_ref().map(|served| Former::new(served.model.clone(), served.encoding.clone()));
    let words = load_words(store, &model, &record, head)?;
    let text = start_text(&runtime, &model)?.map(|(pool, text)| {
        supervisor.start("the text encoder", pool.ended());
        text
    });
    let configured = serve(model, record, index, (words, text), encoder, &decoders);
    Ok(Loaded {
        networks: Arc::new(Networks::new(configured, former)),
        former: Arc::new(cell.unwrap_or_default()),
        runtime: runtime.to_string(),
        facts,
        written,
    })
}

/// Returns the name of the configured network.
///
/// # Errors
/// It is not there, or not what its manifest promises.
pub(super) fn check(config: &Config) -> Result<String, DaemonError> {
    Ok(configured(config, &catalogue(config)?)?.manifest.name.clone())
}

fn catalogue(config: &Config) -> Result<Catalogue, DaemonError> {
    Ok(Catalogue::new(std::slice::from_ref(&config.manifest_dir), config.model_dirs.clone())?)
}

fn configured(config: &Config, catalogue: &Catalogue) -> Result<Model, DaemonError> {
    if let Some(name) = &config.model {
        return Ok(catalogue.resolve(name.as_ref())?);
    }
    let default = catalogue.default_model()?;
    if default.is_fallback {
        tracing::info!("the small built-in network is used: `resembled models pull` gets a better one");
    }
    Ok(default.model)
}

fn start_runtime(config: &Config) -> Result<Arc<Runtime>, DaemonError> {
    let runtime = Runtime::start(config.encoder.runtime, &config.onnxruntime)?;
    for passed_over in &runtime.passed_over {
        tracing::warn!("{} is not used: {}", passed_over.library.display(), passed_over.reason);
    }
    Ok(runtime)
}

fn start_encoders(
    runtime: &Arc<Runtime>,
    model: &Model,
    threads: usize,
) -> Result<(EncoderPool, EncoderHandle, Option<Head>), DaemonError> {
    let mut network = Network::of(model)?;
    let head = network.head.take();
    let loader = Loader::new(Arc::clone(runtime), model.clone(), network, threads, priority::lower);
    let threads = loader.encoders();
    let options = PoolOptions {
        threads,
        queue_len: 2 * threads,
        query_queue_len: 64,
        enter_background: priority::lower,
        give_back_after: loader.is_large().then_some(IDLE),
    };
    let (pool, encoder) = EncoderPool::start(options, loader.into_load())?;
    Ok((pool, encoder, head))
}

/// Starts what reads texts, where the network has it.
fn start_text(runtime: &Arc<Runtime>, model: &Model) -> Result<Option<(TextPool, TextHandle)>, DaemonError> {
    let name = &model.manifest.name;
    let Some(text) = &model.text else {
        if model.manifest.text.is_some() {
            tracing::warn!(
                "{name} answers no texts, as files of its text tower are missing: `resembled models pull {name}` gets them"
            );
        }
        return Ok(None);
    };
    Ok(Some(TextPool::start(Arc::clone(runtime), text.clone(), IDLE)?))
}

/// Makes ready what answers words, with the labels that the store has. Maintenance makes those that are missing.
fn load_words(
    store: &Store,
    model: &Model,
    record: &ModelRecord,
    head: Option<Head>,
) -> Result<Option<Arc<Words>>, DaemonError> {
    let Some(labels) = model.manifest.labels else { return Ok(None) };
    let Some(words) = head.and_then(|head| Words::new(head, labels)) else {
        tracing::warn!(
            "the network {} has no classifier that fits the labels of its manifest, so it answers no words",
            record.name
        );
        return Ok(None);
    };
    store.labels_are_by(record, words.head.fingerprint())?;
    let mut rows = Vec::new();
    store
        .read()?
        .each_label(record, |photo, row| rows.extend(TopLabels::from_bytes(row).map(|top| (photo, top))))?;
    words.labels.insert(rows);
    Ok(Some(Arc::new(words)))
}

/// The former network may end long before the daemon does.
async fn ended_before(pool: EncoderPool, stop: CancellationToken) -> Result<(), EncodeError> {
    pool.ended().await?;
    stop.cancelled().await;
    Ok(())
}

fn serve(
    model: Model,
    record: ModelRecord,
    index: Index,
    (words, text): (Option<Arc<Words>>, Option<TextHandle>),
    encoder: EncoderHandle,
    (decoders, query_decoders): &(Decoders, Decoders),
) -> Served {
    let encoding = Encoding {
        encoder,
        preprocessing: model.manifest.preprocessing.clone(),
        decoders: decoders.clone(),
        query_decoders: query_decoders.clone(),
    };
    Served {
        model: record,
        manifest: model.manifest,
        digest: model.digest,
        index: Arc::new(index),
        words,
        text,
        encoding,
    }
}
