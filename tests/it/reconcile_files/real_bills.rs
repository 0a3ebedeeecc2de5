//! Real bills and the shipped samples: a dozen deliberate breaks are found, and nothing else.
#![cfg(test)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use clearday::cli::exit::Exit;
use serde_json::json;

use super::{Bench, short};
use crate::bills::{ALL_HEADER, Record, payment, real_bills, refund};

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
        (&json!(1), &json!(9))
    );
}
