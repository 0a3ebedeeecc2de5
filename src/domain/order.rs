//! An order waiting for its money, and the references issued for paying it.
//!
//! Orders that belong together (组合购) form a group that is paid, held and expired as one; an
//! order of its own is a group of one.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, Utc};
use clearday_jobs::{ChannelName, MerchantId, Money, OrderNo, Reference};

use super::operation::UnknownName;

/// Where an order is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OrderState {
    /// May be paid (待付款).
    Open,
    /// Somebody examines it (待审核): its clock stands still.
    InReview,
    /// Its time is over: no payment may start, but one may still be under way.
    Expiring,
    /// Its time is over and every reference is proved closed. Final.
    Expired,
    /// Paid. Final.
    Paid,
    /// Withdrawn by the upstream system. Final.
    Cancelled,
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
    /// Every state.
    pub const ALL: [Self; 6] = [
        Self::Open,
        Self::InReview,
        Self::Expiring,
        Self::Expired,
        Self::Paid,
        Self::Cancelled,
    ];

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

    /// The name in the database and in files.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::InReview => "in_review",
            Self::Expiring => "expiring",
            Self::Expired => "expired",
            Self::Paid => "paid",
            Self::Cancelled => "cancelled",
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

impl fmt::Display for OrderState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FromStr for OrderState {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == name)
            .ok_or_else(|| UnknownName(name.to_owned()))
    }
}

/// What is known of a payment reference.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReferenceState {
    /// Somebody may be paying it.
    Open,
    /// Proved closed: no money can come any more.
    Closed,
    /// Proved paid.
    Paid,
}

impl ReferenceState {
    /// Every state.
    pub const ALL: [Self; 3] = [Self::Open, Self::Closed, Self::Paid];

    /// The name in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Open => "open",
            Self::Closed => "closed",
            Self::Paid => "paid",
        }
    }
}

impl FromStr for ReferenceState {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == name)
            .ok_or_else(|| UnknownName(name.to_owned()))
    }
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
