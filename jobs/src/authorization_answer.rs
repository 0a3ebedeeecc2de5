//! What an upstream system is told when a deferred authorization came to its end.
//!
//! It is posted, signed, to the job's `callback_url`, and stands at `GET /v1/jobs/{id}` as `answer`. Readers pass
//! over fields they do not know: a later release may add some.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Amount, ChannelName, MethodId, OrderNo, Reference};

/// The end of a deferred authorization.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuthorizationAnswer {
    /// The order.
    pub order_no: OrderNo,
    /// Whether all that the order owes is authorized or taken.
    pub successful: YesOrNo,
    /// Why methods took no part, and what is wrong with the order itself.
    pub errors: Vec<AuthorizationError>,
    /// What nobody authorized; zero when successful.
    pub remaining_to_authorize: Amount,
    /// What is authorized or taken.
    pub authorizations: Vec<AuthorizedAmount>,
}

/// Yes or no.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum YesOrNo {
    /// Yes.
    #[serde(rename = "Y")]
    Yes,
    /// No.
    #[serde(rename = "N")]
    No,
}

/// Why something was not authorized.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuthorizationError {
    /// The method; null when it is about the order.
    pub method_id: Option<MethodId>,
    /// In a word, to decide on: `declined`, `card_expired`, `order_expired`, …
    pub code: String,
    /// In a sentence, for people.
    pub message: String,
}

/// A part of the order's total that is authorized or taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AuthorizedAmount {
    /// The method.
    pub method_id: MethodId,
    /// The channel.
    pub channel: ChannelName,
    /// Our number for it at the channel; the one to capture or void it by.
    pub reference: Reference,
    /// `authorized`, `captured`, or another word of an authorization's life.
    pub state: String,
    /// How much.
    #[serde(flatten)]
    pub amount: Amount,
    /// Why this method, and why this much.
    pub because: String,
}
