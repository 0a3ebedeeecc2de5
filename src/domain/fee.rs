//! What a merchant pays us for a payment, and what of it a refund gives back.
//!
//! A fee is computed once per payment, from the contract in force when it was captured, and rounded once, by the rule
//! that the contract names. Everything is exact until then: no floats and no decimal that rounds by itself.

use chrono::NaiveDate;
use clearday_jobs::{Money, MoneyError};
use rust_decimal::Decimal;

use super::words::words;

/// Rates have at most this many decimal places, so that they are whole numbers of billionths.
pub const RATE_PLACES_MAX: u32 = 9;

/// The billionths of a rate between 0 and 1; `None` for another, and for one that is finer than [`RATE_PLACES_MAX`].
pub fn rate_in_billionths(rate: Decimal) -> Option<i64> {
    let mut fine = rate;
    fine.rescale(RATE_PLACES_MAX);
    let is_rate = fine == rate && rate >= Decimal::ZERO && rate <= Decimal::ONE;
    is_rate.then(|| fine.mantissa().try_into().ok()).flatten()
}

/// The rate of so many billionths.
pub fn rate_of_billionths(billionths: i64) -> Decimal {
    Decimal::new(billionths, RATE_PLACES_MAX).normalize()
}

/// What a merchant pays, from one day to another.
///
/// Tiers by volume would be a list of rates here, chosen by what was captured before in the period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FeeContract {
    /// The first day on which it holds.
    pub valid_from: NaiveDate,
    /// The last day on which it holds; none: until further notice.
    pub valid_until: Option<NaiveDate>,
    /// What part of the amount; between 0 and 1.
    pub rate: Decimal,
    /// What is added for each payment.
    pub fixed: Money,
    /// No fee is less.
    pub minimum: Money,
    /// No fee is more.
    pub maximum: Option<Money>,
    /// What happens to the part below the minor unit.
    pub rounding: Rounding,
    /// Whether a refund gives its part of the fee back.
    pub returns_fees: bool,
}

words! {
    /// What happens to a part below the minor unit. Amounts here are never negative.
    Rounding {
        /// Half a unit and more is a whole one.
        HalfUp = "half_up",
        /// Half a unit goes to the even neighbour, more is a whole one.
        HalfEven = "half_even",
        /// Any part is a whole unit.
        Up = "up",
        /// No part counts.
        Down = "down",
    }
    "half_up, half_even, up, down"
}

/// What became of a payment and its fee before a refund, and the refund.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RefundedSoFar {
    /// The payment.
    pub amount: Money,
    /// The fee that was taken for it.
    pub fee: Money,
    /// What was refunded before this refund.
    pub refunded_before: Money,
    /// What of the fee was given back before.
    pub given_back_before: Money,
    /// This refund.
    pub refund: Money,
}

impl FeeContract {
    /// Whether it holds on a day; both its first and its last day count.
    pub fn holds_on(&self, date: NaiveDate) -> bool {
        self.valid_from <= date && self.valid_until.is_none_or(|last| date <= last)
    }

    /// Whether there is a day on which both hold.
    pub fn overlaps(&self, other: &Self) -> bool {
        let ends_before =
            |one: &Self, other: &Self| one.valid_until.is_some_and(|last| last < other.valid_from);
        !ends_before(self, other) && !ends_before(other, self)
    }
}

/// The contract that holds on a day; contracts of one merchant do not overlap.
pub fn contract_on(contracts: &[FeeContract], date: NaiveDate) -> Option<&FeeContract> {
    contracts.iter().find(|contract| contract.holds_on(date))
}

/// The fee of a payment of `amount`: its part by the rate and the fixed part, rounded, and then brought between the
/// minimum and the maximum. It may be more than the payment.
///
/// # Errors
/// When the contract is in another currency, or the fee does not fit.
pub fn fee_of_payment(contract: &FeeContract, amount: Money) -> Result<Money, MoneyError> {
    let currency = amount.currency();
    if contract.fixed.currency() != currency {
        let theirs = contract.fixed.currency();
        return Err(MoneyError::CurrencyMismatch(theirs, currency));
    }
    let scale = 10_i128.checked_pow(contract.rate.scale());
    let by_rate = i128::from(amount.minor_units()).checked_mul(contract.rate.mantissa());
    let fixed = scale.and_then(|scale| scale.checked_mul(contract.fixed.minor_units().into()));
    let rounded = by_rate
        .zip(fixed)
        .and_then(|(by_rate, fixed)| by_rate.checked_add(fixed))
        .zip(scale)
        .and_then(|(sum, scale)| round_ratio(sum, scale, contract.rounding))
        .ok_or(MoneyError::OutOfRange(currency))?;
    let at_least = rounded.max(contract.minimum.minor_units());
    let at_most = contract.maximum.map(Money::minor_units);
    let minor_units = at_most.map_or(at_least, |most| at_least.min(most));
    Ok(Money::from_minor(minor_units, currency))
}

/// What of the fee a refund gives back: the part of the fee that all refunds so far make up, rounded, less what was
/// given back before. So a payment that is refunded in full, in whatever pieces, gives back exactly its fee.
///
/// # Errors
/// When the amounts are not in one currency, or do not fit.
pub fn fee_given_back(contract: &FeeContract, told: &RefundedSoFar) -> Result<Money, MoneyError> {
    let currency = told.fee.currency();
    let refunded = told.refunded_before.checked_add(told.refund)?;
    let is_left = !told.amount.checked_sub(refunded)?.is_negative() && refunded != told.amount;
    if !contract.returns_fees {
        return Ok(Money::from_minor(0, currency));
    }
    let in_all = if is_left {
        let product = i128::from(told.fee.minor_units())
            .checked_mul(refunded.minor_units().into())
            .and_then(|product| {
                round_ratio(product, told.amount.minor_units().into(), contract.rounding)
            });
        Money::from_minor(product.ok_or(MoneyError::OutOfRange(currency))?, currency)
    } else {
        told.fee
    };
    in_all.checked_sub(told.given_back_before)
}

/// The quotient of two numbers, neither of them negative, as a whole number; `None` for no denominator, and for more
/// than fits.
fn round_ratio(numerator: i128, denominator: i128, rounding: Rounding) -> Option<i64> {
    let whole = numerator.checked_div_euclid(denominator)?;
    let rest = numerator.checked_rem_euclid(denominator)?;
    let to_next = denominator.checked_sub(rest)?;
    let goes_up = match rounding {
        Rounding::HalfUp => rest >= to_next,
        Rounding::HalfEven if rest == to_next => whole.checked_rem(2)? != 0,
        Rounding::HalfEven => rest > to_next,
        Rounding::Up => rest > 0,
        Rounding::Down => false,
    };
    let rounded = whole.checked_add(i128::from(goes_up))?;
    i64::try_from(rounded).ok()
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::arithmetic_side_effects,
        reason = "a test that overflows fails, and should"
    )]

    use clearday_jobs::Currency;
    use proptest::prelude::*;

    use super::*;

    fn cny(minor_units: i64) -> Money {
        Money::from_minor(minor_units, Currency::parse("CNY").unwrap())
    }

    fn date(text: &str) -> NaiveDate {
        text.parse().unwrap()
    }

    fn contract(rate: &str, rounding: Rounding) -> FeeContract {
        FeeContract {
            valid_from: date("2026-01-01"),
            valid_until: None,
            rate: rate.parse().unwrap(),
            fixed: cny(0),
            minimum: cny(0),
            maximum: None,
            rounding,
            returns_fees: true,
        }
    }

    fn any_rounding() -> impl Strategy<Value = Rounding> {
        prop::sample::select(Rounding::ALL)
    }

    fn any_contract() -> impl Strategy<Value = FeeContract> {
        let terms = (
            0..=1_000_000_000_i64,
            0..10_000_i64,
            0..10_000_i64,
            prop::option::of(0..1_000_000_i64),
        );
        (terms, any_rounding()).prop_map(|((rate, fixed, minimum, above), rounding)| FeeContract {
            rate: Decimal::new(rate, RATE_PLACES_MAX),
            fixed: cny(fixed),
            minimum: cny(minimum),
            maximum: above.map(|above| cny(minimum + above)),
            ..contract("0", rounding)
        })
    }

    proptest! {
        #[test]
        fn fees_are_between_their_bounds(contract in any_contract(), amount in 0..=1_000_000_000_000_i64) {
            let fee = fee_of_payment(&contract, cny(amount)).unwrap().minor_units();
            prop_assert!(fee >= contract.minimum.minor_units());
            if let Some(maximum) = contract.maximum {
                prop_assert!(fee <= maximum.minor_units());
            }
            let most = amount + contract.fixed.minor_units();
            prop_assert!(fee <= most.max(contract.minimum.minor_units()));
        }

        #[test]
        fn fees_are_less_than_a_unit_from_the_exact_ones(
            contract in any_contract(), amount in 0..=1_000_000_000_000_i64,
        ) {
            let free = FeeContract { minimum: cny(0), maximum: None, ..contract };
            let fee = Decimal::from(fee_of_payment(&free, cny(amount)).unwrap().minor_units());
            let exact = free.rate * Decimal::from(amount) + Decimal::from(free.fixed.minor_units());
            let off = fee - exact;
            let holds = match free.rounding {
                Rounding::HalfUp => off > Decimal::new(-5, 1) && off <= Decimal::new(5, 1),
                Rounding::HalfEven => off.abs() <= Decimal::new(5, 1),
                Rounding::Up => off >= Decimal::ZERO && off < Decimal::ONE,
                Rounding::Down => off <= Decimal::ZERO && off > -Decimal::ONE,
            };
            prop_assert!(holds, "{} for {}", fee, exact);
        }

        #[test]
        fn bigger_payments_have_no_smaller_fee(
            contract in any_contract(), one in 0..1_000_000_000_i64, other in 0..1_000_000_000_i64,
        ) {
            let fee = |amount| fee_of_payment(&contract, cny(amount)).unwrap().minor_units();
            prop_assert!(fee(one.min(other)) <= fee(one.max(other)));
        }

        #[test]
        fn refunds_in_pieces_give_back_the_whole_fee(
            contract in any_contract(), pieces in prop::collection::vec(0..1_000_000_i64, 1..12),
        ) {
            let amount = cny(pieces.iter().sum());
            let fee = fee_of_payment(&contract, amount).unwrap();
            let mut told = RefundedSoFar {
                amount,
                fee,
                refunded_before: cny(0),
                given_back_before: cny(0),
                refund: cny(0),
            };
            for piece in pieces {
                told.refund = cny(piece);
                let back = fee_given_back(&contract, &told).unwrap();
                prop_assert!(!back.is_negative());
                told.refunded_before = told.refunded_before.checked_add(told.refund).unwrap();
                told.given_back_before = told.given_back_before.checked_add(back).unwrap();
                prop_assert!(told.given_back_before.minor_units() <= fee.minor_units());
            }
            prop_assert_eq!(told.given_back_before, fee);
        }

        #[test]
        fn contracts_overlap_where_they_share_a_day(
            one in (0..20_u64, prop::option::of(0..20_u64)), other in (0..20_u64, prop::option::of(0..20_u64)),
        ) {
            let day = |days| date("2026-01-01") + chrono::Days::new(days);
            let of = |(from, length): (u64, Option<u64>)| FeeContract {
                valid_from: day(from),
                valid_until: length.map(|length| day(from + length)),
                ..contract("0", Rounding::Down)
            };
            let (one, other) = (of(one), of(other));
            let shared = (0..60).map(day).any(|day| one.holds_on(day) && other.holds_on(day));
            prop_assert_eq!(one.overlaps(&other), shared);
            prop_assert_eq!(other.overlaps(&one), shared);
        }
    }

    #[test]
    fn rates_are_whole_billionths_between_zero_and_one() {
        let billionths = |text: &str| rate_in_billionths(text.parse().unwrap());
        assert_eq!(billionths("0"), Some(0));
        assert_eq!(billionths("0.006"), Some(6_000_000));
        assert_eq!(billionths("0.0060000000000"), Some(6_000_000));
        assert_eq!(billionths("1.0"), Some(1_000_000_000));
        assert_eq!(rate_of_billionths(6_000_000).to_string(), "0.006");
        for refused in ["-0.1", "1.000000001", "0.0000000001", "7"] {
            assert_eq!(billionths(refused), None, "{refused}");
        }
    }

    #[test]
    fn each_rule_rounds_in_its_way() {
        // 0.6 % of 0.75, 1.25, 2.00, 2.50 and 4.17 yuan: 0.45, 0.75, 1.2, 1.5 and 2.502 fen.
        let table: Vec<String> = Rounding::ALL
            .iter()
            .map(|rule| {
                let contract = contract("0.006", *rule);
                let fees = [75, 125, 200, 250, 417, 750].map(|amount| {
                    let fee = fee_of_payment(&contract, cny(amount)).unwrap();
                    fee.minor_units().to_string()
                });
                format!("{rule}: {}", fees.join(" "))
            })
            .collect();
        assert_eq!(
            table,
            [
                "half_up: 0 1 1 2 3 5",
                "half_even: 0 1 1 2 3 4",
                "up: 1 1 2 2 3 5",
                "down: 0 0 1 1 2 4",
            ]
        );
    }

    #[test]
    fn minimum_and_maximum_bound_what_was_rounded() {
        let bounded = FeeContract {
            fixed: cny(30),
            minimum: cny(50),
            maximum: Some(cny(2_000)),
            ..contract("0.006", Rounding::HalfUp)
        };
        let fee = |amount| fee_of_payment(&bounded, cny(amount)).unwrap();
        assert_eq!(fee(0), cny(50));
        assert_eq!(fee(10_000), cny(90));
        assert_eq!(fee(10_000_000), cny(2_000));
    }

    #[test]
    fn fees_that_are_not_returned_stay() {
        let kept = FeeContract {
            returns_fees: false,
            ..contract("0.006", Rounding::HalfUp)
        };
        let told = RefundedSoFar {
            amount: cny(10_000),
            fee: cny(60),
            refunded_before: cny(0),
            given_back_before: cny(0),
            refund: cny(10_000),
        };
        assert_eq!(fee_given_back(&kept, &told), Ok(cny(0)));
        let given = FeeContract {
            returns_fees: true,
            ..kept
        };
        assert_eq!(fee_given_back(&given, &told), Ok(cny(60)));
    }

    #[test]
    fn other_currencies_and_amounts_beyond_reason_are_refused() {
        let contract = FeeContract {
            fixed: cny(1),
            ..contract("1", Rounding::Up)
        };
        let dollars = Money::from_minor(1, Currency::parse("USD").unwrap());
        assert_eq!(
            fee_of_payment(&contract, dollars).unwrap_err().to_string(),
            "amounts in CNY and USD cannot be combined"
        );
        assert_eq!(
            fee_of_payment(&contract, cny(i64::MAX))
                .unwrap_err()
                .to_string(),
            "the amount in CNY is out of range"
        );
        let whole = cny(i64::MAX);
        let told = RefundedSoFar {
            amount: whole,
            fee: whole,
            refunded_before: cny(0),
            given_back_before: cny(0),
            refund: cny(i64::MAX - 1),
        };
        assert_eq!(fee_given_back(&contract, &told), Ok(cny(i64::MAX - 1)));
    }

    #[test]
    fn the_contract_of_a_day_is_found_up_to_its_last() {
        let mut first = contract("0.006", Rounding::HalfUp);
        first.valid_until = Some(date("2026-06-30"));
        let second = FeeContract {
            valid_from: date("2026-07-02"),
            ..contract("0.005", Rounding::HalfUp)
        };
        let both = [first.clone(), second.clone()];
        let on = |day| contract_on(&both, date(day));
        assert_eq!(on("2025-12-31"), None);
        assert_eq!(on("2026-01-01"), Some(&first));
        assert_eq!(on("2026-06-30"), Some(&first));
        assert_eq!(on("2026-07-01"), None);
        assert_eq!(on("2026-07-02"), Some(&second));
        assert_eq!(on("2099-01-01"), Some(&second));
    }
}
