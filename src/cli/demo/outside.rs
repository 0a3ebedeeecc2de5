//! The outside of the demo: a payment channel, a bank and a mailroom on loopback, all of them sandboxes.
//!
//! Their books are new at every start, so whatever they must know is told them again; what clearday knows is in its
//! database.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use chrono::{NaiveTime, TimeDelta};
use clearday_jobs::{ChannelName, Currency, PartnerId};
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::super::exit::CliError;
use super::loopback;
use crate::clock::{Clock, Ids};
use crate::config::{Approvals, Bank, Channel, Connector, Settings};
use crate::connectors::Now;
use crate::connectors::messages::{SigningKeys, SmtpTls, UPSTREAM};
use crate::connectors::sandbox::mailroom::{self, MailroomHandle};
use crate::connectors::sandbox::{self, ACCOUNT_NO, SandboxHandle};

/// The sandboxes answer at once, so waiting longer for an effect proves nothing.
const PROCESSING_WINDOW: Duration = Duration::from_secs(1);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Only this machine: where the mailroom's endpoints are.
const OWN_NETWORK: &str = "127.0.0.0/8";
const SENDER: &str = "clearday <pay@clearday.example>";
const PAY_LINK: &str = "https://pay.example/{order_no}";
/// What `merchants.csv` calls the bank.
pub(super) const BANK: &str = "sandbox_bank";

/// The sandboxes, running.
pub(super) struct Outside {
    pub(super) sandbox: SandboxHandle,
    /// Where statements of channels and banks are put.
    pub(super) statements: PathBuf,
    mailroom: MailroomHandle,
    mailroom_url: String,
    keys: PathBuf,
    ids: Ids,
    stop: CancellationToken,
}

impl Outside {
    /// Starts them and makes the settings know no other channel, bank or way to send a message.
    pub(super) async fn start(
        clock: &Clock,
        ids: &Ids,
        data: &Path,
        settings: &mut Settings,
    ) -> Result<Self, CliError> {
        let now = now_of(clock);
        let (sandbox, mailroom) = (
            SandboxHandle::new(Arc::clone(&now)),
            MailroomHandle::new(now),
        );
        let channel = loopback().await?;
        let (http, smtp) = (loopback().await?, loopback().await?);
        let (channel_url, mailroom_url) = (url_of(&channel)?, url_of(&http)?);
        let smtp_port = address_of(&smtp)?.port();
        let outside = Self {
            sandbox,
            statements: data.join("statements"),
            mailroom,
            mailroom_url,
            keys: data.join("keys"),
            ids: ids.clone(),
            stop: CancellationToken::new(),
        };
        let tasks = TaskTracker::new();
        let serving = sandbox::serve(channel, outside.sandbox.clone(), outside.stop.clone());
        tasks.spawn(until_it_ends("sandbox", serving));
        let serving = mailroom::serve(http, smtp, outside.mailroom.clone(), outside.stop.clone());
        tasks.spawn(until_it_ends("mailroom", serving));
        outside.set_up(settings, &channel_url, smtp_port)?;
        Ok(outside)
    }

    pub(super) fn stop(&self) {
        self.stop.cancel();
    }

    /// Where a partner's webhooks arrive.
    pub(super) fn partner_url(&self, partner_id: &PartnerId) -> Result<String, CliError> {
        self.endpoint(partner_id.as_str())
    }

    /// Where the upstream system wants to be called back.
    pub(super) fn upstream_url(&self) -> Result<String, CliError> {
        self.endpoint(UPSTREAM)
    }

    /// Puts a file where statements arrive, unless an earlier run did.
    pub(super) fn write_statement(&self, name: &str, content: &[u8]) -> Result<(), CliError> {
        write_once(&self.statements.join(name), content).map(|_| ())
    }

    /// Whether a statement is there.
    pub(super) fn has_statement(&self, name: &str) -> bool {
        self.statements.join(name).exists()
    }

    /// The address of an endpoint that shares a secret with us, drawn at the first start.
    fn endpoint(&self, name: &str) -> Result<String, CliError> {
        let path = self.keys.join(name);
        // Hexadecimal digits are base64, too; two ids have more than enough of them that nobody can foretell.
        let drawn = [self.ids.uuid(), self.ids.uuid()].map(|id| id.simple().to_string());
        let secrets = write_once(&path, format!("whsec_{}\n", drawn.concat()).as_bytes())?;
        let keys = SigningKeys::parse(&secrets).map_err(|error| {
            CliError::refused(format!("keys in {}", path.display())).because(error)
        })?;
        self.mailroom.trust(name, keys);
        Ok(format!("{}/webhooks/{name}", self.mailroom_url))
    }

    fn set_up(
        &self,
        settings: &mut Settings,
        channel_url: &str,
        smtp_port: u16,
    ) -> Result<(), CliError> {
        let unusable = |error: Box<dyn std::error::Error + Send + Sync>| {
            CliError::refused("the demo's own settings").because(error)
        };
        settings.redis.url = None;
        // Without a limit every payout takes two people.
        settings.approvals = Approvals::default();
        settings.schedules.clear();
        settings.statements.directory.clone_from(&self.statements);
        settings.channels = vec![Channel {
            name: ChannelName::new("sandbox").map_err(|error| unusable(error.into()))?,
            connector: Connector::Sandbox,
            url: channel_url.to_owned(),
            connect_timeout: CONNECT_TIMEOUT,
            request_timeout: REQUEST_TIMEOUT,
            processing_window: PROCESSING_WINDOW,
            requests_per_second: None,
            deposit_text: None,
        }];
        settings.banks = vec![Bank {
            name: ChannelName::new(BANK).map_err(|error| unusable(error.into()))?,
            connector: Connector::Sandbox,
            url: channel_url.to_owned(),
            account_no: ACCOUNT_NO.to_owned(),
            currency: Currency::CNY,
            payout_max: None,
            cutoff: NaiveTime::MIN
                .overflowing_add_signed(TimeDelta::hours(17))
                .0,
            zone: chrono_tz::Asia::Shanghai,
            connect_timeout: CONNECT_TIMEOUT,
            request_timeout: REQUEST_TIMEOUT,
            requests_per_second: None,
            processing_window: PROCESSING_WINDOW,
        }];
        settings.notifications.pay_link_template = Some(PAY_LINK.to_owned());
        settings.smtp.host = Some("127.0.0.1".to_owned());
        settings.smtp.port = smtp_port.into();
        settings.smtp.tls = SmtpTls::None;
        settings.smtp.from = Some(SENDER.to_owned());
        (settings.smtp.username, settings.smtp.password) = (None, None);
        settings.sms.url = Some(format!("{}/v1/messages", self.mailroom_url));
        settings.sms.token = None;
        settings.webhooks.keys_directory = Some(self.keys.clone());
        let own = OWN_NETWORK.parse();
        settings.webhooks.allow_networks = vec![
            own.map_err(|error: crate::connectors::messages::NetworkError| unusable(error.into()))?,
        ];
        Ok(())
    }
}

fn now_of(clock: &Clock) -> Now {
    let clock = clock.clone();
    Arc::new(move || clock.now())
}

async fn until_it_ends<E: std::fmt::Display>(
    name: &'static str,
    serving: impl Future<Output = Result<(), E>>,
) {
    if let Err(error) = serving.await {
        tracing::error!(error = %error, "The {name} ended");
    }
}

fn address_of(listener: &TcpListener) -> Result<std::net::SocketAddr, CliError> {
    listener
        .local_addr()
        .map_err(|error| CliError::unavailable("a sandbox has no address").because(error))
}

fn url_of(listener: &TcpListener) -> Result<String, CliError> {
    Ok(format!("http://{}", address_of(listener)?))
}

/// Writes a file that is not there yet; what it says then.
fn write_once(path: &Path, content: &[u8]) -> Result<String, CliError> {
    let write = || -> io::Result<String> {
        if !path.exists() {
            if let Some(parent) = path.parent() {
                fs::create_dir_all(parent)?;
            }
            fs::write(path, content)?;
        }
        Ok(String::from_utf8_lossy(&fs::read(path)?).into_owned())
    };
    write().map_err(|error| {
        CliError::unavailable(format!("cannot write {}", path.display())).because(error)
    })
}
