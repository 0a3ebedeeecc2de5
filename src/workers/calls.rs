//! Calls that change the outside world, made in one way only: the intent is committed, the call is
//! made with no transaction open, and what came back is committed.

use chrono::{DateTime, Utc};
use clearday_jobs::{OperationId, Reference};

use crate::connectors::{Channel, ChannelError, DeclineCode, Evidence};
use crate::domain::operation::{Operation, OperationKind, OperationState};
use crate::engine::{Run, WorkError};
use crate::store::operations;

/// What is known after a call.
#[derive(Debug)]
pub(super) enum Learned {
    /// It took effect; whoever called records that together with what follows from it.
    Succeeded(Evidence),
    /// It was refused, without effect.
    Declined(DeclineCode),
    /// Nobody knows.
    Unknown,
}

/// Writes the intent to close a reference down under a new key and commits it.
pub(super) async fn intend_close(
    run: &Run,
    channel: &Channel,
    reference: &Reference,
    generation: u32,
) -> Result<Operation, WorkError> {
    let now = run.now();
    let kind = OperationKind::Close;
    let operation = Operation {
        id: OperationId(run.engine().ids().uuid()),
        job_id: run.job().id,
        kind,
        channel: channel.name().clone(),
        reference: reference.clone(),
        generation,
        idempotency_key: format!(
            "{}:{}:{reference}:{generation}",
            kind.as_str(),
            channel.name()
        ),
        state: OperationState::Intended,
        intended_at: now,
        updated_at: now,
    };
    let mut tx = run.begin().await?;
    operations::intend(&mut tx, &operation).await?;
    run.checkpoint(tx).await?;
    Ok(operation)
}

/// Makes the call of an operation whose intent is committed, and records a refusal or a lost answer.
/// Success is left to the caller, who commits it together with what follows from it.
///
/// A call that provably did not leave stays intended, and the run fails as unavailable.
pub(super) async fn close(
    run: &Run,
    channel: &Channel,
    operation: &Operation,
) -> Result<Learned, WorkError> {
    let answer = channel
        .close(&operation.reference, &operation.idempotency_key)
        .await;
    match answer {
        Ok(closed) => Ok(Learned::Succeeded(closed.evidence)),
        Err(ref error @ ChannelError::Declined { ref code, .. }) => {
            let detail = error.to_string();
            let evidence = error.evidence();
            learn(run, operation, OperationState::Declined, &detail, evidence).await?;
            Ok(Learned::Declined(code.clone()))
        }
        Err(error @ ChannelError::Unknown(_)) => {
            let detail = with_causes(&error);
            let evidence = error.evidence();
            learn(run, operation, OperationState::Unknown, &detail, evidence).await?;
            Ok(Learned::Unknown)
        }
        Err(error @ ChannelError::Invalid(_)) => {
            // Understood as nonsense, or not even sent: it had no effect and never will.
            let detail = with_causes(&error);
            let unsent = observed(&detail, run.now());
            let evidence = error.evidence().unwrap_or(&unsent);
            learn(
                run,
                operation,
                OperationState::Declined,
                &detail,
                Some(evidence),
            )
            .await?;
            Err(channel_failure(channel, &error))
        }
        Err(error @ ChannelError::Unavailable(_)) => Err(channel_failure(channel, &error)),
    }
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
pub(super) fn channel_failure(channel: &Channel, error: &ChannelError) -> WorkError {
    match error {
        ChannelError::Unavailable(_) | ChannelError::Unknown(_) => WorkError::Unavailable {
            what: format!("channel {}", channel.name()),
            reason: with_causes(error),
        },
        ChannelError::Declined { .. } | ChannelError::Invalid(_) => {
            WorkError::Invalid(with_causes(error))
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
