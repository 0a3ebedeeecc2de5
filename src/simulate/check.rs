//! What must be true of every story, whatever went wrong in it.
//!
//! L1 to L9 are what "nothing lost" means; the books of the sandbox, which share nothing with ours, are the witness.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use clearday_jobs::{Currency, JobKind, Money};

use super::bill::trades;
use super::house::{BANK, CHANNEL, House};
use super::world::World;
use super::{Finding, SimulateError};
use crate::connectors::sandbox::{BankEvent, Event, HoldEvent};
use crate::domain::job::{Job, JobState};
use crate::domain::ledger::Account;
use crate::domain::operation::OperationState;
use crate::store::jobs::{self, JobFilter};
use crate::store::watch::{self, WatchedCall};
use crate::store::{Tx, ledger, ticks};
use crate::verify::verify;

/// How a reconciliation says that there is nothing to compare.
const EMPTY_BILL: &str = "the statements have no row";
/// More jobs than any story has.
const JOBS_MAX: usize = 100_000;

/// What the driver knows at the end.
pub(super) struct Seen<'a> {
    pub(super) world: &'a World,
    pub(super) tick_instants: &'a [DateTime<Utc>],
    pub(super) now: DateTime<Utc>,
}

/// What holds at any time: every effect was written down before, each happened once, and the books agree.
pub(super) async fn at_any_time(house: &House) -> Result<Vec<Finding>, SimulateError> {
    let mut found = Vec::new();
    let mut tx = house.store.read().await?;
    let calls = watch::calls(&mut tx).await?;
    drop(tx);
    let effects = effects(house);
    let mut told = Told(&mut found);
    effects_were_intended(&mut told, &effects, &calls);
    messages_were_intended(&mut told, house, &calls);
    effects_are_single(&mut told, &effects);
    no_effect_is_declined(&mut told, &effects, &calls);
    let report = verify(&house.store).await?;
    for check in report.checks {
        told.expect(check.ok, "books", || {
            format!("{}: {}", check.name, check.detail)
        });
    }
    Ok(found)
}

/// Everything that was promised, when all faults are over and everything had its time.
pub(super) async fn at_the_end(
    house: &House,
    seen: &Seen<'_>,
) -> Result<Vec<Finding>, SimulateError> {
    let mut found = at_any_time(house).await?;
    let mut tx = house.store.read().await?;
    let all = jobs::list(&mut tx, &JobFilter::default(), JOBS_MAX).await?;
    let calls = watch::calls(&mut tx).await?;
    let mut told = Told(&mut found);
    nothing_lost(&mut told, &all, seen.world);
    nothing_from_nowhere(&mut told, &all, seen.world);
    outcomes_are_proved(&mut told, &mut tx, &calls, seen.now).await?;
    money_agrees(&mut told, &mut tx, house).await?;
    ticks_are_decided(&mut told, &mut tx, &all, seen).await?;
    Ok(found)
}

struct Told<'a>(&'a mut Vec<Finding>);

impl Told<'_> {
    fn expect(&mut self, is_so: bool, check: &'static str, what: impl FnOnce() -> String) {
        if !is_so {
            let what = what();
            self.0.push(Finding { check, what });
        }
    }
}

/// L1 and L9: every intent is acknowledged, and is one job that came to its end.
fn nothing_lost(told: &mut Told<'_>, all: &[Job], world: &World) {
    for (number, wanted) in world.wanted.iter().enumerate() {
        let name = || format!("{} {}", wanted.kind, wanted.key);
        told.expect(world.is_acknowledged(number), "L1", || {
            format!("{} was never acknowledged", name())
        });
        let is_it = |job: &&Job| job.kind == wanted.kind && job.idempotency_key == wanted.key;
        let count = all.iter().filter(is_it).count();
        told.expect(count == 1, "L1", || format!("{} is {count} jobs", name()));
    }
    for job in all {
        let what = |words: &str| {
            let error = job.last_error.as_deref().unwrap_or_default();
            format!(
                "{} {} {words}: {} ({error})",
                job.kind, job.idempotency_key, job.note
            )
        };
        match job.state {
            JobState::Done => {}
            // A day without a trade has an empty bill, and people are told so.
            JobState::Dead if job.note.starts_with(EMPTY_BILL) => {}
            JobState::Dead | JobState::Cancelled => {
                told.expect(false, "L1", || what("ended without its effect"));
            }
            JobState::Ready | JobState::Running | JobState::Cancelling => {
                told.expect(false, "L9", || what("did not come to its end"));
            }
        }
    }
}

/// L2: no job that nobody asked for.
fn nothing_from_nowhere(told: &mut Told<'_>, all: &[Job], world: &World) {
    let wanted: BTreeSet<(JobKind, &str)> = world
        .wanted
        .iter()
        .map(|it| (it.kind, it.key.as_str()))
        .collect();
    for job in all {
        let is_wanted = wanted.contains(&(job.kind, job.idempotency_key.as_str()));
        let is_ours = matches!(job.source.as_str(), "schedule" | "follow_up");
        told.expect(is_wanted || is_ours, "L2", || {
            format!("nobody asked for {} {}", job.kind, job.idempotency_key)
        });
    }
}

/// Something that happened in the sandbox's books.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Effect {
    what: &'static str,
    reference: String,
    key: Option<String>,
}

fn effects(house: &House) -> Vec<Effect> {
    let mut all = Vec::new();
    for effect in house.sandbox.books().effects() {
        let what = match effect.event {
            Event::Create => "create",
            Event::Pay => "pay",
            Event::Close => "close",
        };
        all.push(Effect {
            what,
            reference: effect.reference.to_string(),
            key: effect.idempotency_key.clone(),
        });
    }
    for effect in house.sandbox.hold_books().effects() {
        let what = match effect.event {
            HoldEvent::Authorize => "authorize",
            HoldEvent::Capture => "capture",
            HoldEvent::Reduce => "reduce",
            HoldEvent::Void => "void",
            HoldEvent::Lapse => "lapse",
        };
        all.push(Effect {
            what,
            reference: effect.reference.to_string(),
            key: effect.idempotency_key.clone(),
        });
    }
    for effect in house.sandbox.bank_books().effects() {
        let what = match effect.event {
            BankEvent::Accept => "pay_out",
            BankEvent::Reject => "reject",
            BankEvent::Book => "book",
            BankEvent::Return => "return",
            BankEvent::Debit => "debit",
            BankEvent::Deposit => "deposit",
        };
        let reference = effect.end_to_end_id.as_ref();
        all.push(Effect {
            what,
            reference: reference.map(ToString::to_string).unwrap_or_default(),
            key: effect.idempotency_key.clone(),
        });
    }
    all
}

/// L3: each effect once.
fn effects_are_single(told: &mut Told<'_>, effects: &[Effect]) {
    let mut counts: BTreeMap<(&str, &str), usize> = BTreeMap::new();
    for effect in effects {
        let count = counts.entry((effect.what, &effect.reference)).or_default();
        *count = count.saturating_add(1);
    }
    for ((what, reference), count) in counts {
        told.expect(count == 1, "L3", || {
            format!("{what} of {reference} took effect {count} times")
        });
    }
}

/// L2: each effect that was asked for with a key was written down before.
fn effects_were_intended(told: &mut Told<'_>, effects: &[Effect], calls: &[WatchedCall]) {
    let keys: BTreeSet<&str> = calls.iter().map(|call| call.key.as_str()).collect();
    for effect in effects {
        if let Some(key) = &effect.key {
            told.expect(keys.contains(key.as_str()), "L2", || {
                format!("{key} took effect and was never written down")
            });
        }
    }
}

/// L2 and L3 of messages: each was written down, and nobody was told the same twice.
fn messages_were_intended(told: &mut Told<'_>, house: &House, calls: &[WatchedCall]) {
    let sends: BTreeSet<&str> = calls
        .iter()
        .filter(|call| call.kind == "send")
        .map(|call| call.reference.as_str())
        .collect();
    let mut texts: BTreeMap<String, usize> = BTreeMap::new();
    for sms in house.mailroom.sms() {
        told.expect(sends.contains(sms.id.as_str()), "L2", || {
            format!("SMS {} was sent and never written down", sms.id)
        });
        let count = texts.entry(sms.text).or_default();
        *count = count.saturating_add(1);
    }
    for (text, count) in texts {
        told.expect(count == 1, "L3", || {
            format!("{count} SMS say the same: {text}")
        });
    }
    for call in house.mailroom.webhooks() {
        told.expect(sends.contains(call.id.as_str()), "L2", || {
            format!("webhook {} was called and never written down", call.id)
        });
    }
}

/// L4: what is called declined had no effect.
fn no_effect_is_declined(told: &mut Told<'_>, effects: &[Effect], calls: &[WatchedCall]) {
    let had_effect: BTreeSet<&str> = effects
        .iter()
        .filter(|effect| effect.what != "reject")
        .filter_map(|effect| effect.key.as_deref())
        .collect();
    for call in calls {
        let is_declined = call.state == OperationState::Declined;
        told.expect(
            !(is_declined && had_effect.contains(call.key.as_str())),
            "L4",
            || format!("{} is called declined and took effect", call.key),
        );
    }
}

/// L4: every outcome is proved in the end. Only an endpoint cannot be asked what it heard: a webhook whose answer was
/// lost rests as unknown when its deadline has come.
async fn outcomes_are_proved(
    told: &mut Told<'_>,
    tx: &mut Tx,
    calls: &[WatchedCall],
    now: DateTime<Utc>,
) -> Result<(), SimulateError> {
    for call in calls.iter().filter(|call| !call.state.is_final()) {
        let rests = match call.reference.parse() {
            Ok(notice) => watch::rests(tx, notice, now).await?,
            Err(_) => false,
        };
        told.expect(rests, "L4", || {
            format!("{} has no proved outcome in the end", call.key)
        });
    }
    Ok(())
}

/// L5: our books say of the channel and the bank what their own books say.
async fn money_agrees(
    told: &mut Told<'_>,
    tx: &mut Tx,
    house: &House,
) -> Result<(), SimulateError> {
    let taken: i64 = trades(&house.sandbox)
        .iter()
        .map(|trade| trade.amount.minor_units())
        .sum();
    let booked = ledger::balance(tx, Account::ChannelReceivable, CHANNEL, Currency::CNY).await?;
    told.expect(booked == taken, "L5", || {
        let [taken, booked] = [taken, booked].map(yuan);
        format!("the channel took {taken} and our books say {booked}")
    });
    let bank = house.sandbox.bank_books().balance();
    let ours = ledger::balance(tx, Account::Bank, BANK, Currency::CNY).await?;
    // Nothing is booked of a bank before its first statement.
    let is_told = house
        .sandbox
        .bank_books()
        .effects()
        .iter()
        .any(|effect| effect.event == BankEvent::Book);
    told.expect(!is_told || ours == bank.minor_units(), "L5", || {
        let ours = yuan(ours);
        format!("the bank has {bank} of ours and our books say {ours}")
    });
    Ok(())
}

fn yuan(minor_units: i64) -> Money {
    Money::from_minor(minor_units, Currency::CNY)
}

/// L6: every tick has one fate, and one that fired has one job.
async fn ticks_are_decided(
    told: &mut Told<'_>,
    tx: &mut Tx,
    all: &[Job],
    seen: &Seen<'_>,
) -> Result<(), SimulateError> {
    let decided = ticks::list(tx, JOBS_MAX).await?;
    for at in seen.tick_instants.iter().filter(|at| **at < seen.now) {
        let count = decided.iter().filter(|tick| tick.due_at == *at).count();
        told.expect(count == 1, "L6", || {
            format!("the tick of {at} has {count} fates")
        });
    }
    for tick in &decided {
        let prefix = format!("{}@{}", tick.schedule, tick.due_at.to_rfc3339());
        let started = all
            .iter()
            .filter(|job| job.source == "schedule" && job.idempotency_key.starts_with(&prefix))
            .count();
        told.expect(started == 1, "L6", || {
            format!("{prefix} is {} and started {started} jobs", tick.fate)
        });
    }
    Ok(())
}
