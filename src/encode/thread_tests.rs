use std::collections::BTreeSet;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::*;
use crate::encode::contract::noise;
use crate::encode::fake::FakeEncoder;

const SIDE: u32 = 4;

/// A fake encoder that waits for a permit before each photo, and panics at a photo that begins with 13.
struct Gated {
    fake: FakeEncoder,
    gate: Arc<Gate>,
}

#[derive(Default)]
struct Gate {
    /// Told of each photo that a thread has begun.
    begun: Mutex<Option<std_mpsc::Sender<String>>>,
    /// Taken once a photo, where there is one.
    permits: Mutex<Option<std_mpsc::Receiver<()>>>,
    loads: AtomicUsize,
    /// Told of each encoder that is given back.
    given_back: Mutex<Option<std_mpsc::Sender<()>>>,
}

impl Drop for Gated {
    fn drop(&mut self) {
        if let Some(given_back) = &*self.gate.given_back.lock().unwrap() {
            let _ = given_back.send(());
        }
    }
}

impl Encoder for Gated {
    fn dim(&self) -> usize {
        self.fake.dim()
    }

    fn side(&self) -> u32 {
        SIDE
    }

    fn embed(&mut self, photos: &[Input]) -> Result<Vec<Embedding>, EncodeError> {
        if let Some(begun) = &*self.gate.begun.lock().unwrap() {
            begun.send(std::thread::current().name().unwrap().to_owned()).unwrap();
        }
        if let Some(permits) = &*self.gate.permits.lock().unwrap() {
            permits.recv().unwrap();
        }
        assert_ne!(photos[0].values[0], 13.0, "asked to panic");
        self.fake.embed(photos)
    }
}

fn load(gate: &Arc<Gate>) -> LoadEncoder {
    let gate = Arc::clone(gate);
    Arc::new(move || {
        gate.loads.fetch_add(1, Ordering::Relaxed);
        Ok(Box::new(Gated { fake: FakeEncoder::new(SIDE, 2), gate: Arc::clone(&gate) }))
    })
}

fn options(threads: usize) -> PoolOptions {
    PoolOptions { threads, queue_len: 1, query_queue_len: 1, enter_background: || {}, give_back_after: None }
}

fn expected(photo: &Input) -> Embedding {
    FakeEncoder::new(SIDE, 2).embed(std::slice::from_ref(photo)).unwrap().remove(0).rounded()
}

fn panicking() -> Input {
    Input { side: SIDE, values: vec![13.0; 48] }
}

#[tokio::test]
async fn every_photo_gets_its_own_embedding() {
    let (pool, handle) = EncoderPool::start(options(3), load(&Arc::default())).unwrap();
    assert_eq!((handle.dim(), handle.side()), (12, SIDE));
    let mut all = tokio::task::JoinSet::new();
    for seed in 0..50 {
        let handle = handle.clone();
        all.spawn(async move {
            let photo = noise(SIDE, seed);
            let embedding = match seed % 2 {
                0 => handle.embed(photo.clone()).await.unwrap(),
                _ => {
                    let (handle, photo) = (handle.clone(), photo.clone());
                    tokio::task::spawn_blocking(move || handle.embed_blocking(photo)).await.unwrap().unwrap()
                }
            };
            assert_eq!(embedding, expected(&photo));
        });
    }
    while let Some(result) = all.join_next().await {
        result.unwrap();
    }
    drop(handle);
    pool.ended().await.unwrap();
}

#[tokio::test]
async fn a_bad_photo_costs_one_photo() {
    let (_pool, handle) = EncoderPool::start(options(1), load(&Arc::default())).unwrap();
    let mut bad = noise(SIDE, 1);
    bad.values[5] = f32::NAN;
    assert!(matches!(handle.embed(bad).await, Err(EncodeError::NotFinite)));
    let photo = noise(SIDE, 2);
    assert_eq!(handle.embed(photo.clone()).await.unwrap(), expected(&photo));
}

#[tokio::test]
async fn queries_have_their_own_thread_and_load_at_the_first() {
    let gate = Arc::new(Gate::default());
    let (begun, begins) = std_mpsc::channel();
    *gate.begun.lock().unwrap() = Some(begun);
    let (_pool, handle) = EncoderPool::start(options(2), load(&gate)).unwrap();
    assert_eq!(gate.loads.load(Ordering::Relaxed), 2);
    let photo = noise(SIDE, 1);
    assert_eq!(handle.embed_query(photo.clone()).await.unwrap(), expected(&photo));
    assert_eq!(begins.recv().unwrap(), "encoder-query");
    handle.embed_query(photo.clone()).await.unwrap();
    assert_eq!(gate.loads.load(Ordering::Relaxed), 3);
    handle.embed(photo).await.unwrap();
    assert_eq!(begins.recv().unwrap(), "encoder-query");
    assert_ne!(begins.recv().unwrap(), "encoder-query");
}

#[tokio::test]
async fn a_query_too_many_is_refused_and_a_cancelled_one_is_skipped() {
    let gate = Arc::new(Gate::default());
    let (begun, begins) = std_mpsc::channel();
    let (permit, permits) = std_mpsc::channel();
    *gate.begun.lock().unwrap() = Some(begun);
    *gate.permits.lock().unwrap() = Some(permits);
    let (pool, handle) = EncoderPool::start(options(1), load(&gate)).unwrap();

    let (first, waiting) = (handle.clone(), handle.clone());
    let first = async move { first.embed_query(noise(SIDE, 1)).await };
    let mut set = tokio::task::JoinSet::new();
    set.spawn(first);
    tokio::task::spawn_blocking(move || begins.recv().map(|_| begins)).await.unwrap().unwrap();
    // The thread is busy with the first; the second fills the queue; there is no place for a third.
    let mut second = Box::pin(waiting.embed_query(noise(SIDE, 2)));
    assert!(poll_once(second.as_mut()).await.is_none());
    assert!(matches!(handle.embed_query(noise(SIDE, 3)).await, Err(EncodeError::Busy)));
    drop(second);

    // One permit is enough for all that is left: the second was taken back.
    permit.send(()).unwrap();
    set.join_next().await.unwrap().unwrap().unwrap();
    drop((handle, waiting));
    pool.ended().await.unwrap();
}

/// Polls `future` once, and returns what it gave.
async fn poll_once<T>(mut future: std::pin::Pin<&mut impl Future<Output = T>>) -> Option<T> {
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(match future.as_mut().poll(context) {
            std::task::Poll::Ready(value) => Some(value),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

#[tokio::test]
async fn a_panic_is_reported_with_the_name_of_its_thread() {
    let (pool, handle) = EncoderPool::start(options(2), load(&Arc::default())).unwrap();
    assert!(matches!(handle.embed(panicking()).await, Err(EncodeError::Stopped)));
    // The other thread still waits for work: the report does not wait for it.
    let Err(EncodeError::Panicked(name)) = pool.ended().await else { panic!("no panic was reported") };
    assert!(name.starts_with("encoder-"), "{name}");
    let photo = noise(SIDE, 1);
    assert_eq!(handle.embed(photo.clone()).await.unwrap(), expected(&photo));
}

#[tokio::test]
async fn after_the_last_thread_the_handle_says_so() {
    let (pool, handle) = EncoderPool::start(options(1), load(&Arc::default())).unwrap();
    handle.embed(panicking()).await.unwrap_err();
    pool.ended().await.unwrap_err();
    assert!(matches!(handle.embed(noise(SIDE, 1)).await, Err(EncodeError::Stopped)));
}

#[test]
fn a_network_that_does_not_load_is_an_error_of_the_start() {
    let loads = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&loads);
    let load: LoadEncoder = Arc::new(move || match counted.fetch_add(1, Ordering::Relaxed) {
        1 => Err(EncodeError::WrongDim { promised: 1, found: 2 }),
        _ => Ok(Box::new(FakeEncoder::new(SIDE, 2))),
    });
    assert!(matches!(EncoderPool::start(options(3), load), Err(EncodeError::WrongDim { .. })));
    assert_eq!(loads.load(Ordering::Relaxed), 3);

    let load: LoadEncoder = Arc::new(|| panic!("asked to panic"));
    assert!(matches!(EncoderPool::start(options(2), load), Err(EncodeError::Panicked(_))));
}

static ENTERED: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

#[tokio::test]
async fn only_background_threads_are_made_background_threads() {
    let enter_background = || {
        ENTERED.lock().unwrap().insert(std::thread::current().name().unwrap().to_owned());
    };
    let options = PoolOptions { enter_background, ..options(2) };
    let (_pool, handle) = EncoderPool::start(options, load(&Arc::default())).unwrap();
    handle.embed_query(noise(SIDE, 1)).await.unwrap();
    let entered: Vec<String> = ENTERED.lock().unwrap().iter().cloned().collect();
    assert_eq!(entered, ["encoder-0", "encoder-1"]);
}

#[tokio::test]
async fn encoders_are_given_back_when_idle_and_loaded_again_for_the_next_photo() {
    let gate = Arc::new(Gate::default());
    let (given_back, gone) = std_mpsc::channel();
    *gate.given_back.lock().unwrap() = Some(given_back);
    let options = PoolOptions { give_back_after: Some(Duration::from_millis(1)), ..options(2) };
    let (pool, handle) = EncoderPool::start(options, load(&gate)).unwrap();
    // Whichever of them waits for the lock must be patient no longer than the one that has it.
    let both = move || {
        gone.recv().unwrap();
        gone.recv().unwrap();
        gone
    };
    let gone = tokio::task::spawn_blocking(both).await.unwrap();
    let photo = noise(SIDE, 1);
    assert_eq!(handle.embed(photo.clone()).await.unwrap(), expected(&photo));
    assert_eq!(handle.embed_query(photo.clone()).await.unwrap(), expected(&photo));
    assert_eq!(gate.loads.load(Ordering::Relaxed), 4);
    let both = move || gone.recv().and(gone.recv());
    tokio::task::spawn_blocking(both).await.unwrap().unwrap();
    drop(handle);
    pool.ended().await.unwrap();
}
