//! Sending an e-mail, held against the contract of connectors.
//!
//! Nobody can be asked what became of a mail and nobody knows a repetition, so what is unknown stays unknown and nothing
//! is sent again. SMTP has no HTTP answers: its list is one of conversations.
#![cfg(test)]

use std::net::SocketAddr;
use std::time::Duration;

use clearday::connectors::messages::Messages;
use clearday::connectors::sandbox::{Fault, FaultTicket, Operation};
use clearday::domain::partner::MessageChannel;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::TaskTracker;

use super::kit::{Call, Promises, Request, Speech, Subject, Told, clock};
use super::sms::letter;
use super::troubles;
use crate::support::mailroom::RunningMailroom;
use crate::support::sandbox::{PATIENT, reference, within};

/// What the connector says of each trouble, what the mailbox then holds, and how it ends.
const TROUBLES: &str = "\
lost_request: act unavailable, effects 0; again Accepted, effects 1
lost_answer: act unknown, effects 1; nothing is sent again
error_after_effect: act unknown, effects 1; nothing is sent again
slow_answer: act unknown, effects 1; nothing is sent again
held_answer: act unknown, effects 1; nothing is sent again
unavailable: act unavailable, effects 0; again Accepted, effects 1
nobody_listens: act unavailable, effects 0; again Accepted, effects 1
nobody_accepts: act unavailable, effects 0; again Accepted, effects 1
duplicate_answer: act unavailable, effects 0; again Accepted, effects 1
answer_about_another: each mail has a connection of its own
answer_to_another_key: each mail has a connection of its own
answer_to_a_question: nobody can be asked
late_arrival: act unknown, effects 0; arrives, effects 1; nothing is sent again
overtaken: nothing is sent again
";

/// What the connector makes of what a mail server says, by where in the conversation it says so. Where nothing else is
/// said, it goes well up to the text, which is refused: whoever takes an answer for the next one sees it late or never.
const CONVERSATIONS: &str = "\
greeting: nothing: unavailable
greeting: no SMTP: unavailable
greeting: 554 no: unavailable
greeting: 220 twice: unavailable
hello: 421 later: unavailable
hello: twice: unavailable
sender: 451 later: unavailable
sender: 550 no: refused
sender: 250 twice: unavailable
recipient: 450 later: unavailable
recipient: 550 no: refused
recipient: 250 twice: unavailable
recipient: garbage: unavailable
data: 250 go on: unavailable
data: 451 later: unavailable
data: 554 no: refused
data: 354 twice: unknown
data: nothing: unavailable
text: nothing: unknown
text: garbage: unknown
text: half a line: unknown
text: 250 taken: Accepted
text: 354 go ahead: unknown
text: 421 later: unavailable
text: 452 later: unavailable
text: 552 no: refused
";

#[tokio::test]
async fn no_trouble_becomes_a_refusal_and_what_is_unknown_is_not_sent_again() {
    let email = Email::start().await;
    assert_eq!(troubles::table(&email).await, TROUBLES);
}

#[tokio::test]
async fn only_the_servers_answer_to_the_text_says_what_became_of_it() {
    let email = Email::start().await;
    let call = Call::new("R1");
    let mut table = Vec::new();
    for line in CONVERSATIONS.lines() {
        let (said, _) = line.rsplit_once(": ").unwrap();
        let (stage, words) = said.split_once(": ").unwrap();
        let server = converse(script(stage, words)).await;
        let connector = email.connector(server, PATIENT);
        let told = email.act(&connector, &call).await;
        table.push(format!("{said}: {told}\n"));
    }
    assert_eq!(table.concat(), CONVERSATIONS);
}

/// The answers of a server from its greeting on, with one of them other than usual.
fn script(stage: &str, words: &str) -> Vec<String> {
    let stages = ["greeting", "hello", "sender", "recipient", "data", "text"];
    let usual = [
        "220 mail.example",
        "250 mail.example",
        "250 go on",
        "250 go on",
        "354 go ahead",
        "554 no",
    ];
    let said = |(at, usual): (&str, &str)| {
        let usual = format!("{usual}\r\n");
        match words {
            _ if at != stage => usual,
            "nothing" => String::new(),
            "no SMTP" => "HTTP/1.1 400 Bad Request\r\n".to_owned(),
            "garbage" => "\u{1}\u{2}\r\n".to_owned(),
            "half a line" => "250 ta".to_owned(),
            words if words.ends_with("twice") => usual.repeat(2),
            words => format!("{words}\r\n"),
        }
    };
    stages.into_iter().zip(usual).map(said).collect()
}

/// Gives these answers to one conversation, one after each command and one after the text, and hangs up where an
/// answer is not a whole line.
async fn converse(answers: Vec<String>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    TaskTracker::new().spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        let mut stream = BufReader::new(stream);
        for answer in answers {
            // Err means that the asker had enough, which is its right.
            drop(stream.write_all(answer.as_bytes()).await);
            let is_whole = answer.ends_with("\r\n");
            if !is_whole || !hear(&mut stream, answer.starts_with("354")).await {
                return;
            }
        }
        drop(stream.write_all(b"221 goodbye\r\n").await);
    });
    address
}

/// Reads a command, or a text up to its dot; false where the client hung up.
async fn hear(stream: &mut BufReader<TcpStream>, is_text: bool) -> bool {
    let mut heard = String::new();
    while stream.read_line(&mut heard).await.unwrap_or(0) > 0 {
        if !is_text || heard.ends_with("\r\n.\r\n") {
            return true;
        }
    }
    false
}

pub(super) struct Email(RunningMailroom);

impl Email {
    pub(super) async fn start() -> Self {
        Self(RunningMailroom::start(clock()).await)
    }
}

impl Subject for Email {
    type Connector = Messages;

    fn promises(&self, _: &Messages) -> Promises {
        Promises {
            is_idempotent: false,
            is_one_by_reference: false,
            window: None,
            speech: Speech::Smtp,
        }
    }

    fn address(&self) -> SocketAddr {
        self.0.smtp
    }

    fn connector(&self, address: SocketAddr, patience: Duration) -> Messages {
        let mut settings = self.0.settings();
        let email = settings.email.as_mut().unwrap();
        email.port = address.port();
        email.timeouts = within(patience);
        Messages::build(&settings, &clock()).unwrap()
    }

    async fn prepare(&self, _: &Call) {}

    async fn act(&self, messages: &Messages, call: &Call) -> Told {
        let mailbox = mailbox(call);
        let letter = letter(call, &mailbox);
        let sent = messages.send(MessageChannel::Email, "P-1", &letter);
        match Box::pin(sent).await {
            Ok(carriage) => Told::done(format!("{:?}", carriage.how)),
            Err(error) => error.into(),
        }
    }

    async fn ask(&self, _: &Messages, _: &Call) -> Option<Told> {
        None
    }

    fn effects(&self, call: &Call) -> usize {
        let mailbox = mailbox(call);
        let mails = self.0.handle.mails();
        mails.iter().filter(|mail| mail.to == mailbox).count()
    }

    fn disturb(&self, _: Request, call: &Call, fault: Fault) -> FaultTicket {
        let mailbox = reference(&mailbox(call));
        let handle = &self.0.handle;
        handle.queue_fault(Operation::SendMail, &mailbox, fault)
    }
}

/// Everything is sent to a mailbox of its own.
fn mailbox(call: &Call) -> String {
    format!("{}@partner.example", call.about)
}
