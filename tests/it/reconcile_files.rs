//! `reconcile` on plain files: every deliberate break is found, and nothing else.
#![cfg(test)]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::slice::from_ref;

use clearday::cli::exit::Exit;
use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::{Value, json};

use crate::bills::{
    ALL_HEADER, Ran, Record, Row, all_bill, folder, payment, real_bills, records_csv, refund,
    reversal, run_reconcile,
};

const BREAKS_HEADER: &str = "break,kind,record_no,channel_trade_no,currency,our_amount,channel_amount,our_status,\
    channel_status,our_fee,channel_fee,occurred_at,at_risk";

/// A folder with statements and records in it, and what a run made of them.
struct Bench {
    folder: PathBuf,
}

impl Bench {
    fn new(test: &str) -> Self {
        Self {
            folder: folder(test),
        }
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.folder.join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn run(&self, statements: &[&str], records: &[Record], further: &[&str]) -> Ran {
        let records = self.write("records.csv", records_csv(records));
        self.run_files(statements, &records, further)
    }

    fn run_files(&self, statements: &[&str], records: &str, further: &[&str]) -> Ran {
        let out = self.folder.join("out");
        let mut words = vec![
            "--records",
            records,
            "--out",
            out.to_str().unwrap(),
            "--statement",
        ];
        words.extend(statements);
        words.extend(further);
        run_reconcile(&words)
    }

    /// The rows of `breaks.csv`, without its header.
    fn breaks(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.join("out/breaks.csv")).unwrap();
        let mut lines = text.lines().map(str::to_owned);
        assert_eq!(lines.next().as_deref(), Some(BREAKS_HEADER));
        lines.collect()
    }

    /// Runs one ALL bill against records; gives back the counts, and each break as `name record_no at_risk`.
    fn reconcile(&self, rows: &[Row], records: &[Record]) -> (Value, Vec<String>) {
        let bill = self.write("bill.csv", all_bill(rows));
        let ran = self.run(&[&bill], records, &[]);
        let breaks = short(&self.breaks());
        let told = ran.json();
        assert_eq!(told["complete"], true);
        assert_eq!(
            ran.exit,
            if breaks.is_empty() {
                Exit::Fine
            } else {
                Exit::Finding
            }
        );
        (told, breaks)
    }
}

/// Each break as `name record_no at_risk`.
fn short(breaks: &[String]) -> Vec<String> {
    let cells = breaks.iter().map(|row| row.split(',').collect::<Vec<_>>());
    cells
        .map(|cells| format!("{} {} {}", cells[0], cells[2], cells[12]))
        .collect()
}

fn records_of(rows: &[Row]) -> Vec<Record> {
    rows.iter().map(Row::record).collect()
}

#[test]
fn books_that_agree_end_with_nothing_to_tell() {
    let bench = Bench::new("books_that_agree");
    let rows = [
        payment("A1", 1200, 7),
        payment("A2", 500, 3),
        refund("A1", 1200, 7),
    ];
    let (told, breaks) = bench.reconcile(&rows, &records_of(&rows));
    let expected = json!({
        "statement_lines": 3, "record_lines": 3, "matched": 3, "mismatched": 0, "suspended": 0, "not_expected": 0,
        "breaks": {
            "missing_ours": 0, "missing_theirs": 0, "amount_mismatch": 0, "fee_mismatch": 0, "status_mismatch": 0,
            "currency_mismatch": 0, "duplicate_ours": 0, "duplicate_theirs": 0,
        },
        "complete": true,
    });
    assert_eq!(told, expected);
    assert!(breaks.is_empty());
}

#[test]
fn every_kind_of_break_is_one_row_and_says_what_it_is_worth() {
    let bench = Bench::new("every_kind_of_break");
    let payments: Vec<Row> = (1..=9)
        .map(|n| payment(&format!("A{n}"), 1200, 7))
        .collect();
    let refunds: Vec<Row> = (1..=5).map(|n| refund(&format!("B{n}"), 300, 2)).collect();
    let mut records = records_of(&[payments.clone(), refunds.clone()].concat());
    let mut rows = [payments, refunds].concat();

    records.remove(0); // A1: missing_ours
    let at = |records: &[Record], number: &str| {
        records
            .iter()
            .position(|record| record.record_no == number)
            .unwrap()
    };
    let place = at(&records, "A2");
    records[place].amount = "11.00".into();
    let place = at(&records, "A3");
    records[place].fee = "0.09".into();
    let place = at(&records, "A4");
    records[place].status = "failed";
    let place = at(&records, "A5");
    records[place].currency = "USD";
    let place = at(&records, "A6");
    records.push(records[place].clone());
    rows.push(rows[6].clone()); // A7: duplicate_theirs
    let mut ghost = payment("Z1", 900, 5).record();
    ghost.occurred_at = "2026-03-02T23:30:00+08:00".into();
    records.push(ghost);

    let place = at(&records, "RB1");
    records.remove(place);
    let place = at(&records, "RB2");
    records[place].amount = "4.00".into();
    let place = at(&records, "RB3");
    records[place].fee = "0.00".into();
    let place = at(&records, "RB4");
    records[place].status = "pending";
    records.push(refund("Z2", 800, 0).record());
    rows.push(refund("B5", 300, 2));

    let (told, _) = bench.reconcile(&rows, &records);
    let noon = "2026-03-02T12:00:00+08:00";
    let expected = [
        format!("missing_ours,payment,A1,42A1,CNY,,12.00,,succeeded,,0.07,{noon},12.00"),
        format!("missing_ours,refund,RB1,50B1,CNY,,3.00,,succeeded,,-0.02,{noon},-3.00"),
        "missing_theirs,payment,Z1,42Z1,CNY,9.00,,succeeded,,0.05,,2026-03-02T23:30:00+08:00,-9.00"
            .into(),
        format!("missing_theirs,refund,RZ2,50Z2,CNY,8.00,,succeeded,,0.00,,{noon},8.00"),
        format!(
            "amount_mismatch,payment,A2,42A2,CNY,11.00,12.00,succeeded,succeeded,0.07,0.07,{noon},1.00"
        ),
        format!(
            "amount_mismatch,refund,RB2,50B2,CNY,4.00,3.00,succeeded,succeeded,-0.02,-0.02,{noon},1.00"
        ),
        format!(
            "fee_mismatch,payment,A3,42A3,CNY,12.00,12.00,succeeded,succeeded,0.09,0.07,{noon},0.02"
        ),
        format!(
            "fee_mismatch,refund,RB3,50B3,CNY,3.00,3.00,succeeded,succeeded,0.00,-0.02,{noon},0.02"
        ),
        format!(
            "status_mismatch,payment,A4,42A4,CNY,12.00,12.00,failed,succeeded,0.07,0.07,{noon},12.00"
        ),
        format!(
            "status_mismatch,refund,RB4,50B4,CNY,3.00,3.00,pending,succeeded,-0.02,-0.02,{noon},-3.00"
        ),
        format!(
            "currency_mismatch,payment,A5,42A5,CNY,12.00,12.00,succeeded,succeeded,0.07,0.07,{noon},12.00"
        ),
        format!("duplicate_ours,payment,A6,42A6,CNY,12.00,,succeeded,,0.07,,{noon},-12.00"),
        format!("duplicate_theirs,payment,A7,42A7,CNY,,12.00,,succeeded,,0.07,{noon},12.00"),
        format!("duplicate_theirs,refund,RB5,50B5,CNY,,3.00,,succeeded,,-0.02,{noon},-3.00"),
    ];
    assert_eq!(bench.breaks(), expected);
    assert_eq!(told["statement_lines"], 16);
    assert_eq!(told["record_lines"], 15);
    assert_eq!(
        (&told["matched"], &told["mismatched"]),
        (&json!(5), &json!(7))
    );
}

#[test]
fn a_pair_that_differs_twice_has_two_rows_and_counts_its_cash_once() {
    let bench = Bench::new("differs_twice");
    let rows = [
        payment("A1", 1200, 7),
        payment("A2", 1200, 7),
        payment("A3", 1200, 7),
    ];
    let mut records = records_of(&rows);
    records[0].amount = "10.00".into();
    records[0].fee = "0.05".into();
    records[1].amount = "10.00".into();
    records[1].status = "closed";
    records[2].amount = "1200".into();
    records[2].currency = "JPY";
    records[2].fee = "0".into();
    records[2].status = "pending";
    let (told, breaks) = bench.reconcile(&rows, &records);
    let expected = [
        "amount_mismatch A1 2.00",
        "amount_mismatch A2 0.00",
        "fee_mismatch A1 -0.02",
        "status_mismatch A2 12.00",
        "status_mismatch A3 0.00",
        "currency_mismatch A3 12.00",
    ];
    assert_eq!(breaks, expected);
    assert_eq!(told["mismatched"], 3);
}

#[test]
fn a_fee_finer_than_the_minor_unit_is_compared_unrounded() {
    let bench = Bench::new("fine_fee");
    let bill = all_bill(&[payment("A1", 1200, 7)]).replace("`0.07000", "`0.07400");
    let statement = bench.write("bill.csv", bill);
    let ran = bench.run(&[&statement], &[payment("A1", 1200, 7).record()], &[]);
    assert_eq!(ran.exit, Exit::Finding);
    assert_eq!(
        bench.breaks(),
        [concat!(
            "fee_mismatch,payment,A1,42A1,CNY,12.00,12.00,succeeded,succeeded,0.07,0.074,",
            "2026-03-02T12:00:00+08:00,0.00"
        )]
    );
}

#[test]
fn n_of_ours_against_m_of_theirs_pair_as_many_as_there_are_of_both() {
    let bench = Bench::new("n_against_m");
    let row = payment("A1", 1200, 7);
    for (ours, theirs) in [(1, 3), (3, 1), (3, 2), (2, 3), (0, 2), (2, 0), (2, 2)] {
        let rows = vec![row.clone(); theirs];
        let other = payment("A2", 100, 0);
        let rows = [rows, vec![other.clone()]].concat();
        let records = [vec![row.record(); ours], vec![other.record()]].concat();
        let (told, _) = bench.reconcile(&rows, &records);
        let pairs = ours.min(theirs);
        let missing = |here: usize, there: usize| usize::from(there == 0 && here > 0);
        let extra = |here: usize, there: usize| here - pairs - missing(here, there);
        assert_eq!(told["matched"], pairs + 1, "{ours} against {theirs}");
        assert_eq!(
            told["breaks"]["duplicate_ours"],
            extra(ours, theirs),
            "{ours} against {theirs}"
        );
        assert_eq!(
            told["breaks"]["duplicate_theirs"],
            extra(theirs, ours),
            "{ours} against {theirs}"
        );
        assert_eq!(
            told["breaks"]["missing_ours"],
            missing(theirs, ours),
            "{ours} against {theirs}"
        );
        assert_eq!(
            told["breaks"]["missing_theirs"],
            missing(ours, theirs),
            "{ours} against {theirs}"
        );
    }
}

#[test]
fn of_several_records_under_one_number_the_likest_is_paired() {
    let bench = Bench::new("the_likest");
    let row = payment("A1", 1200, 7);
    let mut failed_try = row.record();
    failed_try.status = "failed";
    let mut too_much = row.record();
    too_much.amount = "13.00".into();
    let (told, breaks) = bench.reconcile(from_ref(&row), &[failed_try, too_much, row.record()]);
    assert_eq!(breaks, ["duplicate_ours A1 -13.00"]);
    assert_eq!(
        (&told["matched"], &told["not_expected"]),
        (&json!(1), &json!(1))
    );
}

#[test]
fn one_transaction_under_another_number_of_ours_is_the_same_fact() {
    let bench = Bench::new("another_number");
    let rows = [payment("A1", 1200, 7), payment("A2", 500, 3)];
    let mut records = records_of(&rows);
    records[0].record_no = "A1-old".into();
    assert_eq!(bench.reconcile(&rows, &records).1, Vec::<String>::new());

    let mut booked_twice = rows[1].record();
    booked_twice.record_no = "A2-again".into();
    records.push(booked_twice);
    assert_eq!(
        bench.reconcile(&rows, &records).1,
        ["duplicate_ours A2-again -5.00"]
    );
}

#[test]
fn several_refunds_of_one_payment_are_told_apart_by_their_own_numbers() {
    let bench = Bench::new("several_refunds");
    let mut rows = [
        refund("A1", 300, 2),
        refund("A1", 300, 2),
        refund("A1", 300, 2),
    ];
    for (row, n) in rows.iter_mut().zip(1..) {
        row.refund_no = format!("50A1-{n}");
        row.our_refund_no = format!("RA1-{n}");
    }
    let mut records = records_of(&rows[..2]);
    // Some books keep the payment's number beside a refund.
    for record in &mut records {
        record.channel_trade_no = "42A1".into();
    }
    assert_eq!(
        bench.reconcile(&rows, &records).1,
        ["missing_ours RA1-3 -3.00"]
    );
}

#[test]
fn a_reversal_is_no_duplicate_of_its_payment() {
    let bench = Bench::new("reversal");
    let rows = [payment("A1", 1200, 7), reversal("A1", 1200, 7)];
    let paid = rows[0].record();
    let with_status = |status| Record {
        status,
        fee: "0.00".into(),
        ..paid.clone()
    };
    let breaks = |records: &[Record]| bench.reconcile(&rows, records).1;
    let none: [&str; 0] = [];

    // Our order is closed: both rows together agree with it.
    assert_eq!(breaks(&[with_status("closed")]), none);
    assert_eq!(breaks(&[with_status("failed")]), none);
    assert_eq!(
        breaks(&[with_status("pending")]),
        ["status_mismatch A1 0.00"]
    );
    // Our order was paid, and a refund of ours stands for the reversal, under its number or under another.
    assert_eq!(breaks(&records_of(&rows)), none);
    let refunded = Record {
        record_no: "mine".into(),
        channel_trade_no: String::new(),
        original_record_no: "A1".into(),
        ..rows[1].record()
    };
    assert_eq!(breaks(&[paid.clone(), refunded]), none);
    // Our order was paid, and nobody told us of the reversal.
    assert_eq!(breaks(from_ref(&paid)), ["missing_ours VA1 -12.00"]);
    assert_eq!(
        breaks(&[]),
        ["missing_ours A1 12.00", "missing_ours VA1 -12.00"]
    );

    let (told, _) = bench.reconcile(&rows, &[with_status("closed")]);
    assert_eq!(
        (&told["matched"], &told["folded_reversals"]),
        (&json!(1), &json!(1))
    );
}

#[test]
fn a_reversal_of_yesterdays_payment_agrees_with_a_closed_order() {
    let bench = Bench::new("reversal_alone");
    let rows = [reversal("A1", 1200, 7), payment("A2", 100, 0)];
    let mut closed = payment("A1", 1200, 7).record();
    closed.status = "closed";
    closed.occurred_at = "2026-03-01T23:59:00+08:00".into();
    let (told, breaks) = bench.reconcile(&rows, &[closed, rows[1].record()]);
    assert_eq!(breaks, Vec::<String>::new());
    assert_eq!(told["matched"], 2);
}

#[test]
fn a_reversal_without_refund_numbers_is_read_from_its_payment() {
    let bench = Bench::new("reversal_without_numbers");
    let mut bare = reversal("A1", 1200, 0);
    bare.refund_no = "0".into();
    bare.our_refund_no = String::new();
    bare.refund_state = "";
    let rows = [payment("A1", 1200, 0), bare];
    let mut closed = rows[0].record();
    closed.status = "closed";
    assert_eq!(bench.reconcile(&rows, &[closed]).1, Vec::<String>::new());
    assert_eq!(
        bench.reconcile(&rows, &[rows[0].record()]).1,
        ["missing_ours A1 -12.00"]
    );
}

#[test]
fn a_refund_in_processing_waits_and_names_its_rule() {
    let bench = Bench::new("processing");
    let processing = Row {
        refund_state: "PROCESSING",
        ..refund("A1", 300, 2)
    };
    // While it is open, our books cannot know the fee that will be given back.
    let ours = |status| Record {
        status,
        fee: "0.00".into(),
        ..processing.record()
    };
    let run = |record: Record| bench.reconcile(from_ref(&processing), &[record]);

    for status in ["pending", "succeeded"] {
        let (told, breaks) = run(ours(status));
        assert_eq!(breaks, Vec::<String>::new());
        assert_eq!(told["suspended"], 1);
        assert_eq!(told["suspended_by_rule"], json!({"refund_processing": 1}));
    }
    assert_eq!(run(ours("failed")).1, ["status_mismatch RA1 0.00"]);
    let smaller = Record {
        amount: "2.00".into(),
        ..ours("pending")
    };
    assert_eq!(run(smaller).1, ["amount_mismatch RA1 0.00"]);
    assert_eq!(
        bench.reconcile(from_ref(&processing), &[]).1,
        ["missing_ours RA1 0.00"]
    );
}

#[test]
fn refunds_that_failed_or_were_closed_moved_no_money() {
    let bench = Bench::new("failed_refunds");
    for state in ["CHANGE", "REFUNDCLOSE"] {
        let row = Row {
            refund_state: state,
            ..refund("A1", 300, 2)
        };
        let ours = |status| Record {
            status,
            ..row.record()
        };
        assert_eq!(
            bench.reconcile(from_ref(&row), &[ours("failed")]).1,
            Vec::<String>::new()
        );
        assert_eq!(
            bench.reconcile(from_ref(&row), &[ours("closed")]).1,
            Vec::<String>::new()
        );
        assert_eq!(
            bench.reconcile(from_ref(&row), &[ours("succeeded")]).1,
            ["status_mismatch RA1 3.00"]
        );
    }
}

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

#[test]
fn what_is_not_whole_is_refused_and_writes_nothing() {
    let bench = Bench::new("not_whole");
    let rows = [payment("A1", 1200, 7), payment("A2", 500, 3)];
    let whole = all_bill(&rows);
    let cases = [
        (
            whole.replacen("`12.00", "`12.50", 1),
            "the trailer says settlement_amount 17.00, the rows 17.50",
        ),
        (
            whole.split("总交易单数").next().unwrap().to_owned(),
            "line 3: the file ends without its totals, so it was cut",
        ),
        (
            whole.replacen("`SUCCESS", "`PAID", 1),
            "line 2: 交易状态 is \"PAID\", not one of SUCCESS, REFUND, REVOKED",
        ),
    ];
    for (bytes, message) in cases {
        let bill = bench.write("bill.csv", bytes);
        let ran = bench.run(&[&bill], &records_of(&rows), &[]);
        assert_eq!(ran.exit, Exit::Refused);
        assert_eq!(ran.printed, format!("{bill}: {message}"));
        assert!(!bench.folder.join("out").exists());

        let ran = bench.run(
            &[&bill],
            &records_of(&rows),
            &["--accept-incomplete", &bill],
        );
        assert_eq!(ran.exit, Exit::Finding, "incomplete is a finding");
        let told = ran.json();
        assert_eq!(told["complete"], false);
        assert_eq!(
            told["accepted_incomplete"],
            json!([{"file": bill, "reason": message}])
        );
        fs::remove_dir_all(bench.folder.join("out")).unwrap();
    }
}

#[test]
fn accepting_what_was_not_given_or_needs_none_changes_nothing() {
    let bench = Bench::new("accept_other");
    let rows = [payment("A1", 1200, 7)];
    let bill = bench.write("bill.csv", all_bill(&rows));
    let ran = bench.run(
        &[&bill],
        &records_of(&rows),
        &["--accept-incomplete", "other.csv"],
    );
    assert_eq!(ran.exit, Exit::Refused);
    assert_eq!(
        ran.printed,
        "--accept-incomplete other.csv: no statement of that name is given"
    );

    let ran = bench.run(
        &[&bill],
        &records_of(&rows),
        &["--accept-incomplete", &bill],
    );
    assert_eq!(ran.exit, Exit::Fine);
    assert!(ran.json().get("accepted_incomplete").is_none());
}

#[test]
fn an_incomplete_bill_is_accepted_as_far_as_it_goes() {
    let Some(bills) = real_bills() else { return };
    let bench = Bench::new("real_incomplete");
    let bill = bills.join("bill.ALL.wxjava.csv");
    let bill = bill.to_str().unwrap();
    assert_eq!(bench.run(&[bill], &[], &[]).exit, Exit::Refused);
    let told = bench
        .run(&[bill], &[], &["--accept-incomplete", bill])
        .json();
    assert_eq!(
        (&told["statement_lines"], &told["complete"]),
        (&json!(1), &json!(false))
    );
    assert_eq!(short(&bench.breaks()), ["missing_ours XXXXXXXXXX 6.00"]);
}

#[test]
fn other_inputs_are_refused_by_file_line_and_column() {
    let bench = Bench::new("other_inputs");
    let rows = [payment("A1", 1200, 7)];
    let bill = bench.write("bill.csv", all_bill(&rows));
    let records = bench.write(
        "records.csv",
        records_csv(&records_of(&rows)).replace("12.00", "12.005"),
    );
    let ran = bench.run_files(&[&bill], &records, &[]);
    assert_eq!(ran.exit, Exit::Refused);
    let reason = "\"12.005\" is finer than the minor unit of CNY (2 decimal places)";
    assert_eq!(
        ran.printed,
        format!("{records}: line 2, column amount: {reason}")
    );

    let ran = bench.run_files(&[&records], &records, &[]);
    assert_eq!(ran.exit, Exit::Refused);
    assert!(
        ran.printed
            .ends_with("line 1: not a merchant bill of WeChat Pay; it looks like records of ours")
    );

    let ran = bench.run_files(&[&bill], "no-such-file.csv", &[]);
    assert_eq!(ran.exit, Exit::Refused);
    assert!(ran.printed.starts_with("no-such-file.csv: "));

    let blocked = bench.write("out", "a file where the folder must be");
    let ran = bench.run(&[&bill], &records_of(&rows), &[]);
    assert_eq!(ran.exit, Exit::Refused);
    assert!(ran.printed.starts_with(&blocked));
    assert!(!bench.folder.join("out/breaks.csv.partial").exists());
}

#[test]
fn a_fund_flow_is_no_list_of_orders() {
    let Some(bills) = real_bills() else { return };
    let bench = Bench::new("fund_flow");
    let flow = bills.join("fundflow.BASIC.2021-02-01.gunsluo0.csv");
    let ran = bench.run(
        &[flow.to_str().unwrap()],
        &[],
        &["--accept-incomplete", flow.to_str().unwrap()],
    );
    assert_eq!(ran.exit, Exit::Refused);
    assert!(
        ran.printed
            .contains("a fund flow lists movements of the account, not orders"),
        "{}",
        ran.printed
    );
}

#[test]
fn the_order_of_rows_changes_nothing() {
    let bench = Bench::new("order_of_rows");
    let mut rows: Vec<Row> = (0..20)
        .map(|n| payment(&format!("A{}", n % 13), 100 + n, 1))
        .collect();
    let mut records = records_of(&rows[4..]);
    bench.reconcile(&rows, &records);
    let breaks = bench.breaks();
    assert!(!breaks.is_empty());
    rows.reverse();
    records.rotate_left(7);
    bench.reconcile(&rows, &records);
    assert_eq!(bench.breaks(), breaks);
}

/// The rows of a real ALL bill as records of ours that agree with it.
fn records_of_bill(path: &Path) -> Vec<Record> {
    let text = fs::read_to_string(path).unwrap();
    let text = text.trim_start_matches('\u{feff}');
    let columns: BTreeMap<&str, usize> = ALL_HEADER.split(',').zip(0..).collect();
    let rows = text.lines().filter(|line| line.starts_with("`2"));
    rows.map(|row| {
        let cells: Vec<&str> = row.trim_start_matches('`').split(",`").collect();
        let cell = |name: &str| cells[columns[name]].to_owned();
        let is_payment = cell("交易状态") == "SUCCESS";
        let of_kind = |payment: &str, refund: &str| cell(if is_payment { payment } else { refund });
        Record {
            record_no: of_kind("商户订单号", "商户退款单号"),
            kind: if is_payment { "payment" } else { "refund" },
            channel: "wechat_pay",
            channel_trade_no: of_kind("微信订单号", "微信退款单号"),
            amount: of_kind("订单金额", "申请退款金额"),
            currency: "CNY",
            fee: cell("手续费"),
            status: "succeeded",
            occurred_at: format!("{}+08:00", cell("交易时间").replace(' ', "T")),
            original_record_no: if is_payment {
                String::new()
            } else {
                cell("商户订单号")
            },
        }
    })
    .collect()
}

#[test]
fn a_dozen_breaks_in_a_real_bill_are_found_and_nothing_else() {
    let Some(bills) = real_bills() else { return };
    let bench = Bench::new("a_dozen_breaks");
    let real = bills.join("bill.ALL.2019-02-19.axios-plugin.csv");
    let statement = real.to_str().unwrap();
    let records = records_of_bill(&real);
    assert_eq!(records.len(), 45);

    // Two pairs of its payments share a trade number, which the authors made when they masked it.
    let ran = bench.run(&[statement], &records, &[]);
    assert_eq!(bench.breaks(), Vec::<String>::new());
    assert_eq!((ran.exit, &ran.json()["matched"]), (Exit::Fine, &json!(45)));

    let numbers: Vec<&str> = records
        .iter()
        .map(|record| record.record_no.as_str())
        .collect();
    let with_kind = |kind: &str| {
        records
            .iter()
            .filter(|record| record.kind == kind)
            .cloned()
            .collect::<Vec<_>>()
    };
    let (payments, refunds) = (with_kind("payment"), with_kind("refund"));
    let with_fee = |fee: &str| {
        payments
            .iter()
            .filter(|record| record.fee == fee)
            .cloned()
            .collect::<Vec<_>>()
    };
    let (free, charged) = (with_fee("0.00000"), with_fee("0.01000"));
    let mut changed: BTreeMap<&str, Vec<Record>> = records
        .iter()
        .map(|record| (record.record_no.as_str(), vec![record.clone()]))
        .collect();
    let mut expected = Vec::new();
    let mut change = |record: &Record, copies: Vec<Record>, breaks: &[(&str, &str)]| {
        let number = numbers
            .iter()
            .find(|number| **number == record.record_no)
            .unwrap();
        changed.insert(number, copies);
        expected.extend(
            breaks
                .iter()
                .map(|(name, at_risk)| format!("{name} {number} {at_risk}")),
        );
    };

    change(&free[0], vec![], &[("missing_ours", "0.01")]);
    change(&charged[0], vec![], &[("missing_ours", "0.03")]);
    change(&refunds[0], vec![], &[("missing_ours", "-0.01")]);
    let dearer = Record {
        amount: "0.02".into(),
        ..free[1].clone()
    };
    change(&free[1], vec![dearer], &[("amount_mismatch", "-0.01")]);
    let bigger = Record {
        amount: "1.01".into(),
        ..refunds[1].clone()
    };
    change(&refunds[1], vec![bigger], &[("amount_mismatch", "1.00")]);
    let cheaper = Record {
        fee: "0.00".into(),
        ..charged[1].clone()
    };
    change(&charged[1], vec![cheaper], &[("fee_mismatch", "-0.01")]);
    let unpaid = Record {
        status: "closed",
        ..free[2].clone()
    };
    change(&free[2], vec![unpaid], &[("status_mismatch", "0.01")]);
    let refused = Record {
        status: "failed",
        ..refunds[2].clone()
    };
    change(&refunds[2], vec![refused], &[("status_mismatch", "-0.01")]);
    let foreign = Record {
        currency: "HKD",
        ..free[3].clone()
    };
    change(&free[3], vec![foreign], &[("currency_mismatch", "0.01")]);
    let twice = vec![free[4].clone(), free[4].clone()];
    change(&free[4], twice, &[("duplicate_ours", "-0.01")]);
    let both = Record {
        amount: "0.05".into(),
        fee: "0.02".into(),
        ..charged[2].clone()
    };
    change(
        &charged[2],
        vec![both],
        &[("amount_mismatch", "-0.02"), ("fee_mismatch", "0.01")],
    );

    let mut ours: Vec<Record> = changed.into_values().flatten().collect();
    let ghost = |record: &Record, number: &str| Record {
        record_no: number.into(),
        channel_trade_no: format!("T{number}"),
        ..record.clone()
    };
    ours.push(ghost(&payments[0], "ghost-payment"));
    ours.push(ghost(&refunds[0], "ghost-refund"));
    ours.push(Record {
        status: "failed",
        ..ghost(&payments[0], "ghost-failed")
    });
    expected.push("missing_theirs ghost-payment -0.03".into());
    expected.push("missing_theirs ghost-refund 0.01".into());

    // And the bill itself tells one row twice, which its trailer counts.
    let text = fs::read_to_string(&real).unwrap();
    let doubled = text
        .lines()
        .find(|line| line.contains(&free[5].record_no))
        .unwrap();
    let text = text.replacen(doubled, &format!("{doubled}\r\n{doubled}"), 1);
    let text = text
        .replace("`45.0,`0.47,", "`46.0,`0.48,")
        .replace("`0.08,`0.47,", "`0.08,`0.48,");
    let statement = bench.write("doubled.csv", text);
    expected.push(format!("duplicate_theirs {} 0.01", free[5].record_no));

    let ran = bench.run(&[&statement], &ours, &[]);
    let mut found = short(&bench.breaks());
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    let told = ran.json();
    assert_eq!((ran.exit, &told["complete"]), (Exit::Finding, &json!(true)));
    let counts = json!({
        "missing_ours": 3, "missing_theirs": 2, "amount_mismatch": 3, "fee_mismatch": 2, "status_mismatch": 2,
        "currency_mismatch": 1, "duplicate_ours": 1, "duplicate_theirs": 1,
    });
    assert_eq!(told["breaks"], counts);
    assert_eq!(
        (&told["mismatched"], &told["not_expected"]),
        (&json!(7), &json!(1))
    );
}

#[test]
fn a_real_bill_of_refunds_covers_the_day_they_were_accepted() {
    let Some(bills) = real_bills() else { return };
    let bench = Bench::new("refunds_by_acceptance");
    let bill = bills.join("bill.REFUND.2018-08-21.legacy26.csv");
    let at = |number: &str, instant: &str| Record {
        occurred_at: instant.into(),
        ..refund(number, 1, 0).record()
    };
    let records = [
        at("B1", "2018-08-21T00:00:00+08:00"),
        at("B2", "2018-08-20T14:40:09+08:00"),
        payment("B3", 1, 0).record(),
    ];
    let ran = bench.run(&[bill.to_str().unwrap()], &records, &[]);
    let told = ran.json();
    assert_eq!(told["breaks"]["missing_ours"], 3);
    assert_eq!(told["breaks"]["missing_theirs"], 1);
    assert_eq!(
        told["not_expected_by_reason"],
        json!({"day_not_covered": 1, "kind_not_covered": 1})
    );
    assert!(
        bench.breaks()[0].contains(",2018-08-21T18:1"),
        "the day of acceptance, not of payment"
    );
}

#[test]
fn the_samples_hold_what_they_were_made_for() {
    let bench = Bench::new("samples");
    let samples = Path::new(env!("CARGO_MANIFEST_DIR")).join("samples");
    let bill = samples.join("wechat_pay/bill.ALL.2026-03-02.csv");
    let records = samples.join("records.csv");
    let ran = bench.run_files(&[bill.to_str().unwrap()], records.to_str().unwrap(), &[]);
    let told = ran.json();
    assert_eq!((ran.exit, &told["complete"]), (Exit::Finding, &json!(true)));
    let expected = [
        "missing_ours CD20260302009 39.90",
        "missing_ours CDR20260302004 -12.00",
        "missing_theirs CD20260302090 -64.00",
        "amount_mismatch CD20260302003 10.00",
        "fee_mismatch CD20260302005 -0.05",
        "status_mismatch CD20260302007 45.00",
        "duplicate_ours CD20260302012B -73.20",
        "duplicate_theirs CD20260302011 29.00",
    ];
    assert_eq!(short(&bench.breaks()), expected);
    assert_eq!(told["statement_lines"], 21);
    assert_eq!(
        (&told["matched"], &told["mismatched"]),
        (&json!(13), &json!(3))
    );
    assert_eq!(
        (&told["suspended"], &told["not_expected"]),
        (&json!(1), &json!(4))
    );
}
