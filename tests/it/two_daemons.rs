//! Real processes: two daemons on one Postgres and one Redis, killed and stopped as in production,
//! and the three ways in.
#![cfg(test)]

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use clearday::connectors::sandbox::{Event, Fault, Operation};
use clearday::domain::job::{JobState, Priority};
use clearday::domain::order::OrderState;
use clearday::store::{Store, jobs, rejections};
use clearday_jobs::{JobId, JobKind};
use serde_json::{Value, json};

use crate::support::house::{House, Mode, eventually};
use crate::support::sandbox::reference;
use crate::support::servers::{self, ScratchFolder, TestPostgresServer};

/// Longer than any machine stands still, in seconds: what comes back does so by another sign.
const LONG_LEASE: u32 = 60;
/// A deadline that has passed on any machine's clock.
const PAST: &str = "2026-01-01T00:00:00Z";

/// One `clearday serve` of a test's own; killed with it.
struct Served {
    process: Child,
    url: String,
}

impl Served {
    /// Starts a daemon over the house's database, Redis and sandbox, whose leases last three seconds.
    fn start(house: &House, folder: &ScratchFolder) -> Self {
        Self::start_with(house, folder, 3)
    }

    /// The same with leases of this many seconds.
    fn start_with(house: &House, folder: &ScratchFolder, lease_seconds: u32) -> Self {
        let config = folder.path().join("clearday.toml");
        let locks = folder.path().join("locks");
        let text = format!(
            "[http]\nlisten = \"127.0.0.1:0\"\n\
             [jobs]\nlease_seconds = {lease_seconds}\nheartbeat_seconds = 1\nsweep_seconds = 1\n\
             locks_directory = \"{}\"\n\
             [[channels]]\nname = \"sandbox\"\nconnector = \"sandbox\"\nurl = \"{}\"\n\
             request_timeout_seconds = 20\nprocessing_window_seconds = 1\n",
            locks.display(),
            house.sandbox.base_url()
        );
        std::fs::write(&config, text).unwrap();
        Self::of(clearday(house), &config)
    }

    /// Starts this daemon with this configuration.
    fn of(mut clearday: Command, config: &Path) -> Self {
        let mut process = clearday
            .arg("--config")
            .arg(config)
            .arg("serve")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        let url = line
            .trim()
            .trim_start_matches("clearday serves ")
            .to_owned();
        assert!(
            url.starts_with("http://"),
            "the first line names the page: {line:?}"
        );
        Self { process, url }
    }

    fn signal(&self, name: &str) {
        let sent = Command::new("kill")
            .arg(format!("-{name}"))
            .arg(self.process.id().to_string())
            .status()
            .unwrap();
        assert!(sent.success());
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// The binary, over the house's database and Redis.
fn clearday(house: &House) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clearday"));
    command
        .env("CLEARDAY_DATABASE__URL", house.database.url())
        .stderr(Stdio::inherit());
    if let Some(redis) = &house.redis {
        command.env("CLEARDAY_REDIS__URL", redis.url());
    }
    command
}

async fn open_order(house: &House, number: usize) {
    let order = format!("O-{number}");
    house
        .open_order_until(&order, &order, PAST.parse().unwrap())
        .await;
    house
        .open_reference(&order, &format!("R-{number}"), 1_234)
        .await;
}

fn payload(number: usize) -> String {
    format!(r#"{{"version":1,"order_no":"O-{number}","expires_at":"{PAST}"}}"#)
}

fn closes(house: &House, number: usize) -> usize {
    let books = house.sandbox.handle.books();
    books.count_effects(Event::Close, &reference(&format!("R-{number}")))
}

async fn to_redis(house: &House) -> redis::aio::MultiplexedConnection {
    let url = house.redis.as_ref().unwrap().url();
    servers::to_redis(&url).await.unwrap()
}

/// How many read the submissions.
async fn consumers(house: &House) -> usize {
    let listed: Vec<redis::Value> = redis::cmd("XINFO")
        .arg("CONSUMERS")
        .arg("clearday:{order_expiry}")
        .arg("clearday")
        .query_async(&mut to_redis(house).await)
        .await
        .unwrap();
    listed.len()
}

async fn xadd(house: &House, key: &str, payload: &str) {
    let mut connection = to_redis(house).await;
    let _entry: String = redis::cmd("XADD")
        .arg("clearday:{order_expiry}")
        .arg("*")
        .arg("payload")
        .arg(payload)
        .arg("idempotency_key")
        .arg(key)
        .query_async(&mut connection)
        .await
        .unwrap();
}

async fn post(served: &Served, key: &str, payload: &str) -> (u16, Value) {
    let answer = reqwest_client()
        .post(format!("{}/v1/jobs/order_expiry", served.url))
        .header("Idempotency-Key", key)
        .header("Content-Type", "application/json")
        .body(payload.to_owned())
        .send()
        .await
        .unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

fn reqwest_client() -> reqwest::Client {
    clearday::connectors::install_tls_provider();
    reqwest::Client::builder()
        .timeout(Duration::from_secs(20))
        .build()
        .unwrap()
}

fn enqueue(house: &House, key: &str, payload: &str) -> (i32, String) {
    let file = house.statements.path().join("payload.json");
    std::fs::write(&file, payload).unwrap();
    let output = clearday(house)
        .args([
            "enqueue",
            "order_expiry",
            "--key",
            key,
            "--format",
            "json",
            "--payload",
        ])
        .arg(&file)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .output()
        .unwrap();
    let said =
        String::from_utf8(output.stdout).unwrap() + &String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), said)
}

/// The job that holds a key, once it is known.
async fn job_of(house: &House, key: &str) -> JobId {
    eventually(async || {
        let mut tx = house.store.read().await.unwrap();
        let found = jobs::find_by_keys(&mut tx, &[(JobKind::OrderExpiry, key)]).await;
        found.unwrap().first().map(|job| job.id)
    })
    .await
    .expect("the job is accepted")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_three_ways_in_do_the_same_thing_once() {
    let house = House::without_daemons(Mode::Production).await;
    for number in 0..3 {
        open_order(&house, number).await;
    }
    let folder = ScratchFolder::new("config");
    let (first, _second) = (
        Served::start(&house, &folder),
        Served::start(&house, &folder),
    );

    xadd(&house, "by redis", &payload(0)).await;
    let (status, body) = post(&first, "by http", &payload(1)).await;
    assert_eq!((status, &body["state"]), (202, &json!("ready")));
    let (code, said) = enqueue(&house, "by shell", &payload(2));
    assert_eq!(code, 0, "{said}");
    for (number, key) in ["by redis", "by http", "by shell"].into_iter().enumerate() {
        let job = job_of(&house, key).await;
        house.job_reaches(job, JobState::Done).await;
        assert_eq!(
            house.order_state(&format!("O-{number}")).await,
            OrderState::Expired
        );
        assert_eq!(closes(&house, number), 1);
    }

    // The same again, each by another way: known, and done once.
    let (status, body) = post(&first, "by redis", &payload(0)).await;
    assert_eq!((status, &body["state"]), (200, &json!("done")));
    let (code, said) = enqueue(&house, "by http", &payload(1));
    assert_eq!(code, 0, "{said}");
    xadd(&house, "by shell", &payload(2)).await;

    // The same keys with another payload: refused, kept and shown.
    let (status, body) = post(&first, "by redis", &payload(1)).await;
    assert_eq!(status, 409, "{body}");
    let (code, said) = enqueue(&house, "by redis", &payload(2));
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("is taken by job"), "{said}");
    xadd(&house, "by http", &payload(2)).await;
    let kept = eventually(async || {
        let mut tx = house.store.read().await.unwrap();
        let kept = rejections::list(&mut tx, None, 10).await.unwrap();
        (kept.len() == 3).then_some(kept)
    })
    .await
    .expect("three refusals are kept");
    assert!(
        kept.iter()
            .all(|refusal| refusal.reason.contains("is taken by job"))
    );
    for number in 0..3 {
        assert_eq!(closes(&house, number), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chaos_a_daemon_killed_between_the_answer_and_our_commit_closes_once() {
    let house = House::without_daemons(Mode::Production).await;
    open_order(&house, 0).await;
    let folder = ScratchFolder::new("config");
    let mut daemons = vec![
        Served::start_with(&house, &folder, LONG_LEASE),
        Served::start_with(&house, &folder, LONG_LEASE),
    ];
    // The sandbox closes, and its answer is on its way for ever.
    let name = reference("R-0");
    let held = house
        .sandbox
        .handle
        .queue_fault(Operation::Close, &name, Fault::HeldAnswer);
    xadd(&house, "killed", &payload(0)).await;
    held.wait_until_struck().await;
    let job = house.job(job_of(&house, "killed").await).await;
    let worker = job.lease.expect("somebody runs it").worker;
    let victim = daemons
        .iter()
        .position(|served| worker.starts_with(&format!("{}-", served.process.id())))
        .expect("one of the two runs it");
    daemons.remove(victim).signal("KILL");

    let done = house.job_reaches(job.id, JobState::Done).await;
    assert_eq!((done.rescues, done.priority), (1, Priority::Normal));
    assert_eq!(house.order_state("O-0").await, OrderState::Expired);
    assert_eq!(closes(&house, 0), 1, "the channel saw one close");
    held.release();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chaos_a_daemon_told_to_stop_burns_no_attempt_and_loses_nothing() {
    let house = House::without_daemons(Mode::Production).await;
    for number in 0..40 {
        open_order(&house, number).await;
    }
    let folder = ScratchFolder::new("config");
    let mut first = Served::start_with(&house, &folder, LONG_LEASE);
    // One close is on its way while the others come in.
    let name = reference("R-0");
    let held = house
        .sandbox
        .handle
        .queue_fault(Operation::Close, &name, Fault::HeldAnswer);
    for number in 0..40 {
        xadd(&house, &format!("stop {number}"), &payload(number)).await;
    }
    held.wait_until_struck().await;
    first.signal("TERM");
    held.release();
    assert!(first.process.wait().unwrap().success());
    assert_eq!(consumers(&house).await, 0, "it left its group");
    let _second = Served::start_with(&house, &folder, LONG_LEASE);
    for number in 0..40 {
        let job = job_of(&house, &format!("stop {number}")).await;
        let done = house.job_reaches(job, JobState::Done).await;
        assert_eq!((done.attempt, done.rescues), (1, 0));
        assert_eq!(closes(&house, number), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chaos_a_worker_that_slept_through_its_lease_commits_nothing() {
    let house = Arc::new(House::without_daemons(Mode::Production).await);
    open_order(&house, 0).await;
    let folder = ScratchFolder::new("config");
    let sleeper = Served::start(&house, &folder);
    let name = reference("R-0");
    let held = house
        .sandbox
        .handle
        .queue_fault(Operation::Close, &name, Fault::HeldAnswer);
    xadd(&house, "slept", &payload(0)).await;
    held.wait_until_struck().await;
    sleeper.signal("STOP");
    let _other = Served::start(&house, &folder);
    let job = job_of(&house, "slept").await;
    let done = house.job_reaches(job, JobState::Done).await;
    sleeper.signal("CONT");
    held.release();

    // The sleeper wakes with its answer in hand and is refused.
    let url = format!("{}/metrics", sleeper.url);
    let refused = eventually(async || {
        let text = reqwest_client()
            .get(&url)
            .send()
            .await
            .ok()?
            .text()
            .await
            .ok()?;
        text.lines()
            .any(|line| {
                line.starts_with("clearday_stale_commits_refused_total") && !line.ends_with(" 0")
            })
            .then_some(())
    })
    .await;
    assert!(
        refused.is_some(),
        "the stale commit was refused and counted"
    );
    assert_eq!(
        house.job(job).await,
        done,
        "nothing changed after the other one finished"
    );
    assert_eq!(closes(&house, 0), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chaos_a_restart_takes_over_at_once_what_its_killed_predecessor_had_in_hand() {
    let house = House::without_daemons(Mode::Production).await;
    open_order(&house, 0).await;
    let folder = ScratchFolder::new("config");
    // Longer than this test waits for anything: nothing comes back by a lapsed lease.
    let lease_seconds = 600;
    let victim = Served::start_with(&house, &folder, lease_seconds);
    let name = reference("R-0");
    let held = house
        .sandbox
        .handle
        .queue_fault(Operation::Close, &name, Fault::HeldAnswer);
    xadd(&house, "killed", &payload(0)).await;
    held.wait_until_struck().await;
    victim.signal("KILL");
    drop(victim);
    let _heir = Served::start_with(&house, &folder, lease_seconds);

    let job = job_of(&house, "killed").await;
    let done = house.job_reaches(job, JobState::Done).await;
    assert_eq!(done.rescues, 1);
    let story = house.timeline(job).await;
    let rescue = story.iter().find(|entry| entry.event == "rescued").unwrap();
    assert!(rescue.reason.ends_with(" died"), "{}", rescue.reason);
    assert_eq!(closes(&house, 0), 1, "the channel saw one close");
    held.release();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chaos_a_daemon_that_starts_before_its_database_says_so_and_waits() {
    let mut postgres = TestPostgresServer::start().await;
    let store = Store::connect(&postgres.url(), 1).await.unwrap();
    store.migrate().await.unwrap();
    store.close().await;
    postgres.stop().await;
    let folder = ScratchFolder::new("config");
    let config = folder.path().join("clearday.toml");
    let text = format!(
        "[http]\nlisten = \"127.0.0.1:0\"\n[jobs]\nlocks_directory = \"{}\"\n",
        folder.path().join("locks").display()
    );
    std::fs::write(&config, text).unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_clearday"));
    // Nobody listens on port 1, and Redis is not waited for.
    command
        .env("CLEARDAY_DATABASE__URL", postgres.url())
        .env("CLEARDAY_REDIS__URL", "redis://127.0.0.1:1/");
    let mut served = Served::of(command, &config);

    let look = async |path: &str| {
        let answer = reqwest_client().get(format!("{}{path}", served.url));
        let answer = answer.send().await.unwrap();
        (answer.status().as_u16(), answer.text().await.unwrap())
    };
    assert_eq!(look("/healthz").await.0, 200);
    let (status, words) = look("/readyz").await;
    assert_eq!(status, 503);
    let checks: Value = serde_json::from_str(&words).unwrap();
    assert_eq!(checks["checks"][0]["name"], "database");
    assert_eq!(checks["checks"][0]["ok"], false, "{words}");

    postgres.restart().await;
    eventually(async || {
        let (_, words) = look("/readyz").await;
        let checks: Value = serde_json::from_str(&words).unwrap();
        (checks["checks"][0]["ok"] == true).then_some(())
    })
    .await
    .expect("the database that came back is seen");
    let (status, body) = post(&served, "early", &payload(0)).await;
    assert_eq!(status, 202, "{body}");
    served.signal("TERM");
    assert!(served.process.wait().unwrap().success());
}
