//! Numbers drawn from a seed: the same seed gives the same plan, on every machine and in every release.
#![cfg(test)]

use std::time::Duration;

/// `SplitMix64`: small, and fixed here so that no dependency's new version changes what a seed means.
#[derive(Clone, Debug)]
pub(crate) struct Chance(u64);

impl Chance {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Another stream of numbers, so that drawing more in one place changes nothing in another.
    pub(crate) fn fork(&mut self) -> Self {
        Self(self.next())
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }

    /// Any number below `end`.
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        self.next() % end.max(1)
    }

    /// Any number of the half-open range.
    pub(crate) fn between(&mut self, from: u64, until: u64) -> u64 {
        from + self.below(until.saturating_sub(from))
    }

    pub(crate) fn one_in(&mut self, of: u64) -> bool {
        self.below(of) == 0
    }

    pub(crate) fn millis(&mut self, from: u64, until: u64) -> Duration {
        Duration::from_millis(self.between(from, until))
    }

    pub(crate) fn index(&mut self, length: usize) -> usize {
        usize::try_from(self.below(u64::try_from(length).unwrap())).unwrap()
    }

    pub(crate) fn pick<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.index(of.len())]
    }
}

#[test]
fn a_seed_gives_the_same_numbers_for_ever() {
    let mut chance = Chance::new(1);
    let drawn = [chance.next(), chance.next(), chance.below(10)];
    assert_eq!(
        drawn,
        [10_451_216_379_200_822_465, 13_757_245_211_066_428_519, 0]
    );
}
