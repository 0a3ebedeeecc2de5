//! What a run came to, for people and for machines.
#![cfg(test)]

use std::env;
use std::fmt;
use std::fs::File;
use std::io::Write as _;
use std::time::Duration;

use serde_json::{Value, json};

use super::nemesis::Faults;

/// What must not be. Empty after a good run.
#[derive(Clone, Debug, Default)]
pub(crate) struct Findings {
    pub(crate) lost: Vec<String>,
    pub(crate) duplicates: Vec<String>,
    pub(crate) unexpected: Vec<String>,
    pub(crate) stale_accepted: Vec<String>,
    pub(crate) others: Vec<String>,
}

impl Findings {
    pub(crate) fn lost(&mut self, words: String) {
        self.lost.push(words);
    }

    pub(crate) fn duplicate(&mut self, words: String) {
        self.duplicates.push(words);
    }

    pub(crate) fn unexpected(&mut self, words: String) {
        self.unexpected.push(words);
    }

    pub(crate) fn stale_accepted(&mut self, words: String) {
        self.stale_accepted.push(words);
    }

    pub(crate) fn other(&mut self, words: String) {
        self.others.push(words);
    }

    /// Every one with the name of its kind.
    pub(crate) fn all(&self) -> Vec<String> {
        let kinds = [
            ("lost", &self.lost),
            ("duplicate", &self.duplicates),
            ("unexpected", &self.unexpected),
            ("stale accepted", &self.stale_accepted),
            ("other", &self.others),
        ];
        let named = |(kind, words): (&str, &Vec<String>)| -> Vec<String> {
            words.iter().map(|it| format!("{kind}: {it}")).collect()
        };
        kinds.into_iter().flat_map(named).collect()
    }
}

/// How soon what killed daemons held was leased again.
#[derive(Clone, Debug, Default)]
pub(crate) struct Recovery {
    /// Its free lock proved that the daemon was dead.
    pub(crate) by_sign_of_life: Vec<Duration>,
    /// Its lease lapsed.
    pub(crate) by_lapsed_lease: Vec<Duration>,
}

/// What a run came to.
#[derive(Clone, Debug)]
pub(crate) struct Report {
    pub(crate) seed: u64,
    pub(crate) length: Duration,
    pub(crate) hosts: usize,
    pub(crate) is_redis_durable: bool,
    pub(crate) jobs: usize,
    pub(crate) tries: u64,
    pub(crate) unanswered: u64,
    pub(crate) resent: usize,
    pub(crate) faults: Faults,
    pub(crate) retries: usize,
    pub(crate) rescues: usize,
    pub(crate) stale_refused: usize,
    pub(crate) recovery: Recovery,
    pub(crate) drained: Duration,
    pub(crate) findings: Findings,
}

impl Report {
    pub(crate) fn json(&self) -> Value {
        let longest = |all: &[Duration]| all.iter().max().map(Duration::as_millis);
        let Findings {
            lost,
            duplicates,
            unexpected,
            stale_accepted,
            others,
        } = &self.findings;
        json!({
            "seed": self.seed,
            "seconds": self.length.as_secs(),
            "hosts": self.hosts,
            "redis_is_durable": self.is_redis_durable,
            "jobs": self.jobs,
            "submissions": self.tries,
            "submissions_unanswered": self.unanswered,
            "resent_after_redis_lost_them": self.resent,
            "faults": self.faults,
            "retries": self.retries,
            "rescues": self.rescues,
            "stale_refused": self.stale_refused,
            "stale_accepted": stale_accepted.len(),
            "lost": lost.len(),
            "duplicates": duplicates.len(),
            "unexpected": unexpected.len(),
            "other_findings": others.len(),
            "again_by_sign_of_life": self.recovery.by_sign_of_life.len(),
            "again_by_sign_of_life_ms_max": longest(&self.recovery.by_sign_of_life),
            "again_by_lapsed_lease": self.recovery.by_lapsed_lease.len(),
            "again_by_lapsed_lease_ms_max": longest(&self.recovery.by_lapsed_lease),
            "drained_ms": self.drained.as_millis(),
            "findings": self.findings.all(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let faults: Vec<String> = self
            .faults
            .iter()
            .map(|(name, count)| format!("{name} {count}"))
            .collect();
        write!(
            f,
            "seed {}: {} s, {} hosts, Redis {}, {} jobs, {} submissions ({} unanswered, {} sent again after Redis lost them); \
             faults: {}; {} retries, {} rescues, {} stale commits refused; \
             lost {}, duplicates {}, unexpected {}, stale accepted {}, other findings {}; \
             in hand at SIGKILL and leased again: {}; drained {} ms after healing",
            self.seed,
            self.length.as_secs(),
            self.hosts,
            if self.is_redis_durable {
                "durable"
            } else {
                "in memory"
            },
            self.jobs,
            self.tries,
            self.unanswered,
            self.resent,
            faults.join(", "),
            self.retries,
            self.rescues,
            self.stale_refused,
            self.findings.lost.len(),
            self.findings.duplicates.len(),
            self.findings.unexpected.len(),
            self.findings.stale_accepted.len(),
            self.findings.others.len(),
            self.recovery,
            self.drained.as_millis(),
        )
    }
}

impl fmt::Display for Recovery {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let told = |all: &[Duration], how: &str| {
            let longest = all.iter().max().copied().unwrap_or_default();
            match all.len() {
                0 => format!("none {how}"),
                count => format!("{count} {how} within {} ms", longest.as_millis()),
            }
        };
        let proved = told(&self.by_sign_of_life, "by the sign of life");
        let lapsed = told(&self.by_lapsed_lease, "by a lapsed lease");
        write!(f, "{proved}, {lapsed}")
    }
}

/// Says something on the way that is wanted: the file that `scripts/chaos` names, or standard error.
pub(crate) fn tell(line: &str) {
    let told = match env::var_os("CLEARDAY_CHAOS_OUT") {
        Some(path) => {
            let file = File::options().append(true).create(true).open(path);
            file.and_then(|mut file| writeln!(file, "{line}"))
        }
        None => writeln!(std::io::stderr(), "{line}"),
    };
    told.unwrap();
}
