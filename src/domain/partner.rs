//! A partner who may be asked to pay for somebody else's order (合作伙伴代付), and how they are reached.

use chrono_tz::Tz;
use clearday_jobs::PartnerId;

use super::words::words;

/// A partner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partner {
    /// The upstream system's id.
    pub partner_id: PartnerId,
    /// What people call them.
    pub name: String,
    /// Where their night is.
    pub zone: Tz,
    /// Whether one channel is enough.
    pub delivery: Delivery,
    /// How to reach them, the preferred way first; each at most once, and each has its address.
    pub channels: Vec<MessageChannel>,
    /// For SMS: a number of E.164, like `+8613800000000`.
    pub sms_number: Option<String>,
    /// For e-mail.
    pub email: Option<String>,
    /// For webhooks: http or https.
    pub webhook_url: Option<String>,
    /// Nothing is sent to them any more.
    pub is_disabled: bool,
}

words! {
    /// Whether one channel is enough.
    Delivery {
        /// A notice goes out on every channel.
        All = "all",
        /// A notice goes out on the first channel, and on the next one only where that fails.
        Fallback = "fallback",
    }
    "all, fallback"
}

words! {
    /// A way to reach a partner.
    MessageChannel {
        /// A text message.
        Sms = "sms",
        /// An e-mail.
        Email = "email",
        /// A signed HTTP request.
        Webhook = "webhook",
    }
    "sms, email, webhook"
}

impl Partner {
    /// Where a channel leads, if anywhere.
    pub fn address(&self, channel: MessageChannel) -> Option<&str> {
        let address = match channel {
            MessageChannel::Sms => &self.sms_number,
            MessageChannel::Email => &self.email,
            MessageChannel::Webhook => &self.webhook_url,
        };
        address.as_deref()
    }
}
