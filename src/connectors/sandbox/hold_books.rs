//! The sandbox's books of authorizations: holds on payers' money by reference, and every effect in order.
//!
//! Pure, as [`books`](super::books) are. By convention a token that begins with `tok_declined_` is declined, and the
//! rest of it is the code: `tok_declined_insufficient_funds`. Every other token has money without end.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use clearday_jobs::{Capture, Money, Reference};
use serde::{Deserialize, Serialize};

/// A token that begins like this is declined; what follows is the code.
pub const DECLINED_TOKEN: &str = "tok_declined_";

/// Where an authorization stands in the sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldStatus {
    /// The money is held.
    Authorized,
    /// The money was taken.
    Captured,
    /// The money was let go on the shop's wish.
    Voided,
    /// The money was let go because the time was over.
    Lapsed,
    /// It was refused.
    Declined,
}

/// What can happen to an authorization.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HoldEvent {
    /// A shop asks to hold money.
    Authorize,
    /// The money is taken.
    Capture,
    /// A part is let go.
    Reduce,
    /// All of it is let go.
    Void,
    /// Its time is over.
    Lapse,
}

/// One authorization as the sandbox sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hold {
    /// Our number for it.
    pub reference: Reference,
    /// The sandbox's number for it.
    pub channel_trade_no: String,
    /// What is held or was taken; after its end, what had been.
    pub amount: Money,
    /// What was asked for at first.
    pub asked: Money,
    /// Where it stands.
    pub status: HoldStatus,
    /// Since when it stands there.
    pub status_since: DateTime<Utc>,
    /// Why it was declined.
    pub decline_code: Option<String>,
}

/// A shop asks to hold money.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldRequest {
    /// The shop's number for it.
    pub reference: Reference,
    /// How much.
    pub amount: Money,
    /// Whose money.
    pub token: String,
    /// Who takes it.
    pub capture: Capture,
}

/// Something that changed the world of the sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HoldEffect {
    /// What happened.
    pub event: HoldEvent,
    /// To which authorization.
    pub reference: Reference,
    /// What is held or taken after it.
    pub amount: Money,
    /// The key it was asked with, where the request has one.
    pub idempotency_key: Option<String>,
    /// When.
    pub at: DateTime<Utc>,
}

/// Why the sandbox does not do what it was asked.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HoldRefusal {
    /// No authorization has the reference.
    #[error("no authorization has this reference")]
    NotFound,
    /// The payer's side refused, with this code.
    #[error("the payer's side refused: {0}")]
    Declined(String),
    /// The money was taken.
    #[error("the money was taken")]
    Captured,
    /// The money was let go.
    #[error("the money was let go")]
    Voided,
    /// The time was over.
    #[error("the time of the authorization is over")]
    Lapsed,
    /// The reference belongs to another authorization.
    #[error("this reference belongs to another authorization")]
    ReferenceReused,
    /// The idempotency key belongs to another request.
    #[error("this idempotency key belongs to another request")]
    KeyReused,
    /// There is nothing to hold.
    #[error("an amount to hold is above zero")]
    AmountNotPositive,
    /// What is to stay held is no such amount.
    #[error("what stays held is between zero and what is held, in its currency")]
    KeepImpossible,
}

impl HoldRefusal {
    /// The code on the wire.
    pub fn code(&self) -> &str {
        match self {
            Self::NotFound => "authorization_not_found",
            Self::Declined(code) => code,
            Self::Captured => "authorization_captured",
            Self::Voided => "authorization_voided",
            Self::Lapsed => "authorization_lapsed",
            Self::ReferenceReused => "reference_reused",
            Self::KeyReused => "key_reused",
            Self::AmountNotPositive => "amount_not_positive",
            Self::KeepImpossible => "keep_impossible",
        }
    }
}

/// All the sandbox knows of authorizations.
#[derive(Clone, Debug, Default)]
pub struct HoldBooks {
    holds: BTreeMap<Reference, Hold>,
    answers: BTreeMap<String, Answered>,
    effects: Vec<HoldEffect>,
}

/// What was asked and answered under an idempotency key, and will be answered again.
#[derive(Clone, Debug)]
struct Answered {
    asked: String,
    answer: Result<Hold, HoldRefusal>,
}

impl HoldBooks {
    /// Holds money, or takes it at once. The same key again gives the first answer again.
    pub fn authorize(
        &mut self,
        request: &HoldRequest,
        idempotency_key: &str,
        now: DateTime<Utc>,
    ) -> Result<Hold, HoldRefusal> {
        let HoldRequest {
            reference, amount, ..
        } = request;
        if amount.minor_units() <= 0 {
            return Err(HoldRefusal::AmountNotPositive);
        }
        let asked = format!(
            "authorize {reference} {amount} {}",
            request.capture.as_str()
        );
        self.once(idempotency_key, asked, |books| {
            if books.holds.contains_key(reference) {
                return Err(HoldRefusal::ReferenceReused);
            }
            let decline_code = request.token.strip_prefix(DECLINED_TOKEN);
            let status = match (decline_code, request.capture) {
                (Some(_), _) => HoldStatus::Declined,
                (None, Capture::Automatic) => HoldStatus::Captured,
                (None, Capture::Manual) => HoldStatus::Authorized,
            };
            let number = books.holds.len().saturating_add(1);
            let hold = Hold {
                reference: reference.clone(),
                channel_trade_no: format!("SANDBOXAUTH{number:012}"),
                amount: *amount,
                asked: *amount,
                status,
                status_since: now,
                decline_code: decline_code.map(str::to_owned),
            };
            if let Some(code) = decline_code {
                books.holds.insert(reference.clone(), hold);
                return Err(HoldRefusal::Declined(code.to_owned()));
            }
            let key = Some(idempotency_key);
            let authorized = books.record(HoldEvent::Authorize, hold, key, now);
            Ok(match request.capture {
                Capture::Manual => authorized,
                Capture::Automatic => books.record(HoldEvent::Capture, authorized, key, now),
            })
        })
    }

    /// Lets go of all that is held above `keep`. The same key again gives the first answer again; only "not found" is
    /// not remembered, because the authorization may still come.
    pub fn void(
        &mut self,
        reference: &Reference,
        keep: Money,
        idempotency_key: &str,
        now: DateTime<Utc>,
    ) -> Result<Hold, HoldRefusal> {
        let asked = format!("void {reference} {keep}");
        if !self.holds.contains_key(reference) && !self.answers.contains_key(idempotency_key) {
            return Err(HoldRefusal::NotFound);
        }
        self.once(idempotency_key, asked, |books| {
            let mut hold = books.load(reference)?;
            let is_possible = keep.currency() == hold.amount.currency() && keep.minor_units() >= 0;
            if !is_possible {
                return Err(HoldRefusal::KeepImpossible);
            }
            match hold.status {
                HoldStatus::Authorized if keep.minor_units() >= hold.amount.minor_units() => {
                    Ok(hold)
                }
                HoldStatus::Authorized if keep.is_zero() => {
                    hold.status = HoldStatus::Voided;
                    Ok(books.record(HoldEvent::Void, hold, Some(idempotency_key), now))
                }
                HoldStatus::Authorized => {
                    hold.amount = keep;
                    Ok(books.record(HoldEvent::Reduce, hold, Some(idempotency_key), now))
                }
                HoldStatus::Voided if keep.is_zero() => Ok(hold),
                HoldStatus::Voided => Err(HoldRefusal::Voided),
                HoldStatus::Captured => Err(HoldRefusal::Captured),
                HoldStatus::Lapsed => Err(HoldRefusal::Lapsed),
                HoldStatus::Declined => Err(HoldRefusal::NotFound),
            }
        })
    }

    /// Takes the money that is held.
    pub fn capture(
        &mut self,
        reference: &Reference,
        now: DateTime<Utc>,
    ) -> Result<Hold, HoldRefusal> {
        let mut hold = self.load(reference)?;
        match hold.status {
            HoldStatus::Authorized => {
                hold.status = HoldStatus::Captured;
                Ok(self.record(HoldEvent::Capture, hold, None, now))
            }
            HoldStatus::Captured => Ok(hold),
            HoldStatus::Voided => Err(HoldRefusal::Voided),
            HoldStatus::Lapsed => Err(HoldRefusal::Lapsed),
            HoldStatus::Declined => Err(HoldRefusal::NotFound),
        }
    }

    /// The time of an authorization is over.
    pub fn lapse(
        &mut self,
        reference: &Reference,
        now: DateTime<Utc>,
    ) -> Result<Hold, HoldRefusal> {
        let mut hold = self.load(reference)?;
        match hold.status {
            HoldStatus::Authorized => {
                hold.status = HoldStatus::Lapsed;
                Ok(self.record(HoldEvent::Lapse, hold, None, now))
            }
            HoldStatus::Lapsed => Ok(hold),
            HoldStatus::Captured => Err(HoldRefusal::Captured),
            HoldStatus::Voided => Err(HoldRefusal::Voided),
            HoldStatus::Declined => Err(HoldRefusal::NotFound),
        }
    }

    /// The authorization with that reference, if there is one.
    pub fn find(&self, reference: &Reference) -> Option<&Hold> {
        self.holds.get(reference)
    }

    /// Every effect since the sandbox began, in the order they happened.
    pub fn effects(&self) -> &[HoldEffect] {
        &self.effects
    }

    /// How often an event had an effect on an authorization. More than once is what clearday must never cause.
    pub fn count_effects(&self, event: HoldEvent, reference: &Reference) -> usize {
        self.effects
            .iter()
            .filter(|effect| effect.event == event && effect.reference == *reference)
            .count()
    }

    /// Does something once for a key, and answers alike ever after.
    fn once(
        &mut self,
        idempotency_key: &str,
        asked: String,
        act: impl FnOnce(&mut Self) -> Result<Hold, HoldRefusal>,
    ) -> Result<Hold, HoldRefusal> {
        if let Some(answered) = self.answers.get(idempotency_key) {
            return if answered.asked == asked {
                answered.answer.clone()
            } else {
                Err(HoldRefusal::KeyReused)
            };
        }
        let answer = act(self);
        let answered = Answered {
            asked,
            answer: answer.clone(),
        };
        self.answers.insert(idempotency_key.to_owned(), answered);
        answer
    }

    fn load(&self, reference: &Reference) -> Result<Hold, HoldRefusal> {
        self.find(reference).cloned().ok_or(HoldRefusal::NotFound)
    }

    fn record(
        &mut self,
        event: HoldEvent,
        mut hold: Hold,
        key: Option<&str>,
        now: DateTime<Utc>,
    ) -> Hold {
        hold.status_since = now;
        self.effects.push(HoldEffect {
            event,
            reference: hold.reference.clone(),
            amount: hold.amount,
            idempotency_key: key.map(str::to_owned),
            at: now,
        });
        self.holds.insert(hold.reference.clone(), hold.clone());
        hold
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clearday_jobs::Currency;

    /// What an event does, by where the authorization stands: its answer, then where it stands, what is held and how
    /// many effects were added.
    const TABLE: &str = "\
absent: authorize -> ok, authorized 1.00 CNY, 1
absent: capture -> authorization_not_found, absent, 0
absent: reduce -> authorization_not_found, absent, 0
absent: void -> authorization_not_found, absent, 0
absent: lapse -> authorization_not_found, absent, 0
authorized: authorize -> reference_reused, authorized 1.00 CNY, 0
authorized: capture -> ok, captured 1.00 CNY, 1
authorized: reduce -> ok, authorized 0.40 CNY, 1
authorized: void -> ok, voided 1.00 CNY, 1
authorized: lapse -> ok, lapsed 1.00 CNY, 1
captured: authorize -> reference_reused, captured 1.00 CNY, 0
captured: capture -> ok, captured 1.00 CNY, 0
captured: reduce -> authorization_captured, captured 1.00 CNY, 0
captured: void -> authorization_captured, captured 1.00 CNY, 0
captured: lapse -> authorization_captured, captured 1.00 CNY, 0
voided: authorize -> reference_reused, voided 1.00 CNY, 0
voided: capture -> authorization_voided, voided 1.00 CNY, 0
voided: reduce -> authorization_voided, voided 1.00 CNY, 0
voided: void -> ok, voided 1.00 CNY, 0
voided: lapse -> authorization_voided, voided 1.00 CNY, 0
lapsed: authorize -> reference_reused, lapsed 1.00 CNY, 0
lapsed: capture -> authorization_lapsed, lapsed 1.00 CNY, 0
lapsed: reduce -> authorization_lapsed, lapsed 1.00 CNY, 0
lapsed: void -> authorization_lapsed, lapsed 1.00 CNY, 0
lapsed: lapse -> ok, lapsed 1.00 CNY, 0
declined: authorize -> reference_reused, declined 1.00 CNY, 0
declined: capture -> authorization_not_found, declined 1.00 CNY, 0
declined: reduce -> authorization_not_found, declined 1.00 CNY, 0
declined: void -> authorization_not_found, declined 1.00 CNY, 0
declined: lapse -> authorization_not_found, declined 1.00 CNY, 0
";

    const EVENTS: [HoldEvent; 5] = [
        HoldEvent::Authorize,
        HoldEvent::Capture,
        HoldEvent::Reduce,
        HoldEvent::Void,
        HoldEvent::Lapse,
    ];

    #[test]
    fn every_event_is_answered_in_every_status() {
        let mut table = Vec::new();
        for (history, token) in [
            (&[][..], "tok_1"),
            (&[HoldEvent::Authorize], "tok_1"),
            (&[HoldEvent::Authorize, HoldEvent::Capture], "tok_1"),
            (&[HoldEvent::Authorize, HoldEvent::Void], "tok_1"),
            (&[HoldEvent::Authorize, HoldEvent::Lapse], "tok_1"),
            (&[HoldEvent::Authorize], "tok_declined_card_blocked"),
        ] {
            for event in EVENTS {
                let mut books = HoldBooks::default();
                for (number, past) in history.iter().enumerate() {
                    drop(ask(&mut books, *past, token, &format!("past {number}")));
                }
                let before = stands(&books);
                let before = before.split(' ').next().unwrap().to_owned();
                let count_before = books.effects().len();
                let answer = ask(&mut books, event, token, "now");
                let answer = answer.as_ref().map_or_else(HoldRefusal::code, |_| "ok");
                let added = books.effects().len() - count_before;
                let event = format!("{event:?}").to_lowercase();
                let after = stands(&books);
                table.push(format!("{before}: {event} -> {answer}, {after}, {added}\n"));
            }
        }
        assert_eq!(table.concat(), TABLE);
    }

    #[test]
    fn the_same_key_is_answered_alike_whatever_happened_since() {
        let mut books = HoldBooks::default();
        let first = books
            .authorize(&request("tok_1", 100), "key", at(0))
            .unwrap();
        books.capture(&reference(), at(1)).unwrap();
        assert_eq!(
            books.authorize(&request("tok_1", 100), "key", at(2)),
            Ok(first)
        );
        assert_eq!(books.count_effects(HoldEvent::Authorize, &reference()), 1);

        let refused = books.void(&reference(), cny(0), "void", at(3));
        assert_eq!(refused, Err(HoldRefusal::Captured));
        let again = books.void(&reference(), cny(0), "void", at(4));
        assert_eq!(again, Err(HoldRefusal::Captured));
    }

    #[test]
    fn a_token_may_say_that_it_is_declined() {
        let mut books = HoldBooks::default();
        let request = request("tok_declined_insufficient_funds", 100);
        for second in 0..2 {
            let answer = books.authorize(&request, "key", at(second));
            let code = "insufficient_funds".to_owned();
            assert_eq!(answer, Err(HoldRefusal::Declined(code)));
        }
        assert_eq!(
            books.find(&reference()).unwrap().status,
            HoldStatus::Declined
        );
        assert_eq!(books.effects(), []);
    }

    #[test]
    fn an_automatic_capture_is_two_effects_of_one_request() {
        let mut books = HoldBooks::default();
        let mut request = request("tok_1", 100);
        request.capture = Capture::Automatic;
        let hold = books.authorize(&request, "key", at(0)).unwrap();
        assert_eq!(hold.status, HoldStatus::Captured);
        let events: Vec<HoldEvent> = books.effects().iter().map(|effect| effect.event).collect();
        assert_eq!(events, [HoldEvent::Authorize, HoldEvent::Capture]);
    }

    #[test]
    fn a_key_serves_one_request_and_amounts_make_sense() {
        let mut books = HoldBooks::default();
        books
            .authorize(&request("tok_1", 100), "key", at(0))
            .unwrap();
        let other = books.authorize(&request("tok_1", 101), "key", at(1));
        assert_eq!(other, Err(HoldRefusal::KeyReused));
        let nothing = books.authorize(&request("tok_1", 0), "zero", at(1));
        assert_eq!(nothing, Err(HoldRefusal::AmountNotPositive));
        let negative = books.void(&reference(), cny(-1), "void", at(1));
        assert_eq!(negative, Err(HoldRefusal::KeepImpossible));
        let all = books
            .void(&reference(), cny(500), "keep all", at(1))
            .unwrap();
        assert_eq!(all.amount, cny(100));
    }

    fn ask(
        books: &mut HoldBooks,
        event: HoldEvent,
        token: &str,
        key: &str,
    ) -> Result<Hold, HoldRefusal> {
        match event {
            HoldEvent::Authorize => books.authorize(&request(token, 100), key, at(0)),
            HoldEvent::Capture => books.capture(&reference(), at(1)),
            HoldEvent::Reduce => books.void(&reference(), cny(40), key, at(2)),
            HoldEvent::Void => books.void(&reference(), cny(0), key, at(2)),
            HoldEvent::Lapse => books.lapse(&reference(), at(3)),
        }
    }

    fn stands(books: &HoldBooks) -> String {
        match books.find(&reference()) {
            Some(hold) => {
                let status = format!("{:?}", hold.status).to_lowercase();
                format!("{status} {}", hold.amount)
            }
            None => "absent".to_owned(),
        }
    }

    fn request(token: &str, minor_units: i64) -> HoldRequest {
        HoldRequest {
            reference: reference(),
            amount: cny(minor_units),
            token: token.to_owned(),
            capture: Capture::Manual,
        }
    }

    fn reference() -> Reference {
        Reference::new("A1").unwrap()
    }

    fn cny(minor_units: i64) -> Money {
        Money::from_minor(minor_units, Currency::parse("CNY").unwrap())
    }

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(1_780_000_000 + second, 0).unwrap()
    }
}
