//! Random elements of collections: how many, distinct or not, and by which way they are found.

use std::collections::BTreeSet;

use crate::error::CmdError;
use crate::random::Random;

/// What a count of `SRANDMEMBER`, `HRANDFIELD` or `ZRANDMEMBER` asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sample {
    /// This many distinct elements, or all if there are fewer.
    Distinct(usize),
    /// This many, each drawn from all.
    Repeating(usize),
}

/// Most elements that one call returns when they may repeat: the number is the client's word, the
/// memory is ours.
const REPEATING_MAX: u64 = 1 << 28;

impl Sample {
    /// The meaning of a count.
    ///
    /// # Errors
    /// When it is further from zero than anything that could be replied.
    pub(crate) fn of_count(count: i64) -> Result<Sample, CmdError> {
        match count {
            0.. => Ok(Sample::Distinct(usize::try_from(count).unwrap_or(usize::MAX))),
            i64::MIN => Err(CmdError::CountOutOfRange),
            _ if count.unsigned_abs() > REPEATING_MAX => Err(CmdError::OutOfRange),
            _ => Ok(Sample::Repeating(count.unsigned_abs() as usize)),
        }
    }
}

/// `count` distinct elements of a collection of `len`, in no particular order: by walking `all`
/// where a large part is wanted, else by drawing with `draw` until enough are found.
pub(crate) fn distinct<T: Ord>(
    random: &mut Random,
    len: usize,
    count: usize,
    all: impl Iterator<Item = T>,
    draw: impl Fn(u64) -> Option<T>,
) -> Vec<T> {
    if count >= len {
        return all.collect();
    }
    if count.saturating_mul(3) > len {
        let mut drawn: Vec<T> = all.collect();
        for index in 0..count {
            let other = index + random.below((drawn.len() - index) as u64) as usize;
            drawn.swap(index, other);
        }
        drawn.truncate(count);
        return drawn;
    }
    let mut drawn = BTreeSet::new();
    while drawn.len() < count {
        match draw(random.next_u64()) {
            Some(element) => drawn.insert(element),
            None => break,
        };
    }
    drawn.into_iter().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_distinct_sample_has_the_size_that_was_asked_for() {
        let mut random = Random::new(1);
        for (why, count, want) in
            [("few", 3, 3), ("most", 80, 80), ("all", 100, 100), ("more than all", 500, 100)]
        {
            let mut drawn =
                distinct(&mut random, 100, count, 0..100u64, |number| Some(number % 100));
            drawn.sort_unstable();
            drawn.dedup();
            assert_eq!(drawn.len(), want, "{why}");
        }
    }

    #[test]
    fn counts_are_bounded() {
        assert_eq!(Sample::of_count(-5), Ok(Sample::Repeating(5)));
        assert_eq!(Sample::of_count(i64::MIN), Err(CmdError::CountOutOfRange));
        assert_eq!(Sample::of_count(i64::MIN + 1), Err(CmdError::OutOfRange));
    }
}
