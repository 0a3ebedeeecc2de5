//! The bell over Redis: one wake-up entry per batch, heard by one daemon.
//!
//! Where the daemon that rings is idle itself, it is the one: nothing travels. One that is busy hears it, too.

use clearday_jobs::JobKind;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;
use tracing::debug;

use super::RedisQueue;
use super::entries::Entry;
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
    wishes: mpsc::Sender<(JobKind, Wake)>,
}

/// Why somebody is woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wake {
    /// There is something new.
    New,
    /// There is more than the one who rings has room for.
    More,
}

/// The field of an entry that says why.
const FIELD: &[u8] = b"wake";

impl Wake {
    const fn as_str(self) -> &'static str {
        match self {
            Self::New => "new",
            Self::More => "more",
        }
    }

    /// What an entry says; whatever else it says is something new.
    pub(super) fn of(entry: &Entry) -> Self {
        let says_more = |(name, value): &(Vec<u8>, Vec<u8>)| {
            name == FIELD && value == Self::More.as_str().as_bytes()
        };
        if entry.fields.iter().any(says_more) {
            Self::More
        } else {
            Self::New
        }
    }
}

impl RedisBell {
    /// Starts the task that sends the wake-ups.
    pub fn start(
        queue: &RedisQueue,
        local: InProcessBell,
        tracker: &TaskTracker,
        stop: &CancellationToken,
    ) -> Self {
        let (wishes, mut pending) = mpsc::channel::<(JobKind, Wake)>(PENDING_MAX);
        let (queue, stop, home) = (queue.clone(), stop.clone(), local.clone());
        tracker.spawn(async move {
            loop {
                let wish = tokio::select! {
                    () = stop.cancelled() => return,
                    wish = pending.recv() => wish,
                };
                let Some((kind, wake)) = wish else { return };
                if let Err(error) = send(&queue, kind, wake).await {
                    debug!(job.kind = %kind, error = %error, "Redis did not take a wake-up; ringing at home");
                    if wake == Wake::New {
                        local.ring(kind);
                    }
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
        self.wishes.try_send((kind, Wake::New)).ok();
    }

    fn ring_others(&self, kind: JobKind) {
        self.wishes.try_send((kind, Wake::More)).ok();
    }
}

async fn send(queue: &RedisQueue, kind: JobKind, wake: Wake) -> redis::RedisResult<()> {
    let mut connection = queue.shared();
    redis::cmd("XADD")
        .arg(kind.wake_stream())
        .arg("MAXLEN")
        .arg("~")
        .arg(WAKE_ENTRIES_MAX)
        .arg("*")
        .arg(FIELD)
        .arg(wake.as_str())
        .query_async::<()>(&mut connection)
        .await
}
