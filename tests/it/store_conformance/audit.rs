//! The chain of what people did: whole whoever appends at once, and broken where somebody who has
//! the database's password touched it.
#![cfg(test)]

use clearday::domain::audit::{AuditAction, AuditEntry, BrokenChain, GENESIS};
use clearday::engine::AuditFinding;
use clearday::store::audit;
use serde_json::json;

use crate::support::sql::execute;
use crate::support::world::{World, on_both_databases};

on_both_databases! {
    what_operators_do_is_chained,
    what_was_refused_or_rolled_back_leaves_no_row,
    words_that_no_database_keeps_are_chained_as_they_are_kept,
    a_chain_longer_than_a_page_is_whole,
    many_who_append_at_once_make_one_chain,
    every_tampering_is_named,
    nothing_is_appended_without_a_head,
}

async fn verify(world: &World) -> AuditFinding {
    world.engine("w").verify_audit().await.unwrap()
}

async fn what_operators_do_is_chained(world: World) {
    let engine = world.engine("w");
    let empty = verify(&world).await;
    assert_eq!((empty.head.seq, empty.broken), (0, None));
    assert_eq!(empty.head.sha256, GENESIS);

    let id = world.due_job("a").await;
    engine.cancel(id, "wang").await.unwrap();
    world.advance_seconds(1);
    engine.retry(id, "li").await.unwrap();
    let mut tx = world.store.read().await.unwrap();
    let rows = audit::of_subject(&mut tx, &id.to_string()).await.unwrap();
    let told: Vec<String> = rows
        .iter()
        .map(|row| format!("{} {} {} {}", row.seq, row.who, row.what, row.detail))
        .collect();
    assert_eq!(
        told,
        [
            r#"1 wang job_cancelled {"is":"cancelled","kind":"reconciliation","was":"ready"}"#,
            r#"2 li job_retried {"is":"ready","kind":"reconciliation","was":"cancelled"}"#,
        ]
    );
    assert_eq!(rows[1].prev_sha256, rows[0].sha256);
    assert_eq!(rows[1].at, world.now());
    drop(tx);
    let whole = verify(&world).await;
    assert_eq!((whole.head.seq, whole.broken), (2, None));
    assert_eq!(whole.head.sha256, rows[1].sha256);
}

async fn what_was_refused_or_rolled_back_leaves_no_row(world: World) {
    let engine = world.engine("w");
    let id = world.due_job("a").await;
    engine.cancel(id, "wang").await.unwrap();
    engine.cancel(id, "wang").await.unwrap_err();
    let mut tx = world.begin().await;
    let entry = entry("li");
    audit::append(&mut tx, &[entry], world.now()).await.unwrap();
    drop(tx);
    let whole = verify(&world).await;
    assert_eq!((whole.head.seq, whole.broken), (1, None));
}

async fn words_that_no_database_keeps_are_chained_as_they_are_kept(world: World) {
    let odd = AuditEntry {
        who: "wa\0ng\n".to_owned(),
        what: AuditAction::PayoutSent,
        subject: "错".repeat(3_000),
        detail: json!({"note": "a\0b\u{7}", "b": [1, {"z": null, "a": 1.50}]}),
    };
    let mut tx = world.begin().await;
    audit::append(&mut tx, &[odd.clone(), odd], world.now())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    let whole = verify(&world).await;
    assert_eq!((whole.head.seq, whole.broken), (2, None));
}

async fn a_chain_longer_than_a_page_is_whole(world: World) {
    chain(&world, 2_000).await;
    let whole = verify(&world).await;
    assert_eq!((whole.head.seq, whole.broken), (2_000, None));
    let changed = "UPDATE audit_log SET who = 'li' WHERE seq = 1700";
    assert_eq!(execute(world.database.url(), changed).await.unwrap(), 1);
    let broken = verify(&world).await;
    assert_eq!(broken.head.seq, 1_699);
    assert_eq!(broken.broken, Some(BrokenChain::Edited(1_700)));
}

async fn many_who_append_at_once_make_one_chain(world: World) {
    let mut ids = Vec::new();
    for number in 0..24 {
        ids.push(world.due_job(&number.to_string()).await);
    }
    let mut operators = tokio::task::JoinSet::new();
    for id in ids {
        let engine = world.engine("w");
        operators.spawn(async move {
            engine.cancel(id, "wang").await.unwrap();
            engine.retry(id, "li").await.unwrap();
        });
    }
    operators.join_all().await;
    let whole = verify(&world).await;
    assert_eq!((whole.head.seq, whole.broken), (48, None));
}

async fn every_tampering_is_named(world: World) {
    chain(&world, 6).await;
    let table = [
        (
            "UPDATE audit_log SET who = 'li' WHERE seq = 3",
            3,
            "row 3 is not as it was written",
        ),
        (
            "UPDATE audit_log SET what = 'job_retried' WHERE seq = 3",
            3,
            "row 3 is not as it was written",
        ),
        (
            "UPDATE audit_log SET subject = 'P-9' WHERE seq = 1",
            1,
            "row 1 is not as it was written",
        ),
        (
            "UPDATE audit_log SET detail = '{}' WHERE seq = 6",
            6,
            "row 6 is not as it was written",
        ),
        (
            "UPDATE audit_log SET sha256 = prev_sha256 WHERE seq = 6",
            6,
            "row 6 is not as it was written",
        ),
        (
            "UPDATE audit_log SET at = (SELECT MIN(at) FROM audit_log) WHERE seq = 4",
            4,
            "row 4 is not as it was written",
        ),
        (
            "DELETE FROM audit_log WHERE seq = 1",
            1,
            "row 1 is missing: row 2 follows row 0",
        ),
        (
            "DELETE FROM audit_log WHERE seq IN (3, 4)",
            3,
            "row 3 is missing: row 5 follows row 2",
        ),
        (
            "DELETE FROM audit_log WHERE seq >= 5",
            5,
            "row 5 is missing: the chain was cut off, its head is row 6",
        ),
        (
            "UPDATE audit_log SET seq = CASE seq WHEN 2 THEN 30 WHEN 3 THEN 20 ELSE seq END WHERE seq IN (2, 3)",
            2,
            "row 2 is missing: row 4 follows row 1",
        ),
        (
            "INSERT INTO audit_log (seq, prev_sha256, sha256, at, who, what, subject, detail) \
             SELECT 7, sha256, sha256, at, 'li', what, subject, detail FROM audit_log WHERE seq = 6",
            7,
            "row 7 is not as it was written",
        ),
        (
            "UPDATE audit_head SET sha256 = (SELECT sha256 FROM audit_log WHERE seq = 5)",
            6,
            "row 6 is not the one that the head of the chain remembers",
        ),
        (
            "UPDATE audit_head SET seq = 5",
            6,
            "row 6 was added behind the head of the chain, row 5",
        ),
        (
            "DELETE FROM audit_head",
            0,
            "the head of the chain is missing",
        ),
    ];
    for (sql, row, words) in table {
        backup(&world).await;
        assert!(
            execute(world.database.url(), sql).await.unwrap() > 0,
            "{sql}"
        );
        let broken = verify(&world).await.broken.unwrap();
        assert_eq!(
            (broken.row(), broken.to_string().as_str()),
            (row, words),
            "{sql}"
        );
        restore(&world).await;
        assert_eq!(verify(&world).await.broken, None, "{sql}");
    }
    // Two rows that change places, and one that is slipped in between two others.
    backup(&world).await;
    for step in [
        "UPDATE audit_log SET seq = 99 WHERE seq = 2",
        "UPDATE audit_log SET seq = 2 WHERE seq = 3",
        "UPDATE audit_log SET seq = 3 WHERE seq = 99",
    ] {
        assert_eq!(execute(world.database.url(), step).await.unwrap(), 1);
    }
    let swapped = verify(&world).await.broken;
    assert_eq!(swapped, Some(BrokenChain::Unlinked(2)));
    restore(&world).await;
    for step in [
        "UPDATE audit_log SET seq = 7 WHERE seq = 6",
        "UPDATE audit_log SET seq = 6 WHERE seq = 5",
        "UPDATE audit_log SET seq = 5 WHERE seq = 4",
        "UPDATE audit_head SET seq = 7",
        "INSERT INTO audit_log (seq, prev_sha256, sha256, at, who, what, subject, detail) \
         SELECT 4, sha256, sha256, at, 'li', what, subject, detail FROM audit_log WHERE seq = 3",
    ] {
        assert_eq!(execute(world.database.url(), step).await.unwrap(), 1);
    }
    let inserted = verify(&world).await.broken;
    assert_eq!(inserted, Some(BrokenChain::Edited(4)));
}

async fn nothing_is_appended_without_a_head(world: World) {
    execute(world.database.url(), "DELETE FROM audit_head")
        .await
        .unwrap();
    let id = world.due_job("a").await;
    let refused = world.engine("w").cancel(id, "wang").await.unwrap_err();
    assert!(
        refused.to_string().contains("head of the chain is missing"),
        "{refused}"
    );
    // What was to be done is not done either.
    assert_eq!(world.story(id).await, ["1 accepted ready"]);
}

/// Puts `length` rows on the chain.
async fn chain(world: &World, length: usize) {
    let entries: Vec<AuditEntry> = (0..length)
        .map(|number| entry(&format!("wang {number}")))
        .collect();
    let mut tx = world.begin().await;
    for entries in entries.chunks(length.div_ceil(3)) {
        audit::append(&mut tx, entries, world.now()).await.unwrap();
        world.advance_seconds(1);
    }
    tx.commit().await.unwrap();
}

fn entry(who: &str) -> AuditEntry {
    AuditEntry {
        who: who.to_owned(),
        what: AuditAction::PayoutSent,
        subject: "P-1".to_owned(),
        detail: json!({"amount": "12.34", "currency": "CNY"}),
    }
}

async fn backup(world: &World) {
    for sql in [
        "CREATE TABLE kept_log AS SELECT * FROM audit_log",
        "CREATE TABLE kept_head AS SELECT * FROM audit_head",
    ] {
        execute(world.database.url(), sql).await.unwrap();
    }
}

async fn restore(world: &World) {
    for sql in [
        "DELETE FROM audit_log",
        "DELETE FROM audit_head",
        "INSERT INTO audit_log SELECT * FROM kept_log",
        "INSERT INTO audit_head SELECT * FROM kept_head",
        "DROP TABLE kept_log",
        "DROP TABLE kept_head",
    ] {
        execute(world.database.url(), sql).await.unwrap();
    }
}
