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

/// Idle as long as this lives.
struct Idle<'a>(&'a Listener);

impl Drop for Idle<'_> {
    fn drop(&mut self) {
        self.0.is_idle.store(false, Ordering::Release);
    }
}

impl Listener {
    /// Waits for a ring; whoever asks meanwhile finds it idle. One that stops to listen is not idle any more, or the
    /// jobs that a stopping daemon hands back would ring where nobody hears.
    pub(super) async fn heard(&self) {
        self.is_idle.store(true, Ordering::Release);
        let _idle = Idle(self);
        self.bell.notified().await;
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

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    const KIND: JobKind = JobKind::OrderExpiry;

    #[tokio::test]
    async fn an_idle_listener_is_rung_for_once_and_hears_it() {
        let bell = InProcessBell::default();
        let listener = bell.listener(KIND);
        assert!(!bell.ring_if_idle(KIND));
        let mut heard = Box::pin(listener.heard());
        assert!(heard.as_mut().now_or_never().is_none());
        assert!(bell.ring_if_idle(KIND));
        assert!(!bell.ring_if_idle(KIND));
        heard.await;
    }

    #[tokio::test]
    async fn one_that_stops_to_listen_is_not_idle_any_more() {
        let bell = InProcessBell::default();
        let listener = bell.listener(KIND);
        assert!(listener.heard().now_or_never().is_none());
        assert!(!bell.ring_if_idle(KIND));
    }
}
