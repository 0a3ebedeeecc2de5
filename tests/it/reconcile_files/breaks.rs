//! Every kind of break, what it is worth, and which records are paired.
#![cfg(test)]

use std::slice::from_ref;

use clearday::cli::exit::Exit;
use serde_json::json;

use super::{Bench, records_of};
use crate::bills::{Record, Row, all_bill, payment, refund};

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
