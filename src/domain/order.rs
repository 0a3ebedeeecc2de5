//! An order waiting for its money, and the references issued for paying it.
//!
//! Orders that belong together (组合购) form a group that is paid, held and expired as one; an
//! order of its own is a group of one.

use chrono::{DateTime, Utc};
use clearday_jobs::{ChannelName, MerchantId, Money, OrderNo, Reference};

use super::words::words;

words! {
    /// Where an order is.
    OrderState {
        /// May be paid (待付款).
        Open = "open",
        /// Somebody examines it (待审核): its clock stands still.
        InReview = "in_review",
        /// Its time is over: no payment may start, but one may still be under way.
        Expiring = "expiring",
        /// Its time is over and every reference is proved closed. Final.
        Expired = "expired",
        /// Paid. Final.
        Paid = "paid",
        /// Withdrawn by the upstream system. Final.
        Cancelled = "cancelled",
    }
    "open, in_review, expiring, expired, paid, cancelled"
}

/// What can happen to an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderEvent {
    /// Its deadline came.
    BeginExpiry,
    /// Every reference is proved closed.
    Expire,
    /// Money arrived for one of its references.
    Pay,
    /// The upstream system examines it.
    Review,
    /// The examination ended well.
    Reopen,
    /// The upstream system withdrew it.
    Cancel,
}

impl OrderState {
    /// The state after `event`, or `None` when it is refused.
    pub const fn after(self, event: OrderEvent) -> Option<Self> {
        match self {
            Self::Open => match event {
                OrderEvent::BeginExpiry => Some(Self::Expiring),
                OrderEvent::Pay => Some(Self::Paid),
                OrderEvent::Review => Some(Self::InReview),
                OrderEvent::Cancel => Some(Self::Cancelled),
                OrderEvent::Expire | OrderEvent::Reopen => None,
            },
            Self::InReview => match event {
                OrderEvent::Pay => Some(Self::Paid),
                OrderEvent::Reopen => Some(Self::Open),
                OrderEvent::Cancel => Some(Self::Cancelled),
                OrderEvent::BeginExpiry | OrderEvent::Expire | OrderEvent::Review => None,
            },
            Self::Expiring => match event {
                OrderEvent::Expire => Some(Self::Expired),
                OrderEvent::Pay => Some(Self::Paid),
                OrderEvent::BeginExpiry
                | OrderEvent::Review
                | OrderEvent::Reopen
                | OrderEvent::Cancel => None,
            },
            Self::Expired | Self::Paid | Self::Cancelled => match event {
                OrderEvent::BeginExpiry
                | OrderEvent::Expire
                | OrderEvent::Pay
                | OrderEvent::Review
                | OrderEvent::Reopen
                | OrderEvent::Cancel => None,
            },
        }
    }

    /// Whether nothing can happen to it any more.
    pub const fn is_final(self) -> bool {
        match self {
            Self::Expired | Self::Paid | Self::Cancelled => true,
            Self::Open | Self::InReview | Self::Expiring => false,
        }
    }

    /// Whether a payment may start.
    pub const fn awaits_money(self) -> bool {
        match self {
            Self::Open | Self::InReview => true,
            Self::Expiring | Self::Expired | Self::Paid | Self::Cancelled => false,
        }
    }
}

impl OrderEvent {
    /// Every event.
    pub const ALL: [Self; 6] = [
        Self::BeginExpiry,
        Self::Expire,
        Self::Pay,
        Self::Review,
        Self::Reopen,
        Self::Cancel,
    ];
}

words! {
    /// What is known of a payment reference.
    ReferenceState {
        /// Somebody may be paying it.
        Open = "open",
        /// Proved closed: no money can come any more.
        Closed = "closed",
        /// Proved paid.
        Paid = "paid",
    }
    "open, closed, paid"
}

/// An order as it stands in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// The upstream system's number.
    pub order_no: OrderNo,
    /// The combination it belongs to, or its own number.
    pub group_no: OrderNo,
    /// Whose order.
    pub merchant_id: MerchantId,
    /// What is to be paid.
    pub total: Money,
    /// Where it is.
    pub state: OrderState,
    /// Counts the changes.
    pub version: i64,
    /// From exactly this instant on no payment may start.
    pub expires_at: DateTime<Utc>,
    /// When its state last changed.
    pub updated_at: DateTime<Utc>,
}

/// A number under which a channel may take money for a group.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentReference {
    /// The channel that knows it.
    pub channel: ChannelName,
    /// The number.
    pub reference: Reference,
    /// What is known of it.
    pub state: ReferenceState,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_order_state_and_event_is_answered() {
        let table: Vec<String> = OrderState::ALL
            .iter()
            .map(|state| {
                let answers: Vec<String> = OrderEvent::ALL
                    .iter()
                    .map(|event| match state.after(*event) {
                        Some(next) => format!("{event:?} -> {next}"),
                        None => format!("{event:?} -> refused"),
                    })
                    .collect();
                format!("{state}: {}", answers.join(", "))
            })
            .collect();
        assert_eq!(
            table.join("\n"),
            "\
open: BeginExpiry -> expiring, Expire -> refused, Pay -> paid, Review -> in_review, Reopen -> refused, Cancel -> cancelled
in_review: BeginExpiry -> refused, Expire -> refused, Pay -> paid, Review -> refused, Reopen -> open, Cancel -> cancelled
expiring: BeginExpiry -> refused, Expire -> expired, Pay -> paid, Review -> refused, Reopen -> refused, Cancel -> refused
expired: BeginExpiry -> refused, Expire -> refused, Pay -> refused, Review -> refused, Reopen -> refused, Cancel -> refused
paid: BeginExpiry -> refused, Expire -> refused, Pay -> refused, Review -> refused, Reopen -> refused, Cancel -> refused
cancelled: BeginExpiry -> refused, Expire -> refused, Pay -> refused, Review -> refused, Reopen -> refused, Cancel -> refused"
        );
    }
}
