//! What goes wrong, and at which step.

use std::fmt;

/// Something that goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The daemon dies here, as under SIGKILL.
    Crash,
    /// The daemon stands still for longer than its leases last, and then goes on.
    Freeze,
    /// The daemon's clock is set up to five minutes forward or back.
    ClockJump,
    /// The database refuses the commit.
    CommitRefused,
    /// The commit takes effect and its answer is lost.
    CommitUnheard,
    /// A request does not arrive, and nobody knows.
    RequestLost,
    /// No connection comes about.
    Unsent,
    /// It takes effect; the answer does not come in time.
    AnswerLost,
    /// It takes effect; then the answer is 500.
    EffectThen500,
    /// It takes effect; then the connection is reset.
    EffectThenReset,
    /// It arrives and takes effect after everybody gave up.
    LateEffect,
    /// It arrives once more, later.
    RequestTwice,
    /// The answer is slow, and others overtake it.
    AnswerSlow,
    /// A submission or a bell does not arrive.
    Lost,
    /// A submission or a bell arrives twice.
    Twice,
    /// A submission or a bell arrives after later ones.
    Overtaken,
}

impl Fault {
    /// Every fault, in the order of the table.
    pub const ALL: [Self; 16] = [
        Self::Crash,
        Self::Freeze,
        Self::ClockJump,
        Self::CommitRefused,
        Self::CommitUnheard,
        Self::RequestLost,
        Self::Unsent,
        Self::AnswerLost,
        Self::EffectThen500,
        Self::EffectThenReset,
        Self::LateEffect,
        Self::RequestTwice,
        Self::AnswerSlow,
        Self::Lost,
        Self::Twice,
        Self::Overtaken,
    ];

    /// Its name.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::Freeze => "freeze",
            Self::ClockJump => "clock_jump",
            Self::CommitRefused => "commit_refused",
            Self::CommitUnheard => "commit_unheard",
            Self::RequestLost => "request_lost",
            Self::Unsent => "unsent",
            Self::AnswerLost => "answer_lost",
            Self::EffectThen500 => "effect_then_500",
            Self::EffectThenReset => "effect_then_reset",
            Self::LateEffect => "late_effect",
            Self::RequestTwice => "request_twice",
            Self::AnswerSlow => "answer_slow",
            Self::Lost => "lost",
            Self::Twice => "twice",
            Self::Overtaken => "overtaken",
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.pad(self.as_str())
    }
}

/// Whatever may strike a daemon at any of its steps.
pub(super) const ANYWHERE: [Fault; 3] = [Fault::Crash, Fault::Freeze, Fault::ClockJump];
/// What may become of a transaction that writes.
pub(super) const AT_WRITES: [Fault; 5] = [
    Fault::Crash,
    Fault::Freeze,
    Fault::ClockJump,
    Fault::CommitRefused,
    Fault::CommitUnheard,
];
/// What may become of a call.
pub(super) const AT_CALLS: [Fault; 11] = [
    Fault::Crash,
    Fault::Freeze,
    Fault::ClockJump,
    Fault::RequestLost,
    Fault::Unsent,
    Fault::AnswerLost,
    Fault::EffectThen500,
    Fault::EffectThenReset,
    Fault::LateEffect,
    Fault::RequestTwice,
    Fault::AnswerSlow,
];
/// What may become of what travels.
pub(super) const IN_TRANSIT: [Fault; 3] = [Fault::Lost, Fault::Twice, Fault::Overtaken];

/// A fault that was drawn, and where it strikes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Struck {
    /// Its number in the story.
    pub number: usize,
    /// What goes wrong.
    pub fault: Fault,
    /// At which step.
    pub place: String,
    /// Which time this step was taken, from 1.
    pub visit: u64,
}
