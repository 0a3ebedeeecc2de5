//! Calls that change the outside world, made in one way only: the intent is committed, the call is
//! made with no transaction open, and what came back is committed.

use chrono::{DateTime, Utc};
use clearday_jobs::{ChannelName, OperationId, Reference};

use crate::connectors::{ChannelError, DeclineCode, Evidence, Gate, Trouble};
use crate::domain::operation::{Operation, OperationKind, OperationState};
use crate::engine::{Run, RunTx, Weakness, WorkError};
use crate::store::operations;

/// What is known after a call. Whoever called records success and refusal together with what follows
/// from them, in one transaction: see [`conclude`].
#[derive(Debug)]
pub(super) enum Learned<Answer> {
    /// It took effect.
    Succeeded(Answer),
    /// It was refused, without effect.
    Declined(Declined),
    /// Nobody knows, and that is recorded.
    Unknown,
}

/// A refusal, in the words of whoever refused.
#[derive(Debug)]
pub(super) struct Declined {
    /// Why, to decide on.
    pub(super) code: DeclineCode,
    /// Why, for people.
    pub(super) detail: String,
    /// The words that say so.
    pub(super) evidence: Evidence,
}

/// What a call will ask for.
#[derive(Clone, Copy, Debug)]
pub(super) struct Intent<'a> {
    /// What.
    pub(super) kind: OperationKind,
    /// Of whom.
    pub(super) channel: &'a ChannelName,
    /// About what.
    pub(super) reference: &'a Reference,
    /// Number of the key; 1 is the first.
    pub(super) generation: u32,
}

/// Writes the intent down under its key, in the transaction of whatever must be known before the call.
pub(super) async fn intend(
    run: &Run,
    tx: &mut RunTx,
    intent: Intent<'_>,
) -> Result<Operation, WorkError> {
    let now = run.now();
    let Intent {
        kind,
        channel,
        reference,
        generation,
    } = intent;
    let operation = Operation {
        id: OperationId(run.engine().ids().uuid()),
        job_id: run.job().id,
        kind,
        channel: channel.clone(),
        reference: reference.clone(),
        generation,
        idempotency_key: format!("{}:{channel}:{reference}:{generation}", kind.as_str()),
        state: OperationState::Intended,
        intended_at: now,
        updated_at: now,
    };
    if !run.engine().lacks(Weakness::IntentRow) {
        operations::intend(tx, &operation).await?;
    }
    Ok(operation)
}

/// Whether a call that was written down may leave now; a late one is not made, and the next run asks what is known of it.
pub(super) fn in_time(run: &Run, call: &Operation) -> Result<(), ChannelError> {
    if call.may_leave(run.now()) {
        return Ok(());
    }
    Err(ChannelError::Unavailable(Box::new(Trouble {
        channel: call.channel.clone(),
        request: call.idempotency_key.clone(),
        reason: "it was written down too long ago to leave now".to_owned(),
        evidence: None,
        cause: None,
    })))
}

/// Sorts the answer to the call of an operation whose intent is committed, and records a lost one.
///
/// A call that provably did not leave stays intended, and the run fails as unavailable.
pub(super) async fn sort_answer<Answer>(
    run: &Run,
    operation: &Operation,
    answer: Result<Answer, ChannelError>,
) -> Result<Learned<Answer>, WorkError> {
    let error = match answer {
        Ok(answer) => return Ok(Learned::Succeeded(answer)),
        Err(error) => error,
    };
    match error {
        ChannelError::Declined {
            ref code,
            ref evidence,
            ..
        } => Ok(Learned::Declined(Declined {
            code: code.clone(),
            detail: error.to_string(),
            evidence: evidence.as_ref().clone(),
        })),
        ChannelError::Unknown(_) if run.engine().lacks(Weakness::UnknownIsFailed) => {
            let detail = with_causes(&error);
            let evidence = observed(&detail, run.now());
            Ok(Learned::Declined(Declined {
                code: "no_answer".to_owned().into(),
                detail,
                evidence,
            }))
        }
        ChannelError::Unknown(_) => {
            let detail = with_causes(&error);
            let evidence = error.evidence();
            learn(run, operation, OperationState::Unknown, &detail, evidence).await?;
            Ok(Learned::Unknown)
        }
        ChannelError::Invalid(_) => {
            // Understood as nonsense, or not even sent: it had no effect and never will.
            let detail = with_causes(&error);
            let unsent = observed(&detail, run.now());
            let evidence = error.evidence().unwrap_or(&unsent);
            let refused = OperationState::Declined;
            learn(run, operation, refused, &detail, Some(evidence)).await?;
            Err(channel_failure(&operation.channel, &error))
        }
        ChannelError::Unavailable(_) => Err(channel_failure(&operation.channel, &error)),
    }
}

/// Whether it was ourselves who did not send a call: the other side's own words would be evidence.
pub(super) fn is_own_objection(error: &ChannelError) -> bool {
    match error {
        ChannelError::Invalid(trouble) => trouble.evidence.is_none(),
        ChannelError::Unavailable(_) | ChannelError::Unknown(_) | ChannelError::Declined { .. } => {
            false
        }
    }
}

/// Records the proved outcome of an operation, in the transaction of what follows from it.
pub(super) async fn conclude(
    run: &Run,
    tx: &mut RunTx,
    operation: &Operation,
    (state, detail): (OperationState, &str),
    evidence: &Evidence,
) -> Result<(), WorkError> {
    let proof = as_json(evidence)?;
    operations::learn(tx, operation.id, state, detail, Some(&proof), run.now()).await?;
    Ok(())
}

/// Records what was learned about an operation, in a transaction of its own.
pub(super) async fn learn(
    run: &Run,
    operation: &Operation,
    state: OperationState,
    detail: &str,
    evidence: Option<&Evidence>,
) -> Result<(), WorkError> {
    let mut tx = run.begin().await?;
    let evidence = evidence.map(as_json).transpose()?;
    let now = run.now();
    operations::learn(
        &mut tx,
        operation.id,
        state,
        detail,
        evidence.as_deref(),
        now,
    )
    .await?;
    run.checkpoint(tx).await
}

/// A failed query or a call without effect, as the engine classes it.
pub(super) fn channel_failure(channel: &ChannelName, error: &ChannelError) -> WorkError {
    match error {
        ChannelError::Unavailable(_) | ChannelError::Unknown(_) => WorkError::Unavailable {
            what: format!("channel {channel}"),
            reason: with_causes(error),
        },
        ChannelError::Declined { .. } | ChannelError::Invalid(_) => {
            WorkError::Invalid(with_causes(error))
        }
    }
}

/// Why a call to a channel or bank does not go out before `until`.
pub(super) fn kept_back(channel: &ChannelName, gate: &Gate, until: DateTime<Utc>) -> String {
    let until = until.to_rfc3339();
    match gate.open_until() {
        Some(_) => format!("channel {channel}: breaker open until {until}"),
        None => {
            format!("channel {channel} recovers and is called at a pace: its turn comes at {until}")
        }
    }
}

/// Evidence as it is stored.
pub(super) fn as_json(evidence: &Evidence) -> Result<String, WorkError> {
    serde_json::to_string(evidence)
        .map_err(|error| WorkError::Invalid(format!("evidence cannot be stored: {error}")))
}

/// Evidence that is the absence of an answer, seen by us.
pub(super) fn observed(what: &str, now: DateTime<Utc>) -> Evidence {
    Evidence {
        request: "observed".to_owned(),
        answer: what.to_owned(),
        answered_at: now,
    }
}

fn with_causes(error: &ChannelError) -> String {
    let mut words = error.to_string();
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        words.push_str(": ");
        words.push_str(&cause.to_string());
        source = cause.source();
    }
    words
}
