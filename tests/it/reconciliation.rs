//! What the reconciliation job promises: every break found once, a version per change, bad
//! statements kept and refused whole.
#![cfg(test)]

use chrono::TimeDelta;
use clearday::domain::import::records::RecordRow;
use clearday::domain::job::JobState;
use clearday::formats::records::read_numbered_records;
use clearday::store::{reconciliations, records};
use clearday_jobs::{JobId, JobKind};

use crate::bills::{Record, Row, all_bill, payment, records_csv};
use crate::support::house::{House, Mode};
use crate::support::in_both_modes;

const BILL: &str = include_str!("../../samples/wechat_pay/bill.ALL.2026-03-02.csv");
const RECORDS: &str = include_str!("../../samples/records.csv");
const PAYLOAD: &str = r#"{"version":1,"channel":"wechat_pay","statements":["bill.csv"]}"#;

in_both_modes! {
    the_sample_bill_is_reconciled_with_every_break_found: sample;
    running_again_changes_nothing: again;
    a_mended_record_makes_a_new_version_and_its_break_vanishes: mended;
    records_that_agree_with_their_lines_are_marked: marked;
    a_new_version_moves_the_marks: marks_move;
    a_change_of_a_record_takes_its_mark_away: mark_lost;
    another_scope_takes_marks_from_what_it_finds_broken_only: other_scope;
    a_bill_that_is_not_whole_is_kept_and_refused: not_whole;
    a_statement_that_arrives_late_is_waited_for: arrives_late;
    another_channels_statements_are_refused_by_name: other_channel;
}

async fn import(house: &House, records: &str) {
    let mut rows = Vec::new();
    read_numbered_records(records.as_bytes(), |line, record| {
        rows.push(RecordRow { line, record });
    })
    .unwrap();
    house.engine().import_records(rows).await.unwrap();
}

fn write(house: &House, text: &str) {
    std::fs::write(house.statements.path().join("bill.csv"), text).unwrap();
}

async fn reconcile(house: &House, key: &str) -> JobId {
    house.submit(JobKind::Reconciliation, key, PAYLOAD).await
}

/// Name, number and signed cash at risk of every break in a state, in order.
async fn breaks(house: &House, state: &str) -> Vec<String> {
    let mut tx = house.store.read().await.unwrap();
    let mut found: Vec<String> = reconciliations::list_breaks(&mut tx, state, 100)
        .await
        .unwrap()
        .into_iter()
        .map(|found| {
            let number = found.record_no.unwrap_or_default();
            format!("{} {number} {}", found.break_name, found.at_risk_minor)
        })
        .collect();
    found.sort();
    found
}

async fn runs(house: &House) -> Vec<i64> {
    let mut tx = house.store.read().await.unwrap();
    let runs = reconciliations::list_runs(&mut tx, 10).await.unwrap();
    assert!(runs.iter().all(|run| run.is_complete));
    let mut versions: Vec<i64> = runs.into_iter().map(|run| run.version).collect();
    versions.sort_unstable();
    versions
}

/// Which run marked which records: its version, and their kinds and numbers in order; sorted, because two daemons
/// whose clocks stand still mint ids in no order.
async fn marks(house: &House) -> Vec<(i64, Vec<String>)> {
    let mut tx = house.store.read().await.unwrap();
    let runs = reconciliations::list_runs(&mut tx, 10).await.unwrap();
    let mut found = Vec::new();
    for run in runs {
        let marked = records::marked_by(&mut tx, run.id, None, 1_000)
            .await
            .unwrap();
        let told = marked
            .iter()
            .map(|(kind, number)| format!("{kind} {number}"));
        found.push((run.version, told.collect()));
    }
    found.sort();
    found
}

const SAMPLE_BREAKS: [&str; 8] = [
    "amount_mismatch CD20260302003 1000",
    "duplicate_ours CD20260302012B -7320",
    "duplicate_theirs CD20260302011 2900",
    "fee_mismatch CD20260302005 -5",
    "missing_ours CD20260302009 3990",
    "missing_ours CDR20260302004 -1200",
    "missing_theirs CD20260302090 -6400",
    "status_mismatch CD20260302007 4500",
];

async fn sample(house: House) {
    import(&house, RECORDS).await;
    write(&house, BILL);
    let job = reconcile(&house, "first").await;
    house.job_reaches(job, JobState::Done).await;
    assert_eq!(breaks(&house, "open").await, SAMPLE_BREAKS);
    assert_eq!(runs(&house).await, [1]);
    house.close().await;
}

async fn again(house: House) {
    import(&house, RECORDS).await;
    write(&house, BILL);
    let first = reconcile(&house, "first").await;
    house.job_reaches(first, JobState::Done).await;
    let second = reconcile(&house, "second").await;
    let done = house.job_reaches(second, JobState::Done).await;
    assert_eq!(done.note, "nothing new since version 1");
    assert_eq!(breaks(&house, "open").await, SAMPLE_BREAKS);
    assert_eq!(runs(&house).await, [1]);
    house.close().await;
}

async fn mended(house: House) {
    import(&house, RECORDS).await;
    write(&house, BILL);
    let first = reconcile(&house, "first").await;
    house.job_reaches(first, JobState::Done).await;
    // The upstream system learns that the payment it thought failed did succeed.
    let mended: String = RECORDS
        .lines()
        .take(1)
        .map(str::to_owned)
        .chain(
            RECORDS
                .lines()
                .filter(|line| line.starts_with("CD20260302007,"))
                .map(|line| {
                    line.replace(",closed,", ",succeeded,")
                        .replace(",failed,", ",succeeded,")
                }),
        )
        .collect::<Vec<String>>()
        .join("\n");
    import(&house, &mended).await;
    let second = reconcile(&house, "second").await;
    house.job_reaches(second, JobState::Done).await;
    let left: Vec<&str> = SAMPLE_BREAKS
        .into_iter()
        .filter(|found| !found.contains("CD20260302007"))
        .collect();
    assert_eq!(breaks(&house, "open").await, left);
    assert_eq!(
        breaks(&house, "vanished").await,
        ["status_mismatch CD20260302007 4500"]
    );
    assert_eq!(runs(&house).await, [1, 2]);
    house.close().await;
}

/// Of the sample, what has a line that says the same.
const SAMPLE_MARKS: [&str; 13] = [
    "payment CD20260302001",
    "payment CD20260302002",
    "payment CD20260302004",
    "payment CD20260302006",
    "payment CD20260302008",
    "payment CD20260302010",
    "payment CD20260302011",
    "payment CD20260302012",
    // Closed with us, taken back at the channel.
    "payment CD20260302013",
    "payment CD20260302014",
    "payment CD20260302015",
    "refund CDR20260302001",
    "refund CDR20260302002",
];

async fn marked(house: House) {
    import(&house, RECORDS).await;
    write(&house, BILL);
    let first = reconcile(&house, "first").await;
    house.job_reaches(first, JobState::Done).await;
    let later = "CD20260302999,payment,wechat_pay,,M-1001,1.00,CNY,0,succeeded,2026-03-02T09:00:00+08:00,,,";
    import(&house, &sample_records(&[later])).await;
    assert_eq!(
        marks(&house).await,
        [(1, SAMPLE_MARKS.map(str::to_owned).into())]
    );
    house.close().await;
}

async fn marks_move(house: House) {
    import(&house, RECORDS).await;
    write(&house, BILL);
    let first = reconcile(&house, "first").await;
    house.job_reaches(first, JobState::Done).await;
    // One that was broken agrees now, and one that agreed is broken.
    let mended = record_with(
        "CD20260302007",
        &[(",closed,", ",succeeded,"), (",failed,", ",succeeded,")],
    );
    let spoiled = record_with("CD20260302001", &[(",0.11,", ",0.12,")]);
    import(&house, &sample_records(&[&mended, &spoiled])).await;
    let second = reconcile(&house, "second").await;
    house.job_reaches(second, JobState::Done).await;
    let mut expected: Vec<String> = SAMPLE_MARKS.map(str::to_owned).into();
    expected.retain(|told| told != "payment CD20260302001");
    expected.push("payment CD20260302007".to_owned());
    expected.sort();
    assert_eq!(marks(&house).await, [(1, vec![]), (2, expected)]);
    house.close().await;
}

async fn mark_lost(house: House) {
    import(&house, RECORDS).await;
    write(&house, BILL);
    let first = reconcile(&house, "first").await;
    house.job_reaches(first, JobState::Done).await;
    // The channel's number is learned: what was compared stands.
    let named = record_with("CD20260302002", &[]);
    let columns: Vec<&str> = named.split(',').collect();
    let named = named.replacen(columns[3], "4200009999", 1);
    // Another fee was never compared.
    let charged = record_with("CD20260302001", &[(",0.11,", ",0.12,")]);
    import(&house, &sample_records(&[&named, &charged])).await;
    let mut expected: Vec<String> = SAMPLE_MARKS.map(str::to_owned).into();
    expected.retain(|told| told != "payment CD20260302001");
    assert_eq!(marks(&house).await, [(1, expected)]);
    house.close().await;
}

async fn other_scope(house: House) {
    let rows = [payment("A", 1_000, 6), payment("B", 2_000, 12)];
    let records: Vec<Record> = rows.iter().map(Row::record).collect();
    import(&house, &records_csv(&records)).await;
    write(&house, &all_bill(&rows));
    let first = reconcile(&house, "first").await;
    house.job_reaches(first, JobState::Done).await;
    // The next day's bill tells A again, with another amount, and says nothing of B.
    let next_day = Row {
        time: "2026-03-03 12:00:00".to_owned(),
        ..payment("A", 1_100, 6)
    };
    write(&house, &all_bill(&[next_day]));
    let second = reconcile(&house, "second").await;
    house.job_reaches(second, JobState::Done).await;
    assert_eq!(
        marks(&house).await,
        [(1, vec![]), (1, vec!["payment B".to_owned()])]
    );
    house.close().await;
}

/// The sample's header over these rows.
fn sample_records(rows: &[&str]) -> String {
    let header = RECORDS.lines().next().unwrap();
    format!("{header}\n{}\n", rows.join("\n"))
}

/// The sample's row of a record, changed.
fn record_with(number: &str, changes: &[(&str, &str)]) -> String {
    let begins = format!("{number},");
    let row = RECORDS
        .lines()
        .find(|line| line.starts_with(&begins))
        .unwrap();
    changes
        .iter()
        .fold(row.to_owned(), |row, (from, to)| row.replace(from, to))
}

async fn not_whole(house: House) {
    import(&house, RECORDS).await;
    let cut = BILL.lines().take(5).collect::<Vec<&str>>().join(
        "
",
    );
    write(&house, &cut);
    let job = reconcile(&house, "cut").await;
    let dead = house.job_reaches(job, JobState::Dead).await;
    assert!(
        dead.note.starts_with("statement bill.csv: "),
        "{}",
        dead.note
    );
    assert!(
        dead.note.contains("line "),
        "the line is named: {}",
        dead.note
    );
    let mut tx = house.store.read().await.unwrap();
    let kept = reconciliations::refused_files(&mut tx, 10).await.unwrap();
    drop(tx);
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].content.as_deref(), Some(cut.as_bytes()));
    assert!(runs(&house).await.is_empty());
    house.close().await;
}

async fn arrives_late(house: House) {
    let job = reconcile(&house, "missing").await;
    house
        .job_waits(job, "statement bill.csv is unavailable")
        .await;
    write(&house, BILL);
    import(&house, RECORDS).await;
    house.clock.advance(TimeDelta::minutes(11));
    house.job_reaches(job, JobState::Done).await;
    assert_eq!(breaks(&house, "open").await, SAMPLE_BREAKS);
    house.close().await;
}

async fn other_channel(house: House) {
    write(&house, BILL);
    let payload = PAYLOAD.replace("wechat_pay", "unionpay");
    let job = house
        .submit(JobKind::Reconciliation, "other", &payload)
        .await;
    let dead = house.job_reaches(job, JobState::Dead).await;
    assert!(
        dead.note
            .contains("statements of channel unionpay cannot be read by this release"),
        "{}",
        dead.note
    );
    house.close().await;
}
