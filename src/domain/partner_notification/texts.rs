//! What partners read: Chinese with English below. A text message names no amount and nobody.

use chrono::{DateTime, Utc};
use clearday_jobs::{Amount, OrderNo, PartnerNotification, Purpose, canonical_json};
use serde_json::json;

use super::super::order::Order;
use super::super::partner::{MessageChannel, Partner};

/// Stands for the number in a template.
const PLACEHOLDER: &str = "{order_no}";

/// Where one pays for an order: a URL with `{order_no}` in it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PayLinkTemplate(String);

/// Why a text is no such template.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PayLinkError {
    /// It leads nowhere.
    #[error("must start with https:// or http://")]
    Scheme,
    /// It leads to the same place for every order.
    #[error("must contain {PLACEHOLDER}")]
    Placeholder,
    /// It would end in the middle of a text.
    #[error("must be printable ASCII without spaces")]
    Character,
}

impl PayLinkTemplate {
    /// Reads a template.
    pub fn parse(text: &str) -> Result<Self, PayLinkError> {
        if !text.starts_with("https://") && !text.starts_with("http://") {
            return Err(PayLinkError::Scheme);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(PayLinkError::Character);
        }
        if !text.contains(PLACEHOLDER) {
            return Err(PayLinkError::Placeholder);
        }
        Ok(Self(text.to_owned()))
    }

    /// The link for an order.
    pub fn link(&self, order_no: &OrderNo) -> String {
        self.0
            .replace(PLACEHOLDER, &percent_encoded(order_no.as_str()))
    }
}

/// RFC 3986, 2.3: everything but the unreserved characters.
fn percent_encoded(text: &str) -> String {
    let is_plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~');
    text.bytes()
        .map(|byte| {
            if is_plain(byte) {
                char::from(byte).to_string()
            } else {
                format!("%{byte:02X}")
            }
        })
        .collect()
}

/// What a text is made of.
#[derive(Clone, Copy, Debug)]
pub(super) struct Told<'a> {
    pub(super) asked: &'a PartnerNotification,
    pub(super) order: &'a Order,
    pub(super) partner: &'a Partner,
    pub(super) pay_link: Option<&'a PayLinkTemplate>,
    pub(super) asked_at: DateTime<Utc>,
    /// Until when it may be paid.
    pub(super) until: DateTime<Utc>,
}

/// What is sent.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Text {
    pub(super) subject: String,
    pub(super) content: String,
}

/// The text for a way; `None` where it needs a link and there is none.
pub(super) fn compose(told: &Told<'_>, channel: MessageChannel) -> Option<Text> {
    let order_no = &told.order.order_no;
    let link = match told.asked.purpose {
        Purpose::PayRequest | Purpose::Reminder => Some(told.pay_link?.link(order_no)),
        Purpose::Withdrawn => None,
    };
    Some(match channel {
        MessageChannel::Sms => Text {
            subject: String::new(),
            content: short(told, link.as_deref()),
        },
        MessageChannel::Email => Text {
            subject: subject(told),
            content: long(told, link.as_deref()),
        },
        MessageChannel::Webhook => Text {
            subject: String::new(),
            content: body(told, link.as_deref()),
        },
    })
}

fn short(told: &Told<'_>, link: Option<&str>) -> String {
    let until = local(told);
    match (told.asked.purpose, link) {
        (Purpose::PayRequest, Some(link)) => format!(
            "您收到一个代付请求，请在{until}前处理：{link}\nSomebody asks you to pay. Until {until}: {link}"
        ),
        (Purpose::Reminder, Some(link)) => format!(
            "代付请求仍待处理，截止{until}：{link}\nA request to pay still waits. Until {until}: {link}"
        ),
        (Purpose::PayRequest | Purpose::Reminder, None) | (Purpose::Withdrawn, _) => {
            let order_no = &told.order.order_no;
            format!(
                "订单{order_no}的代付请求已撤回，无需付款。\nThe request to pay order {order_no} was withdrawn; nothing is to be paid."
            )
        }
    }
}

fn subject(told: &Told<'_>) -> String {
    let order_no = &told.order.order_no;
    match told.asked.purpose {
        Purpose::PayRequest => format!("代付请求 Request to pay: {order_no}"),
        Purpose::Reminder => format!("代付提醒 Reminder to pay: {order_no}"),
        Purpose::Withdrawn => format!("代付请求已撤回 Request withdrawn: {order_no}"),
    }
}

fn long(told: &Told<'_>, link: Option<&str>) -> String {
    let text = short(told, link);
    if link.is_none() {
        return text;
    }
    let (order_no, total) = (&told.order.order_no, told.order.total);
    format!("{text}\n\n订单 Order: {order_no}\n金额 Amount: {total}\n")
}

fn body(told: &Told<'_>, link: Option<&str>) -> String {
    let order = told.order;
    let mut data = json!({
        "order_no": order.order_no,
        "partner_id": told.partner.partner_id,
        "total": Amount(order.total),
    });
    if let (Some(fields), Some(link)) = (data.as_object_mut(), link) {
        fields.insert("pay_link".to_owned(), json!(link));
        fields.insert("pay_until".to_owned(), json!(told.until));
    }
    let kind = match told.asked.purpose {
        Purpose::PayRequest => "partner.pay_request",
        Purpose::Reminder => "partner.reminder",
        Purpose::Withdrawn => "partner.withdrawn",
    };
    envelope(kind, told.asked_at, &data)
}

/// The body of a webhook as Standard Webhooks recommends it.
pub fn envelope(kind: &str, at: DateTime<Utc>, data: &serde_json::Value) -> String {
    canonical_json(&json!({ "type": kind, "timestamp": at, "data": data }))
}

/// When, on the wall clock of the partner.
fn local(told: &Told<'_>) -> String {
    let local = told.until.with_timezone(&told.partner.zone);
    local.format("%Y-%m-%d %H:%M").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_link_leads_to_its_order_whatever_the_number_is_made_of() {
        let template = PayLinkTemplate::parse("https://pay.example/o/{order_no}?v=1").unwrap();
        let link = |number: &str| template.link(&number.parse().unwrap());
        assert_eq!(link("O-1"), "https://pay.example/o/O-1?v=1");
        assert_eq!(
            link("a/b?c&d#%"),
            "https://pay.example/o/a%2Fb%3Fc%26d%23%25?v=1"
        );
    }

    #[test]
    fn what_is_no_template_is_refused() {
        let refusal = |text: &str| PayLinkTemplate::parse(text).unwrap_err().to_string();
        assert_eq!(
            refusal("pay.example/{order_no}"),
            "must start with https:// or http://"
        );
        assert_eq!(refusal("https://pay.example/"), "must contain {order_no}");
        assert_eq!(
            refusal("https://pay.example/ {order_no}"),
            "must be printable ASCII without spaces"
        );
    }
}
