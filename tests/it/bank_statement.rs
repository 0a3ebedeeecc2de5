//! Bank statements as they come: real samples of ISO 20022, and those of the sandbox bank.
//!
//! The samples are other people's and lie beside the repository, not in it; where they are not there, the tests that
//! need them say so.
#![cfg(test)]

use std::fs;
use std::path::PathBuf;

use chrono::{Days, NaiveDate};
use clearday::connectors::sandbox::{BankBooks, NewEntry, PayoutRequest, SandboxHandle};
use clearday::formats::camt053::{self, BankStatement, CamtError};
use clearday_jobs::Reference;
use proptest::prelude::*;

use crate::bills::real_files;
use crate::support::sandbox::{at, cny, reference};

/// What each sample is read as: lines of each statement; or why it is refused.
const SAMPLES: &str = "\
genkgo.camt053.v2.minimal.ultimate.xml: line 54: the statement opens in EUR, and here is SEK
genkgo.camt053.v2.minimal.xml: line 54: the statement opens in EUR, and here is SEK
genkgo.camt053.v2.with-account-name.xml: line 58: the statement has no opening balance (OPBD or PRCD)
genkgo.camt053.v2.with-party-ids.xml: line 54: the statement opens in EUR, and here is SEK
genkgo.camt053.v2.wrong.xml: not a camt.053 statement of version 02 to 08: there is no statement in it
genkgo.camt053.v3.xml: line 74: the statement opens in EUR, and here is SEK
genkgo.camt053.v8.xml: line 74: the statement opens in EUR, and here is SEK
genkgo.camt53.only-Dt-with-DtTm.xml: line 29: the statement has no closing balance (CLBD)
goldman_sachs.camt_053_uk_v2_1.xml: statement 9740092650: the opening balance 334425218.07 GBP and 6 lines make 334425018.07 GBP, but the closing balance is 334425126.42 GBP
ing.example_camt.xml: 9 lines
newinnov.error-camt053.xml: statement 0000000000: the opening balance 1000.00 EUR and 2 lines make 950.00 EUR, but the closing balance is 900.00 EUR
newinnov.example-camt053-a.xml: 7 and 4 lines
newinnov.test-camt053.xml: 2 lines
nordea.example_camt.xml: 6 lines
";

#[test]
fn samples_of_real_banks_are_read_or_refused_with_their_reason() {
    let Some(samples) = samples() else { return };
    let mut told = Vec::new();
    for path in samples {
        let name = path.file_name().unwrap().to_str().unwrap().to_owned();
        let answer = match camt053::read(&fs::read(&path).unwrap()) {
            Ok(statements) => {
                let counts = statements.iter().map(|it| it.lines.len().to_string());
                format!("{} lines", counts.collect::<Vec<_>>().join(" and "))
            }
            Err(error) => error.to_string(),
        };
        told.push(format!("{name}: {answer}\n"));
    }
    assert_eq!(told.concat(), SAMPLES);
}

#[test]
fn a_sample_with_a_changed_amount_is_refused() {
    let Some(samples) = samples() else { return };
    let mut tampered = 0;
    for path in samples {
        let text = fs::read_to_string(&path).unwrap();
        let Ok(statements) = camt053::read(text.as_bytes()) else {
            continue;
        };
        let Some(line) = statements[0].lines.first() else {
            continue;
        };
        let amount = line.amount.to_major_string();
        let digits = amount.trim_start_matches('-');
        let (before, entry) = text.split_once("<Ntry>").unwrap();
        let changed = entry.replacen(digits, "7777.77", 1);
        assert_ne!(entry, changed);
        // A bank that gives sums is caught by them before its balances are.
        let read = camt053::read(format!("{before}<Ntry>{changed}").as_bytes());
        let is_noticed = match &read {
            Err(CamtError::Unbalanced { .. }) => true,
            Err(CamtError::Content { problem, .. }) => problem.contains("the summary says"),
            Ok(_) | Err(_) => false,
        };
        assert!(is_noticed, "{}: {read:?}", path.display());
        tampered += 1;
    }
    assert_eq!(tampered, 4);
}

#[test]
fn a_sample_cut_anywhere_is_not_accepted() {
    let Some(samples) = samples() else { return };
    for path in samples {
        let bytes = fs::read(&path).unwrap();
        if camt053::read(&bytes).is_err() {
            continue;
        }
        let end = bytes.iter().rposition(|byte| *byte == b'>').unwrap();
        // Every byte would take minutes, and is done over a statement of our own beside the reader.
        for cut in (0..=end).rev().step_by(97) {
            assert!(
                camt053::read(&bytes[..cut]).is_err(),
                "{} {cut}",
                path.display()
            );
        }
    }
}

fn samples() -> Option<Vec<PathBuf>> {
    let folder = real_files("../shared/data/iso20022/samples")?;
    let mut paths: Vec<PathBuf> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| {
            let name = path.file_name().unwrap().to_str().unwrap();
            let is_another = ["camt052", "camt054", "camt.05"];
            name.contains("camt") && !is_another.iter().any(|it| name.contains(it))
        })
        .collect();
    paths.sort();
    Some(paths)
}

/// What may happen to the account on one day.
#[derive(Clone, Debug)]
enum Doing {
    PayOut(i64),
    ReturnLast,
    Debit(i64, String),
    Deposit(i64, String),
}

fn doing() -> impl Strategy<Value = Doing> {
    let text = "[ -~业务]{0,20}";
    prop_oneof![
        (1_i64..500_000).prop_map(Doing::PayOut),
        Just(Doing::ReturnLast),
        (1_i64..500_000, text).prop_map(|(minor, text)| Doing::Debit(minor, text)),
        (1_i64..500_000, text).prop_map(|(minor, text)| Doing::Deposit(minor, text)),
    ]
}

proptest! {
    /// What the sandbox bank writes, the reader reads: every line of every day, and nothing else.
    #[test]
    fn statements_of_the_sandbox_come_back_as_its_books(
        days in prop::collection::vec(prop::collection::vec(doing(), 0..6), 1..4),
    ) {
        let sandbox = SandboxHandle::new(std::sync::Arc::new(|| at(0)));
        let mut closing = sandbox.bank_books().balance();
        let mut ids = 0;
        for (number, doings) in (0..).zip(days) {
            let date = day(2).checked_add_days(Days::new(number)).unwrap();
            for doing in doings {
                carry_out(&sandbox, &doing, date, &mut ids);
            }
            let statement = only(&sandbox.statement(date).unwrap());
            prop_assert_eq!(statement.opening, closing);
            closing = sandbox.bank_books().balance();
            prop_assert_eq!(statement.closing, closing);
            prop_assert_eq!(statement.closing_on, date);
            let entries = sandbox.bank_books().day(date).unwrap().entries;
            prop_assert_eq!(statement.lines.len(), entries.len());
            for (line, entry) in statement.lines.iter().zip(entries) {
                prop_assert_eq!(&line.entry_reference, &entry.entry_reference);
                prop_assert_eq!(line.amount, entry.amount);
                prop_assert_eq!(line.booked_on, date);
                prop_assert_eq!(&line.end_to_end_id, &entry.end_to_end_id);
                prop_assert_eq!(&line.text, entry.text.trim());
                prop_assert_eq!(&line.counterparty, entry.counterparty.trim());
            }
        }
    }
}

fn carry_out(sandbox: &SandboxHandle, doing: &Doing, date: NaiveDate, ids: &mut u32) {
    let entry = |minor, text| NewEntry {
        booked_on: date,
        amount: cny(minor),
        end_to_end_id: None,
        counterparty: "A & <B>",
        text,
    };
    match doing {
        Doing::PayOut(minor) => {
            *ids += 1;
            sandbox.bank_debit(NewEntry {
                end_to_end_id: Some(&reference(&format!("E{ids}"))),
                ..entry(*minor, "payout")
            })
        }
        Doing::ReturnLast => sandbox.bank_deposit(NewEntry {
            end_to_end_id: Some(&reference(&format!("E{ids}"))),
            ..entry(1, "back")
        }),
        Doing::Debit(minor, text) => sandbox.bank_debit(entry(*minor, text)),
        Doing::Deposit(minor, text) => sandbox.bank_deposit(entry(*minor, text)),
    }
    .unwrap();
}

#[test]
fn a_payout_is_on_the_statement_of_the_day_it_was_booked_with_its_id() {
    let mut books = BankBooks::opened_with(cny(10_000));
    let request = PayoutRequest {
        end_to_end_id: reference("E1"),
        amount: cny(1_234),
        payee_account_no: "62221234".to_owned(),
        payee_name: "Tea House".to_owned(),
        remittance: "settlement 7".to_owned(),
    };
    books.pay_out(&request, "key", at(0)).unwrap();
    assert_eq!(books.day(day(2)).unwrap().entries, []);
    books.book_day(day(2), at(0)).unwrap();
    let entries = books.day(day(2)).unwrap().entries;
    assert_eq!(entries.len(), 1);
    assert_eq!(
        entries[0].end_to_end_id.as_ref().map(Reference::as_str),
        Some("E1")
    );
    assert_eq!(entries[0].amount, cny(-1_234));
    assert_eq!(entries[0].counterparty, "Tea House");
}

fn only(xml: &str) -> BankStatement {
    let mut statements = camt053::read(xml.as_bytes()).unwrap();
    assert_eq!(statements.len(), 1);
    statements.remove(0)
}

fn day(day_of_month: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 3, day_of_month).unwrap()
}
