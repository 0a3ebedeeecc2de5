//! The sandbox bank's HTTP face, and the JSON that its server writes and its client reads.
//!
//! `POST /v1/bank/payouts` orders, `GET /v1/bank/payouts/{end_to_end_id}` asks, `POST /v1/bank/book` ends a day and
//! `GET /v1/bank/statement/{date}` is that day as camt.053.

use axum::Router;
use axum::extract::{ConnectInfo, Json, Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use chrono::{DateTime, NaiveDate, Utc};
use clearday_jobs::{Amount, Reference};
use serde::{Deserialize, Serialize};

use super::bank_books::{BankRefusal, Payout, PayoutRequest, PayoutStatus};
use super::connection::Cord;
use super::faults::Operation;
use super::server::{Face, error, key_missing, key_of};

/// Orders a payout: `POST /v1/bank/payouts`.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct OrderBody {
    pub(super) end_to_end_id: Reference,
    #[serde(flatten)]
    pub(super) amount: Amount,
    pub(super) payee_account_no: String,
    pub(super) payee_name: String,
    pub(super) remittance: String,
}

/// One payout.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PayoutBody {
    pub(super) end_to_end_id: Reference,
    pub(super) status: PayoutStatus,
    pub(super) status_since: DateTime<Utc>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(super) reason: Option<String>,
    #[serde(flatten)]
    pub(super) amount: Amount,
}

/// Ends a day: `POST /v1/bank/book`.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct BookBody {
    date: NaiveDate,
}

impl From<Payout> for PayoutBody {
    fn from(payout: Payout) -> Self {
        Self {
            end_to_end_id: payout.request.end_to_end_id,
            status: payout.status,
            status_since: payout.status_since,
            reason: payout.reason,
            amount: payout.request.amount.into(),
        }
    }
}

pub(super) fn routes() -> Router<Face> {
    Router::new()
        .route("/v1/bank/payouts", post(pay_out))
        .route("/v1/bank/payouts/{end_to_end_id}", get(query))
        .route("/v1/bank/book", post(book))
        .route("/v1/bank/statement/{date}", get(statement))
}

async fn pay_out(
    State(face): State<Face>,
    ConnectInfo(cord): ConnectInfo<Cord>,
    headers: HeaderMap,
    Json(body): Json<OrderBody>,
) -> Response {
    let id = body.end_to_end_id.clone();
    let Some(key) = key_of(&headers) else {
        return key_missing(&id);
    };
    let request = PayoutRequest {
        end_to_end_id: body.end_to_end_id,
        amount: body.amount.into(),
        payee_account_no: body.payee_account_no,
        payee_name: body.payee_name,
        remittance: body.remittance,
    };
    let act = || face.sandbox.pay_out(&request, key);
    let answer = || reply(Some(&id), act().map(PayoutBody::from));
    face.disturb(cord, Operation::PayOut, &id, answer).await
}

async fn query(
    State(face): State<Face>,
    ConnectInfo(cord): ConnectInfo<Cord>,
    Path(id): Path<Reference>,
) -> Response {
    let act = || face.sandbox.query_payout(&id);
    let answer = || reply(Some(&id), act().map(PayoutBody::from));
    face.disturb(cord, Operation::QueryPayout, &id, answer)
        .await
}

async fn book(State(face): State<Face>, Json(body): Json<BookBody>) -> Response {
    let done = face.sandbox.book_day(body.date);
    let told = done.map(|done| done.into_iter().map(PayoutBody::from).collect::<Vec<_>>());
    reply(None, told)
}

async fn statement(State(face): State<Face>, Path(date): Path<NaiveDate>) -> Response {
    match face.sandbox.statement(date) {
        Ok(xml) => ([(header::CONTENT_TYPE, "application/xml")], xml).into_response(),
        Err(refusal) => refused(None, refusal),
    }
}

fn reply<Body: Serialize>(id: Option<&Reference>, answer: Result<Body, BankRefusal>) -> Response {
    match answer {
        Ok(body) => Json(body).into_response(),
        Err(refusal) => refused(id, refusal),
    }
}

fn refused(id: Option<&Reference>, refusal: BankRefusal) -> Response {
    let status = status_of(refusal);
    error(status, refusal.code(), &refusal.to_string(), id)
}

fn status_of(refusal: BankRefusal) -> StatusCode {
    match refusal {
        BankRefusal::PayoutNotFound => StatusCode::NOT_FOUND,
        BankRefusal::EndToEndIdReused
        | BankRefusal::KeyReused
        | BankRefusal::NotBooked
        | BankRefusal::DayOver
        | BankRefusal::Balance => StatusCode::CONFLICT,
        BankRefusal::AmountNotPositive
        | BankRefusal::OtherCurrency
        | BankRefusal::EndToEndIdTooLong
        | BankRefusal::PayeeMissing => StatusCode::UNPROCESSABLE_ENTITY,
    }
}
