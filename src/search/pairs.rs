//! All pairs of photos within a distance: what the whole library's duplicates are found from.
//!
//! Sketches are sorted into blocks of photos that lie close together. A photo is compared with a block's bounds
//! first, with its sketches next, with full vectors last; each step leaves out only what cannot be within.

use std::collections::BTreeMap;

use super::basis::Basis;
use super::error::SearchError;
use super::estimate::{self, Target};
use super::index::{Rows, Snapshot};
use super::kernels;
use super::nearest::Neighbor;
use super::probe::Probe;
use super::scan::{Options, in_parallel};
use super::sketch::{LEAD, Lead, Rest, Sketch};
use super::two_stage::SketchRows;
use crate::photo::{Metric, PhotoId};

/// Photos in a block, at most.
const BLOCK: usize = 128;

/// Two photos and their distance.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pair {
    /// The one with the lower id.
    pub first: PhotoId,
    /// The other.
    pub second: PhotoId,
    /// In the metric that was asked for.
    pub distance: f32,
}

impl Snapshot {
    /// Returns every pair of photos that are at most `limit` apart, by ascending ids. None is missing.
    ///
    /// # Errors
    ///
    /// [`SearchError::Vectors`] and [`SearchError::Cancelled`].
    pub fn pairs_within(
        &self,
        limit: f32,
        metric: Metric,
        cancelled: &(dyn Fn() -> bool + Sync),
    ) -> Result<Vec<Pair>, SearchError> {
        let mut options = Options::new(usize::MAX, metric);
        options.max_distance = Some(limit);
        options.cancelled = Some(cancelled);
        let mut pairs = match &self.rows {
            Rows::Full(_) => self.pairs_one_by_one(&options)?,
            Rows::Sketched(basis, rows) => self.pairs_by_sketches(basis, rows, limit, &options)?,
        };
        pairs.sort_unstable_by_key(|pair| (pair.first, pair.second));
        Ok(pairs)
    }

    fn pairs_one_by_one(&self, options: &Options<'_>) -> Result<Vec<Pair>, SearchError> {
        let mut pairs = Vec::new();
        let mut vectors = Vec::new();
        self.fetch(&self.ids(), &mut |id, vector| vectors.push((id, vector.to_vec())))?;
        for (id, vector) in &vectors {
            let later = self.within(vector, options)?.into_iter().filter(|other| other.id > *id);
            pairs.extend(later.map(|other| Pair { first: *id, second: other.id, distance: other.distance }));
        }
        Ok(pairs)
    }

    fn pairs_by_sketches(
        &self,
        basis: &Basis,
        rows: &SketchRows,
        limit: f32,
        options: &Options<'_>,
    ) -> Result<Vec<Pair>, SearchError> {
        let mut all = Vec::with_capacity(rows.len());
        for chunk in rows.chunks() {
            let parts = chunk.ids().iter().zip(chunk.values()).zip(chunk.notes());
            all.extend(parts.map(|((&id, &lead), &rest)| Member { id, lead, rest }));
        }
        let mut blocks = Vec::new();
        sort_into_blocks(&mut all, &mut blocks);
        drop(all);
        // Each block against itself and those after it: with the heaviest work first, all threads end together.
        let parts = in_parallel(blocks.len(), usize::MAX, |next| {
            let mut found = Vec::new();
            while let Some(place) = next() {
                options.check_cancelled()?;
                let candidates = candidates(basis, &blocks[place..], limit, options.metric);
                self.decide_pairs(candidates, limit, options.metric, &mut found)?;
            }
            Ok(found)
        })?;
        Ok(parts.concat())
    }

    /// Compares the full vectors of the candidates.
    fn decide_pairs(
        &self,
        candidates: BTreeMap<PhotoId, Vec<PhotoId>>,
        limit: f32,
        metric: Metric,
        found: &mut Vec<Pair>,
    ) -> Result<(), SearchError> {
        for (id, mut others) in candidates {
            let mut own = None;
            self.fetch(&[id], &mut |_, vector| own = Some(Probe::new(vector, self.dim, metric)))?;
            // A photo without a vector was removed after the snapshot had been taken.
            let Some(probe) = own.transpose()? else { continue };
            others.sort_unstable();
            self.fetch(&others, &mut |other, vector| {
                let to_unit = kernels::to_unit(kernels::length(vector).unwrap_or(0.0));
                let mut distance = [f32::NAN];
                probe.distances(vector, &[to_unit], &mut distance);
                let [distance] = distance;
                if distance <= limit {
                    found.push(Pair { first: id.min(other), second: id.max(other), distance });
                }
            })?;
        }
        Ok(())
    }
}

impl Pair {
    /// Returns the pair as each photo sees it, as [`Duplicates::insert`](super::Duplicates::insert) wants it.
    pub fn neighbor(&self) -> (PhotoId, Neighbor) {
        (self.first, Neighbor { id: self.second, distance: self.distance })
    }
}

#[derive(Clone, Copy)]
struct Member {
    id: PhotoId,
    lead: Lead,
    rest: Rest,
}

/// Photos that lie close together, and the bounds of their leading codes.
struct Block {
    members: Vec<Member>,
    leads: Vec<Lead>,
    low: [i8; LEAD],
    high: [i8; LEAD],
    slack: f32,
    /// Least and greatest length of a member.
    lengths: (f32, f32),
}

impl Block {
    fn new(members: &[Member]) -> Self {
        let (low, high) = bounds(members);
        let length =
            |member: &Member| if member.lead.to_unit > 0.0 { 1.0 / member.lead.to_unit } else { 0.0 };
        Self {
            low,
            high,
            slack: members.iter().map(|member| member.lead.slack).fold(0.0, f32::max),
            lengths: members
                .iter()
                .map(length)
                .fold((f32::MAX, 0.0), |(low, high), x| (low.min(x), high.max(x))),
            leads: members.iter().map(|member| member.lead).collect(),
            members: members.to_vec(),
        }
    }

    /// Returns whether a member may be within `limit` of the photo.
    fn may_hold(&self, of: &Member, limit: f32, step: f32, metric: Metric) -> bool {
        let allowed = match metric {
            Metric::L2 => limit * limit,
            // Without a direction, everything is at distance 1.
            Metric::Cosine if of.lead.to_unit == 0.0 || self.lengths.0 == 0.0 => return true,
            Metric::Cosine => {
                let own = 1.0 / of.lead.to_unit;
                // Greatest at one end, for it opens upwards.
                let at = |length: f32| own * own + length * length - 2.0 * own * length * (1.0 - limit);
                at(self.lengths.0).max(at(self.lengths.1))
            }
        };
        let gap = (estimate::squared_gap(&of.lead.codes, &self.low, &self.high) as f32).sqrt() * step;
        // A thousandth more than the float could be off.
        gap <= allowed.max(0.0).sqrt() * 1.001 + self.slack + of.lead.slack
    }
}

fn bounds(members: &[Member]) -> ([i8; LEAD], [i8; LEAD]) {
    let (mut low, mut high) = ([i8::MAX; LEAD], [i8::MIN; LEAD]);
    for member in members {
        for (place, &code) in member.lead.codes.iter().enumerate() {
            low[place] = low[place].min(code);
            high[place] = high[place].max(code);
        }
    }
    (low, high)
}

/// Halves the photos along the component they are spread over most, until they fit into blocks.
fn sort_into_blocks(members: &mut [Member], blocks: &mut Vec<Block>) {
    if members.len() <= BLOCK {
        if !members.is_empty() {
            blocks.push(Block::new(members));
        }
        return;
    }
    let (low, high) = bounds(members);
    let widest = (0..LEAD).max_by_key(|&place| i16::from(high[place]) - i16::from(low[place])).unwrap_or(0);
    let half = members.len() / 2;
    members.select_nth_unstable_by_key(half, |member| (member.lead.codes[widest], member.id));
    let (left, right) = members.split_at_mut(half);
    sort_into_blocks(left, blocks);
    sort_into_blocks(right, blocks);
}

/// Returns the pairs of a photo of the first block with one of it or of a later block that their sketches allow.
fn candidates(
    basis: &Basis,
    blocks: &[Block],
    limit: f32,
    metric: Metric,
) -> BTreeMap<PhotoId, Vec<PhotoId>> {
    let mut found: BTreeMap<PhotoId, Vec<PhotoId>> = BTreeMap::new();
    let Some((first, _)) = blocks.split_first() else { return found };
    let mut beyond = [0f32; BLOCK];
    for (place, member) in first.members.iter().enumerate() {
        let target = Target::of(basis, Sketch { lead: member.lead, rest: member.rest }, metric);
        for (number, block) in blocks.iter().enumerate() {
            if !block.may_hold(member, limit, basis.step(), metric) {
                continue;
            }
            // Within one block, each pair is looked at from one side.
            let start = if number == 0 { place + 1 } else { 0 };
            let beyond = &mut beyond[..block.leads.len()];
            target.beyond(limit, &block.leads, beyond);
            for (other, &beyond) in block.members.iter().zip(&*beyond).skip(start) {
                if beyond <= 0.0 && target.may_be_within(limit, &other.lead, &other.rest) {
                    found.entry(member.id).or_default().push(other.id);
                }
            }
        }
    }
    found
}
