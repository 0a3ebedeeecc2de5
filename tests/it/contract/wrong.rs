//! Connectors that break the contract: the kit must say so of each, or what it says of the others means nothing.
#![cfg(test)]

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use clearday::connectors::sandbox::{Fault, FaultTicket};
use tokio::io::{AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::sync::Mutex;

use super::close::Close;
use super::email::Email;
use super::kit::{Call, Promises, Request, Subject, Told, Trouble};
use super::sms::Sms;
use super::troubles::row;
use crate::support::raw_http::read_message;

/// What the rules say of each vice.
const OBJECTIONS: &str = "\
calls a time-out a decline
  slow_answer: timed_out: a refusal that nobody spoke
calls what was lost unavailable
  lost_answer: unavailable: called unavailable, and it took effect
calls what may still arrive unavailable
  late_arrival: unavailable: no answer came in time, and it is not unknown
calls what was lost done
  lost_request: guessed: called done, and the books show nothing
takes no answer to a question for \"not found\"
  lost_answer: guessed: an effect is denied
makes a new key for every try
  lost_answer: 2 effects of one call
promises that a mail is known again
  lost_answer: 2 effects of one call
reads whatever comes next
  duplicate_answer: Closed: called done, and the books show nothing
believes words about another
  answer_about_another: Closed: words about another are believed
";

#[tokio::test]
async fn each_vice_is_objected_to() {
    let mut said = String::new();
    let mut note = |vice: &str, objections: Vec<String>| {
        said.push_str(vice);
        said.push('\n');
        for objection in objections {
            said.push_str("  ");
            said.push_str(&objection);
            said.push('\n');
        }
    };
    let close = Wrong::new(Close::start().await, Vice::DeclinesTimeOuts);
    let objections = row(&close, Trouble::SlowAnswer).await.objections;
    note("calls a time-out a decline", objections);

    let close = Wrong::new(Close::start().await, Vice::SaysUnavailable);
    let objections = row(&close, Trouble::LostAnswer).await.objections;
    note("calls what was lost unavailable", objections);
    let objections = row(&close, Trouble::LateArrival).await.objections;
    note("calls what may still arrive unavailable", objections);

    let close = Wrong::new(Close::start().await, Vice::SaysDone);
    let objections = row(&close, Trouble::LostRequest).await.objections;
    note("calls what was lost done", objections);

    let close = Wrong::new(Close::start().await, Vice::GuessesNotFound);
    let objections = row(&close, Trouble::LostAnswer).await.objections;
    note(
        "takes no answer to a question for \"not found\"",
        objections,
    );

    let sms = Wrong::new(Sms::start().await, Vice::ForgetsKeys);
    let objections = row(&sms, Trouble::LostAnswer).await.objections;
    note("makes a new key for every try", objections);

    let email = Wrong::new(Email::start().await, Vice::PromisesTooMuch);
    let objections = row(&email, Trouble::LostAnswer).await.objections;
    note("promises that a mail is known again", objections);

    let close = ByHand(Close::start().await);
    let objections = row(&close, Trouble::DuplicateAnswer).await.objections;
    note("reads whatever comes next", objections);
    let objections = row(&close, Trouble::AnswerAboutAnother).await.objections;
    note("believes words about another", objections);
    assert_eq!(said, OBJECTIONS);
}

/// A connector that keeps the contract but for one thing.
struct Wrong<S> {
    right: S,
    vice: Vice,
    tries: AtomicUsize,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Vice {
    DeclinesTimeOuts,
    SaysUnavailable,
    SaysDone,
    GuessesNotFound,
    ForgetsKeys,
    PromisesTooMuch,
}

impl<S> Wrong<S> {
    fn new(right: S, vice: Vice) -> Self {
        Self {
            right,
            vice,
            tries: AtomicUsize::new(0),
        }
    }
}

impl<S: Subject> Subject for Wrong<S> {
    type Connector = S::Connector;

    fn promises(&self, connector: &S::Connector) -> Promises {
        let promises = self.right.promises(connector);
        Promises {
            is_idempotent: promises.is_idempotent || self.vice == Vice::PromisesTooMuch,
            ..promises
        }
    }

    fn address(&self) -> SocketAddr {
        self.right.address()
    }

    fn connector(&self, address: SocketAddr, patience: Duration) -> S::Connector {
        self.right.connector(address, patience)
    }

    async fn prepare(&self, call: &Call) {
        self.right.prepare(call).await;
    }

    async fn act(&self, connector: &S::Connector, call: &Call) -> Told {
        let mut call = call.clone();
        if self.vice == Vice::ForgetsKeys && self.tries.fetch_add(1, Ordering::SeqCst) > 0 {
            call.key.push_str("-again");
        }
        let told = self.right.act(connector, &call).await;
        match self.vice {
            Vice::DeclinesTimeOuts if told == Told::Unknown => Told::refused("timed_out"),
            Vice::SaysUnavailable if told == Told::Unknown => Told::Unavailable,
            Vice::SaysDone if told == Told::Unknown => Told::done("guessed"),
            Vice::DeclinesTimeOuts
            | Vice::SaysUnavailable
            | Vice::SaysDone
            | Vice::GuessesNotFound
            | Vice::ForgetsKeys
            | Vice::PromisesTooMuch => told,
        }
    }

    async fn ask(&self, connector: &S::Connector, call: &Call) -> Option<Told> {
        let told = self.right.ask(connector, call).await?;
        let guesses = self.vice == Vice::GuessesNotFound && told == Told::Unknown;
        Some(if guesses {
            Told::not_done("guessed")
        } else {
            told
        })
    }

    fn effects(&self, call: &Call) -> usize {
        self.right.effects(call)
    }

    fn disturb(&self, request: Request, call: &Call, fault: Fault) -> FaultTicket {
        self.right.disturb(request, call, fault)
    }
}

/// Closes payments over one connection that it reads line by line, and takes what comes next for the answer. It asks as
/// the right connector does.
struct ByHand(Close);

struct OneConnection {
    right: <Close as Subject>::Connector,
    address: SocketAddr,
    stream: Mutex<Option<BufReader<TcpStream>>>,
}

impl Subject for ByHand {
    type Connector = OneConnection;

    fn promises(&self, connector: &OneConnection) -> Promises {
        self.0.promises(&connector.right)
    }

    fn address(&self) -> SocketAddr {
        self.0.address()
    }

    fn connector(&self, address: SocketAddr, patience: Duration) -> OneConnection {
        OneConnection {
            right: self.0.connector(address, patience),
            address,
            stream: Mutex::default(),
        }
    }

    async fn prepare(&self, call: &Call) {
        self.0.prepare(call).await;
    }

    async fn act(&self, connector: &OneConnection, call: &Call) -> Told {
        let Call { about, key } = call;
        let mut stream = connector.stream.lock().await;
        if stream.is_none() {
            let connected = TcpStream::connect(connector.address).await.unwrap();
            *stream = Some(BufReader::new(connected));
        }
        let stream = stream.as_mut().unwrap();
        let request = format!(
            "POST /v1/payments/{about}/close HTTP/1.1\r\nhost: sandbox\r\nidempotency-key: {key}\r\n\
             content-length: 0\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        match read_message(stream).await {
            Some(answer) if answer.starts_with(b"HTTP/1.1 200 ") => Told::done("Closed"),
            Some(_) | None => Told::Unknown,
        }
    }

    async fn ask(&self, connector: &OneConnection, call: &Call) -> Option<Told> {
        self.0.ask(&connector.right, call).await
    }

    fn effects(&self, call: &Call) -> usize {
        self.0.effects(call)
    }

    fn disturb(&self, request: Request, call: &Call, fault: Fault) -> FaultTicket {
        self.0.disturb(request, call, fault)
    }
}
