//! The contract of clearday: what upstream systems and the daemon agree on.
//!
//! Five kinds of job, the Redis streams they travel on, the payload of each, and the words all of them share:
//! [`Money`], [`Currency`] and the ids. Everything here is data and its checks; it has no async runtime, no HTTP
//! and no Redis, unless the `client` feature asks for the one sender that upstream systems written in Rust may use.

#![warn(missing_docs)]

mod amount;
mod ids;
mod kind;
mod money;

pub use amount::Amount;
pub use ids::{
    ChannelName, IdError, JobId, MerchantId, MethodId, OperationId, OrderNo, PartnerId, PayerId,
    Reference, RunId,
};
pub use kind::{JobKind, UnknownKind};
pub use money::{Currency, Money, MoneyError};
