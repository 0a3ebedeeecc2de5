//! A settlement as it stands in the database, with everything a decision about it needs.

use chrono::{DateTime, NaiveDate, Utc};
use clearday_jobs::{
    ApprovalId, ChannelName, Currency, JobId, MerchantId, Money, OfflinePaymentId, Reference,
    SettlementId,
};

use super::collect::Amounts;
use super::{ClaimState, InstructionState, PartState, SettlementState};
use crate::domain::operation::Operation;

/// What a merchant is owed for a period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settlement {
    /// Its id.
    pub id: SettlementId,
    /// Who is owed.
    pub merchant_id: MerchantId,
    /// In what.
    pub currency: Currency,
    /// Its number among the settlements of the merchant; 1 is the first.
    pub sequence_no: u32,
    /// The first day it covers.
    pub period_from: NaiveDate,
    /// The first day it does not cover any more.
    pub period_until: NaiveDate,
    /// Where it is.
    pub state: SettlementState,
    /// The day on which it is paid; none in a year that the calendar does not know yet.
    pub due_on: Option<NaiveDate>,
    /// The calendar that gave the day.
    pub calendar: String,
    /// And its version.
    pub calendar_version: String,
    /// How many payments and refunds it settles.
    pub items_count: u64,
    /// What it comes to.
    pub amounts: Amounts,
    /// SHA-256 over what it says and all its items.
    pub digest: String,
    /// What allowed it to be paid.
    pub approval_id: Option<ApprovalId>,
    /// The job in charge of it.
    pub job_id: JobId,
    /// Counts the changes, those of its parts included.
    pub version: i64,
    /// When it was collected.
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
    /// How it is paid, by number; none when nothing is payable.
    pub parts: Vec<Part>,
}

/// One part of the net.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Part {
    /// Its number; 1 is the first.
    pub part_no: u32,
    /// How much.
    pub amount: Money,
    /// Where it is.
    pub state: PartState,
    /// Why, for people.
    pub reason: String,
    /// When that changed.
    pub updated_at: DateTime<Utc>,
    /// Every instruction about it, the oldest first.
    pub instructions: Vec<Instruction>,
    /// Every claim that it was paid outside of clearday, the oldest first.
    pub claims: Vec<Claim>,
}

/// What a bank was told.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Instruction {
    /// Its number among the instructions of the part; 1 is the first.
    pub generation: u32,
    /// Carried to the payee and back on the statement.
    pub end_to_end_id: Reference,
    /// The call that carried it.
    pub operation: Operation,
    /// What allowed it.
    pub approval_id: ApprovalId,
    /// Who was told.
    pub bank: ChannelName,
    /// The account that is paid.
    pub payee_account_no: String,
    /// By name.
    pub payee_name: String,
    /// What the payee reads beside the amount.
    pub remittance: String,
    /// What is known of it.
    pub state: InstructionState,
    /// The day on which its debit was booked, as the statement shows.
    pub debited_on: Option<NaiveDate>,
    /// The bank's number of that line.
    pub debit_no: Option<String>,
    /// When its call last failed before anything left; none once it may have left.
    pub unsent_at: Option<DateTime<Utc>>,
    /// When it was written down.
    pub created_at: DateTime<Utc>,
    /// When the bank last said something about it.
    pub updated_at: DateTime<Utc>,
}

/// A claim that a part was paid outside of clearday.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Its id.
    pub id: OfflinePaymentId,
    /// How much; what the part is.
    pub amount: Money,
    /// The bank that is said to have paid it.
    pub bank: ChannelName,
    /// The day on which it is said to have been paid.
    pub paid_on: NaiveDate,
    /// The bank's number of it.
    pub bank_reference: String,
    /// SHA-256 of the proof (回单).
    pub proof_sha256: String,
    /// Who says so.
    pub registered_by: String,
    /// Where a second person is asked.
    pub approval_id: ApprovalId,
    /// Where it is.
    pub state: ClaimState,
    /// The day on which its debit was booked, as the statement shows.
    pub debited_on: Option<NaiveDate>,
    /// The bank's number of that line.
    pub debit_no: Option<String>,
    /// When it was registered.
    pub registered_at: DateTime<Utc>,
}

/// The line of a statement that a debit is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct DebitLine<'a> {
    /// The day on which it was booked.
    pub booked_on: NaiveDate,
    /// The bank's number of it.
    pub number: &'a str,
}

/// A payment of a part that came second: booked against the merchant, and what pays the part should the first one die.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecondPayment<'a> {
    /// Taken for dead, and on the statement when the part was paid otherwise, or about to be.
    Instruction(&'a Instruction),
    /// It gave way, and its debit is on the statement.
    Claim(&'a Claim),
}

impl Settlement {
    /// The part of this number.
    pub fn part(&self, part_no: u32) -> Option<&Part> {
        self.parts.iter().find(|part| part.part_no == part_no)
    }

    /// Whether the merchant has the money of every part.
    pub fn is_paid_in_full(&self) -> bool {
        !self.parts.is_empty() && self.parts.iter().all(|part| part.state.is_paid())
    }

    /// The last day it covers.
    pub fn period_last(&self) -> NaiveDate {
        self.period_until.pred_opt().unwrap_or(self.period_until)
    }
}

impl Claim {
    /// The bank's number of the line that shows its debit; before that, the number it was registered under.
    pub fn debit_number(&self) -> &str {
        self.debit_no.as_deref().unwrap_or(&self.bank_reference)
    }
}

impl Part {
    /// The claim that waits for its decision, if there is one.
    pub fn open_claim(&self) -> Option<&Claim> {
        self.claims.iter().find(|claim| claim.state.is_open())
    }

    /// The second payment that stands, if there is one; the bank's own goes before what people say.
    pub fn second_payment(&self) -> Option<SecondPayment<'_>> {
        let mut instructions = self.instructions.iter();
        let paid_late = instructions
            .find(|it| it.state == InstructionState::Rejected && it.debited_on.is_some());
        let mut claims = self.claims.iter();
        let gave_way = claims.find(|it| it.state == ClaimState::Surplus && it.debited_on.is_some());
        paid_late
            .map(SecondPayment::Instruction)
            .or(gave_way.map(SecondPayment::Claim))
    }

    /// The instruction whose money came back last.
    pub fn last_returned(&self) -> Option<&Instruction> {
        self.instructions
            .iter()
            .filter(|it| it.state == InstructionState::Returned)
            .max_by_key(|it| (it.updated_at, it.generation))
    }

    /// The newest instruction about it.
    pub fn instruction(&self) -> Option<&Instruction> {
        self.instructions.last()
    }

    /// The number of the next instruction.
    pub fn next_generation(&self) -> u32 {
        let last = self.instruction().map_or(0, |it| it.generation);
        last.saturating_add(1)
    }
}
