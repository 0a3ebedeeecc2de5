//! How many entries are read at a time: fewer where they are large, or where so many failed.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// One accepted batch; beyond this a batch gains nothing more.
const ENTRIES_MAX: usize = 500;
/// What a reader means to hold at a time; a single entry may be larger.
const BYTES_MAX: usize = 16 << 20;

/// The room of one kind's reader; clones are the same one.
#[derive(Clone, Debug)]
pub(super) struct Room(Arc<AtomicUsize>);

impl Default for Room {
    fn default() -> Self {
        Self(Arc::new(AtomicUsize::new(ENTRIES_MAX)))
    }
}

impl Room {
    /// How many entries the next read asks for; at least one.
    pub(super) fn entries(&self) -> usize {
        self.0.load(Ordering::Relaxed)
    }

    /// After so many entries of so many bytes were taken in: as many of their size as fit, and at most twice as many as
    /// last time.
    pub(super) fn fit(&self, entries: usize, bytes: usize) {
        if entries == 0 {
            return;
        }
        let each = bytes.div_ceil(entries).max(1);
        let twice = self.entries().saturating_mul(2);
        let fitting = BYTES_MAX.checked_div(each).unwrap_or(ENTRIES_MAX);
        self.set(fitting.min(twice));
    }

    /// After a read or what followed it failed: so many may have been too much for a time limit on the way.
    pub(super) fn halve(&self) {
        self.set(self.entries().checked_div(2).unwrap_or(1));
    }

    fn set(&self, entries: usize) {
        self.0
            .store(entries.clamp(1, ENTRIES_MAX), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_entries_are_read_few_at_a_time() {
        let table = [
            // entries, bytes of each, entries of the next read
            (500, 300, 500),
            (500, 32 << 10, 500),
            (100, 64 << 10, 256),
            (100, 256 << 10, 64),
            (1, 16 << 20, 1),
            (1, 64 << 20, 1),
            (0, 0, 500),
        ];
        for (count, bytes, next) in table {
            let room = Room::default();
            room.fit(count, count * bytes);
            assert_eq!(room.entries(), next, "{count} of {bytes} bytes");
        }
    }

    #[test]
    fn failures_halve_what_is_read_down_to_one_and_successes_double_it_again() {
        let room = Room::default();
        for left in [250, 125, 62, 31, 15, 7, 3, 1, 1] {
            room.halve();
            assert_eq!(room.entries(), left);
        }
        for right in [2, 4, 8, 16, 32, 64, 128, 256, 500, 500] {
            room.fit(1, 300);
            assert_eq!(room.entries(), right);
        }
    }
}
