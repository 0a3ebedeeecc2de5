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
