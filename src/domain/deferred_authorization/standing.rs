//! Whether an order may still be authorized.

use chrono::{DateTime, TimeDelta, Utc};
use clearday_jobs::AuthorizationError;

use super::Snapshot;
use crate::domain::order::OrderState;

/// How soon a group held by a review is looked at again.
const REVIEW_RECHECK: TimeDelta = TimeDelta::minutes(5);

/// Where the order and its group stand.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// It may be authorized; an order that is not imported has no deadline that we know of.
    Payable,
    /// Its deadline passed while somebody examines it, which stops the clock.
    InReview,
    /// It was paid.
    Paid,
    /// Its time is over, or it was withdrawn.
    Over(AuthorizationError),
}

pub(super) fn of(snapshot: &Snapshot, now: DateTime<Utc>) -> Standing {
    if snapshot.is_paid_elsewhere {
        return Standing::Paid;
    }
    let orders = &snapshot.orders;
    let Some(own) = snapshot.own_order() else {
        return Standing::Payable;
    };
    match own.state {
        OrderState::Paid => return Standing::Paid,
        OrderState::Expired => return over("order_expired", "the order expired"),
        OrderState::Cancelled => return over("order_cancelled", "the order was cancelled"),
        OrderState::Open | OrderState::InReview | OrderState::Expiring => {}
    }
    // Members of a combination share the earliest deadline, and one in review holds all.
    let live = || orders.iter().filter(|order| !order.state.is_final());
    let any = |state| live().any(|order| order.state == state);
    let deadline = live().map(|order| order.expires_at).min();
    let is_early = deadline.is_none_or(|deadline| now < deadline);
    if is_early && !any(OrderState::Expiring) {
        Standing::Payable
    } else if any(OrderState::InReview) {
        Standing::InReview
    } else {
        let since = deadline.map_or_else(String::new, |at| format!(" since {}", at.to_rfc3339()));
        over(
            "order_expired",
            &format!("the order may be paid no more{since}"),
        )
    }
}

pub(super) fn look_again_at(now: DateTime<Utc>) -> DateTime<Utc> {
    now.checked_add_signed(REVIEW_RECHECK)
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

fn over(code: &str, message: &str) -> Standing {
    Standing::Over(AuthorizationError {
        method_id: None,
        code: code.to_owned(),
        message: message.to_owned(),
    })
}
