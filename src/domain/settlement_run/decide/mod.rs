//! Decides what is done next about a settlement: ask people, tell the bank, ask the bank, wait.
//!
//! A part is sent only when it is due, when people (or the limit) allow exactly what is sent, and when nobody says that
//! it was paid otherwise. What left is asked for until it is proved; it is never sent under a new number before that.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, NaiveTime, TimeDelta, Utc};
use chrono_tz::Tz;
use clearday_jobs::{ApprovalId, ChannelName, OfflinePaymentId};

use super::{Claim, ClaimEvent, ClaimState, Instruction, Part, PartState, Settlement};
use crate::domain::merchant::Payee;
use crate::domain::operation::{Operation, OperationState};
use crate::domain::order_expiry::ask_again_at;
use crate::domain::schedule::first_instant_showing;
use crate::domain::settlement_run::SettlementState;

/// How soon something is looked at again that wakes the job by itself: in case it did not.
const RECHECK: TimeDelta = TimeDelta::hours(1);
/// How soon a bank is looked for again that is not configured.
const BANK_RECHECK: TimeDelta = TimeDelta::minutes(10);
/// How soon a bank that has a payment is asked again what became of it, at first.
const STATUS_AGAIN_FIRST: TimeDelta = TimeDelta::minutes(10);
/// And at last. It is asked without end: only evidence ends it.
const STATUS_AGAIN_LAST: TimeDelta = TimeDelta::hours(6);

/// What people say about something they are asked about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Consent {
    /// They are not asked, or were asked about something else.
    #[default]
    NotAsked,
    /// They are asked.
    Asked {
        /// Who must act.
        waits_for: String,
    },
    /// They agree, to exactly this.
    Given(ApprovalId),
    /// They do not.
    Refused {
        /// Why, by whom.
        reason: String,
        /// Whether this job asked: it does not ask twice, another one does.
        of_this_job: bool,
    },
}

/// What people say about a settlement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Consents {
    /// About paying what was never sent.
    pub payout: Consent,
    /// About paying a part again, by its number.
    pub releases: Vec<(u32, Consent)>,
    /// About claims.
    pub claims: Vec<(OfflinePaymentId, Consent)>,
}

/// What the bank promises.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BankPromises {
    /// The same order under the same key is paid once.
    pub is_idempotent: bool,
    /// After this long without a trace, an order that left has no effect any more.
    pub processing_window: TimeDelta,
}

/// Banks that are left alone for now, each until when, and why.
pub type Resting = BTreeMap<ChannelName, (DateTime<Utc>, String)>;

/// Everything a decision depends on.
#[derive(Clone, Copy, Debug)]
pub struct Situation<'a> {
    /// The settlement, with its parts.
    pub settlement: &'a Settlement,
    /// What people say.
    pub consents: &'a Consents,
    /// Nothing is paid to the merchant for now.
    pub is_held: bool,
    /// Whether the bank of the merchant's account is configured.
    pub has_bank: bool,
    /// Its name.
    pub bank_name: &'a ChannelName,
    /// The banks that are left alone for now.
    pub resting: &'a Resting,
    /// The day on which it is paid by today's calendar, if that knows it.
    pub payment_day: Option<NaiveDate>,
    /// Where the merchant is.
    pub zone: Tz,
    /// The instant.
    pub now: DateTime<Utc>,
}

/// Whether an order that a bank may never have got may be sent once more, under the same key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resending {
    /// Nothing speaks against it.
    Allowed,
    /// Somebody says that the part was paid offline: it would be paid twice.
    Claimed,
    /// Nothing is paid to the merchant for now.
    Held,
    /// The merchant is paid at another account by now, which two people agreed to.
    Moved,
}

impl Resending {
    /// As it stands for a part.
    pub fn of(part: &Part, payee: &Payee, is_held: bool) -> Self {
        let is_moved = part.instruction().is_some_and(|it| {
            (&it.bank, &it.payee_account_no, &it.payee_name)
                != (&payee.bank, &payee.account_no, &payee.account_name)
        });
        if part.open_claim().is_some() {
            Self::Claimed
        } else if is_held {
            Self::Held
        } else if is_moved {
            Self::Moved
        } else {
            Self::Allowed
        }
    }
}

/// What to do next about a settlement.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextStep {
    /// Nothing is left to do.
    Finished(String),
    /// Nothing can be done until somebody asks for it again; why.
    Leave(String),
    /// Nothing changes before then; why.
    Snooze(DateTime<Utc>, String),
    /// The calendar knows by now on which day it is paid.
    Date(NaiveDate),
    /// Ask people about paying it.
    AskForPayout,
    /// People agreed to pay it.
    TakeApproval(ApprovalId),
    /// What people agreed to is not what would be paid any more.
    RevokeApproval,
    /// Ask people about paying a part again.
    AskForRelease(u32),
    /// Two people released a part.
    Release(u32),
    /// Tell the bank to pay a part.
    PayOut(u32, ApprovalId),
    /// Ask the bank what became of a part.
    Query(u32),
    /// Something became of a claim.
    MoveClaim(OfflinePaymentId, ClaimEvent),
    /// A part is not paid by what paid it first: its second payment counts.
    CountSecond(u32),
    /// Every part is paid.
    Close,
}

/// What one part needs.
enum Need {
    Act(NextStep),
    Wait(DateTime<Utc>, String),
    Leave(String),
    Nothing,
}

/// Decides the next step for a settlement.
pub fn decide(situation: &Situation<'_>) -> NextStep {
    let settlement = situation.settlement;
    if settlement.state == SettlementState::CarriedOver {
        return NextStep::Finished(carried_over_words(settlement));
    }
    // Before anything else: people agree to the day, too.
    if settlement.due_on.is_none()
        && !settlement.is_paid_in_full()
        && let Some(day) = situation.payment_day
    {
        return NextStep::Date(day);
    }
    let mut wait: Option<(DateTime<Utc>, String)> = None;
    let mut left: Option<String> = None;
    let claims = settlement.parts.iter().flat_map(|part| {
        let claims = part.claims.iter();
        claims.map(move |claim| claim_need(situation, part, claim))
    });
    let parts = settlement
        .parts
        .iter()
        .map(|part| part_need(situation, part));
    for need in claims.chain(parts) {
        match need {
            Need::Act(step) => return step,
            Need::Wait(until, reason) => {
                if wait.as_ref().is_none_or(|(earliest, _)| until < *earliest) {
                    wait = Some((until, reason));
                }
            }
            Need::Leave(reason) => left = left.or(Some(reason)),
            Need::Nothing => {}
        }
    }
    if settlement.is_paid_in_full() && settlement.state != SettlementState::Paid {
        return NextStep::Close;
    }
    match (wait, left) {
        (Some((until, reason)), _) => NextStep::Snooze(until, reason),
        (None, Some(reason)) => NextStep::Leave(reason),
        (None, None) => NextStep::Finished(format!(
            "settlement {} of {} was paid: {}",
            settlement.sequence_no, settlement.merchant_id, settlement.amounts.net
        )),
    }
}

fn carried_over_words(settlement: &Settlement) -> String {
    let net = settlement.amounts.net;
    let why = if net.minor_units() > 0 {
        "is below the minimum"
    } else {
        "leaves nothing to pay"
    };
    format!(
        "settlement {} of {} {why} with {net}, which goes into the next one",
        settlement.sequence_no, settlement.merchant_id
    )
}

fn claim_need(situation: &Situation<'_>, part: &Part, claim: &Claim) -> Need {
    let act = |event| Need::Act(NextStep::MoveClaim(claim.id, event));
    match claim.state {
        ClaimState::Refused | ClaimState::Counted | ClaimState::Surplus => Need::Nothing,
        ClaimState::Waiting => match part.state {
            // What is on a statement goes before what is only said.
            PartState::Planned | PartState::Rejected | PartState::Returned
                if part.second_payment().is_some() =>
            {
                Need::Nothing
            }
            PartState::Planned | PartState::Rejected | PartState::Returned => {
                act(ClaimEvent::Count)
            }
            PartState::Confirmed | PartState::PaidOffline => act(ClaimEvent::Yield),
            PartState::Sent | PartState::Unknown | PartState::Accepted | PartState::Bounced => {
                Need::Nothing
            }
        },
        ClaimState::Registered => match consent_of(&situation.consents.claims, &claim.id) {
            Consent::Given(_) => act(ClaimEvent::Approve),
            Consent::Refused { .. } => act(ClaimEvent::Refuse),
            Consent::Asked { waits_for } => Need::Wait(
                later(situation.now, RECHECK),
                format!(
                    "part {} is said to be paid offline: waits for {waits_for}",
                    part.part_no
                ),
            ),
            Consent::NotAsked => Need::Wait(
                later(situation.now, RECHECK),
                format!(
                    "part {} is said to be paid offline: waits for approval",
                    part.part_no
                ),
            ),
        },
    }
}

fn consent_of<'a, Id: PartialEq>(consents: &'a [(Id, Consent)], id: &Id) -> &'a Consent {
    const NOT_ASKED: &Consent = &Consent::NotAsked;
    let found = consents.iter().find(|(other, _)| other == id);
    found.map_or(NOT_ASKED, |(_, consent)| consent)
}

fn part_need(situation: &Situation<'_>, part: &Part) -> Need {
    match part.state {
        PartState::Confirmed | PartState::PaidOffline => Need::Nothing,
        PartState::Planned | PartState::Rejected | PartState::Returned
            if part.second_payment().is_some() =>
        {
            Need::Act(NextStep::CountSecond(part.part_no))
        }
        PartState::Planned => planned_need(situation, part),
        PartState::Rejected | PartState::Returned => blocked_need(situation, part),
        PartState::Sent | PartState::Unknown | PartState::Accepted | PartState::Bounced => {
            in_flight_need(situation, part)
        }
    }
}

/// A part that may be sent, once everything allows it.
fn planned_need(situation: &Situation<'_>, part: &Part) -> Need {
    let Situation {
        settlement, now, ..
    } = situation;
    let number = part.part_no;
    // Somebody says that it was paid; nothing is sent before that is decided, and the claim itself says who must act.
    if part.open_claim().is_some() {
        return Need::Nothing;
    }
    let is_again = part.instruction().is_some();
    let consent = if is_again {
        consent_of(&situation.consents.releases, &number)
    } else {
        &situation.consents.payout
    };
    if !is_again
        && settlement.state == SettlementState::Approved
        && !matches!(consent, Consent::Given(_))
    {
        return Need::Act(NextStep::RevokeApproval);
    }
    let approval = match consent {
        Consent::Given(approval) => *approval,
        Consent::NotAsked
        | Consent::Refused {
            of_this_job: false, ..
        } => {
            return Need::Act(if is_again {
                NextStep::AskForRelease(number)
            } else {
                NextStep::AskForPayout
            });
        }
        Consent::Asked { waits_for } => {
            let reason = format!("payment of part {number} waits for {waits_for}");
            return Need::Wait(later(*now, RECHECK), reason);
        }
        Consent::Refused { reason, .. } => return Need::Leave(not_approved(number, reason)),
    };
    if !is_again && settlement.state == SettlementState::Calculated {
        return Need::Act(NextStep::TakeApproval(approval));
    }
    if situation.is_held {
        let reason = format!("payments to {} are held", settlement.merchant_id);
        return Need::Wait(later(*now, RECHECK), reason);
    }
    match due_at(settlement.due_on, situation.zone) {
        None => {
            let reason = "the day on which it is paid is unknown: the calendar has no data for it";
            Need::Wait(later(*now, STATUS_AGAIN_LAST), reason.to_owned())
        }
        Some(due) if due > *now => {
            let day = settlement.due_on.map(|day| day.to_string());
            let reason = format!("it is paid on {}", day.unwrap_or_default());
            Need::Wait(due, reason)
        }
        Some(_) if !situation.has_bank => Need::Wait(
            later(*now, BANK_RECHECK),
            "the bank of the merchant's account is not configured: add it under [[banks]]"
                .to_owned(),
        ),
        Some(_) => match situation.resting.get(situation.bank_name) {
            Some((until, reason)) => Need::Wait(*until, reason.clone()),
            None => Need::Act(NextStep::PayOut(number, approval)),
        },
    }
}

/// A part that did not arrive: two people release it, or say that it was paid otherwise.
fn blocked_need(situation: &Situation<'_>, part: &Part) -> Need {
    let number = part.part_no;
    if part.open_claim().is_some() {
        return Need::Nothing;
    }
    match consent_of(&situation.consents.releases, &number) {
        Consent::Given(_) => Need::Act(NextStep::Release(number)),
        Consent::NotAsked
        | Consent::Refused {
            of_this_job: false, ..
        } => Need::Act(NextStep::AskForRelease(number)),
        Consent::Asked { waits_for } => Need::Wait(
            later(situation.now, RECHECK),
            format!(
                "part {number} is {}: {}; its release waits for {waits_for}",
                part.state, part.reason
            ),
        ),
        Consent::Refused { reason, .. } => Need::Leave(not_approved(number, reason)),
    }
}

fn not_approved(part_no: u32, reason: &str) -> String {
    format!(
        "payment of part {part_no} was not approved ({reason}); `clearday settle` asks again, and an offline payment \
         closes it, too"
    )
}

/// A part that left: the bank is asked, and then the statement is waited for.
fn in_flight_need(situation: &Situation<'_>, part: &Part) -> Need {
    let number = part.part_no;
    let now = situation.now;
    let Some(instruction) = part.instruction() else {
        return Need::Leave(format!("part {number} left without an instruction"));
    };
    let (again, reason) = match part.state {
        PartState::Sent => (
            ask_again_at(instruction.created_at, instruction.updated_at),
            sent_words(part, instruction),
        ),
        PartState::Unknown => (
            ask_again_at(instruction.created_at, instruction.updated_at),
            unknown_words(part, instruction),
        ),
        PartState::Accepted | PartState::Bounced => {
            let asked = instruction.updated_at;
            let age = asked.signed_duration_since(instruction.created_at);
            let wait = TimeDelta::seconds(age.num_seconds().div_euclid(4));
            let again = later(asked, wait.clamp(STATUS_AGAIN_FIRST, STATUS_AGAIN_LAST));
            let reason = format!(
                "part {number} ({}) waits for the statement of {}",
                instruction.end_to_end_id, instruction.bank
            );
            (again, reason)
        }
        PartState::Planned
        | PartState::Confirmed
        | PartState::Rejected
        | PartState::Returned
        | PartState::PaidOffline => return Need::Nothing,
    };
    if again > now {
        return Need::Wait(again, reason);
    }
    if let Some((until, reason)) = situation.resting.get(&instruction.bank) {
        return Need::Wait(*until, reason.clone());
    }
    // Whether its bank is configured has nothing to do with the one that the merchant has by now.
    Need::Act(NextStep::Query(number))
}

fn sent_words(part: &Part, instruction: &Instruction) -> String {
    format!(
        "part {} ({}) did not reach bank {} yet, as far as is known; it is asked again",
        part.part_no, instruction.end_to_end_id, instruction.bank
    )
}

fn unknown_words(part: &Part, instruction: &Instruction) -> String {
    format!(
        "the outcome of part {} ({}) is unknown since {}; bank {} is asked again",
        part.part_no,
        instruction.end_to_end_id,
        part.updated_at.to_rfc3339(),
        instruction.bank
    )
}

/// The instant at which the day begins on which it is paid.
fn due_at(due_on: Option<NaiveDate>, zone: Tz) -> Option<DateTime<Utc>> {
    first_instant_showing(zone, due_on?.and_time(NaiveTime::MIN))
}

/// What the bank says of an instruction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum BankView {
    /// It never heard of it.
    NotFound,
    /// It has it.
    Accepted,
    /// It says it paid.
    Booked,
    /// It will not pay.
    Rejected(String),
    /// It paid, and the money came back.
    Returned(String),
}

/// What the bank's answer means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AnswerDecision {
    /// It has it; why that is known.
    Accept(String),
    /// It is dead; why.
    Reject(String),
    /// The money came back, in the bank's words.
    Bounce(String),
    /// Nothing new.
    Same,
    /// Send the same order again under the same key.
    Replay,
    /// Nobody knows yet.
    Wait(DateTime<Utc>, String),
}

/// Decides what the bank's answer about an instruction means for its part.
///
/// "Not found" proves that an order never arrived only when the bank's processing window has passed since the last
/// moment at which it may have left; and never against the bank's own word that it has it. An order that may not be
/// sent again is waited for just so long.
pub fn decide_answer(
    view: &BankView,
    part: PartState,
    operation: &Operation,
    promises: BankPromises,
    resending: Resending,
    now: DateTime<Utc>,
) -> AnswerDecision {
    let is_known = matches!(part, PartState::Accepted | PartState::Bounced);
    match view {
        BankView::Accepted if is_known => AnswerDecision::Same,
        BankView::Accepted => AnswerDecision::Accept("the bank has it".to_owned()),
        BankView::Booked if is_known => AnswerDecision::Same,
        BankView::Booked => AnswerDecision::Accept("the bank says that it paid".to_owned()),
        BankView::Rejected(_) | BankView::Returned(_) if part == PartState::Bounced => {
            AnswerDecision::Same
        }
        BankView::Rejected(reason) => AnswerDecision::Reject(reason.clone()),
        BankView::Returned(reason) => AnswerDecision::Bounce(reason.clone()),
        BankView::NotFound if is_known => AnswerDecision::Same,
        BankView::NotFound => not_found(operation, promises, resending, now),
    }
}

fn not_found(
    operation: &Operation,
    promises: BankPromises,
    resending: Resending,
    now: DateTime<Utc>,
) -> AnswerDecision {
    let unproved = match resending {
        Resending::Allowed if promises.is_idempotent => None,
        Resending::Allowed => Some("the bank does not know it"),
        Resending::Claimed => {
            Some("the bank does not know it, and somebody says that it was paid offline")
        }
        Resending::Held => Some("the bank does not know it, and payments to the merchant are held"),
        Resending::Moved => {
            Some("the bank does not know it, and the merchant is paid at another account by now")
        }
    };
    match (operation.state, unproved) {
        // What is proved is not undone by a bank that forgets.
        (OperationState::Succeeded | OperationState::Declined, _) => AnswerDecision::Same,
        (OperationState::Intended | OperationState::Unknown, None) => AnswerDecision::Replay,
        (OperationState::Intended | OperationState::Unknown, Some(unproved)) => {
            let quarantine = operation.quarantined_until(promises.processing_window);
            if now >= quarantine {
                let reason =
                    "the bank never got it: it does not know it after its processing window";
                AnswerDecision::Reject(reason.to_owned())
            } else {
                let reason =
                    format!("{unproved}; that is believed when its processing window has passed");
                let again = quarantine.min(ask_again_at(operation.intended_at, now));
                AnswerDecision::Wait(again, reason)
            }
        }
    }
}

fn later(instant: DateTime<Utc>, wait: TimeDelta) -> DateTime<Utc> {
    instant
        .checked_add_signed(wait)
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}

#[cfg(test)]
mod tests;
