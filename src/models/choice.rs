//! Which network to get where nobody names one.

use std::sync::Arc;
use std::time::Duration;

use super::built_in::FALLBACK;
use super::{Catalogue, Manifest, Quality};

/// A photo may take the network so long. To decode a photo of a camera takes about as long, and other threads do that
/// meanwhile: a quicker network would only wait for them.
const QUICK_ENOUGH: Duration = Duration::from_millis(50);

/// A network, and what speaks for it.
#[derive(Clone, Debug)]
pub struct Choice {
    /// The network.
    pub manifest: Arc<Manifest>,
    /// How good it is.
    pub quality: Quality,
    /// About how long it takes a photo here.
    pub time: Duration,
    /// A still better one that would take too long here, and how long.
    pub too_slow: Option<(Arc<Manifest>, Duration)>,
}

impl Catalogue {
    /// Returns the best network that can be had and is quick enough, where the built-in encoder takes a photo `built_in`
    /// on one thread; the quickest where none is. `None` where nothing can be had.
    pub fn best_for(&self, built_in: Duration) -> Option<Choice> {
        let mut too_slow = None;
        let choices = self.by_quality().into_iter().filter_map(|entry| {
            let quality = entry.manifest.quality?;
            let can_be_had = entry.manifest.sources.iter().any(super::Source::is_to_be_had);
            let time = self.estimated_time(&entry.manifest, built_in)?;
            can_be_had.then(|| Choice {
                manifest: Arc::clone(&entry.manifest),
                quality,
                time,
                too_slow: None,
            })
        });
        let mut quickest: Option<Choice> = None;
        for choice in choices {
            if choice.time <= QUICK_ENOUGH {
                return Some(Choice { too_slow, ..choice });
            }
            too_slow = too_slow.or_else(|| Some((Arc::clone(&choice.manifest), choice.time)));
            if quickest.as_ref().is_none_or(|quickest| choice.time < quickest.time) {
                quickest = Some(choice);
            }
        }
        quickest
    }

    /// Returns about how long a network takes a photo, where the built-in encoder takes `built_in`.
    pub fn estimated_time(&self, manifest: &Manifest, built_in: Duration) -> Option<Duration> {
        let reference = self.entry(FALLBACK).ok()?.manifest.quality?.relative_time;
        Some(built_in.mul_f32(manifest.quality?.relative_time / reference))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn best(built_in: Duration) -> Choice {
        Catalogue::new(&[], Vec::new()).unwrap().best_for(built_in).unwrap()
    }

    #[test]
    fn a_quick_machine_gets_the_best_and_a_slow_one_what_it_can_bear() {
        let quick = best(Duration::from_millis(3));
        assert_eq!(quick.manifest.name, "efficientnet_lite0");
        assert!(quick.too_slow.is_none() && quick.time <= QUICK_ENOUGH);
        let slower = best(Duration::from_micros(13_500));
        assert_eq!(slower.manifest.name, "efficientnet_lite0_160");
        assert_eq!(slower.too_slow.unwrap().0.name, "efficientnet_lite0");
        // Nothing is quick enough: the quickest, as it still finds far more than the built-in one.
        assert_eq!(best(Duration::from_secs(1)).manifest.name, "efficientnet_lite0_160");
    }
}
