//! A call that changes the outside world, from the intent to its proof.
//!
//! Written down before it is made; what came back is written after. In between, and after a
//! time-out, nobody knows: only evidence closes it, never a guess and never a blind second try.

use chrono::{DateTime, TimeDelta, Utc};
use clearday_jobs::{ChannelName, JobId, OperationId, Reference};

use super::words::words;

words! {
    /// What the call asks for.
    OperationKind {
        /// Close a payment reference, so that nobody can pay it any more.
        Close = "close",
        /// Authorize a payment: hold the payer's money.
        Authorize = "authorize",
        /// Let an authorization go.
        Void = "void",
        /// Have a bank pay a merchant.
        PayOut = "pay_out",
        /// Tell somebody something.
        Send = "send",
    }
    "close, authorize, void, pay_out, send"
}

words! {
    /// What is known of the call.
    OperationState {
        /// Written down; it may or may not have left.
        Intended = "intended",
        /// It had its effect; there is evidence. Final.
        Succeeded = "succeeded",
        /// The channel refused it; it had no effect. Final.
        Declined = "declined",
        /// It left and no trustworthy answer came back.
        Unknown = "unknown",
    }
    "intended, succeeded, declined, unknown"
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

/// A call that moves money leaves at most so long after it was written down, or was written down to be sent again; or not
/// at all.
pub const LEAVES_WITHIN: TimeDelta = TimeDelta::seconds(30);

impl Operation {
    /// Whether its call may still leave. Who was asleep since it was written down does not know what others learned of it
    /// meanwhile.
    pub fn may_leave(&self, now: DateTime<Utc>) -> bool {
        now.signed_duration_since(self.updated_at) <= LEAVES_WITHIN
    }

    /// The instant from which on silence counts as proof: the channel's processing window after
    /// the last moment at which the call may have left.
    pub fn quarantined_until(&self, processing_window: TimeDelta) -> DateTime<Utc> {
        self.updated_at
            .checked_add_signed(LEAVES_WITHIN)
            .and_then(|left| left.checked_add_signed(processing_window))
            .unwrap_or(DateTime::<Utc>::MAX_UTC)
    }
}

impl OperationState {
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
}

impl OperationEvent {
    /// Every event.
    pub const ALL: [Self; 3] = [Self::Succeed, Self::Decline, Self::Lose];
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

    #[test]
    fn a_call_leaves_soon_after_it_was_written_down_and_silence_proves_nothing_before() {
        let noon: DateTime<Utc> = "2026-03-02T12:00:00Z".parse().unwrap();
        let call = Operation {
            id: OperationId(uuid::Uuid::nil()),
            job_id: JobId(uuid::Uuid::nil()),
            kind: OperationKind::PayOut,
            channel: "bank".parse().unwrap(),
            reference: "E1".parse().unwrap(),
            generation: 1,
            idempotency_key: "pay_out:bank:E1:1".to_owned(),
            state: OperationState::Intended,
            intended_at: noon - TimeDelta::hours(1),
            updated_at: noon,
        };
        assert!(call.may_leave(noon + LEAVES_WITHIN));
        let late = noon + LEAVES_WITHIN + TimeDelta::milliseconds(1);
        assert!(!call.may_leave(late));
        let window = TimeDelta::minutes(5);
        assert_eq!(
            call.quarantined_until(window),
            noon + LEAVES_WITHIN + window
        );
    }
}
