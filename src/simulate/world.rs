//! What people and systems outside do: buyers pay, people sign, the channel and the bank write statements.
//!
//! All of it happens to the sandbox's books and by the ways in that people have; nothing of it goes wrong by itself.

use std::collections::BTreeSet;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use clearday_jobs::{JobKind, MerchantId, Money, Reference};
use serde_json::json;

use super::SimulateError;
use super::bill::{Trade, bill, trades};
use super::house::{BANK, CHANNEL, House};
use crate::config::Role;
use crate::domain::approval::ApprovalState;
use crate::domain::china::{CHINA_STANDARD_TIME, china_day};
use crate::domain::import::orders::{OrderRow, ToldOrder};
use crate::domain::import::records::RecordRow;
use crate::domain::record::{Record, RecordKind, RecordStatus};
use crate::engine::{Engine, ImportError, Signer};
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
    /// Upstream wants nothing of an order any more.
    Withdraw(Box<ToldOrder>),
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
    /// Whose money it is, by the beginning of the channel's order number.
    pub(super) owners: Vec<(String, MerchantId)>,
    /// Sales that we are still to be told of.
    untold: Vec<Record>,
    /// Trades that upstream told under numbers of its own.
    retold: BTreeSet<String>,
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
                self.tell_again(house)?;
                let rows = std::mem::take(&mut self.untold);
                let rows = rows.into_iter().zip(2..);
                let rows = rows.map(|(record, line)| RecordRow { line, record });
                let told = door.import_records(rows.collect()).await;
                told.map_err(SimulateError::set_up)?;
                Ok(None)
            }
            Event::Withdraw(told) => {
                let row = OrderRow {
                    line: 2,
                    told: (**told).clone(),
                    reference: None,
                };
                match door.import_orders(&[row]).await {
                    // Refused where it is paid or expired by then.
                    Ok(_) | Err(ImportError::Refused(_)) => Ok(None),
                    Err(error) => Err(SimulateError::set_up(error)),
                }
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
        let trade = Trade {
            at: paid.status_since,
            channel_no: paid.channel_trade_no,
            order_no: reference.to_string(),
            amount,
        };
        self.untold
            .push(record_of(&trade, reference.clone(), merchant_id)?);
        Ok(())
    }

    /// Upstream tells some of the payments that we find ourselves, too, and under numbers of its own: the channel's
    /// number says that it is the same money.
    fn tell_again(&mut self, house: &House) -> Result<(), SimulateError> {
        for trade in trades(&house.sandbox) {
            let is_told = trade.channel_no.ends_with(['0', '3', '6', '9']);
            let owner = self
                .owners
                .iter()
                .find(|(beginning, _)| trade.order_no.starts_with(beginning.as_str()));
            if let Some((_, merchant_id)) = owner.filter(|_| is_told)
                && self.retold.insert(trade.channel_no.clone())
            {
                let own = format!("U-{}", trade.channel_no).parse();
                let own = own.map_err(SimulateError::set_up)?;
                self.untold.push(record_of(&trade, own, merchant_id)?);
            }
        }
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

/// Our record of a trade.
fn record_of(
    trade: &Trade,
    record_no: Reference,
    merchant_id: &MerchantId,
) -> Result<Record, SimulateError> {
    let trade_no = trade.channel_no.parse();
    Ok(Record {
        record_no,
        kind: RecordKind::Payment,
        channel: CHANNEL.parse().map_err(SimulateError::set_up)?,
        channel_trade_no: Some(trade_no.map_err(SimulateError::set_up)?),
        merchant_id: merchant_id.clone(),
        amount: trade.amount,
        fee: Money::from_minor(0, trade.amount.currency()),
        status: RecordStatus::Succeeded,
        occurred_at: trade.at.with_timezone(&CHINA_STANDARD_TIME),
        original_record_no: None,
        coupon: None,
    })
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
