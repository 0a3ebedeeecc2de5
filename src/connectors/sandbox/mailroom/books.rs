//! What arrived in the mailroom.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use crate::connectors::messages::SmsStatus;

/// A message on somebody's telephone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedSms {
    /// The sender's id, by which a repetition is known.
    pub id: String,
    /// Whose telephone.
    pub to: String,
    /// The text.
    pub text: String,
    /// When it arrived.
    pub at: DateTime<Utc>,
    /// How often the gateway was handed it.
    pub handed_over: u32,
}

/// A mail in somebody's mailbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedMail {
    /// Who sent it, by the envelope.
    pub from: String,
    /// Whose mailbox, by the envelope.
    pub to: String,
    /// Headers and text, as they came.
    pub content: String,
    /// When it arrived.
    pub at: DateTime<Utc>,
}

/// A call of an endpoint.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReceivedWebhook {
    /// Which endpoint.
    pub endpoint: String,
    /// `webhook-id`
    pub id: String,
    /// `webhook-timestamp`
    pub timestamp: String,
    /// The body.
    pub body: String,
    /// Whether a signature matched; never where the endpoint has no keys.
    pub is_verified: bool,
    /// When it arrived.
    pub at: DateTime<Utc>,
}

/// Everything that arrived.
#[derive(Debug, Default)]
pub(super) struct MailBooks {
    sms: Vec<ReceivedSms>,
    numbers: BTreeMap<String, usize>,
    pub(super) mails: Vec<ReceivedMail>,
    pub(super) webhooks: Vec<ReceivedWebhook>,
}

impl MailBooks {
    pub(super) fn sms(&self) -> impl Iterator<Item = &ReceivedSms> {
        self.sms.iter()
    }

    /// The gateway takes a message; the same id again is the same message.
    pub(super) fn take_sms(&mut self, new: ReceivedSms) -> SmsStatus {
        let known = self.numbers.get(&new.id).copied();
        if let Some(known) = known.and_then(|number| self.sms.get_mut(number)) {
            known.handed_over = known.handed_over.saturating_add(1);
        } else {
            self.numbers.insert(new.id.clone(), self.sms.len());
            self.sms.push(new);
        }
        SmsStatus::Accepted
    }

    pub(super) fn find_sms(&self, id: &str) -> Option<&ReceivedSms> {
        self.numbers
            .get(id)
            .and_then(|number| self.sms.get(*number))
    }
}
