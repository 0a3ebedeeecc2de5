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
