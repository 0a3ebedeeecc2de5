//! How a sum becomes several payments where the bank takes no more than so much at once.

use clearday_jobs::{Currency, Money};

/// More parts than anybody pays on one day; a ceiling that asks for more is a mistake.
pub const PARTS_MAX: usize = 1_000;

/// Why a sum cannot be split.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SplitError {
    /// There is nothing to pay.
    #[error("{0} is not more than zero")]
    NothingToPay(Money),
    /// No part can be made.
    #[error("a ceiling of {0} leaves nothing to pay with")]
    NoCeiling(Money),
    /// The ceiling is about other money.
    #[error("a ceiling in {ceiling} cannot bound a sum in {sum}")]
    Currency {
        /// Of the sum.
        sum: Currency,
        /// Of the ceiling.
        ceiling: Currency,
    },
    /// It would be more than [`PARTS_MAX`].
    #[error("{total} in parts of {ceiling} are more than {PARTS_MAX} parts")]
    TooMany {
        /// The sum.
        total: Money,
        /// The most that a part may be.
        ceiling: Money,
    },
}

/// The parts that a sum is paid in: as many as reach the ceiling, and the rest. Each is more than zero and at most
/// `ceiling`, and together they are `total`.
///
/// # Errors
/// When there is nothing to pay, or the ceiling does not allow it.
pub fn split(total: Money, ceiling: Option<Money>) -> Result<Vec<Money>, SplitError> {
    if total.is_negative() || total.is_zero() {
        return Err(SplitError::NothingToPay(total));
    }
    let Some(ceiling) = ceiling else {
        return Ok(vec![total]);
    };
    if ceiling.currency() != total.currency() {
        return Err(SplitError::Currency {
            sum: total.currency(),
            ceiling: ceiling.currency(),
        });
    }
    if ceiling.is_negative() || ceiling.is_zero() {
        return Err(SplitError::NoCeiling(ceiling));
    }
    let mut parts = Vec::new();
    let mut left = total.minor_units();
    while left > 0 {
        if parts.len() == PARTS_MAX {
            return Err(SplitError::TooMany { total, ceiling });
        }
        let part = left.min(ceiling.minor_units());
        parts.push(Money::from_minor(part, total.currency()));
        left = left.saturating_sub(part);
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::arithmetic_side_effects,
        reason = "a test that overflows fails, and should"
    )]

    use proptest::prelude::*;

    use super::*;

    fn cny(minor_units: i64) -> Money {
        Money::from_minor(minor_units, Currency::parse("CNY").unwrap())
    }

    proptest! {
        #[test]
        fn parts_make_up_the_sum_and_respect_the_ceiling(
            parts in 1..1_000_i64, rest in 0..1_000_000_i64, ceiling in 1..=1_000_000_i64,
        ) {
            let total = (parts - 1) * ceiling + 1 + rest % ceiling;
            let found = split(cny(total), Some(cny(ceiling))).unwrap();
            prop_assert!(found.iter().all(|part| (1..=ceiling).contains(&part.minor_units())));
            prop_assert_eq!(found.iter().map(|part| part.minor_units()).sum::<i64>(), total);
            // As few as the ceiling allows.
            prop_assert_eq!(i64::try_from(found.len()).unwrap(), parts);
        }

        #[test]
        fn whatever_is_asked_has_an_answer(total in any::<i64>(), ceiling in any::<i64>()) {
            if let Ok(parts) = split(cny(total), Some(cny(ceiling))) {
                let sum: i128 = parts.iter().map(|part| i128::from(part.minor_units())).sum();
                prop_assert_eq!(sum, i128::from(total));
            }
        }
    }

    #[test]
    fn the_rest_comes_last() {
        assert_eq!(
            split(cny(250), Some(cny(100))),
            Ok(vec![cny(100), cny(100), cny(50)])
        );
        assert_eq!(split(cny(250), Some(cny(250))), Ok(vec![cny(250)]));
        assert_eq!(split(cny(250), None), Ok(vec![cny(250)]));
    }

    #[test]
    fn what_cannot_be_split_is_refused() {
        let refusal = |total, ceiling| split(total, Some(ceiling)).unwrap_err().to_string();
        let dollar = Money::from_minor(100, Currency::parse("USD").unwrap());
        assert_eq!(refusal(cny(0), cny(100)), "0.00 CNY is not more than zero");
        assert_eq!(
            refusal(cny(-1), cny(100)),
            "-0.01 CNY is not more than zero"
        );
        assert_eq!(
            refusal(cny(1), cny(0)),
            "a ceiling of 0.00 CNY leaves nothing to pay with"
        );
        assert_eq!(
            refusal(cny(1), dollar),
            "a ceiling in USD cannot bound a sum in CNY"
        );
        assert_eq!(
            refusal(cny(100_001), cny(100)),
            "1000.01 CNY in parts of 1.00 CNY are more than 1000 parts"
        );
    }
}
