//! The bell inside one process: a permit per kind, so that a ring before the listening is heard.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use clearday_jobs::JobKind;
use tokio::sync::Notify;

use crate::engine::Bell;

/// Wakes the dispatchers of this process.
#[derive(Clone, Debug)]
pub struct InProcessBell(Arc<BTreeMap<JobKind, Arc<Listener>>>);

/// The dispatcher of one kind, as the bell sees it.
#[derive(Debug, Default)]
pub(super) struct Listener {
    bell: Notify,
    /// Whether it has room and nothing to do.
    is_idle: AtomicBool,
}

impl Listener {
    /// Waits for a ring; whoever asks meanwhile finds it idle.
    pub(super) async fn heard(&self) {
        self.is_idle.store(true, Ordering::Release);
        self.bell.notified().await;
    }

    /// It has something to do, or no room.
    pub(super) fn busy(&self) {
        self.is_idle.store(false, Ordering::Release);
    }
}

impl Default for InProcessBell {
    fn default() -> Self {
        let listeners = JobKind::ALL.map(|kind| (kind, Arc::default()));
        Self(Arc::new(BTreeMap::from(listeners)))
    }
}

impl InProcessBell {
    /// Where the dispatcher of a kind listens.
    pub(super) fn listener(&self, kind: JobKind) -> Arc<Listener> {
        // Every kind is in the map; a fresh bell would only mean polling.
        self.0.get(&kind).map(Arc::clone).unwrap_or_default()
    }

    /// Rings if the dispatcher of this kind is idle and nobody has rung for it since; whether it did.
    pub(super) fn ring_if_idle(&self, kind: JobKind) -> bool {
        let Some(listener) = self.0.get(&kind) else {
            return false;
        };
        let was_idle = listener.is_idle.swap(false, Ordering::AcqRel);
        if was_idle {
            listener.bell.notify_one();
        }
        was_idle
    }
}

impl Bell for InProcessBell {
    fn ring(&self, kind: JobKind) {
        if let Some(listener) = self.0.get(&kind) {
            listener.bell.notify_one();
        }
    }
}
