//! Decides what a row of an imported file of orders changes.
//!
//! The upstream system owns its orders until their time is over; from then on we know more than it
//! does, and a row that repeats what it knew changes nothing. What an order is (its merchant,
//! amount, currency and group) never changes.

use chrono::{DateTime, Utc};
use clearday_jobs::{ChannelName, MerchantId, Money, OrderNo, Reference};

use super::Refusal;
use crate::domain::order::{Order, OrderEvent, OrderState};
use crate::domain::words::words;

words! {
    /// What the upstream system says of an order.
    ToldStatus {
        /// It may be paid.
        Open = "open",
        /// Somebody examines it.
        InReview = "in_review",
        /// It was paid, in some way that we need not know.
        Paid = "paid",
        /// It was withdrawn.
        Cancelled = "cancelled",
    }
    "open, in_review, paid, cancelled"
}

/// An order as a file tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ToldOrder {
    /// The upstream system's number.
    pub order_no: OrderNo,
    /// The combination it belongs to, or its own number.
    pub group_no: OrderNo,
    /// Whose order.
    pub merchant_id: MerchantId,
    /// What is to be paid.
    pub total: Money,
    /// Where it is.
    pub status: ToldStatus,
    /// From exactly this instant on no payment may start.
    pub expires_at: DateTime<Utc>,
}

/// One row of a file: an order, and perhaps one of the references issued for paying it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OrderRow {
    /// The line, counted from 1.
    pub line: u64,
    /// The order.
    pub told: ToldOrder,
    /// A number under which a channel may take money for its group.
    pub reference: Option<(ChannelName, Reference)>,
}

/// What a row does to an order that is known.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderUpdate {
    /// It tells nothing new.
    Nothing,
    /// The order goes to this state, with this deadline, for this reason.
    Change {
        /// The state.
        state: OrderState,
        /// The deadline.
        expires_at: DateTime<Utc>,
        /// Why, for its history.
        reason: &'static str,
    },
}

impl ToldStatus {
    /// The state of an order that is told for the first time.
    pub const fn first_state(self) -> OrderState {
        match self {
            Self::Open => OrderState::Open,
            Self::InReview => OrderState::InReview,
            Self::Paid => OrderState::Paid,
            Self::Cancelled => OrderState::Cancelled,
        }
    }

    /// Why an order is in the state that it was told to be in, for its history.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Open => "open, said the upstream system",
            Self::InReview => "in review, said the upstream system",
            Self::Paid => "paid, said the upstream system",
            Self::Cancelled => "cancelled, said the upstream system",
        }
    }
}

/// Decides what a row changes of an order that is known.
pub fn decide_order_update(known: &Order, told: &ToldOrder) -> Result<OrderUpdate, Refusal> {
    check_identity(known, told)?;
    let state = next_state(known.state, told.status).ok_or_else(|| {
        let (order, state) = (&known.order_no, known.state);
        let reason = format!("order {order} is {state} and cannot become {}", told.status);
        Refusal::new("status", reason)
    })?;
    let deadline = match Deadline::of(state) {
        Deadline::MayMove => told.expires_at,
        Deadline::IsHistory => known.expires_at,
        Deadline::HasCome if told.expires_at == known.expires_at => known.expires_at,
        // Withdrawing an expired order says nothing about its deadline.
        Deadline::HasCome if told.status == ToldStatus::Cancelled => known.expires_at,
        Deadline::HasCome => {
            let order = &known.order_no;
            let reason = format!("order {order} is {state}; its deadline cannot be moved any more");
            return Err(Refusal::new("expires_at", reason));
        }
    };
    let is_moved = deadline != known.expires_at;
    let reason = match (state == known.state, is_moved) {
        (true, false) => return Ok(OrderUpdate::Nothing),
        (true, true) => "its deadline was moved by the upstream system",
        (false, _) => told.status.reason(),
    };
    Ok(OrderUpdate::Change {
        state,
        expires_at: deadline,
        reason,
    })
}

/// What a deadline still means in a state.
enum Deadline {
    /// It lies ahead, or its clock stands still.
    MayMove,
    /// It has come, and what follows from it has begun.
    HasCome,
    /// Nothing depends on it any more.
    IsHistory,
}

impl Deadline {
    const fn of(state: OrderState) -> Self {
        match state {
            OrderState::Open | OrderState::InReview => Self::MayMove,
            OrderState::Expiring | OrderState::Expired => Self::HasCome,
            OrderState::Paid | OrderState::Cancelled => Self::IsHistory,
        }
    }
}

/// The state after what is told; the same one when it tells nothing new; `None` when it is refused.
///
/// What moves an order is an event of the order's own table.
fn next_state(state: OrderState, told: ToldStatus) -> Option<OrderState> {
    match told {
        ToldStatus::Open => match state {
            OrderState::InReview => state.after(OrderEvent::Reopen),
            // The upstream system has not heard yet what became of it.
            OrderState::Open | OrderState::Expiring | OrderState::Expired | OrderState::Paid => {
                Some(state)
            }
            OrderState::Cancelled => None,
        },
        ToldStatus::InReview => match state {
            OrderState::Open | OrderState::Expiring | OrderState::Expired => {
                state.after(OrderEvent::Review)
            }
            OrderState::InReview | OrderState::Paid => Some(state),
            OrderState::Cancelled => None,
        },
        ToldStatus::Paid => match state {
            OrderState::Paid => Some(state),
            OrderState::Open
            | OrderState::InReview
            | OrderState::Expiring
            | OrderState::Expired
            | OrderState::Cancelled => state.after(OrderEvent::Pay),
        },
        ToldStatus::Cancelled => match state {
            // Expired is as good as cancelled: no money came and none can come.
            OrderState::Cancelled | OrderState::Expired => Some(state),
            OrderState::Open | OrderState::InReview | OrderState::Expiring | OrderState::Paid => {
                state.after(OrderEvent::Cancel)
            }
        },
    }
}

fn check_identity(known: &Order, told: &ToldOrder) -> Result<(), Refusal> {
    let same = [
        (
            "merchant_id",
            known.merchant_id == told.merchant_id,
            known.merchant_id.as_str(),
        ),
        (
            "currency",
            known.total.currency() == told.total.currency(),
            known.total.currency().code(),
        ),
        (
            "amount",
            known.total == told.total,
            &known.total.to_major_string(),
        ),
        (
            "group_no",
            known.group_no == told.group_no,
            known.group_no.as_str(),
        ),
    ];
    match same.into_iter().find(|(_, is_same, _)| !is_same) {
        None => Ok(()),
        Some((column, _, holds)) => {
            let order = &known.order_no;
            let reason = format!("order {order} has {holds}, and that never changes");
            Err(Refusal::new(column, reason))
        }
    }
}

/// The first column in which two rows about one order differ.
pub fn first_difference(one: &ToldOrder, other: &ToldOrder) -> Option<&'static str> {
    [
        ("merchant_id", one.merchant_id == other.merchant_id),
        ("currency", one.total.currency() == other.total.currency()),
        ("amount", one.total == other.total),
        ("status", one.status == other.status),
        ("expires_at", one.expires_at == other.expires_at),
        ("group_no", one.group_no == other.group_no),
    ]
    .into_iter()
    .find_map(|(column, is_same)| (!is_same).then_some(column))
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::TimeDelta;
    use clearday_jobs::Currency;

    fn noon() -> DateTime<Utc> {
        "2026-03-02T12:00:00Z".parse().unwrap()
    }

    fn known(state: OrderState) -> Order {
        Order {
            order_no: "A1".parse().unwrap(),
            group_no: "A1".parse().unwrap(),
            merchant_id: "M1".parse().unwrap(),
            total: Money::from_minor(1_230, Currency::parse("CNY").unwrap()),
            state,
            version: 1,
            expires_at: noon(),
            updated_at: noon(),
        }
    }

    fn told(status: ToldStatus) -> ToldOrder {
        let order = known(OrderState::Open);
        ToldOrder {
            order_no: order.order_no,
            group_no: order.group_no,
            merchant_id: order.merchant_id,
            total: order.total,
            status,
            expires_at: noon(),
        }
    }

    fn answer(state: OrderState, told: &ToldOrder) -> String {
        match decide_order_update(&known(state), told) {
            Ok(OrderUpdate::Nothing) => "same".to_owned(),
            Ok(OrderUpdate::Change { state, .. }) => state.to_string(),
            Err(_) => "refused".to_owned(),
        }
    }

    #[test]
    fn every_pair_of_state_and_status_is_answered() {
        let table: Vec<String> = OrderState::ALL
            .iter()
            .map(|&state| {
                let answers: Vec<String> = ToldStatus::ALL
                    .iter()
                    .map(|status| format!("{status}: {}", answer(state, &told(*status))))
                    .collect();
                format!("{state} <- {}", answers.join(", "))
            })
            .collect();
        assert_eq!(
            table.join("\n"),
            "\
open <- open: same, in_review: in_review, paid: paid, cancelled: cancelled
in_review <- open: open, in_review: same, paid: paid, cancelled: cancelled
expiring <- open: same, in_review: refused, paid: paid, cancelled: refused
expired <- open: same, in_review: refused, paid: refused, cancelled: same
paid <- open: same, in_review: same, paid: same, cancelled: refused
cancelled <- open: refused, in_review: refused, paid: refused, cancelled: same"
        );
    }

    #[test]
    fn a_deadline_moves_until_it_has_come() {
        let later = |status| ToldOrder {
            expires_at: noon() + TimeDelta::days(1),
            ..told(status)
        };
        let table: Vec<String> = OrderState::ALL
            .iter()
            .map(|&state| {
                let moved = match decide_order_update(&known(state), &later(ToldStatus::Open)) {
                    Ok(OrderUpdate::Nothing) => "left alone".to_owned(),
                    Ok(OrderUpdate::Change {
                        expires_at, reason, ..
                    }) => {
                        format!("{} h, {reason}", (expires_at - noon()).num_hours())
                    }
                    Err(refusal) => refusal.to_string(),
                };
                format!("{state}: {moved}")
            })
            .collect();
        assert_eq!(
            table.join("\n"),
            "\
open: 24 h, its deadline was moved by the upstream system
in_review: 24 h, open, said the upstream system
expiring: expires_at: order A1 is expiring; its deadline cannot be moved any more
expired: expires_at: order A1 is expired; its deadline cannot be moved any more
paid: left alone
cancelled: status: order A1 is cancelled and cannot become open"
        );
        let paid = decide_order_update(&known(OrderState::Open), &later(ToldStatus::Paid)).unwrap();
        assert_eq!(
            paid,
            OrderUpdate::Change {
                state: OrderState::Paid,
                expires_at: noon(),
                reason: "paid, said the upstream system",
            }
        );
    }

    #[test]
    fn what_an_order_is_never_changes() {
        let refusal = |change: fn(&mut ToldOrder)| {
            let mut told = told(ToldStatus::Open);
            change(&mut told);
            decide_order_update(&known(OrderState::Open), &told)
                .unwrap_err()
                .to_string()
        };
        let says = |column: &str, holds: &str| {
            format!("{column}: order A1 has {holds}, and that never changes")
        };
        assert_eq!(
            refusal(|told| told.merchant_id = "M2".parse().unwrap()),
            says("merchant_id", "M1")
        );
        assert_eq!(
            refusal(|told| told.group_no = "G1".parse().unwrap()),
            says("group_no", "A1")
        );
        assert_eq!(
            refusal(|told| told.total = Money::from_minor(1, told.total.currency())),
            says("amount", "12.30")
        );
        assert_eq!(
            refusal(|told| {
                told.total = Money::from_minor(1_230, Currency::parse("USD").unwrap());
            }),
            says("currency", "CNY")
        );
    }
}
