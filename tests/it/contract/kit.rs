//! What is asked of every connector: the trait it is tried through, and the rules that none may break.
//!
//! No fault is a refusal: only the counterparty refuses, in its own words about this very thing. A time-out is unknown
//! and nothing else. What is called unavailable had no effect. What is called done is in the books. A query tells the
//! truth. The same key again has one effect, and where nobody promises that, nothing is sent again.
#![cfg(test)]

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use clearday::connectors::sandbox::{Fault, FaultTicket};
use clearday::connectors::{ChannelError, Now};

use crate::support::sandbox::at;

/// Longer than any request may be on its way before it can no longer take effect, as connectors are set up here.
pub(super) const WINDOW: Duration = Duration::from_mins(5);

/// Time stands still.
pub(super) fn clock() -> Now {
    Arc::new(|| at(0))
}

/// One call with an effect, at a counterparty whose books can be looked at.
pub(super) trait Subject {
    /// What makes the call.
    type Connector;

    /// What is promised of the call.
    fn promises(&self, connector: &Self::Connector) -> Promises;

    /// Where the counterparty listens.
    fn address(&self) -> SocketAddr;

    /// A connector that speaks to this address, waits so long, and is told of [`WINDOW`].
    fn connector(&self, address: SocketAddr, patience: Duration) -> Self::Connector;

    /// Makes ready what the call is about.
    async fn prepare(&self, call: &Call);

    /// Makes the call.
    async fn act(&self, connector: &Self::Connector, call: &Call) -> Told;

    /// Asks where it stands; `None` where nobody can be asked.
    async fn ask(&self, connector: &Self::Connector, call: &Call) -> Option<Told>;

    /// How often calls about this took effect, by the counterparty's own books.
    fn effects(&self, call: &Call) -> usize;

    /// Lets the next such request go wrong, once.
    fn disturb(&self, request: Request, call: &Call, fault: Fault) -> FaultTicket;
}

/// What a call is about, and under which key it is made.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// A reference, an end-to-end id, or who a message is for.
    pub(super) about: String,
    /// The idempotency key; of a message, its id.
    pub(super) key: String,
}

impl Call {
    pub(super) fn new(about: &str) -> Self {
        Self {
            about: about.to_owned(),
            key: format!("{about}-key"),
        }
    }

    /// A call beside this one.
    pub(super) fn beside(&self, name: &str) -> Self {
        Self::new(&format!("{}.{name}", self.about))
    }
}

/// Which request of a subject is meant.
#[derive(Clone, Copy, Debug)]
pub(super) enum Request {
    Act,
    Ask,
}

/// What a caller is told, by what it may conclude.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Told {
    /// It took effect.
    Done(String),
    /// It has no effect so far.
    NotDone(String),
    /// It has none and will have none, by the counterparty's decision.
    Refused(String),
    /// This request had no effect.
    Unavailable,
    /// Nobody knows.
    Unknown,
    /// The request made no sense.
    Invalid,
}

impl Told {
    pub(super) fn done(word: impl Into<String>) -> Self {
        Self::Done(word.into())
    }

    pub(super) fn not_done(word: impl Into<String>) -> Self {
        Self::NotDone(word.into())
    }

    pub(super) fn refused(word: impl Into<String>) -> Self {
        Self::Refused(word.into())
    }
}

impl From<ChannelError> for Told {
    fn from(error: ChannelError) -> Self {
        match error {
            ChannelError::Declined { code, .. } => Self::Refused(code.to_string()),
            ChannelError::Unavailable(_) => Self::Unavailable,
            ChannelError::Unknown(_) => Self::Unknown,
            ChannelError::Invalid(_) => Self::Invalid,
        }
    }
}

impl fmt::Display for Told {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Done(word) | Self::NotDone(word) | Self::Refused(word) => word,
            Self::Unavailable => "unavailable",
            Self::Unknown => "unknown",
            Self::Invalid => "invalid",
        })
    }
}

/// What a connector promises of a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct Promises {
    /// The same key again has no second effect.
    pub(super) is_idempotent: bool,
    /// Nor has another key about the same: a payment is known by its reference, a message by its id alone.
    pub(super) is_one_by_reference: bool,
    /// "Not found" proves nothing before this is over; `None` where nobody can be asked.
    pub(super) window: Option<Duration>,
    /// What the counterparty speaks.
    pub(super) speech: Speech,
}

/// What a counterparty speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Speech {
    /// HTTP, with words that name what they are about.
    Words,
    /// HTTP, where the status says it all: Standard Webhooks. An answer other than 2xx is the endpoint's word that it did not
    /// take the call, whatever it did before saying so; it knows a repetition by its id.
    Status,
    /// SMTP: each message has a conversation of its own.
    Smtp,
}

/// What goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Trouble {
    /// The connection ends before anything happened.
    LostRequest,
    /// It happens, and the connection is reset.
    LostAnswer,
    /// It happens, and the answer is an error.
    ErrorAfterEffect,
    /// It happens, and the answer comes after the time-out.
    SlowAnswer,
    /// It happens, and the answer is held back.
    HeldAnswer,
    /// The counterparty says in its own words that it did nothing.
    Unavailable,
    /// The connection is refused.
    NobodyListens,
    /// The connection never comes about.
    NobodyAccepts,
    /// The answer comes twice, and what is asked next is lost.
    DuplicateAnswer,
    /// It happens, and the answer is the one to an earlier request about another thing.
    AnswerAboutAnother,
    /// It happens, and the answer is the one to an earlier request under another key.
    AnswerToAnotherKey,
    /// It happens, and the answer is the one to a question that was asked before.
    AnswerToAQuestion,
    /// It happens after we gave up, and after the counterparty said that it knows nothing of it.
    LateArrival,
    /// It comes after the same request was made again.
    Overtaken,
}

impl Trouble {
    /// All there is.
    pub(super) const ALL: [Self; 14] = [
        Self::LostRequest,
        Self::LostAnswer,
        Self::ErrorAfterEffect,
        Self::SlowAnswer,
        Self::HeldAnswer,
        Self::Unavailable,
        Self::NobodyListens,
        Self::NobodyAccepts,
        Self::DuplicateAnswer,
        Self::AnswerAboutAnother,
        Self::AnswerToAnotherKey,
        Self::AnswerToAQuestion,
        Self::LateArrival,
        Self::Overtaken,
    ];

    pub(super) fn name(self) -> &'static str {
        match self {
            Self::LostRequest => "lost_request",
            Self::LostAnswer => "lost_answer",
            Self::ErrorAfterEffect => "error_after_effect",
            Self::SlowAnswer => "slow_answer",
            Self::HeldAnswer => "held_answer",
            Self::Unavailable => "unavailable",
            Self::NobodyListens => "nobody_listens",
            Self::NobodyAccepts => "nobody_accepts",
            Self::DuplicateAnswer => "duplicate_answer",
            Self::AnswerAboutAnother => "answer_about_another",
            Self::AnswerToAnotherKey => "answer_to_another_key",
            Self::AnswerToAQuestion => "answer_to_a_question",
            Self::LateArrival => "late_arrival",
            Self::Overtaken => "overtaken",
        }
    }

    /// Whether no answer comes in time: then nothing but unknown is true.
    fn is_time_out(self) -> bool {
        match self {
            Self::SlowAnswer | Self::HeldAnswer | Self::LateArrival | Self::Overtaken => true,
            Self::LostRequest
            | Self::LostAnswer
            | Self::ErrorAfterEffect
            | Self::Unavailable
            | Self::NobodyListens
            | Self::NobodyAccepts
            | Self::DuplicateAnswer
            | Self::AnswerAboutAnother
            | Self::AnswerToAnotherKey
            | Self::AnswerToAQuestion => false,
        }
    }

    /// Whether a connector waits until its time is over.
    pub(super) fn is_waited_out(self) -> bool {
        self.is_time_out() || self == Self::NobodyAccepts
    }

    /// Whether it is proved that nothing was done.
    fn proves_nothing_done(self) -> bool {
        match self {
            Self::Unavailable | Self::NobodyListens | Self::NobodyAccepts => true,
            Self::LostRequest
            | Self::LostAnswer
            | Self::ErrorAfterEffect
            | Self::SlowAnswer
            | Self::HeldAnswer
            | Self::DuplicateAnswer
            | Self::AnswerAboutAnother
            | Self::AnswerToAnotherKey
            | Self::AnswerToAQuestion
            | Self::LateArrival
            | Self::Overtaken => false,
        }
    }
}

/// What a connector said of a request that something happened to, and how many effects the books showed right then.
#[derive(Clone, Copy, Debug)]
pub(super) struct Heard<'a> {
    pub(super) trouble: Trouble,
    pub(super) told: &'a Told,
    pub(super) effects: usize,
}

/// What is wrong with an answer to a request that something happened to, whether it acts or asks.
fn object_to_any(heard: Heard<'_>, speech: Speech) -> Option<&'static str> {
    let Heard {
        trouble,
        told,
        effects,
    } = heard;
    let is_about_another = trouble == Trouble::AnswerAboutAnother && speech == Speech::Words;
    match told {
        Told::Refused(_) => Some("a refusal that nobody spoke"),
        Told::Invalid => Some("called nonsense, which it is not"),
        Told::Unknown if trouble.proves_nothing_done() => {
            Some("unknown, although nothing was done and that is proved")
        }
        Told::Unknown => None,
        Told::Done(_) | Told::NotDone(_) | Told::Unavailable if trouble.is_time_out() => {
            Some("no answer came in time, and it is not unknown")
        }
        Told::Done(_) | Told::NotDone(_) | Told::Unavailable if is_about_another => {
            Some("words about another are believed")
        }
        Told::Done(_) if effects == 0 => Some("called done, and the books show nothing"),
        Told::Done(_) | Told::NotDone(_) | Told::Unavailable => None,
    }
}

/// What is wrong with what a connector says of a call that something happened to.
pub(super) fn object_to_act(heard: Heard<'_>, speech: Speech) -> Option<&'static str> {
    let said_so_itself = speech == Speech::Status && heard.trouble == Trouble::ErrorAfterEffect;
    object_to_any(heard, speech).or(match heard.told {
        Told::Unavailable if heard.effects > 0 && !said_so_itself => {
            Some("called unavailable, and it took effect")
        }
        // A call that is answered with "not so far" is asked about, as one that is unknown.
        Told::NotDone(_) | Told::Unavailable => None,
        Told::Done(_) | Told::Refused(_) | Told::Unknown | Told::Invalid => None,
    })
}

/// What is wrong with what a connector says to a question that something happened to.
pub(super) fn object_to_ask(heard: Heard<'_>, speech: Speech) -> Option<&'static str> {
    object_to_any(heard, speech).or(match heard.told {
        Told::NotDone(_) if heard.effects > 0 => Some("an effect is denied"),
        Told::NotDone(_) | Told::Unavailable => None,
        Told::Done(_) | Told::Refused(_) | Told::Unknown | Told::Invalid => None,
    })
}

/// What is wrong with the answer to a question that nothing happened to.
pub(super) fn object_to_truth(told: &Told, effects: usize) -> Option<&'static str> {
    match told {
        Told::Done(_) if effects == 0 => Some("called done, and the books show nothing"),
        Told::NotDone(_) if effects > 0 => Some("an effect is denied"),
        Told::Done(_) | Told::NotDone(_) => None,
        Told::Refused(_) | Told::Unavailable | Told::Unknown | Told::Invalid => {
            Some("a calm question has no answer")
        }
    }
}
