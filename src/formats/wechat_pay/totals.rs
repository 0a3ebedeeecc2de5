//! The sums of a bill: computed from its rows, and told by its trailer.

use clearday_jobs::Currency;
use rust_decimal::Decimal;
use serde::ser::{Serialize, SerializeMap, Serializer};

use super::cells::{ColumnNames, HeaderError, Layout, RowError, number, present_name};
use crate::domain::words::words;

words! {
    /// One sum over the rows of a bill.
    TotalName {
        /// How many rows there are (总交易单数, 资金流水总笔数).
        Lines = "lines",
        /// 应结订单总金额; before November 2018 总交易额.
        SettlementAmount = "settlement_amount",
        /// 退款总金额: what refunds take out of the settlement.
        RefundAmount = "refund_amount",
        /// 充值券退款总金额: the part of the refunds that goes back into prepaid coupons.
        CouponRefundAmount = "coupon_refund_amount",
        /// 手续费总金额: fees less fees given back.
        Fee = "fee",
        /// 订单总金额: what the orders were worth before coupons.
        OrderAmount = "order_amount",
        /// 申请退款总金额: what was asked back.
        RequestedRefundAmount = "requested_refund_amount",
        /// 收入笔数: rows that brought money.
        IncomeLines = "income_lines",
        /// 收入金额.
        IncomeAmount = "income_amount",
        /// 支出笔数: rows that took money.
        ExpenseLines = "expense_lines",
        /// 支出金额.
        ExpenseAmount = "expense_amount",
    }
    "the names of totals"
}

impl TotalName {
    /// The columns a trailer tells it in.
    const fn columns(self) -> ColumnNames {
        match self {
            Self::Lines => &["总交易单数", "资金流水总笔数"],
            Self::SettlementAmount => &["应结订单总金额", "总交易额"],
            Self::RefundAmount => &["退款总金额", "总退款金额"],
            Self::CouponRefundAmount => &[
                "充值券退款总金额",
                "总代金券或立减优惠退款金额",
                "总企业红包退款金额",
                "代金券退款总金额",
                "总代金券退款金额",
            ],
            Self::Fee => &["手续费总金额"],
            Self::OrderAmount => &["订单总金额"],
            Self::RequestedRefundAmount => &["申请退款总金额"],
            Self::IncomeLines => &["收入笔数"],
            Self::IncomeAmount => &["收入金额"],
            Self::ExpenseLines => &["支出笔数"],
            Self::ExpenseAmount => &["支出金额"],
        }
    }

    const fn is_count(self) -> bool {
        match self {
            Self::Lines | Self::IncomeLines | Self::ExpenseLines => true,
            Self::SettlementAmount
            | Self::RefundAmount
            | Self::CouponRefundAmount
            | Self::Fee
            | Self::OrderAmount
            | Self::RequestedRefundAmount
            | Self::IncomeAmount
            | Self::ExpenseAmount => false,
        }
    }
}

/// The sums of one format; the number of them is part of the format.
pub(super) type TotalNames = &'static [TotalName];

/// Since November 2018.
pub(super) const TRADE: TotalNames = &[
    TotalName::Lines,
    TotalName::SettlementAmount,
    TotalName::RefundAmount,
    TotalName::CouponRefundAmount,
    TotalName::Fee,
    TotalName::OrderAmount,
    TotalName::RequestedRefundAmount,
];

/// Before November 2018.
pub(super) const TRADE_LEGACY: TotalNames = &[
    TotalName::Lines,
    TotalName::SettlementAmount,
    TotalName::RefundAmount,
    TotalName::CouponRefundAmount,
    TotalName::Fee,
];

/// Of a fund flow.
pub(super) const FUND_FLOW: TotalNames = &[
    TotalName::Lines,
    TotalName::IncomeLines,
    TotalName::IncomeAmount,
    TotalName::ExpenseLines,
    TotalName::ExpenseAmount,
];

/// More than any format has.
const TOTALS_MAX: usize = 7;

/// Sums by name, in the order of their trailer.
#[derive(Clone, Debug)]
pub struct Totals {
    names: TotalNames,
    values: Vec<Decimal>,
}

/// One sum on which rows and trailer differ.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Disagreement {
    /// Which sum.
    pub name: TotalName,
    /// What the rows sum up to.
    pub computed: Decimal,
    /// What the trailer says.
    pub trailer: Decimal,
}

impl Totals {
    /// All sums zero.
    pub(super) fn zero(names: TotalNames) -> Self {
        Self {
            names,
            values: vec![Decimal::ZERO; names.len()],
        }
    }

    /// The sums it holds.
    pub(super) const fn names(&self) -> TotalNames {
        self.names
    }

    /// Adds one row: its values in the order of the names.
    pub(super) fn add(&mut self, row: &[Decimal]) -> Result<(), RowError> {
        for (sum, value) in self.values.iter_mut().zip(row) {
            if !value.is_zero() {
                *sum = sum.checked_add(*value).ok_or(RowError::OutOfRange)?;
            }
        }
        Ok(())
    }

    /// The sum of a name, if the format has it.
    pub fn get(&self, name: TotalName) -> Option<Decimal> {
        self.iter()
            .find_map(|(known, value)| (known == name).then_some(value))
    }

    /// Every sum with its name.
    pub fn iter(&self) -> impl Iterator<Item = (TotalName, Decimal)> {
        self.names.iter().copied().zip(self.values.iter().copied())
    }

    /// Where these sums, computed from rows, and those of a trailer differ.
    pub fn disagreements(&self, trailer: &Self) -> Vec<Disagreement> {
        let differing =
            |((name, computed), (_, told)): ((TotalName, Decimal), (TotalName, Decimal))| {
                (computed != told).then_some(Disagreement {
                    name,
                    computed,
                    trailer: told,
                })
            };
        self.iter()
            .zip(trailer.iter())
            .filter_map(differing)
            .collect()
    }

    /// Every sum as text: a count without a point, an amount with at least the decimal places of its currency.
    pub fn texts(&self, currency: Option<Currency>) -> TotalTexts {
        let text = |(name, value)| (name, total_text(name, value, currency));
        TotalTexts(self.iter().map(text).collect())
    }
}

/// Sums as they are written outside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TotalTexts(pub Vec<(TotalName, String)>);

impl Serialize for TotalTexts {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, text) in &self.0 {
            map.serialize_entry(name.as_str(), text)?;
        }
        map.end()
    }
}

/// One sum as text.
pub fn total_text(name: TotalName, value: Decimal, currency: Option<Currency>) -> String {
    if name.is_count() {
        value.normalize().to_string()
    } else {
        decimal_text(value, currency.map_or(2, Currency::exponent))
    }
}

/// An amount with at least so many decimal places.
pub fn decimal_text(value: Decimal, decimal_places: u32) -> String {
    let mut value = value.normalize();
    if value.scale() < decimal_places {
        value.rescale(decimal_places);
    }
    value.to_string()
}

/// Whether a line is the header of a trailer: it begins with the name of a sum.
pub(super) fn is_trailer_header(names: TotalNames, line: &str) -> bool {
    let line = line.strip_prefix('`').unwrap_or(line);
    // Rows nearly always begin with a date.
    if line.starts_with(|first: char| first.is_ascii()) {
        return false;
    }
    let first = line.split(',').next().unwrap_or_default();
    names.iter().any(|name| name.columns().contains(&first))
}

/// Where the sums of a trailer stand.
#[derive(Debug)]
pub(super) struct TrailerLayout {
    names: TotalNames,
    columns: Layout<TOTALS_MAX>,
}

impl TrailerLayout {
    /// Reads the header of a trailer, which must tell all of these sums.
    pub(super) fn of_header(names: TotalNames, header: &str) -> Result<Self, HeaderError> {
        let mut columns: [ColumnNames; TOTALS_MAX] = [&[]; TOTALS_MAX];
        for (column, name) in columns.iter_mut().zip(names) {
            *column = name.columns();
        }
        let layout = Layout::of_header(header, &columns)?;
        let needed: Vec<usize> = (0..names.len()).collect();
        layout.require(&needed, &columns)?;
        Ok(Self {
            names,
            columns: layout,
        })
    }

    /// Reads the line of sums.
    pub(super) fn values(&self, line: &str) -> Result<Totals, RowError> {
        let mut totals = Totals::zero(self.names);
        let texts = self.columns.values(line)?;
        for ((sum, text), name) in totals.values.iter_mut().zip(texts).zip(self.names) {
            let column = present_name(name.columns());
            *sum = number(text).map_err(|reason| reason.in_column(column))?;
        }
        Ok(totals)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_keep_their_places_and_lose_empty_ones() {
        let text = |value: &str, places| decimal_text(value.parse().unwrap(), places);
        assert_eq!(text("0.08000", 2), "0.08");
        assert_eq!(text("0.01250", 2), "0.0125");
        assert_eq!(text("5", 2), "5.00");
        assert_eq!(text("-1.2", 2), "-1.20");
        assert_eq!(text("700.00", 0), "700");
        assert_eq!(text("0", 2), "0.00");
    }
}
