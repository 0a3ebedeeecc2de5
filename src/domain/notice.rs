//! One notice: a message to one recipient on one way, from the plan to what became of it.
//!
//! It is tried by a schedule that a deadline bounds. Once a try has left without an answer nobody
//! knows whether it arrived, and what may be done about that differs: a gateway for SMS is asked, a
//! webhook is sent again under its id, which its receiver knows it by, and a mail is let rest,
//! because nobody can be asked and two mails are worse than one that may be missing.

use std::fmt;

use chrono::{DateTime, TimeDelta, Utc};
use clearday_jobs::{JobId, OrderNo};
use uuid::Uuid;

use super::operation::{Operation, OperationState};
use super::order_expiry::ask_again_at;
use super::partner::MessageChannel;
use super::words::words;

/// The waits after the first try, the second, and so on: those of Svix, which receivers of webhooks
/// are used to. A hiccup is over in seconds, a restart in minutes, and who is not back after
/// a day and three hours will not be by trying.
const WAITS: [TimeDelta; 7] = [
    TimeDelta::seconds(5),
    TimeDelta::minutes(5),
    TimeDelta::minutes(30),
    TimeDelta::hours(2),
    TimeDelta::hours(5),
    TimeDelta::hours(10),
    TimeDelta::hours(10),
];
/// A wait grows by at most a tenth, so that a thousand notices that failed together do not come
/// back together.
const JITTER_DIVISOR: i64 = 10 * 1_000;

/// The id of a notice; also the id of its message, whatever carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NoticeId(pub Uuid);

impl fmt::Display for NoticeId {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.0, formatter)
    }
}

words! {
    /// Where a notice is.
    NoticeState {
        /// Waits for its time; nothing of it is on its way.
        Planned = "planned",
        /// A try is written down and may have left.
        Sending = "sending",
        /// A try left, and nobody knows whether it arrived.
        Unknown = "unknown",
        /// Whoever carries it has it.
        Sent = "sent",
        /// Whoever it is for has it. Final.
        Delivered = "delivered",
        /// Not sent, because what it says is true no more. Final.
        Suppressed = "suppressed",
        /// Given up, and it did not arrive. Final.
        Exhausted = "exhausted",
    }
    "planned, sending, unknown, sent, delivered, suppressed, exhausted"
}

words! {
    /// What a notice says.
    NoticePurpose {
        /// Somebody asks the partner to pay.
        PayRequest = "pay_request",
        /// The request still waits.
        Reminder = "reminder",
        /// The request no longer stands.
        Withdrawn = "withdrawn",
        /// What upstream waits to hear of a job.
        Callback = "callback",
    }
    "pay_request, reminder, withdrawn, callback"
}

/// What can happen to a notice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoticeEvent {
    /// A try is written down.
    Send,
    /// Whoever carries it took it.
    Accept,
    /// Whoever it is for has it.
    Deliver,
    /// The try is proved without effect, and another one follows.
    Fail,
    /// The try left no trustworthy answer.
    Lose,
    /// What it says is true no more.
    Suppress,
    /// It is proved that it did not arrive, and no try follows.
    Exhaust,
}

impl NoticeEvent {
    /// Every event.
    pub const ALL: [Self; 7] = [
        Self::Send,
        Self::Accept,
        Self::Deliver,
        Self::Fail,
        Self::Lose,
        Self::Suppress,
        Self::Exhaust,
    ];
}

impl NoticeState {
    /// The state after `event`, or `None` when it is refused: what may have left is not suppressed.
    pub const fn after(self, event: NoticeEvent) -> Option<Self> {
        match self {
            Self::Planned => match event {
                NoticeEvent::Send => Some(Self::Sending),
                NoticeEvent::Suppress => Some(Self::Suppressed),
                NoticeEvent::Exhaust => Some(Self::Exhausted),
                NoticeEvent::Accept
                | NoticeEvent::Deliver
                | NoticeEvent::Fail
                | NoticeEvent::Lose => None,
            },
            Self::Sending => match event {
                NoticeEvent::Accept => Some(Self::Sent),
                NoticeEvent::Deliver => Some(Self::Delivered),
                NoticeEvent::Fail => Some(Self::Planned),
                NoticeEvent::Lose => Some(Self::Unknown),
                NoticeEvent::Exhaust => Some(Self::Exhausted),
                NoticeEvent::Send | NoticeEvent::Suppress => None,
            },
            Self::Unknown => match event {
                NoticeEvent::Send => Some(Self::Sending),
                NoticeEvent::Accept => Some(Self::Sent),
                NoticeEvent::Deliver => Some(Self::Delivered),
                NoticeEvent::Fail => Some(Self::Planned),
                NoticeEvent::Lose => Some(Self::Unknown),
                NoticeEvent::Exhaust => Some(Self::Exhausted),
                NoticeEvent::Suppress => None,
            },
            Self::Sent => match event {
                NoticeEvent::Deliver => Some(Self::Delivered),
                NoticeEvent::Send
                | NoticeEvent::Accept
                | NoticeEvent::Fail
                | NoticeEvent::Lose
                | NoticeEvent::Suppress
                | NoticeEvent::Exhaust => None,
            },
            Self::Delivered | Self::Suppressed | Self::Exhausted => match event {
                NoticeEvent::Send
                | NoticeEvent::Accept
                | NoticeEvent::Deliver
                | NoticeEvent::Fail
                | NoticeEvent::Lose
                | NoticeEvent::Suppress
                | NoticeEvent::Exhaust => None,
            },
        }
    }

    /// Whether the recipient was told, or may have been.
    pub const fn may_have_told(self) -> bool {
        match self {
            Self::Sending | Self::Unknown | Self::Sent | Self::Delivered => true,
            Self::Planned | Self::Suppressed | Self::Exhausted => false,
        }
    }
}

/// A notice as it stands in the database.
#[derive(Clone, PartialEq, Eq)]
pub struct Notice {
    /// Its id.
    pub id: NoticeId,
    /// The job that sees to it.
    pub job_id: JobId,
    /// The order it is about.
    pub order_no: OrderNo,
    /// Who is told: a partner's id, or `upstream`.
    pub recipient: String,
    /// What it says.
    pub purpose: NoticePurpose,
    /// Of several answers to upstream, which; empty for partners.
    pub step: String,
    /// How it goes.
    pub channel: MessageChannel,
    /// Where it goes.
    pub target: String,
    /// The subject of an e-mail; empty elsewhere.
    pub subject: String,
    /// The text, or the body; the same in every try.
    pub content: String,
    /// Where it is.
    pub state: NoticeState,
    /// Counts its changes.
    pub version: i64,
    /// Tries that were written down.
    pub attempts: u32,
    /// When it is sent, or asked about, next; none: it rests.
    pub look_at: Option<DateTime<Utc>>,
    /// Nothing is sent at or after this instant.
    pub deadline: DateTime<Utc>,
    /// What the last answer was, or why there is none, for people.
    pub last_answer: String,
}

impl fmt::Debug for Notice {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Notice")
            .field("id", &self.id)
            .field("purpose", &self.purpose)
            .field("channel", &self.channel)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

impl Notice {
    /// Whether nothing is left to do about it.
    pub fn is_settled(&self) -> bool {
        self.look_at.is_none()
    }
}

/// Whether what a notice says is still true.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Standing {
    /// It is, and may be said before this instant.
    Until(DateTime<Utc>),
    /// It is not, and why.
    Over(String),
}

/// What to do about a notice now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NoticeDecision {
    /// Nothing is left to do.
    Settled,
    /// Look again at this instant.
    Wait(DateTime<Utc>),
    /// Do not send it, and why.
    Suppress(String),
    /// Give it up, and why.
    Exhaust(String),
    /// Send it under this generation of its key.
    Send {
        /// Number of the key; 1 is the first.
        generation: u32,
    },
    /// Send it again under the key of this open operation.
    SendAgain(Operation),
    /// Ask what became of this open operation.
    Ask(Operation),
    /// Nobody will ever know; let it be.
    LetRest(String),
    /// A try was interrupted before its outcome was recorded: this is what it comes to.
    Recover(NoticeEvent),
}

/// Decides the next step for a notice. `unreachable` says why its way cannot be taken at all, and
/// `last` is the newest operation about it.
pub fn decide_notice(
    notice: &Notice,
    last: Option<&Operation>,
    standing: &Standing,
    unreachable: Option<&str>,
    now: DateTime<Utc>,
) -> NoticeDecision {
    let Some(look_at) = notice.look_at else {
        return NoticeDecision::Settled;
    };
    match notice.state {
        NoticeState::Planned => decide_planned(look_at, last, standing, unreachable, now),
        NoticeState::Sending => NoticeDecision::Recover(what_became_of(last)),
        NoticeState::Unknown if look_at > now => NoticeDecision::Wait(look_at),
        NoticeState::Unknown => decide_unknown(notice, last, standing, unreachable, now),
        NoticeState::Sent
        | NoticeState::Delivered
        | NoticeState::Suppressed
        | NoticeState::Exhausted => NoticeDecision::Settled,
    }
}

fn decide_planned(
    look_at: DateTime<Utc>,
    last: Option<&Operation>,
    standing: &Standing,
    unreachable: Option<&str>,
    now: DateTime<Utc>,
) -> NoticeDecision {
    let until = match standing {
        Standing::Over(reason) => return NoticeDecision::Suppress(reason.clone()),
        Standing::Until(until) => *until,
    };
    if let Some(reason) = unreachable {
        return NoticeDecision::Exhaust(reason.to_owned());
    }
    if now >= until {
        return NoticeDecision::Exhaust("its deadline came".to_owned());
    }
    if look_at > now {
        // The deadline may have been moved to before the next try.
        return NoticeDecision::Wait(look_at.min(until));
    }
    let generation = last.map_or(0, |operation| operation.generation);
    NoticeDecision::Send {
        generation: generation.saturating_add(1),
    }
}

/// What an interrupted try comes to: what is proved, or that nobody knows.
fn what_became_of(last: Option<&Operation>) -> NoticeEvent {
    match last.map(|operation| operation.state) {
        Some(OperationState::Intended | OperationState::Unknown) => NoticeEvent::Lose,
        Some(OperationState::Succeeded) => NoticeEvent::Accept,
        Some(OperationState::Declined) | None => NoticeEvent::Fail,
    }
}

fn decide_unknown(
    notice: &Notice,
    last: Option<&Operation>,
    standing: &Standing,
    unreachable: Option<&str>,
    now: DateTime<Utc>,
) -> NoticeDecision {
    let Some(open) = last.filter(|operation| !operation.state.is_final()) else {
        return NoticeDecision::Recover(what_became_of(last));
    };
    match notice.channel {
        MessageChannel::Sms => NoticeDecision::Ask(open.clone()),
        MessageChannel::Email => {
            NoticeDecision::LetRest("nobody can be asked about a mail".to_owned())
        }
        MessageChannel::Webhook => match (standing, unreachable) {
            (Standing::Over(reason), _) => NoticeDecision::LetRest(reason.clone()),
            (Standing::Until(until), _) if now >= *until => {
                NoticeDecision::LetRest("its deadline came".to_owned())
            }
            (Standing::Until(_), Some(reason)) => NoticeDecision::LetRest(reason.to_owned()),
            (Standing::Until(_), None) => NoticeDecision::SendAgain(open.clone()),
        },
    }
}

/// What a notice becomes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoticeChange {
    /// What happened to it.
    pub event: NoticeEvent,
    /// When it is looked at next; none: it rests.
    pub look_at: Option<DateTime<Utc>>,
    /// What was answered, for people.
    pub answer: String,
}

impl NoticeChange {
    /// It has come to its end.
    pub fn last(event: NoticeEvent, answer: impl Into<String>) -> Self {
        Self {
            event,
            look_at: None,
            answer: answer.into(),
        }
    }
}

/// What follows a try that is proved without effect.
pub fn after_failure(
    notice: &Notice,
    until: DateTime<Utc>,
    answer: &str,
    now: DateTime<Utc>,
    jitter_permille: u32,
) -> NoticeChange {
    match next_try(notice.attempts, until, now, jitter_permille) {
        Some(next) => NoticeChange {
            event: NoticeEvent::Fail,
            look_at: Some(next),
            answer: answer.to_owned(),
        },
        None => NoticeChange::last(
            NoticeEvent::Exhaust,
            format!("given up after {} tries: {answer}", notice.attempts),
        ),
    }
}

/// What follows a try without a trustworthy answer.
pub fn after_loss(
    notice: &Notice,
    until: DateTime<Utc>,
    answer: &str,
    now: DateTime<Utc>,
    jitter_permille: u32,
) -> NoticeChange {
    let look_at = match notice.channel {
        MessageChannel::Sms => Some(ask_again_at(now, now)),
        MessageChannel::Email => None,
        MessageChannel::Webhook => next_try(notice.attempts, until, now, jitter_permille),
    };
    NoticeChange {
        event: NoticeEvent::Lose,
        look_at,
        answer: answer.to_owned(),
    }
}

/// When the try after number `attempts` is; `None` where there is none before `until`.
pub fn next_try(
    attempts: u32,
    until: DateTime<Utc>,
    now: DateTime<Utc>,
    jitter_permille: u32,
) -> Option<DateTime<Utc>> {
    let index = usize::try_from(attempts).ok()?.checked_sub(1)?;
    let wait = *WAITS.get(index)?;
    let jitter_ms = wait
        .num_milliseconds()
        .saturating_mul(i64::from(jitter_permille.min(1_000)))
        .div_euclid(JITTER_DIVISOR);
    let next = now
        .checked_add_signed(wait)?
        .checked_add_signed(TimeDelta::milliseconds(jitter_ms))?;
    (next < until).then_some(next)
}

/// What a query says of a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MessageFate {
    /// Whoever carries it has it.
    Accepted,
    /// Whoever it is for has it.
    Delivered,
    /// It will not arrive, and why.
    Failed(String),
    /// Nobody has heard of it: proof of absence only after the processing window.
    NotFound,
}

/// What the answer to a query means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum FateDecision {
    /// It arrived, so far.
    Arrived(NoticeEvent),
    /// It will not arrive, and why.
    Undeliverable(String),
    /// It never got there: another try may follow.
    NeverSent,
    /// Nobody knows yet; ask again then.
    Wait(DateTime<Utc>),
}

/// Decides what the answer to a query means. "Not found" is believed when nothing that left can
/// take effect any more.
pub fn decide_fate(
    fate: &MessageFate,
    open: &Operation,
    processing_window: TimeDelta,
    now: DateTime<Utc>,
) -> FateDecision {
    match fate {
        MessageFate::Accepted => FateDecision::Arrived(NoticeEvent::Accept),
        MessageFate::Delivered => FateDecision::Arrived(NoticeEvent::Deliver),
        MessageFate::Failed(reason) => FateDecision::Undeliverable(reason.clone()),
        MessageFate::NotFound => {
            let quarantine = open.quarantined_until(processing_window);
            if now >= quarantine {
                FateDecision::NeverSent
            } else {
                FateDecision::Wait(quarantine.min(ask_again_at(open.intended_at, now)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![expect(
        clippy::arithmetic_side_effects,
        reason = "a test that overflows fails"
    )]

    use super::*;
    use crate::domain::operation::{LEAVES_WITHIN, OperationKind};
    use clearday_jobs::OperationId;
    use proptest::prelude::*;

    fn noon() -> DateTime<Utc> {
        "2026-03-02T12:00:00Z".parse().unwrap()
    }

    fn notice(channel: MessageChannel, state: NoticeState) -> Notice {
        Notice {
            id: NoticeId(Uuid::nil()),
            job_id: JobId(Uuid::nil()),
            order_no: "O-1".parse().unwrap(),
            recipient: "P-1".to_owned(),
            purpose: NoticePurpose::PayRequest,
            step: String::new(),
            channel,
            target: "target".to_owned(),
            subject: String::new(),
            content: "text".to_owned(),
            state,
            version: 1,
            attempts: 1,
            look_at: Some(noon()),
            deadline: noon() + TimeDelta::days(1),
            last_answer: String::new(),
        }
    }

    fn operation(state: OperationState) -> Operation {
        Operation {
            id: OperationId(Uuid::nil()),
            job_id: JobId(Uuid::nil()),
            kind: OperationKind::Send,
            channel: "sms".parse().unwrap(),
            reference: "N-1".parse().unwrap(),
            generation: 1,
            idempotency_key: "send:sms:N-1:1".to_owned(),
            state,
            intended_at: noon(),
            updated_at: noon(),
        }
    }

    #[test]
    fn every_pair_of_notice_state_and_event_is_answered() {
        let table: Vec<String> = NoticeState::ALL
            .iter()
            .map(|state| {
                let answers: Vec<String> = NoticeEvent::ALL
                    .iter()
                    .map(|event| match state.after(*event) {
                        Some(next) => format!("{event:?} -> {next}"),
                        None => format!("{event:?} -> refused"),
                    })
                    .collect();
                format!("{state}: {}", answers.join(", "))
            })
            .collect();
        assert_eq!(
            table.join("\n"),
            "\
planned: Send -> sending, Accept -> refused, Deliver -> refused, Fail -> refused, Lose -> refused, Suppress -> suppressed, Exhaust -> exhausted
sending: Send -> refused, Accept -> sent, Deliver -> delivered, Fail -> planned, Lose -> unknown, Suppress -> refused, Exhaust -> exhausted
unknown: Send -> sending, Accept -> sent, Deliver -> delivered, Fail -> planned, Lose -> unknown, Suppress -> refused, Exhaust -> exhausted
sent: Send -> refused, Accept -> refused, Deliver -> delivered, Fail -> refused, Lose -> refused, Suppress -> refused, Exhaust -> refused
delivered: Send -> refused, Accept -> refused, Deliver -> refused, Fail -> refused, Lose -> refused, Suppress -> refused, Exhaust -> refused
suppressed: Send -> refused, Accept -> refused, Deliver -> refused, Fail -> refused, Lose -> refused, Suppress -> refused, Exhaust -> refused
exhausted: Send -> refused, Accept -> refused, Deliver -> refused, Fail -> refused, Lose -> refused, Suppress -> refused, Exhaust -> refused"
        );
    }

    fn decision_name(decision: &NoticeDecision) -> &'static str {
        match decision {
            NoticeDecision::Settled => "settled",
            NoticeDecision::Wait(_) => "wait",
            NoticeDecision::Suppress(_) => "suppress",
            NoticeDecision::Exhaust(_) => "exhaust",
            NoticeDecision::Send { .. } => "send",
            NoticeDecision::SendAgain(_) => "send again",
            NoticeDecision::Ask(_) => "ask",
            NoticeDecision::LetRest(_) => "let rest",
            NoticeDecision::Recover(NoticeEvent::Lose) => "recover as lost",
            NoticeDecision::Recover(NoticeEvent::Fail) => "recover as failed",
            NoticeDecision::Recover(NoticeEvent::Accept) => "recover as taken",
            NoticeDecision::Recover(
                NoticeEvent::Send
                | NoticeEvent::Deliver
                | NoticeEvent::Suppress
                | NoticeEvent::Exhaust,
            ) => "nonsense",
        }
    }

    #[test]
    fn the_next_step_of_a_due_notice_follows_from_its_state_its_way_and_its_order() {
        use MessageChannel::{Email, Sms, Webhook};
        use OperationState::{Declined, Intended, Unknown};
        let later = Standing::Until(noon() + TimeDelta::hours(1));
        let over = Standing::Over("paid".to_owned());
        let late = Standing::Until(noon());
        let mut table: Vec<String> = Vec::new();
        for (state, last) in [
            (NoticeState::Planned, None),
            (NoticeState::Planned, Some(Declined)),
            (NoticeState::Sending, Some(Intended)),
            (NoticeState::Sending, Some(Declined)),
            (NoticeState::Unknown, Some(Unknown)),
        ] {
            for channel in [Sms, Email, Webhook] {
                let last = last.map(operation);
                let decide = |standing, unreachable| {
                    let notice = notice(channel, state);
                    let last = last.as_ref();
                    decision_name(&decide_notice(&notice, last, standing, unreachable, noon()))
                };
                table.push(format!(
                    "{state} {channel}, {}: {}, {}, {}, {}",
                    last.as_ref().map_or("none", |it| it.state.as_str()),
                    decide(&later, None),
                    decide(&over, None),
                    decide(&late, None),
                    decide(&later, Some("no way")),
                ));
            }
        }
        // The order waits for its money, does not any more, its deadline has come, no way leads there.
        assert_eq!(
            table.join("\n"),
            "\
planned sms, none: send, suppress, exhaust, exhaust
planned email, none: send, suppress, exhaust, exhaust
planned webhook, none: send, suppress, exhaust, exhaust
planned sms, declined: send, suppress, exhaust, exhaust
planned email, declined: send, suppress, exhaust, exhaust
planned webhook, declined: send, suppress, exhaust, exhaust
sending sms, intended: recover as lost, recover as lost, recover as lost, recover as lost
sending email, intended: recover as lost, recover as lost, recover as lost, recover as lost
sending webhook, intended: recover as lost, recover as lost, recover as lost, recover as lost
sending sms, declined: recover as failed, recover as failed, recover as failed, recover as failed
sending email, declined: recover as failed, recover as failed, recover as failed, recover as failed
sending webhook, declined: recover as failed, recover as failed, recover as failed, recover as failed
unknown sms, unknown: ask, ask, ask, ask
unknown email, unknown: let rest, let rest, let rest, let rest
unknown webhook, unknown: send again, let rest, let rest, let rest"
        );
    }

    #[test]
    fn a_new_key_is_used_only_after_the_last_one_is_proved_dead() {
        let standing = Standing::Until(noon() + TimeDelta::hours(1));
        let planned = notice(MessageChannel::Sms, NoticeState::Planned);
        let decide = |last| decide_notice(&planned, last, &standing, None, noon());
        assert_eq!(decide(None), NoticeDecision::Send { generation: 1 });
        let dead = operation(OperationState::Declined);
        assert_eq!(decide(Some(&dead)), NoticeDecision::Send { generation: 2 });
    }

    #[test]
    fn the_schedule_is_the_one_that_receivers_know() {
        let until = DateTime::<Utc>::MAX_UTC;
        let waits: Vec<Option<i64>> = (0..9)
            .map(|attempts| Some((next_try(attempts, until, noon(), 0)? - noon()).num_seconds()))
            .collect();
        let seconds = [5, 300, 1_800, 7_200, 18_000, 36_000, 36_000].map(Some);
        assert_eq!(waits, [[None].as_slice(), &seconds, &[None]].concat());
    }

    #[test]
    fn a_lost_sms_is_asked_about_a_lost_webhook_sent_again_and_a_lost_mail_let_rest() {
        let until = noon() + TimeDelta::hours(1);
        let lost = |channel| {
            let sending = notice(channel, NoticeState::Sending);
            after_loss(&sending, until, "silence", noon(), 0).look_at
        };
        let soon = Some(noon() + TimeDelta::seconds(5));
        assert_eq!(lost(MessageChannel::Sms), soon);
        assert_eq!(lost(MessageChannel::Webhook), soon);
        assert_eq!(lost(MessageChannel::Email), None);
    }

    #[test]
    fn silence_about_an_sms_is_believed_after_the_processing_window() {
        let open = operation(OperationState::Unknown);
        let window = TimeDelta::minutes(5);
        let at = |now| decide_fate(&MessageFate::NotFound, &open, window, now);
        assert_eq!(
            at(noon()),
            FateDecision::Wait(noon() + TimeDelta::seconds(5))
        );
        let proved = noon() + LEAVES_WITHIN + window;
        assert_eq!(at(proved), FateDecision::NeverSent);
    }

    proptest! {
        #[test]
        fn nothing_is_planned_at_or_past_its_deadline_nor_in_the_past(
            attempts in 0_u32..12, left_s in -10_000_i64..200_000, jitter in 0_u32..=2_000,
        ) {
            let until = noon() + TimeDelta::seconds(left_s);
            if let Some(next) = next_try(attempts, until, noon(), jitter) {
                prop_assert!(next < until && next > noon());
            }
        }

        #[test]
        fn nothing_is_sent_at_or_past_the_deadline_or_for_an_order_that_wants_no_money(
            state in 0_usize..7, channel in 0_usize..3, left_s in -100_i64..100, is_over: bool,
            due_s in -100_i64..100, last in 0_usize..5,
        ) {
            let mut notice = notice(MessageChannel::ALL[channel], NoticeState::ALL[state]);
            notice.look_at = Some(noon() + TimeDelta::seconds(due_s));
            let last = OperationState::ALL.get(last).copied().map(operation);
            let standing = if is_over {
                Standing::Over("paid".to_owned())
            } else {
                Standing::Until(noon() + TimeDelta::seconds(left_s))
            };
            let decision = decide_notice(&notice, last.as_ref(), &standing, None, noon());
            let is_sent = matches!(
                decision,
                NoticeDecision::Send { .. } | NoticeDecision::SendAgain(_)
            );
            prop_assert!(!is_sent || (!is_over && left_s > 0 && due_s <= 0));
        }
    }
}
