//! Which days and kinds the given bills speak about, and what several of them say together.
#![cfg(test)]

use std::io::Write;
use std::slice::from_ref;

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::json;

use super::{Bench, records_of, short};
use crate::bills::{Record, Row, all_bill, payment, refund};

#[test]
fn records_that_need_no_line_are_counted_and_no_break() {
    let bench = Bench::new("not_expected");
    let row = payment("A1", 1200, 7);
    let like = |number: &str| payment(number, 900, 5).record();
    let records = [
        row.record(),
        Record {
            status: "failed",
            ..like("B1")
        },
        Record {
            status: "closed",
            ..like("B2")
        },
        Record {
            channel: "alipay",
            ..like("B3")
        },
        // The very same number at another channel is another payment.
        Record {
            channel: "alipay",
            ..row.record()
        },
        Record {
            occurred_at: "2026-03-01T23:59:59+08:00".into(),
            ..like("B4")
        },
        Record {
            occurred_at: "2026-03-02T16:00:00Z".into(),
            ..like("B5")
        },
    ];
    let (told, breaks) = bench.reconcile(&[row], &records);
    assert_eq!(breaks, Vec::<String>::new());
    assert_eq!(told["not_expected"], 6);
    let reasons = json!({"no_money_moved": 2, "other_channel": 2, "day_not_covered": 2});
    assert_eq!(told["not_expected_by_reason"], reasons);
}

#[test]
fn days_are_those_of_china() {
    let bench = Bench::new("days_of_china");
    let row = payment("A1", 1200, 7);
    let at = |number: &str, instant: &str| Record {
        occurred_at: instant.into(),
        ..payment(number, 900, 5).record()
    };
    let records = [
        row.record(),
        at("B1", "2026-03-01T16:00:00Z"),
        at("B2", "2026-03-02T15:59:59Z"),
        at("B3", "2026-03-01T08:00:00-08:00"),
    ];
    let (told, breaks) = bench.reconcile(&[row], &records);
    assert_eq!(
        breaks,
        [
            "missing_theirs B1 -9.00",
            "missing_theirs B2 -9.00",
            "missing_theirs B3 -9.00"
        ]
    );
    assert_eq!(told["not_expected"], 0);
    assert!(
        bench.breaks()[0].contains(",2026-03-01T16:00:00Z,"),
        "the zone stays as we told it"
    );
}

#[test]
fn a_pending_payment_without_a_line_waits() {
    let bench = Bench::new("pending_payment");
    let row = payment("A1", 1200, 7);
    let pending = Record {
        status: "pending",
        ..payment("B1", 900, 5).record()
    };
    let (told, breaks) = bench.reconcile(from_ref(&row), &[row.record(), pending]);
    assert_eq!(breaks, Vec::<String>::new());
    assert_eq!(
        told["suspended_by_rule"],
        json!({"pending_without_line": 1})
    );
}

/// The SUCCESS bill of these payments, from the ALL bill by its columns.
fn success_bill(rows: &[Row]) -> String {
    let left_out = [14, 15, 16, 17, 18, 19, 25];
    let keep = |line: &str| {
        let (start, separator) = if line.starts_with('`') {
            ("`", ",`")
        } else {
            ("", ",")
        };
        let cells = line.trim_start_matches('`').split(separator).enumerate();
        let kept: Vec<&str> = cells
            .filter(|(place, _)| !left_out.contains(place))
            .map(|(_, cell)| cell)
            .collect();
        format!("{start}{}", kept.join(separator))
    };
    let bill = all_bill(rows);
    let body = bill.trim_start_matches('\u{feff}').lines();
    let details = rows.len() + 1;
    body.enumerate()
        .map(|(place, line)| {
            if place < details {
                keep(line)
            } else {
                line.to_owned()
            }
        })
        .map(|line| line + "\n")
        .collect()
}

#[test]
fn a_bill_of_payments_says_nothing_about_refunds() {
    let bench = Bench::new("success_only");
    let rows = [payment("A1", 1200, 7)];
    let bill = bench.write("success.csv", success_bill(&rows));
    let records = [
        rows[0].record(),
        refund("B1", 300, 2).record(),
        payment("B2", 100, 0).record(),
    ];
    let ran = bench.run(&[&bill], &records, &[]);
    assert_eq!(short(&bench.breaks()), ["missing_theirs B2 -1.00"]);
    assert_eq!(
        ran.json()["not_expected_by_reason"],
        json!({"kind_not_covered": 1})
    );
}

#[test]
fn all_and_success_of_one_day_are_not_added() {
    let bench = Bench::new("all_and_success");
    let payments = [
        payment("A1", 1200, 7),
        payment("A1", 1200, 7),
        payment("A2", 500, 3),
    ];
    let all = bench.write(
        "all.csv",
        all_bill(&[&payments[..], &[refund("A2", 500, 3)]].concat()),
    );
    let success = bench.write("success.csv", success_bill(&payments));
    let records = [
        payments[0].record(),
        payments[2].record(),
        refund("A2", 500, 3).record(),
    ];
    for statements in [[all.as_str(), &success], [&success, &all]] {
        let ran = bench.run(&statements, &records, &[]);
        // The same key twice in one bill stays a duplicate.
        assert_eq!(short(&bench.breaks()), ["duplicate_theirs A1 12.00"]);
        let told = ran.json();
        assert_eq!(
            (&told["statement_lines"], &told["repeated_lines"]),
            (&json!(4), &json!(3))
        );
        assert_eq!(told["complete"], true);
    }
}

#[test]
fn a_later_bill_settles_what_an_earlier_one_left_open() {
    let bench = Bench::new("later_bill");
    let open = Row {
        refund_state: "PROCESSING",
        ..refund("A1", 300, 2)
    };
    let settled = refund("A1", 300, 2);
    let early = bench.write("early.csv", all_bill(&[open, payment("A2", 100, 0)]));
    let late = bench.write(
        "late.csv",
        all_bill(&[settled.clone(), payment("A2", 100, 0)]),
    );
    let records = [settled.record(), payment("A2", 100, 0).record()];
    let told = bench.run(&[&early, &late], &records, &[]).json();
    assert_eq!(
        (&told["matched"], &told["suspended"]),
        (&json!(2), &json!(0))
    );
}

#[test]
fn the_same_file_twice_counts_once() {
    let bench = Bench::new("same_file_twice");
    let rows = [payment("A1", 1200, 7), payment("A1", 1200, 7)];
    let bill = all_bill(&rows);
    let plain = bench.write("bill.csv", &bill);
    let mut encoder = GzEncoder::new(Vec::new(), Compression::default());
    encoder.write_all(bill.as_bytes()).unwrap();
    let packed = bench.write("bill.csv.gz", encoder.finish().unwrap());

    let told = bench
        .run(&[&plain, &packed], &records_of(&rows), &[])
        .json();
    assert_eq!(
        (&told["statement_lines"], &told["matched"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(
        told["duplicate_files"],
        json!([{"file": packed, "same_as": plain}])
    );
    assert!(told.get("repeated_lines").is_none());
}

#[test]
fn two_days_cover_both_and_not_the_day_between() {
    let bench = Bench::new("two_days");
    let on = |number: &str, day: &str| Row {
        time: format!("{day} 12:00:00"),
        ..payment(number, 100, 0)
    };
    let rows = [on("A1", "2026-03-02"), on("A2", "2026-03-04")];
    let first = bench.write("first.csv", all_bill(&rows[..1]));
    let second = bench.write("second.csv", all_bill(&rows[1..]));
    let records = [
        rows[0].record(),
        rows[1].record(),
        on("B1", "2026-03-02").record(),
        on("B2", "2026-03-03").record(),
        on("B3", "2026-03-04").record(),
    ];
    let ran = bench.run(&[&first, &second], &records, &[]);
    assert_eq!(
        short(&bench.breaks()),
        ["missing_theirs B1 -1.00", "missing_theirs B3 -1.00"]
    );
    assert_eq!(ran.json()["not_expected"], 1);
    // One bill over several days covers all of them.
    let whole = bench.write("whole.csv", all_bill(&rows));
    bench.run(&[&whole], &records, &[]);
    assert_eq!(bench.breaks().len(), 3);
}
