//! Ids as types, so that an order number is never taken for a merchant.
//!
//! Our own ids wrap a UUID and are minted by the daemon. Names that others gave (order numbers, merchants, channels)
//! wrap a string of 1 to 64 printable ASCII characters without spaces. That is what payment channels accept as an
//! order number; it compares, sorts and indexes the same in both databases; it needs no escaping in a log line; and
//! no two of them differ only by what a reader cannot see.

use std::borrow::Cow;
use std::fmt;
use std::str::FromStr;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// The longest name somebody else may have given; the payment channels stop at 64 or earlier.
const NAME_LENGTH_MAX: usize = 64;

/// Why a text is not an id. The text itself is left out: what was pasted into the wrong field may be a secret.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// The text is not a UUID.
    #[error("{what} is a UUID")]
    NotUuid {
        /// What was being read.
        what: &'static str,
    },
    /// The name is empty or too long.
    #[error("{what} has 1 to {longest} characters, not {length}")]
    Length {
        /// What was being read.
        what: &'static str,
        /// How many characters it may have.
        longest: usize,
        /// How many characters it has.
        length: usize,
    },
    /// The name holds a space, a control character or something beyond ASCII.
    #[error("{what} is printable ASCII without spaces; character {position} is not")]
    Character {
        /// What was being read.
        what: &'static str,
        /// Which character is the first to be refused, counted from 1.
        position: usize,
    },
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $id:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(transparent)]
        pub struct $id(pub Uuid);

        impl fmt::Display for $id {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, formatter)
            }
        }

        impl FromStr for $id {
            type Err = IdError;

            fn from_str(text: &str) -> Result<Self, IdError> {
                let not_uuid = |_| IdError::NotUuid { what: $what };
                Uuid::parse_str(text).map(Self).map_err(not_uuid)
            }
        }
    };
}

macro_rules! name_id {
    ($(#[$doc:meta])* $id:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $id(String);

        impl $id {
            /// Takes a name of 1 to 64 printable ASCII characters without spaces.
            pub fn new(name: impl Into<String>) -> Result<Self, IdError> {
                let name = name.into();
                check_name($what, NAME_LENGTH_MAX, &name)?;
                Ok(Self(name))
            }

            /// The name as it was given.
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $id {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.pad(&self.0)
            }
        }

        impl FromStr for $id {
            type Err = IdError;

            fn from_str(name: &str) -> Result<Self, IdError> {
                Self::new(name)
            }
        }

        impl TryFrom<String> for $id {
            type Error = IdError;

            fn try_from(name: String) -> Result<Self, IdError> {
                Self::new(name)
            }
        }

        impl From<$id> for String {
            fn from(id: $id) -> Self {
                id.0
            }
        }

        impl JsonSchema for $id {
            fn schema_name() -> Cow<'static, str> {
                stringify!($id).into()
            }

            fn inline_schema() -> bool {
                true
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                name_schema(NAME_LENGTH_MAX)
            }
        }
    };
}

uuid_id!(
    /// One job: a row in the `jobs` table.
    JobId, "a job id"
);
uuid_id!(
    /// One call to the outside world, written down before it is made.
    OperationId, "an operation id"
);
uuid_id!(
    /// One run over many things, such as a settlement or a reconciliation.
    RunId, "a run id"
);
uuid_id!(
    /// What a merchant is owed for a period.
    SettlementId, "a settlement id"
);
uuid_id!(
    /// A payment that somebody says was made outside of clearday.
    OfflinePaymentId, "an offline payment id"
);
uuid_id!(
    /// One request that people approve or reject.
    ApprovalId, "an approval id"
);

name_id!(
    /// The number of an order, given by the upstream system.
    OrderNo, "an order number"
);
name_id!(
    /// A merchant who is owed money.
    MerchantId, "a merchant id"
);
name_id!(
    /// A partner who may be asked to pay for an order.
    PartnerId, "a partner id"
);
name_id!(
    /// Whoever pays for an order.
    PayerId, "a payer id"
);
name_id!(
    /// One payment method of an order; unique within it.
    MethodId, "a method id"
);
name_id!(
    /// A payment channel or bank as the configuration names it, like `wechat_pay`.
    ChannelName, "a channel name"
);
name_id!(
    /// A number that we gave to, or got from, a channel or bank.
    Reference, "a reference"
);

/// Refuses a text that is not 1 to `longest` printable ASCII characters without spaces.
pub(crate) fn check_name(what: &'static str, longest: usize, name: &str) -> Result<(), IdError> {
    let length = name.chars().count();
    if length == 0 || length > longest {
        return Err(IdError::Length {
            what,
            longest,
            length,
        });
    }
    match name
        .chars()
        .zip(1..)
        .find(|(char, _)| !char.is_ascii_graphic())
    {
        Some((_, position)) => Err(IdError::Character { what, position }),
        None => Ok(()),
    }
}

/// The same rule for those who validate with JSON Schema.
pub(crate) fn name_schema(longest: usize) -> Schema {
    json_schema!({ "type": "string", "minLength": 1, "maxLength": longest, "pattern": "^[!-~]+$" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_bounded_and_visible() {
        assert!(OrderNo::new("!").is_ok());
        assert!(OrderNo::new("~".repeat(64)).is_ok());

        let refusal = |name: &str| OrderNo::new(name).unwrap_err().to_string();
        let length = "an order number has 1 to 64 characters, not";
        assert_eq!(refusal(""), format!("{length} 0"));
        assert_eq!(refusal(&"订".repeat(65)), format!("{length} 65"));
        for name in [
            "12 3",
            "12\n3",
            "12\u{7f}3",
            "12\u{0}3",
            "12\u{200b}3",
            "12订3",
        ] {
            assert_eq!(
                refusal(name),
                "an order number is printable ASCII without spaces; character 3 is not"
            );
        }
    }

    #[test]
    fn ids_are_plain_strings_outside() {
        let text = "\"00000000-0000-0000-0000-00000000002a\"";
        let job: JobId = serde_json::from_str(text).unwrap();
        assert_eq!(job, JobId(Uuid::from_u128(42)));
        assert_eq!(job.to_string().parse(), Ok(job));
        assert_eq!(serde_json::to_string(&job).unwrap(), text);

        let channel: ChannelName = serde_json::from_str("\"wechat_pay\"").unwrap();
        assert_eq!(channel.as_str().parse().as_ref(), Ok(&channel));
        assert_eq!(serde_json::to_string(&channel).unwrap(), "\"wechat_pay\"");
    }

    #[test]
    fn a_refused_id_is_not_repeated() {
        let refusal = "4111111111111111".parse::<JobId>().unwrap_err();
        assert_eq!(refusal.to_string(), "a job id is a UUID");
    }
}
