//! The comparison of our records with a channel's statements.
//!
//! Reads the statement files, loads our records of their days, lets `domain/reconciliation`
//! compare them, and records the run with its breaks. Running again makes a new version only when
//! something else was found; a break keeps its identity over all of them.

use std::collections::HashSet;
use std::path::Path;

use chrono::{DateTime, Days, NaiveTime, TimeZone, Utc};
use clearday_jobs::{ChannelName, Reconciliation as Asked};
use serde_json::json;
use tokio::sync::OwnedSemaphorePermit;
use uuid::Uuid;

use super::super::Workbench;
use super::super::booking::{BookedRecords, book_records};
use super::blocking;
use super::files::{StatementFile, keep_accepted, kept_content, names_of, read_file, refuse};
use crate::domain::china::CHINA_STANDARD_TIME;
use crate::domain::digest::hex_sha256;
use crate::domain::reconciliation::{
    Break, Coverage, Disposition, Entries, Reconciliation, Side, reconcile,
};
use crate::domain::record::{Record, RecordKind};
use crate::engine::{Finished, Run, WorkError};
use crate::formats::breaks::write_breaks;
use crate::formats::statements::{Added, StatementRefused, StatementSet};
use crate::formats::text::unpack;
use crate::formats::wechat_pay::Tolerance;
use crate::store::reconciliations::{self, NewBreak, NewRun};
use crate::store::{Tx, records};

/// Our clock and the channel's may put one event on two days, so records of the days around the
/// statements are loaded too; which of them need a line is decided by their own day.
const DAYS_AROUND: Days = Days::new(1);
/// What reading the files gave.
enum Read {
    /// All of them are whole.
    Whole(StatementSet, Vec<StatementFile>),
    /// One of them is not, for this reason; nothing of any counts.
    Refused(StatementFile, Option<Vec<u8>>, String),
}

/// What comparing found, ready to be written down.
struct Found {
    scope: String,
    statements: String,
    /// Our side, in the order of `result.records`.
    records: Vec<Record>,
    result: Reconciliation,
}

/// Runs one job to its recorded end.
pub(super) async fn run(
    bench: &Workbench,
    run: &Run,
    asked: &Asked,
    room: OwnedSemaphorePermit,
) -> Result<Finished, WorkError> {
    let booked = book_records(run).await?;
    let (folder, asked_for) = (bench.statements.clone(), asked.clone());
    let (read, room) = blocking(room, move || read_files(&folder, &asked_for)).await?;
    let (statements, files) = match read? {
        Read::Whole(statements, files) => (statements, files),
        Read::Refused(file, content, reason) => {
            return refuse(run, asked, &file, content.as_deref(), &reason).await;
        }
    };
    let records = load_records(run, &asked.channel, &statements).await?;
    let (channel, told) = (asked.channel.clone(), files.clone());
    let comparing = move || compare(&channel, &statements, records, &told);
    let (found, _room) = blocking(room, comparing).await?;
    record(run, asked, &files, &found?, &booked).await
}

/// Reads every file, one at a time.
fn read_files(folder: &Path, asked: &Asked) -> Result<Read, WorkError> {
    let mut set = match StatementSet::of_channel(&asked.channel) {
        Ok(set) => set,
        Err(refusal) => return Err(WorkError::Invalid(refusal.to_string())),
    };
    let mut files = Vec::with_capacity(asked.statements.len());
    for name in &asked.statements {
        let bytes = read_file(folder, name)?;
        let file = StatementFile {
            name: name.clone(),
            sha256: hex_sha256(&bytes),
        };
        let added = unpack(bytes.as_slice())
            .map_err(|error| StatementRefused::NotWhole(error.to_string()))
            .and_then(|input| set.add(name, input, Tolerance::Refuse, || {}));
        match added {
            Ok(Added::Whole(_) | Added::Incomplete(..) | Added::SameAs(_)) => files.push(file),
            Err(refusal) => {
                return Ok(Read::Refused(
                    file,
                    kept_content(bytes),
                    with_cause(&refusal),
                ));
            }
        }
    }
    Ok(Read::Whole(set, files))
}

fn with_cause(refusal: &StatementRefused) -> String {
    match std::error::Error::source(refusal) {
        Some(cause) => format!("{refusal}: {cause}"),
        None => refusal.to_string(),
    }
}

/// Our records of the days the statements cover, and those that the lines name whatever their day.
async fn load_records(
    run: &Run,
    channel: &ChannelName,
    statements: &StatementSet,
) -> Result<Vec<Record>, WorkError> {
    let mut tx = run.read().await?;
    let mut records = match window(&statements.coverage) {
        Some((from, until)) => records::between(&mut tx, channel.as_str(), from, until).await?,
        None => Vec::new(),
    };
    let known: HashSet<(RecordKind, &str)> = records
        .iter()
        .map(|record| (record.kind, record.record_no.as_str()))
        .collect();
    let elsewhere: HashSet<(RecordKind, &str)> = statements
        .entries
        .iter()
        .map(|line| (line.facts.kind.record_kind(), line.record_no))
        .filter(|number| !known.contains(number))
        .collect();
    let elsewhere: Vec<(RecordKind, &str)> = elsewhere.into_iter().collect();
    let named = records::find(&mut tx, &elsewhere).await?;
    records.extend(named);
    Ok(records)
}

/// The instants that the covered days and those around them begin and end at.
fn window(coverage: &Coverage) -> Option<(DateTime<Utc>, DateTime<Utc>)> {
    let days = || {
        [RecordKind::Payment, RecordKind::Refund]
            .into_iter()
            .flat_map(|kind| coverage.days(kind))
    };
    let first = days().map(|range| range.first).min()?;
    let last = days().map(|range| range.last).max()?;
    let midnight = |day: chrono::NaiveDate| {
        CHINA_STANDARD_TIME
            .from_local_datetime(&day.and_time(NaiveTime::MIN))
            .single()
            .map(|instant| instant.to_utc())
    };
    let from = midnight(first.checked_sub_days(DAYS_AROUND)?)?;
    let until = midnight(last.checked_add_days(DAYS_AROUND)?.succ_opt()?)?;
    Some((from, until))
}

fn compare(
    channel: &ChannelName,
    statements: &StatementSet,
    records: Vec<Record>,
    files: &[StatementFile],
) -> Result<Found, WorkError> {
    let scope = scope(&statements.coverage);
    if scope.is_empty() {
        return Err(WorkError::Invalid(
            "the statements have no row, so nothing says which days they cover".to_owned(),
        ));
    }
    let ours = Entries::of_records(&records, channel);
    let result = reconcile(&statements.entries, &ours, &statements.coverage);
    if !result.summary.complete {
        return Err(WorkError::Invalid(format!(
            "the comparison of {scope} does not add up: a fault of ours, nothing was recorded"
        )));
    }
    Ok(Found {
        scope,
        statements: names_of(files),
        records,
        result,
    })
}

/// The days covered, in words that do not depend on the order of files.
fn scope(coverage: &Coverage) -> String {
    let mut parts: Vec<String> = [RecordKind::Payment, RecordKind::Refund]
        .into_iter()
        .flat_map(|kind| {
            let ranges = coverage.days(kind).iter();
            ranges.map(move |range| format!("{kind} {}..{}", range.first, range.last))
        })
        .collect();
    parts.sort();
    parts.join(", ")
}

async fn record(
    run: &Run,
    asked: &Asked,
    files: &[StatementFile],
    found: &Found,
    booked: &BookedRecords,
) -> Result<Finished, WorkError> {
    let summary = json!(found.result.summary).to_string();
    let digest = digest(found, &summary)?;
    let channel = asked.channel.as_str();
    let mut tx = run.begin().await?;
    let now = run.now();
    keep_accepted(&mut tx, &asked.channel, files, now).await?;
    let latest = reconciliations::latest(&mut tx, channel, &found.scope).await?;
    if let Some(same) = latest
        .as_ref()
        .filter(|latest| latest.result_sha256 == digest)
    {
        // A record may have lost its mark meanwhile, by a change that makes no difference.
        mark_records(&mut tx, same.id, found).await?;
        let note = format!("nothing new since version {}{booked}", same.version);
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
        channel,
        scope: &found.scope,
        version,
        statements: &found.statements,
        result_sha256: &digest,
        summary: &summary,
        is_complete: found.result.summary.complete,
    };
    reconciliations::insert_run(&mut tx, &new_run, now).await?;
    let breaks: Vec<NewBreak> = found
        .result
        .breaks
        .iter()
        .map(|found| new_break(run.engine().ids().uuid(), channel, found))
        .collect();
    reconciliations::upsert_breaks(&mut tx, channel, Some(id), &breaks, now).await?;
    mark_records(&mut tx, id, found).await?;
    if let Some(earlier) = latest {
        reconciliations::vanish_unseen(&mut tx, earlier.id, id, now).await?;
        // Whatever this version found without a break carries its own mark by now.
        records::unmark_all_of(&mut tx, earlier.id).await?;
    }
    let note = format!(
        "version {version}: {} matched, {} breaks{booked}",
        found.result.summary.matched,
        breaks.len()
    );
    run.done(tx, &note).await
}

/// Marks our records that agree with their lines, and takes the mark from those with a break, also where a run over
/// other days made it. What this run cannot decide, or expects no line of, keeps the mark it has.
async fn mark_records(tx: &mut Tx, run_id: Uuid, found: &Found) -> Result<(), WorkError> {
    let (mut agreeing, mut broken) = (Vec::new(), Vec::new());
    for (record, disposition) in found.records.iter().zip(&found.result.records) {
        match disposition {
            Disposition::Matched => agreeing.push(record),
            Disposition::Mismatched | Disposition::Missing | Disposition::Duplicate => {
                broken.push(record);
            }
            Disposition::Suspended(_) | Disposition::NotExpected(_) | Disposition::Repeated => {}
        }
    }
    records::mark_reconciled(tx, run_id, &agreeing).await?;
    records::unmark(tx, &broken).await?;
    Ok(())
}

/// The same for the same statements and the same findings.
fn digest(found: &Found, summary: &str) -> Result<String, WorkError> {
    let mut told = format!("{}\n{summary}\n", found.statements).into_bytes();
    write_breaks(&mut told, &found.result.breaks)
        .map_err(|error| WorkError::Invalid(error.to_string()))?;
    Ok(hex_sha256(&told))
}

fn new_break(id: Uuid, channel: &str, found: &Break) -> NewBreak {
    NewBreak {
        id,
        identity: format!("{channel}:{}", found.identity()),
        break_name: found.name.as_str(),
        kind: found.kind.as_str(),
        record_no: found.record_no.clone(),
        channel_trade_no: found.channel_no.clone(),
        detail: json!({
            "ours": found.ours.map(side),
            "theirs": found.theirs.map(side),
            "occurred_at": found.occurred_at_text(),
        })
        .to_string(),
        at_risk_minor: found.at_risk.minor_units(),
        currency: found.at_risk.currency().code(),
    }
}

fn side(side: Side) -> serde_json::Value {
    json!({
        "amount": side.amount.to_major_string(),
        "currency": side.amount.currency().code(),
        "status": side.status.as_str(),
        "fee": side.fee.to_string(),
    })
}
