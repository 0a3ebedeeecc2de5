//! The bell over Redis: one wake-up entry per batch, heard by one daemon.
//!
//! Where the daemon that rings is idle itself, it is the one: nothing travels. One that is busy hears it, too.

use clearday_jobs::JobKind;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::RedisQueue;
use crate::engine::Bell;
use crate::queue::InProcessBell;

/// Wake-ups waiting to be sent; more than this would ring the same few bells again.
const PENDING_MAX: usize = 64;
/// A wake-up names no job, so old ones are worth nothing.
const WAKE_ENTRIES_MAX: usize = 1_000;

/// Rings at home if somebody is idle there, else at whichever daemon reads first, and at home when Redis cannot be
/// reached.
#[derive(Debug)]
pub struct RedisBell {
    home: InProcessBell,
    wishes: mpsc::Sender<JobKind>,
}

impl RedisBell {
    /// Starts the task that sends the wake-ups.
    pub fn start(
        queue: &RedisQueue,
        local: InProcessBell,
        tracker: &TaskTracker,
        stop: &CancellationToken,
    ) -> Self {
        let (wishes, mut pending) = mpsc::channel::<JobKind>(PENDING_MAX);
        let (queue, stop, home) = (queue.clone(), stop.clone(), local.clone());
        tracker.spawn(async move {
            loop {
                let kind = tokio::select! {
                    () = stop.cancelled() => return,
                    kind = pending.recv() => kind,
                };
                let Some(kind) = kind else { return };
                if let Err(error) = send(&queue, kind).await {
                    debug!(job.kind = %kind, error = %error, "Redis did not take a wake-up; ringing at home");
                    local.ring(kind);
                }
            }
        });
        Self { home, wishes }
    }
}

impl Bell for RedisBell {
    fn ring(&self, kind: JobKind) {
        if self.home.ring_if_idle(kind) {
            return;
        }
        // It may have a place for this one, and others may have more.
        self.home.ring(kind);
        // Full means that this bell is about to ring anyway, and a lost one costs one poll.
        self.wishes.try_send(kind).ok();
    }
}

async fn send(queue: &RedisQueue, kind: JobKind) -> redis::RedisResult<()> {
    let mut connection = queue.shared();
    redis::cmd("XADD")
        .arg(kind.wake_stream())
        .arg("MAXLEN")
        .arg("~")
        .arg(WAKE_ENTRIES_MAX)
        .arg("*")
        .arg("wake")
        .arg("1")
        .query_async::<()>(&mut connection)
        .await
}
