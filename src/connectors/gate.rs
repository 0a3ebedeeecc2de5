//! Whether somebody outside may be called now, by what this process heard from them lately.

use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};

use super::{ChannelError, Now};
use crate::domain::breaker::{Admission, Breaker};

/// The circuit breaker of one channel or bank in this process.
pub struct Gate {
    breaker: Mutex<Breaker>,
    now: Now,
}

impl Gate {
    pub(super) fn new(now: &Now) -> Self {
        Self {
            breaker: Mutex::default(),
            now: Now::clone(now),
        }
    }

    /// Asks whether a call may go out now. Who was unavailable several times in a row is left alone for a while, and then
    /// called at a pace.
    pub fn admit(&self) -> Admission {
        self.breaker().admit((self.now)())
    }

    /// Until when no call goes out because several in a row found nobody.
    pub fn open_until(&self) -> Option<DateTime<Utc>> {
        self.breaker().open_until()
    }

    /// Lets the breaker know what became of a call.
    pub(super) fn heard<T>(&self, answer: Result<T, ChannelError>) -> Result<T, ChannelError> {
        match &answer {
            Err(ChannelError::Unavailable(_)) => self.breaker().failed((self.now)()),
            // Silence: a server that takes every call and answers none must not be fed all there is.
            Err(ChannelError::Unknown(trouble)) if trouble.evidence.is_none() => {
                self.breaker().failed((self.now)());
            }
            // Words that cannot be believed come from somebody, and an objection of our own from nobody: neither says
            // how they are.
            Err(ChannelError::Unknown(_)) => {}
            Err(ChannelError::Invalid(trouble)) if trouble.evidence.is_none() => {}
            Ok(_) | Err(ChannelError::Declined { .. } | ChannelError::Invalid(_)) => {
                self.breaker().answered();
            }
        }
        answer
    }

    /// A poisoned lock is taken all the same: no step in here stops half-way.
    fn breaker(&self) -> MutexGuard<'_, Breaker> {
        self.breaker.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Gate {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_tuple("Gate")
            .field(&*self.breaker())
            .finish()
    }
}
