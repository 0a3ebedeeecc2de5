//! One row of a trade bill (交易账单): a payment, a refund or a reversal.

use chrono::{DateTime, FixedOffset};
use clearday_jobs::{Currency, Money};
use rust_decimal::Decimal;

use super::cells::{
    CellError, ColumnNames, HeaderError, Layout, RowError, amount, decimal_places, excerpt,
    instant, number,
};
use crate::domain::reconciliation::entry::major_units;
use crate::domain::reconciliation::{Entry, EntryKind, Facts};
use crate::domain::record::RecordStatus;

/// Which rows a trade bill holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bill {
    /// Payments and refunds.
    All,
    /// Payments only.
    Success,
    /// Refunds only.
    Refund,
}

/// The columns that are read; the others (payer, bank, product) are nobody's business here.
const COLUMNS: [ColumnNames; 16] = [
    &["交易时间"],
    &["退款申请时间"],
    &["微信订单号"],
    &["商户订单号"],
    &["交易状态"],
    &["货币种类"],
    &["应结订单金额", "总金额"],
    &["代金券金额", "代金券或立减优惠金额", "企业红包金额"],
    &["微信退款单号"],
    &["商户退款单号"],
    &["退款金额"],
    &[
        "充值券退款金额",
        "代金券或立减优惠退款金额",
        "企业红包退款金额",
        "代金券退款金额",
    ],
    &["退款状态"],
    &["手续费"],
    &["订单金额"],
    &["申请退款金额"],
];

/// The places of columns whose presence tells the bills apart.
const REFUND_APPLIED_AT: usize = 1;
const REFUND_COLUMNS: [usize; 5] = [8, 9, 10, 11, 12];
const PAYMENT_COLUMNS: [usize; 7] = [0, 2, 3, 4, 5, 6, 13];
const ORDER_AMOUNT: usize = 14;
const REQUESTED_REFUND: usize = 15;

/// Where the columns of one trade bill stand, and what follows from it.
#[derive(Debug)]
pub(super) struct TradeLayout {
    columns: Layout<16>,
    pub(super) bill: Bill,
    /// Whether it has the columns from before November 2018.
    pub(super) is_legacy: bool,
    /// The currency of the row before, which is nearly always that of the next.
    currency: Option<Currency>,
}

/// What a row adds to the sums, in the order of the trailer.
pub(super) type TradeSums = [Decimal; 7];

/// A row as read.
#[derive(Debug)]
pub(super) struct TradeRow<'a> {
    pub(super) entry: Entry<'a>,
    pub(super) sums: TradeSums,
    /// The decimal places of the value that the last column of the trailer sums up.
    pub(super) last_sum_places: usize,
}

/// Whether a header is that of a trade bill, whatever columns it lacks.
pub(super) fn is_header(header: &str) -> bool {
    header.contains("交易时间") && header.contains("微信订单号")
}

impl TradeLayout {
    /// Reads the header.
    pub(super) fn of_header(header: &str) -> Result<Self, HeaderError> {
        let columns = Layout::of_header(header, &COLUMNS)?;
        let has_refunds = REFUND_COLUMNS.iter().any(|place| columns.has(*place));
        let bill = match (has_refunds, columns.has(REFUND_APPLIED_AT)) {
            (_, true) => Bill::Refund,
            (true, false) => Bill::All,
            (false, false) => Bill::Success,
        };
        let layout = Self {
            columns,
            bill,
            is_legacy: !header.contains("应结订单金额"),
            currency: None,
        };
        layout.check_columns()?;
        Ok(layout)
    }

    fn check_columns(&self) -> Result<(), HeaderError> {
        let mut needed = PAYMENT_COLUMNS.to_vec();
        if self.bill != Bill::Success {
            needed.extend(REFUND_COLUMNS);
        }
        if !self.is_legacy {
            needed.push(ORDER_AMOUNT);
        }
        if !self.is_legacy && self.bill != Bill::Success {
            needed.push(REQUESTED_REFUND);
        }
        self.columns.require(&needed, &COLUMNS)
    }

    /// Reads a row.
    pub(super) fn row<'a>(&mut self, row: &'a str) -> Result<TradeRow<'a>, RowError> {
        let [
            time,
            applied_at,
            trade_no,
            order_no,
            state,
            currency,
            settled,
            coupon,
            refund_no,
            our_refund_no,
            refund,
            coupon_refund,
            refund_state,
            fee,
            order_amount,
            requested,
        ] = self.columns.values(row)?;

        let kind = self.kind(state)?;
        let numbers = Numbers {
            trade_no,
            order_no,
            refund_no,
            our_refund_no,
        };
        let reader = AmountReader {
            currency: self.currency(currency)?,
            // A payment says nothing about refunds, and a bill of payments has no columns for them.
            may_lack_refunds: kind == EntryKind::Payment || self.bill == Bill::Success,
        };
        let settled = reader.amount("应结订单金额", settled)?;
        let refund = reader.refund("退款金额", refund)?;
        let coupon_refund = reader.refund("充值券退款金额", coupon_refund)?;
        let (worth, asked_back) = if self.is_legacy {
            (settled, refund)
        } else {
            let worth = reader.amount("订单金额", order_amount)?;
            (worth, reader.refund("申请退款金额", requested)?)
        };
        if !coupon.is_empty() {
            reader.amount("代金券金额", coupon)?;
        }
        let fee_told = number(fee).map_err(in_column("手续费"))?;

        let facts = Facts {
            kind,
            status: status(kind, refund_state)?,
            source: 0,
            is_foreign: false,
            amount: amount_of(kind, worth, asked_back),
            fee: fee_told,
            occurred_at: accounted_at(kind, time, applied_at)?,
        };
        Ok(TradeRow {
            entry: numbers.entry(facts)?,
            sums: [
                Decimal::ONE,
                major_units(settled),
                major_units(refund),
                major_units(coupon_refund),
                fee_told,
                major_units(worth),
                major_units(asked_back),
            ],
            last_sum_places: decimal_places(if self.is_legacy { fee } else { order_amount }),
        })
    }

    fn kind(&self, state: &str) -> Result<EntryKind, RowError> {
        let known = match state {
            "SUCCESS" => return Ok(EntryKind::Payment),
            "REVOKED" => return Ok(EntryKind::Reversal),
            "REFUND" if self.bill != Bill::Success => return Ok(EntryKind::Refund),
            "REFUND" => "SUCCESS, REVOKED (the bill has no columns for refunds)",
            _ => "SUCCESS, REFUND, REVOKED",
        };
        Err(unknown_word("交易状态", state, known))
    }

    fn currency(&mut self, code: &str) -> Result<Currency, RowError> {
        if let Some(known) = self.currency
            && known.code() == code
        {
            return Ok(known);
        }
        let read = Currency::parse(code).map_err(CellError::from);
        let read = read.map_err(in_column("货币种类"))?;
        self.currency = Some(read);
        Ok(read)
    }
}

/// Reads the amounts of one row.
struct AmountReader {
    currency: Currency,
    may_lack_refunds: bool,
}

impl AmountReader {
    fn amount(&self, column: &'static str, text: &str) -> Result<Money, RowError> {
        amount(text, self.currency).map_err(in_column(column))
    }

    fn refund(&self, column: &'static str, text: &str) -> Result<Money, RowError> {
        if text.is_empty() && self.may_lack_refunds {
            Ok(Money::from_minor(0, self.currency))
        } else {
            self.amount(column, text)
        }
    }
}

/// The four numbers of a row.
#[expect(
    clippy::struct_field_names,
    reason = "a number is called one everywhere else too"
)]
struct Numbers<'a> {
    trade_no: &'a str,
    order_no: &'a str,
    refund_no: &'a str,
    our_refund_no: &'a str,
}

impl<'a> Numbers<'a> {
    /// The entry of a row. A refund is known by its own numbers; a reversal has some too, or only those of the
    /// payment.
    fn entry(&self, facts: Facts) -> Result<Entry<'a>, RowError> {
        let order_no = told("商户订单号", self.order_no)?;
        let trade_no = told("微信订单号", self.trade_no)?;
        Ok(match facts.kind {
            EntryKind::Payment => Entry {
                record_no: order_no,
                channel_no: trade_no,
                original_no: "",
                facts,
            },
            EntryKind::Refund => Entry {
                record_no: told("商户退款单号", self.our_refund_no)?,
                channel_no: told("微信退款单号", self.refund_no)?,
                original_no: order_no,
                facts,
            },
            EntryKind::Reversal => Entry {
                record_no: given(self.our_refund_no).unwrap_or(order_no),
                channel_no: given(self.refund_no).unwrap_or(trade_no),
                original_no: order_no,
                facts,
            },
        })
    }
}

fn told<'a>(column: &'static str, number: &'a str) -> Result<&'a str, RowError> {
    given(number).ok_or_else(|| CellError::Empty.in_column(column))
}

/// A number that is there; bills write 0 where there is none.
fn given(number: &str) -> Option<&str> {
    Some(number).filter(|number| !number.is_empty() && *number != "0")
}

/// What is compared with our record: the order amount, or the amount asked back.
fn amount_of(kind: EntryKind, worth: Money, asked_back: Money) -> Money {
    match kind {
        EntryKind::Payment => worth,
        EntryKind::Refund => asked_back,
        // A reversal tells its amount where refunds do, or where payments do.
        EntryKind::Reversal if asked_back.is_zero() => worth,
        EntryKind::Reversal => asked_back,
    }
}

/// The instant that decides the day: of a payment its success, of a refund its acceptance, which bills of refunds
/// tell apart from the payment's.
fn accounted_at(
    kind: EntryKind,
    time: &str,
    applied_at: &str,
) -> Result<DateTime<FixedOffset>, RowError> {
    match kind {
        EntryKind::Refund | EntryKind::Reversal if !applied_at.is_empty() => {
            instant(applied_at).map_err(in_column("退款申请时间"))
        }
        EntryKind::Payment | EntryKind::Refund | EntryKind::Reversal => {
            instant(time).map_err(in_column("交易时间"))
        }
    }
}

fn status(kind: EntryKind, refund_state: &str) -> Result<RecordStatus, RowError> {
    match refund_state {
        _ if kind == EntryKind::Payment => Ok(RecordStatus::Succeeded),
        "" if kind == EntryKind::Reversal => Ok(RecordStatus::Succeeded),
        "SUCCESS" => Ok(RecordStatus::Succeeded),
        "PROCESSING" | "NOTSURE" => Ok(RecordStatus::Pending),
        // The money could not be delivered and is back with the merchant.
        "CHANGE" | "ABNORMAL" | "FAIL" => Ok(RecordStatus::Failed),
        "REFUNDCLOSE" | "CLOSED" => Ok(RecordStatus::Closed),
        _ => Err(unknown_word(
            "退款状态",
            refund_state,
            "SUCCESS, PROCESSING, NOTSURE, CHANGE, ABNORMAL, FAIL, REFUNDCLOSE, CLOSED",
        )),
    }
}

fn in_column(column: &'static str) -> impl FnOnce(CellError) -> RowError {
    move |reason| reason.in_column(column)
}

fn unknown_word(column: &'static str, found: &str, known: &'static str) -> RowError {
    let found = excerpt(found);
    CellError::UnknownWord { found, known }.in_column(column)
}
