//! Carries out a plan of faults, and counts what struck.
#![cfg(test)]

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::time::Instant;

use super::plan::{Server, Strike, Timed};
use super::proxy::{Cut, Proxy};
use super::scene::Scene;
use crate::support::servers::to_redis;

/// How often each kind of fault struck.
pub(crate) type Faults = BTreeMap<&'static str, u64>;

/// Strikes as planned, from `start` on, and returns when the time of the run is over.
pub(crate) async fn strike_all(
    scene: &mut Scene,
    plan: &[Timed],
    start: Instant,
    length: Duration,
) -> Faults {
    let mut faults = Faults::new();
    for (at, strike) in plan {
        tokio::time::sleep_until(start + *at).await;
        strike_once(scene, *strike).await;
        if let Some(name) = strike.name() {
            *faults.entry(name).or_default() += 1;
        }
    }
    tokio::time::sleep_until(start + length).await;
    let proxies = |of: fn(&Proxy) -> u64| -> u64 {
        let lines = scene.hosts.iter();
        lines
            .map(|lines| of(&lines.postgres) + of(&lines.redis))
            .sum()
    };
    // What was armed may not have met a connection to strike.
    faults.remove("cut_after_commit");
    faults.remove("postgres_cut");
    faults.remove("redis_cut");
    let commits = proxies(|proxy| proxy.struck().commits.load(Ordering::Relaxed));
    let bytes = proxies(|proxy| proxy.struck().bytes.load(Ordering::Relaxed));
    for (name, count) in [("cut_after_commit", commits), ("cut_after_bytes", bytes)] {
        if count > 0 {
            faults.insert(name, count);
        }
    }
    faults
}

async fn strike_once(scene: &mut Scene, strike: Strike) {
    match strike {
        Strike::Kill(seat) => scene.seats[seat].kill(),
        Strike::Start(seat) => scene.seats[seat].start(),
        Strike::Stop(seat) => scene.seats[seat].stop(),
        Strike::Continue(seat) => scene.seats[seat].go_on(),
        Strike::RedisKill => scene.redis.kill(),
        Strike::RedisStart => scene.redis.restart().await,
        Strike::RedisStartEmpty => scene.redis.restart_empty().await,
        Strike::RedisFlush => flush(scene).await,
        Strike::PostgresStop => scene.postgres.stop().await,
        Strike::PostgresStopAtOnce => scene.postgres.stop_at_once(),
        Strike::PostgresStart => scene.postgres.restart().await,
        Strike::PostgresStall => scene.postgres.stall(),
        Strike::PostgresContinue => scene.postgres.go_on(),
        Strike::PostgresCrash => scene.postgres.crash(),
        Strike::Line(host, server, mode) => line(scene, host, server).set(mode),
        Strike::ResetAll(host, server) => line(scene, host, server).reset_all(),
        Strike::CutAfterBytes(host, server, bytes) => {
            line(scene, host, server).arm(Cut::AfterBytes(bytes));
        }
        Strike::CutAfterCommit(host) => {
            line(scene, host, Server::Postgres).arm(Cut::AfterCommit);
        }
    }
}

fn line(scene: &Scene, host: usize, server: Server) -> &Proxy {
    let lines = &scene.hosts[host];
    match server {
        Server::Postgres => &lines.postgres,
        Server::Redis => &lines.redis,
    }
}

async fn flush(scene: &Scene) {
    // Past the proxies it answers, unless it is being restarted: then it is empty or keeps what it has.
    if let Ok(mut connection) = to_redis(&scene.redis.url()).await {
        redis::cmd("FLUSHALL")
            .exec_async(&mut connection)
            .await
            .unwrap();
    }
}
