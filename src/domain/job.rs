//! The life of a job: its states, what may happen in each, and what follows.
//!
//! Every change of state in the store is one row of this table; a pair that is refused here has no
//! statement in `store/jobs.rs`.

use chrono::{DateTime, Utc};
use clearday_jobs::{JobId, JobKind};

use super::words::words;

/// A job as it stands in the database: the row *is* the job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// Its id, given when it was accepted.
    pub id: JobId,
    /// What it does; also the name of its queue.
    pub kind: JobKind,
    /// How urgent it is among the jobs of its kind.
    pub priority: Priority,
    /// Whose work it is (a merchant, a channel), for fairness between them.
    pub partition: Option<String>,
    /// The submitter's key: the same key is the same job.
    pub idempotency_key: String,
    /// What is asked, as canonical JSON.
    pub payload: String,
    /// Who submitted it: `redis`, `http`, `cli`, `schedule`, `import`, `demo`.
    pub source: String,
    /// Where it is in its life.
    pub state: JobState,
    /// Counts the changes of state; the n-th change is the n-th row of its history.
    pub version: i64,
    /// Not run before this instant.
    pub run_at: DateTime<Utc>,
    /// Runs that count so far; the running one included.
    pub attempt: u32,
    /// Buried when this many runs failed.
    pub attempts_max: u32,
    /// How often its lease lapsed in a worker's hands.
    pub rescues: u32,
    /// Grows with each lease; only the holder of the newest one may record anything.
    pub lease_epoch: i64,
    /// Who holds it, and until when.
    pub lease: Option<LeaseHold>,
    /// Why it is where it is, in a sentence for people.
    pub note: String,
    /// What the last failed run said.
    pub last_error: Option<String>,
    /// When it was accepted.
    pub created_at: DateTime<Utc>,
    /// When its state last changed.
    pub updated_at: DateTime<Utc>,
}

/// A worker's hold on a job.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeaseHold {
    /// The worker: unique per start of a process.
    pub worker: String,
    /// Lapses at this instant unless renewed.
    pub until: DateTime<Utc>,
}

words! {
    /// Where a job is in its life.
    JobState {
        /// Waits for its `run_at` and then for a worker with free room.
        Ready = "ready",
        /// Leased by a worker until its lease ends.
        Running = "running",
        /// Leased, and somebody asked to cancel it: cancelled as soon as the worker lets go.
        Cancelling = "cancelling",
        /// Its effect is recorded. Final.
        Done = "done",
        /// Out of attempts or impossible: kept with its reason until somebody retries or withdraws it.
        Dead = "dead",
        /// Withdrawn before it had an effect. An operator may still retry it.
        Cancelled = "cancelled",
    }
    "ready, running, cancelling, done, dead, cancelled"
}

words! {
    /// What can happen to a job.
    JobEvent {
        /// A worker takes it.
        Lease = "leased",
        /// The worker recorded its effect.
        Finish = "finished",
        /// The worker asks to look again later; the attempt does not count.
        Snooze = "snoozed",
        /// The run failed and another attempt is left.
        Retry = "retried",
        /// The run failed for good.
        Bury = "buried",
        /// Its lease lapsed: the worker died or slept.
        Rescue = "rescued",
        /// The daemon stops and gives it back unstarted or unfinished; the attempt does not count.
        HandBack = "handed_back",
        /// An operator withdraws it.
        Cancel = "cancelled",
        /// An operator wants it run (again), or what it waits for happened: now.
        Requeue = "requeued",
        /// An operator puts it off until later.
        Postpone = "postponed",
    }
    "leased, finished, snoozed, retried, buried, rescued, handed_back, cancelled, requeued, postponed"
}

impl JobState {
    /// The state after `event`, or `None` when the event is refused in this state.
    pub const fn after(self, event: JobEvent) -> Option<Self> {
        match self {
            Self::Ready => match event {
                JobEvent::Lease => Some(Self::Running),
                JobEvent::Cancel => Some(Self::Cancelled),
                JobEvent::Requeue | JobEvent::Postpone => Some(Self::Ready),
                JobEvent::Finish
                | JobEvent::Snooze
                | JobEvent::Retry
                | JobEvent::Bury
                | JobEvent::Rescue
                | JobEvent::HandBack => None,
            },
            Self::Running => match event {
                JobEvent::Finish => Some(Self::Done),
                JobEvent::Bury => Some(Self::Dead),
                JobEvent::Cancel => Some(Self::Cancelling),
                JobEvent::Snooze | JobEvent::Retry | JobEvent::Rescue | JobEvent::HandBack => {
                    Some(Self::Ready)
                }
                JobEvent::Lease | JobEvent::Requeue | JobEvent::Postpone => None,
            },
            Self::Cancelling => match event {
                JobEvent::Finish => Some(Self::Done),
                JobEvent::Bury => Some(Self::Dead),
                JobEvent::Snooze | JobEvent::Retry | JobEvent::Rescue | JobEvent::HandBack => {
                    Some(Self::Cancelled)
                }
                JobEvent::Lease | JobEvent::Cancel | JobEvent::Requeue | JobEvent::Postpone => None,
            },
            Self::Dead => match event {
                JobEvent::Requeue => Some(Self::Ready),
                JobEvent::Cancel => Some(Self::Cancelled),
                JobEvent::Lease
                | JobEvent::Finish
                | JobEvent::Snooze
                | JobEvent::Retry
                | JobEvent::Bury
                | JobEvent::Rescue
                | JobEvent::HandBack
                | JobEvent::Postpone => None,
            },
            Self::Cancelled => match event {
                JobEvent::Requeue => Some(Self::Ready),
                JobEvent::Lease
                | JobEvent::Finish
                | JobEvent::Snooze
                | JobEvent::Retry
                | JobEvent::Bury
                | JobEvent::Rescue
                | JobEvent::HandBack
                | JobEvent::Cancel
                | JobEvent::Postpone => None,
            },
            Self::Done => match event {
                JobEvent::Lease
                | JobEvent::Finish
                | JobEvent::Snooze
                | JobEvent::Retry
                | JobEvent::Bury
                | JobEvent::Rescue
                | JobEvent::HandBack
                | JobEvent::Cancel
                | JobEvent::Requeue
                | JobEvent::Postpone => None,
            },
        }
    }

    /// Whether a worker holds the job.
    pub const fn is_leased(self) -> bool {
        match self {
            Self::Running | Self::Cancelling => true,
            Self::Ready | Self::Done | Self::Dead | Self::Cancelled => false,
        }
    }

    /// Whether nobody works on the job any more.
    pub const fn is_ended(self) -> bool {
        match self {
            Self::Done | Self::Dead | Self::Cancelled => true,
            Self::Ready | Self::Running | Self::Cancelling => false,
        }
    }
}

/// How urgent a job is within its queue; the most urgent that is due runs first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Somebody waits for it.
    Urgent,
    /// The usual.
    #[default]
    Normal,
    /// Bulk work that may wait for all other.
    Bulk,
}

impl Priority {
    /// From the most to the least urgent.
    pub const ALL: [Self; 3] = [Self::Urgent, Self::Normal, Self::Bulk];

    /// The priority with this number in the database.
    pub fn from_i16(number: i16) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|priority| priority.as_i16() == number)
    }

    /// The number in the database: smaller is sooner.
    pub const fn as_i16(self) -> i16 {
        match self {
            Self::Urgent => 1,
            Self::Normal => 2,
            Self::Bulk => 3,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_state_and_event_is_answered() {
        let table: Vec<String> = JobState::ALL
            .iter()
            .map(|state| {
                let answers: Vec<String> = JobEvent::ALL
                    .iter()
                    .filter_map(|event| Some((event, state.after(*event)?)))
                    .map(|(event, next)| format!("{} -> {next}", event.as_str()))
                    .collect();
                format!("{state}: {}", answers.join(", "))
            })
            .collect();
        assert_eq!(
            table.join("\n"),
            "\
ready: leased -> running, cancelled -> cancelled, requeued -> ready, postponed -> ready
running: finished -> done, snoozed -> ready, retried -> ready, buried -> dead, rescued -> ready, handed_back -> ready, cancelled -> cancelling
cancelling: finished -> done, snoozed -> cancelled, retried -> cancelled, buried -> dead, rescued -> cancelled, handed_back -> cancelled
done: \n\
dead: cancelled -> cancelled, requeued -> ready
cancelled: requeued -> ready"
        );
    }

    #[test]
    fn state_names_are_read_back() {
        for &state in JobState::ALL {
            assert_eq!(state.as_str().parse::<JobState>().unwrap(), state);
        }
        assert!("finished".parse::<JobState>().is_err());
    }
}
