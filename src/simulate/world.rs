//! What people and systems outside do: buyers pay, people sign, the channel and the bank write statements.
//!
//! All of it happens to the sandbox's books and by the ways in that people have; nothing of it goes wrong by itself.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use clearday_jobs::{JobKind, MerchantId, Money, Reference};
use serde_json::json;

use super::SimulateError;
use super::bill::bill;
use super::house::{BANK, CHANNEL, House};
use crate::config::Role;
use crate::domain::approval::ApprovalState;
use crate::domain::china::{CHINA_STANDARD_TIME, china_day};
use crate::domain::import::records::RecordRow;
use crate::domain::record::{Record, RecordKind, RecordStatus};
use crate::engine::{Engine, Signer};
use crate::store::approvals::{self, ApprovalFilter};

/// More than ever wait for people.
const APPROVALS_MAX: usize = 1_000;

/// What upstream asks for, under a key of its own, until it is acknowledged.
#[derive(Clone, Debug)]
pub(super) struct Wanted {
    pub(super) kind: JobKind,
    pub(super) key: String,
    pub(super) payload: String,
}

/// Something that happens outside.
#[derive(Clone, Debug)]
pub(super) enum Event {
    /// Upstream asks for a job for the first time.
    Ask(usize),
    /// A buyer pays.
    Pay(Reference),
    /// A shop sells something, and the channel takes the money at once.
    Sale {
        reference: Reference,
        merchant_id: MerchantId,
        amount: Money,
    },
    /// Upstream tells us of the sales so far.
    TellSales,
    /// The channel writes its bill of a day.
    Bill(NaiveDate),
    /// Two people sign whatever waits for them.
    Sign,
    /// The bank pays what it was told to, and upstream asks to reconcile its statement of the day.
    BankDay(NaiveDate),
}

/// What the outside remembers.
#[derive(Debug, Default)]
pub(super) struct World {
    /// Everything upstream ever asked for.
    pub(super) wanted: Vec<Wanted>,
    /// Whose acknowledgement upstream has.
    pub(super) acknowledged: Vec<bool>,
    /// Sales that we are still to be told of.
    untold: Vec<Record>,
}

impl World {
    pub(super) fn want(&mut self, wanted: Wanted) -> usize {
        self.wanted.push(wanted);
        self.acknowledged.push(false);
        self.wanted.len().saturating_sub(1)
    }

    pub(super) fn is_acknowledged(&self, number: usize) -> bool {
        self.acknowledged.get(number).copied().unwrap_or(true)
    }

    /// Lets something happen; returns what upstream asks for because of it.
    pub(super) async fn happen(
        &mut self,
        house: &House,
        door: &Engine,
        event: &Event,
    ) -> Result<Option<usize>, SimulateError> {
        match event {
            Event::Ask(number) => Ok(Some(*number)),
            Event::Pay(reference) => {
                // Refused where it is closed by then: the buyer came too late.
                house.sandbox.pay(reference).ok();
                Ok(None)
            }
            Event::Sale {
                reference,
                merchant_id,
                amount,
            } => {
                self.sell(house, reference, merchant_id, *amount)?;
                Ok(None)
            }
            Event::TellSales => {
                let rows = std::mem::take(&mut self.untold);
                let rows = rows.into_iter().zip(2..);
                let rows = rows.map(|(record, line)| RecordRow { line, record });
                let told = door.import_records(rows.collect()).await;
                told.map_err(SimulateError::set_up)?;
                Ok(None)
            }
            Event::Bill(day) => {
                let content = bill(&house.sandbox, *day);
                house.folder.put(&bill_name(*day), &content)?;
                Ok(None)
            }
            Event::Sign => {
                sign_all(door).await?;
                Ok(None)
            }
            Event::BankDay(day) => self.end_bank_day(house, *day),
        }
    }

    fn sell(
        &mut self,
        house: &House,
        reference: &Reference,
        merchant_id: &MerchantId,
        amount: Money,
    ) -> Result<(), SimulateError> {
        let sandbox = &house.sandbox;
        sandbox
            .create(reference, amount)
            .map_err(SimulateError::set_up)?;
        let paid = sandbox.pay(reference).map_err(SimulateError::set_up)?;
        let trade_no = paid.channel_trade_no.parse();
        self.untold.push(Record {
            record_no: reference.clone(),
            kind: RecordKind::Payment,
            channel: CHANNEL.parse().map_err(SimulateError::set_up)?,
            channel_trade_no: Some(trade_no.map_err(SimulateError::set_up)?),
            merchant_id: merchant_id.clone(),
            amount,
            fee: Money::from_minor(0, amount.currency()),
            status: RecordStatus::Succeeded,
            occurred_at: paid.status_since.with_timezone(&CHINA_STANDARD_TIME),
            original_record_no: None,
            coupon: None,
        });
        Ok(())
    }

    fn end_bank_day(
        &mut self,
        house: &House,
        day: NaiveDate,
    ) -> Result<Option<usize>, SimulateError> {
        let sandbox = &house.sandbox;
        sandbox.book_day(day).map_err(SimulateError::set_up)?;
        let books = sandbox.bank_books();
        let is_empty = books.day(day).is_ok_and(|day| day.entries.is_empty());
        if is_empty {
            return Ok(None);
        }
        let name = format!("bank.{day}.xml");
        let statement = sandbox.statement(day).map_err(SimulateError::set_up)?;
        house.folder.put(&name, &statement)?;
        let payload = json!({"version": 1, "channel": BANK, "statements": [name]});
        Ok(Some(self.want(Wanted {
            kind: JobKind::Reconciliation,
            key: format!("bank {day}"),
            payload: payload.to_string(),
        })))
    }
}

/// The name of the channel's bill of a day.
pub(super) fn bill_name(day: NaiveDate) -> String {
    format!("bill.{day}.csv")
}

/// Two people sign everything that waits.
async fn sign_all(door: &Engine) -> Result<(), SimulateError> {
    let filter = ApprovalFilter {
        state: Some(ApprovalState::Requested),
        ..ApprovalFilter::default()
    };
    let mut tx = door.store().read().await?;
    let waiting = approvals::list(&mut tx, filter, APPROVALS_MAX).await?;
    drop(tx);
    for approval in waiting {
        for name in ["li", "wang"] {
            let signer = Signer {
                name,
                role: Role::Approver,
            };
            // Refused where it was superseded meanwhile, or this person signed before.
            door.sign(approval.id, signer, None).await.ok();
        }
    }
    Ok(())
}

/// An instant on the wall clock of China.
pub(super) fn at(day: NaiveDate, hour: i64, minute: i64) -> DateTime<Utc> {
    let midnight = day
        .and_time(chrono::NaiveTime::MIN)
        .and_local_timezone(CHINA_STANDARD_TIME);
    let midnight = midnight.earliest().unwrap_or_default();
    midnight.to_utc() + TimeDelta::hours(hour) + TimeDelta::minutes(minute)
}

/// The day in China.
pub(super) fn day_of(instant: DateTime<Utc>) -> NaiveDate {
    china_day(&instant)
}
