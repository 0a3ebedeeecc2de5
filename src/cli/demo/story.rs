//! The story that the demo tells, chapter by chapter, from what is in the database and nothing else.

use std::io::Write;

use chrono::{DateTime, Utc};
use clearday_jobs::{Currency, JobKind, Money};

use super::super::exit::CliError;
use super::super::serve::tell;
use super::upstream::{BANK_KEY, BILL_KEY, DEFERRED_KEY, DEFERRED_ORDER, PARTNER_KEY, SampleRows};
use super::{LISTED_MAX, all_jobs};
use crate::domain::job::{Job, JobState};
use crate::domain::mask::mask_target;
use crate::domain::partner::MessageChannel;
use crate::domain::settlement_run::public::BankDays;
use crate::domain::settlement_run::{Settlement, SettlementState};
use crate::engine::{Engine, settlement_progress};
use crate::store::approvals::{self, ApprovalFilter};
use crate::store::settlements::{self, SettlementFilter};
use crate::store::{Tx, events, jobs, merchants, notices, operations, reconciliations};

/// What is told about, and where.
type Out<'a> = &'a mut (dyn Write + Send);

/// Where and when the story plays.
pub(super) fn begin(out: Out<'_>) -> Result<(), CliError> {
    tell(
        out,
        "clearday demo: Tuesday 2026-03-03 in China, from 10:30 on. SQLite in a folder, and a sandbox channel, bank and\n\
         mailroom on this machine: nothing leaves it. 全部在本机运行。",
    )
}

/// The files of the upstream system.
pub(super) fn handed_over(rows: &[SampleRows], out: Out<'_>) -> Result<(), CliError> {
    let files: Vec<String> = rows
        .iter()
        .map(|(name, rows)| format!("{name} {rows}"))
        .collect();
    let files = files.join(", ");
    tell(out, &format!("\n1. import 导入, rows: {files}"))
}

/// An order that was accepted while its channel was down.
pub(super) async fn deferred_authorization(engine: &Engine, out: Out<'_>) -> Result<(), CliError> {
    tell(
        out,
        &format!(
            "\n2. deferred_authorization 延迟授权: {DEFERRED_ORDER} was accepted while its channel was down"
        ),
    )?;
    let kind = JobKind::DeferredAuthorization;
    let Some(job) = job_of(engine, kind, DEFERRED_KEY).await? else {
        return Ok(());
    };
    let mut tx = engine.store().read().await?;
    for entry in events::timeline(&mut tx, job.id).await? {
        if entry.event != "leased" {
            let at = clock_time(entry.occurred_at);
            tell(out, &format!("   {at} {}: {}", entry.event, entry.reason))?;
        }
    }
    tell_calls(&mut tx, &job, out).await
}

/// Orders that nobody paid for in time, and those that somebody did.
pub(super) async fn order_expiry(engine: &Engine, out: Out<'_>) -> Result<(), CliError> {
    tell(
        out,
        "\n3. order_expiry 订单失效: query, close at the channel, expire",
    )?;
    let mut tx = engine.store().read().await?;
    for job in all_jobs(engine, Some(JobKind::OrderExpiry)).await? {
        let why = why(engine, &mut tx, &job).await?;
        let (state, key) = (job.state.as_str(), &job.idempotency_key);
        tell(out, &format!("   {state:<6} {key}: {why}"))?;
        tell_calls(&mut tx, &job, out).await?;
    }
    Ok(())
}

/// What the partner was told.
pub(super) async fn partner_notification(engine: &Engine, out: Out<'_>) -> Result<(), CliError> {
    tell(
        out,
        "\n4. partner_notification 合作伙伴代付通知: a partner is asked to pay CD-ORDER-10",
    )?;
    let kind = JobKind::PartnerNotification;
    let Some(job) = job_of(engine, kind, PARTNER_KEY).await? else {
        return Ok(());
    };
    let mut tx = engine.store().read().await?;
    for (notice, _) in notices::of_job(&mut tx, job.id).await? {
        let target = mask_target(notice.channel, &notice.target);
        let (channel, state) = (notice.channel, notice.state);
        tell(out, &format!("   {channel} {state} to {target}"))?;
        if channel == MessageChannel::Sms {
            for line in notice.content.lines() {
                tell(out, &format!("      {line}"))?;
            }
        }
    }
    tell(out, &format!("   {}: {}", job.state, job.note))
}

/// The day at the channel against our records.
pub(super) async fn reconciliation(engine: &Engine, out: Out<'_>) -> Result<(), CliError> {
    tell(
        out,
        "\n5. reconciliation 对账: the bill of WeChat Pay for 2026-03-02 against our records",
    )?;
    if let Some(job) = job_of(engine, JobKind::Reconciliation, BILL_KEY).await? {
        tell(out, &format!("   {}: {}", job.state, job.note))?;
    }
    let mut tx = engine.store().read().await?;
    let breaks = reconciliations::list_breaks(&mut tx, "open", LISTED_MAX).await?;
    tell(out, &format!("   {} breaks found 差错", breaks.len()))?;
    for found in breaks.iter().rev() {
        let currency = Currency::parse(&found.currency)
            .map_err(|error| CliError::refused("a stored break").because(error))?;
        let line = format!(
            "   {:<18} {:<8} {:<16} {:>10} {} at risk",
            found.break_name,
            found.kind,
            found.record_no.as_deref().unwrap_or_default(),
            Money::from_minor(found.at_risk_minor, currency).to_major_string(),
            found.currency,
        );
        tell(out, &line)?;
    }
    Ok(())
}

/// What every merchant is told, and how it came to that.
pub(super) async fn settlement_run(engine: &Engine, out: Out<'_>) -> Result<(), CliError> {
    tell(
        out,
        "\n6. settlement_run 结算: `clearday settle --through 2026-03-02`; two people sign each payment",
    )?;
    let mut tx = engine.store().read().await?;
    let mut found = settlements::list(&mut tx, &SettlementFilter::default(), LISTED_MAX).await?;
    found.sort_by(|one, other| one.merchant_id.cmp(&other.merchant_id));
    for settlement in &found {
        tell_settlement(engine, &mut tx, settlement, out).await?;
    }
    drop(tx);
    if let Some(job) = job_of(engine, JobKind::Reconciliation, BANK_KEY).await? {
        let note = job.note;
        tell(out, &format!("   the bank's statement 银行对账单: {note}"))?;
    }
    Ok(())
}

async fn tell_settlement(
    engine: &Engine,
    tx: &mut Tx,
    settlement: &Settlement,
    out: Out<'_>,
) -> Result<(), CliError> {
    let Some(merchant) = merchants::find(tx, &settlement.merchant_id).await? else {
        return Ok(());
    };
    let now = engine.clock().now();
    // Only the state and the reason are told, which depend on no cut-off.
    let told = settlement_progress(tx, settlement, &merchant, &BankDays::new(), now).await?;
    let (state, reason) = (told.state.texts(), told.reason.texts());
    let due = settlement
        .due_on
        .map_or("unknown".to_owned(), |day| day.to_string());
    tell(
        out,
        &format!(
            "   {} {} {}: {} items, {}, due {due}",
            state.zh, told.state, merchant.name, settlement.items_count, settlement.amounts.net,
        ),
    )?;
    tell(out, &format!("      {} {}", reason.zh, reason.en))?;
    if let Some(job) = jobs::find(tx, settlement.job_id)
        .await?
        .filter(|job| job.state == JobState::Done)
    {
        for words in job.note.split("; ") {
            tell(out, &format!("      {words}"))?;
        }
    }
    tell_signatures(tx, settlement, out).await?;
    if settlement.state == SettlementState::Calculated {
        return Ok(());
    }
    for entry in settlements::timeline(tx, settlement.id).await? {
        if entry.part_no.is_some() {
            let at = clock_time(entry.occurred_at);
            tell(
                out,
                &format!("      {at} {}: {}", entry.state, entry.reason),
            )?;
        }
    }
    Ok(())
}

async fn tell_signatures(
    tx: &mut Tx,
    settlement: &Settlement,
    out: Out<'_>,
) -> Result<(), CliError> {
    let mut asked = approvals::list(tx, ApprovalFilter::default(), LISTED_MAX).await?;
    asked.retain(|it| it.merchant_id.as_ref() == Some(&settlement.merchant_id));
    for approval in asked.iter().rev() {
        let signed: Vec<&str> = [&approval.maker, &approval.checker]
            .into_iter()
            .flatten()
            .map(|signature| signature.person.as_str())
            .collect();
        let signed = if signed.is_empty() {
            "nobody".to_owned()
        } else {
            signed.join(" and ")
        };
        let waits = approval
            .waits_for()
            .map_or(String::new(), |who| format!("; waits for {who}"));
        let action = approval.action;
        tell(out, &format!("      {action} signed by {signed}{waits}"))?;
    }
    Ok(())
}

/// The calls that a job made, and what is proved of each.
async fn tell_calls(tx: &mut Tx, job: &Job, out: Out<'_>) -> Result<(), CliError> {
    for call in operations::of_job(tx, job.id).await? {
        let (key, state) = (&call.idempotency_key, &call.state);
        tell(out, &format!("          {key} {state}: {}", call.detail))?;
    }
    Ok(())
}

/// Why a job waits, or how it ended.
async fn why(engine: &Engine, tx: &mut Tx, job: &Job) -> Result<String, CliError> {
    let waiting = engine.explain(tx, job).await?;
    Ok(waiting.map_or_else(|| job.note.clone(), |waiting| waiting.reason))
}

async fn job_of(engine: &Engine, kind: JobKind, key: &str) -> Result<Option<Job>, CliError> {
    let all = all_jobs(engine, Some(kind)).await?;
    Ok(all.into_iter().find(|job| job.idempotency_key == key))
}

/// The time of day in China.
fn clock_time(instant: DateTime<Utc>) -> String {
    let local = instant.with_timezone(&chrono_tz::Asia::Shanghai);
    local.format("%H:%M:%S").to_string()
}
