//! Where a task of a simulated daemon stops, and how it is told to go on.
//!
//! The driver polls one task at a time. A task that comes to a gate or to the wire leaves a [`Stop`] behind and waits;
//! a task that waits for the database's own thread leaves none, and is polled again when that has answered.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use futures::future::BoxFuture;

use super::fault::Fault;
use crate::store::{Access, CommitFate, Gate};

/// What a call asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Call {
    Query,
    Close,
    Authorize,
    QueryAuthorization,
    Void,
    PayOut,
    QueryPayout,
    SendSms,
    QuerySms,
    Webhook,
    Other,
}

impl Call {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Query => "query",
            Self::Close => "close",
            Self::Authorize => "authorize",
            Self::QueryAuthorization => "query_authorization",
            Self::Void => "void",
            Self::PayOut => "pay_out",
            Self::QueryPayout => "query_payout",
            Self::SendSms => "send_sms",
            Self::QuerySms => "query_sms",
            Self::Webhook => "webhook",
            Self::Other => "other",
        }
    }
}

/// A step at which a task stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Step {
    /// Before a transaction that only reads.
    Read,
    /// Before a transaction that may write.
    Write,
    /// After a commit.
    Committed,
    /// While another run records for this one.
    StandBy,
    /// Before a request leaves.
    Call(Call),
    /// After the answer came.
    Answered(Call),
    /// While nothing comes back for so many seconds.
    Waiting(Call, u64),
}

impl Step {
    /// Its name in a trace and in the table.
    pub(super) fn name(self) -> String {
        match self {
            Self::Read => "read".to_owned(),
            Self::Write => "write".to_owned(),
            Self::Committed => "committed".to_owned(),
            Self::StandBy => "stand by".to_owned(),
            Self::Call(call) => format!("call {}", call.as_str()),
            Self::Answered(call) => format!("answer {}", call.as_str()),
            Self::Waiting(call, _) => format!("wait {}", call.as_str()),
        }
    }

    /// How long the task cannot go on.
    pub(super) const fn lasts(self) -> Duration {
        match self {
            Self::Waiting(_, seconds) => Duration::from_secs(seconds),
            Self::Read
            | Self::Write
            | Self::Committed
            | Self::StandBy
            | Self::Call(_)
            | Self::Answered(_) => Duration::ZERO,
        }
    }
}

/// What a task is told when it may go on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Verdict {
    /// What goes wrong with what it is about to do.
    pub(super) fault: Option<Fault>,
}

/// A task's halt.
#[derive(Debug)]
pub(super) struct Stop {
    pub(super) step: Step,
    reply: Arc<Mutex<Option<Verdict>>>,
}

impl Stop {
    /// Lets the task go on when it is polled next.
    pub(super) fn release(&self, verdict: Verdict) {
        *lock(&self.reply) = Some(verdict);
    }
}

/// Where stops are left for the driver; clones are the same one.
#[derive(Clone, Debug, Default)]
pub(super) struct Stops(Arc<Mutex<Option<Stop>>>);

impl Stops {
    /// What the task that was just polled left behind.
    pub(super) fn take(&self) -> Option<Stop> {
        lock(&self.0).take()
    }

    /// Stops until the driver says how to go on.
    pub(super) fn stop(&self, step: Step) -> Stopping {
        Stopping {
            stops: self.clone(),
            step: Some(step),
            reply: Arc::default(),
        }
    }
}

/// A halt that is waited for.
pub(super) struct Stopping {
    stops: Stops,
    step: Option<Step>,
    reply: Arc<Mutex<Option<Verdict>>>,
}

impl Future for Stopping {
    type Output = Verdict;

    fn poll(mut self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<Verdict> {
        // Nobody is woken: the driver polls a task that it released, and no other.
        if let Some(step) = self.step.take() {
            let stop = Stop {
                step,
                reply: Arc::clone(&self.reply),
            };
            *lock(&self.stops.0) = Some(stop);
            return Poll::Pending;
        }
        lock(&self.reply).take().map_or(Poll::Pending, Poll::Ready)
    }
}

/// The gate before a simulated daemon's transactions.
#[derive(Clone)]
pub(super) struct SimulatedGate(pub(super) Stops);

impl SimulatedGate {
    fn pass(&self, step: Step) -> BoxFuture<'static, ()> {
        let stopping = self.0.stop(step);
        Box::pin(async move {
            stopping.await;
        })
    }
}

impl fmt::Debug for SimulatedGate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("SimulatedGate")
    }
}

impl Gate for SimulatedGate {
    fn enter(&self, access: Access) -> BoxFuture<'static, CommitFate> {
        let stopping = self.0.stop(match access {
            Access::Read => Step::Read,
            Access::Write => Step::Write,
        });
        Box::pin(async move {
            match stopping.await.fault {
                Some(Fault::CommitRefused) => CommitFate::Refused,
                Some(Fault::CommitUnheard) => CommitFate::Unheard,
                Some(_) | None => CommitFate::Kept,
            }
        })
    }

    fn leave(&self) -> BoxFuture<'static, ()> {
        self.pass(Step::Committed)
    }

    fn stand_by(&self) -> BoxFuture<'static, ()> {
        self.pass(Step::StandBy)
    }
}

/// A poisoned lock is taken all the same: no step in here stops half-way.
pub(super) fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
