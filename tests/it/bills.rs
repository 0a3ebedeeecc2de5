//! WeChat Pay bills for tests: made up row by row with a trailer that agrees, or real ones where they are at hand.
#![cfg(test)]

use std::fs;
use std::path::{Path, PathBuf};

use clap::{Args, Parser};
use clearday::cli::exit::{CliError, Exit};
use clearday::cli::{reconcile, statement};
use serde_json::Value;

/// Real third-party files; they are not part of this repository.
const REAL_BILLS: &str = "../shared/data/wechat_merchant";

/// The columns of an ALL bill since November 2018.
pub(crate) const ALL_HEADER: &str = "交易时间,公众账号ID,商户号,特约商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,\
    付款银行,货币种类,应结订单金额,代金券金额,微信退款单号,商户退款单号,退款金额,充值券退款金额,退款类型,退款状态,\
    商品名称,商户数据包,手续费,费率,订单金额,申请退款金额,费率备注";

/// The trailer of every trade bill since November 2018.
pub(crate) const TRAILER_HEADER: &str =
    "总交易单数,应结订单总金额,退款总金额,充值券退款总金额,手续费总金额,订单总金额,申请退款总金额";

/// The folder of real bills, or `None` after saying so.
pub(crate) fn real_bills() -> Option<PathBuf> {
    real_files(REAL_BILLS)
}

/// A folder of real files beside the repository, or `None` after saying so.
#[expect(clippy::print_stderr, reason = "a test that did not run must say so")]
pub(crate) fn real_files(folder: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(folder);
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("not tested: the real files of {folder} are not here");
    None
}

/// A row of a made-up ALL bill; amounts in fen.
#[derive(Clone, Debug)]
pub(crate) struct Row {
    pub(crate) time: String,
    pub(crate) state: &'static str,
    pub(crate) trade_no: String,
    pub(crate) order_no: String,
    pub(crate) refund_no: String,
    pub(crate) our_refund_no: String,
    pub(crate) refund_state: &'static str,
    pub(crate) currency: &'static str,
    pub(crate) fen: i64,
    pub(crate) fee_fen: i64,
    pub(crate) product: &'static str,
}

/// A payment of the order `number`, at noon.
pub(crate) fn payment(number: &str, fen: i64, fee_fen: i64) -> Row {
    Row {
        time: "2026-03-02 12:00:00".into(),
        state: "SUCCESS",
        trade_no: format!("42{number}"),
        order_no: number.into(),
        refund_no: "0".into(),
        our_refund_no: "0".into(),
        refund_state: "",
        currency: "CNY",
        fen,
        fee_fen,
        product: "咖啡豆, 500 克",
    }
}

/// A refund of that order under the number `R…`; the fee is what is given back.
pub(crate) fn refund(number: &str, fen: i64, fee_fen: i64) -> Row {
    Row {
        state: "REFUND",
        refund_no: format!("50{number}"),
        our_refund_no: format!("R{number}"),
        refund_state: "SUCCESS",
        ..payment(number, fen, -fee_fen)
    }
}

/// The reversal of that order.
pub(crate) fn reversal(number: &str, fen: i64, fee_fen: i64) -> Row {
    Row {
        state: "REVOKED",
        our_refund_no: format!("V{number}"),
        ..refund(number, fen, fee_fen)
    }
}

impl Row {
    fn is_payment(&self) -> bool {
        self.state == "SUCCESS"
    }

    pub(crate) fn text(&self) -> String {
        let (paid, back) = if self.is_payment() {
            (self.fen, 0)
        } else {
            (0, self.fen)
        };
        let refund_type = if self.is_payment() { "" } else { "ORIGINAL" };
        let cells = [
            &self.time,
            "wx0000000000000000",
            "1900000001",
            "0",
            "",
            &self.trade_no,
            &self.order_no,
            "payer",
            "MICROPAY",
            self.state,
            "OTHERS",
            self.currency,
            &yuan(paid),
            "0.00",
            &self.refund_no,
            &self.our_refund_no,
            &yuan(back),
            "0.00",
            refund_type,
            self.refund_state,
            self.product,
            "",
            &format!("{}000", yuan(self.fee_fen)),
            "0.60%",
            &yuan(paid),
            &yuan(back),
            "",
        ];
        format!("`{}", cells.join(",`"))
    }

    /// The record of ours that agrees with this row.
    pub(crate) fn record(&self) -> Record {
        let (kind, record_no, channel_no) = if self.is_payment() {
            ("payment", &self.order_no, &self.trade_no)
        } else {
            ("refund", &self.our_refund_no, &self.refund_no)
        };
        Record {
            record_no: record_no.clone(),
            kind,
            channel: "wechat_pay",
            channel_trade_no: channel_no.clone(),
            amount: yuan(self.fen),
            currency: self.currency,
            fee: yuan(self.fee_fen),
            status: "succeeded",
            occurred_at: format!("{}+08:00", self.time.replace(' ', "T")),
            original_record_no: String::new(),
        }
    }
}

/// Fen as yuan.
#[expect(clippy::integer_division, reason = "whole yuan are wanted")]
pub(crate) fn yuan(fen: i64) -> String {
    let sign = if fen < 0 { "-" } else { "" };
    let fen = fen.unsigned_abs();
    format!("{sign}{}.{:02}", fen / 100, fen % 100)
}

/// A whole ALL bill as the live interface sends it: byte order mark, CRLF, a trailer that agrees.
pub(crate) fn all_bill(rows: &[Row]) -> String {
    let sum = |wanted: &dyn Fn(&Row) -> i64| rows.iter().map(wanted).sum::<i64>();
    let paid = yuan(sum(&|row| if row.is_payment() { row.fen } else { 0 }));
    let back = yuan(sum(&|row| if row.is_payment() { 0 } else { row.fen }));
    let fees = yuan(sum(&|row| row.fee_fen));
    let trailer = format!(
        "`{}.0,`{paid},`{back},`0.0,`{fees}000,`{paid},`{back}",
        rows.len()
    );
    let rows: String = rows.iter().map(|row| row.text() + "\r\n").collect();
    format!("\u{feff}{ALL_HEADER}\r\n{rows}{TRAILER_HEADER}\r\n{trailer}\r\n")
}

/// A record of ours in the making.
#[expect(
    clippy::struct_field_names,
    reason = "its fields are named like the columns"
)]
#[derive(Clone, Debug)]
pub(crate) struct Record {
    pub(crate) record_no: String,
    pub(crate) kind: &'static str,
    pub(crate) channel: &'static str,
    pub(crate) channel_trade_no: String,
    pub(crate) amount: String,
    pub(crate) currency: &'static str,
    pub(crate) fee: String,
    pub(crate) status: &'static str,
    pub(crate) occurred_at: String,
    pub(crate) original_record_no: String,
}

/// Records as CSV.
pub(crate) fn records_csv(records: &[Record]) -> String {
    let mut csv = String::from(
        "record_no,kind,channel,channel_trade_no,merchant_id,amount,currency,fee,status,occurred_at,original_record_no\n",
    );
    for record in records {
        let cells = [
            &record.record_no,
            record.kind,
            record.channel,
            &record.channel_trade_no,
            "M1",
            &record.amount,
            record.currency,
            &record.fee,
            record.status,
            &record.occurred_at,
            &record.original_record_no,
        ];
        csv += &(cells.join(",") + "\n");
    }
    csv
}

/// A new folder of one test's own.
pub(crate) fn folder(test: &str) -> PathBuf {
    let path = Path::new(env!("CARGO_TARGET_TMPDIR")).join(test);
    if path.exists() {
        fs::remove_dir_all(&path).unwrap();
    }
    fs::create_dir_all(&path).unwrap();
    path
}

/// What a verb printed and how it ended; a refusal's text stands in `printed`.
#[derive(Debug)]
pub(crate) struct Ran {
    pub(crate) exit: Exit,
    pub(crate) printed: String,
}

impl Ran {
    fn new(printed: Vec<u8>, outcome: Result<Exit, CliError>) -> Self {
        match outcome {
            Ok(exit) => Self {
                exit,
                printed: String::from_utf8(printed).unwrap(),
            },
            Err(error) => Self {
                exit: error.exit,
                printed: error.chain(),
            },
        }
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_str(&self.printed)
            .unwrap_or_else(|error| panic!("{error}: {}", self.printed))
    }
}

#[derive(Parser)]
struct Command<T: Args> {
    #[command(flatten)]
    verb: T,
}

/// Runs `clearday statement inspect FILE --channel wechat_pay --format json`.
pub(crate) fn inspect(file: &Path) -> Ran {
    inspect_as("wechat_pay", file)
}

/// The same with the statement of somebody else.
pub(crate) fn inspect_as(channel: &str, file: &Path) -> Ran {
    let words = ["clearday", "inspect"].map(Into::into).into_iter();
    let options = ["--channel", channel, "--format", "json"].map(Into::into);
    let words = words.chain([file.into()]).chain(options);
    let command = Command::<statement::StatementArgs>::parse_from::<_, std::ffi::OsString>(words);
    let mut printed = Vec::new();
    let outcome = statement::run(&command.verb, &mut printed);
    Ran::new(printed, outcome)
}

/// Runs `clearday reconcile --channel wechat_pay --format json` with these further words.
pub(crate) fn run_reconcile(words: &[&str]) -> Ran {
    let fixed = ["clearday", "--channel", "wechat_pay", "--format", "json"];
    let command = Command::<reconcile::ReconcileArgs>::parse_from(fixed.iter().chain(words));
    let mut printed = Vec::new();
    let outcome = reconcile::run(&command.verb, &mut printed);
    Ran::new(printed, outcome)
}
