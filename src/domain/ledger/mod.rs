//! The ledger: what every movement of money means, in entries that balance by their shape.
//!
//! A posting names both its sides and one amount above zero, so an entry that does not balance
//! cannot be said, let alone stored. [`events`] has one constructor per thing that happens; nobody
//! else makes postings. Corrections are new entries, never changes.

pub mod booking;
pub mod events;
mod facts;
mod seal;
#[cfg(test)]
mod tests;

use chrono::NaiveDate;
use clearday_jobs::{Currency, MerchantId, Money, MoneyError};

use super::words::words;
pub use facts::{Fact, FactKey, FactKind, FactSource};
pub use seal::{SealedEntry, SealedPosting, seal};

words! {
    /// What an amount stands on. Each account has owners: a merchant, a channel, a bank, or ourselves.
    Account {
        /// Money at a bank of ours, by bank; only a statement line moves it.
        Bank = "bank",
        /// What a channel took for us and has not paid yet (应收渠道款), by channel.
        ChannelReceivable = "channel_receivable",
        /// Coupons that somebody else owes us, by who gave them.
        CouponReceivable = "coupon_receivable",
        /// What payers keep with a channel of balances or stored value, by channel.
        CustomerBalance = "customer_balance",
        /// What a merchant earned and no settlement has collected (待结算), by merchant.
        MerchantPending = "merchant_pending",
        /// What a settlement owes a merchant (应付商户), by merchant.
        MerchantPayable = "merchant_payable",
        /// What a merchant got twice and owes back, by merchant.
        MerchantOverpaid = "merchant_overpaid",
        /// What is held back from a merchant (保证金), by merchant.
        Reserve = "reserve",
        /// Refunds asked for and not confirmed, by merchant.
        RefundInTransit = "refund_in_transit",
        /// Payouts sent and not confirmed, by merchant.
        PayoutInTransit = "payout_in_transit",
        /// Payouts that came back (退票) and wait for their release, by merchant.
        PayoutReturned = "payout_returned",
        /// Offline payments approved and not on a statement yet, by merchant.
        OfflineInTransit = "offline_in_transit",
        /// Money that nobody owed: late, or a second time, by channel.
        UnallocatedReceipts = "unallocated_receipts",
        /// What a channel took back for a dispute, by merchant.
        DisputeAsset = "dispute_asset",
        /// What is held from a merchant for a dispute, by merchant.
        DisputeHold = "dispute_hold",
        /// Breaks that nobody has settled (存疑), by channel.
        Suspense = "suspense",
        /// Our fees from a merchant, by merchant.
        FeeIncome = "fee_income",
        /// Long breaks that were written off.
        OtherIncome = "other_income",
        /// What channels charge us, by channel.
        ChannelFee = "channel_fee",
        /// Coupons of our own.
        Marketing = "marketing",
        /// Short breaks that were written off.
        ReconciliationLoss = "reconciliation_loss",
        /// Value accepted and not captured, by merchant; beside the books.
        MemoExposure = "memo_exposure",
        /// The other side of it, by channel.
        MemoContra = "memo_contra",
        /// The other side of what was there before the first entry.
        OpeningBalance = "opening_balance",
    }
    "the accounts of the ledger"
}

words! {
    /// What happened.
    EntryEvent {
        /// A payment arrived at a channel.
        Capture = "capture",
        /// A payment was taken from a balance or stored value.
        BalanceCapture = "balance_capture",
        /// A refund went through that was not booked before.
        Refund = "refund",
        /// A refund was asked for.
        RefundIntended = "refund_intended",
        /// A refund that was asked for went through.
        RefundSucceeded = "refund_succeeded",
        /// The channel charged its fee, or gave it back.
        ChannelFee = "channel_fee",
        /// We charged ours, or gave it back.
        MerchantFee = "merchant_fee",
        /// Money came that nobody owed any more.
        LateMoney = "late_money",
        /// It went back.
        LateMoneyReturned = "late_money_returned",
        /// A settlement collected what a merchant earned.
        Collected = "collected",
        /// A part of it is held back.
        ReserveHeld = "reserve_held",
        /// It is let go.
        ReserveReleased = "reserve_released",
        /// A payout is about to be sent.
        PayoutSubmitted = "payout_submitted",
        /// It is on the bank's statement.
        PayoutConfirmed = "payout_confirmed",
        /// The bank refused it.
        PayoutRejected = "payout_rejected",
        /// It came back (退票).
        PayoutReturned = "payout_returned",
        /// Two people let it be paid again.
        ReturnReleased = "return_released",
        /// Two people say that it was paid offline (线下付款).
        OfflineApproved = "offline_approved",
        /// That payment is on the bank's statement.
        OfflineOnStatement = "offline_on_statement",
        /// One part was paid twice.
        SecondDebit = "second_debit",
        /// A channel paid us.
        Deposit = "deposit",
        /// A payer disputes a payment.
        DisputeOpened = "dispute_opened",
        /// The payer was right.
        DisputeLost = "dispute_lost",
        /// The merchant was right.
        DisputeWon = "dispute_won",
        /// An amount was authorized.
        Authorization = "authorization",
        /// An authorization was let go.
        AuthorizationVoided = "authorization_voided",
        /// What was there before the first entry.
        OpeningBalance = "opening_balance",
        /// The channel has more than we (长款).
        BreakLong = "break_long",
        /// The channel has less than we (短款).
        BreakShort = "break_short",
        /// A break is given up.
        WriteOff = "write_off",
        /// An entry is undone.
        Reversal = "reversal",
    }
    "the events of the ledger"
}

words! {
    /// How a record of a payment or refund stands in the ledger.
    Booking {
        /// Booked, its coupon by who bears it.
        ByFunder = "by_funder",
        /// Booked without its coupon, which takes no part in clearing (优惠券不参与清分).
        CouponExcluded = "coupon_excluded",
        /// Not booked: the channel pays the merchant itself.
        Direct = "direct",
        /// Not booked: its money is in the books otherwise, for a person to look at.
        Elsewhere = "elsewhere",
    }
    "by_funder, coupon_excluded, direct, elsewhere"
}

/// Who owns what is ours alone.
pub const HOUSE: &str = "clearday";

/// One side of a posting.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Side {
    /// The account.
    pub account: Account,
    /// Whose: a merchant, a channel, a bank, or [`HOUSE`].
    pub owner: String,
}

impl Side {
    /// This account of this owner.
    pub fn new(account: Account, owner: impl Into<String>) -> Self {
        Self {
            account,
            owner: owner.into(),
        }
    }
}

/// One amount, above zero, from one side to another.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Posting {
    debit: Side,
    credit: Side,
    amount: Money,
}

impl Posting {
    /// A posting of `amount`: a negative one swaps the sides, zero is none.
    ///
    /// # Errors
    /// [`LedgerError::SameSide`], or [`LedgerError::Money`] for an amount that cannot be turned.
    pub fn of(debit: Side, credit: Side, amount: Money) -> Result<Option<Self>, LedgerError> {
        if debit == credit {
            return Err(LedgerError::SameSide(debit.account));
        }
        if amount.is_zero() {
            return Ok(None);
        }
        Ok(Some(if amount.is_negative() {
            Self {
                debit: credit,
                credit: debit,
                amount: amount.checked_neg()?,
            }
        } else {
            Self {
                debit,
                credit,
                amount,
            }
        }))
    }

    /// The side that gets it.
    pub const fn debit(&self) -> &Side {
        &self.debit
    }

    /// The side that gives it.
    pub const fn credit(&self) -> &Side {
        &self.credit
    }

    /// How much; above zero.
    pub const fn amount(&self) -> Money {
        self.amount
    }
}

/// Everything one event posts, written together or not at all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The same for the same event, and for no other: it is booked once. It begins with the subject and a `/`.
    pub identity: String,
    /// What happened.
    pub event: EntryEvent,
    /// The day it counts for.
    pub accounting_on: NaiveDate,
    /// The merchant it is about, if it is about one.
    pub merchant_id: Option<MerchantId>,
    /// What it is about: a record, a settlement, a payout.
    pub subject: String,
    /// At least one, all in one currency.
    postings: Vec<Posting>,
    currency: Currency,
}

impl Entry {
    /// Its postings, in the order of their lines.
    pub fn postings(&self) -> &[Posting] {
        &self.postings
    }

    /// The currency of all of them.
    pub const fn currency(&self) -> Currency {
        self.currency
    }

    /// A digest over everything it says.
    pub fn sha256(&self) -> String {
        let accounting_on = self.accounting_on.to_string();
        let postings: Vec<SealedPosting<'_>> = (1_i64..)
            .zip(&self.postings)
            .map(|(line, posting)| SealedPosting {
                line,
                debit_account: posting.debit.account.as_str(),
                debit_owner: &posting.debit.owner,
                credit_account: posting.credit.account.as_str(),
                credit_owner: &posting.credit.owner,
                amount_minor: posting.amount.minor_units(),
                currency: posting.amount.currency().code(),
            })
            .collect();
        seal(&SealedEntry {
            identity: &self.identity,
            event: self.event.as_str(),
            accounting_on: &accounting_on,
            merchant_id: self.merchant_id.as_ref().map(MerchantId::as_str),
            subject: &self.subject,
            currency: self.currency.code(),
            postings: &postings,
        })
    }
}

/// Why something cannot be booked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LedgerError {
    /// Amounts that cannot be added, or turned.
    #[error(transparent)]
    Money(#[from] MoneyError),
    /// An amount that would go from a side to itself.
    #[error("an amount cannot go from {0} to itself")]
    SameSide(Account),
    /// A coupon that is larger than what it is a part of.
    #[error("the coupon of {0} is larger than its amount")]
    CouponTooLarge(String),
}
