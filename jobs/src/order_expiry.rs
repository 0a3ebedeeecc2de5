//! What is asked when an order shall be closed because nobody paid for it in time.

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{JobKind, JobPayload, MerchantId, OrderNo, Version, time};

/// Asks to close one order at its deadline, unless it was paid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct OrderExpiry {
    /// The version of this payload: 1.
    pub version: Version,
    /// The order to close.
    pub order_no: OrderNo,
    /// The earliest instant at which the job looks at the order, RFC 3339 with a zone. The deadline that counts is
    /// the order's own: if it was moved, the job waits for it.
    #[serde(deserialize_with = "time::instant")]
    pub expires_at: DateTime<Utc>,
    /// Whose order it is. Many of one merchant then wait behind each other and not in front of other merchants'.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merchant_id: Option<MerchantId>,
}

impl JobPayload for OrderExpiry {
    const KIND: JobKind = JobKind::OrderExpiry;
    const EXAMPLE: &'static str = include_str!("../schemas/order_expiry.example.json");

    fn partition(&self) -> Option<String> {
        self.merchant_id.clone().map(String::from)
    }

    fn run_at(&self) -> Option<DateTime<Utc>> {
        Some(self.expires_at)
    }
}
