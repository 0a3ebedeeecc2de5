//! What reconciling a bank's statement promises: every line is in the books once, our balance is the bank's, and what
//! nobody can explain is a break.
#![cfg(test)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use chrono::{NaiveDate, TimeDelta};
use clearday::connectors::sandbox::NewEntry;
use clearday::domain::job::JobState;
use clearday::store::{ledger, reconciliations};
use clearday::verify::verify;
use clearday_jobs::{ChannelName, JobId, JobKind};

use crate::support::house::{DEPOSIT_TEXT, House, Mode};
use crate::support::in_both_modes;
use crate::support::sandbox::{cny, reference};

in_both_modes! {
    a_deposit_of_a_channel_pays_what_it_owes: deposit;
    a_deposit_is_booked_once_whatever_becomes_of_the_settings: other_settings;
    a_line_that_nobody_can_explain_waits_in_suspense_and_is_a_break: unexplained;
    the_same_file_again_changes_nothing: again;
    a_statement_of_the_next_day_goes_on_where_the_first_ended: next_day;
    a_missing_day_is_told_by_the_two_balances: missing_day;
    a_tampered_file_is_kept_and_refused_whole: tampered;
    a_statement_of_another_account_is_refused: other_account;
}

/// What the sandbox bank begins with.
const OPENING: &str = "10000000.00";

pub(crate) fn day(day_of_month: u32) -> NaiveDate {
    NaiveDate::from_ymd_opt(2026, 3, day_of_month).unwrap()
}

fn entry(day_of_month: u32, minor_units: i64, text: &str) -> NewEntry<'_> {
    NewEntry {
        booked_on: day(day_of_month),
        amount: cny(minor_units),
        end_to_end_id: None,
        counterparty: "somebody",
        text,
    }
}

/// Puts the bank's statement of a day into the folder.
fn fetch(house: &House, day_of_month: u32) -> String {
    let name = format!("bank.{day_of_month}.xml");
    let xml = house.sandbox.handle.statement(day(day_of_month)).unwrap();
    std::fs::write(house.statements.path().join(&name), xml).unwrap();
    name
}

async fn ask(house: &House, key: &str, file: &str) -> JobId {
    let payload = format!(r#"{{"version":1,"channel":"sandbox_bank","statements":["{file}"]}}"#);
    house.submit(JobKind::Reconciliation, key, &payload).await
}

/// Fetches the statement of a day and reconciles it; what the job says at its end.
pub(crate) async fn reconcile(house: &House, key: &str, day_of_month: u32) -> String {
    let file = fetch(house, day_of_month);
    let job = ask(house, key, &file).await;
    house.job_reaches(job, JobState::Done).await.note
}

/// Every account with something on it, in the order of their names.
pub(crate) async fn balances(house: &House) -> Vec<String> {
    let mut tx = house.store.read().await.unwrap();
    let balances = ledger::balances(&mut tx).await.unwrap();
    balances
        .into_iter()
        .filter(|it| !it.balance.is_zero())
        .map(|it| {
            format!(
                "{} {} {}",
                it.account,
                it.owner,
                it.balance.to_major_string()
            )
        })
        .collect()
}

/// Name, kind, the bank's number and the signed cash at risk of the breaks in a state.
pub(crate) async fn breaks(house: &House, state: &str) -> Vec<String> {
    let mut tx = house.store.read().await.unwrap();
    let found = reconciliations::list_breaks(&mut tx, state, 100)
        .await
        .unwrap();
    let mut told: Vec<String> = found
        .into_iter()
        .map(|it| {
            let number = it.channel_trade_no.unwrap_or_default();
            format!(
                "{} {} {number} {}",
                it.break_name, it.kind, it.at_risk_minor
            )
        })
        .collect();
    told.sort();
    told
}

async fn entries(house: &House) -> usize {
    let mut tx = house.store.read().await.unwrap();
    ledger::recent(&mut tx, None, 100).await.unwrap().len()
}

async fn deposit(house: House) {
    let signed = format!("{DEPOSIT_TEXT} 2026-03-01");
    house
        .sandbox
        .handle
        .bank_deposit(entry(2, 50_000, &signed))
        .unwrap();
    let by_name = NewEntry {
        counterparty: DEPOSIT_TEXT,
        ..entry(2, 700, "daily")
    };
    house.sandbox.handle.bank_deposit(by_name).unwrap();
    assert_eq!(
        reconcile(&house, "first", 2).await,
        "version 1: 2 of 2 lines explained, 0 breaks"
    );
    assert_eq!(
        balances(&house).await,
        [
            "bank sandbox_bank 10000507.00".to_owned(),
            "channel_receivable sandbox -507.00".to_owned(),
            format!("opening_balance clearday -{OPENING}"),
        ]
    );
    house.close().await;
}

/// Daemons that take these texts for the signatures of channels, instead of those that run.
async fn restart_with(house: &mut House, deposit_texts: BTreeMap<ChannelName, String>) {
    for daemon in std::mem::take(&mut house.daemons) {
        daemon.shutdown(Duration::from_secs(10)).await.unwrap();
    }
    let mut bench = house.bench();
    bench.deposit_texts = Arc::new(deposit_texts);
    let handler = clearday::workers::handler(bench);
    house.start_daemon_with(house.store.clone(), handler, TimeDelta::seconds(5));
}

async fn other_settings(mut house: House) {
    let sandbox = &house.sandbox.handle;
    sandbox
        .bank_deposit(entry(2, 50_000, DEPOSIT_TEXT))
        .unwrap();
    reconcile(&house, "first", 2).await;
    let before = balances(&house).await;
    let renamed = "another_channel".parse().unwrap();
    let texts = [
        ("none", BTreeMap::new()),
        ("another", [(renamed, DEPOSIT_TEXT.to_owned())].into()),
    ];
    for (key, deposit_texts) in texts {
        restart_with(&mut house, deposit_texts).await;
        assert_eq!(
            reconcile(&house, key, 2).await,
            "nothing new since version 1"
        );
        assert_eq!(balances(&house).await, before);
        assert_eq!(breaks(&house, "open").await, [""; 0]);
    }
    let report = verify(&house.store).await.unwrap();
    assert!(report.ok, "{report:#?}");
    house.close().await;
}

async fn unexplained(house: House) {
    let sandbox = &house.sandbox.handle;
    sandbox
        .bank_debit(entry(2, 1_234, "at the counter"))
        .unwrap();
    let foreign = reference("NOT-OURS");
    let with_id = NewEntry {
        end_to_end_id: Some(&foreign),
        ..entry(2, 100, "somebody's payment")
    };
    sandbox.bank_debit(with_id).unwrap();
    sandbox.bank_deposit(with_id).unwrap();
    sandbox.bank_deposit(entry(2, 5_000, "a gift")).unwrap();
    assert_eq!(
        reconcile(&house, "first", 2).await,
        "version 1: 0 of 4 lines explained, 4 breaks"
    );
    assert_eq!(
        breaks(&house, "open").await,
        [
            "missing_ours deposit SB20260302000004 5000",
            "missing_ours payout SB20260302000001 -1234",
            "missing_ours payout SB20260302000002 -100",
            "missing_ours payout SB20260302000003 100",
        ]
    );
    assert_eq!(
        balances(&house).await,
        [
            "bank sandbox_bank 10000037.66".to_owned(),
            format!("opening_balance clearday -{OPENING}"),
            "suspense sandbox_bank -37.66".to_owned(),
        ]
    );
    house.close().await;
}

async fn again(house: House) {
    let sandbox = &house.sandbox.handle;
    sandbox.bank_deposit(entry(2, 5_000, "a gift")).unwrap();
    sandbox.bank_deposit(entry(2, 700, DEPOSIT_TEXT)).unwrap();
    reconcile(&house, "first", 2).await;
    let (before, count) = (balances(&house).await, entries(&house).await);
    assert_eq!(
        reconcile(&house, "second", 2).await,
        "nothing new since version 1"
    );
    assert_eq!(
        (balances(&house).await, entries(&house).await),
        (before, count)
    );
    assert_eq!(
        breaks(&house, "open").await,
        ["missing_ours deposit SB20260302000001 5000"]
    );
    house.close().await;
}

async fn next_day(house: House) {
    let sandbox = &house.sandbox.handle;
    sandbox.bank_deposit(entry(2, 700, DEPOSIT_TEXT)).unwrap();
    reconcile(&house, "first", 2).await;
    sandbox.bank_deposit(entry(3, 300, DEPOSIT_TEXT)).unwrap();
    assert_eq!(
        reconcile(&house, "second", 3).await,
        "version 1: 1 of 1 lines explained, 0 breaks"
    );
    // A day on which nothing happened has a statement, too.
    assert_eq!(
        reconcile(&house, "third", 4).await,
        "version 1: 0 of 0 lines explained, 0 breaks"
    );
    assert_eq!(
        balances(&house).await,
        [
            "bank sandbox_bank 10000010.00".to_owned(),
            "channel_receivable sandbox -10.00".to_owned(),
            format!("opening_balance clearday -{OPENING}"),
        ]
    );
    house.close().await;
}

async fn missing_day(house: House) {
    let sandbox = &house.sandbox.handle;
    sandbox.bank_deposit(entry(2, 700, DEPOSIT_TEXT)).unwrap();
    reconcile(&house, "first", 2).await;
    sandbox.bank_deposit(entry(3, 300, DEPOSIT_TEXT)).unwrap();
    sandbox.bank_deposit(entry(4, 400, DEPOSIT_TEXT)).unwrap();
    assert_eq!(
        reconcile(&house, "third", 4).await,
        "version 1: 1 of 1 lines explained, 0 breaks; \
         the bank has 10000014.00 CNY, our books 10000011.00 CNY"
    );
    assert_eq!(
        reconcile(&house, "second", 3).await,
        "version 1: 1 of 1 lines explained, 0 breaks"
    );
    assert_eq!(
        reconcile(&house, "third again", 4).await,
        "version 2: 1 of 1 lines explained, 0 breaks"
    );
    house.close().await;
}

async fn tampered(house: House) {
    let sandbox = &house.sandbox.handle;
    sandbox.bank_deposit(entry(2, 700, DEPOSIT_TEXT)).unwrap();
    let file = fetch(&house, 2);
    let path = house.statements.path().join(&file);
    let xml = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, xml.replace(">7.00<", ">7000.00<")).unwrap();
    let job = ask(&house, "first", &file).await;
    let dead = house.job_reaches(job, JobState::Dead).await;
    let reason = "statement SB20260302: the opening balance 10000000.00 CNY and 1 lines make 10007000.00 CNY, \
                  but the closing balance is 10000007.00 CNY";
    assert_eq!(
        dead.last_error.unwrap(),
        format!("statement {file}: {reason}")
    );
    assert_eq!(balances(&house).await, [""; 0]);
    let mut tx = house.store.read().await.unwrap();
    let refused = reconciliations::refused_files(&mut tx, 10).await.unwrap();
    drop(tx);
    assert_eq!(refused.len(), 1);
    assert_eq!(refused[0].reason.as_deref(), Some(reason));
    let kept = refused[0].content.as_ref().unwrap();
    assert!(String::from_utf8_lossy(kept).contains(">7000.00<"));

    // The true file is taken when it comes.
    assert_eq!(
        reconcile(&house, "second", 2).await,
        "version 1: 1 of 1 lines explained, 0 breaks"
    );
    house.close().await;
}

async fn other_account(house: House) {
    let file = fetch(&house, 2);
    let path = house.statements.path().join(&file);
    let xml = std::fs::read_to_string(&path).unwrap();
    std::fs::write(&path, xml.replace("6222020200000001", "6222020200000002")).unwrap();
    let job = ask(&house, "first", &file).await;
    let dead = house.job_reaches(job, JobState::Dead).await;
    assert_eq!(
        dead.last_error.unwrap(),
        format!(
            "statement {file}: it is of account 6222020200000002 in CNY, and ours is 6222020200000001 in CNY"
        )
    );
    house.close().await;
}
