//! What the ways to send messages promise beyond the contract of every connector: signatures, ids, forbidden targets, and
//! nobody's address in what is kept.
#![cfg(test)]

use std::fs;
use std::sync::Arc;

use clearday::connectors::messages::{
    Carriage, Carried, GONE, Letter, Messages, MessagesError, SigningKeys, SmtpTls,
};
use clearday::connectors::{ChannelError, ErrorClass, Now};
use clearday::domain::notice::MessageFate;
use clearday::domain::partner::MessageChannel;
use serde_json::Value;

use crate::bills::real_files;
use crate::support::mailroom::RunningMailroom;
use crate::support::raw_http::{RawServer, answer};
use crate::support::sandbox::at;

const NUMBER: &str = "+8613800001234";
const MAILBOX: &str = "wang@partner.example";

fn now() -> Now {
    Arc::new(|| at(0))
}

fn letter(target: &str) -> Letter<'_> {
    Letter {
        id: "notice-1",
        target,
        subject: "代付请求 Payment request",
        content: "请付款。\n.\nPlease pay.",
    }
}

async fn send(
    messages: &Messages,
    channel: MessageChannel,
    target: &str,
) -> Result<Carriage, ChannelError> {
    Box::pin(messages.send(channel, "P-1", &letter(target))).await
}

fn class(sent: Result<Carriage, ChannelError>) -> ErrorClass {
    sent.unwrap_err().class()
}

#[test]
fn the_standards_own_vectors_are_signed_and_verified() {
    let Some(folder) = real_files("../shared/data/crypto_vectors") else {
        return;
    };
    let text = fs::read_to_string(folder.join("standard_webhooks.json")).unwrap();
    let file: Value = serde_json::from_str(&text).unwrap();
    let vectors = file["vectors"].as_array().unwrap();
    assert!(!vectors.is_empty());
    for vector in vectors {
        let text = |name: &str| vector[name].as_str().unwrap();
        let keys = SigningKeys::parse(text("secret")).unwrap();
        let seconds = vector["timestamp"].as_i64().unwrap();
        let (id, body) = (text("msg_id"), text("payload").as_bytes());
        assert_eq!(keys.sign(id, seconds, body), text("signature"));
        let told = chrono::DateTime::from_timestamp(seconds, 0).unwrap();
        let verify = |signatures: &str| {
            let timestamp = seconds.to_string();
            keys.verify((id, &timestamp, signatures), body, told)
        };
        let several = format!("v1,AAAA {} v1a,BBBB", text("signature"));
        assert_eq!(verify(&several), Ok(()));
        let partial = text("signature").split_at(11).0;
        for wrong in [partial, "v1,", ""] {
            verify(wrong).unwrap_err();
        }
        for wrong in file["must_fail"].as_array().unwrap() {
            verify(wrong["signature"].as_str().unwrap()).unwrap_err();
        }
    }
}

#[tokio::test]
async fn an_sms_is_handed_over_under_its_id_and_asked_about_by_it() {
    let room = RunningMailroom::start(now()).await;
    let messages = room.messages(&now());
    for _ in 0..2 {
        let sent = send(&messages, MessageChannel::Sms, NUMBER).await.unwrap();
        assert_eq!(sent.how, Carried::Accepted);
        assert!(sent.evidence.request.contains("to: +86138****1234"));
    }
    let received = room.handle.sms();
    assert_eq!((received.len(), received[0].handed_over), (1, 2));
    assert_eq!(
        (received[0].id.as_str(), received[0].to.as_str()),
        ("notice-1", NUMBER)
    );
    let fate = messages.query_sms("notice-1", NUMBER).await.unwrap().0;
    assert_eq!(fate, MessageFate::Delivered);
    let fate = messages.query_sms("notice-2", NUMBER).await.unwrap().0;
    assert_eq!(fate, MessageFate::NotFound);
    room.stop().await;
}

#[tokio::test]
async fn a_number_that_the_gateway_refuses_is_declined() {
    let room = RunningMailroom::start(now()).await;
    let messages = room.messages(&now());
    room.handle.refuse("+8610000000000");
    let refused = send(&messages, MessageChannel::Sms, "+8610000000000").await;
    assert_eq!(class(refused), ErrorClass::Declined);
    room.stop().await;
    let gone = send(&messages, MessageChannel::Sms, NUMBER).await;
    assert_eq!(class(gone), ErrorClass::Unavailable);
}

#[tokio::test]
async fn an_email_arrives_with_an_id_of_its_notice() {
    let room = RunningMailroom::start(now()).await;
    let messages = room.messages(&now());
    let sent = send(&messages, MessageChannel::Email, MAILBOX)
        .await
        .unwrap();
    assert_eq!(sent.how, Carried::Accepted);
    assert_eq!(
        sent.evidence.request,
        "MAIL TO w****@partner.example\nmessage-id: <notice-1@clearday.example>"
    );
    let mails = room.handle.mails();
    assert_eq!(mails.len(), 1);
    assert_eq!(
        (mails[0].to.as_str(), mails[0].from.as_str()),
        (MAILBOX, "pay@clearday.example")
    );
    let content = &mails[0].content;
    for header in [
        "From: clearday <pay@clearday.example>\n",
        "To: wang@partner.example\n",
        "Message-ID: <notice-1@clearday.example>\n",
        "Date: Thu, 28 May 2026 ",
        "Content-Type: text/plain; charset=utf-8\n",
    ] {
        assert!(content.contains(header), "{header}\n{content}");
    }
    room.stop().await;
}

#[tokio::test]
async fn a_mailbox_that_cannot_be_written_to_is_declined() {
    let room = RunningMailroom::start(now()).await;
    let messages = room.messages(&now());
    room.handle.refuse("gone@partner.example");
    let refused = send(&messages, MessageChannel::Email, "gone@partner.example").await;
    let refused = refused.unwrap_err();
    assert_eq!(refused.class(), ErrorClass::Declined);
    let words = format!("{refused} {:?}", refused.evidence());
    assert!(
        words.contains("550") && words.contains("g****@partner.example"),
        "{words}"
    );
    assert!(!words.contains("gone@"), "{words}");
    for target in ["nobody", "王@partner.example", "a@b\r\nRCPT TO:<c@d>"] {
        let sent = send(&messages, MessageChannel::Email, target).await;
        assert_eq!(class(sent), ErrorClass::Declined, "{target}");
    }
    room.stop().await;
    let gone = send(&messages, MessageChannel::Email, MAILBOX).await;
    assert_eq!(class(gone), ErrorClass::Unavailable);
}

#[tokio::test]
async fn mail_crosses_no_network_in_the_open() {
    let room = RunningMailroom::start(now()).await;
    let mut settings = room.settings();
    settings.email.as_mut().unwrap().host = "mail.example".to_owned();
    let refused = Messages::build(&settings, &now()).unwrap_err();
    assert!(matches!(refused, MessagesError::PlainSmtp(_)), "{refused}");

    // Asked to use TLS, it tells a server that has none nothing at all.
    let mut settings = room.settings();
    settings.email.as_mut().unwrap().tls = SmtpTls::Starttls;
    let messages = Messages::build(&settings, &now()).unwrap();
    let sent = send(&messages, MessageChannel::Email, MAILBOX).await;
    assert_eq!(class(sent), ErrorClass::Unavailable);
    assert!(room.handle.mails().is_empty());
    room.stop().await;
}

#[tokio::test]
async fn a_webhook_is_signed_with_both_keys_and_believed_by_its_endpoint() {
    let room = RunningMailroom::start(now()).await;
    let messages = room.messages(&now());
    let url = room.webhook_url("P-1");
    let sent = send(&messages, MessageChannel::Webhook, &url)
        .await
        .unwrap();
    assert_eq!(sent.how, Carried::Delivered);
    assert!(
        !sent.evidence.request.contains("/webhooks/"),
        "{:?}",
        sent.evidence
    );
    let calls = room.handle.webhooks();
    assert_eq!(calls.len(), 1);
    assert!(calls[0].is_verified);
    assert_eq!(calls[0].id, "notice-1");
    assert_eq!(calls[0].timestamp, at(0).timestamp().to_string());
    room.stop().await;
}

#[tokio::test]
async fn an_endpoint_that_is_gone_wants_nothing_more() {
    let room = RunningMailroom::start(now()).await;
    let messages = room.messages(&now());
    let url = room.webhook_url("P-1");
    room.handle.retire("P-1");
    let gone = send(&messages, MessageChannel::Webhook, &url).await;
    let Err(ChannelError::Declined { code, .. }) = gone else {
        panic!("{gone:?}");
    };
    assert_eq!(code.as_str(), GONE);
    room.stop().await;
}

#[tokio::test]
async fn a_redirect_is_not_followed_and_a_long_answer_not_read_to_its_end() {
    let room = RunningMailroom::start(now()).await;
    let messages = room.messages(&now());
    let url = room.webhook_url("P-1");
    let send = async |target: &str| {
        let letter = Letter {
            content: "",
            ..letter(target)
        };
        Box::pin(messages.send(MessageChannel::Webhook, "P-1", &letter)).await
    };
    let elsewhere = format!("302 Found\r\nlocation: {url}");
    let away = RawServer::start(|_| answer(&elsewhere, "")).await;
    let refused = send(&away.base_url()).await.unwrap_err();
    assert_eq!(refused.class(), ErrorClass::Unavailable);
    let evidence = refused.evidence().unwrap();
    assert!(evidence.answer.starts_with("302 Found"), "{evidence:?}");
    assert_eq!((away.served(), room.handle.webhooks().len()), (1, 0));

    let chatty = RawServer::start(|_| answer("200 OK", &"x".repeat(100_000))).await;
    let sent = send(&chatty.base_url()).await.unwrap();
    assert_eq!(sent.how, Carried::Delivered);
    assert_eq!(sent.evidence.answer.len(), 1_000);
    room.stop().await;
}

#[tokio::test]
async fn a_private_network_is_not_called_by_address_and_not_by_name() {
    let room = RunningMailroom::start(now()).await;
    let url = room.webhook_url("P-1");
    let mut settings = room.settings();
    settings.webhooks.allow_networks = Vec::new();
    let messages = Messages::build(&settings, &now()).unwrap();
    let by_name = url.replace("127.0.0.1", "localhost");
    let with_tls = by_name.replace("http://", "https://");
    for target in [
        url.as_str(),
        &by_name,
        &with_tls,
        "https://[::ffff:10.0.0.1]/",
    ] {
        let refused = send(&messages, MessageChannel::Webhook, target).await;
        let refused = refused.unwrap_err();
        assert_eq!(refused.class(), ErrorClass::Declined, "{target}: {refused}");
        let words = refused.to_string();
        assert!(words.contains("is no public address"), "{words}");
    }
    assert!(room.handle.webhooks().is_empty());
    // Allowed, the name leads there.
    let allowed = room.messages(&now());
    send(&allowed, MessageChannel::Webhook, &by_name)
        .await
        .unwrap();
    room.stop().await;
}

#[tokio::test]
async fn a_missing_way_says_which_setting_makes_one() {
    let room = RunningMailroom::start(now()).await;
    let mut settings = room.settings();
    (settings.sms, settings.email) = (None, None);
    let messages = Messages::build(&settings, &now()).unwrap();
    let missing = |channel| messages.check(channel, "P-404").unwrap_err();
    assert_eq!(
        missing(MessageChannel::Sms),
        "no gateway carries SMS: set [sms] url"
    );
    assert_eq!(
        missing(MessageChannel::Email),
        "no server carries e-mail: set [smtp] host and from"
    );
    let keys = missing(MessageChannel::Webhook);
    assert!(
        keys.contains("([webhooks] keys_directory): No such file"),
        "{keys}"
    );
    for way_out in ["../P-1", "a/b", ".hidden", ""] {
        let refused = messages.check(MessageChannel::Webhook, way_out);
        assert!(refused.is_err(), "{way_out}");
    }
    settings.webhooks.keys_directory = None;
    let messages = Messages::build(&settings, &now()).unwrap();
    assert_eq!(
        messages.check(MessageChannel::Webhook, "P-1").unwrap_err(),
        "no key signs webhooks: set [webhooks] keys_directory, with a file for each endpoint"
    );
    room.stop().await;
}
