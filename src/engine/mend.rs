//! Submits anew what had been refused, once somebody mended it; the refused submission then names its job.

use clearday_jobs::JobId;
use serde_json::json;
use uuid::Uuid;

use super::{Acceptance, Engine, Refusal, Source, Submission};
use crate::domain::audit::{AuditAction, AuditEntry};
use crate::store::{StoreError, audit, rejections};

/// What is sent in the place of a refused submission; what is left out stays as it was.
#[derive(Clone, Debug)]
pub struct Mended {
    /// Another kind.
    pub kind: Option<String>,
    /// Another key.
    pub idempotency_key: Option<String>,
    /// The payload's bytes.
    pub payload: Vec<u8>,
    /// Who submits.
    pub source: Source,
}

/// Why a refused submission was not submitted anew.
#[derive(Debug, thiserror::Error)]
pub enum MendError {
    /// No such refused submission.
    #[error("there is no rejected submission {0}")]
    NotFound(Uuid),
    /// Somebody did before.
    #[error("rejected submission {id} was mended before: job {job_id} does what it asked for")]
    MendedBefore {
        /// The refused submission.
        id: Uuid,
        /// The job.
        job_id: JobId,
    },
    /// It is still not as it should be.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// The database refused or did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl Engine {
    /// Accepts a mended submission in the place of a refused one, and links the two.
    pub async fn mend(&self, id: Uuid, mended: Mended, who: &str) -> Result<JobId, MendError> {
        let mut tx = self.store().begin().await?;
        let rejection = rejections::lock(&mut tx, id)
            .await?
            .ok_or(MendError::NotFound(id))?;
        if let Some(job_id) = rejection.mended_job_id {
            return Err(MendError::MendedBefore { id, job_id });
        }
        let submission = Submission {
            kind: mended.kind.or(rejection.kind).unwrap_or_default(),
            idempotency_key: mended.idempotency_key.or(rejection.idempotency_key),
            payload: mended.payload,
            source: mended.source,
            fault: None,
        };
        let (answers, due) = self.accept_in(&mut tx, vec![submission]).await?;
        let job_id = match answers.into_iter().next() {
            Some(Acceptance::New(job_id) | Acceptance::Known(job_id, _)) => job_id,
            // Nothing is kept of it: whoever mends has it before them, and the first one stays open.
            Some(Acceptance::Refused(refusal)) => return Err(refusal.into()),
            None => return Err(StoreError::corrupt("jobs", "no answer to a submission").into()),
        };
        rejections::note_mended(&mut tx, id, job_id).await?;
        let entry = AuditEntry {
            who: who.to_owned(),
            what: AuditAction::RejectionMended,
            subject: id.to_string(),
            detail: json!({"job_id": job_id.to_string()}),
        };
        audit::append(&mut tx, &[entry], self.clock().now()).await?;
        tx.commit().await?;
        self.ring(due);
        Ok(job_id)
    }
}
