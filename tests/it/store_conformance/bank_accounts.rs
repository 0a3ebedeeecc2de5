//! A merchant who is to be paid to another account: two people agree, or the account is dropped,
//! in one transaction with what they decided.
#![cfg(test)]

use clearday::config::Role;
use clearday::domain::approval::{Approval, ApprovalAction, ApprovalState, SignatureRefusal};
use clearday::domain::merchant::Merchant;
use clearday::engine::{ApprovalError, Signer};
use clearday::store::{approvals, audit, merchants};
use clearday::verify::verify;
use serde_json::{Value, json};

use crate::support::command_line::CommandLine;
use crate::support::sql::execute;
use crate::support::world::{World, on_both_databases};

on_both_databases! {
    another_account_is_paid_when_two_people_agreed,
    an_account_that_is_refused_is_dropped_and_may_be_asked_about_again,
    what_is_asked_about_is_the_account_that_the_last_file_names,
    the_same_file_again_asks_nothing,
    whoever_signed_first_is_not_the_second_person,
    an_account_that_was_changed_by_hand_is_not_put_in_force,
    files_and_people_do_not_wait_for_each_other,
}

const MERCHANTS: &str = include_str!("../../../samples/merchants.csv");
const SHOP: &str = "shop-hangzhou";
const OLD: &str = "6200000000000000001";

async fn another_account_is_paid_when_two_people_agreed(world: World) {
    let line = CommandLine::on(&world.database).await;
    import(&line, OLD).await;
    assert_eq!(newest(&world).await, None);
    import(&line, "6200000000000000009").await;
    let asked = newest(&world).await.unwrap();
    assert_eq!(asked.state, ApprovalState::Requested);
    assert_eq!(asked.merchant_id.as_ref().unwrap().as_str(), SHOP);
    let shown: Value = serde_json::from_str(&asked.shown).unwrap();
    let (old, new) = (&shown["from"], &shown["to"]);
    assert_eq!(old["account_no"], OLD);
    assert_eq!(new["account_no"], "6200000000000000009");
    assert_eq!(new["bank"], "sandbox_bank");
    assert_eq!(new["account_name"], old["account_name"]);
    assert_eq!(shown["merchant_version"], 2);

    let engine = world.engine("w");
    engine.sign(asked.id, wang(), None).await.unwrap();
    assert_eq!(shop(&world).await.payee.account_no, OLD);
    engine.sign(asked.id, li(), None).await.unwrap();
    let merchant = shop(&world).await;
    assert_eq!(merchant.payee.account_no, "6200000000000000009");
    assert_eq!((merchant.pending_payee, merchant.version), (None, 3));
    let rows = chained(&world).await;
    assert_eq!(rows.len(), 1);
    let (told, detail) = &rows[0];
    assert_eq!(told, "li bank_account_changed");
    assert_eq!(detail["approval_id"], asked.id.to_string());
    assert_eq!(detail["to"]["account_no"], "6200000000000000009");
    is_well(&world).await;
    // And back again is another change.
    import(&line, OLD).await;
    let back = newest(&world).await.unwrap();
    assert_eq!(back.state, ApprovalState::Requested);
    assert_ne!(back.id, asked.id);
}

async fn an_account_that_is_refused_is_dropped_and_may_be_asked_about_again(world: World) {
    let line = CommandLine::on(&world.database).await;
    import(&line, OLD).await;
    import(&line, "6200000000000000009").await;
    let asked = newest(&world).await.unwrap();
    let engine = world.engine("w");
    engine.reject(asked.id, li(), "not theirs").await.unwrap();
    let merchant = shop(&world).await;
    assert_eq!(merchant.payee.account_no, OLD);
    assert_eq!(merchant.pending_payee, None);
    assert_eq!(chained(&world).await[0].0, "li bank_account_dropped");

    world.advance_seconds(1);
    import(&line, "6200000000000000009").await;
    let again = newest(&world).await.unwrap();
    assert_ne!(again.id, asked.id);
    assert_eq!(again.state, ApprovalState::Requested);
    engine.sign(again.id, wang(), None).await.unwrap();
    engine.sign(again.id, li(), None).await.unwrap();
    let merchant = shop(&world).await;
    assert_eq!(merchant.payee.account_no, "6200000000000000009");
    is_well(&world).await;
}

async fn what_is_asked_about_is_the_account_that_the_last_file_names(world: World) {
    let line = CommandLine::on(&world.database).await;
    import(&line, OLD).await;
    import(&line, "6200000000000000008").await;
    let first = newest(&world).await.unwrap();
    let engine = world.engine("w");
    engine.sign(first.id, wang(), None).await.unwrap();
    line.clock.advance(chrono::TimeDelta::seconds(1));
    import(&line, "6200000000000000009").await;
    let second = newest(&world).await.unwrap();
    assert_ne!(second.id, first.id);
    let refused = engine.sign(first.id, li(), None).await.unwrap_err();
    assert!(refused.to_string().ends_with("it is superseded already"));

    line.clock.advance(chrono::TimeDelta::seconds(1));
    import(&line, OLD).await;
    let withdrawn = newest(&world).await.unwrap();
    assert_eq!(withdrawn.id, second.id);
    assert_eq!(withdrawn.state, ApprovalState::Superseded);
    assert_eq!(
        withdrawn.reason.as_deref(),
        Some("another file names the account that is paid now")
    );
    let merchant = shop(&world).await;
    assert_eq!(merchant.payee.account_no, OLD);
    assert_eq!(merchant.pending_payee, None);
    is_well(&world).await;
}

async fn the_same_file_again_asks_nothing(world: World) {
    let line = CommandLine::on(&world.database).await;
    import(&line, OLD).await;
    import(&line, "6200000000000000009").await;
    let asked = newest(&world).await.unwrap();
    import(&line, "6200000000000000009").await;
    // Something else of the merchant changes: what people are asked about stays.
    let renamed = file("6200000000000000009").replace("杭州示例小店", "杭州另一小店");
    assert_ne!(renamed, file("6200000000000000009"));
    line.run_with("import --type merchants -", &renamed)
        .await
        .fine();
    assert_eq!(all_asked(&world).await, std::slice::from_ref(&asked));
    let engine = world.engine("w");
    engine.sign(asked.id, wang(), None).await.unwrap();
    engine.sign(asked.id, li(), None).await.unwrap();
    let merchant = shop(&world).await;
    assert_eq!(merchant.payee.account_no, "6200000000000000009");
}

async fn whoever_signed_first_is_not_the_second_person(world: World) {
    let line = CommandLine::on(&world.database).await;
    import(&line, OLD).await;
    import(&line, "6200000000000000009").await;
    let asked = newest(&world).await.unwrap();
    let engine = world.engine("w");
    engine.sign(asked.id, wang(), None).await.unwrap();
    for name in ["wang", "WANG"] {
        let role = Role::Approver;
        let again = engine.sign(asked.id, Signer { name, role }, None).await;
        let Err(ApprovalError::Refused { refusal, .. }) = again else {
            panic!("{again:?}");
        };
        assert_eq!(refusal, SignatureRefusal::SamePerson("wang".to_owned()));
    }
    assert_eq!(shop(&world).await.payee.account_no, OLD);
    is_well(&world).await;
}

async fn an_account_that_was_changed_by_hand_is_not_put_in_force(world: World) {
    let line = CommandLine::on(&world.database).await;
    import(&line, OLD).await;
    import(&line, "6200000000000000009").await;
    let asked = newest(&world).await.unwrap();
    let engine = world.engine("w");
    engine.sign(asked.id, wang(), None).await.unwrap();
    let by_hand = "UPDATE merchants SET pending_account_no = '6666' WHERE pending_bank IS NOT NULL";
    assert_eq!(execute(world.database.url(), by_hand).await.unwrap(), 1);
    let refused = engine.sign(asked.id, li(), None).await.unwrap_err();
    assert!(matches!(refused, ApprovalError::LostRace(_)), "{refused}");
    assert_eq!(
        newest(&world).await.unwrap().state,
        ApprovalState::Requested
    );
    assert_eq!(shop(&world).await.payee.account_no, OLD);
    let said = format!(
        "bank_accounts: what people are asked about the account of {SHOP} is not what waits there"
    );
    let broken = broken(&world).await;
    assert!(
        broken.len() == 1 && broken[0].starts_with(&said),
        "{broken:?}"
    );
}

/// A file names another account while the second person signs for the one before: whichever comes
/// first, the account that is paid is one that two people agreed on.
async fn files_and_people_do_not_wait_for_each_other(world: World) {
    let line = CommandLine::on(&world.database).await;
    import(&line, OLD).await;
    let engine = world.engine("w");
    for round in 0..8 {
        let (one, other) = (format!("62{round:015}1"), format!("62{round:015}2"));
        import(&line, &one).await;
        let asked = newest(&world).await.unwrap();
        engine.sign(asked.id, wang(), None).await.unwrap();
        let before = shop(&world).await.payee;
        let (signed, ()) = tokio::join!(engine.sign(asked.id, li(), None), import(&line, &other));
        let merchant = shop(&world).await;
        match signed {
            Ok(_) => assert_eq!(merchant.payee.account_no, one),
            Err(refused) => {
                assert!(refused.to_string().ends_with("it is superseded already"));
                assert_eq!(merchant.payee, before);
            }
        }
        assert_eq!(merchant.pending_payee.unwrap().account_no, other);
        let asked = newest(&world).await.unwrap();
        assert_eq!(asked.state, ApprovalState::Requested);
        assert!(asked.shown.contains(&other));
        line.clock.advance(chrono::TimeDelta::seconds(1));
    }
    is_well(&world).await;
}

fn file(account_no: &str) -> String {
    MERCHANTS.replace(OLD, account_no)
}

async fn import(line: &CommandLine, account_no: &str) {
    let told = file(account_no);
    line.run_with("import --type merchants -", &told)
        .await
        .fine();
}

async fn newest(world: &World) -> Option<Approval> {
    all_asked(world).await.into_iter().next()
}

/// Everything that people were ever asked about the merchant's account, the newest first.
async fn all_asked(world: &World) -> Vec<Approval> {
    let mut tx = world.store.read().await.unwrap();
    let all = approvals::of_subject(&mut tx, ApprovalAction::BankAccount, SHOP).await;
    all.unwrap()
}

async fn is_well(world: &World) {
    assert_eq!(broken(world).await, [""; 0]);
}

/// The checks that found something, with what they found.
async fn broken(world: &World) -> Vec<String> {
    let checks = verify(&world.store).await.unwrap().checks;
    let broken = checks.into_iter().filter(|check| !check.ok);
    broken
        .map(|check| format!("{}: {}", check.name, check.detail))
        .collect()
}

async fn shop(world: &World) -> Merchant {
    let mut tx = world.store.read().await.unwrap();
    let found = merchants::find(&mut tx, &SHOP.parse().unwrap()).await;
    found.unwrap().unwrap()
}

/// What the chain tells of the merchant.
async fn chained(world: &World) -> Vec<(String, Value)> {
    let mut tx = world.store.read().await.unwrap();
    let rows = audit::of_subject(&mut tx, SHOP).await.unwrap();
    rows.iter()
        .map(|row| {
            let detail = serde_json::from_str(&row.detail).unwrap_or(json!(null));
            (format!("{} {}", row.who, row.what), detail)
        })
        .collect()
}

fn wang() -> Signer<'static> {
    Signer {
        name: "wang",
        role: Role::Approver,
    }
}

fn li() -> Signer<'static> {
    Signer {
        name: "li",
        role: Role::Approver,
    }
}
