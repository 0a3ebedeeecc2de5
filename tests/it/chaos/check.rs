//! Waits until everything that was asked for is done, and checks what the books say then: L1 to L9.
//!
//! What happened outside is known from the sandbox, which runs in the test's process and which nobody strikes.
#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::process::Stdio;
use std::time::Duration;

use chrono::{DateTime, DurationRound as _, TimeDelta, Utc};
use clearday::connectors::sandbox::{Event, HoldEvent, HoldStatus, PaymentStatus};
use clearday_jobs::JobKind;
use serde_json::Value;
use sqlx::{Connection, FromRow, PgConnection};
use tokio::time::Instant;
use uuid::Uuid;

use super::load::{Asked, Upstream};
use super::orders::{self, LAST_KEY, OrderPlan, TOTAL_MINOR, Way, Wish};
use super::report::{Findings, Recovery};
use super::scene::{SCHEDULES, Scene};

/// How long healed daemons may take for all that is left. Generous: entries that a dead daemon had read wait half a
/// minute for another one, and a breaker that opened lets calls out at a pace.
const DRAIN_LIMIT: Duration = Duration::from_mins(3);
const LOOK_EVERY: Duration = Duration::from_millis(200);

#[derive(Debug, FromRow)]
struct JobRow {
    id: Uuid,
    kind: String,
    idempotency_key: String,
    state: String,
    source: String,
    note: String,
}

#[derive(Debug, FromRow)]
pub(crate) struct EventRow {
    job_id: Uuid,
    version: i64,
    event: String,
    worker: Option<String>,
    reason: String,
    occurred_at: DateTime<Utc>,
}

/// What draining came to.
pub(crate) struct Drained {
    /// How long it took from healing on.
    pub(crate) took: Duration,
    /// What only an emptied Redis had, and upstream asked for again.
    pub(crate) resent: usize,
}

/// Lets upstream ask again for what nobody has, and waits until nothing is left to do.
pub(crate) async fn drain(
    scene: &Scene,
    upstream: &Upstream,
    plans: &[OrderPlan],
    start: Instant,
    findings: &mut Findings,
) -> Drained {
    let healed = Instant::now();
    let memory = upstream.memory();
    // What was acknowledged by us is there, now and without anybody's help.
    let known = keys(scene).await;
    for (asked, way) in &memory.acknowledged {
        if *way == Way::Http && !known.contains(asked) {
            findings.lost(format!("{} was acknowledged by HTTP and is gone", asked.1));
        }
    }
    if !wait_until(async || streams_are_empty(scene).await).await {
        findings.other("submissions are left in Redis".to_owned());
    }
    let known = keys(scene).await;
    let was_emptied = scene.redis_was_emptied;
    let wishes = plans.iter().flat_map(|plan| &plan.wishes);
    let missing: Vec<&Wish> = wishes
        .filter(|wish| !known.contains(&(wish.kind, wish.key.clone())))
        .collect();
    let mut resent = 0;
    for wish in &missing {
        if memory
            .acknowledged
            .contains_key(&(wish.kind, wish.key.clone()))
        {
            resent += 1;
            if !was_emptied {
                findings.lost(format!(
                    "{} was in Redis, which kept it, and is gone",
                    wish.key
                ));
            }
        }
    }
    upstream.ask_again(&missing, start, DRAIN_LIMIT).await;
    if !wait_until(async || count_open(scene).await == 0).await {
        for job in open_jobs(scene).await {
            let JobRow {
                idempotency_key,
                state,
                note,
                ..
            } = job;
            findings.other(format!("not drained: {idempotency_key} is {state}: {note}"));
        }
    }
    let took = healed.elapsed();
    // Only now is all money there, for this to book.
    upstream
        .ask_again(
            &[&orders::settlement(scene.clock.now())],
            start,
            DRAIN_LIMIT,
        )
        .await;
    wait_until(async || count_open(scene).await == 0).await;
    Drained { took, resent }
}

pub(crate) async fn wait_until(is_so: impl AsyncFn() -> bool) -> bool {
    let end = Instant::now() + DRAIN_LIMIT;
    while Instant::now() < end {
        if is_so().await {
            return true;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    false
}

async fn connect(scene: &Scene) -> PgConnection {
    PgConnection::connect(&scene.postgres.url()).await.unwrap()
}

async fn keys(scene: &Scene) -> BTreeSet<Asked> {
    let rows: Vec<(String, String)> = sqlx::query_as("SELECT kind, idempotency_key FROM jobs")
        .fetch_all(&mut connect(scene).await)
        .await
        .unwrap();
    rows.into_iter()
        .map(|(kind, key)| (kind.parse().unwrap(), key))
        .collect()
}

pub(crate) async fn count_open(scene: &Scene) -> i64 {
    const OPEN: &str =
        "SELECT COUNT(*) FROM jobs WHERE state IN ('ready', 'running', 'cancelling')";
    sqlx::query_scalar(OPEN)
        .fetch_one(&mut connect(scene).await)
        .await
        .unwrap()
}

async fn open_jobs(scene: &Scene) -> Vec<JobRow> {
    let jobs = jobs(scene).await;
    let is_over = |job: &JobRow| matches!(job.state.as_str(), "done" | "dead" | "cancelled");
    jobs.into_iter().filter(|job| !is_over(job)).collect()
}

async fn jobs(scene: &Scene) -> Vec<JobRow> {
    const JOBS: &str =
        "SELECT id, kind, idempotency_key, state, source, note FROM jobs ORDER BY id";
    sqlx::query_as(JOBS)
        .fetch_all(&mut connect(scene).await)
        .await
        .unwrap()
}

async fn streams_are_empty(scene: &Scene) -> bool {
    let client = redis::Client::open(scene.redis.url()).unwrap();
    let Ok(mut connection) = client.get_multiplexed_async_connection().await else {
        return false;
    };
    for kind in JobKind::ALL {
        let length = redis::cmd("XLEN")
            .arg(kind.submission_stream())
            .query_async::<u64>(&mut connection)
            .await;
        if length != Ok(0) {
            return false;
        }
    }
    true
}

/// What the history says of how it went.
#[derive(Clone, Debug, Default)]
pub(crate) struct Story {
    pub(crate) jobs: usize,
    pub(crate) retries: usize,
    pub(crate) rescues: usize,
    pub(crate) recovery: Recovery,
}

/// Checks everything.
pub(crate) async fn check(
    scene: &Scene,
    plans: &[OrderPlan],
    upstream: &Upstream,
    findings: &mut Findings,
) -> Story {
    for refusal in upstream.memory().refused {
        findings.other(format!("refused: {refusal}"));
    }
    let jobs = jobs(scene).await;
    let surplus = check_effects(scene, plans, findings).await;
    check_jobs(&jobs, plans, &surplus, findings);
    let events = events(scene).await;
    check_histories(&events, findings);
    check_ticks(scene, findings).await;
    check_messages(scene, findings);
    check_operations(scene, findings).await;
    check_money(scene, findings).await;
    check_verify(scene, findings);
    let count = |name: &str| events.iter().filter(|event| event.event == name).count();
    Story {
        jobs: jobs.len(),
        retries: count("retried"),
        rescues: count("rescued"),
        recovery: recovery(scene, &events),
    }
}

/// L1 and L2: what was asked for is there once and at its end, and nothing else is there.
fn check_jobs(
    jobs: &[JobRow],
    plans: &[OrderPlan],
    surplus: &BTreeSet<String>,
    findings: &mut Findings,
) {
    let mut asked: BTreeMap<Asked, bool> = plans
        .iter()
        .flat_map(|plan| &plan.wishes)
        .map(|wish| (wish.kind, wish.key.clone()))
        .chain([(JobKind::SettlementRun, LAST_KEY.to_owned())])
        .map(|asked| (asked, false))
        .collect();
    for job in jobs {
        let key = (job.kind.parse().unwrap(), job.idempotency_key.clone());
        match asked.get_mut(&key) {
            Some(is_there) if !*is_there => *is_there = true,
            Some(_) => findings.duplicate(format!("{} is there twice", job.idempotency_key)),
            None if job.source == "schedule" => {}
            None => findings.unexpected(format!("nobody asked for {}", job.idempotency_key)),
        }
        let JobRow {
            idempotency_key,
            state,
            note,
            ..
        } = job;
        let is_told = surplus
            .iter()
            .any(|order| idempotency_key.ends_with(&format!(" {order}")));
        match state.as_str() {
            "done" => {}
            "dead" if is_told => {}
            "ready" | "running" | "cancelling" => {} // told of while draining
            _ => findings.other(format!("{idempotency_key} is {state}: {note}")),
        }
    }
    for ((_, key), is_there) in asked {
        if !is_there {
            findings.lost(format!("{key} is nowhere"));
        }
    }
}

/// L3: the sandbox's own books hold each effect once, and orders stand where these books say. Returns the orders for
/// which money came twice, which a person is told of.
async fn check_effects(
    scene: &Scene,
    plans: &[OrderPlan],
    findings: &mut Findings,
) -> BTreeSet<String> {
    let states: Vec<(String, String)> = sqlx::query_as("SELECT order_no, state FROM orders")
        .fetch_all(&mut connect(scene).await)
        .await
        .unwrap();
    let states: BTreeMap<String, String> = states.into_iter().collect();
    let authorizations: Vec<(String, String)> =
        sqlx::query_as("SELECT order_no, reference FROM authorizations")
            .fetch_all(&mut connect(scene).await)
            .await
            .unwrap();
    let (books, holds) = (
        scene.sandbox.handle.books(),
        scene.sandbox.handle.hold_books(),
    );
    let known: BTreeSet<&str> = authorizations
        .iter()
        .map(|(_, name)| name.as_str())
        .collect();
    for effect in holds.effects() {
        if !known.contains(effect.reference.as_str()) {
            findings.unexpected(format!("{:?} of {}", effect.event, effect.reference));
        }
    }
    let mut surplus = BTreeSet::new();
    for plan in plans {
        let order = plan.order_no.as_str();
        let mut received = 0_i64;
        for name in &plan.references {
            for event in [Event::Close, Event::Pay] {
                let count = books.count_effects(event, name);
                if count > 1 {
                    findings.duplicate(format!("{event:?} of {name}: {count} effects"));
                }
            }
            match books.find(name).map(|payment| payment.status) {
                Some(PaymentStatus::Paid) => received += TOTAL_MINOR,
                Some(PaymentStatus::Closed) => {}
                status => findings.other(format!("{name} of {order} is left {status:?}")),
            }
        }
        let mut held = 0_i64;
        for (_, name) in authorizations.iter().filter(|(of, _)| of == order) {
            let name = name.parse().unwrap();
            for event in [HoldEvent::Authorize, HoldEvent::Capture, HoldEvent::Void] {
                let count = holds.count_effects(event, &name);
                if count > 1 {
                    findings.duplicate(format!("{event:?} of {name}: {count} effects"));
                }
            }
            if let Some(hold) = holds.find(&name) {
                match hold.status {
                    HoldStatus::Captured => received += hold.amount.minor_units(),
                    HoldStatus::Authorized => held += hold.amount.minor_units(),
                    HoldStatus::Voided | HoldStatus::Lapsed | HoldStatus::Declined => {}
                }
            }
        }
        if received + held > TOTAL_MINOR && plan.references.len() < 2 {
            findings.duplicate(format!("{order} got {received} and holds {held}"));
        }
        if received > TOTAL_MINOR {
            surplus.insert(order.to_owned());
        }
        let expected = if received > 0 { "paid" } else { "expired" };
        let state = states.get(order).map_or("nowhere", String::as_str);
        if state != expected || held > 0 {
            findings.other(format!(
                "{order} is {state}, the channel has {received} and holds {held}"
            ));
        }
    }
    surplus
}

pub(crate) async fn events(scene: &Scene) -> Vec<EventRow> {
    const EVENTS: &str = "SELECT job_id, version, event, worker, reason, occurred_at \
                          FROM job_events ORDER BY job_id, version";
    sqlx::query_as(EVENTS)
        .fetch_all(&mut connect(scene).await)
        .await
        .unwrap()
}

/// The history of every job, a line for each event, with the job's key before it.
pub(crate) async fn story(scene: &Scene) -> String {
    let jobs: BTreeMap<Uuid, String> = jobs(scene)
        .await
        .into_iter()
        .map(|job| (job.id, job.idempotency_key))
        .collect();
    let line = |it: &EventRow| {
        let EventRow {
            job_id,
            version,
            event,
            worker,
            reason,
            occurred_at,
        } = it;
        let key = jobs.get(job_id).map_or("?", String::as_str);
        let at = occurred_at.to_rfc3339();
        format!("{key} {version} {at} {event} {worker:?} {reason}\n")
    };
    events(scene).await.iter().map(line).collect()
}

/// L7: whoever recorded anything about a run held the newest lease, and an end is recorded once.
fn check_histories(events: &[EventRow], findings: &mut Findings) {
    for history in events.chunk_by(|one, other| one.job_id == other.job_id) {
        let mut holder: Option<&str> = None;
        let mut ends = 0;
        for (event, number) in history.iter().zip(1_i64..) {
            let EventRow {
                job_id,
                version,
                event: name,
                worker,
                ..
            } = event;
            if *version != number {
                findings.other(format!("job {job_id} has no event {number}"));
            }
            match name.as_str() {
                "leased" => holder = worker.as_deref(),
                "finished" | "snoozed" | "retried" | "buried" | "rescued" | "handed_back" => {
                    if holder.is_none() || holder != worker.as_deref() {
                        let story = format!("{name} by {worker:?}, held by {holder:?}");
                        findings.stale_accepted(format!("job {job_id}: {story}"));
                    }
                    holder = None;
                    ends += usize::from(name == "finished");
                }
                _ => {}
            }
        }
        if ends > 1 {
            let job = history[0].job_id;
            findings.stale_accepted(format!("job {job} finished {ends} times"));
        }
    }
}

/// L6: every minute since the schedules are followed has one fate, and a job where it fired.
async fn check_ticks(scene: &Scene, findings: &mut Findings) {
    type Tick = (DateTime<Utc>, String, Option<Uuid>);
    const TICKS: &str =
        "SELECT due_at, fate, job_id FROM ticks WHERE schedule = $1 ORDER BY due_at";
    let minute = TimeDelta::minutes(1);
    let now = scene.clock.now();
    for (name, followed_for) in SCHEDULES {
        let ticks: Vec<Tick> = sqlx::query_as(TICKS)
            .bind(name)
            .fetch_all(&mut connect(scene).await)
            .await
            .unwrap();
        // After the ticks: schedules go on firing.
        let known: BTreeSet<Uuid> = jobs(scene).await.iter().map(|job| job.id).collect();
        let first = scene.begins_at - TimeDelta::minutes(followed_for);
        let mut due = first.duration_trunc(minute).unwrap() + minute;
        for (due_at, fate, job) in &ticks {
            if *due_at != due {
                findings.other(format!("{name}: a tick at {due_at} and none at {due}"));
            }
            due = *due_at + minute;
            if (fate == "fired") != job.is_some_and(|id| known.contains(&id)) {
                findings.other(format!("{name}: {due_at} {fate} with the job {job:?}"));
            }
        }
        // The one that is due this very moment may still be decided.
        if due + minute < now {
            findings.other(format!("{name}: nothing is decided from {due} on"));
        }
    }
}

/// L3 of messages: nobody was told twice. The same webhook may come again under its id.
fn check_messages(scene: &Scene, findings: &mut Findings) {
    let mut told: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for sms in scene.mailroom.handle.sms() {
        told.entry(sms.to).or_default().insert(sms.id);
    }
    for webhook in scene.mailroom.handle.webhooks() {
        told.entry(webhook.endpoint).or_default().insert(webhook.id);
    }
    for (whom, ids) in told {
        if ids.len() > 1 {
            findings.duplicate(format!("{whom} was told {} times", ids.len()));
        }
    }
}

/// L4: no call is left with an unknown outcome once the channel answers again. An endpoint cannot be asked what it
/// heard: a webhook whose answer was lost may rest as unknown when its deadline has come.
async fn check_operations(scene: &Scene, findings: &mut Findings) {
    let open: Vec<(String, String)> = sqlx::query_as(
        "SELECT idempotency_key, state FROM operations WHERE state IN ('intended', 'unknown') \
         AND idempotency_key NOT LIKE 'send:webhook:%'",
    )
    .fetch_all(&mut connect(scene).await)
    .await
    .unwrap();
    for (key, state) in open {
        findings.other(format!("operation {key} is left {state}"));
    }
}

/// L5: what the ledger has received is what the sandbox took, to the minor unit.
async fn check_money(scene: &Scene, findings: &mut Findings) {
    let booked: i64 = sqlx::query_scalar(
        "SELECT CAST(COALESCE(SUM(amount_minor), 0) AS BIGINT) FROM money_facts \
         WHERE kind = 'capture' AND entry_id IS NOT NULL",
    )
    .fetch_one(&mut connect(scene).await)
    .await
    .unwrap();
    let paid: i64 = scene
        .sandbox
        .handle
        .effects()
        .iter()
        .filter(|effect| effect.event == Event::Pay)
        .map(|effect| effect.amount.minor_units())
        .sum();
    let captured: i64 = scene
        .sandbox
        .handle
        .hold_books()
        .effects()
        .iter()
        .filter(|effect| effect.event == HoldEvent::Capture)
        .map(|effect| effect.amount.minor_units())
        .sum();
    if booked != paid + captured {
        findings.other(format!(
            "the ledger received {booked}, the channel took {paid} and {captured}"
        ));
    }
}

/// L5 and L8: the books agree with each other, as `clearday verify` sees them.
fn check_verify(scene: &Scene, findings: &mut Findings) {
    let output = scene.seats[0]
        .command()
        .env("CLEARDAY_DATABASE__URL", scene.postgres.url())
        .args(["verify", "--format", "json"])
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    if report["ok"] == true {
        return;
    }
    for check in report["checks"].as_array().into_iter().flatten() {
        if check["ok"] != true {
            findings.other(format!("verify: {} {}", check["name"], check["detail"]));
        }
    }
    if report["checks"].as_array().is_none() {
        let words = String::from_utf8_lossy(&output.stderr);
        findings.other(format!("verify did not answer: {words}"));
    }
}

/// How soon what killed daemons had in hand was leased again.
pub(crate) fn recovery(scene: &Scene, events: &[EventRow]) -> Recovery {
    let mut recovery = Recovery::default();
    let killed: Vec<_> = scene.seats.iter().flat_map(|seat| &seat.killed).collect();
    for history in events.chunk_by(|one, other| one.job_id == other.job_id) {
        for (at, rescue) in history.iter().enumerate() {
            if rescue.event != "rescued" {
                continue;
            }
            let Some(worker) = &rescue.worker else {
                continue;
            };
            let Some(death) = killed.iter().find(|it| worker.starts_with(&it.worker)) else {
                continue;
            };
            let Some(again) = history[at..].iter().find(|it| it.event == "leased") else {
                continue;
            };
            let took = (again.occurred_at - death.at).to_std().unwrap_or_default();
            if rescue.reason.ends_with(" died") {
                recovery.by_sign_of_life.push(took);
            } else {
                recovery.by_lapsed_lease.push(took);
            }
        }
    }
    recovery
}
