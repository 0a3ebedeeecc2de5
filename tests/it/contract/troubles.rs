//! Everything that may go wrong around a call, tried on any subject; the rules of the kit are held against each step.
//!
//! A row says what the connector called each request and what the books showed, then what a calm query says and what
//! the same key again does.
#![cfg(test)]

use std::net::SocketAddr;
use std::time::Duration;

use clearday::connectors::sandbox::Fault;
use futures::future::join_all;
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::task::yield_now;
use tokio::time::timeout;

use super::kit::{
    Call, Heard, Promises, Request, Speech, Subject, Told, Trouble, WINDOW, object_to_act,
    object_to_ask, object_to_truth,
};
use super::relay::{Late, Order, Relay};
use crate::support::sandbox::PATIENT;

/// Long enough for the effect, and all that a test waits for an answer that never comes.
const IMPATIENT: Duration = Duration::from_secs(4);

/// The table of all troubles. Panics where a rule objects.
pub(super) async fn table<S: Subject>(subject: &S) -> String {
    // Those who wait briefly do so when nobody else keeps the thread busy.
    let is_patient = |trouble: &Trouble| !trouble.is_waited_out();
    let (patient, impatient): (Vec<_>, Vec<_>) = Trouble::ALL.into_iter().partition(is_patient);
    let mut rows = Vec::new();
    for troubles in [patient, impatient] {
        let together = troubles.into_iter().map(|trouble| row(subject, trouble));
        rows.extend(join_all(together).await);
    }
    rows.sort_by_key(|row| {
        Trouble::ALL
            .iter()
            .position(|trouble| *trouble == row.trouble)
    });
    let objections: Vec<String> = rows.iter().flat_map(|row| row.objections.clone()).collect();
    assert!(objections.is_empty(), "{}", objections.join("\n"));
    rows.into_iter().map(|row| row.line).collect()
}

/// What became of one trouble.
pub(super) struct Row {
    trouble: Trouble,
    pub(super) line: String,
    /// What the rules object to.
    pub(super) objections: Vec<String>,
}

/// Lets one thing go wrong.
pub(super) async fn row<S: Subject>(subject: &S, trouble: Trouble) -> Row {
    let mut scene = Scene::open(subject, trouble).await;
    match trouble {
        Trouble::LostRequest => scene.is_struck_by(Fault::LostRequest, PATIENT).await,
        Trouble::LostAnswer => scene.is_struck_by(Fault::LostAnswer, PATIENT).await,
        Trouble::ErrorAfterEffect => scene.is_struck_by(Fault::ErrorAfterEffect, PATIENT).await,
        Trouble::SlowAnswer => {
            let slow = Fault::SlowAnswer { delay_ms: 60_000 };
            scene.is_struck_by(slow, IMPATIENT).await;
        }
        Trouble::HeldAnswer => scene.is_struck_by(Fault::HeldAnswer, IMPATIENT).await,
        Trouble::Unavailable => scene.is_struck_by(Fault::Unavailable, PATIENT).await,
        Trouble::NobodyListens => scene.finds_nobody_listening().await,
        Trouble::NobodyAccepts => scene.finds_nobody_accepting().await,
        Trouble::DuplicateAnswer => scene.is_answered_twice().await,
        Trouble::AnswerAboutAnother => scene.is_answered_about_another().await,
        Trouble::AnswerToAnotherKey => scene.is_answered_to_another_key().await,
        Trouble::AnswerToAQuestion => scene.is_answered_to_a_question().await,
        Trouble::LateArrival => scene.arrives_late().await,
        Trouble::Overtaken => scene.is_overtaken().await,
    }
    scene.close()
}

/// One trouble on its way through one subject.
struct Scene<'a, S: Subject> {
    subject: &'a S,
    trouble: Trouble,
    /// A connector that nothing happens to.
    calm: S::Connector,
    promises: Promises,
    call: Call,
    words: Vec<String>,
    objections: Vec<String>,
}

impl<'a, S: Subject> Scene<'a, S> {
    async fn open(subject: &'a S, trouble: Trouble) -> Self {
        let calm = subject.connector(subject.address(), PATIENT);
        let promises = subject.promises(&calm);
        let call = Call::new(trouble.name());
        subject.prepare(&call).await;
        Self {
            subject,
            trouble,
            calm,
            promises,
            call,
            words: Vec::new(),
            objections: Vec::new(),
        }
    }

    fn close(self) -> Row {
        Row {
            trouble: self.trouble,
            line: format!("{}: {}\n", self.trouble.name(), self.words.join("; ")),
            objections: self.objections,
        }
    }

    // --- the troubles ---------------------------------------------------------------------------

    /// The counterparty lets a fault strike a question, the call, and a question again.
    async fn is_struck_by(&mut self, fault: Fault, patience: Duration) {
        let subject = self.subject;
        let faulty = self.connect(subject.address(), patience).await;
        let call = self.call.clone();
        self.strike_question(&faulty, fault).await;
        self.warm_up(&faulty).await;
        let ticket = subject.disturb(Request::Act, &call, fault);
        let told = subject.act(&faulty, &call).await;
        let struck = timeout(PATIENT, ticket.wait_until_struck());
        struck.await.expect("the fault strikes the call");
        self.hear_act(&call, &told);
        self.strike_question(&faulty, fault).await;
        ticket.release();
        self.settle(&call, &told).await;
    }

    async fn finds_nobody_listening(&mut self) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        let faulty = self.connect(address, PATIENT).await;
        self.ask_and_act(&faulty).await;
    }

    async fn finds_nobody_accepting(&mut self) {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.1:0".parse().unwrap()).unwrap();
        let listener = socket.listen(1).unwrap();
        let address = listener.local_addr().unwrap();
        // Nobody accepts; Linux lets newcomers wait once the queue is full.
        let mut queue = Vec::new();
        while let Ok(connected) = timeout(IMPATIENT, TcpStream::connect(address)).await {
            queue.push(connected.unwrap());
        }
        let faulty = self.connect(address, IMPATIENT).await;
        self.ask_and_act(&faulty).await;
    }

    async fn is_answered_twice(&mut self) {
        let (call, next) = (self.call.clone(), self.call.beside("next"));
        self.subject.prepare(&next).await;
        let relay = self.relay().await;
        let through = self.connect(relay.address, PATIENT).await;
        relay.order(Order::Twice);
        let told = self.act_through(&through, &call).await;
        if self.promises.speech == Speech::Smtp {
            // The next request was the text of this very mail.
            return self.settle(&call, &told).await;
        }
        relay.order(Order::Lose);
        let told_next = self.act_through(&through, &next).await;
        self.settle(&call, &told).await;
        self.settle(&next, &told_next).await;
    }

    async fn is_answered_about_another(&mut self) {
        if !self.has_lasting_connections() {
            return;
        }
        let (call, another) = (self.call.clone(), self.call.beside("another"));
        self.subject.prepare(&another).await;
        let relay = self.relay().await;
        let through = self.connect(relay.address, PATIENT).await;
        self.succeed(&through, &another).await;
        relay.order(Order::Earlier);
        let told = self.act_through(&through, &call).await;
        if self.promises.window.is_some() {
            relay.order(Order::Earlier);
            self.ask_through(&through, &call).await;
        }
        self.settle(&call, &told).await;
    }

    async fn is_answered_to_another_key(&mut self) {
        if !self.has_lasting_connections() {
            return;
        }
        let call = self.call.clone();
        let first = Call {
            key: format!("{}-first", call.key),
            ..call.clone()
        };
        let relay = self.relay().await;
        let through = self.connect(relay.address, PATIENT).await;
        self.succeed(&through, &first).await;
        relay.order(Order::Earlier);
        let told = self.subject.act(&through, &call).await;
        let effects = self.subject.effects(&call);
        self.words.push(format!("act {told}, effects {effects}"));
        let heard = Heard {
            trouble: self.trouble,
            told: &told,
            effects,
        };
        self.object(object_to_act(heard, self.promises.speech), &told);
        let effects_max = if self.promises.is_one_by_reference {
            1
        } else {
            2
        };
        if effects > effects_max {
            self.objections.push(format!("{effects} effects"));
        }
        self.look(&call).await;
    }

    async fn is_answered_to_a_question(&mut self) {
        if self.promises.window.is_none() {
            self.words.push("nobody can be asked".to_owned());
            return;
        }
        let call = self.call.clone();
        let relay = self.relay().await;
        let through = self.connect(relay.address, PATIENT).await;
        let told = self.subject.ask(&through, &call).await;
        self.hear_truth(&call, told);
        relay.order(Order::Earlier);
        let told = self.act_through(&through, &call).await;
        self.settle(&call, &told).await;
    }

    async fn arrives_late(&mut self) {
        let call = self.call.clone();
        let (late, told) = self.send_late(&call).await;
        // What "not found" says now is believed only when the window is over.
        self.look(&call).await;
        if let Some(window) = self.promises.window {
            self.words.push(format!("within {} s", window.as_secs()));
            if window != WINDOW {
                let window = window.as_secs();
                self.objections
                    .push(format!("\"not found\" is proof after {window} s"));
            }
        }
        late.arrive().await;
        let effects = self.subject.effects(&call);
        self.words.push(format!("arrives, effects {effects}"));
        self.settle(&call, &told).await;
    }

    async fn is_overtaken(&mut self) {
        if !self.promises.is_idempotent {
            self.words.push("nothing is sent again".to_owned());
            return;
        }
        let call = self.call.clone();
        let (late, _) = self.send_late(&call).await;
        self.again(&call).await;
        late.arrive().await;
        let effects = self.subject.effects(&call);
        self.words.push(format!("arrives, effects {effects}"));
        self.count(effects);
        self.look(&call).await;
    }

    // --- their steps ----------------------------------------------------------------------------

    /// Others who run beside this one have built theirs, too, before anybody's time runs.
    async fn connect(&self, address: SocketAddr, patience: Duration) -> S::Connector {
        let connector = self.subject.connector(address, patience);
        yield_now().await;
        connector
    }

    async fn relay(&self) -> Relay {
        Relay::start(self.subject.address(), self.promises.speech).await
    }

    /// Answers go astray only where requests share a connection.
    fn has_lasting_connections(&mut self) -> bool {
        let lasts = self.promises.speech != Speech::Smtp;
        if !lasts {
            let words = "each mail has a connection of its own";
            self.words.push(words.to_owned());
        }
        lasts
    }

    /// A calm request leaves a connection to be used again, as in a busy daemon.
    async fn warm_up(&mut self, faulty: &S::Connector) {
        if self.promises.speech == Speech::Smtp {
            return;
        }
        if let Some(told) = self.subject.ask(faulty, &self.call).await {
            let effects = self.subject.effects(&self.call);
            self.object(object_to_truth(&told, effects), &told);
        } else {
            let before = self.call.beside("before");
            self.subject.prepare(&before).await;
            self.succeed(faulty, &before).await;
        }
    }

    async fn strike_question(&mut self, faulty: &S::Connector, fault: Fault) {
        if self.promises.window.is_none() {
            return;
        }
        self.warm_up(faulty).await;
        let call = self.call.clone();
        let ticket = self.subject.disturb(Request::Ask, &call, fault);
        let told = self.subject.ask(faulty, &call).await;
        let struck = timeout(PATIENT, ticket.wait_until_struck());
        struck.await.expect("the fault strikes the question");
        ticket.release();
        self.hear_ask(&call, told);
    }

    async fn ask_and_act(&mut self, faulty: &S::Connector) {
        let call = self.call.clone();
        self.ask_through(faulty, &call).await;
        let told = self.act_through(faulty, &call).await;
        self.settle(&call, &told).await;
    }

    /// Sends a request that is still on its way when the connector gives up.
    async fn send_late(&mut self, call: &Call) -> (Late, Told) {
        let relay = self.relay().await;
        let late = Late::default();
        relay.order(Order::Late(late.clone()));
        let through = self.connect(relay.address, IMPATIENT).await;
        let told = self.act_through(&through, call).await;
        (late, told)
    }

    async fn act_through(&mut self, connector: &S::Connector, call: &Call) -> Told {
        let told = self.subject.act(connector, call).await;
        self.hear_act(call, &told);
        told
    }

    async fn ask_through(&mut self, connector: &S::Connector, call: &Call) {
        let told = self.subject.ask(connector, call).await;
        self.hear_ask(call, told);
    }

    /// A call that nothing happens to.
    async fn succeed(&mut self, connector: &S::Connector, call: &Call) {
        let told = self.subject.act(connector, call).await;
        if !matches!(told, Told::Done(_)) {
            self.object(Some("a calm call does not succeed"), &told);
        }
    }

    /// After the trouble: a query tells the truth, and the same key again heals it where that is promised, or where
    /// nothing was done.
    async fn settle(&mut self, call: &Call, told: &Told) {
        self.look(call).await;
        if self.promises.is_idempotent || *told == Told::Unavailable {
            self.again(call).await;
            self.look(call).await;
        } else {
            self.words.push("nothing is sent again".to_owned());
            self.count(self.subject.effects(call));
        }
    }

    /// Asks, and holds the answer against the books.
    async fn look(&mut self, call: &Call) {
        let told = self.subject.ask(&self.calm, call).await;
        self.hear_truth(call, told);
    }

    /// The same key again.
    async fn again(&mut self, call: &Call) {
        let told = self.subject.act(&self.calm, call).await;
        let effects = self.subject.effects(call);
        self.words.push(format!("again {told}, effects {effects}"));
        if !matches!(told, Told::Done(_)) {
            self.object(Some("the same key does not heal it"), &told);
        }
        self.count(effects);
    }

    fn hear_truth(&mut self, call: &Call, told: Option<Told>) {
        if let Some(told) = told {
            self.words.push(format!("stands {told}"));
            let effects = self.subject.effects(call);
            self.object(object_to_truth(&told, effects), &told);
        }
    }

    fn hear_act(&mut self, call: &Call, told: &Told) {
        let effects = self.subject.effects(call);
        self.words.push(format!("act {told}, effects {effects}"));
        let heard = Heard {
            trouble: self.trouble,
            told,
            effects,
        };
        self.object(object_to_act(heard, self.promises.speech), told);
        self.count(effects);
    }

    fn hear_ask(&mut self, call: &Call, told: Option<Told>) {
        if let Some(told) = told {
            self.words.push(format!("ask {told}"));
            let heard = Heard {
                trouble: self.trouble,
                told: &told,
                effects: self.subject.effects(call),
            };
            self.object(object_to_ask(heard, self.promises.speech), &told);
        }
    }

    fn count(&mut self, effects: usize) {
        if effects > 1 {
            let trouble = self.trouble.name();
            self.objections
                .push(format!("{trouble}: {effects} effects of one call"));
        }
    }

    fn object(&mut self, objection: Option<&str>, told: &Told) {
        if let Some(objection) = objection {
            let trouble = self.trouble.name();
            self.objections
                .push(format!("{trouble}: {told}: {objection}"));
        }
    }
}
