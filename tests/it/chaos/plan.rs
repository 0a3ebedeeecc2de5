//! What strikes when, drawn from a seed.
//!
//! Every thing that can be struck has a lane of its own, on which one fault follows the other; faults of different
//! lanes overlap. The first faults are given: two SIGKILLs and one of the servers in every run.
#![cfg(test)]

use std::time::Duration;

use super::chance::Chance;
use super::proxy::Mode;
use super::scene::{DAEMONS, LEASE_SECONDS};

/// One thing that the nemesis does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Strike {
    /// SIGKILL.
    Kill(usize),
    /// A daemon where one was killed.
    Start(usize),
    /// SIGSTOP.
    Stop(usize),
    /// SIGCONT.
    Continue(usize),
    RedisKill,
    /// It comes back with what it kept, which is nothing unless it is durable.
    RedisStart,
    /// It comes back without anything.
    RedisStartEmpty,
    RedisFlush,
    /// Connections are cut off, then it stops.
    PostgresStop,
    /// Its immediate shutdown: it recovers when it starts.
    PostgresStopAtOnce,
    PostgresStart,
    /// All its processes are stopped.
    PostgresStall,
    PostgresContinue,
    /// One of its processes is killed, and it recovers by itself.
    PostgresCrash,
    /// A host's way to a server changes.
    Line(usize, Server, Mode),
    /// Every connection of a host to a server is reset.
    ResetAll(usize, Server),
    /// A connection is reset in the middle of an answer.
    CutAfterBytes(usize, Server, u64),
    /// A COMMIT arrives and its answer does not come back.
    CutAfterCommit(usize),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Server {
    Postgres,
    Redis,
}

impl Strike {
    /// What a report counts it as; what only ends a fault is not counted.
    pub(crate) const fn name(self) -> Option<&'static str> {
        Some(match self {
            Self::Kill(_) => "sigkill",
            Self::Stop(_) => "sigstop",
            Self::RedisKill => "redis_kill",
            Self::RedisFlush => "redis_flushall",
            Self::PostgresStop => "postgres_stop_fast",
            Self::PostgresStopAtOnce => "postgres_stop_immediate",
            Self::PostgresStall => "postgres_stall",
            Self::PostgresCrash => "postgres_crash",
            Self::Line(_, Server::Postgres, Mode::Slow { .. }) => "postgres_slow",
            Self::Line(_, Server::Postgres, Mode::Stall) => "postgres_line_stall",
            Self::Line(_, Server::Postgres, Mode::BlackHole) => "postgres_black_hole",
            Self::Line(_, Server::Redis, Mode::Slow { .. }) => "redis_slow",
            Self::Line(_, Server::Redis, Mode::Stall) => "redis_line_stall",
            Self::Line(_, Server::Redis, Mode::BlackHole) => "redis_black_hole",
            Self::ResetAll(_, Server::Postgres) => "postgres_reset",
            Self::ResetAll(_, Server::Redis) => "redis_reset",
            Self::CutAfterBytes(_, Server::Postgres, _) => "postgres_cut",
            Self::CutAfterBytes(_, Server::Redis, _) => "redis_cut",
            Self::CutAfterCommit(_) => "cut_after_commit",
            Self::RedisStartEmpty => "redis_empty",
            Self::Start(_)
            | Self::Continue(_)
            | Self::RedisStart
            | Self::PostgresStart
            | Self::PostgresContinue
            | Self::Line(_, _, Mode::Pass) => return None,
        })
    }

    /// Whether a Redis or a Postgres is struck.
    pub(crate) const fn is_of_a_server(self) -> bool {
        matches!(
            self,
            Self::RedisKill
                | Self::RedisFlush
                | Self::PostgresStop
                | Self::PostgresStopAtOnce
                | Self::PostgresStall
                | Self::PostgresCrash
        )
    }
}

/// A strike and when it comes, from the beginning of the run.
pub(crate) type Timed = (Duration, Strike);

/// A plan for a run of this length over so many hosts, in the order of time.
pub(crate) fn plan(chance: &mut Chance, length: Duration, hosts: usize) -> Vec<Timed> {
    let mut plan = Vec::new();
    for seat in 0..DAEMONS {
        daemon_lane(&mut plan, &mut chance.fork(), length, seat);
    }
    server_lane(&mut plan, &mut chance.fork(), length);
    for host in 0..hosts {
        for server in [Server::Postgres, Server::Redis] {
            line_lane(&mut plan, &mut chance.fork(), length, (host, server));
        }
    }
    plan.retain(|(at, _)| *at < length);
    plan.sort_by_key(|(at, _)| *at);
    plan
}

/// The first two daemons are killed at first, whatever happens to them later.
fn daemon_lane(plan: &mut Vec<Timed>, chance: &mut Chance, length: Duration, seat: usize) {
    let mut at = chance.millis(1_500, 6_000);
    let mut is_first = true;
    while at < length {
        let is_kill = (is_first && seat < 2) || chance.below(5) < 3;
        let (strike, end, lasts) = if is_kill {
            let lasts = chance.millis(100, 5_000);
            (Strike::Kill(seat), Strike::Start(seat), lasts)
        } else {
            let lease_ms = LEASE_SECONDS * 1_000;
            let lasts = chance.millis(lease_ms + 500, 2 * lease_ms);
            (Strike::Stop(seat), Strike::Continue(seat), lasts)
        };
        plan.push((at, strike));
        plan.push((at + lasts, end));
        at += lasts + chance.millis(2_000, 8_000);
        is_first = false;
    }
}

fn server_lane(plan: &mut Vec<Timed>, chance: &mut Chance, length: Duration) {
    let mut at = chance.millis(2_000, 7_000);
    while at < length {
        let lasts = match chance.below(10) {
            0..2 => {
                let lasts = chance.millis(100, 4_000);
                plan.push((at, Strike::RedisKill));
                plan.push((at + lasts, Strike::RedisStart));
                lasts
            }
            2 => {
                let lasts = chance.millis(100, 4_000);
                plan.push((at, Strike::RedisKill));
                plan.push((at + lasts, Strike::RedisStartEmpty));
                lasts
            }
            3 => {
                plan.push((at, Strike::RedisFlush));
                Duration::ZERO
            }
            stop @ 4..7 => {
                let lasts = chance.millis(100, 3_000);
                let strike = if stop == 4 {
                    Strike::PostgresStop
                } else {
                    Strike::PostgresStopAtOnce
                };
                plan.push((at, strike));
                plan.push((at + lasts, Strike::PostgresStart));
                lasts
            }
            7..9 => {
                let lasts = chance.millis(500, 6_000);
                plan.push((at, Strike::PostgresStall));
                plan.push((at + lasts, Strike::PostgresContinue));
                lasts
            }
            _ => {
                plan.push((at, Strike::PostgresCrash));
                Duration::from_secs(1)
            }
        };
        at += lasts + chance.millis(2_500, 8_000);
    }
}

fn line_lane(
    plan: &mut Vec<Timed>,
    chance: &mut Chance,
    length: Duration,
    (host, server): (usize, Server),
) {
    let mut at = chance.millis(500, 8_000);
    while at < length {
        let mut lasts = Duration::ZERO;
        let mut change = |plan: &mut Vec<Timed>, chance: &mut Chance, mode: Mode| {
            lasts = chance.millis(500, 5_000);
            plan.push((at, Strike::Line(host, server, mode)));
            plan.push((at + lasts, Strike::Line(host, server, Mode::Pass)));
        };
        match chance.below(8) {
            0 => {
                let mode = Mode::Slow {
                    least: chance.millis(1, 20),
                    most: chance.millis(20, 200),
                };
                change(plan, chance, mode);
            }
            1 => change(plan, chance, Mode::Stall),
            2 => change(plan, chance, Mode::BlackHole),
            3 => plan.push((at, Strike::ResetAll(host, server))),
            4..6 if server == Server::Postgres => plan.push((at, Strike::CutAfterCommit(host))),
            _ => {
                let bytes = chance.between(1, 2_000);
                plan.push((at, Strike::CutAfterBytes(host, server, bytes)));
            }
        }
        at += lasts + chance.millis(1_000, 6_000);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LENGTH: Duration = Duration::from_secs(20);

    #[test]
    fn every_run_has_two_kills_and_a_fault_of_a_server() {
        for seed in 0..1_000 {
            let plan = plan(&mut Chance::new(seed), LENGTH, 3);
            let count = |is_it: fn(Strike) -> bool| {
                plan.iter().filter(|(_, strike)| is_it(*strike)).count()
            };
            assert!(count(|it| matches!(it, Strike::Kill(_))) >= 2, "{seed}");
            assert!(count(Strike::is_of_a_server) >= 1, "{seed}");
        }
    }

    #[test]
    fn a_seed_gives_the_same_plan() {
        let of = |seed| plan(&mut Chance::new(seed), LENGTH, 1);
        assert_eq!(of(7), of(7));
        assert_ne!(of(7), of(8));
    }
}
