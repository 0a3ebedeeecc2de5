//! The channel's bill of a day, made from the sandbox's own books in the format that WeChat Pay has for it.

use chrono::{DateTime, NaiveDate, Utc};
use clearday_jobs::Money;

use crate::connectors::sandbox::{Event, HoldEvent, SandboxHandle};
use crate::domain::china::{CHINA_STANDARD_TIME, china_day};

const HEADER: &str = "交易时间,公众账号ID,商户号,特约商户号,设备号,微信订单号,商户订单号,用户标识,交易类型,交易状态,\
    付款银行,货币种类,应结订单金额,代金券金额,微信退款单号,商户退款单号,退款金额,充值券退款金额,退款类型,退款状态,\
    商品名称,商户数据包,手续费,费率,订单金额,申请退款金额,费率备注";
const TRAILER: &str =
    "总交易单数,应结订单总金额,退款总金额,充值券退款总金额,手续费总金额,订单总金额,申请退款总金额";

/// Money that the channel took.
#[derive(Clone, Debug)]
pub(super) struct Trade {
    pub(super) at: DateTime<Utc>,
    pub(super) channel_no: String,
    pub(super) order_no: String,
    pub(super) amount: Money,
}

/// Everything the channel took, in the order in which it did.
pub(super) fn trades(sandbox: &SandboxHandle) -> Vec<Trade> {
    let (books, holds) = (sandbox.books(), sandbox.hold_books());
    let paid = books.effects().iter().filter(|it| it.event == Event::Pay);
    let paid = paid.filter_map(|effect| {
        let payment = books.find(&effect.reference)?;
        Some(Trade {
            at: effect.at,
            channel_no: payment.channel_trade_no.clone(),
            order_no: effect.reference.to_string(),
            amount: effect.amount,
        })
    });
    let captured = holds.effects().iter().filter_map(|effect| {
        if effect.event != HoldEvent::Capture {
            return None;
        }
        let hold = holds.find(&effect.reference)?;
        Some(Trade {
            at: effect.at,
            channel_no: hold.channel_trade_no.clone(),
            order_no: effect.reference.to_string(),
            amount: effect.amount,
        })
    });
    let mut all: Vec<Trade> = paid.chain(captured).collect();
    all.sort_by(|one, other| (one.at, &one.order_no).cmp(&(other.at, &other.order_no)));
    all
}

/// The whole bill of a day in China.
pub(super) fn bill(sandbox: &SandboxHandle, day: NaiveDate) -> String {
    let trades: Vec<Trade> = trades(sandbox)
        .into_iter()
        .filter(|trade| china_day(&trade.at) == day)
        .collect();
    let sum: i64 = trades.iter().map(|it| it.amount.minor_units()).sum();
    let sum = yuan(sum);
    let rows: String = trades.iter().map(row).collect();
    let trailer = format!("`{}.0,`{sum},`0.0,`0.0,`0.00000,`{sum},`0.0", trades.len());
    format!("\u{feff}{HEADER}\r\n{rows}{TRAILER}\r\n{trailer}\r\n")
}

fn row(trade: &Trade) -> String {
    let time = trade.at.with_timezone(&CHINA_STANDARD_TIME);
    let time = time.format("%Y-%m-%d %H:%M:%S").to_string();
    let amount = yuan(trade.amount.minor_units());
    let cells = [
        time.as_str(),
        "wx0000000000000000",
        "1900000001",
        "0",
        "",
        &trade.channel_no,
        &trade.order_no,
        "payer",
        "MICROPAY",
        "SUCCESS",
        "OTHERS",
        "CNY",
        &amount,
        "0.00",
        "0",
        "0",
        "0.00",
        "0.00",
        "",
        "",
        "goods",
        "",
        "0.00000",
        "0.60%",
        &amount,
        "0.00",
        "",
    ];
    format!("`{}\r\n", cells.join(",`"))
}

fn yuan(minor_units: i64) -> String {
    Money::from_minor(minor_units, clearday_jobs::Currency::CNY).to_major_string()
}
