//! What is not whole or not readable is refused by file, line and column, and writes nothing.
#![cfg(test)]

use std::fs;

use clearday::cli::exit::Exit;
use serde_json::json;

use super::{Bench, records_of, short};
use crate::bills::{all_bill, folder, payment, real_bills, records_csv};

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
