//! How a call to a channel fails, sorted by what the caller must do next.
//!
//! The line that matters runs between [`ChannelError::Unavailable`] (provably without effect: try again) and
//! [`ChannelError::Unknown`] (it may have happened: ask). A time-out after the request left is always the latter,
//! and never a decline.

use std::fmt;

use clearday_jobs::ChannelName;

use super::Evidence;

/// Why a channel did not answer as hoped.
#[derive(Debug, thiserror::Error)]
pub enum ChannelError {
    /// Provably unsent, or documented by the channel as without effect. Try again later.
    #[error("channel {} is unavailable and did nothing", .0.channel)]
    Unavailable(#[source] Box<Trouble>),
    /// Sent, and no trustworthy answer came. It may have happened: query.
    #[error("channel {} gave no answer to be trusted", .0.channel)]
    Unknown(#[source] Box<Trouble>),
    /// Understood and refused. A decision: the same request will be refused again.
    #[error("channel {channel} declined with {code}: {message}")]
    Declined {
        /// Who declined.
        channel: ChannelName,
        /// Why, to decide on.
        code: DeclineCode,
        /// Why, in the channel's words.
        message: String,
        /// The words that say so.
        evidence: Box<Evidence>,
    },
    /// We asked nonsense, and asking again will not help.
    #[error("channel {} cannot be asked that", .0.channel)]
    Invalid(#[source] Box<Trouble>),
}

impl ChannelError {
    /// What the caller must do next.
    pub fn class(&self) -> ErrorClass {
        match self {
            Self::Unavailable(_) => ErrorClass::Unavailable,
            Self::Unknown(_) => ErrorClass::Unknown,
            Self::Declined { .. } => ErrorClass::Declined,
            Self::Invalid(_) => ErrorClass::Invalid,
        }
    }

    /// The channel's own words, where there were any.
    pub fn evidence(&self) -> Option<&Evidence> {
        match self {
            Self::Unavailable(trouble) | Self::Unknown(trouble) | Self::Invalid(trouble) => {
                trouble.evidence.as_ref()
            }
            Self::Declined { evidence, .. } => Some(evidence),
        }
    }
}

/// The four classes of error that the engine knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ErrorClass {
    /// Retry; feeds the channel's circuit breaker.
    Unavailable,
    /// A decision; no retry.
    Declined,
    /// Query until evidence closes it.
    Unknown,
    /// Dead letter.
    Invalid,
}

impl ErrorClass {
    /// The class as logs, metrics and rows name it.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Unavailable => "unavailable",
            Self::Declined => "declined",
            Self::Unknown => "unknown",
            Self::Invalid => "invalid",
        }
    }
}

impl fmt::Display for ErrorClass {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// What an operator needs to know about a call that did not go as hoped.
#[derive(Debug, thiserror::Error)]
#[error("{request}: {reason}")]
pub struct Trouble {
    /// Who was asked.
    pub channel: ChannelName,
    /// Method and path of what was asked.
    pub request: String,
    /// What is wrong, for a reader.
    pub reason: String,
    /// What came back, if anything did.
    pub evidence: Option<Evidence>,
    /// What the transport says, if it is to blame.
    #[source]
    pub cause: Option<TransportError>,
}

/// A failure below the channel's protocol: name, connection, TLS, time.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct TransportError(pub(super) reqwest::Error);

/// Why a channel declined, as far as clearday decides on it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum DeclineCode {
    /// A payment that was to be closed has been paid: take the payment.
    OrderPaid,
    /// The payment is closed and takes no money any more.
    OrderClosed,
    /// There is no such payment to act on.
    PaymentNotFound,
    /// A code that only a person can weigh.
    Other(String),
}

impl DeclineCode {
    /// The code as the sandbox, logs and rows write it.
    pub fn as_str(&self) -> &str {
        match self {
            Self::OrderPaid => "order_paid",
            Self::OrderClosed => "order_closed",
            Self::PaymentNotFound => "payment_not_found",
            Self::Other(code) => code,
        }
    }
}

impl From<String> for DeclineCode {
    fn from(code: String) -> Self {
        [Self::OrderPaid, Self::OrderClosed, Self::PaymentNotFound]
            .into_iter()
            .find(|known| known.as_str() == code)
            .unwrap_or(Self::Other(code))
    }
}

impl fmt::Display for DeclineCode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// Why the channels cannot be set up from the settings.
#[derive(Debug, thiserror::Error)]
pub enum SetupError {
    /// The address is not one that requests can be sent to.
    #[error(
        "the base_url of channel {channel} must be http:// or https:// with a host and without credentials or query"
    )]
    BaseUrl {
        /// Whose address it is.
        channel: ChannelName,
    },
    /// With such time-outs a connection that never came about would be taken for an unknown outcome.
    #[error("channel {channel} must give up connecting before it gives up the whole request")]
    Timeouts {
        /// Whose time-outs they are.
        channel: ChannelName,
    },
    /// Two channels have one name.
    #[error("channel {channel} is configured twice")]
    Twice {
        /// The name.
        channel: ChannelName,
    },
    /// The HTTP client could not be built.
    #[error("channel {channel} has no HTTP client")]
    Client {
        /// Who has none.
        channel: ChannelName,
        /// Why.
        #[source]
        source: TransportError,
    },
}
