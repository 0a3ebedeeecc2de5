//! The outside form of money: a decimal string in major units beside its currency.
//!
//! Minor units never leave Rust and SQL; whoever talks to clearday reads and writes `{"amount":"12.34","currency":"CNY"}`.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Currency, Money, MoneyError};

/// An amount of money: a decimal string in major units, and its currency.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "Written", into = "Written")]
pub struct Amount(pub Money);

/// An amount of money: a decimal string in major units, and its currency.
#[derive(Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(rename = "Amount")]
struct Written {
    /// Digits with an optional point, like "12.34"; no digits below the minor unit of the currency, unless zero.
    #[schemars(regex(pattern = r"^-?[0-9]+(\.[0-9]+)?$"))]
    amount: String,
    /// The ISO 4217 code, like "CNY".
    currency: Currency,
}

impl TryFrom<Written> for Amount {
    type Error = MoneyError;

    fn try_from(written: Written) -> Result<Self, MoneyError> {
        Money::parse_major(&written.amount, written.currency).map(Self)
    }
}

impl From<Amount> for Written {
    fn from(Amount(money): Amount) -> Self {
        Self {
            amount: money.to_major_string(),
            currency: money.currency(),
        }
    }
}

impl From<Money> for Amount {
    fn from(money: Money) -> Self {
        Self(money)
    }
}

impl From<Amount> for Money {
    fn from(Amount(money): Amount) -> Self {
        money
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_outside_form_is_a_string_in_major_units() {
        let text = r#"{"amount":"12.30","currency":"CNY"}"#;
        let amount: Amount = serde_json::from_str(text).unwrap();
        assert_eq!(amount.0.minor_units(), 1230);
        assert_eq!(serde_json::to_string(&amount).unwrap(), text);
    }

    #[test]
    fn numbers_and_unknown_fields_are_refused() {
        let refusal = |text| {
            serde_json::from_str::<Amount>(text)
                .unwrap_err()
                .to_string()
        };
        assert!(
            refusal(r#"{"amount":12.3,"currency":"CNY"}"#)
                .starts_with("invalid type: floating point `12.3`, expected a string")
        );
        assert!(
            refusal(r#"{"amount":"1","currency":"CNY","minor":1}"#)
                .starts_with("unknown field `minor`")
        );
    }
}
