//! A mailroom on free ports, in this process, gone with the test; and a way to send to it.
#![cfg(test)]

use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use clearday::connectors::messages::{
    EmailSettings, MessageSettings, Messages, SigningKeys, SmsSettings, SmtpTls, WebhookSettings,
};
use clearday::connectors::sandbox::mailroom::{MailroomHandle, serve};
use clearday::connectors::{Now, Timeouts};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

use super::house::PATIENT_REQUEST;
use super::servers::ScratchFolder;

/// Two secrets of a test's own, the newest first.
pub(crate) const SECRETS: &str =
    "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX\nwhsec_GBkaGxwdHh8gISIjJCUmJygpKissLS4v\n";
/// Only the older of the two: an endpoint that has not changed its secret yet.
const OLD_SECRET: &str = "whsec_GBkaGxwdHh8gISIjJCUmJygpKissLS4v";

pub(crate) struct RunningMailroom {
    pub(crate) handle: MailroomHandle,
    pub(crate) http: SocketAddr,
    pub(crate) smtp: SocketAddr,
    pub(crate) keys: ScratchFolder,
    tracker: TaskTracker,
    stop: DropGuard,
}

impl RunningMailroom {
    pub(crate) async fn start(now: Now) -> Self {
        let handle = MailroomHandle::new(now);
        let http = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let smtp = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let addresses = (http.local_addr().unwrap(), smtp.local_addr().unwrap());
        let stop = CancellationToken::new();
        let tracker = TaskTracker::new();
        let server = serve(http, smtp, handle.clone(), stop.clone());
        tracker.spawn(async move { server.await.unwrap() });
        tracker.close();
        Self {
            handle,
            http: addresses.0,
            smtp: addresses.1,
            keys: ScratchFolder::new("keys"),
            tracker,
            stop: stop.drop_guard(),
        }
    }

    /// The address of an endpoint that verifies with the older of two keys, and signs with both on
    /// our side.
    pub(crate) fn webhook_url(&self, endpoint: &str) -> String {
        fs::write(self.keys.path().join(endpoint), SECRETS).unwrap();
        self.handle
            .trust(endpoint, SigningKeys::parse(OLD_SECRET).unwrap());
        format!("http://{}/webhooks/{endpoint}", self.http)
    }

    /// Everything set up, and the mailroom's network allowed.
    pub(crate) fn settings(&self) -> MessageSettings {
        let timeouts = Timeouts {
            connect: PATIENT_REQUEST / 2,
            request: PATIENT_REQUEST,
        };
        MessageSettings {
            sms: Some(SmsSettings {
                url: format!("http://{}/v1/messages", self.http),
                token: None,
                timeouts,
                processing_window: Duration::from_mins(5),
            }),
            email: Some(EmailSettings {
                host: "127.0.0.1".to_owned(),
                port: self.smtp.port(),
                tls: SmtpTls::None,
                from: "clearday <pay@clearday.example>".to_owned(),
                username: None,
                password: None,
                timeouts,
            }),
            webhooks: WebhookSettings {
                keys_directory: Some(self.keys.path().to_owned()),
                allow_networks: vec!["127.0.0.0/8".parse().unwrap()],
                timeouts,
            },
        }
    }

    pub(crate) fn messages(&self, now: &Now) -> Messages {
        Messages::build(&self.settings(), now).unwrap()
    }

    /// Stops it and waits until it is gone.
    pub(crate) async fn stop(self) {
        drop(self.stop);
        self.tracker.wait().await;
    }
}
