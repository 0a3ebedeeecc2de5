//! Decides who of a partner's channels is told what, and when that is over.
//!
//! The order is looked at before every try: only while it waits for its money is anybody asked to
//! pay or reminded. That a request no longer stands is told to those who were told of it, on the
//! way they were told, whatever became of the order.

mod texts;

use chrono::{DateTime, Utc};
use clearday_jobs::{JobId, PartnerNotification, Purpose};

pub use texts::{PayLinkError, PayLinkTemplate, envelope};

use super::notice::{Notice, NoticePurpose, NoticeState, Standing};
use super::order::{Order, OrderState};
use super::order_expiry::ask_again_at;
use super::partner::{Delivery, MessageChannel, Partner};
use texts::{Told, compose};

/// Everything known when a job is looked at, read in one transaction.
#[derive(Clone, Debug)]
pub struct Situation<'a> {
    /// What is asked.
    pub asked: &'a PartnerNotification,
    /// Since when.
    pub asked_at: DateTime<Utc>,
    /// The order, if it is known.
    pub order: Option<&'a Order>,
    /// The partner, if they are known.
    pub partner: Option<&'a Partner>,
    /// The notices of this order to this partner, of every purpose.
    pub notices: &'a [Notice],
    /// Another job that sees to the notices of this purpose, and is not at its end.
    pub seen_to_by: Option<JobId>,
    /// Where one pays.
    pub pay_link: Option<&'a PayLinkTemplate>,
}

/// What to do about a job now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Plan {
    /// Look again at this instant, for this reason.
    Wait(DateTime<Utc>, String),
    /// Write these notices down, then look again.
    Write(Vec<NewNotice>),
    /// See to the notices there are.
    Carry(Standing),
    /// Nothing is left to do; why.
    Done(String),
}

/// A notice to be written down.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewNotice {
    /// How it goes.
    pub channel: MessageChannel,
    /// Where it goes.
    pub target: String,
    /// The subject of an e-mail.
    pub subject: String,
    /// The text, or the body.
    pub content: String,
    /// Nothing is sent at or after this instant.
    pub deadline: DateTime<Utc>,
    /// Planned, unless it cannot or need not be sent at all; then why.
    pub end: Option<(NoticeState, String)>,
}

/// The name of a purpose among the notices.
pub const fn purpose_of(purpose: Purpose) -> NoticePurpose {
    match purpose {
        Purpose::PayRequest => NoticePurpose::PayRequest,
        Purpose::Reminder => NoticePurpose::Reminder,
        Purpose::Withdrawn => NoticePurpose::Withdrawn,
    }
}

/// Decides the next step of a job.
pub fn decide_plan(situation: &Situation<'_>, now: DateTime<Utc>) -> Plan {
    let asked = situation.asked;
    if let Some(job) = situation.seen_to_by {
        return Plan::Done(format!("job {job} tells the partner already"));
    }
    let Some(partner) = situation.partner else {
        let who = format!("partner {}", asked.partner_id);
        return wait_for(situation, &who, "partners", now);
    };
    let Some(order) = situation.order else {
        let what = format!("order {}", asked.order_no);
        return wait_for(situation, &what, "orders", now);
    };
    let standing = decide_standing(situation, order, partner);
    let until = match &standing {
        Standing::Until(until) => *until,
        Standing::Over(_) => asked.deadline,
    };
    let told = Told {
        asked,
        order,
        partner,
        pay_link: situation.pay_link,
        asked_at: situation.asked_at,
        until,
    };
    let missing = match asked.purpose {
        Purpose::PayRequest | Purpose::Reminder => missing_requests(situation, partner, &standing),
        Purpose::Withdrawn => missing_withdrawals(situation, partner),
    };
    if missing.is_empty() {
        return Plan::Carry(standing);
    }
    let written = missing.into_iter().map(|missing| missing.write(&told));
    Plan::Write(written.collect())
}

/// Orders, partners and jobs come by different roads; the job waits for them until its deadline.
fn wait_for(situation: &Situation<'_>, what: &str, import: &str, now: DateTime<Utc>) -> Plan {
    let deadline = situation.asked.deadline;
    if now >= deadline {
        return Plan::Done(format!(
            "nobody was told: {what} was not known by the deadline"
        ));
    }
    let reason =
        format!("{what} is not known yet: import it with `clearday import --type {import}`");
    let again = ask_again_at(situation.asked_at, now).min(deadline);
    Plan::Wait(again, reason)
}

/// Whether what the job asks to be told is true.
fn decide_standing(situation: &Situation<'_>, order: &Order, partner: &Partner) -> Standing {
    let asked = situation.asked;
    if partner.is_disabled {
        return Standing::Over(format!("partner {} is disabled", partner.partner_id));
    }
    match asked.purpose {
        Purpose::Withdrawn => Standing::Until(asked.deadline),
        Purpose::PayRequest | Purpose::Reminder => {
            let is_withdrawn = situation
                .notices
                .iter()
                .any(|notice| notice.purpose == NoticePurpose::Withdrawn);
            if is_withdrawn {
                return Standing::Over("the request was withdrawn".to_owned());
            }
            match order.state {
                OrderState::Open => Standing::Until(asked.deadline.min(order.expires_at)),
                // Its clock stands still, so its own deadline means nothing meanwhile.
                OrderState::InReview => Standing::Until(asked.deadline),
                OrderState::Expiring | OrderState::Expired => {
                    Standing::Over("the order's time is over".to_owned())
                }
                OrderState::Paid => Standing::Over("the order is paid".to_owned()),
                OrderState::Cancelled => Standing::Over("the order was cancelled".to_owned()),
            }
        }
    }
}

/// A notice that is not there yet.
struct Missing {
    channel: MessageChannel,
    target: Option<String>,
    end: Option<(NoticeState, String)>,
}

impl Missing {
    fn write(self, told: &Told<'_>) -> NewNotice {
        let text = compose(told, self.channel);
        let no_target = || {
            let (partner, channel) = (&told.partner.partner_id, self.channel);
            let reason = format!("partner {partner} has no address for {channel}");
            (NoticeState::Exhausted, reason)
        };
        let no_link = || {
            let reason = "there is nowhere to pay: set [notifications] pay_link_template";
            (NoticeState::Exhausted, reason.to_owned())
        };
        let end = self
            .end
            .or_else(|| self.target.is_none().then(no_target))
            .or_else(|| text.is_none().then(no_link));
        let text = text.unwrap_or_default();
        NewNotice {
            channel: self.channel,
            target: self.target.unwrap_or_default(),
            subject: text.subject,
            content: text.content,
            deadline: told.until,
            end,
        }
    }
}

fn of_purpose<'a>(
    situation: &Situation<'a>,
    purpose: NoticePurpose,
) -> impl Iterator<Item = &'a Notice> + Clone {
    let notices = situation.notices.iter();
    notices.filter(move |notice| notice.purpose == purpose)
}

/// All channels at once; or the first, and the next when none of those before it told anybody.
fn missing_requests(
    situation: &Situation<'_>,
    partner: &Partner,
    standing: &Standing,
) -> Vec<Missing> {
    let known = of_purpose(situation, purpose_of(situation.asked.purpose));
    let is_missing =
        |channel: &MessageChannel| !known.clone().any(|notice| notice.channel == *channel);
    let missing = partner.channels.iter().copied().filter(is_missing);
    let to_write = |channel| Missing {
        channel,
        target: partner.address(channel).map(str::to_owned),
        end: None,
    };
    match partner.delivery {
        // What was written down before is not added to: a channel that a partner got later is for later notices.
        Delivery::All if known.clone().next().is_some() => Vec::new(),
        Delivery::All => missing.map(to_write).collect(),
        Delivery::Fallback => {
            let is_first = known.clone().next().is_none();
            let has_failed = known.clone().all(has_failed);
            let stands = matches!(standing, Standing::Until(_));
            if is_first || (has_failed && stands) {
                missing.map(to_write).take(1).collect()
            } else {
                Vec::new()
            }
        }
    }
}

/// Whether a channel told nobody, for all that will ever be known: a mail that may or may not have
/// arrived is no reason not to try the telephone.
fn has_failed(notice: &Notice) -> bool {
    match notice.state {
        NoticeState::Exhausted => true,
        NoticeState::Unknown => notice.is_settled(),
        NoticeState::Planned
        | NoticeState::Sending
        | NoticeState::Sent
        | NoticeState::Delivered
        | NoticeState::Suppressed => false,
    }
}

/// One for each channel, so that the withdrawal is on record also where nobody had been told.
fn missing_withdrawals(situation: &Situation<'_>, partner: &Partner) -> Vec<Missing> {
    if of_purpose(situation, NoticePurpose::Withdrawn)
        .next()
        .is_some()
    {
        return Vec::new();
    }
    let requests = situation.notices.iter().filter(|notice| {
        matches!(
            notice.purpose,
            NoticePurpose::PayRequest | NoticePurpose::Reminder
        )
    });
    let told_on = |channel: MessageChannel| {
        let mut told = requests
            .clone()
            .filter(|notice| notice.state.may_have_told());
        told.find(move |notice| notice.channel == channel)
    };
    let is_concerned = |channel: &MessageChannel| {
        partner.channels.contains(channel) || told_on(*channel).is_some()
    };
    let channels = MessageChannel::ALL.iter().copied().filter(is_concerned);
    let missing = channels.map(|channel| match told_on(channel) {
        Some(notice) => Missing {
            channel,
            target: Some(notice.target.clone()),
            end: None,
        },
        None => Missing {
            channel,
            target: partner.address(channel).map(str::to_owned),
            end: Some((
                NoticeState::Suppressed,
                "nobody was told on this way".to_owned(),
            )),
        },
    });
    missing.collect()
}

/// What became of all notices of a job, in a sentence.
pub fn story_of<'a>(notices: impl IntoIterator<Item = &'a Notice>) -> String {
    let parts: Vec<String> = notices
        .into_iter()
        .map(|notice| {
            let (channel, state) = (notice.channel, notice.state);
            match state {
                NoticeState::Suppressed | NoticeState::Exhausted | NoticeState::Unknown => {
                    format!("{channel} {state} ({})", notice.last_answer)
                }
                NoticeState::Planned
                | NoticeState::Sending
                | NoticeState::Sent
                | NoticeState::Delivered => format!("{channel} {state}"),
            }
        })
        .collect();
    if parts.is_empty() {
        "there was nothing to send".to_owned()
    } else {
        parts.join(", ")
    }
}

#[cfg(test)]
mod tests;
