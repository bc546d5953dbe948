//! Constants that were fitted to libraries, not derived: what each trades, and how to fit it anew.
//!
//! ```sh
//! cargo bench --bench scale -- --embeddings FILE.npy --models DIR
//! ```
//!
//! prints what they decide, for libraries of 10,000 photos to a million: recall@10 of 200 queries against the exact answer
//! (wanted: 1, 0.998 and 0.995) and how many full vectors a query reads. Change one, run it, and keep what reads fewer at the
//! same recall; `benches/scale.md` has the figures of these. What they were fitted to are MobileNetV2 embeddings (1280 numbers)
//! of 22,677 photos. A library that they do not suit is noticed: the daemon measures recall on the library's own photos, and
//! residual cosines are calibrated on them.

/// Less recall@10 than this says that the quantizer does not suit the library any more.
pub const SUFFICIENT_RECALL: f64 = 0.98;

/// Up to this many photos, full vectors stay in memory, if nothing else is asked for: 10 MB of MobileNetV2's, and a scan takes
/// half a millisecond.
pub const MAX_FULL_VECTORS: usize = 2000;

// Training the quantizer.

/// Vectors to train on: more do not move the components noticeably.
pub(super) const TRAINING_SAMPLE: usize = 4096;
/// A quantizer is trained anew when the library has grown this many times since...
pub(super) const GROWTH: u64 = 10;
/// ... unless it was trained on so many that more photos hardly change it.
pub(super) const SETTLED: u64 = 50_000;

/// Standard deviations of the first component that coarse levels reach, to either side.
pub(super) const COARSE_DEVIATIONS: f32 = 4.0;
/// The same for fine levels and the first component that has them. Finer steps that reach less far: what is beyond them is
/// rare, and not lost but counted as quantization error.
pub(super) const FINE_DEVIATIONS: f32 = 2.5;

// Calibrating what residuals have in common.

/// Neighbors of a photo that are learnt from.
pub(super) const CALIBRATION_NEIGHBORS: usize = 10;
/// Of those, the farther half says what neighbors have in common as a rule. The nearest are often copies and shots of one
/// scene, which have far more in common.
pub(super) const CLOSER_NEIGHBORS: usize = CALIBRATION_NEIGHBORS / 2;
/// Share of the neighbors that candidates are rescored for: a residual cosine is assumed with which so many would seem to be
/// no farther than the tenth. One of 2000 neighbors was missed at 10,000 photos where it was a little less.
pub(super) const COVERED_NEIGHBORS: f64 = 0.9995;
/// Photos whose neighbors are learnt from, within the training sample...
pub(super) const CALIBRATION_QUERIES_IN_SAMPLE: usize = 48;
/// ... and in the whole library, once all of it has codes.
pub(super) const CALIBRATION_QUERIES: usize = 1000;

// Choosing candidates.

/// Standard deviations that quantization is allowed to make two vectors seem farther apart.
pub(super) const QUANTIZATION_DEVIATIONS: f32 = 3.0;

/// Rows of which the whole code is read, out of those judged by the coarse code alone. Of 15,000 neighbors among 10,000
/// photos, five are beyond the first 1000 by their coarse codes; the farthest one ever seen was the 2392nd.
pub(super) fn shortlisted(candidates: usize, len: usize) -> usize {
    candidates.saturating_mul(4).max(3000).max(len / 100)
}

/// Candidates that may be rescored, at the most: how many are is decided by their estimates.
pub(super) fn max_candidates(k: usize, len: usize) -> usize {
    k.saturating_mul(2).saturating_add(180 + (len / 5000).min(300))
}

/// Candidates that are rescored whatever the others' estimates say.
pub(super) fn always_rescored(k: usize) -> usize {
    k.saturating_add(k / 4 + 6)
}
