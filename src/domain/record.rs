//! Our own records of payments and refunds, as the upstream system told them to us.
//!
//! A record says what we believe; whether the channel agrees is decided in
//! [`reconciliation`](super::reconciliation).

use chrono::{DateTime, FixedOffset};
use clearday_jobs::{ChannelName, MerchantId, Money, Reference};

use super::words::words;

/// One payment or refund in our books.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// Our order number (商户订单号) or refund number (商户退款单号).
    pub record_no: Reference,
    /// Whether money came in or went back.
    pub kind: RecordKind,
    /// The channel that carried it, like `wechat_pay`.
    pub channel: ChannelName,
    /// The channel's own number for it, once known: of a payment its trade number (微信订单号), of a refund
    /// its refund number (微信退款单号).
    pub channel_trade_no: Option<Reference>,
    /// Whose money it is.
    pub merchant_id: MerchantId,
    /// The order amount (订单金额), or the amount asked back (申请退款金额); never negative, the kind says which way
    /// it goes.
    pub amount: Money,
    /// The channel's fee: positive when charged, negative when given back.
    pub fee: Money,
    /// How far it got.
    pub status: RecordStatus,
    /// When it happened by our clock, in the zone it was told in.
    pub occurred_at: DateTime<FixedOffset>,
    /// Of a refund: the order number of the payment it takes back.
    pub original_record_no: Option<Reference>,
    /// The part of the amount that a coupon covered.
    pub coupon: Option<Coupon>,
}

impl Record {
    /// What no other record has: a payment and a refund may share a number.
    pub const fn key(&self) -> (RecordKind, &Reference) {
        (self.kind, &self.record_no)
    }
}

/// The part of a payment that a coupon covered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Coupon {
    /// How much; at most the amount of the record.
    pub amount: Money,
    /// Who bears it.
    pub funder: CouponFunder,
}

words! {
    /// Whether money came in or went back.
    RecordKind {
        /// Money in, from a payer.
        Payment = "payment",
        /// Money back, to a payer.
        Refund = "refund",
    }
    "payment, refund"
}

words! {
    /// How far a payment or refund got.
    RecordStatus {
        /// The money moved.
        Succeeded = "succeeded",
        /// It was tried, and no money moved.
        Failed = "failed",
        /// Nobody knows yet.
        Pending = "pending",
        /// It was called off, and no money moved or all of it went back.
        Closed = "closed",
    }
    "succeeded, failed, pending, closed"
}

words! {
    /// Who bears a coupon.
    CouponFunder {
        /// The merchant gave the discount (免充值券): nobody owes anybody for it.
        Merchant = "merchant",
        /// The channel pays it out with the settlement (充值券).
        Channel = "channel",
        /// We do, as marketing.
        Platform = "platform",
        /// Somebody else owes it to us.
        ThirdParty = "third_party",
    }
    "merchant, channel, platform, third_party"
}

impl RecordStatus {
    /// Whether money moved.
    pub const fn moved_money(self) -> bool {
        match self {
            Self::Succeeded => true,
            Self::Failed | Self::Pending | Self::Closed => false,
        }
    }

    /// Whether it ended without money.
    pub const fn ended_without_money(self) -> bool {
        match self {
            Self::Failed | Self::Closed => true,
            Self::Succeeded | Self::Pending => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_reads_back_and_others_are_refused_with_the_list() {
        for kind in RecordKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(*kind));
        }
        for status in RecordStatus::ALL {
            assert_eq!(status.as_str().parse(), Ok(*status));
        }
        for funder in CouponFunder::ALL {
            assert_eq!(funder.as_str().parse(), Ok(*funder));
        }
        assert_eq!(
            "Refund".parse::<RecordKind>().unwrap_err().to_string(),
            "is not one of payment, refund"
        );
    }
}
