//! What a reading of statements found: the run, its breaks, and the two balances beside each other (余额调节表).

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Days, NaiveDate, NaiveTime, Utc};
use clearday_jobs::{ChannelName, Money, Reconciliation as Asked, Reference};
use serde_json::{Value, json};

use super::super::files::{StatementFile, keep_accepted, names_of};
use super::Sheet;
use super::lines::{Finding, second_payments};
use crate::connectors::{Bank, BankAccount};
use crate::domain::digest::hex_sha256;
use crate::domain::reconciliation::bank::{Difference, at_risk};
use crate::domain::reconciliation::{BreakKind, BreakName};
use crate::engine::{Finished, Run, RunTx, WorkError};
use crate::formats::camt053::BankStatement;
use crate::store::bank_lines::{self, OfflineNotShown, OpenInstruction};
use crate::store::reconciliations::{self, NewBreak, NewRun};
use crate::workers::suspense::{break_identity, unexplained_breaks};

/// A payment that a bank took is on its statement within three days, holidays aside.
pub(super) const SHOWN_WITHIN: Days = Days::new(3);
/// Orders that wait for their line, at most; a business with more of them has been without statements for weeks.
const OPEN_ORDERS_MAX: usize = 10_000;
/// So many of them are named in the summary.
const OPEN_ORDERS_NAMED_MAX: usize = 100;

/// Everything that the statements showed, ready to be written down.
pub(super) struct Found<'a> {
    sheets: &'a [Sheet],
    findings: Vec<Finding<'a>>,
    /// Orders of ours that no statement up to the newest shows, the oldest first.
    open: Vec<OpenInstruction>,
    /// Those of them that should have been shown by now.
    overdue: Vec<OpenInstruction>,
    /// Payments outside of clearday that should have been shown by now.
    offline_overdue: Vec<OfflineNotShown>,
    /// What our books say lies at the bank at the end of the newest statement.
    ledger_balance: Money,
}

/// Adds to the findings what our books say about the whole.
pub(super) async fn complete<'a>(
    tx: &mut RunTx,
    bank: &Bank,
    sheets: &'a [Sheet],
    newest: &BankStatement,
    mut findings: Vec<Finding<'a>>,
) -> Result<Found<'a>, WorkError> {
    let account = bank.account();
    second_payments(tx, bank.name(), &mut findings).await?;
    let day_end = |day: NaiveDate| end_of(day, account);
    let name = bank.name().as_str();
    let until = day_end(newest.closing_on)?;
    let open = bank_lines::open_instructions(tx, name, until, OPEN_ORDERS_MAX).await?;
    let shown_by_now = newest.closing_on.checked_sub_days(SHOWN_WITHIN);
    let shown_by_now = shown_by_now.unwrap_or(NaiveDate::MIN);
    let overdue_before = day_end(shown_by_now)?;
    let offline_overdue =
        bank_lines::offline_not_shown(tx, name, shown_by_now, OPEN_ORDERS_MAX).await?;
    let overdue = open
        .iter()
        .filter(|order| order.created_at < overdue_before)
        .cloned()
        .collect();
    let currency = newest.currency;
    let minor = bank_lines::bank_balance_on(tx, name, currency.code(), newest.closing_on).await?;
    Ok(Found {
        sheets,
        findings,
        open,
        overdue,
        offline_overdue,
        ledger_balance: Money::from_minor(minor, currency),
    })
}

/// The instant at which a day of the bank is over.
fn end_of(day: NaiveDate, account: &BankAccount) -> Result<DateTime<Utc>, WorkError> {
    day.succ_opt()
        .and_then(|next| {
            let midnight = next
                .and_time(NaiveTime::MIN)
                .and_local_timezone(account.zone);
            midnight.earliest()
        })
        .map(|instant| instant.to_utc())
        .ok_or_else(|| WorkError::Invalid(format!("{day} has no end in {}", account.zone)))
}

/// Writes the run down with its breaks, and ends the job.
pub(super) async fn record(
    run: &Run,
    mut tx: RunTx,
    asked: &Asked,
    files: &[StatementFile],
    found: &Found<'_>,
) -> Result<Finished, WorkError> {
    let bank = &asked.channel;
    let now = run.now();
    let breaks = breaks(run, bank, found)?;
    let summary = summary(found, &breaks)?.to_string();
    let statements = names_of(files);
    let digest = digest(&statements, &summary, &breaks);
    keep_accepted(&mut tx, bank, files, now).await?;
    reconciliations::vanish(&mut tx, &explained(bank, found), now).await?;
    bank_lines::vanish_answered(&mut tx, bank.as_str(), now).await?;

    let scope = scope(found);
    let latest = reconciliations::latest(&mut tx, bank.as_str(), &scope).await?;
    if let Some(same) = latest
        .as_ref()
        .filter(|latest| latest.result_sha256 == digest)
    {
        let note = format!("nothing new since version {}", same.version);
        return run.done(tx, &note).await;
    }
    let version = latest
        .as_ref()
        .map_or(0, |latest| latest.version)
        .saturating_add(1);
    let id = run.engine().ids().uuid();
    let new_run = NewRun {
        id,
        job_id: run.job().id,
        channel: bank.as_str(),
        scope: &scope,
        version,
        statements: &statements,
        result_sha256: &digest,
        summary: &summary,
        is_complete: true,
    };
    reconciliations::insert_run(&mut tx, &new_run, now).await?;
    reconciliations::upsert_breaks(&mut tx, bank.as_str(), Some(id), &breaks, now).await?;
    if let Some(earlier) = latest {
        reconciliations::vanish_unseen(&mut tx, earlier.id, id, now).await?;
    }
    let note = note(version, found, breaks.len());
    run.done(tx, &note).await
}

/// The statements, in words that do not depend on the order of files.
fn scope(found: &Found<'_>) -> String {
    let ids: BTreeSet<&str> = found
        .sheets
        .iter()
        .map(|sheet| sheet.statement.statement_id.as_str())
        .collect();
    let ids: Vec<String> = ids
        .into_iter()
        .map(|id| format!("statement {id}"))
        .collect();
    ids.join(", ")
}

/// What breaks of these lines may have been reported and are explained now.
fn explained(bank: &ChannelName, found: &Found<'_>) -> Vec<String> {
    let mut identities = Vec::new();
    for finding in &found.findings {
        if finding.difference.is_none() {
            identities.extend(unexplained_breaks(bank, &finding.line.entry_reference));
        }
        if let Some(id) = shown_order(finding) {
            identities.push(break_identity(bank, BreakName::MissingTheirs, id.as_str()));
        }
    }
    identities
}

/// The order of ours that a line shows.
fn shown_order<'a>(finding: &Finding<'a>) -> Option<&'a Reference> {
    let id = finding.line.end_to_end_id.as_ref()?;
    (!finding.is_suspended).then_some(id)
}

fn breaks(run: &Run, bank: &ChannelName, found: &Found<'_>) -> Result<Vec<NewBreak>, WorkError> {
    let mut breaks = Vec::new();
    for finding in &found.findings {
        if let Some(difference) = finding.difference {
            breaks.push(line_break(run, bank, finding, difference)?);
        }
    }
    for order in &found.overdue {
        breaks.push(order_break(run, bank, order));
    }
    for claim in &found.offline_overdue {
        breaks.push(claim_break(run, bank, claim));
    }
    breaks.sort_by(|one, other| one.identity.cmp(&other.identity));
    breaks.dedup_by(|one, other| one.identity == other.identity);
    Ok(breaks)
}

fn line_break(
    run: &Run,
    bank: &ChannelName,
    finding: &Finding<'_>,
    difference: Difference,
) -> Result<NewBreak, WorkError> {
    let line = finding.line;
    let at_risk = at_risk(line.amount, difference.expected)
        .map_err(|error| WorkError::Invalid(error.to_string()))?;
    Ok(NewBreak {
        id: run.engine().ids().uuid(),
        identity: break_identity(bank, difference.name, &line.entry_reference),
        break_name: difference.name.as_str(),
        kind: finding.kind.as_str(),
        record_no: line
            .end_to_end_id
            .as_ref()
            .map_or("", Reference::as_str)
            .to_owned(),
        channel_trade_no: line.entry_reference.clone(),
        detail: json!({
            "ours": difference.expected.map(amount),
            "theirs": amount(line.amount),
            "booked_on": line.booked_on,
            "text": line.text,
        })
        .to_string(),
        at_risk_minor: at_risk.minor_units(),
        currency: at_risk.currency().code(),
    })
}

/// We ordered it, and the bank has not paid it: our books are ahead of the bank's.
fn order_break(run: &Run, bank: &ChannelName, order: &OpenInstruction) -> NewBreak {
    let detail = json!({
        "ours": amount(order.amount),
        "theirs": null,
        "ordered_at": order.created_at,
    });
    missing_break(
        run,
        bank,
        order.end_to_end_id.as_str(),
        order.amount,
        &detail,
    )
}

/// Two people say that this bank paid it, and the bank does not.
fn claim_break(run: &Run, bank: &ChannelName, claim: &OfflineNotShown) -> NewBreak {
    let detail = json!({
        "ours": amount(claim.amount),
        "theirs": null,
        "paid_offline_on": claim.paid_on,
    });
    missing_break(run, bank, &claim.bank_reference, claim.amount, &detail)
}

fn missing_break(
    run: &Run,
    bank: &ChannelName,
    number: &str,
    amount: Money,
    detail: &Value,
) -> NewBreak {
    NewBreak {
        id: run.engine().ids().uuid(),
        identity: break_identity(bank, BreakName::MissingTheirs, number),
        break_name: BreakName::MissingTheirs.as_str(),
        kind: BreakKind::Payout.as_str(),
        record_no: number.to_owned(),
        channel_trade_no: String::new(),
        detail: detail.to_string(),
        at_risk_minor: amount.minor_units(),
        currency: amount.currency().code(),
    }
}

fn amount(amount: Money) -> Value {
    json!({
        "amount": amount.to_major_string(),
        "currency": amount.currency().code(),
    })
}

/// Everything counted, and the two balances beside each other (余额调节表).
fn summary(found: &Found<'_>, breaks: &[NewBreak]) -> Result<Value, WorkError> {
    let mut by_name: BTreeMap<&str, usize> = BTreeMap::new();
    for found in breaks {
        let count = by_name.entry(found.break_name).or_default();
        *count = count.saturating_add(1);
    }
    let count = |is_counted: fn(&Finding<'_>) -> bool| {
        let counted = found.findings.iter().filter(|finding| is_counted(finding));
        counted.count()
    };
    let statements: Vec<Value> = found
        .sheets
        .iter()
        .map(|Sheet { statement, .. }| {
            json!({
                "id": statement.statement_id,
                "account_no": statement.account_no,
                "opening": statement.opening.to_major_string(),
                "closing": statement.closing.to_major_string(),
                "closing_on": statement.closing_on,
                "lines": statement.lines.len(),
                "not_booked": statement.not_booked,
            })
        })
        .collect();
    let named: Vec<Value> = found
        .open
        .iter()
        .take(OPEN_ORDERS_NAMED_MAX)
        .map(|order| {
            json!({
                "end_to_end_id": order.end_to_end_id,
                "amount": order.amount.to_major_string(),
                "currency": order.amount.currency().code(),
                "ordered_at": order.created_at,
            })
        })
        .collect();
    let bank_balance = closing(found)?;
    Ok(json!({
        "statement_lines": found.findings.len(),
        "explained": count(|finding| finding.difference.is_none()),
        "suspended": count(|finding| finding.is_suspended),
        "breaks": by_name,
        "statements": statements,
        "orders_not_shown": found.open.len(),
        "orders_not_shown_first": named,
        "currency": bank_balance.currency().code(),
        "bank_balance": bank_balance.to_major_string(),
        "ledger_balance": found.ledger_balance.to_major_string(),
        "complete": true,
    }))
}

fn closing(found: &Found<'_>) -> Result<Money, WorkError> {
    let newest = found.sheets.last();
    newest
        .map(|sheet| sheet.statement.closing)
        .ok_or_else(|| WorkError::Invalid("there is no statement".to_owned()))
}

/// The same for the same statements and the same findings.
fn digest(statements: &str, summary: &str, breaks: &[NewBreak]) -> String {
    let mut told = format!("{statements}\n{summary}\n");
    for found in breaks {
        told.push_str(&found.identity);
        told.push('\n');
        told.push_str(&found.detail);
        told.push('\n');
    }
    hex_sha256(told.as_bytes())
}

fn note(version: i64, found: &Found<'_>, breaks: usize) -> String {
    let explained = found.findings.iter().filter(|it| it.difference.is_none());
    let (explained, lines) = (explained.count(), found.findings.len());
    let told =
        format!("version {version}: {explained} of {lines} lines explained, {breaks} breaks");
    let ours = found.ledger_balance;
    match closing(found) {
        Ok(theirs) if theirs != ours => {
            format!("{told}; the bank has {theirs}, our books {ours}")
        }
        Ok(_) | Err(_) => told,
    }
}
