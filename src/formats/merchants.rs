//! Merchants with their fee contracts, as CSV with a header or as JSON lines with the same names.
//!
//! A merchant with several contracts stands in several rows, which differ in nothing but the contract. Amounts are in
//! major units of the merchant's currency, rates are parts of one (`0.006` is 0.6 %), both never negative. The rest is
//! said in [`rows`](super::rows).

use std::io::BufRead;

use chrono::NaiveTime;
use chrono_tz::Tz;
use clearday_jobs::{ChannelName, Currency, MerchantId, Money};
use rust_decimal::Decimal;

use super::rows::{
    Columns, Fault, RowsError, amount_of, date, flag, optional, rate, read_rows, required, text_of,
    time_of_day, zone,
};
use crate::domain::calendar::Calendar;
use crate::domain::fee::{FeeContract, Rounding};
use crate::domain::import::merchants::MerchantRow;
use crate::domain::merchant::{CouponRule, FundsFlow, Merchant, Payee, SettleBasis};

/// The columns; a CSV must have the first nine. What the others mean where they are absent or empty is said beside
/// their reading.
pub const COLUMNS: Columns<24> = Columns {
    names: [
        "merchant_id",
        "name",
        "currency",
        "cycle",
        "bank",
        "account_no",
        "account_name",
        "fee_rate",
        "fee_valid_from",
        "cutoff",
        "zone",
        "calendar",
        "minimum",
        "settle_basis",
        "funds_flow",
        "coupons",
        "reserve_rate",
        "held",
        "fee_fixed",
        "fee_minimum",
        "fee_maximum",
        "fee_rounding",
        "fee_returned",
        "fee_valid_until",
    ],
    required: 9,
};

/// Room for every name that is spoken.
pub(super) const NAME_LENGTH_MAX: usize = 128;
/// What ISO 20022 carries of a name.
const ACCOUNT_NAME_LENGTH_MAX: usize = 140;
/// What ISO 20022 carries of an account that has no IBAN.
const ACCOUNT_NO_LENGTH_MAX: usize = 34;

/// Reads all rows, in the order of the file.
pub fn read_merchants(input: impl BufRead) -> Result<Vec<MerchantRow>, RowsError> {
    let mut rows = Vec::new();
    read_rows(
        input,
        &COLUMNS,
        merchant,
        |line, (merchant, contract, is_hold_told)| {
            rows.push(MerchantRow {
                line,
                merchant,
                contract,
                is_hold_told,
            });
        },
    )?;
    Ok(rows)
}

fn merchant(texts: &[&str; COLUMNS.names.len()]) -> Result<(Merchant, FeeContract, bool), Fault> {
    let [
        merchant_id,
        name,
        currency,
        cycle,
        bank,
        account_no,
        account_name,
        fee_rate,
        fee_valid_from,
        cutoff,
        zone_name,
        calendar,
        minimum,
        settle_basis,
        funds_flow,
        coupons,
        reserve_rate,
        held,
        fee_fixed,
        fee_minimum,
        fee_maximum,
        fee_rounding,
        fee_returned,
        fee_valid_until,
    ] = *texts;
    let currency = required("currency", currency)?;
    let payee = Payee {
        bank: required::<ChannelName>("bank", bank)?,
        account_no: account_no_of(account_no)?,
        account_name: text_of("account_name", account_name, ACCOUNT_NAME_LENGTH_MAX)?,
    };
    let merchant = Merchant {
        merchant_id: required::<MerchantId>("merchant_id", merchant_id)?,
        name: text_of("name", name, NAME_LENGTH_MAX)?,
        currency,
        cycle: required("cycle", cycle)?,
        cutoff: given(cutoff, NaiveTime::MIN, |text| time_of_day("cutoff", text))?,
        zone: given(zone_name, Tz::Asia__Shanghai, |text| zone("zone", text))?,
        calendar: given(calendar, "CN".to_owned(), calendar_of)?,
        minimum: amount_or_zero("minimum", minimum, currency)?,
        settle_basis: optional("settle_basis", settle_basis)?.unwrap_or(SettleBasis::Reconciled),
        funds_flow: optional("funds_flow", funds_flow)?.unwrap_or(FundsFlow::Collected),
        coupons: optional("coupons", coupons)?.unwrap_or(CouponRule::ByFunder),
        reserve_rate: given(reserve_rate, Decimal::ZERO, |text| {
            rate("reserve_rate", text)
        })?,
        is_held: given(held, false, |text| flag("held", text))?,
        payee,
        pending_payee: None,
        contracts: Vec::new(),
        version: 0,
    };
    let contract = FeeContract {
        valid_from: date("fee_valid_from", fee_valid_from)?,
        valid_until: given(fee_valid_until, None, |text| {
            date("fee_valid_until", text).map(Some)
        })?,
        rate: rate("fee_rate", fee_rate)?,
        fixed: amount_or_zero("fee_fixed", fee_fixed, currency)?,
        minimum: amount_or_zero("fee_minimum", fee_minimum, currency)?,
        maximum: given(fee_maximum, None, |text| {
            amount_of("fee_maximum", text, currency).map(Some)
        })?,
        rounding: optional("fee_rounding", fee_rounding)?.unwrap_or(Rounding::HalfUp),
        returns_fees: given(fee_returned, true, |text| flag("fee_returned", text))?,
    };
    check_contract(&contract)?;
    Ok((merchant, contract, !held.is_empty()))
}

/// Reads a value, or takes `absent` in place of none.
fn given<T>(
    text: &str,
    absent: T,
    read: impl FnOnce(&str) -> Result<T, Fault>,
) -> Result<T, Fault> {
    if text.is_empty() {
        Ok(absent)
    } else {
        read(text)
    }
}

fn amount_or_zero(column: &str, text: &str, currency: Currency) -> Result<Money, Fault> {
    let zero = Money::from_minor(0, currency);
    given(text, zero, |text| amount_of(column, text, currency))
}

fn account_no_of(text: &str) -> Result<String, Fault> {
    let column = "account_no";
    if text.is_empty() {
        return Err(Fault::new(column, "is empty"));
    }
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
    if text.len() > ACCOUNT_NO_LENGTH_MAX || !text.bytes().all(is_inner) {
        let reason =
            format!("is not 1 to {ACCOUNT_NO_LENGTH_MAX} letters of ASCII, digits and hyphens");
        return Err(Fault::new(column, reason));
    }
    Ok(text.to_owned())
}

fn calendar_of(text: &str) -> Result<String, Fault> {
    if let Some(calendar) = Calendar::find(text) {
        return Ok(calendar.code().to_owned());
    }
    let known: Vec<&str> = Calendar::ALL.iter().map(Calendar::code).collect();
    let reason = format!("is not a calendar that ships: {}", known.join(", "));
    Err(Fault::new("calendar", reason))
}

fn check_contract(contract: &FeeContract) -> Result<(), Fault> {
    let minimum = contract.minimum;
    if let Some(maximum) = contract.maximum
        && maximum.minor_units() < minimum.minor_units()
    {
        let reason = format!("{maximum} is less than the fee_minimum of {minimum}");
        return Err(Fault::new("fee_maximum", reason));
    }
    if let Some(last) = contract.valid_until
        && last < contract.valid_from
    {
        let first = contract.valid_from;
        let reason = format!("{last} is before the fee_valid_from of {first}");
        return Err(Fault::new("fee_valid_until", reason));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use chrono::NaiveDate;

    use super::*;
    use crate::domain::merchant::Cycle;

    /// In the order that people write them, which is not the one above.
    const HEADER: &str = "merchant_id,name,currency,cycle,cutoff,zone,calendar,minimum,settle_basis,funds_flow,coupons,\
                          reserve_rate,held,bank,account_no,account_name,fee_rate,fee_fixed,fee_minimum,fee_maximum,\
                          fee_rounding,fee_returned,fee_valid_from,fee_valid_until";
    const ROW: &str = "M1,Shop,CNY,T+1,23:00,UTC,CN,10.00,funded,direct,excluded,\
                       0.05,true,some_bank,62000001,Shop Ltd,0.006,0.10,0.20,20.00,\
                       half_even,false,2026-01-01,2026-12-31";

    fn columns() -> Vec<&'static str> {
        HEADER.split(',').collect()
    }

    /// The row with another value in one column, quoted, behind the header and a good row.
    fn with(column: &str, value: &str) -> String {
        let place = columns().iter().position(|name| *name == column).unwrap();
        let mut values: Vec<String> = ROW.split(',').map(str::to_owned).collect();
        values[place] = format!("\"{}\"", value.replace('"', "\"\""));
        format!("{HEADER}\n{ROW}\n{}\n", values.join(","))
    }

    fn read(text: impl AsRef<[u8]>) -> Result<Vec<MerchantRow>, RowsError> {
        read_merchants(text.as_ref())
    }

    fn refusal(column: &str, value: &str) -> String {
        let said = read(with(column, value)).unwrap_err().to_string();
        let reason = said.strip_prefix(&format!("line 3, column {column}: "));
        reason.unwrap_or_else(|| panic!("{said}")).to_owned()
    }

    #[test]
    fn every_value_is_read() {
        let rows = read(format!("{HEADER}\n{ROW}\n")).unwrap();
        let [
            MerchantRow {
                line,
                merchant,
                contract,
                is_hold_told,
            },
        ] = rows.as_slice()
        else {
            panic!("{rows:?}");
        };
        assert!(*is_hold_told);
        assert_eq!(*line, 2);
        let cny = |minor_units| Money::from_minor(minor_units, merchant.currency);
        let day = |text: &str| -> NaiveDate { text.parse().unwrap() };
        let payee = Payee {
            bank: "some_bank".parse().unwrap(),
            account_no: "62000001".to_owned(),
            account_name: "Shop Ltd".to_owned(),
        };
        assert_eq!(
            *merchant,
            Merchant {
                merchant_id: "M1".parse().unwrap(),
                name: "Shop".to_owned(),
                currency: Currency::parse("CNY").unwrap(),
                cycle: Cycle::BusinessDays(1),
                cutoff: NaiveTime::from_hms_opt(23, 0, 0).unwrap(),
                zone: Tz::UTC,
                calendar: "CN".to_owned(),
                minimum: cny(1_000),
                settle_basis: SettleBasis::Funded,
                funds_flow: FundsFlow::Direct,
                coupons: CouponRule::Excluded,
                reserve_rate: "0.05".parse().unwrap(),
                is_held: true,
                payee,
                pending_payee: None,
                contracts: Vec::new(),
                version: 0,
            }
        );
        assert_eq!(
            *contract,
            FeeContract {
                valid_from: day("2026-01-01"),
                valid_until: Some(day("2026-12-31")),
                rate: "0.006".parse().unwrap(),
                fixed: cny(10),
                minimum: cny(20),
                maximum: Some(cny(2_000)),
                rounding: Rounding::HalfEven,
                returns_fees: false,
            }
        );
    }

    #[test]
    fn csv_and_json_lines_tell_the_same() {
        let members: Vec<String> = columns()
            .iter()
            .zip(ROW.split(','))
            .map(|(name, value)| format!("\"{name}\":\"{value}\""))
            .collect();
        let from_json = read(format!("{{{}}}\n", members.join(","))).unwrap();
        let from_csv = read(format!("{HEADER}\n{ROW}\n")).unwrap();
        assert_eq!(from_json[0].merchant, from_csv[0].merchant);
        assert_eq!(from_json[0].contract, from_csv[0].contract);
    }

    #[test]
    fn what_is_not_told_has_a_default() {
        let header = COLUMNS.names[..COLUMNS.required].join(",");
        let short = read(format!(
            "{header}\nM1,Shop,JPY,T+0,bank,1,Shop,0,2026-01-01\n"
        ))
        .unwrap();
        let empty = format!("{HEADER}\nM1,Shop,JPY,T+0,,,,,,,,,,bank,1,Shop,0,,,,,,2026-01-01,\n");
        assert_eq!(read(empty).unwrap(), short);
        let MerchantRow {
            merchant, contract, ..
        } = &short[0];
        assert_eq!(merchant.cutoff, NaiveTime::MIN);
        assert_eq!(merchant.zone, Tz::Asia__Shanghai);
        assert_eq!(merchant.calendar, "CN");
        assert!(merchant.minimum.is_zero());
        assert_eq!(merchant.settle_basis, SettleBasis::Reconciled);
        assert_eq!(merchant.funds_flow, FundsFlow::Collected);
        assert_eq!(merchant.coupons, CouponRule::ByFunder);
        assert_eq!(merchant.reserve_rate, Decimal::ZERO);
        assert!(!merchant.is_held);
        assert_eq!(contract.valid_until, None);
        assert!(contract.fixed.is_zero() && contract.minimum.is_zero());
        assert_eq!(contract.maximum, None);
        assert_eq!(contract.rounding, Rounding::HalfUp);
        assert!(contract.returns_fees);
    }

    #[test]
    fn every_column_that_must_be_there_is_missed() {
        for required in &COLUMNS.names[..COLUMNS.required] {
            assert_eq!(refusal(required, ""), "is empty");
            let others: Vec<&str> = columns().into_iter().filter(|it| it != required).collect();
            assert_eq!(
                read(others.join(",")).unwrap_err().to_string(),
                format!("line 1, column {required}: is missing in the header")
            );
            // The same for JSON lines, which have no header.
            let members: Vec<String> = columns()
                .iter()
                .zip(ROW.split(','))
                .filter(|(name, _)| *name != required)
                .map(|(name, value)| format!("\"{name}\":\"{value}\""))
                .collect();
            assert_eq!(
                read(format!("{{{}}}", members.join(",")))
                    .unwrap_err()
                    .to_string(),
                format!("line 1, column {required}: is empty")
            );
        }
        for optional in &COLUMNS.names[COLUMNS.required..] {
            assert!(read(with(optional, "")).is_ok(), "{optional}");
        }
    }

    #[test]
    fn every_column_refuses_what_it_cannot_be() {
        let is_amount = "is not an amount; write it in digits, like \"12.34\"";
        let is_date = "is not a date, like 2026-03-02";
        let is_rate = "is not between 0 and 1 in at most 9 decimal places, like 0.006 for 0.6 %";
        let is_account = "is not 1 to 34 letters of ASCII, digits and hyphens";
        let is_zone = "is no IANA time zone, such as Asia/Shanghai or UTC";
        let is_cycle = "is no cycle, such as T+1, weekly:sunday+1 or monthly:31+3 (the last day of a period, and up to \
                        65 business days)";
        let is_time = "is not a time of day, like 23:00";
        let long = |length| "x".repeat(length);
        #[rustfmt::skip]
        let table: Vec<(&str, String, String)> = [
            ("merchant_id", long(65), "a merchant id has 1 to 64 characters, not 65"),
            ("merchant_id", "M 1".into(), "a merchant id is printable ASCII without spaces; character 2 is not"),
            ("merchant_id", "店".into(), "a merchant id is printable ASCII without spaces; character 1 is not"),
            ("name", long(129), "has 129 characters; at most 128 are kept"),
            ("name", "Sh\u{7}op".into(), "holds a control character"),
            ("name", " Shop".into(), "begins or ends with a blank"),
            ("currency", "RMB".into(), "\"RMB\" is not an ISO 4217 currency code, like \"CNY\""),
            ("currency", "cny".into(), "\"cny\" is not an ISO 4217 currency code, like \"CNY\""),
            ("currency", "XAU".into(), "XAU has no minor unit in ISO 4217, so it cannot carry an amount"),
            ("cycle", "D+1".into(), is_cycle),
            ("cycle", "T+66".into(), is_cycle),
            ("cycle", "monthly:32+1".into(), is_cycle),
            ("cycle", long(100), is_cycle),
            ("cutoff", "24:00".into(), is_time),
            ("cutoff", "9:00".into(), is_time),
            ("cutoff", "23:00:00".into(), is_time),
            ("cutoff", "noon".into(), is_time),
            ("zone", "Asia/Beijing".into(), is_zone),
            ("zone", "+08:00".into(), is_zone),
            ("zone", long(100), is_zone),
            ("calendar", "XX".into(), "is not a calendar that ships: CN"),
            ("calendar", "cn".into(), "is not a calendar that ships: CN"),
            ("minimum", "-0.01".into(), "-0.01 CNY is negative"),
            ("minimum", "0.001".into(), "\"0.001\" is finer than the minor unit of CNY (2 decimal places)"),
            ("minimum", "1,000.00".into(), &format!("\"1,000.00\" {is_amount}")),
            ("minimum", "9".repeat(30), "the amount in CNY is out of range"),
            ("settle_basis", "paid".into(), "is not one of captured, reconciled, funded"),
            ("funds_flow", "Direct".into(), "is not one of collected, direct"),
            ("coupons", "none".into(), "is not one of by_funder, excluded"),
            ("reserve_rate", "-0.1".into(), is_rate),
            ("reserve_rate", "1.1".into(), is_rate),
            ("reserve_rate", "0.0000000001".into(), is_rate),
            ("held", "yes".into(), "is not one of true, false"),
            ("held", "1".into(), "is not one of true, false"),
            ("bank", long(65), "a channel name has 1 to 64 characters, not 65"),
            ("bank", "my bank".into(), "a channel name is printable ASCII without spaces; character 3 is not"),
            ("account_no", "6".repeat(35), is_account),
            ("account_no", "6200 0001".into(), is_account),
            ("account_no", "６２".into(), is_account),
            ("account_name", long(141), "has 141 characters; at most 140 are kept"),
            ("account_name", "Shop\nLtd".into(), "holds a control character"),
            ("account_name", "Shop ".into(), "begins or ends with a blank"),
            ("fee_rate", "1.000000001".into(), is_rate),
            ("fee_rate", "-0.006".into(), is_rate),
            ("fee_rate", "0.6%".into(), is_rate),
            ("fee_rate", "6e-3".into(), is_rate),
            ("fee_rate", ".006".into(), is_rate),
            ("fee_rate", "+0.006".into(), is_rate),
            ("fee_rate", "0_1".into(), is_rate),
            ("fee_rate", "0.".into(), is_rate),
            ("fee_rate", "0.00600000000000000000000000000000001".into(), is_rate),
            ("fee_fixed", "-1".into(), "-1.00 CNY is negative"),
            ("fee_fixed", "a".into(), &format!("\"a\" {is_amount}")),
            ("fee_minimum", "-1".into(), "-1.00 CNY is negative"),
            ("fee_minimum", "0.001".into(), "\"0.001\" is finer than the minor unit of CNY (2 decimal places)"),
            ("fee_maximum", "-1".into(), "-1.00 CNY is negative"),
            ("fee_maximum", "1e2".into(), &format!("\"1e2\" {is_amount}")),
            ("fee_maximum", "0.19".into(), "0.19 CNY is less than the fee_minimum of 0.20 CNY"),
            ("fee_rounding", "nearest".into(), "is not one of half_up, half_even, up, down"),
            ("fee_returned", "no".into(), "is not one of true, false"),
            ("fee_valid_from", "2026-02-29".into(), is_date),
            ("fee_valid_from", "2026-1-1".into(), is_date),
            ("fee_valid_from", "2026/01/01".into(), is_date),
            ("fee_valid_from", "12026-01-01".into(), is_date),
            ("fee_valid_until", "soon".into(), is_date),
            ("fee_valid_until", "2026-12-31T00:00:00Z".into(), is_date),
            ("fee_valid_until", "2025-12-31".into(), "2025-12-31 is before the fee_valid_from of 2026-01-01"),
        ]
        .map(|(column, value, expected)| (column, value, expected.to_owned()))
        .into();
        for (column, value, expected) in &table {
            assert_eq!(refusal(column, value), *expected, "{column}: {value:?}");
        }
        let covered: BTreeSet<&str> = table.iter().map(|(column, ..)| *column).collect();
        assert_eq!(covered, COLUMNS.names.into());
    }

    #[test]
    fn bytes_that_are_no_text_are_refused_in_every_column() {
        for (place, column) in columns().iter().enumerate() {
            let mut values: Vec<&[u8]> = ROW.split(',').map(str::as_bytes).collect();
            values[place] = b"\xff";
            let text = [HEADER.as_bytes(), b"\n", &values.join(&b','), b"\n"].concat();
            assert_eq!(
                read(text).unwrap_err().to_string(),
                format!("line 2, column {column}: is not valid UTF-8")
            );
        }
    }

    #[test]
    fn headers_and_widths_are_refused() {
        let refusal = |text: String| read(text).unwrap_err().to_string();
        assert!(
            refusal(format!("{HEADER},tier\n"))
                .starts_with("line 1, column tier: is unknown; the columns are merchant_id,name,")
        );
        assert_eq!(
            refusal(format!("{HEADER},held\n")),
            "line 1, column held: is there twice"
        );
        assert_eq!(
            refusal(format!("{HEADER}\n{ROW},x\n")),
            "line 2: 25 values where the header has 24"
        );
    }
}
