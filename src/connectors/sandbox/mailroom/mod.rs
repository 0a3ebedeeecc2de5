//! The sandbox's mailroom: telephones, mailboxes and endpoints that remember what arrived.
//!
//! An SMS gateway and webhook endpoints behind HTTP, and a mail server behind SMTP, all on loopback
//! and with books of their own. A test or the demo that asks how often somebody was told asks here.

mod books;
mod doors;
mod smtp;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use clearday_jobs::Reference;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub(super) use doors::routes;

pub use books::{ReceivedMail, ReceivedSms, ReceivedWebhook};

use super::faults::{Fault, FaultTicket, Faults, Operation};
use super::server::ServeError;
use crate::connectors::Now;
use crate::connectors::messages::SigningKeys;
use books::MailBooks;

/// A mailroom; clones are the same one.
#[derive(Clone)]
pub struct MailroomHandle(Arc<Mailroom>);

struct Mailroom {
    books: Mutex<MailBooks>,
    faults: Mutex<Faults>,
    rules: Mutex<Rules>,
    now: Now,
}

/// What an operator or a test arranged.
#[derive(Default)]
struct Rules {
    /// What an endpoint verifies with.
    keys: BTreeMap<String, SigningKeys>,
    /// Endpoints that want nothing more.
    retired: BTreeSet<String>,
    /// Numbers and mail addresses that do not exist.
    refused: BTreeSet<String>,
}

impl MailroomHandle {
    /// A mailroom where nothing has arrived, which nobody can reach before [`serve`] runs.
    pub fn new(now: Now) -> Self {
        Self(Arc::new(Mailroom {
            books: Mutex::default(),
            faults: Mutex::default(),
            rules: Mutex::default(),
            now,
        }))
    }

    /// The messages that telephones got, each once however often it was handed over.
    pub fn sms(&self) -> Vec<ReceivedSms> {
        lock(&self.0.books).sms().cloned().collect()
    }

    /// The mails that were taken, in the order they came.
    pub fn mails(&self) -> Vec<ReceivedMail> {
        lock(&self.0.books).mails.clone()
    }

    /// Every call of an endpoint, in the order they came.
    pub fn webhooks(&self) -> Vec<ReceivedWebhook> {
        lock(&self.0.books).webhooks.clone()
    }

    /// What an endpoint verifies with from now on.
    pub fn trust(&self, endpoint: &str, keys: SigningKeys) {
        self.rules().keys.insert(endpoint.to_owned(), keys);
    }

    /// The endpoint answers 410 from now on.
    pub fn retire(&self, endpoint: &str) {
        self.rules().retired.insert(endpoint.to_owned());
    }

    /// No such number or mailbox exists from now on.
    pub fn refuse(&self, address: &str) {
        self.rules().refused.insert(address.to_owned());
    }

    /// Lets something go wrong, once, with the next such message to this number, mail address or endpoint.
    pub fn queue_fault(
        &self,
        operation: Operation,
        address: &Reference,
        fault: Fault,
    ) -> FaultTicket {
        lock(&self.0.faults).queue(operation, address.clone(), fault)
    }

    fn take_fault(&self, operation: Operation, address: &str) -> Option<(Fault, FaultTicket)> {
        let address = Reference::new(address).ok()?;
        lock(&self.0.faults).take(operation, &address)
    }

    fn rules(&self) -> MutexGuard<'_, Rules> {
        lock(&self.0.rules)
    }

    fn is_refused(&self, address: &str) -> bool {
        self.rules().refused.contains(address)
    }

    fn books(&self) -> MutexGuard<'_, MailBooks> {
        lock(&self.0.books)
    }

    fn now(&self) -> chrono::DateTime<chrono::Utc> {
        (self.0.now)()
    }
}

impl fmt::Debug for MailroomHandle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("MailroomHandle")
            .finish_non_exhaustive()
    }
}

/// A poisoned lock is taken all the same: no step in here stops half-way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Serves the gateway and the endpoints on one listener and mail on the other, until `stop`.
pub async fn serve(
    http: TcpListener,
    smtp: TcpListener,
    mailroom: MailroomHandle,
    stop: CancellationToken,
) -> Result<(), ServeError> {
    for listener in [&http, &smtp] {
        let address = listener.local_addr()?;
        if !address.ip().is_loopback() {
            return Err(ServeError::NotLoopback(address));
        }
    }
    let mail = smtp::serve(smtp, mailroom.clone(), stop.clone());
    let (doors, ()) = tokio::join!(doors::serve(http, mailroom, stop), mail);
    doors?;
    Ok(())
}
