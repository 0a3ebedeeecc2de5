//! The sandbox as the process that runs it holds it: the operator's, the buyer's and the test's side door.
//!
//! Every lock is held for one step of memory and never across an await.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, NaiveDate, Utc};
use clearday_jobs::{Money, Reference};

use super::bank_books::{BankBooks, BankEntry, BankRefusal, NewEntry, Payout, PayoutRequest};
use super::bank_statement::camt053;
use super::books::{Books, Closing, Effect, Payment, Refusal};
use super::faults::{Fault, FaultTicket, Faults, Operation};
use super::hold_books::{Hold, HoldBooks, HoldRefusal, HoldRequest};
use crate::connectors::Now;

/// A sandbox; clones are the same one.
#[derive(Clone)]
pub struct SandboxHandle(Arc<Sandbox>);

struct Sandbox {
    books: Mutex<Books>,
    holds: Mutex<HoldBooks>,
    bank: Mutex<BankBooks>,
    faults: Mutex<Faults>,
    now: Now,
}

impl SandboxHandle {
    /// A sandbox with empty books, which nobody can reach before [`super::serve`] runs.
    pub fn new(now: Now) -> Self {
        Self(Arc::new(Sandbox {
            books: Mutex::default(),
            holds: Mutex::default(),
            bank: Mutex::default(),
            faults: Mutex::default(),
            now,
        }))
    }

    /// Creates a payment for the buyer to pay.
    pub fn create(&self, reference: &Reference, amount: Money) -> Result<Payment, Refusal> {
        let now = self.now();
        self.lock_books().create(reference, amount, now)
    }

    /// The buyer pays.
    pub fn pay(&self, reference: &Reference) -> Result<Payment, Refusal> {
        let now = self.now();
        self.lock_books().pay(reference, now)
    }

    /// Everything the sandbox knows, as it stands now.
    pub fn books(&self) -> Books {
        self.lock_books().clone()
    }

    /// Every effect since the sandbox began, in the order they happened.
    pub fn effects(&self) -> Vec<Effect> {
        self.lock_books().effects().to_vec()
    }

    /// Lets something go wrong, once, with the next such request.
    pub fn queue_fault(
        &self,
        operation: Operation,
        reference: &Reference,
        fault: Fault,
    ) -> FaultTicket {
        lock(&self.0.faults).queue(operation, reference.clone(), fault)
    }

    /// Everything is well again: what was to go wrong, and has not yet, does not.
    pub fn clear_faults(&self) {
        lock(&self.0.faults).clear();
    }

    /// Everything the sandbox knows of authorizations, as it stands now.
    pub fn hold_books(&self) -> HoldBooks {
        self.lock_holds().clone()
    }

    /// The shop takes money that is held.
    pub fn capture(&self, reference: &Reference) -> Result<Hold, HoldRefusal> {
        let now = self.now();
        self.lock_holds().capture(reference, now)
    }

    /// The time of an authorization is over.
    pub fn lapse(&self, reference: &Reference) -> Result<Hold, HoldRefusal> {
        let now = self.now();
        self.lock_holds().lapse(reference, now)
    }

    /// The bank forgets everything and opens our account with this much.
    pub fn open_bank(&self, opening: Money) {
        *self.lock_bank() = BankBooks::opened_with(opening);
    }

    /// Everything the bank knows, as it stands now.
    pub fn bank_books(&self) -> BankBooks {
        self.lock_bank().clone()
    }

    /// The end of the bank's day: everything that was accepted is paid or rejected.
    pub fn book_day(&self, date: NaiveDate) -> Result<Vec<Payout>, BankRefusal> {
        let now = self.now();
        self.lock_bank().book_day(date, now)
    }

    /// The payee's bank sends the money back.
    pub fn return_payout(
        &self,
        end_to_end_id: &Reference,
        date: NaiveDate,
        reason: &str,
    ) -> Result<Payout, BankRefusal> {
        let now = self.now();
        self.lock_bank()
            .return_payout(end_to_end_id, date, reason, now)
    }

    /// Somebody pays from our account at the bank's counter.
    pub fn bank_debit(&self, entry: NewEntry<'_>) -> Result<BankEntry, BankRefusal> {
        let now = self.now();
        self.lock_bank().debit(entry, now)
    }

    /// Money comes in: a channel deposits what it owes, or anybody pays.
    pub fn bank_deposit(&self, entry: NewEntry<'_>) -> Result<BankEntry, BankRefusal> {
        let now = self.now();
        self.lock_bank().deposit(entry, now)
    }

    /// The bank's statement of a day, as camt.053.001.08. The same day is the same text, until more is booked on it.
    pub fn statement(&self, date: NaiveDate) -> Result<String, BankRefusal> {
        Ok(camt053(&self.lock_bank().day(date)?))
    }

    pub(super) fn pay_out(
        &self,
        request: &PayoutRequest,
        idempotency_key: &str,
    ) -> Result<Payout, BankRefusal> {
        let now = self.now();
        self.lock_bank().pay_out(request, idempotency_key, now)
    }

    pub(super) fn query_payout(&self, end_to_end_id: &Reference) -> Result<Payout, BankRefusal> {
        let bank = self.lock_bank();
        bank.find(end_to_end_id)
            .cloned()
            .ok_or(BankRefusal::PayoutNotFound)
    }

    pub(super) fn authorize(
        &self,
        request: &HoldRequest,
        idempotency_key: &str,
    ) -> Result<Hold, HoldRefusal> {
        let now = self.now();
        self.lock_holds().authorize(request, idempotency_key, now)
    }

    pub(super) fn query_authorization(&self, reference: &Reference) -> Result<Hold, HoldRefusal> {
        let holds = self.lock_holds();
        holds.find(reference).cloned().ok_or(HoldRefusal::NotFound)
    }

    pub(super) fn void(
        &self,
        reference: &Reference,
        keep: Money,
        idempotency_key: &str,
    ) -> Result<Hold, HoldRefusal> {
        let now = self.now();
        self.lock_holds()
            .void(reference, keep, idempotency_key, now)
    }

    pub(super) fn close(
        &self,
        reference: &Reference,
        idempotency_key: &str,
    ) -> Result<Closing, Refusal> {
        let now = self.now();
        self.lock_books().close(reference, idempotency_key, now)
    }

    pub(super) fn query(&self, reference: &Reference) -> Result<Payment, Refusal> {
        let books = self.lock_books();
        books
            .find(reference)
            .cloned()
            .ok_or(Refusal::PaymentNotFound)
    }

    pub(super) fn take_fault(
        &self,
        operation: Operation,
        reference: &Reference,
    ) -> Option<(Fault, FaultTicket)> {
        lock(&self.0.faults).take(operation, reference)
    }

    pub(super) fn find_fault(&self, id: u64) -> Option<FaultTicket> {
        lock(&self.0.faults).find(id)
    }

    fn lock_books(&self) -> MutexGuard<'_, Books> {
        lock(&self.0.books)
    }

    fn lock_holds(&self) -> MutexGuard<'_, HoldBooks> {
        lock(&self.0.holds)
    }

    fn lock_bank(&self) -> MutexGuard<'_, BankBooks> {
        lock(&self.0.bank)
    }

    fn now(&self) -> DateTime<Utc> {
        (self.0.now)()
    }
}

impl fmt::Debug for SandboxHandle {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("SandboxHandle")
            .finish_non_exhaustive()
    }
}

/// A poisoned lock is taken all the same: no step in here stops half-way.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
