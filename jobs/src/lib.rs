//! The contract of clearday: what upstream systems and the daemon agree on.
//!
//! Five kinds of job, the Redis streams they travel on, the payload of each, and the words all of them share:
//! [`Money`], [`Currency`] and the ids. Everything here is data and its checks; it has no async runtime, no HTTP
//! and no Redis, unless the `client` feature asks for the one sender that upstream systems written in Rust may use.

#![warn(missing_docs)]

mod amount;
mod authorization_answer;
#[cfg(feature = "client")]
pub mod client;
mod deferred_authorization;
mod ids;
mod kind;
mod money;
mod order_expiry;
mod partner_notification;
mod payload;
mod reconciliation;
#[cfg(test)]
mod refusals;
mod schema;
mod settlement_run;
mod time;
mod token;
mod version;

pub use amount::Amount;
pub use authorization_answer::{
    AuthorizationAnswer, AuthorizationError, AuthorizedAmount, YesOrNo,
};
pub use deferred_authorization::{
    Capture, DeferredAuthorization, MethodGroup, OrderToAuthorize, PaymentMethod,
};
pub use ids::{
    ApprovalId, ChannelName, IdError, JobId, MerchantId, MethodId, OfflinePaymentId, OperationId,
    OrderNo, PartnerId, PayerId, Reference, RunId, SettlementId,
};
pub use kind::{JobKind, UnknownKind};
pub use money::{Currency, Money, MoneyError};
pub use order_expiry::OrderExpiry;
pub use partner_notification::{PartnerNotification, Purpose};
pub use payload::{
    FieldError, JobPayload, PAYLOAD_BYTES_MAX, Payload, PayloadError, canonical_json,
};
pub use reconciliation::Reconciliation;
pub use schema::{example_for, schema_for};
pub use settlement_run::SettlementRun;
pub use time::CardMonth;
pub use token::Token;
pub use version::{UnsupportedVersion, Version};
