//! Takes submissions in: validated, written down in one transaction, and only then acknowledged.
//!
//! The same key with the same payload is the same job; with another payload it is refused and
//! kept. Payloads are compared by the SHA-256 of their canonical JSON.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};

use chrono::{DateTime, Utc};
use clearday_jobs::{JobId, JobKind, Payload, PayloadError, canonical_json};

use super::Engine;
use crate::domain::digest::hex_sha256;
use crate::domain::job::{JobState, Priority};
use crate::domain::mask::mask_card_numbers;
use crate::store::events::NewEvent;
use crate::store::jobs::NewJob;
use crate::store::rejections::Rejection;
use crate::store::{StoreError, Tx, events, jobs, rejections};

/// Longest idempotency key, in characters; room for any id people really use.
const KEY_LENGTH_MAX: usize = 255;

/// Who submits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Source {
    /// A stream entry: the stream's name and the entry's id.
    Redis {
        /// The stream's name.
        stream: String,
        /// The entry's id.
        entry_id: String,
    },
    /// `POST /v1/jobs/{kind}`.
    Http,
    /// `clearday enqueue`.
    CommandLine,
    /// A tick of a schedule.
    Schedule,
    /// A row of an imported file.
    Import,
    /// Another job, in the transaction that caused it.
    FollowUp,
}

impl Source {
    const fn name(&self) -> &'static str {
        match self {
            Self::Redis { .. } => "redis",
            Self::Http => "http",
            Self::CommandLine => "command_line",
            Self::Schedule => "schedule",
            Self::Import => "import",
            Self::FollowUp => "follow_up",
        }
    }
}

/// A job as somebody asks for it, not yet believed.
#[derive(Clone, Debug)]
pub struct Submission {
    /// The name of the kind, as it was written.
    pub kind: String,
    /// The submitter's key.
    pub idempotency_key: Option<String>,
    /// The payload's bytes.
    pub payload: Vec<u8>,
    /// Who submits.
    pub source: Source,
    /// What is wrong with its envelope, found by whoever carried it in.
    pub fault: Option<String>,
}

/// Why a submission was refused.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// The envelope is not as agreed.
    #[error("{0}")]
    Envelope(String),
    /// No such kind of job.
    #[error(transparent)]
    Kind(#[from] clearday_jobs::UnknownKind),
    /// There must be a key.
    #[error("no idempotency key: send one that names this piece of work, so that it is done once")]
    NoKey,
    /// The key cannot be kept.
    #[error(
        "the idempotency key must have 1 to {KEY_LENGTH_MAX} characters and no control character"
    )]
    Key,
    /// The payload is not UTF-8.
    #[error("the payload is not UTF-8: byte {0} cannot be read")]
    Encoding(usize),
    /// The payload is not what its kind asks for.
    #[error(transparent)]
    Payload(#[from] PayloadError),
    /// The key belongs to another payload.
    #[error(
        "the idempotency key is taken by job {0} with another payload: use a new key for new work"
    )]
    KeyTaken(JobId),
}

/// What became of a submission.
#[derive(Debug)]
pub enum Acceptance {
    /// Written down now.
    New(JobId),
    /// Known before, with the same payload.
    Known(JobId, JobState),
    /// Refused, and kept as a rejected submission.
    Refused(Refusal),
}

/// A submission that is believed.
struct Believed {
    position: usize,
    job: NewJob,
}

impl Engine {
    /// Takes a batch in; when this returns `Ok`, every answer is durable.
    ///
    /// # Errors
    /// When the database does not answer; then nothing of the batch is acknowledged.
    pub async fn accept(&self, batch: Vec<Submission>) -> Result<Vec<Acceptance>, StoreError> {
        let mut tx = self.0.store.begin().await?;
        let (answers, due) = self.accept_in(&mut tx, batch).await?;
        tx.commit().await?;
        self.ring(due);
        Ok(answers)
    }

    /// Takes a batch in within the caller's transaction, for jobs that must commit together with
    /// what causes them; returns also the kinds whose bell the caller rings after its commit.
    pub async fn accept_in(
        &self,
        tx: &mut Tx,
        batch: Vec<Submission>,
    ) -> Result<(Vec<Acceptance>, BTreeSet<JobKind>), StoreError> {
        let now = self.0.clock.now();
        let mut answers: BTreeMap<usize, Acceptance> = BTreeMap::new();
        let mut believed = Vec::with_capacity(batch.len());
        for (position, submission) in batch.iter().enumerate() {
            match self.believe(submission, now) {
                Ok(job) => believed.push(Believed { position, job }),
                Err(refusal) => {
                    answers.insert(position, Acceptance::Refused(refusal));
                }
            }
        }
        let due = self.write_down(tx, believed, &mut answers).await?;
        self.keep_refused(tx, &batch, &answers, now).await?;
        Ok((answers.into_values().collect(), due))
    }

    fn believe(&self, submission: &Submission, now: DateTime<Utc>) -> Result<NewJob, Refusal> {
        if let Some(fault) = &submission.fault {
            return Err(Refusal::Envelope(fault.clone()));
        }
        let kind: JobKind = submission.kind.parse()?;
        let key = submission
            .idempotency_key
            .as_deref()
            .ok_or(Refusal::NoKey)?;
        if key.is_empty()
            || key.chars().count() > KEY_LENGTH_MAX
            || key.chars().any(char::is_control)
        {
            return Err(Refusal::Key);
        }
        let text = std::str::from_utf8(&submission.payload)
            .map_err(|error| Refusal::Encoding(error.valid_up_to().saturating_add(1)))?;
        let payload = Payload::parse(kind, text)?;
        let canonical = canonical_text(text)?;
        let run_at = payload.run_at().unwrap_or(now);
        Ok(NewJob {
            id: JobId(self.0.ids.uuid()),
            kind,
            priority: Priority::default(),
            partition: payload.partition(),
            idempotency_key: key.to_owned(),
            payload_sha256: hex_sha256(canonical.as_bytes()),
            payload: canonical,
            source: submission.source.name().to_owned(),
            run_at,
            attempts_max: self.0.policy.attempts_max,
            note: format!("accepted from {}", submission.source.name()),
            created_at: now,
        })
    }

    async fn write_down(
        &self,
        tx: &mut Tx,
        mut believed: Vec<Believed>,
        answers: &mut BTreeMap<usize, Acceptance>,
    ) -> Result<BTreeSet<JobKind>, StoreError> {
        // One order for everybody, so that two batches with the same keys cannot deadlock.
        believed.sort_by(|a, b| {
            (a.job.kind, &a.job.idempotency_key, a.position).cmp(&(
                b.job.kind,
                &b.job.idempotency_key,
                b.position,
            ))
        });
        let mut first_of_key: Vec<NewJob> = Vec::with_capacity(believed.len());
        for candidate in &believed {
            let repeats = first_of_key.last().is_some_and(|last| {
                last.kind == candidate.job.kind
                    && last.idempotency_key == candidate.job.idempotency_key
            });
            if !repeats {
                first_of_key.push(candidate.job.clone());
            }
        }
        let inserted: HashSet<JobId> = jobs::insert(tx, &first_of_key).await?.into_iter().collect();
        first_of_key.retain(|job| inserted.contains(&job.id));
        let accepted: Vec<NewEvent> = first_of_key.iter().map(accepted_event).collect();
        events::append(tx, &accepted).await?;

        let known = known_jobs(tx, &believed, &inserted).await?;
        let mut due = BTreeSet::new();
        for Believed { position, job } in believed {
            let answer = if inserted.contains(&job.id) {
                if self.is_imminent(job.run_at) {
                    due.insert(job.kind);
                }
                Acceptance::New(job.id)
            } else {
                answer_known(&job, &known)?
            };
            answers.insert(position, answer);
        }
        Ok(due)
    }

    async fn keep_refused(
        &self,
        tx: &mut Tx,
        batch: &[Submission],
        answers: &BTreeMap<usize, Acceptance>,
        now: DateTime<Utc>,
    ) -> Result<(), StoreError> {
        let refused: Vec<Rejection> = batch
            .iter()
            .zip(answers.values())
            .filter_map(|(submission, answer)| match answer {
                Acceptance::Refused(refusal) => Some(self.rejection(submission, refusal, now)),
                Acceptance::New(_) | Acceptance::Known(..) => None,
            })
            .collect();
        rejections::insert(tx, &refused).await
    }

    fn rejection(
        &self,
        submission: &Submission,
        refusal: &Refusal,
        now: DateTime<Utc>,
    ) -> Rejection {
        let id = self.0.ids.uuid();
        let (source, entry_id) = match &submission.source {
            Source::Redis { stream, entry_id } => (format!("redis {stream}"), entry_id.clone()),
            Source::Http
            | Source::CommandLine
            | Source::Schedule
            | Source::Import
            | Source::FollowUp => (submission.source.name().to_owned(), id.to_string()),
        };
        Rejection {
            id,
            source,
            entry_id,
            kind: Some(printable(&submission.kind)),
            idempotency_key: submission.idempotency_key.as_deref().map(masked),
            raw: mask_card_numbers(&submission.payload),
            reason: masked(&refusal.to_string()),
            job_id: match refusal {
                Refusal::KeyTaken(id) => Some(*id),
                Refusal::Envelope(_)
                | Refusal::Kind(_)
                | Refusal::NoKey
                | Refusal::Key
                | Refusal::Encoding(_)
                | Refusal::Payload(_) => None,
            },
            rejected_at: now,
            mended_job_id: None,
        }
    }
}

/// The jobs that hold the keys of those that were not inserted.
async fn known_jobs(
    tx: &mut Tx,
    believed: &[Believed],
    inserted: &HashSet<JobId>,
) -> Result<HashMap<(JobKind, String), jobs::KeyedJob>, StoreError> {
    let keys: BTreeSet<(JobKind, &str)> = believed
        .iter()
        .filter(|candidate| !inserted.contains(&candidate.job.id))
        .map(|candidate| (candidate.job.kind, candidate.job.idempotency_key.as_str()))
        .collect();
    let keys: Vec<(JobKind, &str)> = keys.into_iter().collect();
    let found = jobs::find_by_keys(tx, &keys).await?;
    Ok(found
        .into_iter()
        .map(|job| ((job.kind, job.idempotency_key.clone()), job))
        .collect())
}

fn answer_known(
    job: &NewJob,
    known: &HashMap<(JobKind, String), jobs::KeyedJob>,
) -> Result<Acceptance, StoreError> {
    let holder = known
        .get(&(job.kind, job.idempotency_key.clone()))
        .ok_or_else(|| StoreError::corrupt("idempotency_key", "neither new nor known"))?;
    Ok(if holder.payload_sha256 == job.payload_sha256 {
        Acceptance::Known(holder.id, holder.state)
    } else {
        Acceptance::Refused(Refusal::KeyTaken(holder.id))
    })
}

/// The submitted JSON in its one canonical form: as it was sent, not as this release understands
/// it, so that a field added later does not change the digests of old jobs.
fn canonical_text(text: &str) -> Result<String, PayloadError> {
    let value =
        serde_json::from_str(text).map_err(|error| PayloadError::NotJson(error.to_string()))?;
    Ok(canonical_json(&value))
}

fn accepted_event(job: &NewJob) -> NewEvent {
    NewEvent {
        job_id: job.id,
        version: 1,
        occurred_at: job.created_at,
        event: "accepted",
        state: JobState::Ready,
        attempt: 0,
        worker: None,
        reason: job.note.clone(),
    }
}

/// Text that any database keeps: a NUL or another control character becomes visible.
fn printable(text: &str) -> String {
    text.chars()
        .map(|c| if c.is_control() { '\u{FFFD}' } else { c })
        .collect()
}

/// Printable text without card numbers.
fn masked(text: &str) -> String {
    let bytes = mask_card_numbers(text.as_bytes());
    printable(&String::from_utf8_lossy(&bytes))
}
