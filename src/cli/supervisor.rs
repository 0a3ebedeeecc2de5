//! What whoever started the daemon is told of its life, if it asks: systemd, by the socket it names in `NOTIFY_SOCKET`.
//!
//! Without such a socket nothing is told. That a message cannot be delivered is logged and ends nothing.

use std::net::SocketAddr;
use std::time::Duration;

use sd_notify::NotifyState;
use tracing::warn;

use crate::daemon::Daemon;

/// A supervisor that wants signs of life more often than it may get them would be kept waiting by a busy machine.
const SIGN_OF_LIFE_MIN: Duration = Duration::from_millis(100);

/// The daemon listens, and its schema is the right one.
pub(super) fn tell_ready(address: SocketAddr) {
    let status = format!("Serves http://{address}");
    tell(&[NotifyState::Ready, NotifyState::Status(&status)]);
}

/// The daemon takes nothing more and finishes what it has.
pub(super) fn tell_stopping() {
    tell(&[
        NotifyState::Stopping,
        NotifyState::Status("Finishing what runs"),
    ]);
}

/// Gives a sign of life as often as the supervisor asks for it, until the daemon stops. It says that tasks still get
/// their turn; that the database answers is another matter, and no reason to be started again.
pub(super) fn keep_telling(daemon: &Daemon) {
    let Some(patience) = sd_notify::watchdog_enabled() else {
        return;
    };
    let every = (patience / 2).max(SIGN_OF_LIFE_MIN);
    let stopping = daemon.stopping().clone();
    daemon.spawn(async move {
        let mut turns = tokio::time::interval(every);
        let signs = async {
            loop {
                turns.tick().await;
                tell(&[NotifyState::Watchdog]);
            }
        };
        stopping.run_until_cancelled(signs).await;
    });
}

fn tell(states: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(states) {
        warn!(error = %error, "Could not tell the supervisor how the daemon is");
    }
}
