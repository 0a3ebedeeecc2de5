//! A call that changes the outside world, from the intent to its proof.
//!
//! Written down before it is made; what came back is written after. In between, and after a
//! time-out, nobody knows: only evidence closes it, never a guess and never a blind second try.

use std::fmt;
use std::str::FromStr;

use chrono::{DateTime, TimeDelta, Utc};
use clearday_jobs::{ChannelName, JobId, OperationId, Reference};

/// What the call asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationKind {
    /// Close a payment reference, so that nobody can pay it any more.
    Close,
    /// Authorize a payment: hold the payer's money.
    Authorize,
    /// Let an authorization go.
    Void,
    /// Have a bank pay a merchant.
    PayOut,
    /// Tell somebody something.
    Send,
}

/// What is known of the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationState {
    /// Written down; it may or may not have left.
    Intended,
    /// It had its effect; there is evidence. Final.
    Succeeded,
    /// The channel refused it; it had no effect. Final.
    Declined,
    /// It left and no trustworthy answer came back.
    Unknown,
}

/// What can be learned about the call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OperationEvent {
    /// The channel, or a query, says that it took effect.
    Succeed,
    /// The channel, or a query, says that it did not and will not.
    Decline,
    /// No trustworthy answer.
    Lose,
}

/// An operation as it stands in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Its id.
    pub id: OperationId,
    /// The job on whose behalf.
    pub job_id: JobId,
    /// What it asks for.
    pub kind: OperationKind,
    /// Of whom.
    pub channel: ChannelName,
    /// About what.
    pub reference: Reference,
    /// Grows when a new key is used, which needs proof that the old one is dead.
    pub generation: u32,
    /// Sent along, so that the channel can recognise a repetition.
    pub idempotency_key: String,
    /// What is known.
    pub state: OperationState,
    /// When it was written down.
    pub intended_at: DateTime<Utc>,
    /// When something was last learned.
    pub updated_at: DateTime<Utc>,
}

impl Operation {
    /// The instant from which on silence counts as proof: the channel's processing window after
    /// the last moment at which the call may have left.
    pub fn quarantined_until(&self, processing_window: TimeDelta) -> DateTime<Utc> {
        self.updated_at
            .checked_add_signed(processing_window)
            .unwrap_or(DateTime::<Utc>::MAX_UTC)
    }
}

impl OperationState {
    /// Every state.
    pub const ALL: [Self; 4] = [
        Self::Intended,
        Self::Succeeded,
        Self::Declined,
        Self::Unknown,
    ];

    /// The state after `event`, or `None` when it is refused: what is proved stays proved.
    pub const fn after(self, event: OperationEvent) -> Option<Self> {
        match self {
            Self::Intended | Self::Unknown => match event {
                OperationEvent::Succeed => Some(Self::Succeeded),
                OperationEvent::Decline => Some(Self::Declined),
                OperationEvent::Lose => Some(Self::Unknown),
            },
            Self::Succeeded | Self::Declined => match event {
                OperationEvent::Succeed | OperationEvent::Decline | OperationEvent::Lose => None,
            },
        }
    }

    /// Whether its outcome is proved.
    pub const fn is_final(self) -> bool {
        match self {
            Self::Succeeded | Self::Declined => true,
            Self::Intended | Self::Unknown => false,
        }
    }

    /// The name in the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Intended => "intended",
            Self::Succeeded => "succeeded",
            Self::Declined => "declined",
            Self::Unknown => "unknown",
        }
    }
}

impl OperationEvent {
    /// Every event.
    pub const ALL: [Self; 3] = [Self::Succeed, Self::Decline, Self::Lose];
}

impl OperationKind {
    /// Every kind.
    pub const ALL: [Self; 5] = [
        Self::Close,
        Self::Authorize,
        Self::Void,
        Self::PayOut,
        Self::Send,
    ];

    /// The name in the database and at the front of idempotency keys.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Close => "close",
            Self::Authorize => "authorize",
            Self::Void => "void",
            Self::PayOut => "pay_out",
            Self::Send => "send",
        }
    }
}

/// A stored name that this release does not know.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is not known to this release")]
pub struct UnknownName(pub(super) String);

impl FromStr for OperationState {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        Self::ALL
            .into_iter()
            .find(|state| state.as_str() == name)
            .ok_or_else(|| UnknownName(name.to_owned()))
    }
}

impl FromStr for OperationKind {
    type Err = UnknownName;

    fn from_str(name: &str) -> Result<Self, UnknownName> {
        Self::ALL
            .into_iter()
            .find(|kind| kind.as_str() == name)
            .ok_or_else(|| UnknownName(name.to_owned()))
    }
}

impl fmt::Display for OperationState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_proved_stays_proved() {
        let table: Vec<String> = OperationState::ALL
            .iter()
            .map(|state| {
                let answers: Vec<String> = OperationEvent::ALL
                    .iter()
                    .map(|event| match state.after(*event) {
                        Some(next) => format!("{event:?} -> {next}"),
                        None => format!("{event:?} -> refused"),
                    })
                    .collect();
                format!("{state}: {}", answers.join(", "))
            })
            .collect();
        assert_eq!(
            table.join("\n"),
            "\
intended: Succeed -> succeeded, Decline -> declined, Lose -> unknown
succeeded: Succeed -> refused, Decline -> refused, Lose -> refused
declined: Succeed -> refused, Decline -> refused, Lose -> refused
unknown: Succeed -> succeeded, Decline -> declined, Lose -> unknown"
        );
    }
}
