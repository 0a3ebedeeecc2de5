//! Decides how an order that nobody paid for in time comes to its end.
//!
//! At exactly `expires_at` the group becomes *expiring*: no payment may start. It becomes *expired*
//! only with proof that every reference ever issued for it is closed: query, close at the channel,
//! expire. Money found on the way is taken. Members of a combination move together, at the
//! earliest member's deadline; one member in review holds all.

use chrono::{DateTime, TimeDelta, Utc};
use clearday_jobs::{Money, OrderNo};

use super::operation::{Operation, OperationState};
use super::order::{Order, OrderState, PaymentReference, ReferenceState};

/// How soon a group held by a review is looked at again.
const REVIEW_RECHECK: TimeDelta = TimeDelta::minutes(1);
/// How soon an open question is put to the channel again.
const QUERY_AGAIN: TimeDelta = TimeDelta::seconds(5);

/// Everything known about a group, read in one transaction.
#[derive(Clone, Debug, Default)]
pub struct GroupSnapshot {
    /// Its members, by number.
    pub orders: Vec<Order>,
    /// Every reference ever issued for it, with the newest attempt to close it.
    pub references: Vec<(PaymentReference, Option<Operation>)>,
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
    /// Ask the channel about this reference.
    Query(PaymentReference, Option<Operation>),
    /// A reference was paid: the group is paid.
    TakePayment,
    /// Every reference is proved closed.
    Expire,
}

/// Decides the next step for a group.
///
/// The window is half-open: at exactly the deadline the group is expiring.
pub fn decide_expiry(group: &GroupSnapshot, now: DateTime<Utc>) -> ExpiryDecision {
    let live = || group.orders.iter().filter(|order| !order.state.is_final());
    let Some(deadline) = live().map(|order| order.expires_at).min() else {
        return ExpiryDecision::Settled(settled_reason(&group.orders));
    };
    let is_paid = |(reference, _): &(PaymentReference, _)| reference.state == ReferenceState::Paid;
    if group.references.iter().any(is_paid) {
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
            ExpiryDecision::Snooze(deadline, "not due: the order may still be paid".to_owned())
        } else {
            ExpiryDecision::BeginExpiring
        };
    }
    let open = group
        .references
        .iter()
        .find(|(reference, _)| reference.state == ReferenceState::Open);
    match open {
        Some((reference, operation)) => ExpiryDecision::Query(reference.clone(), operation.clone()),
        None => ExpiryDecision::Expire,
    }
}

fn settled_reason(orders: &[Order]) -> &'static str {
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
                CloseDecision::RecordClosed
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
        // The channel contradicts itself; a new key, but never in a tight loop.
        OperationState::Succeeded | OperationState::Declined => {
            let again = later(operation.updated_at, QUERY_AGAIN);
            if now < again {
                let reason = format!(
                    "the channel answered {} and yet says it may be paid; it is asked again",
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
                CloseDecision::Wait(quarantine.min(later(now, QUERY_AGAIN)), reason)
            }
        }
    }
}

/// When to ask again about a call whose answer was lost just now.
pub fn ask_again_at(now: DateTime<Utc>) -> DateTime<Utc> {
    later(now, QUERY_AGAIN)
}

/// What the members of a group owe together.
///
/// # Errors
/// The number of the first order in another currency, or at which the sum is too large.
pub fn group_total(orders: &[Order]) -> Result<Option<Money>, OrderNo> {
    let mut total: Option<Money> = None;
    for order in orders {
        total = Some(match total {
            None => order.total,
            Some(sum) => sum
                .checked_add(order.total)
                .map_err(|_| order.order_no.clone())?,
        });
    }
    Ok(total)
}

fn later(instant: DateTime<Utc>, by: TimeDelta) -> DateTime<Utc> {
    instant
        .checked_add_signed(by)
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}
