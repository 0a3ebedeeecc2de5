//! A partner who may be asked to pay for somebody else's order (合作伙伴代付), and how they are reached.

use chrono_tz::Tz;
use clearday_jobs::PartnerId;

use super::words::{NotOneOf, words};

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

/// Stands between the channels of a partner where they are one text: `sms;email`.
const SEPARATOR: &str = ";";

/// Why a text is no list of channels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChannelsError {
    /// A name that is none of them.
    #[error("one of its parts {0}; between them stands `;`")]
    Name(NotOneOf),
    /// A channel that stands twice.
    #[error("{0} is there twice")]
    Twice(MessageChannel),
}

/// Reads a list of channels.
pub fn parse_channels(text: &str) -> Result<Vec<MessageChannel>, ChannelsError> {
    let mut channels = Vec::new();
    for name in text.split(SEPARATOR) {
        let channel = name.parse().map_err(ChannelsError::Name)?;
        if channels.contains(&channel) {
            return Err(ChannelsError::Twice(channel));
        }
        channels.push(channel);
    }
    Ok(channels)
}

/// Writes a list of channels.
pub fn channels_text(channels: &[MessageChannel]) -> String {
    let names: Vec<&str> = channels.iter().map(|it| it.as_str()).collect();
    names.join(SEPARATOR)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_channels_read_back_in_their_order() {
        for text in ["sms", "webhook;sms", "email;webhook;sms"] {
            assert_eq!(channels_text(&parse_channels(text).unwrap()), text);
        }
    }

    #[test]
    fn lists_of_anything_else_are_refused() {
        let refusal = |text: &str| parse_channels(text).unwrap_err().to_string();
        assert_eq!(refusal("sms;email;sms"), "sms is there twice");
        for text in ["", ";", "sms;", "SMS", "sms,email", "sms; email", "fax"] {
            assert_eq!(
                refusal(text),
                "one of its parts is not one of sms, email, webhook; between them stands `;`"
            );
        }
    }
}
