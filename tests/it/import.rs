//! What an import promises: a whole file or nothing of it, and the same file again changes nothing.
#![cfg(test)]

use chrono::TimeDelta;
use clearday::cli::exit::Exit;
use clearday::formats;
use serde_json::{Value, json};

use crate::support::bad_values::{self, csv_row};
use crate::support::command_line::CommandLine;
use crate::support::servers::TestDatabase;

const ORDERS: &str =
    "order_no,merchant_id,amount,currency,status,expires_at,group_no,channel,reference";
const RECORDS: &str = "record_no,kind,channel,channel_trade_no,merchant_id,amount,currency,fee,status,occurred_at,\
                       original_record_no,coupon_amount,coupon_funder";

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
    orders_are_imported_once
    orders_that_may_expire_get_a_job_at_their_deadline
    a_moved_deadline_is_another_job
    orders_of_a_group_are_paid_together
    one_bad_row_refuses_the_whole_file_of_orders
    orders_arrive_by_the_thousand
    records_are_imported_once
    how_a_record_went_may_change
    one_bad_row_refuses_the_whole_file_of_records
    records_arrive_by_the_thousand
    every_column_of_a_record_is_refused_by_line_and_name
    every_column_of_an_order_is_refused_by_line_and_name
}

/// Imports rows under a header and gives back `[new, changed, unchanged]`.
async fn import(line: &CommandLine, content: &str, header: &str, rows: &[&str]) -> [u64; 3] {
    let file = line.file("rows.csv", format!("{header}\n{}\n", rows.join("\n")));
    let words = format!("import --type {content} --format json {file}");
    let summary = line.run(&words).await.json();
    let counts = ["new", "changed", "unchanged"].map(|name| summary[name].as_u64().unwrap());
    assert_eq!(summary["rows"], counts.iter().sum::<u64>());
    counts
}

async fn refusal(line: &CommandLine, content: &str, header: &str, rows: &[&str]) -> String {
    let text = format!("{header}\n{}\n", rows.join("\n"));
    let words = format!("import --type {content} -");
    let said = line.run_with(&words, &text).await.refused();
    said.strip_prefix("clearday: -: ").unwrap().to_owned()
}

/// The keys and due instants of every job, the oldest first.
async fn jobs(line: &CommandLine) -> Vec<(String, String)> {
    let page = line
        .run("jobs list --limit 1000 --format json")
        .await
        .json();
    let word = |job: &Value, name: &str| job[name].as_str().unwrap().to_owned();
    let jobs = page["jobs"].as_array().unwrap().iter().rev();
    jobs.map(|job| (word(job, "idempotency_key"), word(job, "run_at")))
        .collect()
}

async fn orders_are_imported_once(database: &TestDatabase) {
    let line = CommandLine::on(database).await;
    let rows = [
        "A1,M1,12.30,CNY,open,2026-03-09T20:00:00+08:00,,sandbox,R1",
        "A1,M1,12.30,CNY,open,2026-03-09T20:00:00+08:00,,sandbox,R2",
        "A2,M1,500,JPY,in_review,2026-03-09T12:00:00Z,,,",
        "A3,M2,0.01,CNY,paid,2026-03-09T12:00:00Z,,,",
        "A4,M2,1.00,CNY,cancelled,2026-03-09T12:00:00.123456789Z,,,",
    ];
    assert_eq!(import(&line, "orders", ORDERS, &rows).await, [5, 0, 0]);
    assert_eq!(import(&line, "orders", ORDERS, &rows).await, [0, 0, 5]);

    let changes = [
        "A1,M1,12.30,CNY,in_review,2026-03-09T12:00:00Z,,sandbox,R3",
        "A2,M1,500,JPY,open,2026-03-09T12:00:00Z,,,",
        "A3,M2,0.01,CNY,open,2026-03-09T12:00:00Z,,,",
    ];
    assert_eq!(import(&line, "orders", ORDERS, &changes).await, [0, 2, 1]);
    assert_eq!(import(&line, "orders", ORDERS, &changes).await, [0, 0, 3]);
    let paid = ["A1,M1,12.30,CNY,paid,2026-03-09T12:00:00Z,,,"];
    assert_eq!(import(&line, "orders", ORDERS, &paid).await, [0, 1, 0]);
    assert_eq!(import(&line, "orders", ORDERS, &paid).await, [0, 0, 1]);
}

async fn orders_that_may_expire_get_a_job_at_their_deadline(database: &TestDatabase) {
    let line = CommandLine::on(database).await;
    let rows = [
        "A1,M1,1,CNY,open,2026-03-09T20:00:00+08:00,,,",
        "A2,M1,1,CNY,in_review,2026-03-01T00:00:00.5Z,,,",
        "A3,M1,1,CNY,paid,2026-03-09T12:00:00Z,,,",
    ];
    import(&line, "orders", ORDERS, &rows).await;
    let expected = [
        ("A1@2026-03-09T12:00:00Z", "2026-03-09T12:00:00Z"),
        ("A2@2026-03-01T00:00:00.500Z", "2026-03-01T00:00:00.500Z"),
    ];
    assert_eq!(
        jobs(&line).await,
        expected.map(|(key, at)| (key.to_owned(), at.to_owned()))
    );
    let shown = line.run("jobs list --format json").await.json();
    assert_eq!(shown["jobs"][0]["source"], "import");
    assert_eq!(shown["jobs"][0]["partition"], "M1");

    import(&line, "orders", ORDERS, &rows).await;
    assert_eq!(jobs(&line).await.len(), 2);
}

async fn a_moved_deadline_is_another_job(database: &TestDatabase) {
    let line = CommandLine::on(database).await;
    let at = |instant: &str| format!("A1,M1,1,CNY,open,{instant},,,");
    import(&line, "orders", ORDERS, &[&at("2026-03-09T12:00:00Z")]).await;
    line.clock.advance(TimeDelta::seconds(1));
    let moved = import(&line, "orders", ORDERS, &[&at("2026-03-10T12:00:00Z")]).await;
    assert_eq!(moved, [0, 1, 0]);
    let keys: Vec<String> = jobs(&line).await.into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys, ["A1@2026-03-09T12:00:00Z", "A1@2026-03-10T12:00:00Z"]);
    // Back again: the first job still waits.
    let moved = import(&line, "orders", ORDERS, &[&at("2026-03-09T12:00:00Z")]).await;
    assert_eq!(moved, [0, 1, 0]);
    assert_eq!(jobs(&line).await.len(), 2);
}

async fn orders_of_a_group_are_paid_together(database: &TestDatabase) {
    let line = CommandLine::on(database).await;
    let row = |order: &str, status: &str, reference: &str| {
        format!("{order},M1,1,CNY,{status},2026-03-09T12:00:00Z,G1,sandbox,{reference}")
    };
    let file = [row("A1", "open", "R1"), row("A2", "open", "R2")];
    let file = file.each_ref().map(String::as_str);
    assert_eq!(import(&line, "orders", ORDERS, &file).await, [2, 0, 0]);

    let joins = refusal(&line, "orders", ORDERS, &[&row("A3", "open", "R1")]).await;
    assert_eq!(
        joins,
        "line 2, column group_no: a reference was issued for group G1 already; no order can join it"
    );
    let other = row("B1", "open", "R1").replace("G1", "G2");
    assert_eq!(
        refusal(&line, "orders", ORDERS, &[&other]).await,
        "line 2, column reference: R1 at sandbox belongs to group G1"
    );
    let cancelled = row("A2", "cancelled", "R2");
    assert_eq!(
        import(&line, "orders", ORDERS, &[&cancelled]).await,
        [0, 1, 0]
    );
    assert_eq!(
        refusal(&line, "orders", ORDERS, &[&row("A1", "open", "R3")]).await,
        "line 2, column reference: R3 cannot be paid: order A2 is cancelled"
    );
}

async fn one_bad_row_refuses_the_whole_file_of_orders(database: &TestDatabase) {
    let line = CommandLine::on(database).await;
    let known = "A1,M1,12.30,CNY,open,2026-03-09T12:00:00Z,,,";
    import(&line, "orders", ORDERS, &[known]).await;
    let new = "B1,M1,12.30,CNY,open,2026-03-09T12:00:00Z,,sandbox,R1";
    #[rustfmt::skip]
    let table = [
        (known.replace("12.30", "12.31"), "line 3, column amount: order A1 has 12.30, and that never changes"),
        (known.replace("CNY", "USD"), "line 3, column currency: order A1 has CNY, and that never changes"),
        (known.replace("M1", "M2"), "line 3, column merchant_id: order A1 has M1, and that never changes"),
        (known.replace(",,,", ",G1,,"), "line 3, column group_no: order A1 has A1, and that never changes"),
        (new.replace("open", "paid"), "line 3, column status: order B1 has another value on line 2"),
        (new.replace("B1", "B2"), "line 3, column reference: R1 at sandbox belongs to group B1"),
        (known.replace("open", "expired"), "line 3, column status: is not one of open, in_review, paid, cancelled"),
        (known.replace("12.30", "-1"), "line 3, column amount: -1.00 CNY is negative"),
        (known.replace("12:00:00Z", "12:00"), "line 3, column expires_at: is not RFC 3339 with a zone, like 2026-03-02T18:30:00+08:00"),
        ("A1,M1".to_owned(), "line 3: 2 values where the header has 9"),
    ];
    for (row, expected) in table {
        assert_eq!(
            refusal(&line, "orders", ORDERS, &[new, &row]).await,
            expected
        );
    }
    let latin = [ORDERS.as_bytes(), b"\n\xe9,M1\n"].concat();
    let file = line.file("latin.csv", latin);
    let said = line
        .run(&format!("import --type orders {file}"))
        .await
        .refused();
    assert!(
        said.starts_with(&format!("clearday: {file}: line 2")),
        "{said}"
    );

    // Nothing of all these files is left.
    assert_eq!(jobs(&line).await.len(), 1);
    assert_eq!(import(&line, "orders", ORDERS, &[new]).await, [1, 0, 0]);
}

async fn orders_arrive_by_the_thousand(database: &TestDatabase) {
    let line = CommandLine::on(database).await;
    let row = |n: u32, group: u32| {
        format!("A{n},M1,1,CNY,open,2026-03-09T12:00:00Z,G{group},sandbox,R{n}")
    };
    // Four hundred groups, whose members are far apart in the file.
    let rows: Vec<String> = (0..1_200).map(|n| row(n, n % 400)).collect();
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    assert_eq!(import(&line, "orders", ORDERS, &rows).await, [1_200, 0, 0]);
    assert_eq!(import(&line, "orders", ORDERS, &rows).await, [0, 0, 1_200]);
    let status = line.run("status --format json").await.json();
    assert_eq!(status["kinds"][1]["waiting"], 1_200);
}

async fn records_are_imported_once(database: &TestDatabase) {
    let line = CommandLine::on(database).await;
    let rows = [
        "P1,payment,wechat_pay,T1,M1,12.30,CNY,0.07,succeeded,2026-03-02T09:00:00.123456789+08:00,,2.00,channel",
        "P1,refund,wechat_pay,,M1,12.30,CNY,-0.07,pending,2026-03-02T10:00:00+08:00,P1,,",
        "P2,payment,alipay,,M1,500,JPY,,failed,2026-03-02T10:00:00Z,,,",
        // The same line once more says nothing new.
        "P2,payment,alipay,,M1,500,JPY,,failed,2026-03-02T18:00:00+08:00,,,",
    ];
    assert_eq!(import(&line, "records", RECORDS, &rows).await, [3, 0, 1]);
    assert_eq!(import(&line, "records", RECORDS, &rows).await, [0, 0, 4]);

    let json = r#"{"record_no":"P2","kind":"payment","channel":"alipay","merchant_id":"M1","amount":"500","currency":"JPY","status":"failed","occurred_at":"2026-03-02T10:00:00Z"}"#;
    let same = line.run_with("import --type records -", json).await.fine();
    assert_eq!(same, "1 rows: 0 new, 0 changed, 1 unchanged\n");
}

async fn how_a_record_went_may_change(database: &TestDatabase) {
    let line = CommandLine::on(database).await;
    let pending = "P1,payment,wechat_pay,,M1,12.30,CNY,0,pending,2026-03-02T09:00:00Z,,,";
    let succeeded = "P1,payment,wechat_pay,T1,M1,12.30,CNY,0.07,succeeded,2026-03-02T09:05:00Z,,,";
    let new = "P2,payment,wechat_pay,,M1,1,CNY,0,pending,2026-03-02T09:00:00Z,,,";
    import(&line, "records", RECORDS, &[pending]).await;
    let mixed = [new, succeeded];
    assert_eq!(import(&line, "records", RECORDS, &mixed).await, [1, 1, 0]);
    assert_eq!(import(&line, "records", RECORDS, &mixed).await, [0, 0, 2]);
}

async fn one_bad_row_refuses_the_whole_file_of_records(database: &TestDatabase) {
    let line = CommandLine::on(database).await;
    let known = "P1,payment,wechat_pay,T1,M1,12.30,CNY,0.07,succeeded,2026-03-02T09:00:00Z,,,";
    import(&line, "records", RECORDS, &[known]).await;
    let new = "P2,payment,wechat_pay,T2,M1,1,CNY,0,succeeded,2026-03-02T09:00:00Z,,,";
    let never = "payment P1 has another one, and that never changes";
    #[rustfmt::skip]
    let table = [
        (known.replace("12.30", "12.31"), format!("line 3, column amount: {never}")),
        (known.replace("CNY", "USD"), format!("line 3, column currency: {never}")),
        (known.replace("M1", "M2"), format!("line 3, column merchant_id: {never}")),
        (known.replace("wechat_pay", "alipay"), format!("line 3, column channel: {never}")),
        (known.replace(",,,", ",P0,,"), format!("line 3, column original_record_no: {never}")),
        (known.replace("09:00", "10:00"), "line 3, column occurred_at: payment P1 has another one, and the same status".to_owned()),
        (new.replace("T2", "T3"), "line 3, column record_no: payment P2 is on line 2 with other values".to_owned()),
        (known.replace("0.07", "0.071"), "line 3, column fee: \"0.071\" is finer than the minor unit of CNY (2 decimal places)".to_owned()),
    ];
    for (row, expected) in table {
        assert_eq!(
            refusal(&line, "records", RECORDS, &[new, &row]).await,
            expected
        );
    }
    assert_eq!(
        import(&line, "records", RECORDS, &[known, new]).await,
        [1, 0, 1]
    );
}

async fn records_arrive_by_the_thousand(database: &TestDatabase) {
    let line = CommandLine::on(database).await;
    let record = |n: u32, fee: &str| {
        format!("P{n},payment,wechat_pay,T{n},M1,1,CNY,{fee},succeeded,2026-03-02T09:00:00Z,,,")
    };
    let rows: Vec<String> = (0..2_500).map(|n| record(n, "0")).collect();
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    assert_eq!(
        import(&line, "records", RECORDS, &rows).await,
        [2_500, 0, 0]
    );
    let changed: Vec<String> = (2_000..4_000).map(|n| record(n, "0.01")).collect();
    let changed: Vec<&str> = changed.iter().map(String::as_str).collect();
    assert_eq!(
        import(&line, "records", RECORDS, &changed).await,
        [1_500, 500, 0]
    );
}

async fn every_column_of_a_record_is_refused_by_line_and_name(database: &TestDatabase) {
    bad_values::RECORDS.assert_covers(&formats::records::COLUMNS.names);
    every_bad_value_is_refused(database, "records", &bad_values::RECORDS, "record_no").await;
}

async fn every_column_of_an_order_is_refused_by_line_and_name(database: &TestDatabase) {
    bad_values::ORDERS.assert_covers(&formats::orders::COLUMNS.names);
    every_bad_value_is_refused(database, "orders", &bad_values::ORDERS, "order_no").await;
    // The two orders of the last, good file.
    let line = CommandLine::on(database).await;
    assert_eq!(jobs(&line).await.len(), 2);
}

/// As CSV and as JSON lines, each with a good row before it and one behind it: neither is kept.
async fn every_bad_value_is_refused(
    database: &TestDatabase,
    content: &str,
    table: &bad_values::Table,
    number: &str,
) {
    let line = CommandLine::on(database).await;
    for (column, value, reason) in table.bad {
        let rows = [
            table.with(number, "before"),
            table.with(column, value),
            table.with(number, "behind"),
        ];
        let rows_of = |row: fn(&[(&'static str, String)]) -> String| {
            rows.each_ref().map(|cells| row(cells)).join("\n")
        };
        let csv = format!("{}\n{}\n", table.header(), rows_of(csv_row));
        for (text, at) in [(csv, 3), (rows_of(bad_values::json_row), 2)] {
            let words = format!("import --type {content} -");
            let said = line.run_with(&words, &text).await.refused();
            assert_eq!(
                said,
                format!("clearday: -: line {at}, column {column}: {reason}")
            );
        }
    }
    // Nothing of all these files is left.
    let good = ["before", "behind"].map(|name| csv_row(&table.with(number, name)));
    let good = good.each_ref().map(String::as_str);
    assert_eq!(
        import(&line, content, &table.header(), &good).await,
        [2, 0, 0]
    );
}

#[tokio::test]
async fn the_same_file_twice_at_once_is_imported_once() {
    let database = TestDatabase::postgres().await;
    let line = CommandLine::on(&database).await;
    let row = |n: u32| format!("A{n},M1,1,CNY,open,2026-03-09T12:00:00Z,,sandbox,R{n}");
    let rows: Vec<String> = (0..50).map(row).collect();
    let file = line.file("orders.csv", format!("{ORDERS}\n{}\n", rows.join("\n")));
    let words = format!("import --type orders --format json {file}");
    let (one, other) = tokio::join!(line.run(&words), line.run(&words));
    for ran in [one, other] {
        // Whoever came second either found everything there, or was overtaken and says so.
        if ran.exit == Exit::Unavailable {
            assert_eq!(
                ran.stderr,
                "clearday: an order of the file was changed while it was being imported: import it again\n"
            );
        } else {
            assert_eq!(ran.json()["rows"], 50);
        }
    }
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    assert_eq!(import(&line, "orders", ORDERS, &rows).await, [0, 0, 50]);
    assert_eq!(jobs(&line).await.len(), 50);
    database.close().await;
}

/// Two files that tell of the same records in different orders, known and new ones mixed.
#[tokio::test]
async fn files_of_the_same_records_at_once_wait_for_each_other() {
    let database = TestDatabase::postgres().await;
    let line = CommandLine::on(&database).await;
    let record = |n: u32, fee: u32| {
        format!("P{n:05},payment,wechat_pay,,M1,1,CNY,0.0{fee},succeeded,2026-03-02T09:00:00Z,,,")
    };
    let known: Vec<String> = (0..4_500).step_by(3).map(|n| record(n, 0)).collect();
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    import(&line, "records", RECORDS, &known).await;
    let import_of = |fee: u32, numbers: &mut dyn Iterator<Item = u32>| {
        let rows: Vec<String> = numbers.map(|n| record(n, fee)).collect();
        let text = format!("{RECORDS}\n{}\n", rows.join("\n"));
        let file = line.file(&format!("{fee}.csv"), text);
        format!("import --type records --format json {file}")
    };
    let (forwards, backwards) = (
        import_of(1, &mut (0..4_000)),
        import_of(2, &mut (500..4_500).rev()),
    );
    let (one, other) = tokio::join!(line.run(&forwards), line.run(&backwards));
    let (one, other) = (one.json(), other.json());
    let new = |summary: &Value| summary["new"].as_u64().unwrap();
    assert_eq!(new(&one) + new(&other), 3_000);
    assert_eq!(
        (&one["rows"], &other["rows"]),
        (&json!(4_000), &json!(4_000))
    );
    database.close().await;
}

#[tokio::test]
async fn a_file_that_is_not_there_is_refused() {
    let database = TestDatabase::sqlite();
    let line = CommandLine::on(&database).await;
    let missing = line.run("import --type orders no/such.csv").await;
    assert_eq!(
        missing.refused(),
        "clearday: no/such.csv: No such file or directory (os error 2)"
    );
    let empty = line.run("import --type records -").await;
    assert_eq!(
        empty.refused(),
        "clearday: -: line 1: the file is empty; a CSV begins with its header"
    );
    let header = line
        .run_with("import --type orders --format json -", ORDERS)
        .await;
    assert_eq!(header.exit, Exit::Fine);
    assert_eq!(
        header.json(),
        json!({"rows": 0, "new": 0, "changed": 0, "unchanged": 0})
    );
}
