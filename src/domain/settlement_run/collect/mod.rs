//! What a settlement is made of, and what it comes to.
//!
//! Every payment and refund is settled once. One that is not ready (not proved as the merchant's policy asks, or in an
//! open break) is withheld alone and named, and goes into a later settlement. What an item moves is what the ledger
//! booked for it; a coupon that takes no part in clearing never gets here.

use std::collections::HashMap;
use std::fmt::Write as _;

use clearday_jobs::{Currency, MerchantId, Money, MoneyError, Reference};
use rust_decimal::{Decimal, RoundingStrategy};

use super::SettlementState;
use super::period::{Period, Schedule, next_period};
use crate::domain::calendar::Calendar;
use crate::domain::digest::hex_sha256;
use crate::domain::fee::{FeeContract, RefundedSoFar, contract_on, fee_given_back, fee_of_payment};
use crate::domain::ledger::events::merchant_share;
use crate::domain::ledger::{Booking, LedgerError};
use crate::domain::merchant::{Merchant, SettleBasis, accounting_day};
use crate::domain::record::{Record, RecordKind};
use crate::domain::split::{SplitError, split};
use chrono::NaiveDate;

/// A payment or refund that succeeded and is in no settlement.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// What we know of it.
    pub record: Record,
    /// How it is booked; none when it is not yet.
    pub booking: Option<Booking>,
    /// A break that somebody must settle first.
    pub open_break: Option<String>,
    /// Whether the channel's statement agrees.
    pub is_reconciled: bool,
    /// Whether the channel handed the money of its day over.
    pub is_funded: bool,
}

/// A payment that refunds take back, wherever it is settled.
#[derive(Clone, Debug)]
pub struct Original {
    /// What we know of it.
    pub record: Record,
    /// How it is booked.
    pub booking: Option<Booking>,
    /// What it moved and the fee it bore, once it is settled.
    pub settled: Option<(Money, Money)>,
    /// What refunds took back in earlier settlements.
    pub refunded_before: Money,
    /// What of the fee they gave back.
    pub given_back_before: Money,
}

/// One payment or refund of a settlement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Whether money came in or went back.
    pub kind: RecordKind,
    /// Our number of it.
    pub record_no: Reference,
    /// The order amount, or the amount asked back.
    pub amount: Money,
    /// The part of it that a coupon covered and that is paid out all the same.
    pub funded_coupon: Money,
    /// What it moves: above zero for a payment, below for a refund.
    pub credit: Money,
    /// Our fee; below zero when given back.
    pub merchant_fee: Money,
    /// Of a refund: the payment it takes back.
    pub original: Option<Reference>,
}

/// A payment or refund that is not settled yet, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Withheld {
    /// Whether money came in or went back.
    pub kind: RecordKind,
    /// Our number of it.
    pub record_no: Reference,
    /// How much.
    pub amount: Money,
    /// Why.
    pub reason: WithheldReason,
}

/// Why something is withheld.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WithheldReason {
    /// The ledger has not looked at it.
    NotBooked,
    /// It is none of what we pay out.
    BookedElsewhere,
    /// It is in an open break of this name.
    OpenBreak(String),
    /// No statement of the channel has shown it yet.
    NotReconciled,
    /// The channel has not handed its money over yet.
    NotFunded,
    /// It takes back a payment that is none of this merchant's in this currency.
    ForeignPayment(Reference),
    /// No fee was agreed for its day.
    NoContract(NaiveDate),
}

impl std::fmt::Display for WithheldReason {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::NotBooked => f.write_str("it is not booked yet"),
            Self::BookedElsewhere => f.write_str("its money is in the books otherwise"),
            Self::OpenBreak(name) => write!(f, "it is in an open break ({name})"),
            Self::NotReconciled => f.write_str("no statement of the channel has shown it yet"),
            Self::NotFunded => f.write_str("the channel has not handed its money over yet"),
            Self::ForeignPayment(number) => write!(
                f,
                "it takes back payment {number}, which is of another merchant or in another currency"
            ),
            Self::NoContract(day) => write!(f, "no fee contract holds on {day}"),
        }
    }
}

/// What a settlement comes to. `net` is `gross + coupons − refunds − merchant_fees − reserve + carried`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Amounts {
    /// Payments, without their coupons.
    pub gross: Money,
    /// The coupons of payments that somebody else bears, and that are paid out.
    pub coupons: Money,
    /// Refunds, with their coupons.
    pub refunds: Money,
    /// Our fees, less those given back.
    pub merchant_fees: Money,
    /// What is held back.
    pub reserve: Money,
    /// What the settlement before left: below zero, or below the minimum.
    pub carried: Money,
    /// What is owed.
    pub net: Money,
}

/// The settlement before.
#[derive(Clone, Copy, Debug)]
pub struct Previous {
    /// Its number.
    pub sequence_no: u32,
    /// Where its period ended.
    pub period_until: NaiveDate,
    /// Where it is.
    pub state: SettlementState,
    /// What it came to.
    pub net: Money,
}

/// What the next settlement of a merchant is planned from.
#[derive(Clone, Copy, Debug)]
pub struct Books<'a> {
    /// Whose.
    pub merchant: &'a Merchant,
    /// Whose business days count.
    pub calendar: &'a Calendar,
    /// The settlement before, if there was one.
    pub previous: Option<Previous>,
    /// Everything that is in no settlement, the oldest first.
    pub candidates: &'a [Candidate],
    /// The payments that refunds among them take back.
    pub originals: &'a HashMap<Reference, Original>,
    /// The last day that is settled.
    pub through: NaiveDate,
    /// The day it is where the merchant is.
    pub today: NaiveDate,
    /// The most that a bank pays at once.
    pub ceiling: Option<Money>,
}

/// A settlement about to be written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Draft {
    /// Its number.
    pub sequence_no: u32,
    /// The days it covers, and when it is paid.
    pub period: Period,
    /// Whether it will be paid, or goes into the next one.
    pub state: SettlementState,
    /// What it comes to.
    pub amounts: Amounts,
    /// What it is made of, by kind and number.
    pub items: Vec<Item>,
    /// SHA-256 over all of this.
    pub digest: String,
    /// What it is paid in; nothing when it is carried over.
    pub parts: Vec<Money>,
}

/// The next settlement, if there is one, and what is not settled.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// The settlement.
    pub draft: Option<Draft>,
    /// What was passed over.
    pub withheld: Vec<Withheld>,
}

/// Why a settlement cannot be computed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CollectError {
    /// Amounts that cannot be added.
    #[error(transparent)]
    Money(#[from] MoneyError),
    /// A record that cannot be booked as it says.
    #[error(transparent)]
    Ledger(#[from] LedgerError),
    /// The bank's ceiling leads nowhere.
    #[error(transparent)]
    Split(#[from] SplitError),
}

/// Plans the next settlement of a merchant.
///
/// # Errors
/// [`CollectError`] when amounts do not fit or do not belong together.
pub fn plan(books: &Books<'_>) -> Result<Plan, CollectError> {
    let mut withheld = Vec::new();
    let mut ready: Vec<(NaiveDate, &Candidate, &FeeContract)> = Vec::new();
    for candidate in books.candidates {
        let day = accounting_day(books.merchant, candidate.record.occurred_at.to_utc());
        if day > books.through {
            continue;
        }
        match ready_by(books, candidate, day) {
            Ok(contract) => ready.push((day, candidate, contract)),
            Err(reason) => withheld.push(Withheld {
                kind: candidate.record.kind,
                record_no: candidate.record.record_no.clone(),
                amount: candidate.record.amount,
                reason,
            }),
        }
    }
    let first = ready.iter().map(|(day, _, _)| *day).min();
    let Some(period) = period_of(books, first) else {
        return Ok(Plan {
            draft: None,
            withheld,
        });
    };
    ready.retain(|(day, _, _)| *day < period.until);
    let items = items_of(books, &ready)?;
    let draft = draft(books, period, items)?;
    Ok(Plan {
        draft: Some(draft),
        withheld,
    })
}

/// Whether a candidate may be settled, and by which contract its fee is.
fn ready_by<'a>(
    books: &Books<'a>,
    candidate: &Candidate,
    day: NaiveDate,
) -> Result<&'a FeeContract, WithheldReason> {
    match candidate.booking {
        None => return Err(WithheldReason::NotBooked),
        Some(Booking::Direct | Booking::Elsewhere) => {
            return Err(WithheldReason::BookedElsewhere);
        }
        Some(Booking::ByFunder | Booking::CouponExcluded) => {}
    }
    if let Some(name) = &candidate.open_break {
        return Err(WithheldReason::OpenBreak(name.clone()));
    }
    let basis = books.merchant.settle_basis;
    if basis != SettleBasis::Captured && !candidate.is_reconciled {
        return Err(WithheldReason::NotReconciled);
    }
    if basis == SettleBasis::Funded && !candidate.is_funded {
        return Err(WithheldReason::NotFunded);
    }
    // A refund gives back by the contract that its payment was charged by.
    let number = candidate.record.original_record_no.as_ref();
    let original = number.and_then(|number| books.originals.get(number));
    if let Some(Original { record, .. }) = original
        && (record.merchant_id != books.merchant.merchant_id
            || record.amount.currency() != books.merchant.currency)
    {
        return Err(WithheldReason::ForeignPayment(record.record_no.clone()));
    }
    let captured = original
        .map(|original| accounting_day(books.merchant, original.record.occurred_at.to_utc()));
    let day = captured.unwrap_or(day);
    contract_on(&books.merchant.contracts, day).ok_or(WithheldReason::NoContract(day))
}

/// The days of the next settlement; none when there is nothing to settle.
fn period_of(books: &Books<'_>, first: Option<NaiveDate>) -> Option<Period> {
    let schedule = Schedule {
        cycle: &books.merchant.cycle,
        calendar: books.calendar,
        today: books.today,
    };
    let from = books.previous.map(|previous| previous.period_until);
    let first = match (first, books.previous) {
        (Some(first), _) => first,
        // A minimum that was lowered makes payable what was carried.
        (None, Some(previous)) if is_payable(books.merchant, carried_from(&previous)) => {
            previous.period_until
        }
        (None, _) => return None,
    };
    next_period(schedule, from, first, books.through)
}

fn carried_from(previous: &Previous) -> Money {
    match previous.state {
        SettlementState::CarriedOver => previous.net,
        SettlementState::Calculated | SettlementState::Approved | SettlementState::Paid => {
            Money::from_minor(0, previous.net.currency())
        }
    }
}

/// Whether this much is paid to the merchant.
fn is_payable(merchant: &Merchant, net: Money) -> bool {
    net.minor_units() > 0 && net.minor_units() >= merchant.minimum.minor_units()
}

/// What became of a payment, while its refunds are gone through.
struct Course {
    amount: Money,
    fee: Money,
    refunded: Money,
    given_back: Money,
}

fn items_of(
    books: &Books<'_>,
    ready: &[(NaiveDate, &Candidate, &FeeContract)],
) -> Result<Vec<Item>, CollectError> {
    let mut items = Vec::with_capacity(ready.len());
    let mut courses: HashMap<&Reference, Course> = HashMap::new();
    for (_, candidate, contract) in ready {
        if candidate.record.kind == RecordKind::Payment {
            items.push(payment_item(candidate, contract)?);
        }
    }
    for (_, candidate, contract) in ready {
        if candidate.record.kind == RecordKind::Refund {
            items.push(refund_item(books, candidate, contract, &mut courses)?);
        }
    }
    items.sort_by(|a, b| (a.kind, &a.record_no).cmp(&(b.kind, &b.record_no)));
    Ok(items)
}

fn payment_item(candidate: &Candidate, contract: &FeeContract) -> Result<Item, CollectError> {
    let record = &candidate.record;
    let (share, funded_coupon) = share_of(record, candidate.booking)?;
    Ok(Item {
        kind: record.kind,
        record_no: record.record_no.clone(),
        amount: record.amount,
        funded_coupon,
        credit: share,
        merchant_fee: fee_of_payment(contract, share)?,
        original: None,
    })
}

fn refund_item<'a>(
    books: &Books<'a>,
    candidate: &'a Candidate,
    contract: &FeeContract,
    courses: &mut HashMap<&'a Reference, Course>,
) -> Result<Item, CollectError> {
    let record = &candidate.record;
    let (share, funded_coupon) = share_of(record, candidate.booking)?;
    let mut given_back = Money::from_minor(0, record.amount.currency());
    let number = record.original_record_no.as_ref();
    if let Some((number, original)) = number.zip(number.and_then(|it| books.originals.get(it))) {
        if !courses.contains_key(number) {
            courses.insert(number, course_of(original, contract)?);
        }
        if let Some(course) = courses.get_mut(number) {
            given_back = fee_given_back(
                contract,
                &RefundedSoFar {
                    amount: course.amount,
                    fee: course.fee,
                    refunded_before: course.refunded,
                    given_back_before: course.given_back,
                    refund: share,
                },
            )?;
            course.refunded = course.refunded.checked_add(share)?;
            course.given_back = course.given_back.checked_add(given_back)?;
        }
    }
    Ok(Item {
        kind: record.kind,
        record_no: record.record_no.clone(),
        amount: record.amount,
        funded_coupon,
        credit: share.checked_neg()?,
        merchant_fee: given_back.checked_neg()?,
        original: record.original_record_no.clone(),
    })
}

/// Where a payment stands before the refunds of this settlement. One that is not settled yet will bear the fee of its
/// contract.
fn course_of(original: &Original, contract: &FeeContract) -> Result<Course, CollectError> {
    let (amount, fee) = if let Some(settled) = original.settled {
        settled
    } else {
        let (share, _) = share_of(&original.record, original.booking)?;
        (share, fee_of_payment(contract, share)?)
    };
    Ok(Course {
        amount,
        fee,
        refunded: original.refunded_before,
        given_back: original.given_back_before,
    })
}

/// What of a record is the merchant's, and what of that a coupon covered.
fn share_of(record: &Record, booking: Option<Booking>) -> Result<(Money, Money), CollectError> {
    let booking = booking.unwrap_or(Booking::Elsewhere);
    let share = merchant_share(record, booking)?;
    let without_coupon = match record.coupon {
        None => record.amount,
        Some(coupon) => record.amount.checked_sub(coupon.amount)?,
    };
    let funded = share.checked_sub(without_coupon)?;
    let nothing = Money::from_minor(0, record.amount.currency());
    let funded = if funded.is_negative() {
        nothing
    } else {
        funded
    };
    Ok((share, funded))
}

fn draft(books: &Books<'_>, period: Period, items: Vec<Item>) -> Result<Draft, CollectError> {
    let merchant = books.merchant;
    let nothing = Money::from_minor(0, merchant.currency);
    let carried = books.previous.as_ref().map_or(nothing, carried_from);
    let amounts = Amounts::of(&items, merchant.reserve_rate, carried)?;
    let sequence_no = books.previous.map_or(0, |it| it.sequence_no);
    let sequence_no = sequence_no.saturating_add(1);
    let (state, parts) = if is_payable(merchant, amounts.net) {
        let parts = split(amounts.net, books.ceiling)?;
        (SettlementState::Calculated, parts)
    } else {
        (SettlementState::CarriedOver, Vec::new())
    };
    let head = Head {
        merchant_id: &merchant.merchant_id,
        currency: merchant.currency,
        sequence_no,
        from: period.from,
        until: period.until,
    };
    Ok(Draft {
        sequence_no,
        period,
        state,
        digest: digest(&head, &amounts, &items),
        amounts,
        items,
        parts,
    })
}

impl Amounts {
    /// Adds items up. The reserve is a part of what the period earned, never of what was carried, and nothing is held
    /// back of a loss.
    ///
    /// # Errors
    /// When a sum does not fit.
    pub fn of(items: &[Item], reserve_rate: Decimal, carried: Money) -> Result<Self, CollectError> {
        let nothing = Money::from_minor(0, carried.currency());
        let (mut gross, mut coupons, mut refunds, mut fees) = (nothing, nothing, nothing, nothing);
        for item in items {
            match item.kind {
                RecordKind::Payment => {
                    gross = gross.checked_add(item.credit.checked_sub(item.funded_coupon)?)?;
                    coupons = coupons.checked_add(item.funded_coupon)?;
                }
                RecordKind::Refund => refunds = refunds.checked_sub(item.credit)?,
            }
            fees = fees.checked_add(item.merchant_fee)?;
        }
        let earned = gross
            .checked_add(coupons)?
            .checked_sub(refunds)?
            .checked_sub(fees)?;
        let reserve = part_of(reserve_rate, earned)?;
        Ok(Self {
            gross,
            coupons,
            refunds,
            merchant_fees: fees,
            reserve,
            carried,
            net: earned.checked_sub(reserve)?.checked_add(carried)?,
        })
    }

    /// What leaves `merchant_pending` for `merchant_payable`: everything but fees, before the reserve.
    ///
    /// # Errors
    /// When a sum does not fit.
    pub fn collected(&self) -> Result<Money, MoneyError> {
        self.gross
            .checked_add(self.coupons)?
            .checked_sub(self.refunds)?
            .checked_sub(self.merchant_fees)
    }
}

/// The part of an amount that a rate makes, half a minor unit being a whole one; nothing of a negative amount.
fn part_of(rate: Decimal, amount: Money) -> Result<Money, MoneyError> {
    let currency = amount.currency();
    if amount.is_negative() {
        return Ok(Money::from_minor(0, currency));
    }
    Decimal::from(amount.minor_units())
        .checked_mul(rate)
        .map(|part| part.round_dp_with_strategy(0, RoundingStrategy::MidpointAwayFromZero))
        .and_then(|part| i64::try_from(part).ok())
        .map(|minor_units| Money::from_minor(minor_units, currency))
        .ok_or(MoneyError::OutOfRange(currency))
}

/// What a settlement is about, for its digest.
#[derive(Clone, Copy, Debug)]
pub struct Head<'a> {
    /// Who is owed.
    pub merchant_id: &'a MerchantId,
    /// In what.
    pub currency: Currency,
    /// Its number.
    pub sequence_no: u32,
    /// The first day it covers.
    pub from: NaiveDate,
    /// The first day it does not cover any more.
    pub until: NaiveDate,
}

/// SHA-256 over what a settlement says and all its items, which are sorted by kind and number.
pub fn digest(head: &Head<'_>, amounts: &Amounts, items: &[Item]) -> String {
    let minor = |money: Money| money.minor_units();
    let mut text = format!(
        "{},{},{},{},{}\n{},{},{},{},{},{},{}\n",
        head.merchant_id,
        head.currency,
        head.sequence_no,
        head.from,
        head.until,
        minor(amounts.gross),
        minor(amounts.coupons),
        minor(amounts.refunds),
        minor(amounts.merchant_fees),
        minor(amounts.reserve),
        minor(amounts.carried),
        minor(amounts.net),
    );
    for item in items {
        // Writing to a text cannot fail.
        let _written = writeln!(
            text,
            "{},{},{},{},{},{}",
            item.kind,
            item.record_no,
            minor(item.amount),
            minor(item.funded_coupon),
            minor(item.credit),
            minor(item.merchant_fee),
        );
    }
    hex_sha256(text.as_bytes())
}

#[cfg(test)]
mod tests;
