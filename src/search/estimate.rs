//! From two sketches, how far apart the vectors are: about, and at least.
//!
//! Invariant: [`Target::may_be_within`] never says no of a vector that is within.

use multiversion::multiversion;

use super::basis::Basis;
use super::kernels;
use super::sketch::{COMPONENTS, Lead, REST, Rest, Sketch, lower, upper};
use crate::photo::Metric;

/// Share of the squared lengths involved that rounding may cost an `f32`, with room.
const ROUNDING: f32 = 1e-4;

/// Deviations that the rounding of codes is allowed.
const ROUNDING_DEVIATIONS: f32 = 3.0;

/// What a sketch says of a distance, as keys: squared for [`Metric::L2`], as it is for [`Metric::Cosine`].
#[derive(Clone, Copy, Debug)]
pub(super) struct Estimate {
    pub about: f32,
    pub least: f32,
}

/// A query's sketch, prepared for one metric.
#[derive(Clone, Debug)]
pub(super) struct Target {
    metric: Metric,
    lead: Lead,
    rest: [i8; REST],
    /// Length outside of all components, and distance between the position and its steps over all.
    outside: f32,
    slack: f32,
    /// Twice the squared step: of the leading components, and of the others.
    grain: f32,
    rest_grain: f32,
    /// Twice the kinship times the length outside: of the leading components, of all, and of all at the most.
    lead_pull: f32,
    pull: f32,
    most_pull: f32,
    squared_length: f32,
}

impl Target {
    /// Sketches the query, which has been checked before.
    pub fn new(basis: &Basis, query: &[f32], metric: Metric) -> Self {
        let sketch = match metric {
            Metric::L2 => basis.sketch(query),
            // Only its direction matters, and a length like the others' is where the steps are fine.
            Metric::Cosine => {
                let scale = kernels::to_unit(kernels::length(query).unwrap_or(0.0)) * basis.typical_length();
                basis.sketch(&query.iter().map(|x| x * scale).collect::<Vec<f32>>())
            }
        };
        Self::of(basis, sketch, metric)
    }

    /// Takes a photo's own sketch as the query.
    pub fn of(basis: &Basis, sketch: Sketch, metric: Metric) -> Self {
        let (lead_kinship, kinship) = basis.kinship();
        let closest = basis.closest_kinship();
        let length = if sketch.lead.to_unit > 0.0 { 1.0 / sketch.lead.to_unit } else { 0.0 };
        let (grain, rest_grain) = basis.grains();
        Self {
            metric,
            grain,
            rest_grain,
            lead_pull: 2.0 * lead_kinship * sketch.lead.outside,
            pull: 2.0 * kinship * sketch.rest.outside,
            most_pull: 2.0 * closest * sketch.rest.outside,
            squared_length: length * length,
            lead: sketch.lead,
            rest: sketch.rest.unpacked(),
            outside: sketch.rest.outside,
            slack: sketch.rest.slack,
        }
    }

    /// Writes, for each row, a number that grows with its distance, judged by the leading components.
    pub fn estimate(&self, rows: &[Lead], out: &mut [f32]) {
        match self.metric {
            Metric::L2 => estimate_l2(self, rows, out),
            Metric::Cosine => estimate_cosine(self, rows, out),
        }
    }

    /// Adds the key of each row's distance, judged by all components: what it is about, and what it is at the least for
    /// all but the rarest neighbours.
    pub fn refine(&self, rows: &[(&Lead, &Rest)], out: &mut Vec<Estimate>) {
        // They lie apart, where no other row has been read. Asking for all of them at once before computing with the first
        // takes half the time of waiting for each in turn.
        std::hint::black_box(
            rows.iter().map(|(lead, rest)| lead.first_bytes() + rest.first_bytes()).sum::<u32>(),
        );
        refine(self, rows, out);
    }

    #[inline(always)]
    fn refine_one(&self, lead: &Lead, rest: &Rest) -> Estimate {
        let unrelated = self.lead.bias + lead.bias - self.shared(lead, rest);
        let about = unrelated - self.pull * rest.outside;
        let least = unrelated - self.most_pull * rest.outside;
        // The codes are off by a step's fraction, in no direction: this is how much of it falls on the way between. Kinships
        // were learnt from sketches, so that what lies outside allows for it too, where there is much.
        let off = ((self.slack * self.slack + rest.slack * rest.slack) / COMPONENTS as f32).sqrt();
        let least = least.min(about - 2.0 * ROUNDING_DEVIATIONS * off * about.max(0.0).sqrt());
        match self.metric {
            Metric::L2 => Estimate { about, least },
            Metric::Cosine => {
                Estimate { about: self.as_cosine(lead, about), least: self.as_cosine(lead, least) }
            }
        }
    }

    /// Returns the key of a distance: what [`Self::refine`] estimates.
    pub fn key(&self, distance: f32) -> f32 {
        match self.metric {
            Metric::L2 => distance * distance,
            Metric::Cosine => distance,
        }
    }

    /// Turns an estimated squared distance into an estimated cosine distance.
    #[inline(always)]
    fn as_cosine(&self, lead: &Lead, squared: f32) -> f32 {
        if lead.to_unit == 0.0 {
            return 1.0;
        }
        let length = 1.0 / lead.to_unit;
        1.0 - (self.squared_length + length * length - squared) * 0.5 * (self.lead.to_unit * lead.to_unit)
    }

    /// Writes, for each row, how far it is beyond `limit` at least, judged by the leading components: a row above 0 is
    /// not within. In no unit.
    pub fn beyond(&self, limit: f32, rows: &[Lead], out: &mut [f32]) {
        match self.metric {
            Metric::L2 => beyond_l2(self, limit, rows, out),
            Metric::Cosine => beyond_cosine(self, limit, rows, out),
        }
    }

    #[inline(always)]
    fn beyond_one(&self, allowed: f32, row: &Lead) -> f32 {
        let stepped =
            self.lead.bias - self.lead.outside * self.lead.outside + row.bias - row.outside * row.outside;
        let along = stepped - self.grain * lead_dot(&self.lead, row) as f32;
        let rounding = ROUNDING * (self.lead.bias + row.bias);
        let reach = (allowed.max(0.0) + rounding).sqrt() + self.lead.slack + row.slack;
        along - reach * reach - rounding
    }

    /// Returns whether the row may be within `limit` of the query, in the metric. Where it says no, it is not.
    pub fn may_be_within(&self, limit: f32, lead: &Lead, rest: &Rest) -> bool {
        may_be_within(self, limit, lead, rest)
    }

    #[inline(always)]
    fn may_this_be_within(&self, limit: f32, lead: &Lead, rest: &Rest) -> bool {
        let Some(allowed) = self.squared_limit(limit, lead) else { return true };
        let allowed = allowed + ROUNDING * (self.lead.bias + lead.bias);
        let slack = self.slack + rest.slack;
        // By the triangle inequality: along the components, both positions are off their steps by their slack; outside of
        // them, the lengths differ by no more than the distance. What cancels here is bounded by `ROUNDING`.
        let stepped = self.lead.bias - self.outside * self.outside + lead.bias - rest.outside * rest.outside;
        let along = ((stepped - self.shared(lead, rest)).max(0.0).sqrt() - slack).max(0.0);
        let across = ((self.outside - rest.outside).abs() - slack).max(0.0);
        along * along + across * across <= allowed
    }

    /// Returns twice the dot product of the stepped positions.
    #[inline(always)]
    fn shared(&self, lead: &Lead, rest: &Rest) -> f32 {
        self.grain * lead_dot(&self.lead, lead) as f32 + self.rest_grain * rest_dot(&self.rest, rest) as f32
    }

    /// Returns the squared Euclidean distance that a limit in the metric stands for; `None` for all of them.
    #[inline(always)]
    pub fn squared_limit(&self, limit: f32, lead: &Lead) -> Option<f32> {
        match self.metric {
            Metric::L2 => limit.is_finite().then_some(limit * limit),
            Metric::Cosine if lead.to_unit == 0.0 || self.squared_length == 0.0 => None,
            Metric::Cosine => {
                let (own, length) = (self.squared_length.sqrt(), 1.0 / lead.to_unit);
                // |a - b|² = |a|² + |b|² - 2 |a| |b| (1 - distance)
                Some(self.squared_length + length * length - 2.0 * own * length * (1.0 - limit))
            }
        }
    }
}

/// Dot product of the leading codes.
#[inline(always)]
pub(super) fn lead_dot(a: &Lead, b: &Lead) -> i32 {
    a.codes.iter().zip(&b.codes).map(|(&a, &b)| i32::from(a) * i32::from(b)).sum()
}

/// Dot product of the other codes.
#[inline(always)]
pub(super) fn rest_dot(a: &[i8; REST], b: &Rest) -> i32 {
    let (first, second) = a.split_at(REST / 2);
    let halves = first.iter().zip(second).zip(&b.codes);
    halves.map(|((&a, &c), &b)| i32::from(a) * i32::from(lower(b)) + i32::from(c) * i32::from(upper(b))).sum()
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2+fma", "aarch64+neon"))]
fn may_be_within(target: &Target, limit: f32, lead: &Lead, rest: &Rest) -> bool {
    target.may_this_be_within(limit, lead, rest)
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2+fma", "aarch64+neon"))]
fn refine(target: &Target, rows: &[(&Lead, &Rest)], out: &mut Vec<Estimate>) {
    out.extend(rows.iter().map(|(lead, rest)| target.refine_one(lead, rest)));
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2+fma", "aarch64+neon"))]
fn estimate_l2(target: &Target, rows: &[Lead], out: &mut [f32]) {
    for (row, out) in rows.iter().zip(out) {
        *out = target.lead.bias + row.bias
            - target.grain * lead_dot(&target.lead, row) as f32
            - target.lead_pull * row.outside;
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2+fma", "aarch64+neon"))]
fn estimate_cosine(target: &Target, rows: &[Lead], out: &mut [f32]) {
    for (row, out) in rows.iter().zip(out) {
        let squared = target.lead.bias + row.bias
            - target.grain * lead_dot(&target.lead, row) as f32
            - target.lead_pull * row.outside;
        *out = target.as_cosine(row, squared);
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2+fma", "aarch64+neon"))]
fn beyond_l2(target: &Target, limit: f32, rows: &[Lead], out: &mut [f32]) {
    for (row, out) in rows.iter().zip(out) {
        *out = target.beyond_one(limit * limit, row);
    }
}

#[multiversion(targets("x86_64+avx512f+avx512bw+avx512vl", "x86_64+avx2+fma", "aarch64+neon"))]
fn beyond_cosine(target: &Target, limit: f32, rows: &[Lead], out: &mut [f32]) {
    for (row, out) in rows.iter().zip(out) {
        *out = target.squared_limit(limit, row).map_or(0.0, |allowed| target.beyond_one(allowed, row));
    }
}
