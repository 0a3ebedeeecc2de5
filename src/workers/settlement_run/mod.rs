//! Carries out settlement runs: collects what merchants are owed, has people agree, pays, and follows every payment to
//! its proof.
//!
//! A run for all merchants becomes one job per merchant. A merchant's job loads, asks `domain/settlement_run` for the
//! next step, does it in a transaction of its own, and looks again; so a crash between any two steps is taken up where
//! it stopped, and a second run finds nothing left to do.

mod claims;
mod collect;
pub(super) mod evidence;
mod moves;
mod pay;
mod second;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use clearday_jobs::{
    ChannelName, Currency, JobKind, MerchantId, Money, SettlementId, SettlementRun,
};
use serde_json::json;

use self::collect::{Collected, collect};
pub use self::collect::{PlanError, Scope, preview};
use self::moves::Mover;
pub use self::pay::end_to_end_id;
use super::Workbench;
use super::booking::book_records;
use crate::domain::calendar::Calendar;
use crate::domain::china::china_day;
use crate::domain::merchant::{FundsFlow, Merchant, due_on, ends_at};
use crate::domain::settlement_run::decide::{NextStep, Resting, Situation, decide};
use crate::domain::settlement_run::request::{payout_request, refusals, release_request};
use crate::domain::settlement_run::{PartEvent, Settlement, SettlementEvent};
use crate::engine::{
    Finished, PeopleNeeded, Run, Source, Submission, WorkError, settlement_consents,
};
use crate::store::{approvals, jobs, merchants, settlements};

/// Merchants whose jobs are accepted in one transaction.
const PAGE: usize = 200;
/// Merchants that are named when nobody imported them.
const NAMED_MAX: usize = 10;
/// Steps one run may take for one settlement: it has at most a thousand parts with a few steps each, so more than this
/// is a fault that must not spin.
const STEPS_MAX: usize = 20_000;
/// Periods one run may collect.
const PERIODS_MAX: usize = 1_000;
/// No zone is further behind.
const ZONES: TimeDelta = TimeDelta::hours(36);

/// What became of one settlement in this run.
pub(super) enum Progress {
    /// It is a step further.
    Made,
    /// Nobody answered about one of its parts, which is asked for again then; why. What else it needs goes on.
    Unanswered(DateTime<Utc>, String),
    /// The bank is left alone until then; why. What else it needs goes on.
    KeptBack(ChannelName, DateTime<Utc>, String),
    /// Nothing changes before then; why.
    Waits(DateTime<Utc>, String),
    /// This job is through with it.
    Ended(String),
}

/// Runs one job to its recorded end.
pub(super) async fn run(
    bench: &Workbench,
    run: &Run,
    asked: &SettlementRun,
) -> Result<Finished, WorkError> {
    match &asked.merchant_id {
        None => fan_out(run, asked).await,
        Some(merchant_id) => settle(bench, run, asked, merchant_id).await,
    }
}

/// Makes one job per merchant that has something to settle or to pay.
async fn fan_out(run: &Run, asked: &SettlementRun) -> Result<Finished, WorkError> {
    book_records(run).await?;
    let until = asked
        .through
        .succ_opt()
        .and_then(|day| day.and_hms_opt(0, 0, 0))
        .map_or(run.now(), |midnight| midnight.and_utc())
        .checked_add_signed(ZONES)
        .unwrap_or(DateTime::<Utc>::MAX_UTC);
    let mut after = String::new();
    let mut count = 0_usize;
    loop {
        let mut tx = run.begin().await?;
        let page = settlements::merchants_with_work(&mut tx, &after, until, PAGE).await?;
        let jobs: Vec<Submission> = page
            .iter()
            .filter(|(_, currency)| asked.currency.is_none_or(|only| only == *currency))
            .map(|(merchant_id, currency)| of_merchant(run, asked.through, merchant_id, *currency))
            .collect();
        count = count.saturating_add(jobs.len());
        run.follow_ups(&mut tx, jobs).await?;
        let is_last = page.len() < PAGE;
        if let Some((last, _)) = page.last() {
            after = last.to_string();
        }
        if is_last {
            let strangers =
                settlements::merchants_without_policy(&mut tx, until, NAMED_MAX).await?;
            return run.done(tx, &fan_out_note(count, &strangers)).await;
        }
        run.checkpoint(tx).await?;
    }
}

fn fan_out_note(count: usize, strangers: &[(String, String)]) -> String {
    let merchants = if count == 1 { "merchant" } else { "merchants" };
    let mut note = format!("{count} {merchants} to settle, each in a job of its own");
    if !strangers.is_empty() {
        let named: Vec<String> = strangers
            .iter()
            .map(|(merchant, currency)| format!("{merchant} ({currency})"))
            .collect();
        note.push_str("; business of merchants that were never imported with its currency: ");
        note.push_str(&named.join(", "));
    }
    note
}

fn of_merchant(
    run: &Run,
    through: NaiveDate,
    merchant_id: &MerchantId,
    currency: Currency,
) -> Submission {
    let payload = json!({
        "version": 1,
        "through": through.to_string(),
        "merchant_id": merchant_id,
        "currency": currency,
    });
    Submission {
        kind: JobKind::SettlementRun.as_str().to_owned(),
        idempotency_key: Some(format!("settle:{}:{merchant_id}", run.job().id)),
        payload: payload.to_string().into_bytes(),
        source: Source::FollowUp,
        fault: None,
    }
}

/// Settles one merchant.
async fn settle(
    bench: &Workbench,
    run: &Run,
    asked: &SettlementRun,
    merchant_id: &MerchantId,
) -> Result<Finished, WorkError> {
    let merchant = load_merchant(run, merchant_id).await?;
    if let Some(currency) = asked.currency
        && currency != merchant.currency
    {
        return Err(WorkError::Invalid(format!(
            "merchant {merchant_id} is settled in {}, not in {currency}",
            merchant.currency
        )));
    }
    if merchant.funds_flow == FundsFlow::Direct {
        let note = format!("the channel pays {merchant_id} itself (direct): nothing is paid out");
        // What was collected before the channel did is paid all the same.
        return pay_all(bench, run, &merchant, Gathered::Nothing(note)).await;
    }
    let over_at = ends_at(&merchant, asked.through).unwrap_or(DateTime::<Utc>::MAX_UTC);
    if run.now() < over_at {
        let tx = run.begin().await?;
        let note = format!("{} is not over yet for {merchant_id}", asked.through);
        return run.snooze(tx, over_at, &note).await;
    }
    let gathered = match gather(bench, run, &merchant, asked.through).await {
        Ok(note) => Gathered::All(note),
        // Trying again cannot help, and what is under way must not wait for whoever can.
        Err(WorkError::Invalid(why)) => Gathered::Refused(why),
        Err(error) => return Err(error),
    };
    pay_all(bench, run, &merchant, gathered).await
}

/// What collecting came to.
enum Gathered {
    /// Everything that may be collected is; what was passed over.
    All(Option<String>),
    /// Nothing is for us to collect; why.
    Nothing(String),
    /// It cannot go on before somebody puts something right; what.
    Refused(String),
}

/// Books what is to be booked, and collects what is to be collected; returns what was passed over.
async fn gather(
    bench: &Workbench,
    run: &Run,
    merchant: &Merchant,
    through: NaiveDate,
) -> Result<Option<String>, WorkError> {
    book_records(run).await?;
    collect_all(bench, run, merchant, through).await
}

async fn load_merchant(run: &Run, merchant_id: &MerchantId) -> Result<Merchant, WorkError> {
    let mut tx = run.read().await?;
    let found = merchants::find(&mut tx, merchant_id).await?;
    found.ok_or_else(|| WorkError::Unavailable {
        what: format!("merchant {merchant_id}"),
        reason: "it is not known yet: import it with `clearday import --type merchants`".to_owned(),
    })
}

/// The most that the merchant's bank pays at once.
fn ceiling_of(bench: &Workbench, merchant: &Merchant) -> Option<Money> {
    let bank = bench.banks.find(&merchant.payee.bank)?;
    let minor_units = bank.capabilities().payout_max?;
    Some(Money::from_minor(minor_units, bank.account().currency))
}

/// Writes every settlement down that is to be written; returns what was passed over.
async fn collect_all(
    bench: &Workbench,
    run: &Run,
    merchant: &Merchant,
    through: NaiveDate,
) -> Result<Option<String>, WorkError> {
    for _ in 0..PERIODS_MAX {
        let scope = Scope {
            merchant,
            through,
            now: run.now(),
            ceiling: ceiling_of(bench, merchant),
        };
        if let Collected::Nothing(withheld) = collect(run, scope).await? {
            return Ok(withheld);
        }
    }
    Err(WorkError::Invalid(format!(
        "merchant {} has more than {PERIODS_MAX} periods to settle",
        merchant.merchant_id
    )))
}

/// Brings every settlement of the merchant as far as it goes, and then ends or waits for the first that goes on.
async fn pay_all(
    bench: &Workbench,
    run: &Run,
    merchant: &Merchant,
    gathered: Gathered,
) -> Result<Finished, WorkError> {
    let mut tx = run.read().await?;
    let (id, currency) = (&merchant.merchant_id, merchant.currency);
    let open = settlements::open_for(&mut tx, id, currency, run.job().id).await?;
    drop(tx);
    // What came before must not use it up: each run brings the first settlement that can move further.
    let since = run.now();
    let mut wait: Option<(DateTime<Utc>, String)> = None;
    let mut ends: Vec<String> = Vec::new();
    for (number, settlement_id) in open.into_iter().enumerate() {
        let progress = if number > 0 && run.has_had_its_turn(since) {
            goes_on(run)
        } else {
            pay_one(bench, run, since, &merchant.merchant_id, settlement_id).await?
        };
        match progress {
            Progress::Made => {}
            Progress::Unanswered(until, reason)
            | Progress::KeptBack(_, until, reason)
            | Progress::Waits(until, reason) => {
                if wait.as_ref().is_none_or(|(earliest, _)| until < *earliest) {
                    wait = Some((until, reason));
                }
            }
            Progress::Ended(note) => ends.push(note),
        }
    }
    let tx = run.begin().await?;
    match (wait, gathered) {
        (Some((until, reason)), Gathered::All(_) | Gathered::Nothing(_)) => {
            run.snooze(tx, until, &reason).await
        }
        (Some((until, reason)), Gathered::Refused(why)) => {
            let note = format!("{reason}; nothing more is collected: {why}");
            run.snooze(tx, until, &note).await
        }
        (None, Gathered::Refused(why)) => Err(WorkError::Invalid(why)),
        (None, Gathered::Nothing(why)) => {
            ends.push(why);
            run.done(tx, &ends.join("; ")).await
        }
        (None, Gathered::All(withheld)) => {
            if ends.is_empty() {
                ends.push(format!("nothing is to be paid to {id}"));
            }
            ends.extend(withheld);
            run.done(tx, &ends.join("; ")).await
        }
    }
}

/// What there is to do that is more than one run does.
fn goes_on(run: &Run) -> Progress {
    let note = "there is more to do than one run does: it goes on in another";
    Progress::Waits(run.now(), note.to_owned())
}

/// Brings one settlement as far as it goes.
async fn pay_one(
    bench: &Workbench,
    run: &Run,
    since: DateTime<Utc>,
    merchant_id: &MerchantId,
    id: SettlementId,
) -> Result<Progress, WorkError> {
    // What nobody answered about says why better than the wait that follows from it.
    let mut unanswered: Option<(DateTime<Utc>, String)> = None;
    let mut resting = Resting::new();
    for number in 0..STEPS_MAX {
        if number > 0 && run.has_had_its_turn(since) {
            return Ok(goes_on(run));
        }
        match step(bench, run, merchant_id, id, &resting).await? {
            Progress::Made => {}
            Progress::KeptBack(bank, until, reason) => {
                resting.insert(bank, (until, reason));
            }
            Progress::Unanswered(until, reason) => {
                if unanswered.as_ref().is_none_or(|(first, _)| until < *first) {
                    unanswered = Some((until, reason));
                }
            }
            Progress::Waits(until, reason) => {
                let first = unanswered.filter(|(first, _)| *first <= until);
                let (until, reason) = first.unwrap_or((until, reason));
                return Ok(Progress::Waits(until, reason));
            }
            ended @ Progress::Ended(_) => return Ok(ended),
        }
    }
    Err(WorkError::Invalid(format!(
        "settlement {id} is not settled after {STEPS_MAX} steps"
    )))
}

/// Loads, decides, does.
async fn step(
    bench: &Workbench,
    run: &Run,
    merchant_id: &MerchantId,
    id: SettlementId,
    resting: &Resting,
) -> Result<Progress, WorkError> {
    // The policy may have changed since the last step: a hold, another account.
    let merchant = load_merchant(run, merchant_id).await?;
    let mut tx = run.read().await?;
    let settlement = settlements::find(&mut tx, id)
        .await?
        .ok_or_else(|| moves::lost(id))?;
    let job_id = run.job().id;
    let consents = settlement_consents(
        &mut tx,
        &settlement,
        &merchant.payee,
        Some(job_id),
        run.now(),
    )
    .await?;
    drop(tx);
    if settlement.job_id != job_id {
        return take_over(run, id).await;
    }
    let decision = decide(&Situation {
        settlement: &settlement,
        consents: &consents,
        is_held: merchant.is_held,
        has_bank: bench.banks.find(&merchant.payee.bank).is_some(),
        bank_name: &merchant.payee.bank,
        resting,
        payment_day: payment_day(&merchant, &settlement),
        zone: merchant.zone,
        now: run.now(),
    });
    match decision {
        NextStep::Finished(note) | NextStep::Leave(note) => Ok(Progress::Ended(note)),
        NextStep::Snooze(until, reason) => Ok(Progress::Waits(until, reason)),
        NextStep::PayOut(part_no, approval) => {
            pay::pay_out(bench, run, &merchant, &settlement, part_no, approval).await
        }
        NextStep::Query(part_no) => pay::query(bench, run, &merchant, &settlement, part_no).await,
        NextStep::AskForPayout => {
            ask_for_payout(bench, run, &merchant, &settlement).await?;
            Ok(Progress::Made)
        }
        NextStep::AskForRelease(part_no) => {
            ask_for_release(run, &merchant, &settlement, part_no).await?;
            Ok(Progress::Made)
        }
        NextStep::MoveClaim(claim, event) => {
            claims::move_claim(run, &settlement, claim, event).await?;
            Ok(Progress::Made)
        }
        NextStep::CountSecond(part_no) => {
            second::count(run, &settlement, part_no).await?;
            Ok(Progress::Made)
        }
        NextStep::Date(_)
        | NextStep::TakeApproval(_)
        | NextStep::RevokeApproval
        | NextStep::Release(_)
        | NextStep::Close => {
            move_on(run, &settlement, &decision).await?;
            Ok(Progress::Made)
        }
    }
}

/// The day on which a settlement is paid, as the calendar of this release knows it.
fn payment_day(merchant: &Merchant, settlement: &Settlement) -> Option<NaiveDate> {
    let calendar = Calendar::find(&settlement.calendar)?;
    due_on(&merchant.cycle, &calendar, settlement.period_last()).ok()
}

/// Takes a settlement from a job that has ended. Several jobs may find it in nobody's hands at once: the first one keeps
/// it.
async fn take_over(run: &Run, id: SettlementId) -> Result<Progress, WorkError> {
    let mut tx = run.begin().await?;
    let mut mover = Mover::hold(run, &mut tx, id).await?;
    let in_charge = mover.settlement.job_id;
    let job = jobs::lock(mover.tx, in_charge).await?;
    if job.is_some_and(|job| !job.state.is_ended()) {
        let number = mover.settlement.sequence_no;
        let note = format!("job {in_charge} sees to settlement {number}");
        return Ok(Progress::Ended(note));
    }
    let reason = format!("job {in_charge} has ended");
    mover.hand_to(run.job().id, &reason).await?;
    run.checkpoint(tx).await?;
    Ok(Progress::Made)
}

/// Changes that only this database knows of.
async fn move_on(run: &Run, settlement: &Settlement, decision: &NextStep) -> Result<(), WorkError> {
    let mut tx = run.begin().await?;
    let mut mover = Mover::hold_decided(run, &mut tx, settlement).await?;
    match decision {
        NextStep::Date(day) => {
            let calendar = Calendar::find(&settlement.calendar);
            let version = calendar.as_ref().map_or("", Calendar::version);
            mover.date(*day, version).await?;
        }
        NextStep::TakeApproval(approval) => {
            let event = SettlementEvent::Approve;
            let reason = format!("approval {approval} allows it to be paid");
            mover.move_whole(event, Some(*approval), &reason).await?;
        }
        NextStep::RevokeApproval => {
            let reason = "what was approved is not what would be paid any more";
            mover
                .move_whole(SettlementEvent::Revoke, None, reason)
                .await?;
        }
        NextStep::Release(part_no) => {
            claims::release_returned(&mut mover, *part_no).await?;
            let reason = "two people released it";
            mover
                .move_part(*part_no, PartEvent::Release, reason)
                .await?;
        }
        NextStep::Close => {
            let reason = "every part is paid";
            mover
                .move_whole(SettlementEvent::Close, None, reason)
                .await?;
        }
        NextStep::Finished(_)
        | NextStep::Leave(_)
        | NextStep::Snooze(..)
        | NextStep::AskForPayout
        | NextStep::AskForRelease(_)
        | NextStep::PayOut(..)
        | NextStep::Query(_)
        | NextStep::MoveClaim(..)
        | NextStep::CountSecond(_) => {}
    }
    run.checkpoint(tx).await
}

async fn ask_for_payout(
    bench: &Workbench,
    run: &Run,
    merchant: &Merchant,
    settlement: &Settlement,
) -> Result<(), WorkError> {
    let mut tx = run.begin().await?;
    Mover::hold_decided(run, &mut tx, settlement).await?;
    let failed = |error: clearday_jobs::MoneyError| WorkError::Invalid(error.to_string());
    let payee = &merchant.payee;
    let today = china_day(&run.now());
    let first = payout_request(settlement, payee, 0, today).map_err(failed)?;
    let before = approvals::of_subject(&mut tx, first.action, &first.subject).await?;
    let asked = refusals(&before);
    let request = payout_request(settlement, payee, asked, today).map_err(failed)?;
    // What a person refused is not small enough for nobody.
    let people = if asked > 0 {
        PeopleNeeded::Two
    } else {
        PeopleNeeded::TwoFrom(bench.approvals.limit(settlement.currency))
    };
    run.ask_about(&mut tx, settlement, request, people).await?;
    run.checkpoint(tx).await
}

async fn ask_for_release(
    run: &Run,
    merchant: &Merchant,
    settlement: &Settlement,
    part_no: u32,
) -> Result<(), WorkError> {
    let mut tx = run.begin().await?;
    let mover = Mover::hold_decided(run, &mut tx, settlement).await?;
    let part = mover.part(part_no)?.clone();
    let never_sent = || WorkError::Invalid(format!("part {part_no} was never sent"));
    let payee = &merchant.payee;
    let first = release_request(settlement, &part, payee, 0).ok_or_else(never_sent)?;
    let before = approvals::of_subject(&mut tx, first.action, &first.subject).await?;
    let asked = refusals(&before);
    let request = release_request(settlement, &part, payee, asked).ok_or_else(never_sent)?;
    let people = PeopleNeeded::Two;
    run.ask_about(&mut tx, settlement, request, people).await?;
    run.checkpoint(tx).await
}
