//! Facts about money that the outside told us: one of each, however often and by whom it is told.

use chrono::{DateTime, Utc};
use clearday_jobs::{ChannelName, Money};

use crate::domain::words::words;

words! {
    /// What kind of money moved.
    FactKind {
        /// A channel took a payment.
        Capture = "capture",
        /// A channel gave one back.
        Refund = "refund",
        /// A bank paid a merchant.
        Payout = "payout",
        /// A merchant was paid offline (线下付款).
        OfflinePayment = "offline_payment",
        /// A channel paid us.
        Deposit = "deposit",
        /// A payout came back (退票).
        Return = "return",
        /// A bank took money for another reason.
        BankDebit = "bank_debit",
        /// A bank got money for another reason.
        BankCredit = "bank_credit",
    }
    "capture, refund, payout, offline_payment, deposit, return, bank_debit, bank_credit"
}

words! {
    /// Who told it first.
    FactSource {
        /// A record of ours.
        Record = "record",
        /// The answer to a question of ours.
        Query = "query",
        /// A message that came by itself.
        Callback = "callback",
        /// A line of a statement.
        Statement = "statement",
    }
    "record, query, callback, statement"
}

/// What makes a fact one: who knows it, and its number there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct FactKey {
    /// The channel or bank.
    pub account: ChannelName,
    /// What kind of money moved.
    pub kind: FactKind,
    /// Its number at the channel or bank.
    pub external_no: String,
}

/// One fact.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fact {
    /// What makes it one.
    pub key: FactKey,
    /// How much.
    pub amount: Money,
    /// When, by whoever tells it.
    pub occurred_at: DateTime<Utc>,
    /// Who tells it.
    pub source: FactSource,
    /// Its words, or what holds them.
    pub evidence: String,
}
