//! What the reconciliation job promises: every break found once, a version per change, bad
//! statements kept and refused whole.
#![cfg(test)]

use chrono::TimeDelta;
use clearday::domain::import::records::RecordRow;
use clearday::domain::job::JobState;
use clearday::formats::records::read_numbered_records;
use clearday::store::reconciliations;
use clearday_jobs::{JobId, JobKind};

use crate::support::house::{House, Mode};
use crate::support::in_both_modes;

const BILL: &str = include_str!("../../samples/wechat_pay/bill.ALL.2026-03-02.csv");
const RECORDS: &str = include_str!("../../samples/records.csv");
const PAYLOAD: &str = r#"{"version":1,"channel":"wechat_pay","statements":["bill.csv"]}"#;

in_both_modes! {
    the_sample_bill_is_reconciled_with_every_break_found: sample;
    running_again_changes_nothing: again;
    a_mended_record_makes_a_new_version_and_its_break_vanishes: mended;
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
