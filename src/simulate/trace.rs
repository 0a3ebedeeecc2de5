//! What happened, a line per step.

use chrono::{DateTime, Utc};

/// The lines of one story; none where nobody reads them.
#[derive(Debug)]
pub(super) struct Trace(Option<Vec<String>>);

impl Trace {
    pub(super) fn new(is_kept: bool) -> Self {
        Self(is_kept.then(Vec::new))
    }

    /// Whether somebody reads it.
    pub(super) fn is_kept(&self) -> bool {
        self.0.is_some()
    }

    /// Adds a line; its words are made only where somebody reads them.
    pub(super) fn add(&mut self, now: DateTime<Utc>, words: impl FnOnce() -> String) {
        if let Some(lines) = &mut self.0 {
            let at = now.format("%d %H:%M:%S%.3f");
            lines.push(format!("{at} {}", words()));
        }
    }

    pub(super) fn close(self) -> Vec<String> {
        self.0.unwrap_or_default()
    }
}
