//! Takes submissions out of one kind's stream, and hears its wake-ups.

use std::time::Instant;

use clearday_jobs::JobKind;
use redis::aio::MultiplexedConnection;
use redis::{RedisError, Value};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::bell::Wake;
use super::entries::{self, Entry};
use super::room::Room;
use super::{BLOCK, CLAIM_EVERY, CLAIM_IDLE, GROUP, RedisQueue};
use crate::engine::{Acceptance, Bell as _, Engine};
use crate::queue::InProcessBell;
use crate::store::StoreError;

/// The reader of one kind.
#[derive(Clone, Debug)]
pub(super) struct Intake {
    pub(super) queue: RedisQueue,
    pub(super) engine: Engine,
    pub(super) kind: JobKind,
    pub(super) local: InProcessBell,
    pub(super) stop: CancellationToken,
    pub(super) room: Room,
}

/// Why reading stopped; the supervisor starts it again after a wait.
#[derive(Debug, thiserror::Error)]
pub(super) enum IntakeError {
    #[error("Redis failed: {0}")]
    Redis(#[from] RedisError),
    /// Nothing of the batch is acknowledged: it stays pending and is claimed again.
    #[error("submissions could not be written down: {0}")]
    Store(#[from] StoreError),
}

impl Intake {
    /// Reads until something fails or the daemon stops. First what this process left pending in an
    /// earlier try, then what others left, then what is new. A read under way is waited for, so
    /// that a stop leaves nothing pending that others would take over only later.
    pub(super) async fn read(&self) -> Result<(), IntakeError> {
        let read = self.read_on().await;
        if read.is_err() {
            self.room.halve();
        }
        read
    }

    async fn read_on(&self) -> Result<(), IntakeError> {
        let mut connection = self.queue.blocking().await?;
        self.queue.ensure_groups(self.kind).await?;
        self.take_in_own(&mut connection).await?;
        let mut claimed_at: Option<Instant> = None;
        while !self.stop.is_cancelled() {
            if claimed_at.is_none_or(|at| at.elapsed() >= CLAIM_EVERY) {
                self.claim().await?;
                claimed_at = Some(Instant::now());
            }
            let reply = self.read_group(&mut connection, [">", ">"]).await?;
            self.take_in(entries::from_read(&reply)).await?;
        }
        Ok(())
    }

    /// What this process left pending, page by page; what stays pending is passed over.
    async fn take_in_own(&self, connection: &mut MultiplexedConnection) -> Result<(), IntakeError> {
        let stream = self.kind.submission_stream();
        let (mut submission, mut wake) = ("0".to_owned(), "0".to_owned());
        loop {
            let reply = self.read_group(connection, [&submission, &wake]).await?;
            let read = entries::from_read(&reply);
            if read.is_empty() {
                return Ok(());
            }
            for entry in &read {
                let last = if entry.stream == stream {
                    &mut submission
                } else {
                    &mut wake
                };
                last.clone_from(&entry.id);
            }
            self.take_in(read).await?;
        }
    }

    /// Entries of the submissions and of the wake-ups behind these ids.
    async fn read_group(
        &self,
        connection: &mut MultiplexedConnection,
        [submission, wake]: [&str; 2],
    ) -> Result<Value, RedisError> {
        redis::cmd("XREADGROUP")
            .arg("GROUP")
            .arg(GROUP)
            .arg(&self.queue.consumer)
            .arg("COUNT")
            .arg(self.room.entries())
            .arg("BLOCK")
            .arg(BLOCK.as_millis().to_string())
            .arg("STREAMS")
            .arg(self.kind.submission_stream())
            .arg(self.kind.wake_stream())
            .arg(submission)
            .arg(wake)
            .query_async(connection)
            .await
    }

    /// Takes over what a consumer took and never acknowledged: it died before its commit.
    async fn claim(&self) -> Result<(), IntakeError> {
        let stream = self.kind.submission_stream();
        loop {
            let reply: Value = redis::cmd("XAUTOCLAIM")
                .arg(&stream)
                .arg(GROUP)
                .arg(&self.queue.consumer)
                .arg(CLAIM_IDLE.as_millis().to_string())
                .arg("0")
                .arg("COUNT")
                .arg(self.room.entries())
                .query_async(&mut self.queue.shared())
                .await?;
            let claimed = entries::from_claim(&stream, &reply);
            if claimed.is_empty() {
                return Ok(());
            }
            info!(job.kind = %self.kind, entries = claimed.len(), "Took over {} unacknowledged submissions", claimed.len());
            self.take_in(claimed).await?;
        }
    }

    /// Writes submissions down, then acknowledges them; wake-ups ring at home.
    async fn take_in(&self, read: Vec<Entry>) -> Result<(), IntakeError> {
        let (count, bytes) = (read.len(), read.iter().map(Entry::bytes).sum());
        let stream = self.kind.submission_stream();
        let (submitted, wakes): (Vec<Entry>, Vec<Entry>) =
            read.into_iter().partition(|entry| entry.stream == stream);
        if !wakes.is_empty() {
            if wakes.iter().all(|wake| Wake::of(wake) == Wake::More) {
                // Who is busy has more of its own.
                self.local.ring_if_idle(self.kind);
            } else {
                self.local.ring(self.kind);
            }
            self.acknowledge(&self.kind.wake_stream(), &wakes).await?;
        }
        if !submitted.is_empty() {
            let taken = self.write_down(submitted).await?;
            self.acknowledge(&stream, &taken).await?;
        }
        self.room.fit(count, bytes);
        Ok(())
    }

    /// Those of a batch that are written down.
    async fn write_down(&self, submitted: Vec<Entry>) -> Result<Vec<Entry>, StoreError> {
        let batch = submitted
            .iter()
            .map(|entry| entries::submission(self.kind, entry))
            .collect();
        match self.engine.accept(batch).await {
            Ok(answers) => {
                self.tell_refused(&submitted, &answers);
                Ok(submitted)
            }
            Err(error) if error.is_retryable() => Err(error),
            Err(error) => {
                warn!(job.kind = %self.kind, error = %error, "A batch could not be written down; trying its submissions one by one");
                Ok(self.take_in_singly(submitted).await)
            }
        }
    }

    /// One entry that the database refuses for good must not hold up its neighbours: it stays in
    /// the stream, pending and told of, and the others are taken in.
    async fn take_in_singly(&self, submitted: Vec<Entry>) -> Vec<Entry> {
        let mut taken = Vec::with_capacity(submitted.len());
        for entry in submitted {
            let submission = entries::submission(self.kind, &entry);
            match self.engine.accept(vec![submission]).await {
                Ok(answers) => {
                    self.tell_refused(std::slice::from_ref(&entry), &answers);
                    taken.push(entry);
                }
                Err(error) => {
                    warn!(job.kind = %self.kind, entry.id = %entry.id, error = %error, "Submission {} could not be written down and stays in its stream", entry.id);
                }
            }
        }
        taken
    }

    fn tell_refused(&self, submitted: &[Entry], answers: &[Acceptance]) {
        for (entry, answer) in submitted.iter().zip(answers) {
            if let Acceptance::Refused(refusal) = answer {
                warn!(job.kind = %self.kind, entry.id = %entry.id, reason = %refusal, "Refused submission {}; it is kept", entry.id);
            }
        }
    }

    async fn acknowledge(&self, stream: &str, entries: &[Entry]) -> Result<(), RedisError> {
        if entries.is_empty() {
            return Ok(());
        }
        let ids: Vec<&str> = entries.iter().map(|entry| entry.id.as_str()).collect();
        redis::pipe()
            .atomic()
            .cmd("XACK")
            .arg(stream)
            .arg(GROUP)
            .arg(&ids)
            .ignore()
            .cmd("XDEL")
            .arg(stream)
            .arg(&ids)
            .ignore()
            .exec_async(&mut self.queue.shared())
            .await
    }
}
