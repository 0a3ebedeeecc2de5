//! Refunds and reversals: told apart, paired with what they take back, waited for.
#![cfg(test)]

use std::slice::from_ref;

use serde_json::json;

use super::{Bench, records_of};
use crate::bills::{Record, Row, payment, refund, reversal};

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
