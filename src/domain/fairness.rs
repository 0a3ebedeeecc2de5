//! Who is served next when more work is due than there is room for.
//!
//! A partition (a merchant, a channel, a partner) that was served little lately goes first, until it has had as much
//! as the others: so a burst of one merchant waits behind itself and not in front of the others, and one who has long
//! been quiet is served at once.

use std::collections::BTreeMap;

use chrono::{DateTime, TimeDelta, Utc};

/// What was served counts half after this long: longer than a burst takes, shorter than a grudge.
const HALF_LIFE: TimeDelta = TimeDelta::seconds(10);
/// After so many half-lives nothing is left of any count.
const HALVINGS_MAX: u32 = 63;

/// How much each partition was served lately.
#[derive(Clone, Debug, Default)]
pub struct Served {
    counts: BTreeMap<String, u64>,
    halved_at: Option<DateTime<Utc>>,
}

/// A partition with due work.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Candidate {
    /// Its name; the work of nobody in particular is a partition too.
    pub partition: String,
    /// How much of its work may be taken now.
    pub takes_max: usize,
}

impl Served {
    /// Forgets by the time that has passed.
    pub fn fade(&mut self, now: DateTime<Utc>) {
        let since = *self.halved_at.get_or_insert(now);
        let halvings = now
            .signed_duration_since(since)
            .num_seconds()
            .checked_div(HALF_LIFE.num_seconds())
            .and_then(|halvings| u32::try_from(halvings).ok())
            .unwrap_or(0);
        if halvings == 0 {
            // A clock that was set back starts anew from where it stands.
            self.halved_at = Some(since.min(now));
            return;
        }
        self.counts.retain(|_, count| {
            *count >>= halvings.min(HALVINGS_MAX);
            *count > 0
        });
        self.halved_at = Some(now);
    }

    /// Notes that so much of a partition's work was taken.
    pub fn note(&mut self, partition: &str, taken: usize) {
        let taken = u64::try_from(taken).unwrap_or(u64::MAX);
        match self.counts.get_mut(partition) {
            Some(count) => *count = count.saturating_add(taken),
            None => {
                self.counts.insert(partition.to_owned(), taken);
            }
        }
    }

    fn of(&self, partition: &str) -> u64 {
        self.counts.get(partition).copied().unwrap_or(0)
    }

    /// How much of each candidate's work is taken into `room`, in the order of the candidates: one at a time, from
    /// whoever was served least, the first of those who were served alike.
    pub fn shares(&self, candidates: &[Candidate], room: usize) -> Vec<usize> {
        let mut shares = vec![0_usize; candidates.len()];
        // By what it has had, then by its place.
        let mut turns: std::collections::BTreeSet<(u64, usize)> = candidates
            .iter()
            .enumerate()
            .filter(|(_, candidate)| candidate.takes_max > 0)
            .map(|(place, candidate)| (self.of(&candidate.partition), place))
            .collect();
        let mut left = room;
        while left > 0 {
            let Some((had, place)) = turns.pop_first() else {
                break;
            };
            let (Some(share), Some(candidate)) = (shares.get_mut(place), candidates.get(place))
            else {
                break;
            };
            *share = share.saturating_add(1);
            left = left.saturating_sub(1);
            if *share < candidate.takes_max {
                turns.insert((had.saturating_add(1), place));
            }
        }
        shares
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn noon() -> DateTime<Utc> {
        "2026-03-02T12:00:00Z".parse().unwrap()
    }

    fn candidates(names: &[(&str, usize)]) -> Vec<Candidate> {
        names
            .iter()
            .map(|(name, takes_max)| Candidate {
                partition: (*name).to_owned(),
                takes_max: *takes_max,
            })
            .collect()
    }

    #[test]
    fn those_who_were_served_alike_share_alike() {
        let both = candidates(&[("a", 100), ("b", 100)]);
        assert_eq!(Served::default().shares(&both, 17), [9, 8]);
    }

    #[test]
    fn who_was_served_much_waits_for_who_was_not() {
        let mut served = Served::default();
        served.note("a", 1_000);
        let both = candidates(&[("a", 100), ("b", 100)]);
        assert_eq!(served.shares(&both, 16), [0, 16]);
        served.note("b", 990);
        assert_eq!(served.shares(&both, 16), [3, 13]);
    }

    #[test]
    fn room_that_one_cannot_use_is_the_other_s() {
        let both = candidates(&[("a", 100), ("b", 2)]);
        assert_eq!(Served::default().shares(&both, 16), [14, 2]);
    }

    #[test]
    fn a_grudge_is_forgotten() {
        let mut served = Served::default();
        served.fade(noon());
        served.note("a", 1_000);
        served.fade(noon() + (HALF_LIFE));
        assert_eq!(served.of("a"), 500);
        served.fade(noon() + (HALF_LIFE * 20));
        assert_eq!(served.of("a"), 0);
    }

    #[test]
    fn a_clock_that_is_set_back_does_not_keep_a_grudge_for_ever() {
        let mut served = Served::default();
        served.fade(noon());
        served.note("a", 1_000);
        let earlier = noon() - TimeDelta::hours(1);
        served.fade(earlier);
        served.fade(earlier + HALF_LIFE * 20);
        assert_eq!(served.of("a"), 0);
    }

    proptest! {
        #[test]
        fn no_room_is_wasted_and_nobody_takes_more_than_they_may(
            who in proptest::collection::vec((0_u64..50, 0_usize..20), 0..12),
            room in 0_usize..100,
        ) {
            let mut served = Served::default();
            let mut due = Vec::new();
            for (number, (had, takes_max)) in who.iter().enumerate() {
                let partition = number.to_string();
                served.note(&partition, usize::try_from(*had).unwrap());
                due.push(Candidate { partition, takes_max: *takes_max });
            }
            let shares = served.shares(&due, room);
            let taken: usize = shares.iter().sum();
            let wanted: usize = due.iter().map(|it| it.takes_max).sum();
            prop_assert_eq!(taken, room.min(wanted));
            for (share, candidate) in shares.iter().zip(&due) {
                prop_assert!(*share <= candidate.takes_max);
            }
            // Who could have had more had at least as much as anybody who was given something, less one.
            for (share, candidate) in shares.iter().zip(&due) {
                if *share < candidate.takes_max {
                    let had = |name: &str, share: usize| {
                        served.of(name).saturating_add(u64::try_from(share).unwrap())
                    };
                    let level = had(&candidate.partition, *share);
                    for (other_share, other) in shares.iter().zip(&due) {
                        if *other_share > 0 {
                            prop_assert!(had(&other.partition, *other_share) <= level.saturating_add(1));
                        }
                    }
                }
            }
        }
    }
}
