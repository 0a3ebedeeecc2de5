//! Taking submissions in: each key once, each answer in its place, each refusal kept.
#![cfg(test)]

use clearday::domain::job::JobState;
use clearday::engine::{Acceptance, Refusal, Source, Submission};
use clearday::store::jobs;
use clearday_jobs::{JobId, JobKind};

use crate::support::world::{World, due, due_at, new_id, noon, on_both_databases, submission};

on_both_databases! {
    accepted_job_stands_as_it_was_asked,
    instants_come_back_equal,
    dates_at_the_ends_of_the_calendar_are_kept,
    same_key_and_payload_is_the_same_job,
    same_key_and_another_payload_is_refused_and_kept,
    one_key_may_name_a_job_of_each_kind,
    duplicates_inside_a_batch_are_one_job,
    answers_stand_in_the_order_asked,
    batch_of_more_than_one_statement_is_accepted_whole,
    bell_rings_once_per_kind_and_not_for_what_is_not_due,
    refused_entry_that_is_delivered_again_is_kept_once,
    refusals_without_an_entry_are_each_kept,
    card_number_in_a_refused_payload_is_masked,
    unreadable_bytes_are_kept_as_they_came,
    keys_are_refused_with_their_reason,
    key_of_255_characters_is_accepted,
    batches_with_the_same_keys_in_opposite_order_do_not_deadlock,
    refusals_of_the_same_entries_in_opposite_order_do_not_deadlock,
}

async fn accepted_job_stands_as_it_was_asked(world: World) {
    let id = world.due_job("a").await;
    let job = world.job(id).await;
    assert_eq!(job.state, JobState::Ready);
    assert_eq!((job.version, job.attempt, job.rescues), (1, 0, 0));
    assert_eq!(job.attempts_max, 3);
    assert_eq!(job.partition.as_deref(), Some("wechat_pay"));
    assert_eq!(
        job.payload,
        r#"{"channel":"wechat_pay","statements":["wechat_pay/a.csv"],"version":1}"#
    );
    assert_eq!(job.lease, None);
    assert_eq!(world.story(id).await, ["1 accepted ready"]);
}

async fn instants_come_back_equal(world: World) {
    let id = world.due_job("a").await;
    let job = world.job(id).await;
    assert_eq!(
        [job.run_at, job.created_at, job.updated_at],
        [noon(), noon(), noon()]
    );
    // Finer than a microsecond is cut before it is stored, not rounded by the database.
    let id = world
        .accept(due_at("b", "2026-03-08T09:00:00.123456789+08:00"))
        .await;
    let run_at = world.job(id).await.run_at;
    assert_eq!(run_at.to_rfc3339(), "2026-03-08T01:00:00.123456+00:00");
}

async fn dates_at_the_ends_of_the_calendar_are_kept(world: World) {
    for (key, instant) in [
        ("first", "0000-01-01T00:00:00+23:59"),
        ("early", "1969-12-31T23:59:59.999999Z"),
        ("last", "9999-12-31T23:59:59.999999-23:59"),
    ] {
        let id = world.accept(due_at(key, instant)).await;
        let wanted: chrono::DateTime<chrono::Utc> = instant.parse().unwrap();
        assert_eq!(world.job(id).await.run_at, wanted, "{key}");
    }
}

async fn same_key_and_payload_is_the_same_job(world: World) {
    let id = world.due_job("a").await;
    // Blanks and the order of fields carry no meaning.
    let again = submission(
        "reconciliation",
        "a",
        br#" { "statements": ["wechat_pay/a.csv"], "channel": "wechat_pay", "version": 1 } "#,
    );
    let answers = world.engine("w").accept(vec![again]).await.unwrap();
    let [Acceptance::Known(known, JobState::Ready)] = answers.as_slice() else {
        panic!("{answers:?}");
    };
    assert_eq!(*known, id);
    assert_eq!(world.story(id).await, ["1 accepted ready"]);
}

async fn same_key_and_another_payload_is_refused_and_kept(world: World) {
    let id = world.due_job("a").await;
    let mut other = due("b");
    other.idempotency_key = Some("a".to_owned());
    let answers = world.engine("w").accept(vec![other.clone()]).await.unwrap();
    assert!(
        matches!(answers.as_slice(), [Acceptance::Refused(Refusal::KeyTaken(holder))] if *holder == id),
        "{answers:?}"
    );
    let kept = world.rejections().await;
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].job_id, Some(id));
    assert_eq!(kept[0].raw, other.payload);
    assert_eq!(kept[0].idempotency_key.as_deref(), Some("a"));
    assert!(kept[0].reason.contains(&id.to_string()));
    assert_eq!(kept[0].rejected_at, noon());
}

async fn one_key_may_name_a_job_of_each_kind(world: World) {
    let first = world.accept(due("a")).await;
    let second = world.accept(due_at("a", "2026-03-08T09:00:00Z")).await;
    assert_ne!(first, second);
}

async fn duplicates_inside_a_batch_are_one_job(world: World) {
    let mut contradiction = due("b");
    contradiction.idempotency_key = Some("a".to_owned());
    let batch = vec![due("a"), due("a"), contradiction, due("a")];
    let answers = world.engine("w").accept(batch).await.unwrap();
    let id = new_id(&answers[0]);
    for known in [&answers[1], &answers[3]] {
        assert!(matches!(known, Acceptance::Known(same, _) if *same == id));
    }
    assert!(
        matches!(answers[2], Acceptance::Refused(Refusal::KeyTaken(holder)) if holder == id),
        "{answers:?}"
    );
    assert_eq!(world.story(id).await, ["1 accepted ready"]);
}

async fn answers_stand_in_the_order_asked(world: World) {
    let known = world.due_job("m").await;
    let batch = vec![
        due("z"),
        submission("no_such_kind", "k", b"{}"),
        due("m"),
        due("a"),
        submission("order_expiry", "e", b"{}"),
    ];
    let answers = world.engine("w").accept(batch).await.unwrap();
    assert_eq!(answers.len(), 5);
    let (z, a) = (new_id(&answers[0]), new_id(&answers[3]));
    assert_eq!(world.job(z).await.idempotency_key, "z");
    assert_eq!(world.job(a).await.idempotency_key, "a");
    assert!(matches!(answers[1], Acceptance::Refused(Refusal::Kind(_))));
    assert!(matches!(answers[2], Acceptance::Known(id, _) if id == known));
    assert!(matches!(
        answers[4],
        Acceptance::Refused(Refusal::Payload(_))
    ));
    assert_eq!(world.rejections().await.len(), 2);
}

async fn batch_of_more_than_one_statement_is_accepted_whole(world: World) {
    let batch: Vec<Submission> = (0..1_203).map(|n| due(&format!("{}", n % 1_201))).collect();
    let answers = world.engine("w").accept(batch).await.unwrap();
    let new = answers
        .iter()
        .filter(|answer| matches!(answer, Acceptance::New(_)))
        .count();
    assert_eq!((answers.len(), new), (1_203, 1_201));
    let mut tx = world.store.read().await.unwrap();
    let ready = jobs::count_in_state(&mut tx, JobKind::Reconciliation, JobState::Ready).await;
    assert_eq!(ready.unwrap(), 1_201);
}

async fn bell_rings_once_per_kind_and_not_for_what_is_not_due(world: World) {
    let batch = vec![due("a"), due("b"), due_at("c", "2026-03-08T09:00:00Z")];
    world.engine("w").accept(batch).await.unwrap();
    assert_eq!(world.bell.take(JobKind::Reconciliation), 1);
    assert_eq!(world.bell.take(JobKind::OrderExpiry), 0);
}

async fn refused_entry_that_is_delivered_again_is_kept_once(world: World) {
    let refused = |entry: &str| Submission {
        source: Source::Redis {
            stream: "clearday:{order_expiry}".to_owned(),
            entry_id: entry.to_owned(),
        },
        ..submission("order_expiry", "k", b"not json")
    };
    let engine = world.engine("w");
    engine
        .accept(vec![refused("1-0"), refused("1-0"), refused("2-0")])
        .await
        .unwrap();
    engine.accept(vec![refused("1-0")]).await.unwrap();
    let kept = world.rejections().await;
    let entries: Vec<&str> = kept.iter().map(|kept| kept.entry_id.as_str()).collect();
    assert_eq!(entries, ["2-0", "1-0"]);
    assert_eq!(kept[0].source, "redis clearday:{order_expiry}");
}

async fn refusals_without_an_entry_are_each_kept(world: World) {
    let engine = world.engine("w");
    for _ in 0..2 {
        let refused = submission("order_expiry", "k", b"not json");
        engine.accept(vec![refused]).await.unwrap();
    }
    assert_eq!(world.rejections().await.len(), 2);
}

async fn card_number_in_a_refused_payload_is_masked(world: World) {
    let payload = clearday_jobs::example_for(JobKind::DeferredAuthorization)
        .replace("tok_card_9Xw4", "4111111111111111");
    let refused = submission("deferred_authorization", "k", payload.as_bytes());
    world.engine("w").accept(vec![refused]).await.unwrap();
    let kept = world.rejections().await;
    let raw = std::str::from_utf8(&kept[0].raw).unwrap();
    assert!(raw.contains("411111******1111"), "{raw}");
    assert_eq!(raw.len(), payload.len());
    assert!(kept[0].reason.contains("methods[1].token"));
    assert!(!kept[0].reason.contains("4111"), "{}", kept[0].reason);
}

async fn unreadable_bytes_are_kept_as_they_came(world: World) {
    let bytes = b"\xFF\x00{\"order_no\":1}";
    let refused = submission("order\0expiry\u{1b}", "k\0", bytes);
    let answers = world.engine("w").accept(vec![refused]).await.unwrap();
    assert!(matches!(answers[0], Acceptance::Refused(Refusal::Kind(_))));
    let refused = submission("order_expiry", "k", bytes);
    let answers = world.engine("w").accept(vec![refused]).await.unwrap();
    assert!(matches!(
        answers[0],
        Acceptance::Refused(Refusal::Encoding(1))
    ));
    let kept = world.rejections().await;
    assert_eq!(kept[0].raw, bytes);
    assert_eq!(kept[1].raw, bytes);
    // A NUL cannot be stored as text; it becomes visible instead of failing the batch.
    assert_eq!(kept[1].kind.as_deref(), Some("order\u{FFFD}expiry\u{FFFD}"));
    assert_eq!(kept[1].idempotency_key.as_deref(), Some("k\u{FFFD}"));
}

async fn keys_are_refused_with_their_reason(world: World) {
    let engine = world.engine("w");
    let keyless = Submission {
        idempotency_key: None,
        ..due("a")
    };
    let answers = engine.accept(vec![keyless]).await.unwrap();
    assert!(matches!(answers[0], Acceptance::Refused(Refusal::NoKey)));
    for key in ["", &"k".repeat(256), "a\nb", "a\0b"] {
        let mut badly_keyed = due("a");
        badly_keyed.idempotency_key = Some(key.to_owned());
        let answers = engine.accept(vec![badly_keyed]).await.unwrap();
        assert!(
            matches!(answers[0], Acceptance::Refused(Refusal::Key)),
            "{key:?}: {answers:?}"
        );
    }
}

async fn key_of_255_characters_is_accepted(world: World) {
    let key = "单".repeat(255);
    let mut asked = due("a");
    asked.idempotency_key = Some(key.clone());
    let id = world.accept(asked).await;
    assert_eq!(world.job(id).await.idempotency_key, key);
}

async fn batches_with_the_same_keys_in_opposite_order_do_not_deadlock(world: World) {
    for round in 0..8 {
        let batch: Vec<Submission> = (0..300).map(|n| due(&format!("{round}-{n}"))).collect();
        let opposite: Vec<Submission> = batch.iter().rev().cloned().collect();
        let (first, second) = (world.engine("a"), world.engine("b"));
        let (forth, back) = tokio::join!(first.accept(batch), second.accept(opposite));
        let (forth, back) = (forth.unwrap(), back.unwrap());
        for (one, other) in forth.iter().zip(back.iter().rev()) {
            let is_new = |answer: &Acceptance| matches!(answer, Acceptance::New(_));
            assert_eq!(id_of(one), id_of(other));
            assert!(is_new(one) != is_new(other), "{one:?} {other:?}");
        }
    }
}

async fn refusals_of_the_same_entries_in_opposite_order_do_not_deadlock(world: World) {
    for round in 0..16 {
        let batch: Vec<Submission> = (0..500)
            .map(|n| Submission {
                source: Source::Redis {
                    stream: "clearday:{order_expiry}".to_owned(),
                    entry_id: format!("{round}-{n}"),
                },
                ..submission("order_expiry", "k", b"not json")
            })
            .collect();
        let opposite: Vec<Submission> = batch.iter().rev().cloned().collect();
        let (first, second) = (world.engine("a"), world.engine("b"));
        let (forth, back) = tokio::join!(first.accept(batch), second.accept(opposite));
        forth.unwrap();
        back.unwrap();
    }
    let mut tx = world.store.read().await.unwrap();
    let kept = clearday::store::rejections::list(&mut tx, None, 10_000).await;
    assert_eq!(kept.unwrap().len(), 8_000);
}

fn id_of(answer: &Acceptance) -> JobId {
    match answer {
        Acceptance::New(id) | Acceptance::Known(id, _) => *id,
        Acceptance::Refused(refusal) => panic!("{refusal}"),
    }
}
