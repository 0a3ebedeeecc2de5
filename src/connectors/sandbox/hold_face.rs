//! The HTTP face of the sandbox's authorizations, and the JSON that its server writes and its client reads.
//!
//! `POST /v1/authorizations` holds, `GET /v1/authorizations/{reference}` asks, `…/void` lets go, and `…/capture` and
//! `…/lapse` are what a shop and time do.

use axum::Router;
use axum::extract::{ConnectInfo, Json, Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use chrono::{DateTime, Utc};
use clearday_jobs::{Amount, Capture, Reference};
use serde::{Deserialize, Serialize};

use super::connection::Cord;
use super::faults::Operation;
use super::hold_books::{Hold, HoldRefusal, HoldRequest, HoldStatus};
use super::server::{Face, error, key_missing, key_of};

/// Asks to hold money: `POST /v1/authorizations`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct HoldAskBody {
    pub(super) reference: Reference,
    #[serde(flatten)]
    pub(super) amount: Amount,
    pub(super) token: String,
    pub(super) capture: Capture,
}

/// Asks to let go of all above `keep`: `POST /v1/authorizations/{reference}/void`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct VoidBody {
    pub(super) keep: Amount,
}

/// One authorization.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct HoldBody {
    pub(super) reference: Reference,
    pub(super) channel_trade_no: String,
    pub(super) status: HoldStatus,
    pub(super) status_since: DateTime<Utc>,
    #[serde(flatten)]
    pub(super) amount: Amount,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) decline_code: Option<String>,
}

impl From<Hold> for HoldBody {
    fn from(hold: Hold) -> Self {
        Self {
            reference: hold.reference,
            channel_trade_no: hold.channel_trade_no,
            status: hold.status,
            status_since: hold.status_since,
            amount: hold.amount.into(),
            decline_code: hold.decline_code,
        }
    }
}

pub(super) fn routes() -> Router<Face> {
    Router::new()
        .route("/v1/authorizations", post(authorize))
        .route("/v1/authorizations/{reference}", get(query))
        .route("/v1/authorizations/{reference}/void", post(void))
        .route("/v1/authorizations/{reference}/capture", post(capture))
        .route("/v1/authorizations/{reference}/lapse", post(lapse))
}

async fn authorize(
    State(face): State<Face>,
    ConnectInfo(cord): ConnectInfo<Cord>,
    headers: HeaderMap,
    Json(body): Json<HoldAskBody>,
) -> Response {
    let Some(key) = key_of(&headers) else {
        return key_missing(&body.reference);
    };
    let request = HoldRequest {
        reference: body.reference,
        amount: body.amount.into(),
        token: body.token,
        capture: body.capture,
    };
    let reference = &request.reference;
    let answer = || reply(reference, face.sandbox.authorize(&request, key));
    face.disturb(cord, Operation::Authorize, reference, answer)
        .await
}

async fn query(
    State(face): State<Face>,
    ConnectInfo(cord): ConnectInfo<Cord>,
    Path(reference): Path<Reference>,
) -> Response {
    let answer = || reply(&reference, face.sandbox.query_authorization(&reference));
    face.disturb(cord, Operation::QueryAuthorization, &reference, answer)
        .await
}

async fn void(
    State(face): State<Face>,
    ConnectInfo(cord): ConnectInfo<Cord>,
    Path(reference): Path<Reference>,
    headers: HeaderMap,
    Json(body): Json<VoidBody>,
) -> Response {
    let Some(key) = key_of(&headers) else {
        return key_missing(&reference);
    };
    let keep = body.keep.into();
    let answer = || reply(&reference, face.sandbox.void(&reference, keep, key));
    face.disturb(cord, Operation::Void, &reference, answer)
        .await
}

async fn capture(State(face): State<Face>, Path(reference): Path<Reference>) -> Response {
    reply(&reference, face.sandbox.capture(&reference))
}

async fn lapse(State(face): State<Face>, Path(reference): Path<Reference>) -> Response {
    reply(&reference, face.sandbox.lapse(&reference))
}

fn reply(reference: &Reference, answer: Result<Hold, HoldRefusal>) -> Response {
    match answer {
        Ok(hold) => Json(HoldBody::from(hold)).into_response(),
        Err(refusal) => {
            let status = status_of(&refusal);
            error(
                status,
                refusal.code(),
                &refusal.to_string(),
                Some(reference),
            )
        }
    }
}

fn status_of(refusal: &HoldRefusal) -> StatusCode {
    match refusal {
        HoldRefusal::NotFound => StatusCode::NOT_FOUND,
        HoldRefusal::Declined(_) => StatusCode::PAYMENT_REQUIRED,
        HoldRefusal::Captured
        | HoldRefusal::Voided
        | HoldRefusal::Lapsed
        | HoldRefusal::ReferenceReused => StatusCode::CONFLICT,
        HoldRefusal::KeyReused | HoldRefusal::AmountNotPositive | HoldRefusal::KeepImpossible => {
            StatusCode::UNPROCESSABLE_ENTITY
        }
    }
}
