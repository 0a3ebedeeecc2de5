//! What becomes of ticks that are due together, because nobody looked when they came.

use chrono::{DateTime, TimeDelta, Utc};

use crate::domain::words::words;

words! {
    /// What became of a tick; each has exactly one fate.
    TickFate {
        /// Its job was started.
        Fired = "fired",
        /// A later tick that was due by then fired for it.
        Coalesced = "coalesced",
        /// It came too late for its schedule, or its job was refused.
        Skipped = "skipped",
        /// There were more before it than its schedule catches up with.
        Missed = "missed",
    }
    "fired, coalesced, skipped, missed"
}

/// How a schedule catches up after downtime.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum CatchUp {
    /// The latest tick fires for all of them.
    #[default]
    Coalesce,
    /// Each fires, but not more than the newest so many.
    All {
        /// So many.
        most: usize,
    },
    /// What is more than [`LATE_AFTER`] late is skipped.
    Skip,
}

/// One firing speaks for no more than so many before it; beyond them somebody should look.
const COALESCED_MAX: usize = 1_000;

/// A tick decided no later than this after its time is on time: the clock is read every second.
pub const LATE_AFTER: TimeDelta = TimeDelta::minutes(1);

impl CatchUp {
    /// How many of the newest ticks are decided one by one.
    pub const fn newest_max(self) -> usize {
        match self {
            Self::Coalesce => COALESCED_MAX,
            Self::All { most } => most,
            Self::Skip => 1,
        }
    }

    /// The fate of every tick before those.
    pub const fn fate_beyond(self) -> TickFate {
        match self {
            Self::Coalesce | Self::All { .. } => TickFate::Missed,
            Self::Skip => TickFate::Skipped,
        }
    }

    /// The fates of the newest ticks, which are ascending; what fires may still be refused.
    pub fn decide_newest(self, due: &[DateTime<Utc>], now: DateTime<Utc>) -> Vec<TickFate> {
        let latest = due.last();
        let decide = |tick: &DateTime<Utc>| match self {
            Self::All { .. } => TickFate::Fired,
            Self::Coalesce if latest == Some(tick) => TickFate::Fired,
            Self::Coalesce => TickFate::Coalesced,
            Self::Skip if now.signed_duration_since(tick) <= LATE_AFTER => TickFate::Fired,
            Self::Skip => TickFate::Skipped,
        };
        due.iter().map(decide).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_way_of_catching_up_is_one_row() {
        let now: DateTime<Utc> = "2026-03-02T12:00:30Z".parse().unwrap();
        let ago = |seconds| now - TimeDelta::seconds(seconds);
        let table: Vec<String> = [CatchUp::Coalesce, CatchUp::All { most: 3 }, CatchUp::Skip]
            .into_iter()
            .map(|way| {
                let told = |due: &[DateTime<Utc>]| {
                    let fates = way.decide_newest(due, now);
                    let words: Vec<&str> = fates.into_iter().map(TickFate::as_str).collect();
                    words.join(" ")
                };
                format!(
                    "{way:?}: beyond {} {}; late {}; on time {}; both {}",
                    way.newest_max(),
                    way.fate_beyond(),
                    told(&[ago(61)]),
                    told(&[ago(60)]),
                    told(&[ago(90), ago(30)]),
                )
            })
            .collect();
        assert_eq!(
            table.join("\n"),
            "\
Coalesce: beyond 1000 missed; late fired; on time fired; both coalesced fired
All { most: 3 }: beyond 3 missed; late fired; on time fired; both fired fired
Skip: beyond 1 skipped; late skipped; on time fired; both skipped fired"
        );
        assert!(CatchUp::Coalesce.decide_newest(&[], now).is_empty());
    }
}
