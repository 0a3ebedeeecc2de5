//! Paying out, held against the contract of connectors.
#![cfg(test)]

use std::net::SocketAddr;
use std::time::Duration;

use clearday::connectors::sandbox::{BankEvent, Fault, FaultTicket, Operation};
use clearday::connectors::{Banks, ChannelError, PayoutAnswer, PayoutOrder, PayoutState};

use super::answers::{self, Spoken};
use super::close::sandbox_error;
use super::kit::{Call, Promises, Request, Speech, Subject, Told, WINDOW, clock};
use super::troubles;
use crate::support::sandbox::{RunningSandbox, bank, banks_within, cny, reference};

/// What the connector says of each trouble, what the bank's books then show, and how it ends.
const TROUBLES: &str = "\
lost_request: ask unknown; act unknown, effects 0; ask unknown; stands NotFound; again Accepted, effects 1; stands Accepted
lost_answer: ask unknown; act unknown, effects 1; ask unknown; stands Accepted; again Accepted, effects 1; stands Accepted
error_after_effect: ask unknown; act unknown, effects 1; ask unknown; stands Accepted; again Accepted, effects 1; stands Accepted
slow_answer: ask unknown; act unknown, effects 1; ask unknown; stands Accepted; again Accepted, effects 1; stands Accepted
held_answer: ask unknown; act unknown, effects 1; ask unknown; stands Accepted; again Accepted, effects 1; stands Accepted
unavailable: ask unavailable; act unavailable, effects 0; ask unavailable; stands NotFound; again Accepted, effects 1; stands Accepted
nobody_listens: ask unavailable; act unavailable, effects 0; stands NotFound; again Accepted, effects 1; stands Accepted
nobody_accepts: ask unavailable; act unavailable, effects 0; stands NotFound; again Accepted, effects 1; stands Accepted
duplicate_answer: act Accepted, effects 1; act unknown, effects 0; stands Accepted; again Accepted, effects 1; stands Accepted; stands NotFound; again Accepted, effects 1; stands Accepted
answer_about_another: act unknown, effects 1; ask unknown; stands Accepted; again Accepted, effects 1; stands Accepted
answer_to_another_key: act Accepted, effects 1; stands Accepted
answer_to_a_question: stands NotFound; act unknown, effects 1; stands Accepted; again Accepted, effects 1; stands Accepted
late_arrival: act unknown, effects 0; stands NotFound; within 300 s; arrives, effects 1; stands Accepted; again Accepted, effects 1; stands Accepted
overtaken: act unknown, effects 0; again Accepted, effects 1; arrives, effects 1; stands Accepted
";

/// What the connector makes of answers that the sandbox itself never gives: to a query, then to an order.
const ANSWERS: &str = "\
nothing at all: unknown, unknown
no HTTP: unknown, unknown
half a body: unknown, unknown
200 OK: garbage: unknown, unknown
200 OK: empty: unknown, unknown
200 OK: of a gateway: unknown, unknown
200 OK: about another: unknown, unknown
200 OK: without end: unknown, unknown
200 OK: booked: Booked, Booked
200 OK: another amount: Accepted, unknown
200 OK: no status of ours: unknown, unknown
200 OK: rejected: Rejected(no such payee), Rejected(no such payee)
200 OK: returned: Returned(closed), Returned(closed)
202 Accepted: unknown, unknown
204 No Content: unknown, unknown
302 Found: unknown, unknown
307 elsewhere: unknown, unknown
400 Bad Request: bad_key: invalid, invalid
400 Bad Request: of a gateway: unknown, unknown
401 Unauthorized: unknown, unknown
402 Payment Required: of a gateway: unknown, unknown
402 Payment Required: insufficient_funds about another: unknown, unknown
402 Payment Required: insufficient_funds: unknown, unknown
403 Forbidden: of a gateway: unknown, unknown
404 Not Found: of a gateway: unknown, unknown
404 Not Found: payout_not_found about another: unknown, unknown
404 Not Found: payout_not_found: NotFound, unknown
408 Request Timeout: unknown, unknown
409 Conflict: of a gateway: unknown, unknown
409 Conflict: end_to_end_id_reused about another: unknown, unknown
409 Conflict: end_to_end_id_reused: unknown, unknown
410 Gone: unknown, unknown
422 Unprocessable Entity: payee_missing about another: unknown, unknown
422 Unprocessable Entity: payee_missing: invalid, invalid
429 Too Many Requests: of a gateway: unknown, unknown
429 Too Many Requests: not_processed: unknown, unknown
500 Internal Server Error: of a gateway: unknown, unknown
500 Internal Server Error: not_processed: unknown, unknown
502 Bad Gateway: unknown, unknown
503 Service Unavailable: of a gateway: unknown, unknown
503 Service Unavailable: busy: unknown, unknown
503 Service Unavailable: not_processed about another: unknown, unknown
503 Service Unavailable: not_processed: unavailable, unavailable
504 Gateway Timeout: unknown, unknown
";

#[tokio::test]
async fn no_trouble_becomes_a_rejection_and_all_heal_with_one_payout() {
    let pay_out = PayOut::start().await;
    assert_eq!(troubles::table(&pay_out).await, TROUBLES);
}

#[tokio::test]
async fn only_the_banks_own_words_about_this_payout_are_believed() {
    let pay_out = PayOut::start().await;
    assert_eq!(answers::table(&pay_out).await, ANSWERS);
}

struct PayOut(RunningSandbox);

impl PayOut {
    async fn start() -> Self {
        Self(RunningSandbox::start(clock()).await)
    }
}

impl Subject for PayOut {
    type Connector = Banks;

    fn promises(&self, banks: &Banks) -> Promises {
        let can = bank(banks).capabilities();
        Promises {
            is_idempotent: can.payout_is_idempotent,
            is_one_by_reference: true,
            window: Some(can.processing_window),
            speech: Speech::Words,
        }
    }

    fn address(&self) -> SocketAddr {
        self.0.address
    }

    fn connector(&self, address: SocketAddr, patience: Duration) -> Banks {
        let base_url = format!("http://{address}");
        banks_within(WINDOW, &base_url, patience, &clock())
    }

    async fn prepare(&self, _: &Call) {}

    async fn act(&self, banks: &Banks, call: &Call) -> Told {
        let order = PayoutOrder {
            end_to_end_id: &reference(&call.about),
            amount: cny(1_234),
            payee_account_no: "62221234",
            payee_name: "Tea House",
            remittance: "settlement",
            idempotency_key: &call.key,
        };
        told(bank(banks).pay_out(&order).await)
    }

    async fn ask(&self, banks: &Banks, call: &Call) -> Option<Told> {
        let answer = bank(banks).query(&reference(&call.about)).await;
        Some(told(answer))
    }

    fn effects(&self, call: &Call) -> usize {
        let books = self.0.handle.bank_books();
        books.count_effects(BankEvent::Accept, &reference(&call.about))
    }

    fn disturb(&self, request: Request, call: &Call, fault: Fault) -> FaultTicket {
        let operation = match request {
            Request::Act => Operation::PayOut,
            Request::Ask => Operation::QueryPayout,
        };
        let id = reference(&call.about);
        self.0.handle.queue_fault(operation, &id, fault)
    }
}

impl Spoken for PayOut {
    const CODES: [&'static str; 3] = ["payout_not_found", "end_to_end_id_reused", "payee_missing"];

    fn bodies(&self, about: &str) -> Vec<(&'static str, String)> {
        let payout = |status: &str, reason: &str, amount: &str| {
            format!(
                r#"{{"end_to_end_id":"{about}","status":"{status}","status_since":"2026-06-01T00:00:00Z",
                {reason}"amount":"{amount}","currency":"CNY","new_field":1}}"#
            )
        };
        let (unknown, closed) = (r#""reason":"no such payee","#, r#""reason":"closed","#);
        vec![
            ("booked", payout("booked", "", "12.34")),
            ("another amount", payout("accepted", "", "12.35")),
            ("no status of ours", payout("frozen", "", "12.34")),
            ("rejected", payout("rejected", unknown, "12.34")),
            ("returned", payout("returned", closed, "12.34")),
        ]
    }

    fn error(&self, about: &str, code: &str) -> String {
        sandbox_error(about, code)
    }
}

fn told(answer: Result<PayoutAnswer, ChannelError>) -> Told {
    match answer.map(|answer| answer.state) {
        Ok(state @ (PayoutState::Accepted | PayoutState::Booked)) => {
            Told::done(format!("{state:?}"))
        }
        Ok(PayoutState::Returned { reason }) => Told::done(format!("Returned({reason})")),
        Ok(PayoutState::NotFound) => Told::not_done("NotFound"),
        Ok(PayoutState::Rejected { reason }) => Told::refused(format!("Rejected({reason})")),
        Err(error) => error.into(),
    }
}
