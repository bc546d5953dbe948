//! What a thread that encodes gives back while it has nothing to do: first the memory that it computed in, then the network.

use std::time::Duration;

use crate::memory;

/// A thread that had nothing to do for so long gives back the memory that it computed in.
const REST_AFTER: Duration = Duration::from_secs(3);

/// How a thread rests.
pub(super) struct Rest {
    /// The network is given back after so long, where it is.
    give_back_after: Option<Duration>,
    has_worked: bool,
}

impl Rest {
    pub(super) fn new(give_back_after: Option<Duration>) -> Self {
        Self { give_back_after, has_worked: false }
    }

    /// How long to wait for work before [`Self::begin`]. `None`: for ever, since nothing is left to give back.
    pub(super) fn limit<T>(&self, encoder: &Option<T>) -> Option<Duration> {
        match self.has_worked {
            true => Some(self.give_back_after.map_or(REST_AFTER, |after| after.min(REST_AFTER))),
            false => self.give_back_after.filter(|_| encoder.is_some()),
        }
    }

    /// No work came for as long as that.
    pub(super) fn begin<T>(&mut self, encoder: &mut Option<T>) {
        if !std::mem::take(&mut self.has_worked) {
            *encoder = None;
        }
        memory::give_back();
    }

    /// There is work.
    pub(super) fn end(&mut self) {
        self.has_worked = true;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_it_computed_in_goes_first_and_then_the_network_and_it_waits_for_ever() {
        let hour = Duration::from_secs(3600);
        let (mut rest, mut encoder) = (Rest::new(Some(hour)), Some(()));
        rest.end();
        assert_eq!(rest.limit(&encoder), Some(REST_AFTER));
        rest.begin(&mut encoder);
        assert_eq!((encoder, rest.limit(&encoder)), (Some(()), Some(hour)));
        rest.begin(&mut encoder);
        assert_eq!((encoder, rest.limit(&encoder)), (None, None));
    }

    #[test]
    fn a_network_that_is_kept_is_kept() {
        let (mut rest, mut encoder) = (Rest::new(None), Some(()));
        rest.end();
        rest.begin(&mut encoder);
        assert_eq!((encoder, rest.limit(&encoder)), (Some(()), None));
    }
}
