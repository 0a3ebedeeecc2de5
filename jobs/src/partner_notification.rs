//! What is asked when a partner shall be told that somebody wants them to pay (合作伙伴代付).

use chrono::{DateTime, Utc};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{JobKind, JobPayload, OrderNo, PartnerId, Version, time};

/// Asks to tell one partner about one order. Who the partner is and how they are reached is looked up by the id.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PartnerNotification {
    /// The version of this payload: 1.
    pub version: Version,
    /// The order to pay for.
    pub order_no: OrderNo,
    /// The partner to tell.
    pub partner_id: PartnerId,
    /// What the partner is told.
    pub purpose: Purpose,
    /// Nothing is sent at or after this instant, RFC 3339 with a zone.
    #[serde(deserialize_with = "time::instant")]
    pub deadline: DateTime<Utc>,
}

/// What a notice is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Purpose {
    /// Somebody asks the partner to pay.
    PayRequest,
    /// The request still waits.
    Reminder,
    /// The request no longer stands.
    Withdrawn,
}

impl JobPayload for PartnerNotification {
    const KIND: JobKind = JobKind::PartnerNotification;
    const EXAMPLE: &'static str = include_str!("../schemas/partner_notification.example.json");

    fn partition(&self) -> Option<String> {
        Some(self.partner_id.to_string())
    }
}
