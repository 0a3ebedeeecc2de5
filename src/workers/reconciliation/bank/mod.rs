//! A bank's statements, carried into our books.
//!
//! Every line becomes a fact about money once, in one transaction with what follows from it: a payout is confirmed, an
//! offline payment is proved, money that came back reopens its settlement, a channel's deposit is booked. What nobody
//! can explain waits in suspense and is a break, so that our balance at the bank is the bank's own. What we ordered and
//! no statement shows stays open; after [`report::SHOWN_WITHIN`] it is a break, too.

mod lines;
mod report;

use std::collections::BTreeSet;
use std::path::Path;

use clearday_jobs::{ChannelName, Reconciliation as Asked};
use tokio::sync::OwnedSemaphorePermit;

use self::lines::{Entry, take_lines};
use self::report::{complete, record};
use super::blocking;
use super::files::{StatementFile, kept_content, read_file, refuse};
use crate::connectors::{Bank, BankAccount};
use crate::domain::digest::hex_sha256;
use crate::domain::ledger::events::{self, Occasion};
use crate::domain::ledger::{Account, Side};
use crate::engine::{Finished, Run, WorkError};
use crate::formats::camt053::{self, BankStatement};
use crate::store::{ledger, reconciliations};
use crate::workers::settlement_run::evidence::wake_all;
use crate::workers::{Workbench, suspense};

/// Lines per commit: what is lost when a daemon dies is read again, and a settlement is not kept waiting for long.
const LINES_PER_COMMIT: usize = 100;
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
        wake_all(run, &mut tx).await?;
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
