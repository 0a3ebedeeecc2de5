//! The token that stands for an account at a channel, and the guard that keeps card numbers out.
//!
//! What looks like a card number is refused and not repeated in the refusal, and `Debug` shows no token.

use std::borrow::Cow;
use std::fmt;

use schemars::{JsonSchema, Schema, SchemaGenerator};
use serde::Serialize;
use serde::de::{Deserialize, Deserializer, Error};

use crate::ids::{check_name, name_schema};

/// The channels' tokens have up to 255 characters (Stripe's ids).
const TOKEN_LENGTH_MAX: usize = 255;

/// What stands for an account at a channel: 1 to 255 printable ASCII characters without spaces.
///
/// Twelve to nineteen digits with a valid check digit are refused, because that is what a card number looks like.
/// One in ten tokens made only of digits would be refused too; channels put letters into theirs.
#[derive(Clone, PartialEq, Eq, Hash, Serialize)]
#[serde(transparent)]
pub struct Token(String);

impl Token {
    /// Takes a token; the error says what is wrong and never what was written.
    pub fn new(token: impl Into<String>) -> Result<Self, String> {
        let token = token.into();
        if looks_like_a_card_number(&token) {
            return Err(
                "looks like a card number; send the channel's token for the card".to_owned(),
            );
        }
        check_name("a token", TOKEN_LENGTH_MAX, &token).map_err(|error| error.to_string())?;
        Ok(Self(token))
    }

    /// The token, for the channel's connector only.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

/// Twelve to nineteen digits, spaces and dashes aside, with a valid check digit (ISO/IEC 7812-1).
fn looks_like_a_card_number(token: &str) -> bool {
    let digits: Option<Vec<u32>> = token
        .chars()
        .filter(|char| !matches!(char, ' ' | '-'))
        .map(|char| char.to_digit(10))
        .collect();
    digits.is_some_and(|digits| {
        (12..=19).contains(&digits.len()) && luhn_sum(&digits).is_multiple_of(10)
    })
}

/// Every second digit from the right counts double, and a double of two digits counts as their sum.
fn luhn_sum(digits: &[u32]) -> u32 {
    let weighted = digits.iter().rev().zip([1, 2].into_iter().cycle());
    weighted
        .map(|(digit, weight)| digit * weight)
        .map(|product| if product > 9 { product - 9 } else { product })
        .sum()
}

impl fmt::Debug for Token {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Token(…)")
    }
}

impl<'de> Deserialize<'de> for Token {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        // serde's own error would repeat a card number that was sent as a JSON number.
        let token =
            String::deserialize(from).map_err(|_| D::Error::custom("a token is a string"))?;
        Self::new(token).map_err(D::Error::custom)
    }
}

impl JsonSchema for Token {
    fn schema_name() -> Cow<'static, str> {
        "Token".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        name_schema(TOKEN_LENGTH_MAX)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_looks_like_a_card_number_is_refused_and_not_repeated() {
        // The schemes' published test numbers.
        for number in [
            "4111111111111111",
            "4111 1111 1111 1111",
            "5555-5555-5555-4444",
            "378282246310005",
            "6212345678901232",
        ] {
            let refusal = Token::new(number).unwrap_err();
            assert_eq!(
                refusal,
                "looks like a card number; send the channel's token for the card"
            );
        }
        let number = serde_json::from_str::<Token>("4111111111111111").unwrap_err();
        assert_eq!(number.to_string(), "a token is a string");
    }

    #[test]
    fn tokens_are_not_card_numbers() {
        for token in [
            "tok_4111111111111111",
            "4111111111111112",
            "41111111111",
            "o",
        ] {
            assert_eq!(Token::new(token).unwrap().reveal(), token);
        }
        assert_eq!(
            Token::new("tok 1").unwrap_err(),
            "a token is printable ASCII without spaces; character 4 is not"
        );
    }

    #[test]
    fn debug_output_hides_the_token() {
        assert_eq!(format!("{:?}", Token::new("secret").unwrap()), "Token(…)");
    }
}
