//! The sandbox bank's own books: one account, the payouts ordered from it, and every line that moved it.
//!
//! Pure: time is an argument, and there is no lock and no wire here. An order is accepted at once and booked at the
//! end of a day, which is a step of its own. By convention some payees cannot be paid, see [`UNKNOWN_PAYEE`] and
//! [`CLOSED_PAYEE`].

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use clearday_jobs::{Currency, Money, Reference};
use serde::{Deserialize, Serialize};

use crate::connectors::bank::END_TO_END_ID_LENGTH_MAX;

/// Account numbers with this end are unknown: an order for one is rejected at once.
pub const UNKNOWN_PAYEE: &str = "0000";
/// Account numbers with this end are closed: an order for one is accepted, and rejected at the end of the day.
pub const CLOSED_PAYEE: &str = "1111";
/// The account that the bank keeps for us.
pub const ACCOUNT_NO: &str = "6222020200000001";
/// What lies on it at the beginning: ten million yuan.
const OPENING_MINOR: i64 = 1_000_000_000;
/// A refusal by its payee.
const NO_SUCH_PAYEE: &str = "the payee's account is unknown";
const PAYEE_IS_CLOSED: &str = "the payee's account is closed";
const NO_MONEY: &str = "the balance is insufficient";

/// Where a payout stands at the bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PayoutStatus {
    /// Will be paid at the end of the day.
    Accepted,
    /// Paid.
    Booked,
    /// Not paid, and never will be.
    Rejected,
    /// Paid, and come back.
    Returned,
}

/// What a bank is asked to pay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayoutRequest {
    /// The payer's id, unique for ever.
    pub end_to_end_id: Reference,
    /// How much.
    pub amount: Money,
    /// Whom.
    pub payee_account_no: String,
    /// By name.
    pub payee_name: String,
    /// What the payee reads.
    pub remittance: String,
}

/// A payout as the bank sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payout {
    /// What was asked.
    pub request: PayoutRequest,
    /// Where it stands.
    pub status: PayoutStatus,
    /// Why it was rejected or came back.
    pub reason: Option<String>,
    /// Since when it stands there.
    pub status_since: DateTime<Utc>,
}

/// A line of the account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BankEntry {
    /// The bank's number for it.
    pub entry_reference: String,
    /// The day it counts for.
    pub booked_on: NaiveDate,
    /// Below zero: money left the account.
    pub amount: Money,
    /// The payer's id, where the line has one.
    pub end_to_end_id: Option<Reference>,
    /// Who is on the other side.
    pub counterparty: String,
    /// What the line says.
    pub text: String,
}

/// What can happen at the bank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BankEvent {
    /// An order was taken.
    Accept,
    /// An order was turned down.
    Reject,
    /// Money left for a payee.
    Book,
    /// Money came back from a payee.
    Return,
    /// Money left otherwise: somebody paid at the counter.
    Debit,
    /// Money came in.
    Deposit,
}

/// Something that changed the books.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BankEffect {
    /// What happened.
    pub event: BankEvent,
    /// To which order, where there was one.
    pub end_to_end_id: Option<Reference>,
    /// How much, never below zero.
    pub amount: Money,
    /// The key it was asked with, where the request has one.
    pub idempotency_key: Option<String>,
    /// When.
    pub at: DateTime<Utc>,
}

/// One day of the account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BankDay {
    /// The account.
    pub account_no: &'static str,
    /// The day.
    pub date: NaiveDate,
    /// What lay there before its first line.
    pub opening: Money,
    /// What lies there after its last.
    pub closing: Money,
    /// Its lines.
    pub entries: Vec<BankEntry>,
}

/// A line that is about to be booked.
#[derive(Clone, Copy, Debug)]
pub struct NewEntry<'a> {
    /// The day it counts for.
    pub booked_on: NaiveDate,
    /// How much, above zero.
    pub amount: Money,
    /// The payer's id, where the line has one.
    pub end_to_end_id: Option<&'a Reference>,
    /// Who is on the other side.
    pub counterparty: &'a str,
    /// What the line says.
    pub text: &'a str,
}

/// Why the bank does not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BankRefusal {
    /// No payout has the id.
    #[error("no payout has this end-to-end id")]
    PayoutNotFound,
    /// The id belongs to an order that says something else.
    #[error("this end-to-end id belongs to another payout")]
    EndToEndIdReused,
    /// The key belongs to another order.
    #[error("this idempotency key belongs to another payout")]
    KeyReused,
    /// There is nothing to pay.
    #[error("an amount to pay is above zero")]
    AmountNotPositive,
    /// The account is kept in another currency.
    #[error("the account is kept in another currency")]
    OtherCurrency,
    /// ISO 20022 cannot carry the id.
    #[error("an end-to-end id has at most {END_TO_END_ID_LENGTH_MAX} characters")]
    EndToEndIdTooLong,
    /// Nobody is named.
    #[error("a payout names its payee's account")]
    PayeeMissing,
    /// Only what was paid can come back.
    #[error("the payout is not booked")]
    NotBooked,
    /// A later day has lines already, so this one is over.
    #[error("the day is over")]
    DayOver,
    /// The account cannot hold that much, or has not that much.
    #[error("the balance does not allow it")]
    Balance,
}

impl BankRefusal {
    /// The code on the wire.
    pub fn code(self) -> &'static str {
        match self {
            Self::PayoutNotFound => "payout_not_found",
            Self::EndToEndIdReused => "end_to_end_id_reused",
            Self::KeyReused => "key_reused",
            Self::AmountNotPositive => "amount_not_positive",
            Self::OtherCurrency => "other_currency",
            Self::EndToEndIdTooLong => "end_to_end_id_too_long",
            Self::PayeeMissing => "payee_missing",
            Self::NotBooked => "not_booked",
            Self::DayOver => "day_over",
            Self::Balance => "balance",
        }
    }
}

/// All the bank knows.
#[derive(Clone, Debug)]
pub struct BankBooks {
    opening: Money,
    balance: Money,
    payouts: BTreeMap<Reference, Payout>,
    keys: BTreeMap<String, Reference>,
    entries: Vec<BankEntry>,
    effects: Vec<BankEffect>,
}

impl Default for BankBooks {
    fn default() -> Self {
        Self::opened_with(Money::from_minor(OPENING_MINOR, Currency::CNY))
    }
}

impl BankBooks {
    /// Books of an account that holds this much.
    pub fn opened_with(opening: Money) -> Self {
        Self {
            opening,
            balance: opening,
            payouts: BTreeMap::new(),
            keys: BTreeMap::new(),
            entries: Vec::new(),
            effects: Vec::new(),
        }
    }

    /// Takes an order. The same order again, under whatever key, is the order that was taken.
    pub fn pay_out(
        &mut self,
        request: &PayoutRequest,
        idempotency_key: &str,
        now: DateTime<Utc>,
    ) -> Result<Payout, BankRefusal> {
        let id = &request.end_to_end_id;
        if self
            .keys
            .get(idempotency_key)
            .is_some_and(|known| known != id)
        {
            return Err(BankRefusal::KeyReused);
        }
        if let Some(known) = self.payouts.get(id) {
            return if known.request == *request {
                Ok(known.clone())
            } else {
                Err(BankRefusal::EndToEndIdReused)
            };
        }
        self.check(request)?;
        self.keys.insert(idempotency_key.to_owned(), id.clone());
        let rejection = if request.payee_account_no.ends_with(UNKNOWN_PAYEE) {
            Some(NO_SUCH_PAYEE)
        } else if self.available_minor() < request.amount.minor_units() {
            Some(NO_MONEY)
        } else {
            None
        };
        let (event, status) = match rejection {
            None => (BankEvent::Accept, PayoutStatus::Accepted),
            Some(_) => (BankEvent::Reject, PayoutStatus::Rejected),
        };
        let payout = Payout {
            request: request.clone(),
            status,
            reason: rejection.map(str::to_owned),
            status_since: now,
        };
        self.payouts.insert(id.clone(), payout.clone());
        self.note(event, Some(id), request.amount, Some(idempotency_key), now);
        Ok(payout)
    }

    fn check(&self, request: &PayoutRequest) -> Result<(), BankRefusal> {
        self.check_amount(request.amount)?;
        if request.end_to_end_id.as_str().len() > END_TO_END_ID_LENGTH_MAX {
            return Err(BankRefusal::EndToEndIdTooLong);
        }
        if request.payee_account_no.is_empty() {
            return Err(BankRefusal::PayeeMissing);
        }
        Ok(())
    }

    fn check_amount(&self, amount: Money) -> Result<(), BankRefusal> {
        if amount.is_negative() || amount.is_zero() {
            return Err(BankRefusal::AmountNotPositive);
        }
        if amount.currency() != self.balance.currency() {
            return Err(BankRefusal::OtherCurrency);
        }
        Ok(())
    }

    /// What is left when everything that was accepted is paid.
    fn available_minor(&self) -> i64 {
        self.payouts
            .values()
            .filter(|payout| payout.status == PayoutStatus::Accepted)
            .fold(self.balance.minor_units(), |left, payout| {
                left.saturating_sub(payout.request.amount.minor_units())
            })
    }

    /// The end of a day: everything that was accepted is paid, in the order of its ids, or rejected.
    pub fn book_day(
        &mut self,
        date: NaiveDate,
        now: DateTime<Utc>,
    ) -> Result<Vec<Payout>, BankRefusal> {
        self.check_day(date)?;
        let waiting: Vec<Payout> = self
            .payouts
            .values()
            .filter(|payout| payout.status == PayoutStatus::Accepted)
            .cloned()
            .collect();
        let mut done = Vec::with_capacity(waiting.len());
        for payout in waiting {
            done.push(self.book(payout, date, now)?);
        }
        Ok(done)
    }

    fn book(
        &mut self,
        mut payout: Payout,
        date: NaiveDate,
        now: DateTime<Utc>,
    ) -> Result<Payout, BankRefusal> {
        let request = payout.request.clone();
        let is_closed = request.payee_account_no.ends_with(CLOSED_PAYEE);
        let is_short = self.balance.minor_units() < request.amount.minor_units();
        payout.status_since = now;
        let event = if is_closed || is_short {
            payout.status = PayoutStatus::Rejected;
            let reason = if is_closed { PAYEE_IS_CLOSED } else { NO_MONEY };
            payout.reason = Some(reason.to_owned());
            BankEvent::Reject
        } else {
            self.append(NewEntry {
                booked_on: date,
                amount: negated(request.amount)?,
                end_to_end_id: Some(&request.end_to_end_id),
                counterparty: &request.payee_name,
                text: &request.remittance,
            })?;
            payout.status = PayoutStatus::Booked;
            BankEvent::Book
        };
        let id = &request.end_to_end_id;
        self.payouts.insert(id.clone(), payout.clone());
        self.note(event, Some(id), request.amount, None, now);
        Ok(payout)
    }

    /// The payee's bank sends the money back (退票).
    pub fn return_payout(
        &mut self,
        end_to_end_id: &Reference,
        date: NaiveDate,
        reason: &str,
        now: DateTime<Utc>,
    ) -> Result<Payout, BankRefusal> {
        let mut payout = self.load(end_to_end_id)?;
        if payout.status != PayoutStatus::Booked {
            return Err(BankRefusal::NotBooked);
        }
        self.append(NewEntry {
            booked_on: date,
            amount: payout.request.amount,
            end_to_end_id: Some(end_to_end_id),
            counterparty: &payout.request.payee_name,
            text: reason,
        })?;
        payout.status = PayoutStatus::Returned;
        payout.reason = Some(reason.to_owned());
        payout.status_since = now;
        self.payouts.insert(end_to_end_id.clone(), payout.clone());
        let amount = payout.request.amount;
        self.note(BankEvent::Return, Some(end_to_end_id), amount, None, now);
        Ok(payout)
    }

    /// Money leaves that no order of ours asked for: somebody paid at the bank's counter.
    pub fn debit(
        &mut self,
        entry: NewEntry<'_>,
        now: DateTime<Utc>,
    ) -> Result<BankEntry, BankRefusal> {
        self.check_amount(entry.amount)?;
        if self.balance.minor_units() < entry.amount.minor_units() {
            return Err(BankRefusal::Balance);
        }
        let amount = negated(entry.amount)?;
        let booked = self.append(NewEntry { amount, ..entry })?;
        let id = booked.end_to_end_id.clone();
        self.note(BankEvent::Debit, id.as_ref(), entry.amount, None, now);
        Ok(booked)
    }

    /// Money comes in: a channel deposits what it owes, or anybody pays.
    pub fn deposit(
        &mut self,
        entry: NewEntry<'_>,
        now: DateTime<Utc>,
    ) -> Result<BankEntry, BankRefusal> {
        self.check_amount(entry.amount)?;
        let booked = self.append(entry)?;
        let id = booked.end_to_end_id.clone();
        self.note(BankEvent::Deposit, id.as_ref(), entry.amount, None, now);
        Ok(booked)
    }

    /// The payout with that id, if there is one.
    pub fn find(&self, end_to_end_id: &Reference) -> Option<&Payout> {
        self.payouts.get(end_to_end_id)
    }

    /// What lies on the account.
    pub fn balance(&self) -> Money {
        self.balance
    }

    /// Every effect since the bank opened, in the order they happened.
    pub fn effects(&self) -> &[BankEffect] {
        &self.effects
    }

    /// How often something happened to an order. More than once is what clearday must never cause.
    pub fn count_effects(&self, event: BankEvent, end_to_end_id: &Reference) -> usize {
        self.effects
            .iter()
            .filter(|it| it.event == event && it.end_to_end_id.as_ref() == Some(end_to_end_id))
            .count()
    }

    /// One day of the account.
    pub fn day(&self, date: NaiveDate) -> Result<BankDay, BankRefusal> {
        let of_day: Vec<BankEntry> = self
            .entries
            .iter()
            .filter(|entry| entry.booked_on == date)
            .cloned()
            .collect();
        let before = self.entries.iter().filter(|it| it.booked_on < date);
        let opening = total(self.opening, before)?;
        Ok(BankDay {
            account_no: ACCOUNT_NO,
            date,
            opening,
            closing: total(opening, of_day.iter())?,
            entries: of_day,
        })
    }

    fn load(&self, end_to_end_id: &Reference) -> Result<Payout, BankRefusal> {
        self.find(end_to_end_id)
            .cloned()
            .ok_or(BankRefusal::PayoutNotFound)
    }

    /// Days are booked one after the other, so that a statement that was drawn stays true.
    fn check_day(&self, date: NaiveDate) -> Result<(), BankRefusal> {
        match self.entries.last() {
            Some(last) if last.booked_on > date => Err(BankRefusal::DayOver),
            Some(_) | None => Ok(()),
        }
    }

    fn append(&mut self, entry: NewEntry<'_>) -> Result<BankEntry, BankRefusal> {
        self.check_day(entry.booked_on)?;
        let balance = self.balance.checked_add(entry.amount);
        let number = self.entries.len().saturating_add(1);
        let booked = BankEntry {
            entry_reference: format!("SB{}{number:06}", entry.booked_on.format("%Y%m%d")),
            booked_on: entry.booked_on,
            amount: entry.amount,
            end_to_end_id: entry.end_to_end_id.cloned(),
            counterparty: entry.counterparty.to_owned(),
            text: entry.text.to_owned(),
        };
        self.balance = balance.map_err(|_| BankRefusal::Balance)?;
        self.entries.push(booked.clone());
        Ok(booked)
    }

    fn note(
        &mut self,
        event: BankEvent,
        end_to_end_id: Option<&Reference>,
        amount: Money,
        key: Option<&str>,
        at: DateTime<Utc>,
    ) {
        self.effects.push(BankEffect {
            event,
            end_to_end_id: end_to_end_id.cloned(),
            amount,
            idempotency_key: key.map(str::to_owned),
            at,
        });
    }
}

fn total<'a>(
    from: Money,
    mut entries: impl Iterator<Item = &'a BankEntry>,
) -> Result<Money, BankRefusal> {
    entries
        .try_fold(from, |sum, entry| sum.checked_add(entry.amount))
        .map_err(|_| BankRefusal::Balance)
}

fn negated(amount: Money) -> Result<Money, BankRefusal> {
    amount.checked_neg().map_err(|_| BankRefusal::Balance)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the bank answers, then where the payout stands and what lies on the account.
    const STORY: &str = "\
order 60.00 -> accepted, balance 100.00
same order, other key -> accepted, balance 100.00
order 41.00 -> rejected: the balance is insufficient, balance 100.00
order 1.00 to an unknown payee -> rejected: the payee's account is unknown, balance 100.00
order 2.00 to a closed payee -> accepted, balance 100.00
end of the day -> 2 done, balance 40.00
first order -> booked, balance 40.00
order to a closed payee -> rejected: the payee's account is closed, balance 40.00
end of the day again -> 0 done, balance 40.00
first order comes back -> returned: no such person, balance 100.00
comes back again -> not_booked, balance 100.00
counter debit 30.00 -> ok, balance 70.00
counter debit 71.00 -> balance, balance 70.00
deposit 5.00 -> ok, balance 75.00
earlier day -> day_over, balance 75.00
";

    #[test]
    fn bank_keeps_its_books() {
        let mut bank = BankBooks::opened_with(cny(10_000));
        let mut told = Vec::new();
        let mut tell = |bank: &BankBooks, what: &str, answer: String| {
            let balance = bank.balance().to_major_string();
            told.push(format!("{what} -> {answer}, balance {balance}\n"));
        };
        let answer = bank.pay_out(&order("E1", 6_000, "62221234"), "k1", at(0));
        tell(&bank, "order 60.00", stands(&answer));
        let answer = bank.pay_out(&order("E1", 6_000, "62221234"), "k1b", at(0));
        tell(&bank, "same order, other key", stands(&answer));
        let answer = bank.pay_out(&order("E2", 4_100, "62221234"), "k2", at(0));
        tell(&bank, "order 41.00", stands(&answer));
        let answer = bank.pay_out(&order("E3", 100, "62220000"), "k3", at(0));
        tell(&bank, "order 1.00 to an unknown payee", stands(&answer));
        let answer = bank.pay_out(&order("E4", 200, "62221111"), "k4", at(0));
        tell(&bank, "order 2.00 to a closed payee", stands(&answer));
        let done = bank.book_day(day(2), at(1)).unwrap();
        tell(&bank, "end of the day", format!("{} done", done.len()));
        let first = bank.load(&reference("E1"));
        tell(&bank, "first order", stands(&first));
        let fourth = bank.load(&reference("E4"));
        tell(&bank, "order to a closed payee", stands(&fourth));
        let done = bank.book_day(day(2), at(1)).unwrap();
        tell(
            &bank,
            "end of the day again",
            format!("{} done", done.len()),
        );
        let back = bank.return_payout(&reference("E1"), day(3), "no such person", at(2));
        tell(&bank, "first order comes back", stands(&back));
        let back = bank.return_payout(&reference("E1"), day(3), "no such person", at(2));
        tell(&bank, "comes back again", stands(&back));
        let ok = |booked: Result<BankEntry, BankRefusal>| match booked {
            Ok(_) => "ok".to_owned(),
            Err(refusal) => refusal.code().to_owned(),
        };
        let debit = bank.debit(counter(3, 3_000), at(3));
        tell(&bank, "counter debit 30.00", ok(debit));
        let debit = bank.debit(counter(3, 7_100), at(3));
        tell(&bank, "counter debit 71.00", ok(debit));
        let deposit = bank.deposit(counter(3, 500), at(3));
        tell(&bank, "deposit 5.00", ok(deposit));
        let early = bank.deposit(counter(2, 500), at(3));
        tell(&bank, "earlier day", ok(early));
        assert_eq!(told.concat(), STORY);

        let second = bank.day(day(2)).unwrap();
        assert_eq!((second.opening, second.closing), (cny(10_000), cny(4_000)));
        let third = bank.day(day(3)).unwrap();
        assert_eq!((third.opening, third.closing), (cny(4_000), cny(7_500)));
        assert_eq!(third.entries.len(), 3);
        assert_eq!(bank.count_effects(BankEvent::Accept, &reference("E1")), 1);
        assert_eq!(bank.count_effects(BankEvent::Book, &reference("E1")), 1);
    }

    #[test]
    fn order_that_makes_no_sense_is_refused_and_leaves_nothing() {
        let mut bank = BankBooks::opened_with(cny(10_000));
        bank.pay_out(&order("E1", 1, "62221234"), "k1", at(0))
            .unwrap();
        let usd = Money::from_minor(1, Currency::parse("USD").unwrap());
        let long = "E".repeat(36);
        for (request, key, refusal) in [
            (
                order("E1", 2, "62221234"),
                "k1",
                BankRefusal::EndToEndIdReused,
            ),
            (order("E2", 1, "62221234"), "k1", BankRefusal::KeyReused),
            (
                order("E2", 0, "62221234"),
                "k2",
                BankRefusal::AmountNotPositive,
            ),
            (
                order("E2", -1, "62221234"),
                "k2",
                BankRefusal::AmountNotPositive,
            ),
            (order("E2", 1, ""), "k2", BankRefusal::PayeeMissing),
            (
                order(&long, 1, "62221234"),
                "k2",
                BankRefusal::EndToEndIdTooLong,
            ),
            (
                PayoutRequest {
                    amount: usd,
                    ..order("E2", 1, "62221234")
                },
                "k2",
                BankRefusal::OtherCurrency,
            ),
        ] {
            assert_eq!(bank.pay_out(&request, key, at(1)), Err(refusal));
        }
        assert_eq!(bank.effects().len(), 1);
        assert_eq!(
            bank.load(&reference("E2")),
            Err(BankRefusal::PayoutNotFound)
        );
    }

    fn stands(payout: &Result<Payout, BankRefusal>) -> String {
        match payout {
            Ok(payout) => {
                let status = format!("{:?}", payout.status).to_lowercase();
                match &payout.reason {
                    Some(reason) => format!("{status}: {reason}"),
                    None => status,
                }
            }
            Err(refusal) => refusal.code().to_owned(),
        }
    }

    fn order(id: &str, minor_units: i64, account: &str) -> PayoutRequest {
        PayoutRequest {
            end_to_end_id: reference(id),
            amount: cny(minor_units),
            payee_account_no: account.to_owned(),
            payee_name: "Tea House".to_owned(),
            remittance: "settlement".to_owned(),
        }
    }

    fn counter(day_of_month: u32, minor_units: i64) -> NewEntry<'static> {
        NewEntry {
            booked_on: day(day_of_month),
            amount: cny(minor_units),
            end_to_end_id: None,
            counterparty: "somebody",
            text: "at the counter",
        }
    }

    fn day(day_of_month: u32) -> NaiveDate {
        NaiveDate::from_ymd_opt(2026, 3, day_of_month).unwrap()
    }

    fn reference(name: &str) -> Reference {
        Reference::new(name).unwrap()
    }

    fn cny(minor_units: i64) -> Money {
        Money::from_minor(minor_units, Currency::parse("CNY").unwrap())
    }

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_780_000_000 + second, 0).unwrap()
    }
}
