//! The sandbox's own books: payments by reference, and every effect in the order it happened.
//!
//! Pure: time is an argument, and there is no lock and no wire here. The books are kept apart from clearday's tables
//! on purpose; a test that compares the two compares two memories.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use clearday_jobs::{Money, Reference};
use serde::{Deserialize, Serialize};

/// Where a payment stands in the sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PaymentStatus {
    /// Waiting for the buyer.
    Created,
    /// The buyer paid.
    Paid,
    /// Takes no money any more.
    Closed,
}

/// What can happen to a payment.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Event {
    /// A shop asks for money.
    Create,
    /// The buyer pays.
    Pay,
    /// A shop wants no money any more.
    Close,
}

/// One payment as the sandbox sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payment {
    /// Our number for it.
    pub reference: Reference,
    /// The sandbox's number for it.
    pub channel_trade_no: String,
    /// What the buyer is asked for, and pays.
    pub amount: Money,
    /// Where it stands.
    pub status: PaymentStatus,
    /// Since when it stands there.
    pub status_since: DateTime<Utc>,
}

/// A payment that is closed now, whoever closed it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Closing {
    /// Since when it is closed.
    pub closed_at: DateTime<Utc>,
    /// Whether it was closed before this was asked.
    pub was_closed: bool,
}

/// Something that changed the world of the sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Effect {
    /// What happened.
    pub event: Event,
    /// To which payment.
    pub reference: Reference,
    /// The amount of that payment.
    pub amount: Money,
    /// The key it was asked with, where the request has one.
    pub idempotency_key: Option<String>,
    /// When.
    pub at: DateTime<Utc>,
}

/// Why the sandbox does not do what it was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// No payment has the reference.
    #[error("no payment has this reference")]
    PaymentNotFound,
    /// The payment has been paid.
    #[error("the payment has been paid")]
    OrderPaid,
    /// The payment is closed.
    #[error("the payment is closed")]
    OrderClosed,
    /// The reference belongs to a payment of another amount.
    #[error("this reference belongs to a payment of another amount")]
    ReferenceReused,
    /// The idempotency key belongs to another payment.
    #[error("this idempotency key belongs to another payment")]
    KeyReused,
    /// There is nothing to pay.
    #[error("an amount to pay is above zero")]
    AmountNotPositive,
}

impl Refusal {
    /// The code on the wire.
    pub fn code(self) -> &'static str {
        match self {
            Self::PaymentNotFound => "payment_not_found",
            Self::OrderPaid => "order_paid",
            Self::OrderClosed => "order_closed",
            Self::ReferenceReused => "reference_reused",
            Self::KeyReused => "key_reused",
            Self::AmountNotPositive => "amount_not_positive",
        }
    }
}

/// All the sandbox knows.
#[derive(Clone, Debug, Default)]
pub struct Books {
    payments: BTreeMap<Reference, Payment>,
    answers: BTreeMap<String, Answered>,
    effects: Vec<Effect>,
}

/// What was answered to an idempotency key, and will be answered again.
#[derive(Clone, Debug)]
struct Answered {
    reference: Reference,
    answer: Result<Closing, Refusal>,
}

/// What an event does to a payment.
enum Verdict {
    Becomes(PaymentStatus),
    Stays,
}

impl Books {
    /// Creates a payment for the buyer to pay. The same reference and amount again is the same payment.
    pub fn create(
        &mut self,
        reference: &Reference,
        amount: Money,
        now: DateTime<Utc>,
    ) -> Result<Payment, Refusal> {
        if amount.is_negative() || amount.is_zero() {
            return Err(Refusal::AmountNotPositive);
        }
        let Some(known) = self.find(reference).cloned() else {
            let number = self.payments.len().saturating_add(1);
            let payment = Payment {
                reference: reference.clone(),
                channel_trade_no: format!("SANDBOX{number:012}"),
                amount,
                status: PaymentStatus::Created,
                status_since: now,
            };
            return Ok(self.record(Event::Create, payment, None));
        };
        if known.amount != amount {
            return Err(Refusal::ReferenceReused);
        }
        self.apply(Event::Create, known, None, now)
    }

    /// The buyer pays.
    pub fn pay(&mut self, reference: &Reference, now: DateTime<Utc>) -> Result<Payment, Refusal> {
        let payment = self.load(reference)?;
        self.apply(Event::Pay, payment, None, now)
    }

    /// Takes no money for a payment any more. The same key again gives the first answer again, whatever has happened
    /// since; only "not found" is not remembered, because the payment may still be created.
    pub fn close(
        &mut self,
        reference: &Reference,
        idempotency_key: &str,
        now: DateTime<Utc>,
    ) -> Result<Closing, Refusal> {
        if let Some(answered) = self.answers.get(idempotency_key) {
            return if answered.reference == *reference {
                answered.answer.clone()
            } else {
                Err(Refusal::KeyReused)
            };
        }
        let payment = self.load(reference)?;
        let was_closed = payment.status == PaymentStatus::Closed;
        let answer = self
            .apply(Event::Close, payment, Some(idempotency_key), now)
            .map(|closed| Closing {
                closed_at: closed.status_since,
                was_closed,
            });
        let answered = Answered {
            reference: reference.clone(),
            answer: answer.clone(),
        };
        self.answers.insert(idempotency_key.to_owned(), answered);
        answer
    }

    /// The payment with that reference, if there is one.
    pub fn find(&self, reference: &Reference) -> Option<&Payment> {
        self.payments.get(reference)
    }

    /// Every effect since the sandbox began, in the order they happened.
    pub fn effects(&self) -> &[Effect] {
        &self.effects
    }

    /// How often an event had an effect on a payment. More than once is what clearday must never cause.
    pub fn count_effects(&self, event: Event, reference: &Reference) -> usize {
        self.effects
            .iter()
            .filter(|effect| effect.event == event && effect.reference == *reference)
            .count()
    }

    fn load(&self, reference: &Reference) -> Result<Payment, Refusal> {
        self.find(reference)
            .cloned()
            .ok_or(Refusal::PaymentNotFound)
    }

    fn apply(
        &mut self,
        event: Event,
        mut payment: Payment,
        idempotency_key: Option<&str>,
        now: DateTime<Utc>,
    ) -> Result<Payment, Refusal> {
        match decide(payment.status, event)? {
            Verdict::Stays => Ok(payment),
            Verdict::Becomes(status) => {
                payment.status = status;
                payment.status_since = now;
                Ok(self.record(event, payment, idempotency_key))
            }
        }
    }

    fn record(&mut self, event: Event, payment: Payment, key: Option<&str>) -> Payment {
        self.effects.push(Effect {
            event,
            reference: payment.reference.clone(),
            amount: payment.amount,
            idempotency_key: key.map(str::to_owned),
            at: payment.status_since,
        });
        self.payments
            .insert(payment.reference.clone(), payment.clone());
        payment
    }
}

fn decide(status: PaymentStatus, event: Event) -> Result<Verdict, Refusal> {
    match status {
        PaymentStatus::Created => match event {
            Event::Create => Ok(Verdict::Stays),
            Event::Pay => Ok(Verdict::Becomes(PaymentStatus::Paid)),
            Event::Close => Ok(Verdict::Becomes(PaymentStatus::Closed)),
        },
        PaymentStatus::Paid => match event {
            Event::Create => Ok(Verdict::Stays),
            Event::Pay | Event::Close => Err(Refusal::OrderPaid),
        },
        PaymentStatus::Closed => match event {
            Event::Create | Event::Close => Ok(Verdict::Stays),
            Event::Pay => Err(Refusal::OrderClosed),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clearday_jobs::Currency;

    /// What an event does, by where the payment stands: its answer, then where the payment stands and how many
    /// effects were added.
    const TABLE: &str = "\
absent: create -> ok, created, 1
absent: pay -> payment_not_found, absent, 0
absent: close -> payment_not_found, absent, 0
created: create -> ok, created, 0
created: pay -> ok, paid, 1
created: close -> ok, closed, 1
paid: create -> ok, paid, 0
paid: pay -> order_paid, paid, 0
paid: close -> order_paid, paid, 0
closed: create -> ok, closed, 0
closed: pay -> order_closed, closed, 0
closed: close -> ok, closed, 0
";

    #[test]
    fn every_event_is_answered_in_every_status() {
        let mut table = Vec::new();
        for history in [
            &[][..],
            &[Event::Create],
            &[Event::Create, Event::Pay],
            &[Event::Create, Event::Close],
        ] {
            for event in [Event::Create, Event::Pay, Event::Close] {
                let mut books = Books::default();
                for past in history {
                    ask(&mut books, *past, "first").unwrap();
                }
                let before = stands(&books);
                let count_before = books.effects().len();
                let answer = match ask(&mut books, event, "second") {
                    Ok(()) => "ok",
                    Err(refusal) => refusal.code(),
                };
                let added = books.effects().len() - count_before;
                let event = format!("{event:?}").to_lowercase();
                let after = stands(&books);
                table.push(format!("{before}: {event} -> {answer}, {after}, {added}\n"));
            }
        }
        assert_eq!(table.concat(), TABLE);
    }

    #[test]
    fn same_key_is_answered_alike_whatever_happened_since() {
        let mut books = Books::default();
        let reference = reference("R1");
        assert_eq!(
            books.close(&reference, "early", at(0)),
            Err(Refusal::PaymentNotFound)
        );
        books.create(&reference, cny(1234), at(1)).unwrap();

        let first = books.close(&reference, "early", at(2)).unwrap();
        assert_eq!(books.close(&reference, "early", at(3)), Ok(first.clone()));
        assert!(!first.was_closed);
        assert_eq!(first.closed_at, at(2));

        let other_key = books.close(&reference, "late", at(4)).unwrap();
        assert!(other_key.was_closed);
        assert_eq!(other_key.closed_at, at(2));
        assert_eq!(books.count_effects(Event::Close, &reference), 1);
    }

    #[test]
    fn refused_close_stays_refused_under_its_key() {
        let mut books = Books::default();
        let reference = reference("R1");
        books.create(&reference, cny(1234), at(0)).unwrap();
        books.pay(&reference, at(1)).unwrap();
        for second in 2..4 {
            let answer = books.close(&reference, "key", at(second));
            assert_eq!(answer, Err(Refusal::OrderPaid));
        }
        assert_eq!(books.count_effects(Event::Close, &reference), 0);
    }

    #[test]
    fn one_key_serves_one_payment() {
        let mut books = Books::default();
        for name in ["R1", "R2"] {
            books.create(&reference(name), cny(1234), at(0)).unwrap();
        }
        books.close(&reference("R1"), "key", at(1)).unwrap();
        let answer = books.close(&reference("R2"), "key", at(2));
        assert_eq!(answer, Err(Refusal::KeyReused));
    }

    #[test]
    fn reference_belongs_to_one_amount() {
        let mut books = Books::default();
        let reference = reference("R1");
        books.create(&reference, cny(1234), at(0)).unwrap();
        let answer = books.create(&reference, cny(1235), at(1));
        assert_eq!(answer, Err(Refusal::ReferenceReused));
    }

    #[test]
    fn nothing_and_less_cannot_be_asked_for() {
        let mut books = Books::default();
        for minor_units in [0, -1] {
            let answer = books.create(&reference("R1"), cny(minor_units), at(0));
            assert_eq!(answer, Err(Refusal::AmountNotPositive));
        }
    }

    #[test]
    fn effects_tell_what_happened_when_and_by_which_key() {
        let mut books = Books::default();
        let reference = reference("R1");
        books.create(&reference, cny(1234), at(0)).unwrap();
        books.close(&reference, "key", at(5)).unwrap();
        let effect = |event, idempotency_key, second| Effect {
            event,
            reference: reference.clone(),
            amount: cny(1234),
            idempotency_key,
            at: at(second),
        };
        assert_eq!(
            books.effects(),
            [
                effect(Event::Create, None, 0),
                effect(Event::Close, Some("key".to_owned()), 5),
            ]
        );
    }

    fn ask(books: &mut Books, event: Event, key: &str) -> Result<(), Refusal> {
        let reference = reference("R1");
        match event {
            Event::Create => books.create(&reference, cny(1234), at(0)).map(drop),
            Event::Pay => books.pay(&reference, at(1)).map(drop),
            Event::Close => books.close(&reference, key, at(2)).map(drop),
        }
    }

    fn stands(books: &Books) -> String {
        match books.find(&reference("R1")) {
            Some(payment) => format!("{:?}", payment.status).to_lowercase(),
            None => "absent".to_owned(),
        }
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
