//! The mailroom's HTTP doors: the SMS gateway and the webhook endpoints.

use std::io;

use axum::Router;
use axum::extract::{ConnectInfo, Json, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::books::{ReceivedSms, ReceivedWebhook};
use super::{MailroomHandle, Operation};
use crate::connectors::messages::{
    ErrorBody, MESSAGE_NOT_FOUND, MessageBody, NOT_PROCESSED, SmsStatus, StatusBody,
};
use crate::connectors::sandbox::connection::{Cord, CuttableListener};
use crate::connectors::sandbox::disturbance::Disturbance;

#[derive(Clone)]
struct Doors {
    mailroom: MailroomHandle,
    stop: CancellationToken,
}

pub(super) async fn serve(
    listener: TcpListener,
    mailroom: MailroomHandle,
    stop: CancellationToken,
) -> io::Result<()> {
    let service = routes(mailroom, stop.clone()).into_make_service_with_connect_info::<Cord>();
    axum::serve(CuttableListener(listener), service)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
}

/// The doors of a mailroom; until `stop`, faults may hold answers.
pub(in crate::connectors::sandbox) fn routes(
    mailroom: MailroomHandle,
    stop: CancellationToken,
) -> Router {
    Router::new()
        .route("/v1/messages", post(take_sms))
        .route("/v1/messages/{id}", get(query_sms))
        .route("/webhooks/{endpoint}", post(take_webhook))
        .with_state(Doors { mailroom, stop })
}

async fn take_sms(
    State(doors): State<Doors>,
    ConnectInfo(cord): ConnectInfo<Cord>,
    Json(body): Json<MessageBody>,
) -> Response {
    let MessageBody { id, to, text } = body;
    if doors.mailroom.is_refused(&to) {
        let status = StatusCode::UNPROCESSABLE_ENTITY;
        return error(status, "invalid_number", "no such number", &id);
    }
    let answer = || {
        let new = ReceivedSms {
            id: id.clone(),
            to: to.clone(),
            text,
            at: doors.mailroom.now(),
            handed_over: 1,
        };
        let status = doors.mailroom.books().take_sms(new);
        (StatusCode::ACCEPTED, status_body(&id, status)).into_response()
    };
    doors
        .disturb((cord, Operation::SendSms), (&to, &id), answer)
        .await
}

async fn query_sms(
    State(doors): State<Doors>,
    ConnectInfo(cord): ConnectInfo<Cord>,
    Path(id): Path<String>,
) -> Response {
    let known = doors.mailroom.books().find_sms(&id).cloned();
    // A message that nobody knows has no number: what is to go wrong is queued for its id.
    let address = known.as_ref().map_or(&id, |sms| &sms.to);
    let answer = || {
        if known.is_some() {
            return status_body(&id, SmsStatus::Delivered).into_response();
        }
        let status = StatusCode::NOT_FOUND;
        error(status, MESSAGE_NOT_FOUND, "no message has this id", &id)
    };
    doors
        .disturb((cord, Operation::QuerySms), (address, &id), answer)
        .await
}

async fn take_webhook(
    State(doors): State<Doors>,
    ConnectInfo(cord): ConnectInfo<Cord>,
    Path(endpoint): Path<String>,
    headers: HeaderMap,
    body: String,
) -> Response {
    let header = |name: &str| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let (id, timestamp) = (header("webhook-id"), header("webhook-timestamp"));
    let signatures = header("webhook-signature");
    let mailroom = &doors.mailroom;
    if mailroom.rules().retired.contains(&endpoint) {
        return StatusCode::GONE.into_response();
    }
    let now = mailroom.now();
    let keys = mailroom.rules().keys.get(&endpoint).cloned();
    let verified =
        keys.map(|keys| keys.verify((&id, &timestamp, &signatures), body.as_bytes(), now));
    let is_verified = matches!(verified, Some(Ok(())));
    let answer = || {
        mailroom.books().webhooks.push(ReceivedWebhook {
            endpoint: endpoint.clone(),
            id: id.clone(),
            timestamp,
            body,
            is_verified,
            at: now,
        });
        if is_verified {
            StatusCode::NO_CONTENT.into_response()
        } else {
            StatusCode::UNAUTHORIZED.into_response()
        }
    };
    doors
        .disturb((cord, Operation::CallWebhook), (&endpoint, &id), answer)
        .await
}

impl Doors {
    /// Answers, unless a fault waits for this request: then as the fault says.
    async fn disturb(
        &self,
        (cord, operation): (Cord, Operation),
        (address, id): (&str, &str),
        answer: impl FnOnce() -> Response,
    ) -> Response {
        let Some((fault, ticket)) = self.mailroom.take_fault(operation, address) else {
            return answer();
        };
        let unavailable = || {
            let status = StatusCode::SERVICE_UNAVAILABLE;
            error(status, NOT_PROCESSED, "nothing was sent", id)
        };
        let broken = || StatusCode::INTERNAL_SERVER_ERROR.into_response();
        let disturbance = Disturbance {
            fault,
            ticket,
            cord,
            stop: &self.stop,
        };
        disturbance.strike(answer, unavailable, broken).await
    }
}

fn status_body(id: &str, status: SmsStatus) -> Json<StatusBody> {
    Json(StatusBody {
        id: id.to_owned(),
        status,
        reason: None,
    })
}

fn error(status: StatusCode, code: &str, message: &str, id: &str) -> Response {
    let body = ErrorBody {
        id: id.to_owned(),
        code: code.to_owned(),
        message: message.to_owned(),
    };
    (status, Json(body)).into_response()
}
