//! Decides how an order that nobody paid for in time comes to its end.
//!
//! At exactly `expires_at` the group becomes *expiring*: no payment may start. It becomes *expired*
//! only with proof that every reference ever issued for it is closed: query, close at the channel,
//! expire. Money found on the way is taken. Members of a combination move together, at the
//! earliest member's deadline; one member in review holds all. A group that ended another way (paid
//! elsewhere, withdrawn) is settled only when its references are proved closed, too: an open one
//! could still take money. So is what payment methods hold for it: let go, with proof; see [`held`].

mod held;

use chrono::{DateTime, TimeDelta, Utc};
use clearday_jobs::{MerchantId, Money, MoneyError};

use super::authorization::{Authorization, AuthorizationWithCall};
use super::operation::{Operation, OperationState};
use super::order::{Order, OrderState, PaymentReference, ReferenceState};

/// How soon a group held by a review is looked at again.
const REVIEW_RECHECK: TimeDelta = TimeDelta::minutes(5);
/// How soon an open question is put to the channel again at first.
const QUERY_AGAIN_FIRST: TimeDelta = TimeDelta::seconds(5);
/// And at last: an old question is not answered sooner by asking every few seconds.
const QUERY_AGAIN_LAST: TimeDelta = TimeDelta::minutes(10);

/// Everything known about a group, read in one transaction.
#[derive(Clone, Debug, Default)]
pub struct GroupSnapshot {
    /// Its members, by number.
    pub orders: Vec<Order>,
    /// Every reference ever issued for it, with the newest attempt to close it.
    pub references: Vec<(PaymentReference, Option<Operation>)>,
    /// Every authorization of its members, with the newest call about it.
    pub authorizations: Vec<AuthorizationWithCall>,
}

impl GroupSnapshot {
    /// The merchant whose orders all of them are; none when they are of several.
    pub fn sole_merchant(&self) -> Option<&MerchantId> {
        let first = &self.orders.first()?.merchant_id;
        let is_theirs = |order: &Order| order.merchant_id == *first;
        self.orders.iter().all(is_theirs).then_some(first)
    }
}

/// What to do with a group now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ExpiryDecision {
    /// Nothing is left to do; why.
    Settled(&'static str),
    /// Look again at this instant.
    Snooze(DateTime<Utc>, String),
    /// The deadline came: forbid new payments.
    BeginExpiring,
    /// Ask the channel about these references, each with the newest attempt to close it.
    Query(Vec<(PaymentReference, Option<Operation>)>),
    /// Let go of what these hold, or ask what became of them.
    LetGo(Vec<AuthorizationWithCall>),
    /// A reference was paid, or all that is owed was taken from payment methods: the group is paid.
    TakePayment,
    /// Every reference is proved closed, and nothing is held.
    Expire,
    /// Tell a person of money that was taken and that nobody owes.
    TellSurplus(Vec<Authorization>),
}

/// Decides the next step for a group.
///
/// The window is half-open: at exactly the deadline the group is expiring.
pub fn decide_expiry(group: &GroupSnapshot, now: DateTime<Utc>) -> ExpiryDecision {
    let live = || group.orders.iter().filter(|order| !order.state.is_final());
    let open: Vec<_> = group
        .references
        .iter()
        .filter(|(reference, _)| reference.state == ReferenceState::Open)
        .cloned()
        .collect();
    let Some(deadline) = live().map(|order| order.expires_at).min() else {
        return after_the_end(group, open);
    };
    if group.is_paid_by_reference() || group.is_taken(live()) {
        return ExpiryDecision::TakePayment;
    }
    if let Some(held) = live().find(|order| order.state == OrderState::InReview) {
        let reason = format!(
            "order {} is in review, which stops the clock",
            held.order_no
        );
        return ExpiryDecision::Snooze(later(now, REVIEW_RECHECK), reason);
    }
    if live().any(|order| order.state == OrderState::Open) {
        return if now < deadline {
            ExpiryDecision::Snooze(deadline, "the order may still be paid".to_owned())
        } else {
            ExpiryDecision::BeginExpiring
        };
    }
    if !open.is_empty() {
        return ExpiryDecision::Query(open);
    }
    match group.leaving() {
        leaving if leaving.is_empty() => ExpiryDecision::Expire,
        leaving => ExpiryDecision::LetGo(leaving),
    }
}

/// What is left to do when every member is final.
fn after_the_end(
    group: &GroupSnapshot,
    open: Vec<(PaymentReference, Option<Operation>)>,
) -> ExpiryDecision {
    if !open.is_empty() {
        return ExpiryDecision::Query(open);
    }
    let leaving = group.leaving();
    if !leaving.is_empty() {
        return ExpiryDecision::LetGo(leaving);
    }
    match group.untold_surplus() {
        surplus if surplus.is_empty() => ExpiryDecision::Settled(settled_reason(group)),
        surplus => ExpiryDecision::TellSurplus(surplus),
    }
}

/// Why nothing is owed for a group any more.
pub fn settled_reason(group: &GroupSnapshot) -> &'static str {
    let orders = &group.orders;
    if orders.iter().any(|order| order.state == OrderState::Paid) {
        "the order was paid"
    } else if orders
        .iter()
        .any(|order| order.state == OrderState::Expired)
    {
        "the order had expired before"
    } else {
        "the order was cancelled"
    }
}

/// What the channel says of a reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChannelView {
    /// It may be paid.
    NotPaid,
    /// Money came.
    Paid,
    /// Nobody can pay it any more.
    Closed,
    /// The channel has never heard of it.
    NotFound,
}

/// What the channel promises about closing.
#[derive(Clone, Copy, Debug)]
pub struct ClosePromises {
    /// The same key again has no second effect.
    pub is_idempotent: bool,
    /// After this long without effect, a call that left has none any more.
    pub processing_window: TimeDelta,
}

/// What to do with one reference after the channel answered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CloseDecision {
    /// The answer proves it closed.
    RecordClosed,
    /// The channel's silence proves that it was never there, and that no call about it took effect.
    RecordAbsent,
    /// The answer proves it paid.
    RecordPaid,
    /// Ask the channel to close it, for the first time under this generation.
    Close {
        /// Number of the key; 1 is the first.
        generation: u32,
    },
    /// Send the open operation again: the channel takes the same key once.
    Replay(Operation),
    /// The open operation is proved without effect: give it up, then decide again.
    GiveUp(Operation),
    /// Nobody knows yet; ask again then.
    Wait(DateTime<Utc>, String),
}

/// Decides what the channel's answer about one reference means.
///
/// `expiring_since` is when payments were forbidden; "not found" counts as proof only when the
/// channel's processing window has passed since.
pub fn decide_close(
    view: ChannelView,
    last: Option<&Operation>,
    promises: ClosePromises,
    expiring_since: DateTime<Utc>,
    now: DateTime<Utc>,
) -> CloseDecision {
    match view {
        ChannelView::Closed => CloseDecision::RecordClosed,
        ChannelView::Paid => CloseDecision::RecordPaid,
        ChannelView::NotFound => {
            let quarantine = later(expiring_since, promises.processing_window);
            if now >= quarantine {
                CloseDecision::RecordAbsent
            } else {
                let reason = "the channel does not know the reference; that is believed when its \
                              processing window has passed";
                CloseDecision::Wait(quarantine, reason.to_owned())
            }
        }
        ChannelView::NotPaid => match last {
            None => CloseDecision::Close { generation: 1 },
            Some(operation) => after_not_paid(operation, promises, now),
        },
    }
}

fn after_not_paid(
    operation: &Operation,
    promises: ClosePromises,
    now: DateTime<Utc>,
) -> CloseDecision {
    match operation.state {
        // The channel said yes and now says otherwise: its query may lag. Never a new key for what
        // is proved.
        OperationState::Succeeded => {
            let reason = format!(
                "the channel confirmed {} and yet says it may be paid; it is asked again",
                operation.idempotency_key
            );
            CloseDecision::Wait(ask_again_at(operation.updated_at, now), reason)
        }
        // Refused before, and still payable: a new key, but never in a tight loop.
        OperationState::Declined => {
            let again = ask_again_at(operation.intended_at, operation.updated_at);
            if now < again {
                let reason = format!(
                    "the channel refused {} and yet says it may be paid; it is asked again",
                    operation.idempotency_key
                );
                CloseDecision::Wait(again, reason)
            } else {
                CloseDecision::Close {
                    generation: operation.generation.saturating_add(1),
                }
            }
        }
        OperationState::Intended | OperationState::Unknown if promises.is_idempotent => {
            CloseDecision::Replay(operation.clone())
        }
        OperationState::Intended | OperationState::Unknown => {
            let quarantine = operation.quarantined_until(promises.processing_window);
            if now >= quarantine {
                CloseDecision::GiveUp(operation.clone())
            } else {
                let reason = format!(
                    "close {} has an unknown outcome since {}; the channel is asked again",
                    operation.idempotency_key,
                    operation.updated_at.to_rfc3339()
                );
                CloseDecision::Wait(
                    quarantine.min(ask_again_at(operation.intended_at, now)),
                    reason,
                )
            }
        }
    }
}

/// When to ask again about what has been open since `since`: soon at first, and then after a
/// quarter of the time it has been open, up to ten minutes.
pub fn ask_again_at(since: DateTime<Utc>, now: DateTime<Utc>) -> DateTime<Utc> {
    let age_s = now.signed_duration_since(since).num_seconds();
    let wait = TimeDelta::seconds(age_s.div_euclid(4));
    later(now, wait.clamp(QUERY_AGAIN_FIRST, QUERY_AGAIN_LAST))
}

/// What to make of money that a channel took for a reference of a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReceiptDecision {
    /// It is what the group owes, or what it was paid with: take it.
    Take,
    /// It is there, but nobody owed it any more: record it, and let a person settle it.
    TakeAsSurplus(String),
    /// It is not what is owed: record nothing as paid, and let a person settle it.
    Refuse(String),
}

/// Decides what a receipt means. Money is never taken in silence: a group that expired, was
/// withdrawn or was paid before has a surplus, and another amount than owed is refused.
pub fn decide_receipt(
    group: &GroupSnapshot,
    reference: &PaymentReference,
    amount: Money,
) -> ReceiptDecision {
    let live: Vec<&Order> = group
        .orders
        .iter()
        .filter(|order| !order.state.is_final())
        .collect();
    let is_paid_elsewhere = group
        .references
        .iter()
        .any(|(other, _)| other != reference && other.state == ReferenceState::Paid);
    let number = &reference.reference;
    if live.is_empty() {
        let all: Vec<&Order> = group.orders.iter().collect();
        let is_paid = group
            .orders
            .iter()
            .any(|order| order.state == OrderState::Paid);
        let is_taken = group.is_taken(group.orders.iter());
        return if is_paid && !is_paid_elsewhere && !is_taken && owed(&all) == Ok(Some(amount)) {
            ReceiptDecision::Take
        } else {
            ReceiptDecision::TakeAsSurplus(format!(
                "reference {number} was paid with {amount} although {}: give it back to the payer, then retry",
                settled_reason(group)
            ))
        };
    }
    match owed(&live) {
        Ok(Some(owed)) if owed == amount => ReceiptDecision::Take,
        Ok(Some(owed)) => ReceiptDecision::Refuse(format!(
            "reference {number} was paid with {amount} but {owed} is owed: settle it with the payer, then retry"
        )),
        Ok(None) | Err(_) => ReceiptDecision::Refuse(format!(
            "reference {number} was paid with {amount}, but what its group owes cannot be added up"
        )),
    }
}

/// What orders owe together.
fn owed(orders: &[&Order]) -> Result<Option<Money>, MoneyError> {
    let mut total: Option<Money> = None;
    for order in orders {
        total = Some(match total {
            None => order.total,
            Some(sum) => sum.checked_add(order.total)?,
        });
    }
    Ok(total)
}

fn later(instant: DateTime<Utc>, by: TimeDelta) -> DateTime<Utc> {
    instant
        .checked_add_signed(by)
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::operation::{LEAVES_WITHIN, OperationKind};
    use clearday_jobs::{Currency, JobId, OperationId};
    use proptest::prelude::*;
    use uuid::Uuid;

    fn noon() -> DateTime<Utc> {
        "2026-03-02T12:00:00Z".parse().unwrap()
    }

    fn order(number: &str, state: OrderState, expires_at: DateTime<Utc>) -> Order {
        Order {
            order_no: number.parse().unwrap(),
            group_no: "G-1".parse().unwrap(),
            merchant_id: "M-1".parse().unwrap(),
            total: Money::from_minor(100, Currency::parse("CNY").unwrap()),
            state,
            version: 1,
            expires_at,
            updated_at: noon(),
        }
    }

    fn reference(state: ReferenceState) -> (PaymentReference, Option<Operation>) {
        let reference = PaymentReference {
            channel: "sandbox".parse().unwrap(),
            reference: "R-1".parse().unwrap(),
            state,
        };
        (reference, None)
    }

    fn operation(state: OperationState) -> Operation {
        Operation {
            id: OperationId(Uuid::nil()),
            job_id: JobId(Uuid::nil()),
            kind: OperationKind::Close,
            channel: "sandbox".parse().unwrap(),
            reference: "R-1".parse().unwrap(),
            generation: 1,
            idempotency_key: "close:sandbox:R-1:1".to_owned(),
            state,
            intended_at: noon(),
            updated_at: noon(),
        }
    }

    fn group(
        states: &[OrderState],
        references: Vec<(PaymentReference, Option<Operation>)>,
    ) -> GroupSnapshot {
        let orders = states
            .iter()
            .enumerate()
            .map(|(number, state)| order(&format!("O-{number}"), *state, noon()))
            .collect();
        GroupSnapshot {
            orders,
            references,
            authorizations: Vec::new(),
        }
    }

    fn name(decision: &ExpiryDecision) -> &'static str {
        match decision {
            ExpiryDecision::Settled(_) => "settled",
            ExpiryDecision::Snooze(..) => "snooze",
            ExpiryDecision::BeginExpiring => "begin expiring",
            ExpiryDecision::Query(..) => "query",
            ExpiryDecision::LetGo(_) => "let go",
            ExpiryDecision::TakePayment => "take payment",
            ExpiryDecision::Expire => "expire",
            ExpiryDecision::TellSurplus(_) => "tell",
        }
    }

    #[test]
    fn the_next_step_of_a_due_order_follows_from_its_state_and_its_reference() {
        use OrderState::{Cancelled, Expired, Expiring, InReview, Open, Paid};
        let mut table: Vec<String> = Vec::new();
        for state in [Open, InReview, Expiring, Expired, Paid, Cancelled] {
            let steps: Vec<&str> = [
                vec![],
                vec![reference(ReferenceState::Open)],
                vec![reference(ReferenceState::Closed)],
                vec![reference(ReferenceState::Paid)],
            ]
            .into_iter()
            .map(|references| name(&decide_expiry(&group(&[state], references), noon())))
            .collect();
            table.push(format!("{state}: {}", steps.join(", ")));
        }
        // No reference, one open, one closed, one paid.
        assert_eq!(
            table.join("\n"),
            "\
open: begin expiring, begin expiring, begin expiring, take payment
in_review: snooze, snooze, snooze, take payment
expiring: expire, query, expire, take payment
expired: settled, query, settled, settled
paid: settled, query, settled, settled
cancelled: settled, query, settled, settled"
        );
    }

    #[test]
    fn the_deadline_itself_is_too_late_to_pay() {
        let group = group(&[OrderState::Open], vec![]);
        let before = noon() - TimeDelta::microseconds(1);
        assert!(matches!(
            decide_expiry(&group, before),
            ExpiryDecision::Snooze(until, _) if until == noon()
        ));
        assert_eq!(decide_expiry(&group, noon()), ExpiryDecision::BeginExpiring);
    }

    #[test]
    fn a_combination_moves_at_its_earliest_deadline_and_one_review_holds_all() {
        let mut both = group(&[OrderState::Open, OrderState::Open], vec![]);
        both.orders[1].expires_at = noon() + TimeDelta::days(1);
        assert_eq!(decide_expiry(&both, noon()), ExpiryDecision::BeginExpiring);
        both.orders[1].state = OrderState::InReview;
        assert_eq!(name(&decide_expiry(&both, noon())), "snooze");
    }

    fn close_name(decision: &CloseDecision) -> String {
        match decision {
            CloseDecision::RecordClosed => "record closed".to_owned(),
            CloseDecision::RecordAbsent => "record absent".to_owned(),
            CloseDecision::RecordPaid => "record paid".to_owned(),
            CloseDecision::Close { generation } => format!("close {generation}"),
            CloseDecision::Replay(_) => "replay".to_owned(),
            CloseDecision::GiveUp(_) => "give up".to_owned(),
            CloseDecision::Wait(..) => "wait".to_owned(),
        }
    }

    #[test]
    fn an_unknown_close_is_never_sent_again_blindly() {
        use OperationState::{Declined, Intended, Succeeded, Unknown};
        let window = TimeDelta::minutes(5);
        let mut table: Vec<String> = Vec::new();
        for is_idempotent in [true, false] {
            for last in [
                None,
                Some(Intended),
                Some(Unknown),
                Some(Declined),
                Some(Succeeded),
            ] {
                let operation = last.map(operation);
                let promises = ClosePromises {
                    is_idempotent,
                    processing_window: window,
                };
                let at = |now| {
                    let view = ChannelView::NotPaid;
                    close_name(&decide_close(
                        view,
                        operation.as_ref(),
                        promises,
                        noon(),
                        now,
                    ))
                };
                table.push(format!(
                    "{}, {}: {}, then {}",
                    if is_idempotent {
                        "idempotent"
                    } else {
                        "not idempotent"
                    },
                    last.map_or("none", OperationState::as_str),
                    at(noon()),
                    at(noon() + LEAVES_WITHIN + window),
                ));
            }
        }
        // The channel says "may be paid": at once, and after its processing window.
        assert_eq!(
            table.join("\n"),
            "\
idempotent, none: close 1, then close 1
idempotent, intended: replay, then replay
idempotent, unknown: replay, then replay
idempotent, declined: wait, then close 2
idempotent, succeeded: wait, then wait
not idempotent, none: close 1, then close 1
not idempotent, intended: wait, then give up
not idempotent, unknown: wait, then give up
not idempotent, declined: wait, then close 2
not idempotent, succeeded: wait, then wait"
        );
    }

    proptest! {
        #[test]
        fn not_found_proves_nothing_before_the_processing_window_has_passed(
            window_s in 0_i64..100_000, waited_s in 0_i64..200_000, is_idempotent: bool,
        ) {
            let promises = ClosePromises {
                is_idempotent,
                processing_window: TimeDelta::seconds(window_s),
            };
            let now = later(noon(), TimeDelta::seconds(waited_s));
            let decision = decide_close(ChannelView::NotFound, None, promises, noon(), now);
            prop_assert_eq!(decision == CloseDecision::RecordAbsent, waited_s >= window_s);
        }

        #[test]
        fn nothing_expires_while_a_reference_may_still_be_paid(
            states in proptest::collection::vec(0_usize..6, 1..4), minutes in -60_i64..60,
        ) {
            let states: Vec<OrderState> = states.into_iter().map(|n| OrderState::ALL[n]).collect();
            let group = group(&states, vec![reference(ReferenceState::Open)]);
            let decision = decide_expiry(&group, later(noon(), TimeDelta::minutes(minutes)));
            prop_assert_ne!(decision, ExpiryDecision::Expire);
        }
    }
}
