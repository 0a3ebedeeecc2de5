//! The sandbox's HTTP face, on loopback only.
//!
//! Thin: it reads a request, lets [`SandboxHandle`] decide, and lets the queued fault decide how much of that is
//! heard. There is no authentication, which is why it refuses to listen where others could reach it.

use std::io;
use std::net::SocketAddr;

use axum::Router;
use axum::extract::{ConnectInfo, Json, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use clearday_jobs::Reference;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::bank_face;
use super::books::Refusal;
use super::connection::{Cord, CuttableListener};
use super::disturbance::Disturbance;
use super::faults::{FaultTicket, Operation};
use super::handle::SandboxHandle;
use super::hold_face;
use super::messages::{
    ClosedBody, CreateBody, EffectBody, ErrorBody, FaultBody, NOT_PROCESSED, PaymentBody,
    TicketBody,
};

/// Why the sandbox does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// The listener could be reached from outside.
    #[error("the sandbox serves on loopback only, and {0} is not")]
    NotLoopback(SocketAddr),
    /// The listener failed.
    #[error("the sandbox cannot listen")]
    Listen(#[from] io::Error),
}

/// Serves until `stop`, then lets held answers go, finishes what it was asked, and returns.
pub async fn serve(
    listener: TcpListener,
    sandbox: SandboxHandle,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    let address = listener.local_addr()?;
    if !address.ip().is_loopback() {
        return Err(ServeError::NotLoopback(address));
    }
    let service = routes(sandbox, stop.clone()).into_make_service_with_connect_info::<Cord>();
    axum::serve(CuttableListener(listener), service)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await?;
    Ok(())
}

/// The face of a sandbox; until `stop`, faults may hold answers.
pub(super) fn routes(sandbox: SandboxHandle, stop: CancellationToken) -> Router {
    router(Face { sandbox, stop })
}

#[derive(Clone)]
pub(super) struct Face {
    pub(super) sandbox: SandboxHandle,
    stop: CancellationToken,
}

fn router(face: Face) -> Router {
    Router::new()
        .route("/v1/payments", post(create))
        .route("/v1/payments/{reference}", get(query))
        .route("/v1/payments/{reference}/close", post(close))
        .route("/v1/payments/{reference}/pay", post(pay))
        .route("/v1/effects", get(effects))
        .route("/v1/faults", post(queue_fault))
        .route("/v1/faults/{id}", get(show_fault))
        .route("/v1/faults/{id}/release", post(release_fault))
        .merge(bank_face::routes())
        .merge(hold_face::routes())
        .with_state(face)
}

async fn create(
    State(face): State<Face>,
    ConnectInfo(cord): ConnectInfo<Cord>,
    Json(body): Json<CreateBody>,
) -> Response {
    let reference = &body.reference;
    let act = || face.sandbox.create(reference, body.amount.into());
    let answer = || reply(reference, act().map(PaymentBody::from));
    face.disturb(cord, Operation::Create, reference, answer)
        .await
}

async fn query(
    State(face): State<Face>,
    ConnectInfo(cord): ConnectInfo<Cord>,
    Path(reference): Path<Reference>,
) -> Response {
    let act = || face.sandbox.query(&reference);
    let answer = || reply(&reference, act().map(PaymentBody::from));
    face.disturb(cord, Operation::Query, &reference, answer)
        .await
}

async fn close(
    State(face): State<Face>,
    ConnectInfo(cord): ConnectInfo<Cord>,
    Path(reference): Path<Reference>,
    headers: HeaderMap,
) -> Response {
    let Some(key) = key_of(&headers) else {
        return key_missing(&reference);
    };
    let act = || face.sandbox.close(&reference, key);
    let answer = || {
        let closed = act().map(|closing| ClosedBody::new(&reference, &closing));
        reply(&reference, closed)
    };
    face.disturb(cord, Operation::Close, &reference, answer)
        .await
}

async fn pay(
    State(face): State<Face>,
    ConnectInfo(cord): ConnectInfo<Cord>,
    Path(reference): Path<Reference>,
) -> Response {
    let act = || face.sandbox.pay(&reference);
    let answer = || reply(&reference, act().map(PaymentBody::from));
    face.disturb(cord, Operation::Pay, &reference, answer).await
}

async fn effects(State(face): State<Face>) -> Response {
    let effects = face.sandbox.effects().into_iter().map(EffectBody::from);
    Json(effects.collect::<Vec<_>>()).into_response()
}

async fn queue_fault(State(face): State<Face>, Json(body): Json<FaultBody>) -> Response {
    let ticket = face
        .sandbox
        .queue_fault(body.operation, &body.reference, body.fault);
    (StatusCode::CREATED, Json(TicketBody::from(&ticket))).into_response()
}

async fn show_fault(State(face): State<Face>, Path(id): Path<u64>) -> Response {
    with_ticket(&face, id, |_| ())
}

async fn release_fault(State(face): State<Face>, Path(id): Path<u64>) -> Response {
    with_ticket(&face, id, FaultTicket::release)
}

fn with_ticket(face: &Face, id: u64, act: impl FnOnce(&FaultTicket)) -> Response {
    let Some(ticket) = face.sandbox.find_fault(id) else {
        let message = "no fault has this number";
        return error(StatusCode::NOT_FOUND, "fault_not_found", message, None);
    };
    act(&ticket);
    Json(TicketBody::from(&ticket)).into_response()
}

impl Face {
    /// Answers, unless a fault waits for this request: then as the fault says.
    pub(super) async fn disturb(
        &self,
        cord: Cord,
        operation: Operation,
        reference: &Reference,
        answer: impl FnOnce() -> Response,
    ) -> Response {
        let Some((fault, ticket)) = self.sandbox.take_fault(operation, reference) else {
            return answer();
        };
        let unavailable = || {
            let message = "try again later; nothing was done";
            let status = StatusCode::SERVICE_UNAVAILABLE;
            error(status, NOT_PROCESSED, message, Some(reference))
        };
        let broken = || {
            let status = StatusCode::INTERNAL_SERVER_ERROR;
            error(status, "internal", "something went wrong", Some(reference))
        };
        let disturbance = Disturbance {
            fault,
            ticket,
            cord,
            stop: &self.stop,
        };
        disturbance.strike(answer, unavailable, broken).await
    }
}

/// The key a request came with.
pub(super) fn key_of(headers: &HeaderMap) -> Option<&str> {
    headers
        .get("idempotency-key")
        .and_then(|key| key.to_str().ok())
        .filter(|key| !key.is_empty())
}

pub(super) fn key_missing(reference: &Reference) -> Response {
    error(
        StatusCode::BAD_REQUEST,
        "idempotency_key_missing",
        "this wants the header Idempotency-Key",
        Some(reference),
    )
}

fn reply<Body: serde::Serialize>(reference: &Reference, answer: Result<Body, Refusal>) -> Response {
    match answer {
        Ok(body) => Json(body).into_response(),
        Err(refusal) => error(
            status_of(refusal),
            refusal.code(),
            &refusal.to_string(),
            Some(reference),
        ),
    }
}

fn status_of(refusal: Refusal) -> StatusCode {
    match refusal {
        Refusal::PaymentNotFound => StatusCode::NOT_FOUND,
        Refusal::OrderPaid | Refusal::OrderClosed | Refusal::ReferenceReused => {
            StatusCode::CONFLICT
        }
        Refusal::KeyReused | Refusal::AmountNotPositive => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

pub(super) fn error(
    status: StatusCode,
    code: &str,
    message: &str,
    reference: Option<&Reference>,
) -> Response {
    let body = ErrorBody {
        code: code.to_owned(),
        message: message.to_owned(),
        reference: reference.cloned(),
    };
    (status, Json(body)).into_response()
}
