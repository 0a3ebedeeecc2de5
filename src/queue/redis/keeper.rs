//! Housekeeping in Redis: streams that nobody reads, consumers that are gone, and settings of the
//! server that endanger what is only there.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use chrono::TimeDelta;
use clearday_jobs::JobKind;
use redis::RedisResult;
use tokio_util::sync::CancellationToken;
use tracing::warn;

use super::{GROUP, RedisQueue};
use crate::clock::Clock;

/// How often to look.
const EVERY: TimeDelta = TimeDelta::seconds(60);
/// A consumer without pending entries that has been silent for so long belongs to a process that
/// ended without leaving.
const CONSUMER_IDLE_MAX: Duration = Duration::from_hours(1);
/// Keys looked at per step of the scan.
const SCAN_COUNT: usize = 1_000;

/// The housekeeper of one daemon.
#[derive(Clone, Debug)]
pub(super) struct Keeper {
    pub(super) queue: RedisQueue,
    pub(super) clock: Clock,
    pub(super) stop: CancellationToken,
}

impl Keeper {
    /// Looks once and waits.
    pub(super) async fn keep(&self) -> RedisResult<()> {
        let unknown = unknown_streams(&self.queue).await?;
        for stream in &unknown {
            warn!(
                stream,
                "Stream {stream} names no kind of job: nobody reads it"
            );
        }
        let warnings = server_warnings(&self.queue).await;
        for warning in &warnings {
            warn!("{warning}");
        }
        self.queue.status.set(unknown, warnings);
        remove_idle_consumers(&self.queue).await?;
        tokio::select! {
            () = self.stop.cancelled() => {}
            () = self.clock.sleep_until(self.clock.now() + EVERY) => {}
        }
        Ok(())
    }
}

async fn unknown_streams(queue: &RedisQueue) -> RedisResult<BTreeSet<String>> {
    let known: BTreeSet<String> = JobKind::ALL
        .into_iter()
        .flat_map(|kind| [kind.submission_stream(), kind.wake_stream()])
        .collect();
    let mut unknown = BTreeSet::new();
    let mut cursor = 0_u64;
    loop {
        let (next, keys): (u64, Vec<Vec<u8>>) = redis::cmd("SCAN")
            .arg(cursor)
            .arg("MATCH")
            .arg("clearday:{*}*")
            .arg("COUNT")
            .arg(SCAN_COUNT)
            .arg("TYPE")
            .arg("stream")
            .query_async(&mut queue.shared())
            .await?;
        let names = keys
            .iter()
            .map(|key| String::from_utf8_lossy(key).into_owned());
        unknown.extend(names.filter(|name| !known.contains(name)));
        if next == 0 {
            return Ok(unknown);
        }
        cursor = next;
    }
}

/// What the server's settings endanger; a server that does not tell is not judged.
async fn server_warnings(queue: &RedisQueue) -> Vec<String> {
    let mut warnings = Vec::new();
    let setting = async |name: &str| -> Option<String> {
        let answer: RedisResult<BTreeMap<String, String>> = redis::cmd("CONFIG")
            .arg("GET")
            .arg(name)
            .query_async(&mut queue.shared())
            .await;
        answer.ok()?.remove(name)
    };
    if let Some(policy) = setting("maxmemory-policy")
        .await
        .filter(|policy| policy != "noeviction")
    {
        warnings.push(format!(
            "Redis has maxmemory-policy {policy}: it may drop submissions; set it to noeviction"
        ));
    }
    if setting("appendonly").await.is_some_and(|on| on == "no") {
        warnings.push(
            "Redis has appendonly no: a submission that is only in Redis is lost when it stops"
                .to_owned(),
        );
    }
    warnings
}

async fn remove_idle_consumers(queue: &RedisQueue) -> RedisResult<()> {
    let idle_max = i64::try_from(CONSUMER_IDLE_MAX.as_millis()).unwrap_or(i64::MAX);
    remove_consumers(queue, |consumer| consumer.idle_ms > idle_max).await
}

/// Removes our own consumers.
pub(super) async fn leave(queue: &RedisQueue) -> RedisResult<()> {
    let own = queue.consumer.clone();
    remove_consumers(queue, move |consumer| consumer.name == own).await
}

struct Consumer {
    name: String,
    idle_ms: i64,
}

/// Removes a consumer of a stream's group, unless anything is pending under its name: those entries would go with it, and
/// nobody would ever read them. In one step, since a reader that still blocks may be given an entry at any moment.
const REMOVE_IF_NOTHING_IS_PENDING: &str = "\
if #redis.call('XPENDING', KEYS[1], ARGV[1], '-', '+', 1, ARGV[2]) == 0 then
  return redis.call('XGROUP', 'DELCONSUMER', KEYS[1], ARGV[1], ARGV[2])
end
return 0";

/// Removes the consumers that `is_gone` names, but for those that have submissions to take in.
async fn remove_consumers(
    queue: &RedisQueue,
    is_gone: impl Fn(&Consumer) -> bool,
) -> RedisResult<()> {
    let mut connection = queue.shared();
    for stream in JobKind::ALL
        .into_iter()
        .flat_map(|kind| [kind.submission_stream(), kind.wake_stream()])
    {
        let listed: RedisResult<Vec<BTreeMap<String, redis::Value>>> = redis::cmd("XINFO")
            .arg("CONSUMERS")
            .arg(&stream)
            .arg(GROUP)
            .query_async(&mut connection)
            .await;
        // No such stream or group: nothing to clean.
        let Ok(listed) = listed else { continue };
        for consumer in listed.into_iter().filter_map(consumer) {
            if !is_gone(&consumer) {
                continue;
            }
            let mut remove = if stream.ends_with(":wake") {
                // A wake-up that nobody acknowledged is worth nothing.
                let mut remove = redis::cmd("XGROUP");
                remove.arg("DELCONSUMER").arg(&stream);
                remove
            } else {
                let mut remove = redis::cmd("EVAL");
                remove.arg(REMOVE_IF_NOTHING_IS_PENDING).arg(1).arg(&stream);
                remove
            };
            remove
                .arg(GROUP)
                .arg(&consumer.name)
                .query_async::<()>(&mut connection)
                .await?;
        }
    }
    Ok(())
}

fn consumer(mut fields: BTreeMap<String, redis::Value>) -> Option<Consumer> {
    let Some(redis::Value::Int(idle_ms)) = fields.get("idle") else {
        return None;
    };
    let idle_ms = *idle_ms;
    let name = redis::from_redis_value(fields.remove("name")?).ok()?;
    Some(Consumer { name, idle_ms })
}
