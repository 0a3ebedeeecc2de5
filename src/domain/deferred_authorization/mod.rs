//! Decides how the total of an accepted order is made good by its payment methods.
//!
//! One method is asked at a time, in the order of [`allocation`]: a later one may have to take over the share of
//! one that is declined, and is authorized once. What has an unknown outcome keeps its share until that is proved.
//! An order whose time is over is authorized no more, and everything that is held for it is let go, with proof.

pub mod allocation;
mod answer;
mod standing;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use chrono_tz::Tz;
use clearday_jobs::{
    AuthorizationAnswer, Capture, ChannelName, MerchantId, MethodGroup, MethodId, Money, OrderNo,
    PaymentMethod, Reference,
};

use self::allocation::{Share, allocate, asking_order, may_be_charged};
use self::standing::Standing;
use super::authorization::{Authorization, AuthorizationState, AuthorizationWithCall};
use super::order::Order;
use super::order_expiry::ask_again_at;
use super::words::words;

/// How often one method is asked for one order. An authorization that lapsed or was let go may be asked for again,
/// but each time costs a fee, and three lapses say that the order is not captured in time anyhow.
pub const ASKED_MAX: u32 = 3;

/// What the seller configured.
#[derive(Clone, Debug)]
pub struct ChargingRules {
    /// The groups of methods in the order in which they are charged; one that is missing comes last.
    pub sequence: Vec<MethodGroup>,
    /// Whose calendar says on which date a card is charged.
    pub zone: Tz,
}

words! {
    /// Why a method takes no part any more.
    SuspensionCode {
        /// The channel declined.
        Declined = "declined",
        /// The card is expired on the date of the charge.
        CardExpired = "card_expired",
        /// The method may be charged nothing.
        ChargeZero = "charge_zero",
        /// No such channel is configured.
        ChannelUnknown = "channel_unknown",
        /// The channel cannot do what the method asks for.
        ChannelCannot = "channel_cannot",
        /// It was asked as often as a method may be asked for one order.
        AskedTooOften = "asked_too_often",
    }
    "declined, card_expired, charge_zero, channel_unknown, channel_cannot, asked_too_often"
}

/// A method that takes no part any more, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Suspension {
    /// In a word.
    pub code: SuspensionCode,
    /// In a sentence.
    pub message: String,
}

/// What a channel can do about authorizations.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent claims about a channel; not a state in disguise"
)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// Holds money now, takes it later.
    pub authorize: bool,
    /// Takes money at once.
    pub charge: bool,
    /// Lets go of money it holds.
    pub void: bool,
    /// Lets go of a part of it.
    pub reduce: bool,
}

/// A channel, as this run sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ChannelStanding {
    /// What it can do; `None` when it is not configured.
    pub abilities: Option<Abilities>,
    /// Why it is not to be called now, and until when.
    pub hold: Option<(DateTime<Utc>, String)>,
}

/// Everything a decision depends on, read in one transaction, but for what this run saw itself.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// The order that the job is about.
    pub order_no: OrderNo,
    /// Whose order.
    pub merchant_id: MerchantId,
    /// What the job says is owed; once the order is imported, its own total rules.
    pub total: Money,
    /// The methods of the job, in the order in which they were given.
    pub methods: Vec<PaymentMethod>,
    /// The order and every other member of its group; empty while it is not imported.
    pub orders: Vec<Order>,
    /// Whether a payment reference of the group was paid.
    pub is_paid_elsewhere: bool,
    /// Every authorization of the group's orders, by any job.
    pub authorizations: Vec<AuthorizationWithCall>,
    /// Methods that take no part any more.
    pub suspended: BTreeMap<MethodId, Suspension>,
    /// Every channel that a method or an authorization names.
    pub channels: BTreeMap<ChannelName, ChannelStanding>,
    /// Authorizations that were asked about in this run without a proof; when each is asked again, and why.
    pub asked: BTreeMap<Reference, (DateTime<Utc>, String)>,
    /// What the seller configured.
    pub rules: ChargingRules,
}

/// What to do next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask the channel what became of this authorization.
    Query(Reference),
    /// The method takes no part any more.
    Suspend(MethodId, Suspension),
    /// Ask the method for its share, under this number.
    Authorize(Share, u32),
    /// Let go of the authorization, because of this.
    Void(Reference, String),
    /// The order owes less than is held: let go of all but this much.
    ReverseExcess(Reference, Money),
    /// All that is owed was taken: the order is paid.
    Pay,
    /// Nothing can be done before this instant, because of this.
    Wait(DateTime<Utc>, String),
    /// The authorization came to its end.
    Answer(AuthorizationAnswer),
}

/// Why a job contradicts what is known; it goes to the dead letters.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Contradiction {
    /// The order is another merchant's.
    #[error("order {0} is merchant {1}'s, not {2}'s")]
    Merchant(OrderNo, MerchantId, MerchantId),
    /// Amounts are in two currencies.
    #[error("{what} is in {found}, but the job is in {expected}")]
    Currency {
        /// What.
        what: String,
        /// Its currency.
        found: clearday_jobs::Currency,
        /// The currency of the job.
        expected: clearday_jobs::Currency,
    },
}

/// Decides the next step.
///
/// Until the deadline of the order and not at it: at exactly `expires_at` nothing is authorized any more.
pub fn decide(snapshot: &Snapshot, now: DateTime<Utc>) -> Result<Step, Contradiction> {
    snapshot.check()?;
    if let Some(open) = snapshot.open().find(|open| snapshot.may_ask(open)) {
        return Ok(Step::Query(open.reference.clone()));
    }
    Ok(match standing::of(snapshot, now) {
        Standing::InReview => {
            let reason = "an order of the group is in review past its deadline".to_owned();
            Step::Wait(standing::look_again_at(now), reason)
        }
        Standing::Over(error) => {
            let reason = error.message.clone();
            let answer = || answer::no(snapshot, Some(error.clone()));
            let_go(snapshot, &reason, now).unwrap_or_else(answer)
        }
        Standing::Paid if snapshot.is_paid_elsewhere => {
            let reason = "the order was paid in another way";
            let answer = || answer::yes(snapshot);
            let_go(snapshot, reason, now).unwrap_or_else(answer)
        }
        Standing::Paid => wait_for_open(snapshot, now).unwrap_or_else(|| answer::yes(snapshot)),
        Standing::Payable => make_good(snapshot, now),
    })
}

/// Lets go of everything that is held; `None` when nothing is.
fn let_go(snapshot: &Snapshot, reason: &str, now: DateTime<Utc>) -> Option<Step> {
    let held = || snapshot.in_state(AuthorizationState::Authorized);
    if let Some(next) = held().find(|held| snapshot.may_void(held)) {
        return Some(Step::Void(next.reference.clone(), reason.to_owned()));
    }
    if let Some(unvoidable) = held().find(|held| snapshot.may_ask(held)) {
        // It can only lapse there; ask whether it did.
        return Some(Step::Query(unvoidable.reference.clone()));
    }
    if let Some(stuck) = held().next() {
        return Some(snapshot.wait_for_channel(stuck, now));
    }
    wait_for_open(snapshot, now)
}

/// Waits for what has an unknown outcome; `None` when nothing has.
fn wait_for_open(snapshot: &Snapshot, now: DateTime<Utc>) -> Option<Step> {
    snapshot
        .open()
        .map(|open| snapshot.wait_for_channel(open, now))
        .min_by_key(|step| match step {
            Step::Wait(until, _) => *until,
            Step::Query(_)
            | Step::Suspend(..)
            | Step::Authorize(..)
            | Step::Void(..)
            | Step::ReverseExcess(..)
            | Step::Pay
            | Step::Answer(_) => now,
        })
}

/// Brings what is held to what is owed.
fn make_good(snapshot: &Snapshot, now: DateTime<Utc>) -> Step {
    if let Some(step) = suspend_what_may_not_be_charged(snapshot) {
        return step;
    }
    let is_suspended = |held: &&Authorization| snapshot.suspended.contains_key(&held.method_id);
    let stray = snapshot
        .in_state(AuthorizationState::Authorized)
        .find(|held| is_suspended(held) && snapshot.may_void(held));
    if let Some(stray) = stray {
        let reason = format!("method {} was suspended", stray.method_id);
        return Step::Void(stray.reference.clone(), reason);
    }
    if let Some(step) = reverse_excess(snapshot) {
        return step;
    }
    if let Some(step) = wait_for_open(snapshot, now) {
        return step;
    }
    let owed = snapshot.owed();
    let missing = owed.minor_units().saturating_sub(snapshot.committed());
    if missing > 0 {
        let missing = Money::from_minor(missing, owed.currency());
        return ask_next(snapshot, missing, now);
    }
    if snapshot.is_group_taken() {
        Step::Pay
    } else {
        answer::yes(snapshot)
    }
}

fn suspend_what_may_not_be_charged(snapshot: &Snapshot) -> Option<Step> {
    let barred = snapshot.methods.iter().find(|method| {
        !may_be_charged(method) && !snapshot.suspended.contains_key(&method.method_id)
    })?;
    let suspension = Suspension {
        code: SuspensionCode::ChargeZero,
        message: "it may be charged nothing".to_owned(),
    };
    Some(Step::Suspend(barred.method_id.clone(), suspension))
}

/// Lets go of what is held above what is owed, from the method that was asked last.
fn reverse_excess(snapshot: &Snapshot) -> Option<Step> {
    let leaving: i64 = snapshot
        .in_state(AuthorizationState::Voiding)
        .map(|held| {
            let keep = held.keep.map_or(0, Money::minor_units);
            held.amount.minor_units().saturating_sub(keep)
        })
        .fold(0, i64::saturating_add);
    let excess = snapshot
        .committed()
        .saturating_sub(leaving)
        .saturating_sub(snapshot.owed().minor_units());
    if excess <= 0 {
        return None;
    }
    let mut held: Vec<&Authorization> = snapshot.in_state(AuthorizationState::Authorized).collect();
    held.sort_by_key(|held| snapshot.place_of(&held.method_id));
    held.into_iter().rev().find_map(|last| {
        let amount = last.amount.minor_units();
        if amount <= excess && snapshot.may_void(last) {
            let reason = "the order owes less than is held".to_owned();
            return Some(Step::Void(last.reference.clone(), reason));
        }
        if amount > excess && snapshot.may_reduce(last) {
            let keep = Money::from_minor(amount.saturating_sub(excess), last.amount.currency());
            return Some(Step::ReverseExcess(last.reference.clone(), keep));
        }
        None
    })
}

/// Asks the next method for its share of what is missing.
fn ask_next(snapshot: &Snapshot, missing: Money, now: DateTime<Utc>) -> Step {
    let free = snapshot.methods.iter().filter(|method| {
        let id = &method.method_id;
        let is_committed = |it: &&Authorization| it.method_id == *id && it.state.is_committed();
        !snapshot.suspended.contains_key(id) && !snapshot.all().any(|it| is_committed(&it))
    });
    let free = asking_order(free, &snapshot.rules.sequence);
    let next = allocate(missing, &free).shares.into_iter().next();
    let next = next.and_then(|share| {
        let method = free.iter().find(|it| it.method_id == share.method_id)?;
        Some((share, *method))
    });
    let Some((share, method)) = next else {
        return answer::no(snapshot, None);
    };
    if let Some(suspension) = unfit(snapshot, method, now) {
        return Step::Suspend(method.method_id.clone(), suspension);
    }
    let standing = snapshot.channels.get(&method.channel);
    if let Some((until, reason)) = standing.and_then(|standing| standing.hold.clone()) {
        return Step::Wait(until, reason);
    }
    let number = snapshot.asked_before(&method.method_id).saturating_add(1);
    Step::Authorize(share, number)
}

/// Why a method is not even asked.
fn unfit(snapshot: &Snapshot, method: &PaymentMethod, now: DateTime<Utc>) -> Option<Suspension> {
    let channel = &method.channel;
    let abilities = snapshot
        .channels
        .get(channel)
        .and_then(|channel| channel.abilities);
    let Some(abilities) = abilities else {
        return Some(Suspension {
            code: SuspensionCode::ChannelUnknown,
            message: format!("channel {channel} is not configured"),
        });
    };
    let (is_able, what) = match method.capture {
        Capture::Automatic => (abilities.charge, "take money at once"),
        Capture::Manual => (abilities.authorize, "authorize"),
    };
    if !is_able {
        return Some(Suspension {
            code: SuspensionCode::ChannelCannot,
            message: format!("channel {channel} cannot {what}"),
        });
    }
    let today = now.with_timezone(&snapshot.rules.zone).date_naive();
    if method
        .card_expires_on
        .is_some_and(|month| month.is_over_on(today))
    {
        return Some(Suspension {
            code: SuspensionCode::CardExpired,
            message: format!("the card is expired on {today}, the date of the charge"),
        });
    }
    let asked = snapshot.asked_before(&method.method_id);
    (asked >= ASKED_MAX).then(|| Suspension {
        code: SuspensionCode::AskedTooOften,
        message: format!("it was asked {asked} times for this order"),
    })
}

impl Snapshot {
    fn check(&self) -> Result<(), Contradiction> {
        let own = self.own_order();
        if let Some(order) = own.filter(|it| it.merchant_id != self.merchant_id) {
            return Err(Contradiction::Merchant(
                order.order_no.clone(),
                order.merchant_id.clone(),
                self.merchant_id.clone(),
            ));
        }
        let expected = self.total.currency();
        let orders = self
            .orders
            .iter()
            .map(|it| (format!("order {}", it.order_no), it.total));
        let held = self
            .authorizations
            .iter()
            .map(|it| &it.authorization)
            .map(|it| (format!("authorization {}", it.reference), it.amount));
        let stray = orders
            .chain(held)
            .find(|(_, amount)| amount.currency() != expected);
        match stray {
            None => Ok(()),
            Some((what, amount)) => Err(Contradiction::Currency {
                what,
                found: amount.currency(),
                expected,
            }),
        }
    }

    /// Whether anything may be authorized for the order now.
    pub fn is_payable(&self, now: DateTime<Utc>) -> bool {
        standing::of(self, now) == Standing::Payable
    }

    /// The order itself, once it is imported.
    pub fn own_order(&self) -> Option<&Order> {
        self.orders.iter().find(|it| it.order_no == self.order_no)
    }

    /// The authorizations of the order itself.
    fn all(&self) -> impl Iterator<Item = &Authorization> {
        let all = self.authorizations.iter().map(|it| &it.authorization);
        all.filter(|it| it.order_no == self.order_no)
    }

    fn in_state(&self, state: AuthorizationState) -> impl Iterator<Item = &Authorization> {
        self.all().filter(move |it| it.state == state)
    }

    /// What has no proved outcome.
    fn open(&self) -> impl Iterator<Item = &Authorization> {
        self.all().filter(|it| it.state.is_open())
    }

    /// What is owed: the order's total, or what the job says of an order that is not imported.
    fn owed(&self) -> Money {
        self.own_order().map_or(self.total, |order| order.total)
    }

    /// What is held or taken, or may be, in minor units.
    fn committed(&self) -> i64 {
        sum(self.all().filter(|it| it.state.is_committed()))
    }

    /// Whether all that the group owes was taken. Members of a combination are paid together.
    fn is_group_taken(&self) -> bool {
        let live = self.orders.iter().filter(|order| !order.state.is_final());
        let owed = live
            .map(|order| order.total.minor_units())
            .fold(0, i64::saturating_add);
        let all = self.authorizations.iter().map(|it| &it.authorization);
        owed > 0 && sum(all.filter(|it| it.state == AuthorizationState::Captured)) >= owed
    }

    fn asked_before(&self, method_id: &MethodId) -> u32 {
        self.all()
            .filter(|it| it.method_id == *method_id)
            .map(|it| it.number)
            .max()
            .unwrap_or(0)
    }

    /// The place of a method in the order of asking; methods of other jobs were asked before.
    fn place_of(&self, method_id: &MethodId) -> Option<usize> {
        asking_order(&self.methods, &self.rules.sequence)
            .iter()
            .position(|method| method.method_id == *method_id)
    }

    fn abilities(&self, channel: &ChannelName) -> Option<Abilities> {
        let standing = self.channels.get(channel)?;
        if standing.hold.is_some() {
            return None;
        }
        standing.abilities
    }

    fn may_ask(&self, open: &Authorization) -> bool {
        !self.asked.contains_key(&open.reference) && self.abilities(&open.channel).is_some()
    }

    fn may_void(&self, held: &Authorization) -> bool {
        self.abilities(&held.channel).is_some_and(|it| it.void)
    }

    fn may_reduce(&self, held: &Authorization) -> bool {
        self.abilities(&held.channel).is_some_and(|it| it.reduce)
    }

    /// What to wait for when nothing can be done about an authorization now.
    fn wait_for_channel(&self, stuck: &Authorization, now: DateTime<Utc>) -> Step {
        let Authorization {
            channel, reference, ..
        } = stuck;
        if let Some((until, reason)) = self.asked.get(reference).cloned() {
            return Step::Wait(until, reason);
        }
        let standing = self.channels.get(channel);
        if let Some((until, reason)) = standing.and_then(|it| it.hold.clone()) {
            return Step::Wait(until, reason);
        }
        let since = stuck.updated_at;
        let reason = match standing.and_then(|it| it.abilities) {
            None => format!(
                "channel {channel} is not configured, and authorization {reference} is {}: add it under [[channels]]",
                stuck.state
            ),
            Some(_) if stuck.state.is_open() => format!(
                "the outcome of authorization {reference} is not proved since {}; the channel is asked again",
                since.to_rfc3339()
            ),
            Some(_) => format!(
                "channel {channel} cannot let go of authorization {reference}: it is held until it lapses there"
            ),
        };
        Step::Wait(ask_again_at(since, now), reason)
    }
}

/// The sum of amounts, in minor units.
fn sum<'a>(authorizations: impl Iterator<Item = &'a Authorization>) -> i64 {
    authorizations
        .map(|it| it.amount.minor_units())
        .fold(0, i64::saturating_add)
}

#[cfg(test)]
mod tests;
