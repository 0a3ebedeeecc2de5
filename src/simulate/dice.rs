//! Chance, from a seed: the same seed draws the same.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

/// A source of chance of its own; what one draws does not change what another does.
#[derive(Debug)]
pub(super) struct Dice(StdRng);

/// What is drawn for: each has its own sequence, so that a fault that is left out changes nothing else by itself.
#[derive(Clone, Copy, Debug)]
pub(super) enum Purpose {
    /// What happens next.
    Order,
    /// What goes wrong.
    Faults,
    /// What people and systems outside do.
    World,
    /// How fast messages and requests travel.
    Travel,
}

impl Dice {
    pub(super) fn new(seed: u64, purpose: Purpose) -> Self {
        let salt: u64 = match purpose {
            Purpose::Order => 0x6f72_6465,
            Purpose::Faults => 0x6661_756c,
            Purpose::World => 0x776f_726c,
            Purpose::Travel => 0x7472_6176,
        };
        Self(StdRng::seed_from_u64(spread(seed) ^ salt))
    }

    /// What is drawn for at one place, however much was drawn at others.
    pub(super) fn at(seed: u64, place: &str) -> Self {
        // FNV-1a.
        let salt = place
            .bytes()
            .fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
                (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
            });
        Self(StdRng::seed_from_u64(spread(seed) ^ salt))
    }

    /// With a seed that was drawn.
    pub(super) fn of(seed: u64) -> Self {
        Self(StdRng::seed_from_u64(seed))
    }

    /// A number from `low` to `high`, both included.
    pub(super) fn between(&mut self, low: i64, high: i64) -> i64 {
        self.0.random_range(low..=high.max(low))
    }

    /// A number below `count`, or zero.
    pub(super) fn below(&mut self, count: usize) -> usize {
        self.0.random_range(0..count.max(1))
    }

    /// Whether something happens that happens so many times in a thousand.
    pub(super) fn happens(&mut self, permille: u32) -> bool {
        self.0.random_range(0..1_000) < permille
    }

    /// One of these.
    pub(super) fn pick<'a, T>(&mut self, of: &'a [T]) -> Option<&'a T> {
        of.get(self.below(of.len()))
    }

    /// A new seed.
    pub(super) fn seed(&mut self) -> u64 {
        self.0.random()
    }
}

/// Neighbouring seeds have little in common.
const fn spread(seed: u64) -> u64 {
    seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}
