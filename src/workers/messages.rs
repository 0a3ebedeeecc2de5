//! Carries notices: intend, call, record, one step at a time, for partners and for upstream.
//!
//! What may be done next is decided in `domain/notice.rs` on what the database knows at that
//! moment; a run that was interrupted anywhere takes up from there. A message that cannot be
//! delivered is an end, not an error: errors here are those of the store and of the lease.

use chrono::{DateTime, TimeDelta, Utc};
use clearday_jobs::{OrderNo, Reference};
use tracing::{info, warn};

use super::Workbench;
use super::calls::{Intent, Learned, conclude, intend, learn, observed, sort_answer};
use crate::connectors::messages::{Carriage, Carried, GONE, Letter, UPSTREAM};
use crate::connectors::{ChannelError, Evidence, Trouble};
use crate::domain::notice::{
    FateDecision, Notice, NoticeChange, NoticeDecision, NoticeEvent, NoticeId, NoticePurpose,
    Standing, after_failure, after_loss, decide_fate, decide_notice,
};
use crate::domain::operation::{Operation, OperationKind, OperationState};
use crate::domain::order_expiry::ask_again_at;
use crate::domain::partner::MessageChannel;
use crate::domain::partner_notification::{envelope, story_of};
use crate::engine::{Run, RunTx, WorkError};
use crate::store::notices::{self, NewNotice, Tried};

/// Steps one run may take: a notice has at most a few dozen, and more than this is a fault that
/// must not spin.
const STEPS_MAX: usize = 1_000;
/// Upstream is told until then. The schedule of tries ends after little more than a day; this only
/// bounds what an outage of ours may add.
const CALLBACK_WINDOW: TimeDelta = TimeDelta::days(3);
/// What is shown of an answer.
const ANSWER_SHOWN_CHARS: usize = 200;
/// How the outcome of a try became known that its own answer did not tell.
const BY_QUERY: &str = "closed by the answer to a query";

/// What is posted to upstream, signed with the keys of `upstream`.
#[derive(Clone, Copy, Debug)]
pub struct Callback<'a> {
    /// The order it is about.
    pub order_no: &'a OrderNo,
    /// Where it goes.
    pub url: &'a str,
    /// The `type` of the body.
    pub event: &'a str,
    /// Which answer of this job; the same step again is the same callback.
    pub step: &'a str,
    /// The `data` of the body.
    pub data: &'a serde_json::Value,
}

/// What became of the notices of a run.
#[derive(Debug)]
pub enum Delivery {
    /// Nothing is left to send; what became of all, in a sentence.
    Settled(String),
    /// Look again then, for this reason.
    Waits(DateTime<Utc>, String),
}

/// Writes a callback down in the transaction of what it tells. The same step again changes nothing.
pub async fn callback(run: &Run, tx: &mut RunTx, callback: Callback<'_>) -> Result<(), WorkError> {
    let now = run.now();
    let job_id = run.job().id;
    let new = NewNotice {
        id: NoticeId(run.engine().ids().uuid()),
        job_id,
        order_no: callback.order_no,
        recipient: UPSTREAM,
        purpose: NoticePurpose::Callback,
        step: &format!("{job_id}/{}", callback.step),
        channel: MessageChannel::Webhook,
        target: callback.url,
        subject: "",
        content: &envelope(callback.event, now, callback.data),
        deadline: later(now, CALLBACK_WINDOW),
        end: None,
    };
    notices::insert(tx, &new, now).await?;
    Ok(())
}

/// Sends what is due of the callbacks of this run's job, until all are settled or wait.
pub async fn deliver_callbacks(bench: &Workbench, run: &Run) -> Result<Delivery, WorkError> {
    for _ in 0..STEPS_MAX {
        let known = load_callbacks(run).await?;
        let standings = known
            .iter()
            .map(|known| Standing::Until(known.notice.deadline));
        let steps: Vec<_> = known.iter().zip(standings).collect();
        if let Some(delivery) = carry(bench, run, &steps).await? {
            return Ok(delivery);
        }
    }
    Err(too_many_steps())
}

pub(super) fn too_many_steps() -> WorkError {
    WorkError::Invalid(format!("not settled after {STEPS_MAX} steps"))
}

async fn load_callbacks(run: &Run) -> Result<Vec<Known>, WorkError> {
    let mut tx = run.read().await?;
    let tried = notices::of_job(&mut tx, run.job().id).await?;
    let mut callbacks = Vec::with_capacity(tried.len());
    for tried in tried {
        if tried.0.purpose == NoticePurpose::Callback {
            callbacks.push(Known::load(&mut tx, tried).await?);
        }
    }
    Ok(callbacks)
}

/// A notice and what is known about it.
#[derive(Debug)]
pub(super) struct Known {
    pub(super) notice: Notice,
    last: Option<Operation>,
    is_gone: bool,
}

impl Known {
    pub(super) async fn load(
        tx: &mut crate::store::Tx,
        (notice, last): Tried,
    ) -> Result<Self, WorkError> {
        let is_gone = !notice.is_settled() && notices::is_gone(tx, &notice.target).await?;
        Ok(Self {
            notice,
            last,
            is_gone,
        })
    }

    /// Why its way cannot be taken at all.
    fn unreachable(&self, bench: &Workbench) -> Option<String> {
        let Notice {
            channel,
            recipient,
            purpose,
            ..
        } = &self.notice;
        if self.is_gone {
            return Some(
                "its endpoint answered 410 and wants nothing more; give it another URL".to_owned(),
            );
        }
        if recipient == UPSTREAM && *purpose != NoticePurpose::Callback {
            return Some(format!("`{UPSTREAM}` is the name of upstream's own keys"));
        }
        bench.messages.check(*channel, recipient).err()
    }
}

/// What became of one notice in this pass.
enum Progress {
    /// It is a step nearer to its end, or somebody else moved it.
    Made,
    /// Look at it again then.
    Waits(DateTime<Utc>),
    /// Nothing is left to do about it.
    Settled,
}

/// Brings every notice a step nearer to its end; `None` when there is more to do at once.
pub(super) async fn carry(
    bench: &Workbench,
    run: &Run,
    notices: &[(&Known, Standing)],
) -> Result<Option<Delivery>, WorkError> {
    let mut wait: Option<(DateTime<Utc>, &Notice)> = None;
    let mut has_progress = false;
    for (known, standing) in notices {
        match deliver(bench, run, known, standing).await? {
            Progress::Made => has_progress = true,
            Progress::Settled => {}
            Progress::Waits(until) => {
                if wait.is_none_or(|(earliest, _)| until < earliest) {
                    wait = Some((until, &known.notice));
                }
            }
        }
    }
    if has_progress {
        return Ok(None);
    }
    Ok(Some(match wait {
        Some((until, notice)) => Delivery::Waits(until, waiting_words(notice)),
        None => Delivery::Settled(story_of(notices.iter().map(|(known, _)| &known.notice))),
    }))
}

fn waiting_words(notice: &Notice) -> String {
    let Notice {
        channel,
        state,
        last_answer,
        ..
    } = notice;
    if last_answer.is_empty() {
        format!("{channel} {state}")
    } else {
        format!("{channel} {state}: {last_answer}")
    }
}

async fn deliver(
    bench: &Workbench,
    run: &Run,
    known: &Known,
    standing: &Standing,
) -> Result<Progress, WorkError> {
    let notice = &known.notice;
    let unreachable = known.unreachable(bench);
    let last = known.last.as_ref();
    let until = match standing {
        Standing::Until(until) => *until,
        // No try follows.
        Standing::Over(_) => run.now(),
    };
    match decide_notice(notice, last, standing, unreachable.as_deref(), run.now()) {
        NoticeDecision::Settled => Ok(Progress::Settled),
        NoticeDecision::Wait(until) => Ok(Progress::Waits(until)),
        NoticeDecision::Suppress(reason) => {
            let change = NoticeChange::last(NoticeEvent::Suppress, reason);
            record(run, notice, &change).await
        }
        NoticeDecision::Exhaust(reason) => {
            let change = NoticeChange::last(NoticeEvent::Exhaust, reason);
            record(run, notice, &change).await
        }
        NoticeDecision::LetRest(reason) => {
            let change = NoticeChange::last(NoticeEvent::Lose, reason);
            record(run, notice, &change).await
        }
        NoticeDecision::Recover(event) => recover(run, notice, last, event, until).await,
        NoticeDecision::Send { generation } => {
            let Some((sending, operation)) = begin_try(bench, run, notice, generation).await?
            else {
                return Ok(Progress::Made);
            };
            let attempt = Try {
                notice: &sending,
                operation: &operation,
                until,
                may_have_arrived: false,
            };
            Box::pin(attempt.make(bench, run)).await
        }
        NoticeDecision::SendAgain(operation) => {
            let mut tx = run.begin().await?;
            let Some(sending) =
                notices::apply(&mut tx, notice, &sending_now(run), run.now()).await?
            else {
                return Ok(Progress::Made);
            };
            run.checkpoint(tx).await?;
            let attempt = Try {
                notice: &sending,
                operation: &operation,
                until,
                may_have_arrived: true,
            };
            Box::pin(attempt.make(bench, run)).await
        }
        NoticeDecision::Ask(operation) => {
            Box::pin(ask(bench, run, notice, &operation, until)).await
        }
    }
}

fn sending_now(run: &Run) -> NoticeChange {
    NoticeChange {
        event: NoticeEvent::Send,
        look_at: Some(run.now()),
        answer: "on its way".to_owned(),
    }
}

/// Commits the intent of a new try; `None` when the notice changed meanwhile.
async fn begin_try(
    bench: &Workbench,
    run: &Run,
    notice: &Notice,
    generation: u32,
) -> Result<Option<(Notice, Operation)>, WorkError> {
    let mut tx = run.begin().await?;
    let change = sending_now(run);
    let Some(sending) = notices::apply(&mut tx, notice, &change, run.now()).await? else {
        return Ok(None);
    };
    let intent = Intent {
        kind: OperationKind::Send,
        channel: bench.messages.name(notice.channel),
        reference: &reference_of(notice)?,
        generation,
    };
    let operation = intend(run, &mut tx, intent).await?;
    run.checkpoint(tx).await?;
    Ok(Some((sending, operation)))
}

fn reference_of(notice: &Notice) -> Result<Reference, WorkError> {
    Reference::new(notice.id.to_string()).map_err(|error| WorkError::Invalid(error.to_string()))
}

/// Records a change that needs no proof; somebody else's change in between is looked at again.
async fn record(run: &Run, notice: &Notice, change: &NoticeChange) -> Result<Progress, WorkError> {
    let mut tx = run.begin().await?;
    if notices::apply(&mut tx, notice, change, run.now())
        .await?
        .is_some()
    {
        run.checkpoint(tx).await?;
        tell(notice, change);
    }
    Ok(Progress::Made)
}

/// Takes up a try that was interrupted before its outcome was recorded.
async fn recover(
    run: &Run,
    notice: &Notice,
    last: Option<&Operation>,
    event: NoticeEvent,
    until: DateTime<Utc>,
) -> Result<Progress, WorkError> {
    let jitter = run.engine().ids().permille();
    let words = "the try was interrupted before its answer was recorded";
    let change = match event {
        NoticeEvent::Lose => {
            if let Some(operation) = last {
                learn(run, operation, OperationState::Unknown, words, None).await?;
            }
            after_loss(notice, until, words, run.now(), jitter)
        }
        NoticeEvent::Fail => after_failure(notice, until, &notice.last_answer, run.now(), jitter),
        NoticeEvent::Accept
        | NoticeEvent::Deliver
        | NoticeEvent::Send
        | NoticeEvent::Suppress
        | NoticeEvent::Exhaust => NoticeChange::last(event, BY_QUERY),
    };
    record(run, notice, &change).await
}

/// One try, whose intent is committed.
struct Try<'a> {
    notice: &'a Notice,
    operation: &'a Operation,
    until: DateTime<Utc>,
    /// An earlier call of the same operation left without an answer.
    may_have_arrived: bool,
}

impl Try<'_> {
    async fn make(self, bench: &Workbench, run: &Run) -> Result<Progress, WorkError> {
        let notice = self.notice;
        let letter = Letter {
            id: &notice.id.to_string(),
            target: &notice.target,
            subject: &notice.subject,
            content: &notice.content,
        };
        let sent = bench
            .messages
            .send(notice.channel, &notice.recipient, &letter)
            .await;
        let sent = match sent {
            Err(ChannelError::Unavailable(trouble)) => return self.failed(run, *trouble).await,
            Ok(_)
            | Err(
                ChannelError::Declined { .. } | ChannelError::Unknown(_) | ChannelError::Invalid(_),
            ) => sent,
        };
        match sort_answer(run, self.operation, sent).await {
            Ok(Learned::Succeeded(carriage)) => self.arrived(run, &carriage).await,
            Ok(Learned::Declined(declined)) => {
                let is_gone = declined.code.as_str() == GONE;
                let change = NoticeChange::last(NoticeEvent::Exhaust, shown(&declined.detail));
                let fate = (OperationState::Declined, declined.detail.as_str());
                self.close(run, fate, &declined.evidence, (&change, is_gone))
                    .await
            }
            Ok(Learned::Unknown) => {
                let jitter = run.engine().ids().permille();
                let words = "its answer was lost";
                let change = after_loss(notice, self.until, words, run.now(), jitter);
                record(run, notice, &change).await
            }
            // The operation is closed: what cannot be written down cannot be sent.
            Err(WorkError::Invalid(words)) => {
                let change = NoticeChange::last(NoticeEvent::Exhaust, shown(&words));
                record(run, notice, &change).await
            }
            Err(error) => Err(error),
        }
    }

    async fn arrived(&self, run: &Run, carriage: &Carriage) -> Result<Progress, WorkError> {
        let event = match carriage.how {
            Carried::Accepted => NoticeEvent::Accept,
            Carried::Delivered => NoticeEvent::Deliver,
        };
        let change = NoticeChange::last(event, shown(&carriage.evidence.answer));
        let fate = (OperationState::Succeeded, "taken");
        self.close(run, fate, &carriage.evidence, (&change, false))
            .await
    }

    /// Without effect, as far as this call goes; an earlier one may have had its effect.
    async fn failed(&self, run: &Run, trouble: Trouble) -> Result<Progress, WorkError> {
        let words = trouble_words(&trouble);
        let (now, jitter) = (run.now(), run.engine().ids().permille());
        if self.may_have_arrived {
            let change = after_loss(self.notice, self.until, &shown(&words), now, jitter);
            return record(run, self.notice, &change).await;
        }
        let change = after_failure(self.notice, self.until, &shown(&words), now, jitter);
        let evidence = trouble
            .evidence
            .clone()
            .unwrap_or_else(|| observed(&words, now));
        let fate = (OperationState::Declined, words.as_str());
        self.close(run, fate, &evidence, (&change, false)).await
    }

    /// Records the proved outcome of the call and what it means for the notice, together.
    async fn close(
        &self,
        run: &Run,
        fate: (OperationState, &str),
        evidence: &Evidence,
        (change, is_gone): (&NoticeChange, bool),
    ) -> Result<Progress, WorkError> {
        let mut tx = run.begin().await?;
        conclude(run, &mut tx, self.operation, fate, evidence).await?;
        if notices::apply(&mut tx, self.notice, change, run.now())
            .await?
            .is_none()
        {
            return Err(WorkError::LostRace(format!("notice {}", self.notice.id)));
        }
        if is_gone {
            notices::mark_gone(&mut tx, self.notice.id).await?;
        }
        run.checkpoint(tx).await?;
        tell(self.notice, change);
        Ok(Progress::Made)
    }
}

/// Asks the gateway what became of an open try.
async fn ask(
    bench: &Workbench,
    run: &Run,
    notice: &Notice,
    operation: &Operation,
    until: DateTime<Utc>,
) -> Result<Progress, WorkError> {
    let answer = bench
        .messages
        .query_sms(&notice.id.to_string(), &notice.target)
        .await;
    let now = run.now();
    let wait = |look_at, answer: &str| NoticeChange {
        event: NoticeEvent::Lose,
        look_at: Some(look_at),
        answer: answer.to_owned(),
    };
    let (fate, evidence) = match answer {
        Ok(answer) => answer,
        Err(error) => {
            let again = ask_again_at(operation.intended_at, now);
            let change = wait(again, &shown(&error.to_string()));
            return record(run, notice, &change).await;
        }
    };
    let window = bench.messages.processing_window(notice.channel);
    let window = TimeDelta::from_std(window).unwrap_or(TimeDelta::MAX);
    let (state, change) = match decide_fate(&fate, operation, window, now) {
        FateDecision::Arrived(event) => (
            OperationState::Succeeded,
            NoticeChange::last(event, BY_QUERY),
        ),
        FateDecision::Undeliverable(reason) => (
            OperationState::Declined,
            NoticeChange::last(NoticeEvent::Exhaust, format!("undeliverable: {reason}")),
        ),
        FateDecision::NeverSent => {
            let jitter = run.engine().ids().permille();
            let words = "the gateway never got it";
            let change = after_failure(notice, until, words, now, jitter);
            (OperationState::Declined, change)
        }
        FateDecision::Wait(again) => {
            let words =
                "the gateway does not know it, which is believed when it can no longer come";
            return record(run, notice, &wait(again, words)).await;
        }
    };
    let attempt = Try {
        notice,
        operation,
        until,
        may_have_arrived: true,
    };
    attempt
        .close(run, (state, BY_QUERY), &evidence, (&change, false))
        .await
}

fn trouble_words(trouble: &Trouble) -> String {
    let mut words = trouble.to_string();
    let mut source = std::error::Error::source(trouble);
    while let Some(cause) = source {
        words.push_str(": ");
        words.push_str(&cause.to_string());
        source = cause.source();
    }
    words
}

/// As much of an answer as people need to see.
fn shown(words: &str) -> String {
    let line: Vec<&str> = words.split_whitespace().collect();
    line.join(" ").chars().take(ANSWER_SHOWN_CHARS).collect()
}

fn tell(notice: &Notice, change: &NoticeChange) {
    let (id, channel) = (notice.id, notice.channel);
    let Some(state) = notice.state.after(change.event) else {
        return;
    };
    match change.event {
        NoticeEvent::Exhaust => {
            warn!(notice.id = %id, channel = %channel, attempts = notice.attempts, "Gave up notice {id}");
        }
        NoticeEvent::Accept | NoticeEvent::Deliver | NoticeEvent::Suppress => {
            info!(notice.id = %id, channel = %channel, attempts = notice.attempts, "Notice {id} is {state}");
        }
        NoticeEvent::Send | NoticeEvent::Fail | NoticeEvent::Lose => {}
    }
}

fn later(instant: DateTime<Utc>, by: TimeDelta) -> DateTime<Utc> {
    instant
        .checked_add_signed(by)
        .unwrap_or(DateTime::<Utc>::MAX_UTC)
}
