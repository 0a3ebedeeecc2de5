//! Carries out the comparison of our records with a channel's statements.
//!
//! Reads the statement files, loads our records of their days, lets `domain/reconciliation`
//! compare them, and records the run with its breaks. Running again makes a new version only when
//! something else was found; a break keeps its identity over all of them.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::Path;

use chrono::{DateTime, Days, NaiveTime, TimeZone, Utc};
use clearday_jobs::{ChannelName, Reconciliation as Asked};
use serde_json::json;
use uuid::Uuid;

use super::Workbench;
use crate::domain::reconciliation::{
    Break, Coverage, Entries, Entry, Reconciliation, Side, reconcile,
};
use crate::domain::record::{Record, RecordKind};
use crate::engine::{Finished, Run, WorkError, hex_sha256};
use crate::formats::breaks::write_breaks;
use crate::formats::statements::{Added, StatementRefused, StatementSet};
use crate::formats::text::unpack;
use crate::formats::wechat_pay::Tolerance;
use crate::formats::wechat_pay::cells::CHINA_STANDARD_TIME;
use crate::store::reconciliations::{self, NewBreak, NewFile, NewRun};
use crate::store::records;

/// Our clock and the channel's may put one event on two days, so records of the days around the
/// statements are loaded too; which of them need a line is decided by their own day.
const DAYS_AROUND: Days = Days::new(1);
/// Larger statement files are read in parts on disk, which this release does not do yet.
const STATEMENT_BYTES_MAX: u64 = 1 << 30;

/// A statement file as it lay in the folder.
struct StatementFile {
    name: String,
    sha256: String,
    bytes: Vec<u8>,
}

/// What comparing found, ready to be written down.
struct Found {
    scope: String,
    statements: String,
    result: Reconciliation,
}

/// Runs one job to its recorded end.
pub(super) async fn run(
    bench: &Workbench,
    run: &Run,
    asked: &Asked,
) -> Result<Finished, WorkError> {
    let files = read_files(bench, asked).await?;
    let statements = match parse(asked.channel.clone(), &files).await? {
        Ok(statements) => statements,
        Err((position, refusal)) => {
            return refuse(run, asked, &files, position, &refusal).await;
        }
    };
    let records = load_records(run, &asked.channel, &statements).await?;
    let found = compare(asked.channel.clone(), statements, records, &files).await?;
    record(run, asked, &files, &found).await
}

async fn read_files(bench: &Workbench, asked: &Asked) -> Result<Vec<StatementFile>, WorkError> {
    let folder = bench.statements.clone();
    let names = asked.statements.clone();
    blocking(move || {
        names
            .into_iter()
            .map(|name| read_file(&folder, name))
            .collect()
    })
    .await?
}

fn read_file(folder: &Path, name: String) -> Result<StatementFile, WorkError> {
    let unavailable = |error: io::Error| WorkError::Unavailable {
        what: format!("statement {name}"),
        reason: error.to_string(),
    };
    let path = folder.join(&name);
    // The contract refuses names that lead out of the folder; a link in it could still do so.
    let root = folder.canonicalize().map_err(unavailable)?;
    if !path.canonicalize().map_err(unavailable)?.starts_with(&root) {
        return Err(WorkError::Invalid(format!(
            "statement {name} leads out of the statements folder"
        )));
    }
    let mut bytes = Vec::new();
    File::open(&path)
        .and_then(|file| file.take(STATEMENT_BYTES_MAX).read_to_end(&mut bytes))
        .map_err(unavailable)?;
    Ok(StatementFile {
        sha256: hex_sha256(&bytes),
        name,
        bytes,
    })
}

type Parsed = Result<StatementSet, (usize, StatementRefused)>;

/// Reads the statements; the position of the file at fault beside a refusal.
async fn parse(channel: ChannelName, files: &[StatementFile]) -> Result<Parsed, WorkError> {
    let inputs: Vec<(String, Vec<u8>)> = files
        .iter()
        .map(|file| (file.name.clone(), file.bytes.clone()))
        .collect();
    blocking(move || {
        let mut set = StatementSet::of_channel(&channel).map_err(|refusal| (0, refusal))?;
        for (position, (name, bytes)) in inputs.into_iter().enumerate() {
            let added = unpack(Cursor::new(bytes))
                .map_err(|error| StatementRefused::NotWhole(error.to_string()))
                .and_then(|input| set.add(&name, input, Tolerance::Refuse, || {}));
            match added {
                Ok(Added::Whole(_) | Added::Incomplete(..) | Added::SameAs(_)) => {}
                Err(refusal) => return Err((position, refusal)),
            }
        }
        Ok(set)
    })
    .await
}

/// Keeps the file at fault with its reason, and ends the job among the dead letters.
async fn refuse(
    run: &Run,
    asked: &Asked,
    files: &[StatementFile],
    position: usize,
    refusal: &StatementRefused,
) -> Result<Finished, WorkError> {
    let mut reason = refusal.to_string();
    if let Some(cause) = std::error::Error::source(refusal) {
        reason = format!("{reason}: {cause}");
    }
    let Some(file) = files.get(position) else {
        return Err(WorkError::Invalid(reason));
    };
    let mut tx = run.begin().await?;
    let kept = NewFile {
        sha256: &file.sha256,
        channel: asked.channel.as_str(),
        file_name: &file.name,
        content: Some(&file.bytes),
        refusal: Some(&reason),
    };
    reconciliations::keep_file(&mut tx, &kept, run.now()).await?;
    run.checkpoint(tx).await?;
    Err(WorkError::Invalid(format!(
        "statement {}: {reason}",
        file.name
    )))
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

async fn compare(
    channel: ChannelName,
    statements: StatementSet,
    records: Vec<Record>,
    files: &[StatementFile],
) -> Result<Found, WorkError> {
    let names: Vec<_> = files
        .iter()
        .map(|file| json!({ "file": file.name, "sha256": file.sha256 }))
        .collect();
    blocking(move || {
        let mut ours = Entries::default();
        for record in &records {
            ours.push(Entry::of_record(record, &channel));
        }
        Found {
            scope: scope(&statements.coverage),
            statements: json!(names).to_string(),
            result: reconcile(&statements.entries, &ours, &statements.coverage),
        }
    })
    .await
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
) -> Result<Finished, WorkError> {
    let summary = json!(found.result.summary).to_string();
    let digest = digest(found, &summary)?;
    let channel = asked.channel.as_str();
    let mut tx = run.begin().await?;
    let now = run.now();
    for file in files {
        let kept = NewFile {
            sha256: &file.sha256,
            channel,
            file_name: &file.name,
            content: None,
            refusal: None,
        };
        reconciliations::keep_file(&mut tx, &kept, now).await?;
    }
    let latest = reconciliations::latest(&mut tx, channel, &found.scope).await?;
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
    reconciliations::upsert_breaks(&mut tx, channel, id, &breaks, now).await?;
    if let Some(earlier) = latest {
        reconciliations::vanish_unseen(&mut tx, earlier.id, id, now).await?;
    }
    let note = format!(
        "version {version}: {} matched, {} breaks",
        found.result.summary.matched,
        breaks.len()
    );
    run.done(tx, &note).await
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

/// Files and comparisons keep a thread busy, so they run where that harms nobody.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> Result<T, WorkError> {
    tokio::task::spawn_blocking(work)
        .await
        .map_err(|error| WorkError::Panicked(error.to_string()))
}
