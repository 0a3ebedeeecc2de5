//! Decides what a file of merchants changes.
//!
//! Several rows of one merchant are several fee contracts; what else they say must agree. A contract that holds already
//! keeps its terms, because fees were computed by it, and stays where a file does not name it: it can be ended, from
//! today on, and another one begun. What is to come is as the file says: a contract that has not begun and is not named
//! is dropped. Another bank account never takes effect by a file alone: it waits for two people, and the account known
//! so far is paid until then.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, Utc};
use clearday_jobs::MerchantId;

use super::{ImportSummary, Refusal, RefusedRow, RowEffect};
use crate::domain::fee::FeeContract;
use crate::domain::merchant::{Merchant, accounting_day};

/// One row of a file: a merchant, and one contract.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MerchantRow {
    /// The line, counted from 1.
    pub line: u64,
    /// The merchant, without contracts and as if nothing were known.
    pub merchant: Merchant,
    /// The contract.
    pub contract: FeeContract,
    /// Whether the row says if the merchant is held; a hold is not lifted by saying nothing.
    pub is_hold_told: bool,
}

/// What a file of merchants does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MerchantPlan {
    /// Merchants to be written down, in the order of their ids: new ones, and known ones as they shall be.
    pub writes: Vec<Merchant>,
    /// What was done.
    pub outcome: MerchantOutcome,
}

/// What a file of merchants did.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct MerchantOutcome {
    /// In rows.
    pub summary: ImportSummary,
    /// Merchants of the file for whom another bank account waits for approval.
    pub waiting: Vec<MerchantId>,
}

/// Plans a file; the first row that contradicts another one or what is known refuses it.
pub fn plan_merchants(
    rows: &[MerchantRow],
    known: &[Merchant],
    now: DateTime<Utc>,
) -> Result<MerchantPlan, RefusedRow> {
    let known: BTreeMap<_, _> = known.iter().map(|it| (&it.merchant_id, it)).collect();
    let mut told: BTreeMap<&MerchantId, Told<'_>> = BTreeMap::new();
    for row in rows {
        let merchant_id = &row.merchant.merchant_id;
        let begin = || Told::new(row, known.get(merchant_id).copied(), now);
        let of_merchant = told.entry(merchant_id).or_insert_with(begin);
        of_merchant
            .take(row)
            .map_err(|refusal| refusal.at(row.line))?;
    }
    for of_merchant in told.values_mut() {
        of_merchant.drop_what_is_not_named();
    }
    // Merchants are gone through by their ids, files are read by their lines.
    let overlaps = told.values().filter_map(Told::find_overlap);
    if let Some(refused) = overlaps.min_by_key(|refused| refused.line) {
        return Err(refused);
    }
    let mut plan = MerchantPlan::default();
    for of_merchant in told.into_values() {
        of_merchant.finish(&mut plan);
    }
    Ok(plan)
}

/// What was told of one merchant so far.
struct Told<'a> {
    first: &'a MerchantRow,
    known: Option<&'a Merchant>,
    /// By the merchant's clock.
    today: NaiveDate,
    /// By the day they begin, with the line that told them, if any.
    contracts: BTreeMap<NaiveDate, (FeeContract, Option<u64>)>,
    is_any_dropped: bool,
    /// For each row.
    effects: Vec<RowEffect>,
}

impl<'a> Told<'a> {
    fn new(first: &'a MerchantRow, known: Option<&'a Merchant>, now: DateTime<Utc>) -> Self {
        let contracts = known.map_or(&[][..], |known| &known.contracts);
        let begun = |contract: &FeeContract| (contract.valid_from, (contract.clone(), None));
        Self {
            first,
            known,
            today: accounting_day(&first.merchant, now),
            contracts: contracts.iter().map(begun).collect(),
            is_any_dropped: false,
            effects: Vec::new(),
        }
    }

    fn take(&mut self, row: &MerchantRow) -> Result<(), Refusal> {
        let merchant_id = &row.merchant.merchant_id;
        if let Some(column) = first_difference(&self.first.merchant, &row.merchant) {
            let line = self.first.line;
            let reason = format!("merchant {merchant_id} has another value on line {line}");
            return Err(Refusal::new(column, reason));
        }
        if let Some(known) = self.known
            && known.currency != row.merchant.currency
        {
            let holds = known.currency;
            let reason = format!("merchant {merchant_id} has {holds}, and that never changes");
            return Err(Refusal::new("currency", reason));
        }
        let effect = self.take_contract(row)?;
        self.effects.push(effect);
        Ok(())
    }

    fn take_contract(&mut self, row: &MerchantRow) -> Result<RowEffect, Refusal> {
        let begins = row.contract.valid_from;
        let effect = match self.contracts.get(&begins) {
            None => RowEffect::New,
            Some((same, _)) if *same == row.contract => RowEffect::Unchanged,
            Some((_, Some(line))) => {
                let reason = format!("another contract from {begins} is on line {line}");
                return Err(Refusal::new("fee_valid_from", reason));
            }
            Some((known, None)) => {
                check_change(known, &row.contract, self.today)?;
                RowEffect::Changed
            }
        };
        // A row that repeats another one of the file is not the one that told it.
        self.contracts
            .entry(begins)
            .and_modify(|(contract, line)| {
                contract.clone_from(&row.contract);
                line.get_or_insert(row.line);
            })
            .or_insert_with(|| (row.contract.clone(), Some(row.line)));
        Ok(effect)
    }

    fn drop_what_is_not_named(&mut self) {
        let before = self.contracts.len();
        let today = self.today;
        self.contracts
            .retain(|begins, (_, line)| line.is_some() || *begins <= today);
        self.is_any_dropped = self.contracts.len() < before;
    }

    /// The first contract that begins before the one before it ends.
    fn find_overlap(&self) -> Option<RefusedRow> {
        let after = self.contracts.values().skip(1);
        let (earlier, later) = self
            .contracts
            .values()
            .zip(after)
            .find(|((earlier, _), (later, _))| earlier.overlaps(later))?;
        let ((earlier, earlier_line), (later, later_line)) = (earlier, later);
        let (line, column, other) = match (later_line, earlier_line) {
            (Some(line), _) => (*line, "fee_valid_from", earlier),
            (None, line) => (line.unwrap_or_default(), "fee_valid_until", later),
        };
        let from = other.valid_from;
        let until = other.valid_until.map_or_else(
            || "that has no end".to_owned(),
            |last| format!("that ends on {last}"),
        );
        Some(RefusedRow {
            line,
            column,
            reason: format!("the contract overlaps the one from {from} {until}"),
        })
    }

    fn finish(self, plan: &mut MerchantPlan) {
        let contracts = self.contracts.into_values();
        let merchant = Merchant {
            contracts: contracts.map(|(contract, _)| contract).collect(),
            ..with_what_is_known(self.first, self.known)
        };
        let is_changed = self.known.is_some_and(|known| {
            let is_other_account = known.pending_payee != merchant.pending_payee;
            is_other_account || self.is_any_dropped || first_difference(known, &merchant).is_some()
        });
        for effect in self.effects {
            let effect = match effect {
                RowEffect::Unchanged if is_changed => RowEffect::Changed,
                RowEffect::New | RowEffect::Changed | RowEffect::Unchanged => effect,
            };
            plan.outcome.summary.count(effect, 1);
        }
        if merchant.pending_payee.is_some() {
            plan.outcome.waiting.push(merchant.merchant_id.clone());
        }
        if self.known.is_none_or(|known| *known != merchant) {
            plan.writes.push(merchant);
        }
    }
}

/// Decides whether a contract that is known may become another one, which begins on the same day.
fn check_change(known: &FeeContract, told: &FeeContract, today: NaiveDate) -> Result<(), Refusal> {
    let begins = known.valid_from;
    if today < begins {
        return Ok(());
    }
    let terms = [
        ("fee_rate", known.rate == told.rate),
        ("fee_fixed", known.fixed == told.fixed),
        ("fee_minimum", known.minimum == told.minimum),
        ("fee_maximum", known.maximum == told.maximum),
        ("fee_rounding", known.rounding == told.rounding),
        ("fee_returned", known.returns_fees == told.returns_fees),
    ];
    if let Some((column, _)) = terms.into_iter().find(|(_, is_same)| !is_same) {
        let reason = format!(
            "the contract from {begins} holds already and has another value: end it and begin another"
        );
        return Err(Refusal::new(column, reason));
    }
    let is_over = |last: Option<NaiveDate>| last.is_some_and(|last| last < today);
    if is_over(known.valid_until) || is_over(told.valid_until) {
        let reason =
            format!("the contract from {begins} cannot end, or have ended, before {today}");
        return Err(Refusal::new("fee_valid_until", reason));
    }
    Ok(())
}

/// The merchant as told, in place of the known one: another account waits, and the known one stays; so does a hold
/// of which nothing is said.
fn with_what_is_known(row: &MerchantRow, known: Option<&Merchant>) -> Merchant {
    let told = &row.merchant;
    let Some(known) = known else {
        return told.clone();
    };
    let is_other = known.payee != told.payee;
    Merchant {
        payee: known.payee.clone(),
        pending_payee: is_other.then(|| told.payee.clone()),
        is_held: if row.is_hold_told {
            told.is_held
        } else {
            known.is_held
        },
        version: known.version,
        ..told.clone()
    }
}

/// The first column in which two rows about one merchant differ, the contract left out.
fn first_difference(one: &Merchant, other: &Merchant) -> Option<&'static str> {
    differences(one, other).next()
}

/// The columns in which two merchants differ, the contracts left out.
pub fn differences(one: &Merchant, other: &Merchant) -> impl Iterator<Item = &'static str> {
    let accounts = (&one.payee, &other.payee);
    [
        ("name", one.name == other.name),
        ("currency", one.currency == other.currency),
        ("cycle", one.cycle == other.cycle),
        ("cutoff", one.cutoff == other.cutoff),
        ("zone", one.zone == other.zone),
        ("calendar", one.calendar == other.calendar),
        ("minimum", one.minimum == other.minimum),
        ("settle_basis", one.settle_basis == other.settle_basis),
        ("funds_flow", one.funds_flow == other.funds_flow),
        ("coupons", one.coupons == other.coupons),
        ("reserve_rate", one.reserve_rate == other.reserve_rate),
        ("held", one.is_held == other.is_held),
        ("bank", accounts.0.bank == accounts.1.bank),
        ("account_no", accounts.0.account_no == accounts.1.account_no),
        (
            "account_name",
            accounts.0.account_name == accounts.1.account_name,
        ),
    ]
    .into_iter()
    .filter_map(|(column, is_same)| (!is_same).then_some(column))
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::NaiveTime;
    use clearday_jobs::{Currency, Money};
    use rust_decimal::Decimal;

    use crate::domain::fee::Rounding;
    use crate::domain::merchant::{CouponRule, Cycle, FundsFlow, Payee, SettleBasis};

    /// The 2nd of March in Shanghai.
    fn now() -> DateTime<Utc> {
        "2026-03-02T12:00:00+08:00".parse().unwrap()
    }

    fn date(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    fn cny(minor_units: i64) -> Money {
        Money::from_minor(minor_units, Currency::parse("CNY").unwrap())
    }

    fn merchant() -> Merchant {
        Merchant {
            merchant_id: "M1".parse().unwrap(),
            name: "Shop".to_owned(),
            currency: Currency::parse("CNY").unwrap(),
            cycle: Cycle::BusinessDays(1),
            cutoff: NaiveTime::MIN,
            zone: chrono_tz::Tz::Asia__Shanghai,
            calendar: "CN".to_owned(),
            minimum: cny(0),
            settle_basis: SettleBasis::Reconciled,
            funds_flow: FundsFlow::Collected,
            coupons: CouponRule::ByFunder,
            reserve_rate: Decimal::ZERO,
            is_held: false,
            payee: payee("62000001"),
            pending_payee: None,
            contracts: Vec::new(),
            version: 0,
        }
    }

    fn payee(account_no: &str) -> Payee {
        Payee {
            bank: "sandbox_bank".parse().unwrap(),
            account_no: account_no.to_owned(),
            account_name: "Shop".to_owned(),
        }
    }

    /// A contract of these days at 0.6 %; an empty last day is none.
    fn contract(from: &str, until: &str) -> FeeContract {
        FeeContract {
            valid_from: date(from),
            valid_until: until.parse().ok(),
            rate: Decimal::new(6, 3),
            fixed: cny(0),
            minimum: cny(0),
            maximum: None,
            rounding: Rounding::HalfUp,
            returns_fees: true,
        }
    }

    fn known(contracts: &[FeeContract]) -> Merchant {
        Merchant {
            contracts: contracts.to_vec(),
            version: 3,
            ..merchant()
        }
    }

    /// Rows of these contracts, from line 2 on, of the merchant as this changes it.
    fn rows(contracts: &[FeeContract], change: fn(&mut Merchant)) -> Vec<MerchantRow> {
        let row = |(contract, line): (&FeeContract, u64)| {
            let mut merchant = merchant();
            change(&mut merchant);
            MerchantRow {
                line,
                merchant,
                contract: contract.clone(),
                is_hold_told: true,
            }
        };
        contracts.iter().zip(2..).map(row).collect()
    }

    fn plan(known: &[Merchant], rows: &[MerchantRow]) -> MerchantPlan {
        plan_merchants(rows, known, now()).unwrap()
    }

    fn refusal(known: &[Merchant], rows: &[MerchantRow]) -> String {
        let refused = plan_merchants(rows, known, now()).unwrap_err();
        refused.to_string()
    }

    fn counts(plan: &MerchantPlan) -> [u64; 3] {
        let ImportSummary {
            rows,
            new,
            changed,
            unchanged,
        } = plan.outcome.summary;
        assert_eq!(rows, new.saturating_add(changed).saturating_add(unchanged));
        [new, changed, unchanged]
    }

    /// A column, and a change of it.
    type Change<T> = (&'static str, fn(&mut T));

    /// Every column that is not about the contract.
    const CHANGES: [Change<Merchant>; 15] = [
        ("name", |it| it.name.push('!')),
        ("currency", |it| {
            it.currency = Currency::parse("USD").unwrap();
        }),
        ("cycle", |it| it.cycle = Cycle::BusinessDays(2)),
        ("cutoff", |it| {
            it.cutoff = NaiveTime::from_hms_opt(23, 0, 0).unwrap();
        }),
        ("zone", |it| it.zone = chrono_tz::Tz::UTC),
        ("calendar", |it| it.calendar = "XX".to_owned()),
        ("minimum", |it| it.minimum = cny(1)),
        ("settle_basis", |it| it.settle_basis = SettleBasis::Captured),
        ("funds_flow", |it| it.funds_flow = FundsFlow::Direct),
        ("coupons", |it| it.coupons = CouponRule::Excluded),
        ("reserve_rate", |it| it.reserve_rate = Decimal::new(5, 2)),
        ("held", |it| it.is_held = true),
        ("bank", |it| {
            it.payee.bank = "other_bank".parse().unwrap();
        }),
        ("account_no", |it| it.payee.account_no.push('2')),
        ("account_name", |it| it.payee.account_name.push('2')),
    ];

    #[test]
    fn a_new_merchant_is_written_with_all_its_contracts() {
        let contracts = [
            contract("2026-07-01", ""),
            contract("2026-01-01", "2026-06-30"),
        ];
        let plan = plan(&[], &rows(&contracts, |_| ()));
        let [first, second] = contracts;
        assert_eq!(counts(&plan), [2, 0, 0]);
        let contracts = vec![second, first];
        let expected = Merchant {
            contracts,
            ..merchant()
        };
        assert_eq!(plan.writes, [expected]);
        assert!(plan.outcome.waiting.is_empty());
    }

    #[test]
    fn the_same_again_writes_nothing() {
        let contracts = [
            contract("2026-01-01", "2026-06-30"),
            contract("2026-07-01", ""),
        ];
        let plan = plan(&[known(&contracts)], &rows(&contracts, |_| ()));
        assert_eq!(counts(&plan), [0, 0, 2]);
        assert!(plan.writes.is_empty());
    }

    #[test]
    fn a_row_that_stands_twice_says_nothing_new() {
        let same = [contract("2026-01-01", ""), contract("2026-01-01", "")];
        let first = plan(&[], &rows(&same, |_| ()));
        assert_eq!(counts(&first), [1, 0, 1]);
        assert_eq!(first.writes[0].contracts.len(), 1);
    }

    #[test]
    fn a_change_of_any_column_is_taken_over_but_for_account_and_currency() {
        let contracts = [contract("2026-01-01", "")];
        for (column, change) in CHANGES {
            let rows = rows(&contracts, change);
            if column == "currency" {
                assert_eq!(
                    refusal(&[known(&contracts)], &rows),
                    "line 2, column currency: merchant M1 has CNY, and that never changes"
                );
                continue;
            }
            let plan = plan(&[known(&contracts)], &rows);
            assert_eq!(counts(&plan), [0, 1, 0], "{column}");
            let written = &plan.writes[0];
            assert_eq!(written.version, 3);
            let is_account = ["bank", "account_no", "account_name"].contains(&column);
            assert_eq!(written.pending_payee.is_some(), is_account, "{column}");
            assert_eq!(plan.outcome.waiting.len(), usize::from(is_account));
            assert_eq!(written.payee, merchant().payee);
        }
    }

    #[test]
    fn rows_of_one_merchant_agree_in_every_column() {
        let contracts = [
            contract("2026-01-01", "2026-06-30"),
            contract("2026-07-01", ""),
        ];
        for (column, change) in CHANGES {
            let mut rows = rows(&contracts, |_| ());
            change(&mut rows[1].merchant);
            assert_eq!(
                refusal(&[], &rows),
                format!("line 3, column {column}: merchant M1 has another value on line 2")
            );
        }
    }

    #[test]
    fn another_account_waits_until_the_file_says_the_known_one() {
        let contracts = [contract("2026-01-01", "")];
        let told = rows(&contracts, |it| it.payee = payee("62000002"));
        let waiting = plan(&[known(&contracts)], &told).writes.remove(0);
        assert_eq!(waiting.pending_payee, Some(payee("62000002")));

        let again = plan(std::slice::from_ref(&waiting), &told);
        assert_eq!(counts(&again), [0, 0, 1]);
        assert_eq!(again.outcome.waiting, ["M1".parse().unwrap()]);
        assert!(again.writes.is_empty());

        let third = rows(&contracts, |it| it.payee = payee("62000003"));
        let replaced = plan(std::slice::from_ref(&waiting), &third);
        assert_eq!(counts(&replaced), [0, 1, 0]);
        assert_eq!(replaced.writes[0].pending_payee, Some(payee("62000003")));

        let back = plan(&[waiting], &rows(&contracts, |_| ()));
        assert_eq!(counts(&back), [0, 1, 0]);
        assert_eq!(back.writes[0].pending_payee, None);
        assert!(back.outcome.waiting.is_empty());
    }

    #[test]
    fn contracts_that_share_a_day_are_refused() {
        let told = |contracts: &[FeeContract]| refusal(&[], &rows(contracts, |_| ()));
        assert_eq!(
            told(&[
                contract("2026-01-01", "2026-06-30"),
                contract("2026-06-30", "")
            ]),
            "line 3, column fee_valid_from: the contract overlaps the one from 2026-01-01 that ends on 2026-06-30"
        );
        assert_eq!(
            told(&[contract("2026-07-01", ""), contract("2026-01-01", "")]),
            "line 2, column fee_valid_from: the contract overlaps the one from 2026-01-01 that has no end"
        );
        let mut other_rate = contract("2026-01-01", "");
        other_rate.rate = Decimal::ONE;
        assert_eq!(
            told(&[contract("2026-01-01", ""), other_rate]),
            "line 3, column fee_valid_from: another contract from 2026-01-01 is on line 2"
        );
        let known = known(&[contract("2026-01-01", "")]);
        assert_eq!(
            refusal(
                std::slice::from_ref(&known),
                &rows(&[contract("2026-07-01", "")], |_| ())
            ),
            "line 2, column fee_valid_from: the contract overlaps the one from 2026-01-01 that has no end"
        );
        let earlier = rows(&[contract("2025-07-01", "2026-01-01")], |_| ());
        assert_eq!(
            refusal(&[known], &earlier),
            "line 2, column fee_valid_until: the contract overlaps the one from 2026-01-01 that has no end"
        );
    }

    #[test]
    fn a_contract_that_holds_is_ended_and_another_begun() {
        let before = known(&[contract("2026-01-01", "")]);
        let mut cheaper = contract("2026-04-01", "");
        cheaper.rate = Decimal::new(38, 4);
        let told = [contract("2026-01-01", "2026-03-31"), cheaper];
        let changed = plan(&[before], &rows(&told, |_| ()));
        assert_eq!(counts(&changed), [1, 1, 0]);
        assert_eq!(changed.writes[0].contracts, told);
        // A file that names the new one only leaves the old one alone.
        let [ended, cheaper] = told;
        let after = known(&[ended, cheaper.clone()]);
        let alone = plan(&[after], &rows(&[cheaper], |_| ()));
        assert_eq!(counts(&alone), [0, 0, 1]);
        assert!(alone.writes.is_empty());
    }

    #[test]
    fn what_has_not_begun_is_as_the_file_says() {
        let holds = contract("2026-01-01", "2026-03-31");
        let [july, april] = [contract("2026-07-01", ""), contract("2026-04-01", "")];
        let known = known(&[holds.clone(), july]);
        let alone = rows(std::slice::from_ref(&holds), |_| ());
        let dropped = plan(std::slice::from_ref(&known), &alone);
        assert_eq!(counts(&dropped), [0, 1, 0]);
        assert_eq!(dropped.writes[0].contracts, std::slice::from_ref(&holds));
        let another = rows(std::slice::from_ref(&april), |_| ());
        let replaced = plan(&[known], &another);
        assert_eq!(counts(&replaced), [1, 0, 0]);
        assert_eq!(replaced.writes[0].contracts, [holds, april]);
    }

    #[test]
    fn terms_that_hold_already_do_not_change() {
        let changes: [Change<FeeContract>; 6] = [
            ("fee_rate", |it| it.rate = Decimal::ONE),
            ("fee_fixed", |it| it.fixed = cny(1)),
            ("fee_minimum", |it| it.minimum = cny(1)),
            ("fee_maximum", |it| it.maximum = Some(cny(1))),
            ("fee_rounding", |it| it.rounding = Rounding::Down),
            ("fee_returned", |it| it.returns_fees = false),
        ];
        for (column, change) in changes {
            let mut told = contract("2026-03-02", "");
            change(&mut told);
            assert_eq!(
                refusal(
                    &[known(&[contract("2026-03-02", "")])],
                    &rows(&[told.clone()], |_| ())
                ),
                format!(
                    "line 2, column {column}: the contract from 2026-03-02 holds already and has another value: end it \
                     and begin another"
                )
            );
            // From tomorrow on it is not used yet.
            told.valid_from = date("2026-03-03");
            let plan = plan(
                &[known(&[contract("2026-03-03", "")])],
                &rows(&[told.clone()], |_| ()),
            );
            assert_eq!(counts(&plan), [0, 1, 0]);
            assert_eq!(plan.writes[0].contracts, [told]);
        }
    }

    #[test]
    fn an_end_lies_neither_before_nor_after_the_change_in_the_past() {
        let answer = |before: &str, after: &str| {
            let known = known(&[contract("2026-01-01", before)]);
            let told = rows(&[contract("2026-01-01", after)], |_| ());
            match plan_merchants(&told, &[known], now()) {
                Ok(plan) => format!("{:?}", counts(&plan)),
                Err(refused) => refused.to_string(),
            }
        };
        let refused = "line 2, column fee_valid_until: the contract from 2026-01-01 cannot end, or have ended, before \
                       2026-03-02";
        assert_eq!(answer("", "2026-03-02"), "[0, 1, 0]");
        assert_eq!(answer("2026-03-02", ""), "[0, 1, 0]");
        assert_eq!(answer("2026-03-02", "2026-12-31"), "[0, 1, 0]");
        assert_eq!(answer("", "2026-03-01"), refused);
        assert_eq!(answer("2026-03-01", ""), refused);
    }

    #[test]
    fn the_first_line_that_is_wrong_refuses_the_file() {
        let named = |merchant_id: &str, from: &str, line| MerchantRow {
            line,
            merchant: Merchant {
                merchant_id: merchant_id.parse().unwrap(),
                ..merchant()
            },
            contract: contract(from, ""),
            is_hold_told: true,
        };
        let told = [
            named("B", "2026-01-01", 2),
            named("B", "2026-02-01", 3),
            named("A", "2026-01-01", 4),
            named("A", "2026-02-01", 5),
        ];
        assert!(refusal(&[], &told).starts_with("line 3, "));
    }
}
