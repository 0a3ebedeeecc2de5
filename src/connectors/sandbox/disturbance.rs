//! A fault that strikes an HTTP request: what happens, and how much of it is heard.

use std::time::Duration;

use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;

use super::connection::{Cord, Cut};
use super::faults::{Fault, FaultTicket};

/// A fault and the request it strikes.
pub(super) struct Disturbance<'a> {
    pub(super) fault: Fault,
    pub(super) ticket: FaultTicket,
    pub(super) cord: Cord,
    /// When the server stops, what is held is let go.
    pub(super) stop: &'a CancellationToken,
}

impl Disturbance<'_> {
    /// Answers as the fault says: `answer` has the effect, the other two words have none.
    pub(super) async fn strike(
        self,
        answer: impl FnOnce() -> Response,
        unavailable: impl FnOnce() -> Response,
        broken: impl FnOnce() -> Response,
    ) -> Response {
        match self.fault {
            Fault::LostRequest => {
                self.cord.pull(Cut::Close);
                self.ticket.strike();
                unheard()
            }
            Fault::Unavailable => {
                self.ticket.strike();
                unavailable()
            }
            Fault::LostAnswer => {
                let answer = answer();
                self.cord.pull(Cut::Reset);
                self.ticket.strike();
                answer
            }
            Fault::ErrorAfterEffect => {
                drop(answer());
                self.ticket.strike();
                broken()
            }
            Fault::SlowAnswer { delay_ms } => {
                let answer = answer();
                self.ticket.strike();
                tokio::select! {
                    () = sleep(Duration::from_millis(delay_ms)) => {}
                    () = wait_until_let_go(&self.ticket, self.stop) => {}
                }
                answer
            }
            Fault::HeldAnswer => {
                let answer = answer();
                self.ticket.strike();
                wait_until_let_go(&self.ticket, self.stop).await;
                answer
            }
        }
    }
}

/// Waits until a held answer is released, or nobody is there to release it.
pub(super) async fn wait_until_let_go(ticket: &FaultTicket, stop: &CancellationToken) {
    tokio::select! {
        () = ticket.wait_until_released() => {}
        () = stop.cancelled() => {}
    }
}

/// What a handler returns when its connection is cut and nobody will read it.
fn unheard() -> Response {
    StatusCode::OK.into_response()
}
