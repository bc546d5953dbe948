//! `resembled` finds the photos that resemble a photo.
//!
//! Read the rooms in this order and you have followed a photo from the disk to an answer:
//!
//! ```text
//! folders - watch -> changes - ingest: decode -> upright RGB - encode -> embedding -> store -> search -> serve
//!              ^                                                                        |
//!              +----------------- what is known already --------------------------------+
//! ```
//!
//! | room | in | out |
//! | --- | --- | --- |
//! | [`watch`] | the file system | [`Change`](watch::Change)s |
//! | [`ingest`] | changes | committed photos; where the next three meet |
//! | [`decode`] | a file's bytes | an upright RGB image |
//! | [`encode`] | an image, made ready | an embedding; which network that is, says [`models`] |
//! | [`store`] | embeddings and files | durable rows, and a consistent view of them |
//! | [`search`] | a query | the k nearest neighbors, by codes in memory and embeddings in the store |
//! | [`words`] | a word | the photos that show it, by the classifier that was cut off the network |
//! | [`serve`] | gRPC calls | answers, as [`proto`] has them |
//! | [`thumbnails`] | a photo's bytes | a small picture for people, and its local features, both kept on the disk |
//! | [`verify`] | two pictures' features | whether one shows what the other shows, and how: by geometry |
//!
//! Around them: [`appearance`] is what a whole picture looks like, [`cli`] what the user typed, [`config`] what it means,
//! [`photo`] the words all rooms share,
//! [`deadline`] how to ask a disk that may never answer, [`private`] the files that are for their owner alone,
//! [`threads`] how their owners hear that threads have ended, [`memory`] what the allocator keeps for later, [`daemon`] the wiring, [`log`] where the log goes,
//! [`metrics`] numbers for Prometheus.
//!
//! Two more packages stand beside this one: `api/`, what the daemon and its clients agree on (the messages made of `proto/`,
//! and which files are photos), and `client/`, the shell's `resemble`, which has that and no decoder, network or database.
//!
//! What must stay true, and is attacked by tests:
//!
//! - The store is the only truth. Everything in memory is rebuilt from it. What a disk has damaged in it is noticed when it is
//!   read, and made again from the photos; its file is redb's, with a checksum for each block, and no other program opens it.
//! - Events only say where to look; comparing the disk with the store decides. At rest, the index equals the disk.
//! - An embedding belongs to a content and a network, never to a path.
//! - Every distance in an answer is exact. What a search by codes may miss is measured, and `exact` misses nothing.
//! - Whatever one photo does to its decoder or one request to its service costs that photo or that request.
//! - Nothing is ever written into a photo folder.

pub mod appearance;
pub mod cli;
pub mod config;
pub mod daemon;
pub mod deadline;
pub mod decode;
pub mod encode;
pub mod ingest;
pub mod log;
pub mod memory;
pub mod metrics;
pub mod models;
pub mod photo;
pub mod private;
pub mod search;
pub mod serve;
pub mod store;
pub mod threads;
pub mod thumbnails;
pub mod verify;
pub mod watch;
pub mod words;

pub use resembled_api::proto;
