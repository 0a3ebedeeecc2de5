//! What is asked when merchants shall be settled.

use chrono::NaiveDate;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Currency, JobKind, JobPayload, MerchantId, Version, time};

/// Asks to settle what is due, for all merchants or for one.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct SettlementRun {
    /// The version of this payload: 1.
    pub version: Version,
    /// The last accounting date that is settled, inclusive.
    #[serde(deserialize_with = "time::date")]
    pub through: NaiveDate,
    /// Settles this merchant only. Absent: every merchant whose cycle is due.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merchant_id: Option<MerchantId>,
    /// Settles this currency only. Absent: every currency.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub currency: Option<Currency>,
}

impl JobPayload for SettlementRun {
    const KIND: JobKind = JobKind::SettlementRun;
    const EXAMPLE: &'static str = include_str!("../schemas/settlement_run.example.json");

    fn partition(&self) -> Option<String> {
        self.merchant_id.clone().map(String::from)
    }
}
