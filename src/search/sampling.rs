//! A sample that is spread over a library.

/// Returns `count` of the items, evenly spaced; all where there are no more.
pub fn spaced_sample<T: Copy>(items: &[T], count: usize) -> impl Iterator<Item = T> {
    let count = count.min(items.len());
    (0..count).map(move |place| items[place * items.len() / count])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_is_spread_over_all_items() {
        let sample =
            |len: usize, count| spaced_sample(&(0..len).collect::<Vec<_>>(), count).collect::<Vec<_>>();
        assert_eq!(sample(10, 4), [0, 2, 5, 7]);
        assert_eq!(sample(3, 9), [0, 1, 2]);
        assert_eq!((sample(0, 5), sample(5, 0)), (vec![], vec![]));
    }
}
