//! E-mail by SMTP: one conversation, told apart by how far it came.
//!
//! Before the text of the message has left, nothing can have been delivered. Once it has, a server
//! that answers has decided; one that falls silent may have taken it, and nobody can be asked, so
//! it is unknown and never sent again. RFC 5321, 4.2.5: a server that answers 4yz or 5yz to the
//! text does not deliver it.

use std::fmt;
use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use clearday_jobs::ChannelName;
use lettre::message::{Mailbox, header::ContentType};
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::response::{Response, Severity};
use lettre::{Address, Message};

use super::{Carriage, Carried, Letter, MessagesError};
use crate::config::Secret;
use crate::connectors::outbound::Timeouts;
use crate::connectors::{ChannelError, Evidence, Now, Trouble};
use crate::domain::mask::mask_target;
use crate::domain::partner::MessageChannel;

/// Longest answer of a server that is kept: enough for the number it gave the message.
const ANSWER_KEPT_CHARS: usize = 500;

/// "Start mail input": the only answer after which the text may leave.
const GO_AHEAD: u16 = 354;

/// How the mail server is reached.
#[derive(Clone, Debug)]
pub struct EmailSettings {
    /// Its name.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the conversation is kept private.
    pub tls: SmtpTls,
    /// Who sends, as `Name <address>` or an address.
    pub from: String,
    /// Who signs in; nobody where it is absent.
    pub username: Option<String>,
    /// With what.
    pub password: Option<Secret>,
    /// How long it may take.
    pub timeouts: Timeouts,
}

/// How a conversation with a mail server is kept private.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SmtpTls {
    /// It begins in the open and changes to TLS before anything is told; refused without.
    Starttls,
    /// TLS from the first byte.
    Tls,
    /// Not at all: only to a server on this machine.
    None,
}

/// The way to the mail server.
pub(super) struct Mailer {
    channel: ChannelName,
    settings: EmailSettings,
    from: Mailbox,
    now: Now,
}

/// How far a conversation came when it failed.
enum Failure {
    /// Before the text left, and it may go better later.
    Before(String),
    /// The server refused this message.
    Refused(String),
    /// After the text left.
    Silent(String),
}

impl Mailer {
    pub(super) fn new(
        channel: ChannelName,
        settings: &EmailSettings,
        now: Now,
    ) -> Result<Self, MessagesError> {
        let from: Mailbox = settings
            .from
            .parse()
            .map_err(|_| MessagesError::Sender(settings.from.clone()))?;
        if settings.tls == SmtpTls::None && !is_loopback(&settings.host) {
            return Err(MessagesError::PlainSmtp(settings.host.clone()));
        }
        Ok(Self {
            channel,
            settings: settings.clone(),
            from,
            now,
        })
    }

    /// Sends a message, once.
    pub(super) async fn send(&self, letter: &Letter<'_>) -> Result<Carriage, ChannelError> {
        let shown = mask_target(MessageChannel::Email, letter.target);
        let request = format!("MAIL TO {shown}");
        let refused = |reason: &str| self.refused(&request, reason);
        let to: Address = letter
            .target
            .parse()
            .map_err(|_| refused("it is no mail address"))?;
        if !letter.target.is_ascii() {
            return Err(refused("an address beyond ASCII cannot be written to"));
        }
        let message = self
            .compose(letter, to.clone())
            .map_err(|_| refused("the message cannot be written down"))?;
        let conversation = self.converse(to, &message);
        match Box::pin(conversation).await {
            Ok(answer) => Ok(Carriage {
                how: Carried::Accepted,
                evidence: self.evidence(&request, letter, &hide(&answer, letter, &shown)),
            }),
            Err(Failure::Before(reason)) => Err(ChannelError::Unavailable(
                self.trouble(request.clone(), hide(&reason, letter, &shown)),
            )),
            Err(Failure::Refused(reason)) => Err(refused(&hide(&reason, letter, &shown))),
            Err(Failure::Silent(reason)) => Err(ChannelError::Unknown(
                self.trouble(request.clone(), hide(&reason, letter, &shown)),
            )),
        }
    }

    fn compose(&self, letter: &Letter<'_>, to: Address) -> Result<Vec<u8>, lettre::error::Error> {
        let sent_at = SystemTime::from((self.now)());
        let message = Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, to))
            .subject(letter.subject)
            .date(sent_at)
            .message_id(Some(self.message_id(letter.id)))
            .header(ContentType::TEXT_PLAIN)
            .body(letter.content.to_owned())?;
        Ok(message.formatted())
    }

    /// The same for every try, so that mail programs see one message.
    fn message_id(&self, id: &str) -> String {
        format!("<{id}@{}>", self.from.email.domain())
    }

    async fn converse(&self, to: Address, message: &[u8]) -> Result<String, Failure> {
        let Timeouts { connect, request } = self.settings.timeouts;
        let mut connection = in_time(connect, self.open(connect))
            .await
            .unwrap_or_else(|| Err("the server did not greet in time".to_owned()))
            .map_err(Failure::Before)?;
        let announced = in_time(
            request,
            announce(&mut connection, self.from.email.clone(), to),
        );
        announced.await.unwrap_or_else(|| {
            let reason = "the server did not answer in time";
            Err(Failure::Before(reason.to_owned()))
        })?;
        let answer = in_time(request, connection.message(message)).await;
        let answer = judge(answer)?;
        // It has the message; whether it says goodbye means nothing.
        drop(in_time(connect, connection.quit()).await);
        Ok(answer)
    }

    /// Connects, changes to TLS and signs in: whatever goes wrong here says nothing about the message.
    async fn open(&self, connect: Duration) -> Result<AsyncSmtpConnection, String> {
        let settings = &self.settings;
        let hello = ClientId::Domain(self.from.email.domain().to_owned());
        let tls = || TlsParameters::new(settings.host.clone()).map_err(|error| error.to_string());
        let at_once = match settings.tls {
            SmtpTls::Tls => Some(tls()?),
            SmtpTls::Starttls | SmtpTls::None => None,
        };
        let server = (settings.host.as_str(), settings.port);
        let mut connection =
            AsyncSmtpConnection::connect_tokio1(server, Some(connect), &hello, at_once, None)
                .await
                .map_err(|error| error.to_string())?;
        if settings.tls == SmtpTls::Starttls {
            connection
                .starttls(tls()?, &hello)
                .await
                .map_err(|error| error.to_string())?;
        }
        if let (Some(username), Some(password)) = (&settings.username, &settings.password) {
            let credentials = Credentials::new(username.clone(), password.reveal().to_owned());
            connection
                .auth(DEFAULT_MECHANISMS, &credentials)
                .await
                .map_err(|error| error.to_string())?;
        }
        Ok(connection)
    }

    fn evidence(&self, request: &str, letter: &Letter<'_>, answer: &str) -> Evidence {
        Evidence {
            request: format!("{request}\nmessage-id: {}", self.message_id(letter.id)),
            answer: answer.to_owned(),
            answered_at: (self.now)(),
        }
    }

    fn refused(&self, request: &str, reason: &str) -> ChannelError {
        ChannelError::Declined {
            channel: self.channel.clone(),
            code: "refused".to_owned().into(),
            message: reason.to_owned(),
            evidence: Box::new(Evidence {
                request: request.to_owned(),
                answer: reason.to_owned(),
                answered_at: (self.now)(),
            }),
        }
    }

    fn trouble(&self, request: String, reason: String) -> Box<Trouble> {
        Box::new(Trouble {
            channel: self.channel.clone(),
            request,
            reason,
            evidence: None,
            cause: None,
        })
    }
}

impl fmt::Debug for Mailer {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Mailer")
            .field("settings", &self.settings)
            .finish_non_exhaustive()
    }
}

/// Says who writes to whom, up to the server's "go ahead".
///
/// An answer that came twice would be taken for the answer to the next command, and so on up to the "go ahead", which
/// would then be taken for the server's word that it has the text. Only the "go ahead" itself tells that nothing slipped.
async fn announce(
    connection: &mut AsyncSmtpConnection,
    from: Address,
    to: Address,
) -> Result<(), Failure> {
    let answer = go_ahead(connection, from, to).await;
    let answer = answer.map_err(|error| before_text(&error))?;
    if answer.has_code(GO_AHEAD) {
        Ok(())
    } else {
        let reason = format!("the server answered {} where it goes ahead", answer.code());
        Err(Failure::Before(reason))
    }
}

/// Asks for the "go ahead".
async fn go_ahead(
    connection: &mut AsyncSmtpConnection,
    from: Address,
    to: Address,
) -> Result<Response, SmtpError> {
    connection.command(Mail::new(Some(from), vec![])).await?;
    connection.command(Rcpt::new(to, vec![])).await?;
    connection.command(Data).await
}

/// What a failure means while the text has not left.
fn before_text(error: &SmtpError) -> Failure {
    if error.is_permanent() {
        Failure::Refused(error.to_string())
    } else {
        Failure::Before(error.to_string())
    }
}

/// What the server's answer to the text means.
fn judge(answer: Option<Result<Response, SmtpError>>) -> Result<String, Failure> {
    match answer {
        Some(Ok(response)) => {
            let words: Vec<&str> = response.message().collect();
            let said = format!("{} {}", response.code(), words.join(" "));
            if response.code().severity == Severity::PositiveCompletion {
                Ok(said)
            } else {
                Err(Failure::Silent(format!("no answer to the text: {said}")))
            }
        }
        Some(Err(error)) if error.is_permanent() => Err(Failure::Refused(error.to_string())),
        Some(Err(error)) if error.is_transient() => Err(Failure::Before(error.to_string())),
        Some(Err(error)) => Err(Failure::Silent(error.to_string())),
        None => Err(Failure::Silent(
            "the server did not answer in time".to_owned(),
        )),
    }
}

async fn in_time<T>(limit: Duration, step: impl Future<Output = T>) -> Option<T> {
    tokio::time::timeout(limit, step).await.ok()
}

/// What a server says, without the address it repeats, and not at any length.
fn hide(words: &str, letter: &Letter<'_>, shown: &str) -> String {
    let words = words
        .replace(letter.target, shown)
        .replace('\0', "\u{fffd}");
    words.chars().take(ANSWER_KEPT_CHARS).collect()
}

fn is_loopback(host: &str) -> bool {
    host == "localhost"
        || host
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}
