//! The mailroom's mail server: as much of RFC 5321 as one honest client needs, in the open.

use std::io;
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use super::books::ReceivedMail;
use super::{Fault, FaultTicket, MailroomHandle, Operation};
use crate::connectors::sandbox::disturbance::wait_until_let_go;

/// More than any notice has; whatever is longer is cut off.
const LINE_BYTES_MAX: u64 = 2_000;
const MAIL_BYTES_MAX: usize = 256 * 1024;

/// Takes mail until `stop`.
pub(super) async fn serve(
    listener: TcpListener,
    mailroom: MailroomHandle,
    stop: CancellationToken,
) {
    let tracker = TaskTracker::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = stop.cancelled() => break,
        };
        let Ok((stream, _)) = accepted else { continue };
        let (mailroom, stop) = (mailroom.clone(), stop.clone());
        tracker.spawn(async move {
            let told = stop.clone();
            tokio::select! {
                // A client that hangs up ends its own conversation and nothing else.
                ended = Conversation::new(stream, mailroom, told).hold() => drop(ended),
                () = stop.cancelled() => {}
            }
        });
    }
    tracker.close();
    tracker.wait().await;
}

struct Conversation {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    mailroom: MailroomHandle,
    stop: CancellationToken,
    from: String,
    to: Option<String>,
    /// Strikes when the text has come.
    fault: Option<(Fault, FaultTicket)>,
}

impl Conversation {
    fn new(stream: TcpStream, mailroom: MailroomHandle, stop: CancellationToken) -> Self {
        let (reader, writer) = stream.into_split();
        Self {
            reader: BufReader::new(reader),
            writer,
            mailroom,
            stop,
            from: String::new(),
            to: None,
            fault: None,
        }
    }

    async fn hold(mut self) -> io::Result<()> {
        self.say("220 mailroom.example").await?;
        while let Some(line) = self.line().await? {
            let verb = line.split([' ', ':']).next().unwrap_or_default();
            match verb.to_ascii_uppercase().as_str() {
                "EHLO" => self.say("250-mailroom.example\r\n250 8BITMIME").await?,
                "HELO" | "NOOP" => self.say("250 mailroom.example").await?,
                "RSET" => {
                    self.to = None;
                    self.say("250 forgotten").await?;
                }
                "MAIL" => {
                    self.from = address_in(&line);
                    self.say("250 go on").await?;
                }
                "RCPT" => {
                    if !self.take_recipient(address_in(&line)).await? {
                        return Ok(());
                    }
                }
                "DATA" => {
                    if !self.take_text().await? {
                        return Ok(());
                    }
                }
                "QUIT" => return self.say("221 goodbye").await,
                _ => self.say("502 not here").await?,
            }
        }
        Ok(())
    }

    /// Whether the conversation goes on.
    async fn take_recipient(&mut self, to: String) -> io::Result<bool> {
        if self.mailroom.is_refused(&to) {
            self.say(&format!("550 5.1.1 <{to}> is nobody here"))
                .await?;
            return Ok(true);
        }
        let fault = self.mailroom.take_fault(Operation::SendMail, &to);
        match fault {
            Some((Fault::LostRequest, ticket)) => {
                ticket.strike();
                return Ok(false);
            }
            Some((Fault::Unavailable, ticket)) => {
                ticket.strike();
                self.say("450 4.2.1 try again later").await?;
                return Ok(true);
            }
            later => self.fault = later,
        }
        self.to = Some(to);
        self.say("250 go on").await?;
        Ok(true)
    }

    /// Whether the conversation goes on.
    async fn take_text(&mut self) -> io::Result<bool> {
        let Some(to) = self.to.take() else {
            self.say("503 to whom").await?;
            return Ok(true);
        };
        self.say("354 go ahead, end with a dot").await?;
        let Some(content) = self.text().await? else {
            return Ok(false);
        };
        let mail = ReceivedMail {
            from: self.from.clone(),
            to,
            content,
            at: self.mailroom.now(),
        };
        self.mailroom.books().mails.push(mail);
        match self.fault.take() {
            // A mail server that took a mail and says otherwise is no better than one that falls silent.
            Some((Fault::LostAnswer | Fault::ErrorAfterEffect, ticket)) => {
                ticket.strike();
                return Ok(false);
            }
            Some((Fault::SlowAnswer { delay_ms }, ticket)) => {
                ticket.strike();
                tokio::select! {
                    () = sleep(Duration::from_millis(delay_ms)) => {}
                    () = wait_until_let_go(&ticket, &self.stop) => {}
                }
            }
            Some((_, ticket)) => {
                ticket.strike();
                wait_until_let_go(&ticket, &self.stop).await;
            }
            None => {}
        }
        self.say("250 2.0.0 taken").await?;
        Ok(true)
    }

    /// Everything up to the line with the dot; `None` where the client hung up before it.
    async fn text(&mut self) -> io::Result<Option<String>> {
        let mut text = String::new();
        while let Some(line) = self.line().await? {
            if line == "." {
                return Ok(Some(text));
            }
            // RFC 5321, 4.5.2: a line that begins with a dot was given another one.
            let line = line.strip_prefix('.').unwrap_or(&line);
            if text.len() < MAIL_BYTES_MAX {
                text.push_str(line);
                text.push('\n');
            }
        }
        Ok(None)
    }

    async fn line(&mut self) -> io::Result<Option<String>> {
        let mut bytes = Vec::new();
        let mut limited = (&mut self.reader).take(LINE_BYTES_MAX);
        if limited.read_until(b'\n', &mut bytes).await? == 0 {
            return Ok(None);
        }
        let line = String::from_utf8_lossy(&bytes);
        Ok(Some(line.trim_end_matches(['\r', '\n']).to_owned()))
    }

    async fn say(&mut self, words: &str) -> io::Result<()> {
        self.writer
            .write_all(format!("{words}\r\n").as_bytes())
            .await
    }
}

/// What stands between `<` and `>`.
fn address_in(line: &str) -> String {
    let after = line.split_once('<').map_or("", |(_, after)| after);
    after.split('>').next().unwrap_or_default().to_owned()
}
