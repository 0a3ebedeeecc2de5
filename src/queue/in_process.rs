//! The bell inside one process: a permit per kind, so that a ring before the listening is heard.

use std::collections::BTreeMap;
use std::sync::Arc;

use clearday_jobs::JobKind;
use tokio::sync::Notify;

use crate::engine::Bell;

/// Wakes the dispatchers of this process.
#[derive(Clone, Debug)]
pub struct InProcessBell(Arc<BTreeMap<JobKind, Arc<Notify>>>);

impl Default for InProcessBell {
    fn default() -> Self {
        let bells = JobKind::ALL.map(|kind| (kind, Arc::new(Notify::new())));
        Self(Arc::new(BTreeMap::from(bells)))
    }
}

impl InProcessBell {
    /// What the dispatcher of a kind waits on.
    pub(super) fn listen(&self, kind: JobKind) -> Arc<Notify> {
        // Every kind is in the map; a fresh bell would only mean polling.
        self.0.get(&kind).map(Arc::clone).unwrap_or_default()
    }
}

impl Bell for InProcessBell {
    fn ring(&self, kind: JobKind) {
        if let Some(bell) = self.0.get(&kind) {
            bell.notify_one();
        }
    }
}
