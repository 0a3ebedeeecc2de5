//! Keeps a loop alive: an error or a panic is logged, waited out and started again.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

const WAIT_FIRST: Duration = Duration::from_millis(50);
/// A dependency that comes back is noticed within this.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// A doubling wait between failures.
#[derive(Debug, Default)]
pub(super) struct Backoff {
    wait: Option<Duration>,
}

impl Backoff {
    /// Whether the last try failed.
    pub(super) const fn is_failing(&self) -> bool {
        self.wait.is_some()
    }

    /// After a success.
    pub(super) fn reset(&mut self) {
        self.wait = None;
    }

    /// After a failure.
    pub(super) async fn wait(&mut self) {
        let wait = self
            .wait
            .map_or(WAIT_FIRST, |last| last.saturating_mul(2).min(WAIT_MAX));
        self.wait = Some(wait);
        tokio::time::sleep(wait).await;
    }
}

/// Runs `body` again and again until `stop`; one that returns `Ok` is started again at once. A body
/// under way is not cut off: what it has begun it finishes, and it looks at `stop` where it waits.
pub async fn supervise<B, F, E>(name: &'static str, stop: CancellationToken, body: B)
where
    B: Fn() -> F,
    F: Future<Output = Result<(), E>>,
    E: std::fmt::Display,
{
    let mut backoff = Backoff::default();
    while !stop.is_cancelled() {
        match AssertUnwindSafe(body()).catch_unwind().await {
            Ok(Ok(())) => {
                backoff.reset();
                continue;
            }
            Ok(Err(failure)) => {
                warn!(task = name, error = %failure, "The {name} failed; trying again");
            }
            Err(_) => {
                error!(task = name, "The {name} panicked; starting it again");
            }
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = backoff.wait() => {}
        }
    }
}
