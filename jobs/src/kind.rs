//! The five kinds of job and the names that follow from them.
//!
//! Whatever operators and upstream systems see (streams, paths, metrics, files) is derived from [`JobKind::ALL`].

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What a job does; also the name of its payload, its streams and its files.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// Authorizes an order that was accepted while the payment system could not be asked.
    DeferredAuthorization,
    /// Closes an order that nobody paid for in time.
    OrderExpiry,
    /// Settles what merchants are owed.
    SettlementRun,
    /// Tells a partner that somebody asked them to pay.
    PartnerNotification,
    /// Compares our records with a channel's statements.
    Reconciliation,
}

/// A name that belongs to no kind of job.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a job kind; the kinds are {names}", names = names())]
pub struct UnknownKind(pub String);

impl JobKind {
    /// Every kind, in the order in which operators see them.
    pub const ALL: [Self; 5] = [
        Self::DeferredAuthorization,
        Self::OrderExpiry,
        Self::SettlementRun,
        Self::PartnerNotification,
        Self::Reconciliation,
    ];

    /// The name used outside: `order_expiry`.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::DeferredAuthorization => "deferred_authorization",
            Self::OrderExpiry => "order_expiry",
            Self::SettlementRun => "settlement_run",
            Self::PartnerNotification => "partner_notification",
            Self::Reconciliation => "reconciliation",
        }
    }

    /// The Redis stream that carries submissions in: `clearday:{order_expiry}`.
    ///
    /// The braces belong to the name: they are Redis Cluster's hash tag, so that both streams of a kind share a slot.
    pub fn submission_stream(self) -> String {
        format!("clearday:{{{self}}}")
    }

    /// The Redis stream that only rings the bell: `clearday:{order_expiry}:wake`.
    pub fn wake_stream(self) -> String {
        format!("clearday:{{{self}}}:wake")
    }
}

impl fmt::Display for JobKind {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

impl FromStr for JobKind {
    type Err = UnknownKind;

    fn from_str(name: &str) -> Result<Self, UnknownKind> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == name)
            .ok_or_else(|| UnknownKind(name.to_owned()))
    }
}

fn names() -> String {
    JobKind::ALL.map(JobKind::as_str).join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_one_name_everywhere() {
        for kind in JobKind::ALL {
            assert_eq!(kind.as_str().parse(), Ok(kind));
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
            assert_eq!(kind.to_string(), kind.as_str());
        }
    }

    #[test]
    fn the_braces_belong_to_the_stream_names() {
        let kind = JobKind::OrderExpiry;
        assert_eq!(kind.submission_stream(), "clearday:{order_expiry}");
        assert_eq!(kind.wake_stream(), "clearday:{order_expiry}:wake");
    }

    #[test]
    fn an_unknown_kind_is_refused_with_the_list_of_kinds() {
        let refusal = "order_expire".parse::<JobKind>().unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "\"order_expire\" is not a job kind; the kinds are deferred_authorization, order_expiry, \
             settlement_run, partner_notification, reconciliation"
        );
    }
}
