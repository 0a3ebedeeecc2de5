//! The ledger: booked once, balanced by its shape, and refused by the database where it is not.
#![cfg(test)]

use clearday::domain::ledger::events::{self, Occasion};
use clearday::domain::ledger::{Account, Entry, Fact, FactKey, FactKind, FactSource, Side};
use clearday::store::ledger::{self, Appended, FactOutcome, JobContext};
use clearday::store::{StoreError, Tx};
use clearday_jobs::{Currency, MerchantId, Money};
use uuid::Uuid;

use crate::support::sql::execute;
use crate::support::world::{World, noon, on_both_databases};

on_both_databases! {
    an_entry_is_booked_once,
    an_entry_with_another_content_is_refused,
    a_batch_may_hold_what_is_known_and_what_is_new,
    many_entries_are_appended_in_chunks,
    balances_are_debits_minus_credits,
    the_database_refuses_what_does_not_balance,
    a_fact_is_known_once_whoever_tells_it,
    entries_are_found_by_their_subject,
}

fn cny(minor_units: i64) -> Money {
    Money::from_minor(minor_units, Currency::parse("CNY").unwrap())
}

fn shop() -> MerchantId {
    "shop".parse().unwrap()
}

fn collected(subject: &str, minor_units: i64) -> Entry {
    let occasion = Occasion {
        subject,
        accounting_on: "2026-03-02".parse().unwrap(),
    };
    let entry = events::collected(occasion, &shop(), cny(minor_units));
    entry.unwrap().unwrap()
}

async fn try_append(world: &World, entries: &[Entry]) -> Result<Vec<Appended>, StoreError> {
    let mut tx = world.begin().await;
    let on_behalf = JobContext { job_id: None };
    let answers = ledger::append(&mut tx, entries, on_behalf, &world.ids, world.now()).await?;
    tx.commit().await?;
    Ok(answers)
}

async fn append(world: &World, entries: &[Entry]) -> Vec<Appended> {
    try_append(world, entries).await.unwrap()
}

async fn read(world: &World) -> Tx {
    world.store.read().await.unwrap()
}

async fn payable(world: &World) -> i64 {
    let currency = cny(0).currency();
    ledger::owed(
        &mut read(world).await,
        Account::MerchantPayable,
        "shop",
        currency,
    )
    .await
    .unwrap()
    .minor_units()
}

async fn an_entry_is_booked_once(world: World) {
    let entry = collected("settlement:1", 500);
    let first = append(&world, std::slice::from_ref(&entry)).await;
    let again = append(&world, std::slice::from_ref(&entry)).await;
    assert_eq!(first, [Appended::New(first[0].id())]);
    assert_eq!(again, [Appended::Known(first[0].id())]);
    assert_eq!(payable(&world).await, 500);
}

async fn an_entry_with_another_content_is_refused(world: World) {
    append(&world, &[collected("settlement:1", 500)]).await;
    let refused = try_append(&world, &[collected("settlement:1", 501)]).await;
    assert_eq!(
        refused.unwrap_err().to_string(),
        "settlement:1/collected is booked already, with another content"
    );
    assert_eq!(payable(&world).await, 500);
}

async fn a_batch_may_hold_what_is_known_and_what_is_new(world: World) {
    let (one, two, three) = (
        collected("settlement:1", 1),
        collected("settlement:2", 20),
        collected("settlement:3", 300),
    );
    append(&world, std::slice::from_ref(&two)).await;
    let answers = append(&world, &[one.clone(), two, three, one]).await;
    let kinds: Vec<&str> = answers
        .iter()
        .map(|answer| match answer {
            Appended::New(_) => "new",
            Appended::Known(_) => "known",
        })
        .collect();
    assert_eq!(kinds, ["new", "known", "new", "known"]);
    assert_eq!(answers[3].id(), answers[0].id());
    assert_eq!(payable(&world).await, 321);
}

async fn many_entries_are_appended_in_chunks(world: World) {
    let entries: Vec<Entry> = (0..2_500)
        .map(|number| collected(&format!("settlement:{number}"), 1))
        .collect();
    let answers = append(&world, &entries).await;
    assert_eq!(answers.len(), 2_500);
    assert_eq!(payable(&world).await, 2_500);
    // Half of them again, and half new.
    let entries: Vec<Entry> = (1_250..3_750)
        .map(|number| collected(&format!("settlement:{number}"), 1))
        .collect();
    let answers = append(&world, &entries).await;
    let known = |answer: &&Appended| matches!(answer, Appended::Known(_));
    assert_eq!(answers.iter().filter(known).count(), 1_250);
    assert_eq!(payable(&world).await, 3_750);
}

async fn balances_are_debits_minus_credits(world: World) {
    append(
        &world,
        &[
            collected("settlement:1", 500),
            collected("settlement:2", -200),
        ],
    )
    .await;
    let told: Vec<String> = ledger::balances(&mut read(&world).await)
        .await
        .unwrap()
        .iter()
        .map(|it| format!("{}({}) {}", it.account, it.owner, it.balance))
        .collect();
    assert_eq!(
        told,
        [
            "merchant_payable(shop) -3.00 CNY",
            "merchant_pending(shop) 3.00 CNY"
        ]
    );
    let mut tx = read(&world).await;
    let nobody = ledger::balance(&mut tx, Account::Reserve, "shop", cny(0).currency());
    assert_eq!(nobody.await.unwrap(), 0);
}

/// Nothing of this can be said through the code above; the database refuses it as well.
async fn the_database_refuses_what_does_not_balance(world: World) {
    append(&world, &[collected("settlement:1", 500)]).await;
    let posting = |line: i64, sides: &str, amount: i64| {
        format!(
            "INSERT INTO postings SELECT id, {line}, {sides}, {amount}, 'CNY' FROM journal_entries"
        )
    };
    let fine = "'merchant_pending', 'shop', 'merchant_payable', 'shop'";
    let refused = [
        posting(2, fine, 0),
        posting(2, fine, -1),
        posting(2, "'reserve', 'shop', 'reserve', 'shop'", 1),
        posting(2, "'a_new_one', 'shop', 'reserve', 'shop'", 1),
        posting(2, "'reserve', 'shop', NULL, NULL", 1),
        posting(2, "NULL, NULL, 'reserve', 'shop'", 1),
        posting(0, fine, 1),
        posting(1, fine, 1),
        "UPDATE postings SET credit_account = debit_account, credit_owner = debit_owner".to_owned(),
        "UPDATE postings SET amount_minor = 0".to_owned(),
        "DELETE FROM journal_entries".to_owned(),
    ];
    for statement in &refused {
        let answer = execute(world.database.url(), statement).await;
        assert!(answer.is_err(), "{statement}");
    }
    execute(world.database.url(), &posting(2, fine, 1))
        .await
        .unwrap();
    assert_eq!(payable(&world).await, 501);
}

fn fact(external_no: &str, minor_units: i64) -> Fact {
    Fact {
        key: FactKey {
            account: "wechat_pay".parse().unwrap(),
            kind: FactKind::Capture,
            external_no: external_no.to_owned(),
        },
        amount: cny(minor_units),
        occurred_at: noon(),
        source: FactSource::Query,
        evidence: "{}".to_owned(),
    }
}

async fn a_fact_is_known_once_whoever_tells_it(world: World) {
    let entry = append(&world, &[collected("settlement:1", 500)]).await[0].id();
    let other = append(&world, &[collected("settlement:2", 500)]).await[0].id();
    let note = async |fact: Fact, entry: Option<Uuid>| {
        let mut tx = world.begin().await;
        let outcome = ledger::note_fact(&mut tx, &fact, entry, world.now())
            .await
            .unwrap();
        tx.commit().await.unwrap();
        outcome
    };
    let book = async |fact: &Fact, entry: Uuid| {
        let mut tx = world.begin().await;
        let booked = ledger::book_fact(&mut tx, &fact.key, entry).await.unwrap();
        tx.commit().await.unwrap();
        booked
    };
    assert_eq!(note(fact("T-1", 500), None).await, FactOutcome::New);
    assert_eq!(
        note(fact("T-1", 500), Some(entry)).await,
        FactOutcome::Same(None)
    );
    assert_eq!(note(fact("T-1", 501), None).await, FactOutcome::Differs);
    assert!(book(&fact("T-1", 500), entry).await);
    assert!(!book(&fact("T-1", 500), other).await, "it is booked once");
    assert!(!book(&fact("T-2", 500), other).await, "it is not known");
    let mut by_callback = fact("T-1", 500);
    by_callback.source = FactSource::Callback;
    assert_eq!(
        note(by_callback, None).await,
        FactOutcome::Same(Some(entry))
    );
    let kept = ledger::recent_facts(&mut read(&world).await, 10)
        .await
        .unwrap();
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0].source, "query", "as it was told first");

    // Another kind, and another account, are other facts.
    let mut refund = fact("T-1", 500);
    refund.key.kind = FactKind::Refund;
    assert_eq!(note(refund, None).await, FactOutcome::New);
    let mut elsewhere = fact("T-1", 500);
    elsewhere.key.account = "alipay".parse().unwrap();
    assert_eq!(note(elsewhere, None).await, FactOutcome::New);
}

async fn entries_are_found_by_their_subject(world: World) {
    let opening = |subject| {
        let occasion = Occasion {
            subject,
            accounting_on: "2026-03-02".parse().unwrap(),
        };
        let side = Side::new(Account::Bank, "icbc");
        let entry = events::opening_balance(occasion, None, side, cny(7));
        entry.unwrap().unwrap()
    };
    let entries = [
        collected("settlement:1", 500),
        collected("settlement:10", 1),
        opening("settlement:1"),
    ];
    append(&world, &entries).await;
    let found = ledger::of_subject(&mut read(&world).await, "settlement:1", 10).await;
    let told: Vec<String> = found
        .unwrap()
        .iter()
        .map(|entry| {
            let posting = &entry.postings[0];
            let (debit, credit) = (&posting.debit_account, &posting.credit_account);
            format!(
                "{} {debit} <- {credit} {}",
                entry.identity, posting.amount_minor
            )
        })
        .collect();
    assert_eq!(
        told,
        [
            "settlement:1/collected merchant_pending <- merchant_payable 500",
            "settlement:1/opening_balance bank <- opening_balance 7"
        ]
    );
    let mut tx = read(&world).await;
    let newest = ledger::recent(&mut tx, None, 2).await.unwrap();
    assert_eq!(newest.len(), 2);
    let rest = ledger::recent(&mut tx, Some(newest[1].id), 2)
        .await
        .unwrap();
    assert_eq!(rest.len(), 1);
    assert_eq!(rest[0].identity, "settlement:1/collected");
}
