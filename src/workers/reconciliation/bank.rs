//! A bank's statements, carried into our books.
//!
//! Every line becomes a fact about money once, in one transaction with what follows from it: a payout is confirmed, an
//! offline payment is proved, money that came back reopens its settlement, a channel's deposit is booked. What nobody
//! can explain waits in suspense and is a break, so that our balance at the bank is the bank's own. What we ordered and
//! no statement shows stays open; after [`SHOWN_WITHIN`] it is a break, too.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use chrono::{DateTime, Days, NaiveDate, NaiveTime, Utc};
use clearday_jobs::{ChannelName, Money, Reconciliation as Asked, Reference};
use serde_json::{Value, json};
use tokio::sync::OwnedSemaphorePermit;

use super::super::Workbench;
use super::super::suspense::{self, BankMovement, break_identity, unexplained_breaks};
use super::blocking;
use super::files::{StatementFile, keep_accepted, kept_content, names_of, read_file, refuse};
use crate::connectors::{Bank, BankAccount};
use crate::domain::digest::hex_sha256;
use crate::domain::ledger::events::{self, Occasion};
use crate::domain::ledger::{Account, FactKind, Side};
use crate::domain::reconciliation::bank::{
    Answer, Difference, Direction, KnownFact, Question, Step, Traits, at_risk, contradicted,
    contradiction, decide, kind_of,
};
use crate::domain::reconciliation::{BreakKind, BreakName};
use crate::engine::{Finished, Run, RunTx, WorkError};
use crate::formats::camt053::{self, BankLine, BankStatement};
use crate::store::bank_lines::{self, OpenInstruction};
use crate::store::ledger;
use crate::store::reconciliations::{self, NewBreak, NewRun};

/// Lines per commit: what is lost when a daemon dies is read again, and a settlement is not kept waiting for long.
const LINES_PER_COMMIT: usize = 100;
/// A payment that a bank took is on its statement within three days, holidays aside.
const SHOWN_WITHIN: Days = Days::new(3);
/// Orders that wait for their line, at most; a business with more of them has been without statements for weeks.
const OPEN_ORDERS_MAX: usize = 10_000;
/// So many of them are named in the summary.
const OPEN_ORDERS_NAMED_MAX: usize = 100;

/// A statement with the file it came in.
#[derive(Clone, Debug)]
struct Sheet {
    file_sha256: String,
    statement: BankStatement,
}

/// What reading the files gave.
enum Read {
    /// All of them are whole.
    Whole(Vec<Sheet>, Vec<StatementFile>),
    /// One of them is not, for this reason; nothing of any counts.
    Refused(StatementFile, Option<Vec<u8>>, String),
}

/// A line on its way into the books.
#[derive(Clone, Copy, Debug)]
struct Entry<'a> {
    sheet: &'a Sheet,
    line: &'a BankLine,
}

/// What became of a line.
#[derive(Clone, Copy, Debug)]
struct Finding<'a> {
    line: &'a BankLine,
    kind: BreakKind,
    /// In what way the bank and we disagree, if we do.
    difference: Option<Difference>,
    is_suspended: bool,
}

/// Everything that the statements showed, ready to be written down.
struct Found<'a> {
    sheets: &'a [Sheet],
    findings: Vec<Finding<'a>>,
    /// Orders of ours that no statement up to the newest shows, the oldest first.
    open: Vec<OpenInstruction>,
    /// Those of them that should have been shown by now.
    overdue: Vec<OpenInstruction>,
    /// What our books say lies at the bank at the end of the newest statement.
    ledger_balance: Money,
}

/// Runs one job to its recorded end.
pub(super) async fn run(
    bench: &Workbench,
    run: &Run,
    asked: &Asked,
    bank: &Bank,
    room: OwnedSemaphorePermit,
) -> Result<Finished, WorkError> {
    let (folder, asked_for) = (bench.statements.clone(), asked.clone());
    let account = bank.account().clone();
    let reading = move || read_files(&folder, &asked_for, &account);
    let (read, room) = blocking(room, reading).await?;
    drop(room);
    let (sheets, files) = match read? {
        Read::Whole(sheets, files) => (sheets, files),
        Read::Refused(file, content, reason) => {
            return refuse(run, asked, &file, content.as_deref(), &reason).await;
        }
    };
    let Some(newest) = sheets.last().map(|sheet| &sheet.statement) else {
        return Err(WorkError::Invalid("there is no statement".to_owned()));
    };
    open_the_books(run, bank.name(), &sheets).await?;
    let mut findings = Vec::new();
    for chunk in in_order(&sheets).chunks(LINES_PER_COMMIT) {
        let mut tx = run.begin().await?;
        findings.extend(take_lines(bench, run, &mut tx, bank, chunk).await?);
        run.checkpoint(tx).await?;
    }
    let mut tx = run.begin().await?;
    let found = complete(&mut tx, bank, &sheets, newest, findings).await?;
    record(run, tx, asked, &files, &found).await
}

/// Reads every file, and puts the statements in the order of their days.
fn read_files(folder: &Path, asked: &Asked, account: &BankAccount) -> Result<Read, WorkError> {
    let (mut sheets, mut files) = (Vec::new(), Vec::new());
    let mut seen = BTreeSet::new();
    for name in &asked.statements {
        let bytes = read_file(folder, name)?;
        let file = StatementFile {
            name: name.clone(),
            sha256: hex_sha256(&bytes),
        };
        let read = camt053::read(&bytes)
            .map_err(|error| error.to_string())
            .and_then(|statements| of_account(statements, account));
        match read {
            Err(reason) => return Ok(Read::Refused(file, kept_content(bytes), reason)),
            // Under two names it is one file still.
            Ok(_) if !seen.insert(file.sha256.clone()) => {}
            Ok(statements) => sheets.extend(statements.into_iter().map(|statement| Sheet {
                file_sha256: file.sha256.clone(),
                statement,
            })),
        }
        files.push(file);
    }
    sheets.sort_by(|one, other| {
        let order = |sheet: &Sheet| {
            (
                sheet.statement.closing_on,
                sheet.statement.statement_id.clone(),
            )
        };
        order(one).cmp(&order(other))
    });
    Ok(Read::Whole(sheets, files))
}

/// Refuses statements of an account that is not ours at this bank.
fn of_account(
    statements: Vec<BankStatement>,
    account: &BankAccount,
) -> Result<Vec<BankStatement>, String> {
    for statement in &statements {
        let (number, currency) = (&statement.account_no, statement.currency);
        if *number != account.account_no || currency != account.currency {
            return Err(format!(
                "it is of account {number} in {currency}, and ours is {} in {}",
                account.account_no, account.currency
            ));
        }
    }
    Ok(statements)
}

/// Debits before credits, so that what went is known before it comes back; and always in one order, so that two runs do
/// not wait for each other.
fn in_order(sheets: &[Sheet]) -> Vec<Entry<'_>> {
    let mut entries: Vec<Entry<'_>> = sheets
        .iter()
        .flat_map(|sheet| {
            let lines = sheet.statement.lines.iter();
            lines.map(move |line| Entry { sheet, line })
        })
        .collect();
    entries.sort_by(|one, other| {
        let order = |entry: &Entry<'_>| {
            let line = entry.line;
            let is_debit = line.amount.is_negative();
            (
                !is_debit,
                line.end_to_end_id.clone(),
                line.entry_reference.clone(),
            )
        };
        order(one).cmp(&order(other))
    });
    entries
}

/// What lay at the bank before its first statement came is an entry, too.
async fn open_the_books(run: &Run, bank: &ChannelName, sheets: &[Sheet]) -> Result<(), WorkError> {
    let Some(first) = sheets.first().map(|sheet| &sheet.statement) else {
        return Ok(());
    };
    let mut tx = run.begin().await?;
    if reconciliations::has_run(&mut tx, bank.as_str()).await? {
        return Ok(());
    }
    let subject = format!("bank_opening:{bank}");
    let days = first.lines.iter().map(|line| line.booked_on);
    let occasion = Occasion {
        subject: &subject,
        accounting_on: days.min().unwrap_or(first.closing_on),
    };
    let side = Side::new(Account::Bank, bank.as_str());
    let entry = events::opening_balance(occasion, None, side, first.opening);
    let entry = entry.map_err(|error| WorkError::Invalid(error.to_string()))?;
    // An earlier run of this job may have come as far as here.
    let is_open = !ledger::of_subject(&mut tx, &subject, 1).await?.is_empty();
    match entry {
        Some(entry) if !is_open => {
            suspense::append(run, &mut tx, entry).await?;
            run.checkpoint(tx).await
        }
        Some(_) | None => Ok(()),
    }
}

/// Takes some lines into the books.
async fn take_lines<'a>(
    bench: &Workbench,
    run: &Run,
    tx: &mut RunTx,
    bank: &Bank,
    entries: &[Entry<'a>],
) -> Result<Vec<Finding<'a>>, WorkError> {
    let numbers: Vec<&str> = entries
        .iter()
        .map(|entry| entry.line.entry_reference.as_str())
        .collect();
    let known = bank_lines::known_facts(tx, bank.name().as_str(), &numbers).await?;
    let mut facts: BTreeMap<&str, Vec<KnownFact>> = BTreeMap::new();
    for (number, fact) in &known {
        facts.entry(number).or_default().push(*fact);
    }
    let mut findings = Vec::with_capacity(entries.len());
    for entry in entries {
        let number = entry.line.entry_reference.as_str();
        let facts = facts.get(number).map(Vec::as_slice).unwrap_or_default();
        findings.push(take_line(bench, run, tx, bank.name(), *entry, facts).await?);
    }
    let repeated = still_repeated(tx, bank.name(), &findings).await?;
    for finding in &mut findings {
        if finding.difference.is_none() && repeated.contains(&finding.line.entry_reference) {
            finding.difference = Some(Difference {
                name: BreakName::DuplicateTheirs,
                expected: None,
            });
        }
    }
    Ok(findings)
}

async fn take_line<'a>(
    bench: &Workbench,
    run: &Run,
    tx: &mut RunTx,
    bank: &ChannelName,
    Entry { sheet, line }: Entry<'a>,
    facts: &[KnownFact],
) -> Result<Finding<'a>, WorkError> {
    let evidence = evidence(sheet, line);
    let movement = BankMovement {
        bank,
        number: &line.entry_reference,
        amount: line.amount,
        booked_on: line.booked_on,
        evidence: &evidence,
    };
    let channel = signing_channel(bench, line);
    let traits = Traits {
        direction: Direction::of(line.amount),
        has_end_to_end_id: line.end_to_end_id.is_some(),
        is_signed_by_channel: channel.is_some(),
    };
    let contradicted = contradicted(line.amount, facts);
    let step = match contradicted {
        Some(expected) => contradiction(expected),
        None => {
            let mut answers = Vec::new();
            loop {
                match decide(traits, &answers) {
                    Step::Ask(question) => {
                        answers.push(ask(run, tx, question, line, &movement, channel).await?);
                    }
                    step @ (Step::Rest | Step::Report(_) | Step::Suspend(_)) => break step,
                }
            }
        }
    };
    let was_suspended = facts
        .iter()
        .any(|fact| matches!(fact.kind, FactKind::BankDebit | FactKind::BankCredit));
    let difference = match step {
        Step::Suspend(difference) => {
            suspense::book(run, tx, &movement).await?;
            Some(difference)
        }
        Step::Report(difference) if contradicted.is_some() => Some(difference),
        Step::Rest | Step::Report(_) | Step::Ask(_) => {
            if was_suspended {
                suspense::take_back(run, tx, bank, &line.entry_reference).await?;
            }
            match step {
                Step::Report(difference) => Some(difference),
                Step::Rest | Step::Ask(_) | Step::Suspend(_) => None,
            }
        }
    };
    Ok(Finding {
        line,
        kind: kind_of(traits),
        difference,
        is_suspended: matches!(step, Step::Suspend(_)),
    })
}

/// Asks our books about a line.
async fn ask(
    run: &Run,
    tx: &mut RunTx,
    question: Question,
    line: &BankLine,
    movement: &BankMovement<'_>,
    channel: Option<&ChannelName>,
) -> Result<Answer, WorkError> {
    match question {
        Question::Deposit => match channel {
            Some(channel) => deposit(run, tx, movement, channel).await,
            None => Ok(Answer::NotOurs),
        },
        Question::ConfirmPart | Question::ReturnPart | Question::OfflinePayment => {
            let _ = (run, tx, line);
            Ok(Answer::NotOurs)
        }
    }
}

/// A channel paid us what it owes, or a part of it.
async fn deposit(
    run: &Run,
    tx: &mut RunTx,
    movement: &BankMovement<'_>,
    channel: &ChannelName,
) -> Result<Answer, WorkError> {
    let subject = format!("deposit:{}:{}", movement.bank, movement.number);
    let occasion = Occasion {
        subject: &subject,
        accounting_on: movement.booked_on,
    };
    let entry = events::deposit(occasion, movement.bank, channel, movement.amount);
    let entry = entry.map_err(|error| WorkError::Invalid(error.to_string()))?;
    let Some(entry) = entry else {
        return Ok(Answer::Explained);
    };
    let appended = suspense::append(run, tx, entry).await?;
    let fact = suspense::fact_of(movement, FactKind::Deposit)?;
    ledger::note_fact(tx, &fact, Some(appended.id()), run.now()).await?;
    Ok(Answer::Explained)
}

/// The channel that signs its deposits as this line is signed, in its text or as the other side's name.
fn signing_channel<'a>(bench: &'a Workbench, line: &BankLine) -> Option<&'a ChannelName> {
    bench
        .deposit_texts
        .iter()
        .find(|(_, signature)| {
            line.text.contains(signature.as_str()) || line.counterparty.contains(signature.as_str())
        })
        .map(|(channel, _)| channel)
}

/// The line and where it stands; not who is on the other side.
fn evidence(sheet: &Sheet, line: &BankLine) -> String {
    json!({
        "file_sha256": sheet.file_sha256,
        "statement": sheet.statement.statement_id,
        "entry": line.line,
        "reference": line.entry_reference,
        "amount": line.amount.to_major_string(),
        "currency": line.amount.currency().code(),
        "booked_on": line.booked_on,
        "end_to_end_id": line.end_to_end_id,
        "text": line.text,
    })
    .to_string()
}

/// Lines that an earlier run reported as a second payment: they stay reported, also where the books by now have both.
async fn still_repeated(
    tx: &mut RunTx,
    bank: &ChannelName,
    findings: &[Finding<'_>],
) -> Result<BTreeSet<String>, WorkError> {
    let by_identity: BTreeMap<String, &str> = findings
        .iter()
        .map(|finding| {
            let number = finding.line.entry_reference.as_str();
            (
                break_identity(bank, BreakName::DuplicateTheirs, number),
                number,
            )
        })
        .collect();
    let identities: Vec<String> = by_identity.keys().cloned().collect();
    let open = reconciliations::open_among(tx, &identities).await?;
    let repeated = open.iter().filter_map(|identity| by_identity.get(identity));
    Ok(repeated.map(|number| (*number).to_owned()).collect())
}

/// Adds to the findings what our books say about the whole.
async fn complete<'a>(
    tx: &mut RunTx,
    bank: &Bank,
    sheets: &'a [Sheet],
    newest: &BankStatement,
    findings: Vec<Finding<'a>>,
) -> Result<Found<'a>, WorkError> {
    let account = bank.account();
    let day_end = |day: NaiveDate| end_of(day, account);
    let name = bank.name().as_str();
    let until = day_end(newest.closing_on)?;
    let open = bank_lines::open_instructions(tx, name, until, OPEN_ORDERS_MAX).await?;
    let overdue_before = match newest.closing_on.checked_sub_days(SHOWN_WITHIN) {
        Some(day) => day_end(day)?,
        None => DateTime::<Utc>::MIN_UTC,
    };
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

async fn record(
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
    reconciliations::upsert_breaks(&mut tx, bank.as_str(), id, &breaks, now).await?;
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
    let id = order.end_to_end_id.as_str();
    NewBreak {
        id: run.engine().ids().uuid(),
        identity: break_identity(bank, BreakName::MissingTheirs, id),
        break_name: BreakName::MissingTheirs.as_str(),
        kind: BreakKind::Payout.as_str(),
        record_no: id.to_owned(),
        channel_trade_no: String::new(),
        detail: json!({
            "ours": amount(order.amount),
            "theirs": null,
            "ordered_at": order.created_at,
        })
        .to_string(),
        at_risk_minor: order.amount.minor_units(),
        currency: order.amount.currency().code(),
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
    let mut note =
        format!("version {version}: {explained} of {lines} lines explained, {breaks} breaks");
    let ours = found.ledger_balance;
    match closing(found) {
        Ok(theirs) if theirs != ours => {
            note.push_str(&format!("; the bank has {theirs}, our books {ours}"));
        }
        Ok(_) | Err(_) => {}
    }
    note
}
