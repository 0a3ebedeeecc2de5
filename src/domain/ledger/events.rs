//! What each event posts: one constructor per thing that happens, and nobody else makes entries.
//!
//! A negative amount swaps the sides (a fee given back is a fee of less than nothing), zero posts
//! nothing, and an entry without postings is `None`.

use chrono::NaiveDate;
use clearday_jobs::{ChannelName, MerchantId, Money, Reference};

use super::{Account, Booking, Entry, EntryEvent, HOUSE, LedgerError, Posting, Side};
use crate::domain::china::china_day;
use crate::domain::record::{CouponFunder, Record, RecordKind};

/// An entry, none when there is nothing to post, or why it cannot be made.
pub type Built = Result<Option<Entry>, LedgerError>;

/// What an entry is about, and the day it counts for.
#[derive(Clone, Copy, Debug)]
pub struct Occasion<'a> {
    /// One thing, like `settlement:…` or `payout:…`; an event happens to it once.
    pub subject: &'a str,
    /// The accounting date; see [`china_day`] for the usual one.
    pub accounting_on: NaiveDate,
}

/// Whether a break that is given up is money too much or too little.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WriteOff {
    /// Too much (长款): income.
    Long,
    /// Too little (短款): a loss.
    Short,
}

/// Where a refund finds the merchant's money.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RefundFrom {
    /// No settlement has collected the payment yet.
    Pending,
    /// One has; what it owes may become negative.
    Payable,
}

/// The subject of what is booked about a record.
pub fn record_subject(kind: RecordKind, record_no: &Reference) -> String {
    format!("{kind}:{record_no}")
}

/// What of a payment or refund is the merchant's: all but a coupon that takes no part in it.
pub fn merchant_share(record: &Record, booking: Booking) -> Result<Money, LedgerError> {
    let nothing = Money::from_minor(0, record.amount.currency());
    let coupon = record.coupon.map_or(nothing, |coupon| coupon.amount);
    let credited_coupon = match (booking, record.coupon.map(|coupon| coupon.funder)) {
        (Booking::Direct | Booking::Elsewhere, _) => return Ok(nothing),
        (Booking::CouponExcluded, _) | (Booking::ByFunder, None | Some(CouponFunder::Merchant)) => {
            nothing
        }
        (
            Booking::ByFunder,
            Some(CouponFunder::Channel | CouponFunder::Platform | CouponFunder::ThirdParty),
        ) => coupon,
    };
    Ok(without_coupon(record)?.checked_add(credited_coupon)?)
}

/// A payment that succeeded: what the channel owes us of it, and its coupon by who bears it.
pub fn capture(record: &Record, booking: Booking) -> Built {
    let merchant = merchant_side(Account::MerchantPending, &record.merchant_id);
    let mut legs = vec![(
        channel_side(&record.channel),
        merchant.clone(),
        through_channel(record, booking)?,
    )];
    if let Some((bearer, amount)) = coupon_leg(record, booking) {
        legs.push((bearer, merchant, amount));
    }
    of_record(record, EntryEvent::Capture, legs)
}

/// A payment from what the payer keeps with a channel of balances or stored value.
pub fn balance_capture(
    occasion: Occasion<'_>,
    channel: &ChannelName,
    merchant: &MerchantId,
    amount: Money,
) -> Built {
    let balance = Side::new(Account::CustomerBalance, channel.as_str());
    let pending = merchant_side(Account::MerchantPending, merchant);
    let legs = [(balance, pending, amount)];
    book(occasion, EntryEvent::BalanceCapture, Some(merchant), legs)
}

/// A refund that succeeded: through the account in transit, with its coupon's legs reversed.
///
/// Refunds always come off what is pending: a settlement collects them like payments, with their sign.
pub fn refund(record: &Record, booking: Booking) -> Built {
    let pending = merchant_side(Account::MerchantPending, &record.merchant_id);
    let in_transit = merchant_side(Account::RefundInTransit, &record.merchant_id);
    let amount = through_channel(record, booking)?;
    let mut legs = vec![
        (pending.clone(), in_transit.clone(), amount),
        (in_transit, channel_side(&record.channel), amount),
    ];
    if let Some((bearer, amount)) = coupon_leg(record, booking) {
        legs.push((pending, bearer, amount));
    }
    of_record(record, EntryEvent::Refund, legs)
}

/// A refund that is about to be asked for.
pub fn refund_intended(
    occasion: Occasion<'_>,
    merchant: &MerchantId,
    from: RefundFrom,
    amount: Money,
) -> Built {
    let from = match from {
        RefundFrom::Pending => Account::MerchantPending,
        RefundFrom::Payable => Account::MerchantPayable,
    };
    let legs = within(merchant, from, Account::RefundInTransit, amount);
    book(occasion, EntryEvent::RefundIntended, Some(merchant), legs)
}

/// A refund that was asked for went through.
pub fn refund_succeeded(
    occasion: Occasion<'_>,
    channel: &ChannelName,
    merchant: &MerchantId,
    amount: Money,
) -> Built {
    let in_transit = merchant_side(Account::RefundInTransit, merchant);
    let legs = [(in_transit, channel_side(channel), amount)];
    book(occasion, EntryEvent::RefundSucceeded, Some(merchant), legs)
}

/// What the channel charges for a record, or a difference to what was booked; `number` counts the
/// entries of the record, 1 is the first.
pub fn channel_fee(record: &Record, number: i64, fee: Money, accounting_on: NaiveDate) -> Built {
    let subject = record_subject(record.kind, &record.record_no);
    let charged = Side::new(Account::ChannelFee, record.channel.as_str());
    let legs = [(charged, channel_side(&record.channel), fee)];
    let merchant = Some(&record.merchant_id);
    let occasion = Occasion {
        subject: &subject,
        accounting_on,
    };
    let entry = book(occasion, EntryEvent::ChannelFee, merchant, legs)?;
    Ok(entry.map(|entry| Entry {
        identity: format!("{}/{number}", entry.identity),
        ..entry
    }))
}

/// What we charge a merchant for the payments of one settlement; negative when given back.
pub fn merchant_fee(occasion: Occasion<'_>, merchant: &MerchantId, fee: Money) -> Built {
    let pending = merchant_side(Account::MerchantPending, merchant);
    let income = merchant_side(Account::FeeIncome, merchant);
    let legs = [(pending, income, fee)];
    book(occasion, EntryEvent::MerchantFee, Some(merchant), legs)
}

/// Money that nobody owed any more: late, or a second time. It is never the merchant's.
pub fn late_money(occasion: Occasion<'_>, channel: &ChannelName, amount: Money) -> Built {
    let unallocated = Side::new(Account::UnallocatedReceipts, channel.as_str());
    let legs = [(channel_side(channel), unallocated, amount)];
    book(occasion, EntryEvent::LateMoney, None, legs)
}

/// Such money went back to its payer.
pub fn late_money_returned(occasion: Occasion<'_>, channel: &ChannelName, amount: Money) -> Built {
    let unallocated = Side::new(Account::UnallocatedReceipts, channel.as_str());
    let legs = [(unallocated, channel_side(channel), amount)];
    book(occasion, EntryEvent::LateMoneyReturned, None, legs)
}

/// A settlement collected what a merchant earned, net; negative when refunds were more.
pub fn collected(occasion: Occasion<'_>, merchant: &MerchantId, net: Money) -> Built {
    let (from, to) = (Account::MerchantPending, Account::MerchantPayable);
    let legs = within(merchant, from, to, net);
    book(occasion, EntryEvent::Collected, Some(merchant), legs)
}

/// A part of what is owed is held back.
pub fn reserve_held(occasion: Occasion<'_>, merchant: &MerchantId, amount: Money) -> Built {
    let (from, to) = (Account::MerchantPayable, Account::Reserve);
    let legs = within(merchant, from, to, amount);
    book(occasion, EntryEvent::ReserveHeld, Some(merchant), legs)
}

/// What was held back is let go.
pub fn reserve_released(occasion: Occasion<'_>, merchant: &MerchantId, amount: Money) -> Built {
    let (from, to) = (Account::Reserve, Account::MerchantPayable);
    let legs = within(merchant, from, to, amount);
    book(occasion, EntryEvent::ReserveReleased, Some(merchant), legs)
}

/// A payout is about to be sent; posted with the intent, whatever becomes of it.
pub fn payout_submitted(occasion: Occasion<'_>, merchant: &MerchantId, amount: Money) -> Built {
    let (from, to) = (Account::MerchantPayable, Account::PayoutInTransit);
    let legs = within(merchant, from, to, amount);
    book(occasion, EntryEvent::PayoutSubmitted, Some(merchant), legs)
}

/// A payout is on the bank's statement.
pub fn payout_confirmed(
    occasion: Occasion<'_>,
    merchant: &MerchantId,
    bank: &ChannelName,
    amount: Money,
) -> Built {
    let in_transit = merchant_side(Account::PayoutInTransit, merchant);
    let legs = [(in_transit, bank_side(bank), amount)];
    book(occasion, EntryEvent::PayoutConfirmed, Some(merchant), legs)
}

/// The bank refused a payout.
pub fn payout_rejected(occasion: Occasion<'_>, merchant: &MerchantId, amount: Money) -> Built {
    let (from, to) = (Account::PayoutInTransit, Account::MerchantPayable);
    let legs = within(merchant, from, to, amount);
    book(occasion, EntryEvent::PayoutRejected, Some(merchant), legs)
}

/// A payout came back (退票).
pub fn payout_returned(
    occasion: Occasion<'_>,
    merchant: &MerchantId,
    bank: &ChannelName,
    amount: Money,
) -> Built {
    let returned = merchant_side(Account::PayoutReturned, merchant);
    let legs = [(bank_side(bank), returned, amount)];
    book(occasion, EntryEvent::PayoutReturned, Some(merchant), legs)
}

/// Two people let what came back be paid again.
pub fn return_released(occasion: Occasion<'_>, merchant: &MerchantId, amount: Money) -> Built {
    let (from, to) = (Account::PayoutReturned, Account::MerchantPayable);
    let legs = within(merchant, from, to, amount);
    book(occasion, EntryEvent::ReturnReleased, Some(merchant), legs)
}

/// Two people say that a part was paid offline (线下付款).
pub fn offline_approved(occasion: Occasion<'_>, merchant: &MerchantId, amount: Money) -> Built {
    let (from, to) = (Account::MerchantPayable, Account::OfflineInTransit);
    let legs = within(merchant, from, to, amount);
    book(occasion, EntryEvent::OfflineApproved, Some(merchant), legs)
}

/// An offline payment is on the bank's statement.
pub fn offline_on_statement(
    occasion: Occasion<'_>,
    merchant: &MerchantId,
    bank: &ChannelName,
    amount: Money,
) -> Built {
    let in_transit = merchant_side(Account::OfflineInTransit, merchant);
    let legs = [(in_transit, bank_side(bank), amount)];
    book(
        occasion,
        EntryEvent::OfflineOnStatement,
        Some(merchant),
        legs,
    )
}

/// One part was paid twice: the merchant owes the second payment back.
pub fn second_debit(
    occasion: Occasion<'_>,
    merchant: &MerchantId,
    bank: &ChannelName,
    amount: Money,
) -> Built {
    let overpaid = merchant_side(Account::MerchantOverpaid, merchant);
    let legs = [(overpaid, bank_side(bank), amount)];
    book(occasion, EntryEvent::SecondDebit, Some(merchant), legs)
}

/// The second payment of a part was the one outside of clearday: what was in transit offline is owed back.
pub fn second_payment_offline(
    occasion: Occasion<'_>,
    merchant: &MerchantId,
    amount: Money,
) -> Built {
    let (from, to) = (Account::MerchantOverpaid, Account::OfflineInTransit);
    let legs = within(merchant, from, to, amount);
    book(occasion, EntryEvent::SecondDebit, Some(merchant), legs)
}

/// What was booked as a second payment is the one that pays: the instruction was not dead.
pub fn second_debit_confirms(
    occasion: Occasion<'_>,
    merchant: &MerchantId,
    amount: Money,
) -> Built {
    let (from, to) = (Account::PayoutInTransit, Account::MerchantOverpaid);
    let legs = within(merchant, from, to, amount);
    book(occasion, EntryEvent::PayoutConfirmed, Some(merchant), legs)
}

/// What was booked as a second payment is the one that pays: the offline one.
pub fn second_debit_counts(occasion: Occasion<'_>, merchant: &MerchantId, amount: Money) -> Built {
    let (from, to) = (Account::MerchantPayable, Account::MerchantOverpaid);
    let legs = within(merchant, from, to, amount);
    book(occasion, EntryEvent::OfflineApproved, Some(merchant), legs)
}

/// The second payment of a part came back.
pub fn second_debit_returned(
    occasion: Occasion<'_>,
    merchant: &MerchantId,
    bank: &ChannelName,
    amount: Money,
) -> Built {
    let overpaid = merchant_side(Account::MerchantOverpaid, merchant);
    let legs = [(bank_side(bank), overpaid, amount)];
    book(occasion, EntryEvent::PayoutReturned, Some(merchant), legs)
}

/// A channel paid us.
pub fn deposit(
    occasion: Occasion<'_>,
    bank: &ChannelName,
    channel: &ChannelName,
    amount: Money,
) -> Built {
    let legs = [(bank_side(bank), channel_side(channel), amount)];
    book(occasion, EntryEvent::Deposit, None, legs)
}

/// A payer disputes a payment that was settled: the channel takes the money back, and we hold it from the merchant.
pub fn dispute_opened(
    occasion: Occasion<'_>,
    channel: &ChannelName,
    merchant: &MerchantId,
    amount: Money,
) -> Built {
    let asset = merchant_side(Account::DisputeAsset, merchant);
    let payable = merchant_side(Account::MerchantPayable, merchant);
    let hold = merchant_side(Account::DisputeHold, merchant);
    let legs = [
        (asset, channel_side(channel), amount),
        (payable, hold, amount),
    ];
    book(occasion, EntryEvent::DisputeOpened, Some(merchant), legs)
}

/// The payer was right.
pub fn dispute_lost(occasion: Occasion<'_>, merchant: &MerchantId, amount: Money) -> Built {
    let (from, to) = (Account::DisputeHold, Account::DisputeAsset);
    let legs = within(merchant, from, to, amount);
    book(occasion, EntryEvent::DisputeLost, Some(merchant), legs)
}

/// The merchant was right.
pub fn dispute_won(
    occasion: Occasion<'_>,
    channel: &ChannelName,
    merchant: &MerchantId,
    amount: Money,
) -> Built {
    let asset = merchant_side(Account::DisputeAsset, merchant);
    let payable = merchant_side(Account::MerchantPayable, merchant);
    let hold = merchant_side(Account::DisputeHold, merchant);
    let legs = [
        (channel_side(channel), asset, amount),
        (hold, payable, amount),
    ];
    book(occasion, EntryEvent::DisputeWon, Some(merchant), legs)
}

/// An amount was authorized: beside the books, it is not money yet.
pub fn authorization(
    occasion: Occasion<'_>,
    channel: &ChannelName,
    merchant: &MerchantId,
    amount: Money,
) -> Built {
    let exposure = merchant_side(Account::MemoExposure, merchant);
    let contra = Side::new(Account::MemoContra, channel.as_str());
    let legs = [(exposure, contra, amount)];
    book(occasion, EntryEvent::Authorization, Some(merchant), legs)
}

/// An authorization was let go.
pub fn authorization_voided(
    occasion: Occasion<'_>,
    channel: &ChannelName,
    merchant: &MerchantId,
    amount: Money,
) -> Built {
    let exposure = merchant_side(Account::MemoExposure, merchant);
    let contra = Side::new(Account::MemoContra, channel.as_str());
    let legs = [(contra, exposure, amount)];
    let event = EntryEvent::AuthorizationVoided;
    book(occasion, event, Some(merchant), legs)
}

/// What was there before the first entry: on the debit side, or negative for what we owed.
pub fn opening_balance(
    occasion: Occasion<'_>,
    merchant: Option<&MerchantId>,
    side: Side,
    amount: Money,
) -> Built {
    let opening = house_side(Account::OpeningBalance);
    let legs = [(side, opening, amount)];
    book(occasion, EntryEvent::OpeningBalance, merchant, legs)
}

/// The channel has more than we (长款).
pub fn break_long(occasion: Occasion<'_>, channel: &ChannelName, amount: Money) -> Built {
    let suspense = Side::new(Account::Suspense, channel.as_str());
    let legs = [(channel_side(channel), suspense, amount)];
    book(occasion, EntryEvent::BreakLong, None, legs)
}

/// The channel has less than we (短款).
pub fn break_short(occasion: Occasion<'_>, channel: &ChannelName, amount: Money) -> Built {
    let suspense = Side::new(Account::Suspense, channel.as_str());
    let legs = [(suspense, channel_side(channel), amount)];
    book(occasion, EntryEvent::BreakShort, None, legs)
}

/// The bank moved money that nobody can explain yet: it waits in suspense, because the bank's balance is ours. Above
/// zero for money that came.
pub fn bank_break(occasion: Occasion<'_>, bank: &ChannelName, amount: Money) -> Built {
    let event = if amount.is_negative() {
        EntryEvent::BreakShort
    } else {
        EntryEvent::BreakLong
    };
    let suspense = Side::new(Account::Suspense, bank.as_str());
    let legs = [(bank_side(bank), suspense, amount)];
    book(occasion, event, None, legs)
}

/// A break is given up.
pub fn write_off(
    occasion: Occasion<'_>,
    channel: &ChannelName,
    which: WriteOff,
    amount: Money,
) -> Built {
    let suspense = Side::new(Account::Suspense, channel.as_str());
    let legs = match which {
        WriteOff::Long => [(suspense, house_side(Account::OtherIncome), amount)],
        WriteOff::Short => [(house_side(Account::ReconciliationLoss), suspense, amount)],
    };
    book(occasion, EntryEvent::WriteOff, None, legs)
}

/// Undoes an entry, once: corrections are new entries.
pub fn reversal(of: &Entry, accounting_on: NaiveDate) -> Entry {
    let turned = |posting: &Posting| Posting {
        debit: posting.credit.clone(),
        credit: posting.debit.clone(),
        amount: posting.amount,
    };
    Entry {
        identity: format!("{}/{}", of.identity, EntryEvent::Reversal),
        event: EntryEvent::Reversal,
        accounting_on,
        postings: of.postings.iter().map(turned).collect(),
        ..of.clone()
    }
}

/// What the channel pays us of a record, or takes back: all but a coupon that it does not pay.
pub fn through_channel(record: &Record, booking: Booking) -> Result<Money, LedgerError> {
    match (booking, record.coupon.map(|coupon| coupon.funder)) {
        (Booking::Direct | Booking::Elsewhere, _) => {
            Ok(Money::from_minor(0, record.amount.currency()))
        }
        (Booking::ByFunder, Some(CouponFunder::Channel)) => Ok(record.amount),
        (Booking::CouponExcluded, _)
        | (
            Booking::ByFunder,
            None | Some(CouponFunder::Merchant | CouponFunder::Platform | CouponFunder::ThirdParty),
        ) => without_coupon(record),
    }
}

/// Who pays the coupon if not the channel, and how much.
fn coupon_leg(record: &Record, booking: Booking) -> Option<(Side, Money)> {
    let coupon = record.coupon?;
    match booking {
        Booking::CouponExcluded | Booking::Direct | Booking::Elsewhere => None,
        Booking::ByFunder => match coupon.funder {
            CouponFunder::Merchant | CouponFunder::Channel => None,
            CouponFunder::Platform => Some((house_side(Account::Marketing), coupon.amount)),
            CouponFunder::ThirdParty => {
                let bearer = Side::new(Account::CouponReceivable, coupon.funder.as_str());
                Some((bearer, coupon.amount))
            }
        },
    }
}

fn without_coupon(record: &Record) -> Result<Money, LedgerError> {
    let Some(coupon) = record.coupon else {
        return Ok(record.amount);
    };
    let rest = record.amount.checked_sub(coupon.amount)?;
    if rest.is_negative() || coupon.amount.is_negative() {
        let subject = record_subject(record.kind, &record.record_no);
        return Err(LedgerError::CouponTooLarge(subject));
    }
    Ok(rest)
}

fn of_record(record: &Record, event: EntryEvent, legs: Vec<(Side, Side, Money)>) -> Built {
    let subject = record_subject(record.kind, &record.record_no);
    let occasion = Occasion {
        subject: &subject,
        accounting_on: china_day(&record.occurred_at),
    };
    book(occasion, event, Some(&record.merchant_id), legs)
}

/// From one account of a merchant to another.
fn within(
    merchant: &MerchantId,
    debit: Account,
    credit: Account,
    amount: Money,
) -> [(Side, Side, Money); 1] {
    let debit = merchant_side(debit, merchant);
    [(debit, merchant_side(credit, merchant), amount)]
}

fn merchant_side(account: Account, merchant: &MerchantId) -> Side {
    Side::new(account, merchant.as_str())
}

fn channel_side(channel: &ChannelName) -> Side {
    Side::new(Account::ChannelReceivable, channel.as_str())
}

fn bank_side(bank: &ChannelName) -> Side {
    Side::new(Account::Bank, bank.as_str())
}

fn house_side(account: Account) -> Side {
    Side::new(account, HOUSE)
}

/// The entry of these legs (debit, credit, amount); none when all of them are zero.
fn book(
    occasion: Occasion<'_>,
    event: EntryEvent,
    merchant: Option<&MerchantId>,
    legs: impl IntoIterator<Item = (Side, Side, Money)>,
) -> Built {
    let mut postings: Vec<Posting> = Vec::new();
    for (debit, credit, amount) in legs {
        if let Some(posting) = Posting::of(debit, credit, amount)? {
            postings.push(posting);
        }
    }
    let Some(currency) = postings.first().map(|first| first.amount.currency()) else {
        return Ok(None);
    };
    if let Some(other) = postings.iter().find(|it| it.amount.currency() != currency) {
        let other = other.amount.currency();
        return Err(clearday_jobs::MoneyError::CurrencyMismatch(currency, other).into());
    }
    Ok(Some(Entry {
        identity: format!("{}/{event}", occasion.subject),
        event,
        accounting_on: occasion.accounting_on,
        merchant_id: merchant.cloned(),
        subject: occasion.subject.to_owned(),
        postings,
        currency,
    }))
}
