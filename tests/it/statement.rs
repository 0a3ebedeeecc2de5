//! `statement inspect`: every real bill is known for what it is, and nothing that was cut or changed passes.
#![cfg(test)]

use std::fs;
use std::io::Write;
use std::path::Path;

use clearday::cli::exit::Exit;
use clearday::formats::wechat_pay::{Tolerance, read_statement};
use flate2::Compression;
use flate2::write::GzEncoder;
use proptest::prelude::*;

use crate::bills::{
    ALL_HEADER, TRAILER_HEADER, all_bill, folder, inspect, payment, real_bills, real_files, refund,
    reversal,
};

fn inspect_bytes(test: &str, bytes: impl AsRef<[u8]>) -> crate::bills::Ran {
    let file = folder(test).join("bill.csv");
    fs::write(&file, bytes).unwrap();
    inspect(&file)
}

#[test]
fn every_real_bill_is_known_and_its_trailer_checked() {
    let Some(bills) = real_bills() else { return };
    let expected = [
        ("bill.ALL.2019-02-19.axios-plugin.csv", "all", 45, true),
        ("bill.ALL.2021-01-28.gunsluo0.csv", "all", 3, true),
        ("bill.ALL.wxjava.csv", "all", 1, false),
        (
            "bill.REFUND.2018-08-21.legacy26.csv",
            "refund.legacy",
            3,
            true,
        ),
        ("bill.REFUND.2021-01-28.gunsluo1.csv", "refund", 2, true),
        ("bill.SUCCESS.2019-11-03.v2.csv", "success", 19, true),
        ("bill.SUCCESS.2021-01-28.gunsluo2.csv", "success", 1, true),
        ("bill.SUCCESS.wxjava.csv", "success", 1, false),
        (
            "fundflow.BASIC.2021-02-01.gunsluo0.csv",
            "fund_flow",
            2,
            false,
        ),
        ("gunsluo0.csv.gz", "all", 3, true),
        ("gunsluo1.csv.gz", "fund_flow", 2, false),
    ];
    for (name, format, lines, agrees) in expected {
        let ran = inspect(&bills.join(name));
        let told = ran.json();
        let format = match format {
            "fund_flow" => "wechat_pay.fund_flow".to_owned(),
            bill => format!("wechat_pay.trade.{bill}"),
        };
        assert_eq!(told["format"], format, "{name}");
        assert_eq!(told["lines"], lines, "{name}");
        assert_eq!(told["trailer_agrees"], agrees, "{name}");
        assert_eq!(
            ran.exit,
            if agrees { Exit::Fine } else { Exit::Finding },
            "{name}"
        );
    }
    let known = fs::read_dir(&bills).unwrap().filter(|entry| {
        let name = entry.as_ref().unwrap().file_name().into_string().unwrap();
        Path::new(&name)
            .extension()
            .is_some_and(|ending| ending == "csv" || ending == "gz")
    });
    assert_eq!(known.count(), expected.len(), "a bill is not in the table");
}

#[test]
fn totals_are_decimal_strings_under_english_names() {
    let Some(bills) = real_bills() else { return };
    let told = inspect(&bills.join("bill.ALL.2019-02-19.axios-plugin.csv")).json();
    let totals = serde_json::json!({
        "lines": "45",
        "settlement_amount": "0.47",
        "refund_amount": "0.14",
        "coupon_refund_amount": "0.00",
        "fee": "0.08",
        "order_amount": "0.47",
        "requested_refund_amount": "0.14",
    });
    assert_eq!(told["totals"], totals);
    assert_eq!(told["receivable"], "0.25");
    assert_eq!(told["currency"], "CNY");
    assert!(told.get("trailer").is_none() && told.get("disagreements").is_none());
}

#[test]
fn a_trailer_that_disagrees_is_shown_beside_the_sums() {
    let Some(bills) = real_bills() else { return };
    let told = inspect(&bills.join("bill.ALL.wxjava.csv")).json();
    assert_eq!(told["totals"]["order_amount"], "6.00");
    assert_eq!(told["trailer"]["order_amount"], "5.76");
    assert_eq!(
        told["disagreements"],
        serde_json::json!([
            "lines",
            "settlement_amount",
            "refund_amount",
            "fee",
            "order_amount",
            "requested_refund_amount"
        ])
    );

    let told = inspect(&bills.join("fundflow.BASIC.2021-02-01.gunsluo0.csv")).json();
    assert_eq!(told["totals"]["expense_amount"], "0.02");
    assert_eq!(
        told["disagreements"],
        serde_json::json!(["lines", "income_lines", "income_amount"])
    );
    assert_eq!(told["balances_follow"], true);
}

#[test]
fn personal_bills_are_refused_for_what_they_are() {
    let Some(bills) = real_files("../shared/data/personal_bills") else {
        return;
    };
    let expected = [
        ("alipay_personal.gbk.csv", "a personal bill of Alipay"),
        ("jd_personal.csv", "a personal bill of JD"),
        ("wechat_personal.csv", "a personal bill of WeChat"),
    ];
    for (name, what) in expected {
        let file = bills.join(name);
        let ran = inspect(&file);
        assert_eq!(ran.exit, Exit::Refused);
        let message = format!("line 1: not a merchant bill of WeChat Pay; it looks like {what}");
        assert_eq!(ran.printed, format!("{}: {message}", file.display()));
    }
}

#[test]
fn what_is_no_bill_at_all_is_refused() {
    let cases: [(&[u8], &str); 6] = [
        (b"", "an empty file"),
        (b"PK\x03\x04 xlsx", "a zip archive or an Excel file"),
        (
            b"{\"code\":\"NO_STATEMENT_EXIST\"}",
            "an answer of the channel that there is no bill",
        ),
        (b"<?xml version=\"1.0\"?>\n<Document/>", "XML or HTML"),
        (b"record_no,kind\n", "records of ours"),
        (b"\xff\xfe\n", "something else"),
    ];
    for (bytes, what) in cases {
        let ran = inspect_bytes("what_is_no_bill", bytes);
        assert_eq!(ran.exit, Exit::Refused, "{what}");
        assert!(
            ran.printed.ends_with(&format!("it looks like {what}")),
            "{}",
            ran.printed
        );
    }
    let ran = inspect(Path::new("no/such/file.csv"));
    assert_eq!(ran.exit, Exit::Refused);
    assert!(
        ran.printed.starts_with("no/such/file.csv: "),
        "{}",
        ran.printed
    );
}

#[test]
fn a_cut_file_never_agrees() {
    let bill = all_bill(&[
        payment("A1", 1200, 7),
        refund("A2", 300, 2),
        reversal("A3", 50, 0),
    ]);
    let legacy = "交易时间,公众账号ID,商户号,子商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,付款银行,货币种类,\
        总金额,代金券或立减优惠金额,商品名称,商户数据包,手续费,费率\r\n\
        `2014-11-10 16：33：45,`wx1,`1900000001,`0,`,`T1,`A1,`payer,`MICROPAY,`SUCCESS,`CFT,`CNY,`5.00,`0.0,`测试,`,`0.00000,`0.60%\r\n\
        总交易单数,总交易额,总退款金额,总代金券或立减优惠退款金额,手续费总金额\r\n`1,`5.00,`0.0,`0.0,`0.00000\r\n";
    for whole in [bill.as_bytes(), legacy.as_bytes()] {
        let agrees = |bytes: &[u8]| {
            let told = read_statement(bytes, Tolerance::Refuse, |_| ());
            told.is_ok_and(|statement| statement.trailer_agrees())
        };
        assert!(agrees(whole));
        let line_end = 2;
        for length in 0..whole.len() - line_end {
            assert!(!agrees(&whole[..length]), "cut at byte {length}");
        }
        assert!(agrees(&whole[..whole.len() - 1]));
        assert!(agrees(&whole[..whole.len() - line_end]));
    }
}

#[test]
fn a_cut_gzip_file_is_refused_with_its_line() {
    let bill = all_bill(&[payment("A1", 1200, 7)]);
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(bill.as_bytes()).unwrap();
    let packed = encoder.finish().unwrap();
    assert_eq!(inspect_bytes("cut_gzip", &packed).exit, Exit::Fine);

    for length in 3..packed.len() {
        let ran = inspect_bytes("cut_gzip", &packed[..length]);
        assert_eq!(ran.exit, Exit::Refused, "cut at byte {length}");
        assert!(ran.printed.contains(": line "), "{}", ran.printed);
    }
}

#[test]
fn every_fault_names_its_line() {
    let row = payment("A1", 1200, 7).text();
    let bill = |second: &str| {
        format!(
            "{ALL_HEADER}\n{row}\n{second}\n{TRAILER_HEADER}\n`2,`24.00,`0.00,`0.00,`0.14000,`24.00,`0.00\n"
        )
    };
    assert_eq!(inspect_bytes("every_fault", bill(&row)).exit, Exit::Fine);
    let cases = [
        (
            "12.00",
            "12.001",
            "应结订单金额 is refused: \"12.001\" is finer than the minor unit of CNY",
        ),
        ("12.00", "", "应结订单金额 is empty"),
        ("12.00", "-12.00", "应结订单金额 is negative: -12.00 CNY"),
        (
            "CNY",
            "RMB",
            "货币种类 is refused: \"RMB\" is not an ISO 4217 currency code",
        ),
        (
            "SUCCESS",
            "PAID",
            "交易状态 is \"PAID\", not one of SUCCESS, REFUND, REVOKED",
        ),
        ("SUCCESS", "REFUND", "退款金额"),
        ("0.07000", "0,07", "手续费 is not a number: \"0,07\""),
        (
            "2026-03-02 12",
            "2026-02-30 12",
            "交易时间 is not a time like 2026-03-02 18:30:00: \"2026-02-30 12:00:00\"",
        ),
        ("`42A1", "`", "微信订单号 is empty"),
        ("`A1", "`", "商户订单号 is empty"),
        ("`0.60%", "`0.60%,`x", "28 values where the header has 27"),
        ("`payer,", "", "26 values where the header has 27"),
    ];
    for (from, to, message) in cases {
        let ran = inspect_bytes("every_fault", bill(&row.replacen(from, to, 1)));
        assert_eq!(ran.exit, Exit::Refused, "{message}");
        if message == "退款金额" {
            // A refund row needs refund numbers and a state.
            assert!(ran.printed.contains("line 3: "), "{}", ran.printed);
        } else {
            assert!(
                ran.printed.contains(&format!("line 3: {message}")),
                "{}",
                ran.printed
            );
        }
    }

    let whole = all_bill(&[payment("A1", 1200, 7)]);
    let cases = [
        (
            whole.replace("手续费,", ""),
            "line 1: the column 手续费 is missing",
        ),
        (
            whole.replace("手续费总金额,", ""),
            "line 3: the column 手续费总金额 is missing",
        ),
        (
            whole.replace("`1.0,", "`one,"),
            "line 4: 总交易单数 is not a number: \"one\"",
        ),
        (
            whole.clone() + "\r\n`again",
            "line 6: there is text behind the totals",
        ),
        (
            whole.replace("`payer", "`pa\nyer"),
            "line 2: 8 values where the header has 27",
        ),
    ];
    for (bytes, message) in cases {
        let ran = inspect_bytes("every_fault", bytes);
        assert_eq!(ran.exit, Exit::Refused, "{message}");
        assert!(ran.printed.contains(message), "{}", ran.printed);
    }
}

#[test]
fn invalid_utf8_is_refused_with_its_line() {
    let bill = all_bill(&[payment("A1", 1200, 7), payment("A2", 1200, 7)]);
    let broken: Vec<u8> = bill
        .split_inclusive('\n')
        .enumerate()
        .flat_map(|(position, line)| {
            let mut line = line.as_bytes().to_vec();
            if position == 2 {
                line[5] = 0xff;
            }
            line
        })
        .collect();
    let ran = inspect_bytes("invalid_utf8", broken);
    assert_eq!(ran.exit, Exit::Refused);
    assert!(
        ran.printed.ends_with("line 3: not valid UTF-8"),
        "{}",
        ran.printed
    );
}

#[test]
fn headers_with_backticks_and_columns_in_another_order_are_read() {
    let bill = all_bill(&[payment("A1", 1200, 7)]);
    let ticked = bill.replace(ALL_HEADER, &format!("`{}", ALL_HEADER.replace(',', ",`")));
    let ticked = ticked.replace(
        TRAILER_HEADER,
        &format!("`{}", TRAILER_HEADER.replace(',', ",`")),
    );
    assert_eq!(inspect_bytes("backticks", ticked).exit, Exit::Fine);

    let turned: Vec<String> = bill
        .trim_start_matches('\u{feff}')
        .lines()
        .map(|line| {
            let (separator, start) = if line.starts_with('`') {
                (",`", "`")
            } else {
                (",", "")
            };
            let mut cells: Vec<&str> = line.trim_start_matches('`').split(separator).collect();
            cells.reverse();
            format!("{start}{}", cells.join(separator))
        })
        .collect();
    let turned = turned.join("\n") + "\n";
    assert_eq!(inspect_bytes("backticks", turned).exit, Exit::Fine);
}

#[test]
fn a_bill_with_a_changed_amount_disagrees() {
    let bill = all_bill(&[payment("A1", 1200, 7), payment("A2", 500, 3)]);
    let changed = bill.replacen("`12.00,", "`12.01,", 1);
    let ran = inspect_bytes("changed_amount", changed);
    assert_eq!(ran.exit, Exit::Finding);
    assert_eq!(
        ran.json()["disagreements"],
        serde_json::json!(["settlement_amount"])
    );
}

proptest! {
    #[test]
    fn damaged_bytes_are_read_or_refused_and_never_a_panic(
        damages in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        cut in any::<prop::sample::Index>(),
    ) {
        let mut bytes = all_bill(&[payment("A1", 1200, 7), refund("A2", 300, 2)]).into_bytes();
        for (place, byte) in damages {
            *place.get_mut(&mut bytes) = byte;
        }
        bytes.truncate(cut.index(bytes.len()) + 1);
        let strictly = read_statement(&bytes[..], Tolerance::Refuse, |_| ());
        let mut rows = 0_u64;
        let tolerantly = read_statement(&bytes[..], Tolerance::AcceptIncomplete, |_| rows += 1);
        if let Ok(statement) = tolerantly {
            prop_assert_eq!(statement.lines, rows);
            prop_assert_eq!(strictly.is_err(), statement.damage.is_some());
        } else {
            prop_assert!(strictly.is_err());
        }
    }
}
