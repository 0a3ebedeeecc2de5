//! Runs by seed: a few fixed ones with every change, and as many as wanted by `scripts/chaos`.
#![cfg(test)]

use std::env;
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

use super::chance::Chance;
use super::check::{check, drain};
use super::load::Upstream;
use super::nemesis::strike_all;
use super::orders;
use super::plan::{Strike, plan};
use super::report::{Findings, Report, tell};
use super::scene::{Scene, Setting};

const LENGTH: Duration = Duration::from_secs(20);

/// What a daemon says when a commit of a worker that lost its lease was refused.
const STALE_WORDS: [&str; 2] = ["lost its lease and recorded nothing", "had lost its lease"];

/// One run: faults, healing, draining, checks.
async fn run(seed: u64, length: Duration) -> Report {
    let mut chance = Chance::new(seed);
    let setting = Setting::drawn(&mut chance.fork());
    let mut scene = Scene::set(setting, &mut chance.fork()).await;
    let mut findings = Findings::default();
    let begins_at = scene.begins_at;
    let plans = orders::draw(&mut chance.fork(), length, begins_at);
    orders::open_all(&scene, &plans, &mut chance.fork(), begins_at).await;
    let strikes = plan(&mut chance.fork(), length, scene.hosts.len());
    let upstream = Upstream::of(&scene, chance.fork());
    scene.redis_was_emptied = strikes.iter().any(|(_, strike)| match strike {
        Strike::RedisKill => !setting.is_redis_durable,
        Strike::RedisFlush | Strike::RedisStartEmpty => true,
        Strike::Kill(_)
        | Strike::Start(_)
        | Strike::Stop(_)
        | Strike::Continue(_)
        | Strike::RedisStart
        | Strike::PostgresStop
        | Strike::PostgresStopAtOnce
        | Strike::PostgresStart
        | Strike::PostgresStall
        | Strike::PostgresContinue
        | Strike::PostgresCrash
        | Strike::Line(..)
        | Strike::ResetAll(..)
        | Strike::CutAfterBytes(..)
        | Strike::CutAfterCommit(_) => false,
    });

    scene.start_all().await;
    let start = Instant::now();
    let sandbox = scene.sandbox.handle.clone();
    let (faults, ()) = tokio::join!(
        strike_all(&mut scene, &strikes, start, length),
        upstream.ask_all(&plans, &sandbox, start, length),
    );
    for seat in &mut scene.seats {
        if seat.has_died() {
            findings.other(format!("a daemon ended by itself: {}", seat.url()));
        }
    }
    scene.heal().await;
    let drained = drain(&scene, &upstream, &plans, start, &mut findings).await;
    let story = check(&scene, &plans, &upstream, &mut findings).await;
    for seat in &mut scene.seats {
        if !seat.end().await {
            findings.other(format!("a daemon did not end well: {}", seat.url()));
        }
    }
    let memory = upstream.memory();
    let logs = scene.logs();
    let is_stale = |line: &&str| STALE_WORDS.iter().any(|words| line.contains(words));
    let report = Report {
        seed,
        length,
        hosts: scene.hosts.len(),
        is_redis_durable: setting.is_redis_durable,
        jobs: story.jobs,
        tries: memory.tries,
        unanswered: memory.unanswered,
        resent: drained.resent,
        faults,
        retries: story.retries,
        rescues: story.rescues,
        stale_refused: logs.lines().filter(is_stale).count(),
        recovery: story.recovery,
        drained: drained.took,
        findings,
    };
    if !report.findings.all().is_empty() {
        let folder = keep(&scene, &report, &memory.history).await;
        tell(&format!("kept in {}", folder.display()));
    }
    report
}

/// Keeps what tells how it came: the report, upstream's history, the history of all jobs and every log.
async fn keep(scene: &Scene, report: &Report, history: &[String]) -> PathBuf {
    let parent = env::var_os("CLEARDAY_CHAOS_KEEP").map_or_else(env::temp_dir, PathBuf::from);
    let name = format!("clearday-chaos-seed-{}-{}", report.seed, std::process::id());
    let folder = parent.join(name);
    fs::create_dir_all(&folder).unwrap();
    let words = format!("{report}\n{}\n", report.findings.all().join("\n"));
    fs::write(folder.join("report.txt"), words).unwrap();
    fs::write(folder.join("report.json"), report.json().to_string()).unwrap();
    fs::write(folder.join("upstream.txt"), history.join("\n")).unwrap();
    fs::write(folder.join("history.txt"), super::check::story(scene).await).unwrap();
    for entry in fs::read_dir(scene.folder.path()).unwrap() {
        let path = entry.unwrap().path();
        if path.is_file() {
            fs::copy(&path, folder.join(path.file_name().unwrap())).unwrap();
        }
    }
    folder
}

async fn nothing_is_lost(seed: u64, length: Duration) -> Report {
    let report = Box::pin(run(seed, length)).await;
    let is_json = env::var_os("CLEARDAY_CHAOS_JSON").is_some();
    if is_json {
        tell(&report.json().to_string());
    } else {
        tell(&report.to_string());
        for finding in report.findings.all() {
            tell(&format!("  {finding}"));
        }
    }
    report
}

fn assert_nothing(report: &Report) {
    let findings = report.findings.all();
    assert!(findings.is_empty(), "{report}\n{}", findings.join("\n"));
}

macro_rules! seeds {
    ($($name:ident: $seed:expr;)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
        async fn $name() {
            assert_nothing(&nothing_is_lost($seed, LENGTH).await);
        })*
    };
}

seeds! {
    seed_1_loses_nothing: 1;
    seed_2_loses_nothing: 2;
    seed_3_loses_nothing: 3;
}

/// What `scripts/chaos` runs.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
#[ignore = "scripts/chaos says which seed and for how long"]
async fn wanted() {
    let number =
        |name: &str, otherwise: u64| env::var(name).map_or(otherwise, |text| text.parse().unwrap());
    let first = number("CLEARDAY_CHAOS_SEED", 1);
    let length = Duration::from_secs(number("CLEARDAY_CHAOS_SECONDS", LENGTH.as_secs()));
    let runs = number("CLEARDAY_CHAOS_RUNS", 1);
    let mut bad = Vec::new();
    for seed in first..first + runs {
        let report = nothing_is_lost(seed, length).await;
        if !report.findings.all().is_empty() {
            bad.push(seed);
        }
    }
    assert!(bad.is_empty(), "findings in the runs of the seeds {bad:?}");
}
