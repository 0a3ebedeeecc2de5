//! The sandbox and its mailroom without sockets: the same HTTP faces, called within the process.

use std::fmt;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::ConnectInfo;
use axum::http::StatusCode;
use tokio_util::sync::CancellationToken;
use tower::ServiceExt as _;

use super::connection::Cord;
use super::handle::SandboxHandle;
use super::mailroom::{self, MailroomHandle};
use super::server;
use crate::connectors::outbound::ANSWER_BYTES_MAX;
use crate::connectors::wire::{Delivered, Parcel};

/// A sandbox and a mailroom that answer requests at once.
#[derive(Clone)]
pub struct SandboxWithin(Router);

impl SandboxWithin {
    /// The faces of these two.
    pub fn new(sandbox: SandboxHandle, mailroom: MailroomHandle) -> Self {
        let stop = CancellationToken::new();
        let doors = mailroom::routes(mailroom, stop.clone());
        Self(server::routes(sandbox, stop).merge(doors))
    }

    /// Answers one request; its effect is in the books by then.
    pub async fn answer(&self, parcel: Parcel) -> Delivered {
        let mut request = parcel.map(Body::from);
        let extensions = request.extensions_mut();
        extensions.insert(ConnectInfo(Cord::default()));
        let response = match self.0.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
        let status = response.status();
        // Twice what a client keeps, so that an answer that is too long is still seen to be.
        let body = to_bytes(response.into_body(), ANSWER_BYTES_MAX.saturating_mul(2)).await;
        body.map_or_else(
            |_| Delivered {
                status: StatusCode::INTERNAL_SERVER_ERROR,
                body: axum::body::Bytes::new(),
            },
            |body| Delivered { status, body },
        )
    }
}

impl fmt::Debug for SandboxWithin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SandboxWithin")
            .finish_non_exhaustive()
    }
}
