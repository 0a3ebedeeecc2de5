//! One row of a fund flow (资金账单): a movement of the merchant's account at WeChat Pay, of whatever cause.

use chrono::{DateTime, FixedOffset};
use clearday_jobs::{Currency, Money};
use rust_decimal::Decimal;

use super::cells::{
    CellError, ColumnNames, HeaderError, Layout, RowError, amount, decimal_places, excerpt, instant,
};
use crate::domain::reconciliation::entry::major_units;

const COLUMNS: [ColumnNames; 8] = [
    &["记账时间"],
    &["微信支付业务单号"],
    &["资金流水单号"],
    &["业务类型"],
    &["收支类型"],
    &["收支金额(元)", "收支金额"],
    &["账户结余(元)", "账户结余"],
    &["业务凭证号"],
];

/// One movement of the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FundMovement<'a> {
    /// When it was booked.
    pub booked_at: DateTime<FixedOffset>,
    /// 微信支付业务单号: of a refund its refund number, the same as in the trade bill.
    pub business_no: &'a str,
    /// 资金流水单号.
    pub flow_no: &'a str,
    /// 业务类型, like 交易, 退款, 提现.
    pub business: &'a str,
    /// 业务凭证号: our number, where there is one.
    pub voucher_no: &'a str,
    /// Signed: money in is positive.
    pub amount: Money,
    /// What was on the account afterwards.
    pub balance: Money,
}

/// Where the columns of a fund flow stand.
#[derive(Debug)]
pub(super) struct FundFlowLayout {
    columns: Layout<8>,
    yuan: Currency,
}

/// What a row adds to the sums, in the order of the trailer.
pub(super) type FundSums = [Decimal; 5];

/// A row as read.
#[derive(Debug)]
pub(super) struct FundRow<'a> {
    pub(super) movement: FundMovement<'a>,
    pub(super) sums: FundSums,
    pub(super) last_sum_places: usize,
}

/// Whether a header is that of a fund flow, whatever columns it lacks.
pub(super) fn is_header(header: &str) -> bool {
    header.contains("资金流水单号") && header.contains("收支类型")
}

impl FundFlowLayout {
    /// Reads the header; `yuan` is the currency that its columns name.
    pub(super) fn of_header(header: &str, yuan: Currency) -> Result<Self, HeaderError> {
        let columns = Layout::of_header(header, &COLUMNS)?;
        let needed: Vec<usize> = (0..COLUMNS.len()).collect();
        columns.require(&needed, &COLUMNS)?;
        Ok(Self { columns, yuan })
    }

    /// Reads a row.
    pub(super) fn row<'a>(&self, row: &'a str) -> Result<FundRow<'a>, RowError> {
        let [
            booked_at,
            business_no,
            flow_no,
            business,
            direction,
            moved,
            balance,
            voucher_no,
        ] = self.columns.values(row)?;
        let column = |column: &'static str| move |reason: CellError| reason.in_column(column);
        let size = amount(moved, self.yuan).map_err(column("收支金额(元)"))?;
        // An overdrawn account may be negative.
        let balance = Money::parse_major(balance, self.yuan).map_err(CellError::from);
        let balance = balance.map_err(column("账户结余(元)"))?;
        let size_sum = major_units(size);
        let (sums, signed) = match direction {
            "收入" => (
                [
                    Decimal::ONE,
                    Decimal::ONE,
                    size_sum,
                    Decimal::ZERO,
                    Decimal::ZERO,
                ],
                Some(size),
            ),
            "支出" => (
                [
                    Decimal::ONE,
                    Decimal::ZERO,
                    Decimal::ZERO,
                    Decimal::ONE,
                    size_sum,
                ],
                size.checked_neg().ok(),
            ),
            _ => {
                let found = excerpt(direction);
                let known = "收入, 支出";
                return Err(CellError::UnknownWord { found, known }.in_column("收支类型"));
            }
        };
        Ok(FundRow {
            movement: FundMovement {
                booked_at: instant(booked_at).map_err(column("记账时间"))?,
                business_no,
                flow_no,
                business,
                voucher_no,
                amount: signed.ok_or(RowError::OutOfRange)?,
                balance,
            },
            sums,
            last_sum_places: decimal_places(moved),
        })
    }
}
