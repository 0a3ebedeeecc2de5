//! What the import of merchants and partners promises: a whole file or nothing of it, the same file again changes
//! nothing, and another bank account waits for two people.
#![cfg(test)]

use chrono::TimeDelta;
use clearday::cli::exit::Exit;
use clearday::domain::merchant::Merchant;
use clearday::domain::partner::Partner;
use clearday::formats;
use clearday::store::{Store, merchants, partners};
use serde_json::json;

use crate::support::command_line::CommandLine;
use crate::support::servers::TestDatabase;

const MERCHANTS: &str = include_str!("../../samples/merchants.csv");
const PARTNERS: &str = include_str!("../../samples/partners.csv");

/// Runs one promise on both databases.
macro_rules! on_both {
    ($($name:ident)*) => {
        mod sqlite {
            $(#[tokio::test]
            async fn $name() {
                super::$name(&super::TestDatabase::sqlite()).await;
            })*
        }
        mod postgres {
            $(#[tokio::test]
            async fn $name() {
                let database = super::TestDatabase::postgres().await;
                super::$name(&database).await;
                database.close().await;
            })*
        }
    };
}

on_both! {
    merchants_are_imported_once
    what_changed_of_a_merchant_is_taken_over
    a_hold_is_not_lifted_by_saying_nothing
    another_bank_account_waits_for_approval
    one_bad_row_refuses_the_whole_file_of_merchants
    partners_are_imported_once
    one_bad_row_refuses_the_whole_file_of_partners
    merchants_and_partners_arrive_by_the_thousand
}

/// Imports a text and gives back `[new, changed, unchanged]`, and the merchants that wait for approval.
async fn import(line: &CommandLine, content: &str, text: &str) -> ([u64; 3], Vec<String>) {
    let words = format!("import --type {content} --format json -");
    let summary = line.run_with(&words, text).await.json();
    let counts = ["new", "changed", "unchanged"].map(|name| summary[name].as_u64().unwrap());
    assert_eq!(summary["rows"], counts.iter().sum::<u64>());
    let waiting = summary["waiting_for_approval"].as_array();
    let name = |it: &serde_json::Value| it.as_str().unwrap().to_owned();
    let waiting = waiting.map(|all| all.iter().map(name).collect());
    assert_eq!(waiting.is_some(), content == "merchants");
    (counts, waiting.unwrap_or_default())
}

async fn refusal(line: &CommandLine, content: &str, text: &str) -> String {
    let words = format!("import --type {content} -");
    let said = line.run_with(&words, text).await.refused();
    said.strip_prefix("clearday: -: ").unwrap().to_owned()
}

async fn all_merchants(database: &TestDatabase) -> Vec<Merchant> {
    let store = Store::connect(database.url(), 2).await.unwrap();
    let found = merchants::list(&mut store.read().await.unwrap()).await;
    store.close().await;
    found.unwrap()
}

async fn all_partners(database: &TestDatabase) -> Vec<Partner> {
    let store = Store::connect(database.url(), 2).await.unwrap();
    let found = partners::list(&mut store.read().await.unwrap()).await;
    store.close().await;
    found.unwrap()
}

async fn merchants_are_imported_once(database: &TestDatabase) {
    let line = CommandLine::on(database).await;
    let nobody: Vec<String> = Vec::new();
    let first = import(&line, "merchants", MERCHANTS).await;
    assert_eq!(first, ([5, 0, 0], nobody.clone()));
    let known = all_merchants(database).await;
    line.clock.advance(TimeDelta::days(1));
    let again = import(&line, "merchants", MERCHANTS).await;
    assert_eq!(again, ([0, 0, 5], nobody));
    assert_eq!(all_merchants(database).await, known);

    let contracts: Vec<(&str, usize)> = known
        .iter()
        .map(|it| (it.merchant_id.as_str(), it.contracts.len()))
        .collect();
    assert_eq!(
        contracts,
        [
            ("shop-hangzhou", 2),
            ("shop-ningbo", 1),
            ("shop-suzhou", 1),
            ("shop-wenzhou", 1),
        ]
    );

    let json = r#"{"merchant_id":"shop-suzhou","name":"苏州示例小店 Suzhou Sample Shop","currency":"CNY","cycle":"T+1","cutoff":"22:00","settle_basis":"captured","coupons":"excluded","reserve_rate":"0.050","bank":"sandbox_bank","account_no":"6200000000000000002","account_name":"苏州示例商贸有限公司","fee_rate":"0.0038","fee_fixed":"0.1","fee_minimum":"0.10","fee_maximum":"25","fee_rounding":"half_even","fee_returned":"false","fee_valid_from":"2025-01-01"}"#;
    let same = line.run_with("import --type merchants -", json).await;
    assert_eq!(same.fine(), "1 rows: 0 new, 0 changed, 1 unchanged\n");
}

async fn what_changed_of_a_merchant_is_taken_over(database: &TestDatabase) {
    let line = CommandLine::on(database).await;
    import(&line, "merchants", MERCHANTS).await;
    let held = MERCHANTS.replace("0.05,false", "0.05,true");
    assert_eq!(import(&line, "merchants", &held).await.0, [0, 1, 4]);
    assert_eq!(import(&line, "merchants", &held).await.0, [0, 0, 5]);
    let known = all_merchants(database).await;
    let versions: Vec<(bool, i64)> = known.iter().map(|it| (it.is_held, it.version)).collect();
    assert_eq!(versions, [(false, 1), (false, 1), (true, 2), (false, 1)]);

    // The contract that holds ends with March, and another one begins.
    let next = held
        .replace("2025-01-01,2026-06-30", "2025-01-01,2026-03-31")
        .replace("2026-07-01", "2026-04-01");
    assert_eq!(import(&line, "merchants", &next).await.0, [1, 1, 3]);
    assert_eq!(import(&line, "merchants", &next).await.0, [0, 0, 5]);
    let known = all_merchants(database).await;
    let days: Vec<String> = known[0]
        .contracts
        .iter()
        .map(|it| format!("{} {:?}", it.valid_from, it.valid_until))
        .collect();
    assert_eq!(days, ["2025-01-01 Some(2026-03-31)", "2026-04-01 None"]);
}

async fn a_hold_is_not_lifted_by_saying_nothing(database: &TestDatabase) {
    let line = CommandLine::on(database).await;
    let columns =
        "merchant_id,name,currency,cycle,bank,account_no,account_name,fee_rate,fee_valid_from";
    let row = "shop,Shop,CNY,T+1,sandbox_bank,6200000000000000002,Shop,0.006,2026-01-01";
    let silent = format!("{columns}\n{row}\n");
    let told = |held: &str| format!("{columns},held\n{row},{held}\n");
    for (file, is_held) in [
        (told("true"), true),
        (silent.clone(), true),
        (told(""), true),
        (told("false"), false),
        (silent, false),
    ] {
        import(&line, "merchants", &file).await;
        let known = all_merchants(database).await;
        assert_eq!(known[0].is_held, is_held, "{file}");
    }
    let chain = line.run("audit verify --format json").await.json();
    assert_eq!(chain["rows"], 1, "lifting the hold is the only change");
}

async fn another_bank_account_waits_for_approval(database: &TestDatabase) {
    let line = CommandLine::on(database).await;
    import(&line, "merchants", MERCHANTS).await;
    let moved = MERCHANTS.replace("6200000000000000001", "6200000000000000009");
    let waiting = vec!["shop-hangzhou".to_owned()];
    assert_eq!(
        import(&line, "merchants", &moved).await,
        ([0, 2, 3], waiting.clone())
    );
    assert_eq!(
        import(&line, "merchants", &moved).await,
        ([0, 0, 5], waiting)
    );
    let said = line.run_with("import --type merchants -", &moved).await;
    assert_eq!(
        said.fine(),
        "5 rows: 0 new, 0 changed, 5 unchanged\n\
         waiting for approval: another bank account of merchant shop-hangzhou\n"
    );
    let known = all_merchants(database).await.remove(0);
    assert_eq!(known.payee.account_no, "6200000000000000001");
    let pending = known.pending_payee.unwrap();
    assert_eq!(pending.account_no, "6200000000000000009");
    assert_eq!(pending.bank.as_str(), "sandbox_bank");

    // The known account again: nothing waits any more.
    let back = import(&line, "merchants", MERCHANTS).await;
    assert_eq!(back, ([0, 2, 3], Vec::new()));
    assert_eq!(all_merchants(database).await[0].pending_payee, None);
}

async fn one_bad_row_refuses_the_whole_file_of_merchants(database: &TestDatabase) {
    let line = CommandLine::on(database).await;
    #[rustfmt::skip]
    let table = [
        (("0.0038", "1.1"), "line 4, column fee_rate: is not between 0 and 1 in at most 9 decimal places, like 0.006 for 0.6 %"),
        (("shop-suzhou,", ","), "line 4, column merchant_id: is empty"),
        (("0.10,25.00", "0.10,0.09"), "line 4, column fee_maximum: 0.09 CNY is less than the fee_minimum of 0.10 CNY"),
        (("2026-07-01", "2026-06-30"), "line 3, column fee_valid_from: the contract overlaps the one from 2025-01-01 that ends on 2026-06-30"),
        (("杭州示例小店", "杭州小店"), "line 3, column name: merchant shop-hangzhou has another value on line 2"),
        ((",22:00,", ",22:00,,"), "line 4: 25 values where the header has 24"),
    ];
    for ((from, to), expected) in table {
        let bad = MERCHANTS.replacen(from, to, 1);
        assert_eq!(refusal(&line, "merchants", &bad).await, expected);
    }
    assert!(all_merchants(database).await.is_empty());

    import(&line, "merchants", MERCHANTS).await;
    let known = all_merchants(database).await;
    #[rustfmt::skip]
    let table = [
        (("shop-suzhou,苏州示例小店 Suzhou Sample Shop,CNY", "shop-suzhou,苏州示例小店 Suzhou Sample Shop,USD"), "line 4, column currency: merchant shop-suzhou has CNY, and that never changes"),
        (("0.0038", "0.0039"), "line 4, column fee_rate: the contract from 2025-01-01 holds already and has another value: end it and begin another"),
    ];
    for ((from, to), expected) in table {
        // The other rows of the file would change something.
        let bad = MERCHANTS.replace("10.00", "20.00").replacen(from, to, 1);
        assert_eq!(refusal(&line, "merchants", &bad).await, expected);
    }
    assert_eq!(all_merchants(database).await, known);
}

async fn partners_are_imported_once(database: &TestDatabase) {
    let line = CommandLine::on(database).await;
    assert_eq!(import(&line, "partners", PARTNERS).await.0, [1, 0, 0]);
    assert_eq!(import(&line, "partners", PARTNERS).await.0, [0, 0, 1]);
    let moved = PARTNERS.replace("pay@example.com", "money@example.com");
    assert_eq!(import(&line, "partners", &moved).await.0, [0, 1, 0]);
    let known = all_partners(database).await;
    assert_eq!(known[0].partner_id.as_str(), "partner-ningbo");
    assert_eq!(known[0].email.as_deref(), Some("money@example.com"));
    assert_eq!(known[0].channels.len(), 3);
}

async fn one_bad_row_refuses_the_whole_file_of_partners(database: &TestDatabase) {
    let line = CommandLine::on(database).await;
    let row = PARTNERS.lines().nth(1).unwrap();
    #[rustfmt::skip]
    let table = [
        ("+8613800000000", "13800000000", "sms_number: is no number of E.164, like +8613800000000"),
        ("+8613800000000", "", "sms_number: is empty, but the channels name sms"),
        ("https://hooks.", "https://me:secret@hooks.", "webhook_url: carries a user or a password"),
        ("pay@example.com", "pay@example", "email: is no e-mail address, like pay@example.com"),
        ("sms;email", "sms;sms", "channels: sms is there twice"),
        ("宁波示例伙伴", "宁波伙伴", "name: partner partner-ningbo has another value on line 2"),
    ];
    for (from, to, expected) in table {
        let bad = format!("{PARTNERS}{}\n", row.replacen(from, to, 1));
        assert_eq!(
            refusal(&line, "partners", &bad).await,
            format!("line 3, column {expected}")
        );
    }
    assert!(all_partners(database).await.is_empty());
}

async fn merchants_and_partners_arrive_by_the_thousand(database: &TestDatabase) {
    let line = CommandLine::on(database).await;
    let many = |sample: &str, id: &str| {
        let header = sample.lines().next().unwrap();
        let of_id = |line: &&str| line.starts_with(&format!("{id},"));
        let found = sample.lines().find(of_id).unwrap();
        let row = |n| found.replace(id, &format!("{id}-{n}"));
        let rows: Vec<String> = (0..1_200).map(row).collect();
        format!("{header}\n{}\n", rows.join("\n"))
    };
    let text = many(MERCHANTS, "shop-suzhou");
    assert_eq!(import(&line, "merchants", &text).await.0, [1_200, 0, 0]);
    assert_eq!(import(&line, "merchants", &text).await.0, [0, 0, 1_200]);
    let held = text.replace("0.05,false", "0.05,true");
    assert_eq!(import(&line, "merchants", &held).await.0, [0, 1_200, 0]);

    let text = many(PARTNERS, "partner-ningbo");
    assert_eq!(import(&line, "partners", &text).await.0, [1_200, 0, 0]);
    assert_eq!(import(&line, "partners", &text).await.0, [0, 0, 1_200]);
}

#[tokio::test]
async fn the_same_merchants_twice_at_once_are_imported_once() {
    let database = TestDatabase::postgres().await;
    let line = CommandLine::on(&database).await;
    let file = line.file("merchants.csv", MERCHANTS);
    let words = format!("import --type merchants --format json {file}");
    let (one, other) = tokio::join!(line.run(&words), line.run(&words));
    for ran in [one, other] {
        // Whoever came second either found everything there, or was overtaken and says so.
        if ran.exit == Exit::Unavailable {
            assert_eq!(
                ran.stderr,
                "clearday: a merchant of the file was changed while it was being imported: import it again\n"
            );
        } else {
            assert_eq!(ran.json()["rows"], 5);
        }
    }
    assert_eq!(import(&line, "merchants", MERCHANTS).await.0, [0, 0, 5]);
    database.close().await;
}

#[test]
fn every_column_is_explained() {
    let told = include_str!("../../docs/setup-data.md");
    let columns = formats::merchants::COLUMNS.names.into_iter();
    for column in columns.chain(formats::partners::COLUMNS.names) {
        assert!(told.contains(&format!("| `{column}` |")), "{column}");
    }
}

#[tokio::test]
async fn a_header_alone_is_an_empty_file() {
    let database = TestDatabase::sqlite();
    let line = CommandLine::on(&database).await;
    let header = MERCHANTS.lines().next().unwrap();
    let words = "import --type merchants --format json -";
    assert_eq!(
        line.run_with(words, header).await.json(),
        json!({"rows": 0, "new": 0, "changed": 0, "unchanged": 0, "waiting_for_approval": []})
    );
    assert_eq!(
        refusal(&line, "partners", "").await,
        "line 1: the file is empty; a CSV begins with its header"
    );
}
