//! Collects what a merchant is owed into a settlement: items, amounts, postings and parts in one transaction.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use chrono::{DateTime, NaiveDate, Utc};
use clearday_jobs::{Money, Reference, SettlementId};
use tracing::info;

use super::moves::{book, lost, on};
use crate::domain::calendar::Calendar;
use crate::domain::china::china_day;
use crate::domain::ledger::{Booking, events};
use crate::domain::merchant::{
    CouponRule, FundsFlow, Merchant, SettleBasis, accounting_day, ends_at,
};
use crate::domain::record::RecordKind;
use crate::domain::settlement_run::collect::{
    Books, Candidate, CollectError, Draft, Original, Plan, Previous, Withheld, plan,
};
use crate::engine::{Run, RunTx, WorkError};
use crate::store::settlements::{self, NewSettlement};
use crate::store::{StoreError, Tx, settlement_items};

/// So many withheld items are named in a history or a note; the others are counted.
const NAMED_MAX: usize = 10;
/// More periods than anybody settles at once.
const DRAFTS_MAX: usize = 1_000;

/// Whose business is collected, and how far.
#[derive(Clone, Copy, Debug)]
pub struct Scope<'a> {
    /// Whose.
    pub merchant: &'a Merchant,
    /// The last day that is settled.
    pub through: NaiveDate,
    /// Now.
    pub now: DateTime<Utc>,
    /// The most that the merchant's bank pays at once.
    pub ceiling: Option<Money>,
}

/// Why nothing can be planned.
#[derive(Debug, thiserror::Error)]
pub enum PlanError {
    /// Nobody knows which days are business days there.
    #[error(
        "merchant {merchant} counts business days of {calendar}, for which there is no calendar"
    )]
    Calendar {
        /// Whose.
        merchant: String,
        /// The country.
        calendar: String,
    },
    /// Amounts that do not fit or do not belong together.
    #[error("the business of merchant {merchant} cannot be settled: {source}")]
    Collect {
        /// Whose.
        merchant: String,
        /// Why.
        source: CollectError,
    },
    /// The database refused or did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<PlanError> for WorkError {
    fn from(error: PlanError) -> Self {
        match error {
            PlanError::Store(source) => Self::Store(source),
            PlanError::Calendar { .. } | PlanError::Collect { .. } => {
                Self::Invalid(error.to_string())
            }
        }
    }
}

/// What would be settled now, without writing anything: every settlement up to the end of the scope. What is not booked
/// yet is taken as it will be.
///
/// # Errors
/// [`PlanError`].
pub async fn preview(
    tx: &mut Tx,
    scope: Scope<'_>,
) -> Result<(Vec<Draft>, Vec<Withheld>), PlanError> {
    let mut business = load(tx, scope).await?;
    for candidate in &mut business.candidates {
        candidate.booking = candidate.booking.or(Some(foreseen(scope.merchant)));
    }
    for original in business.originals.values_mut() {
        original.booking = original.booking.or(Some(foreseen(scope.merchant)));
    }
    let mut drafts: Vec<Draft> = Vec::new();
    loop {
        let planned = business.plan(scope)?;
        let Some(draft) = planned.draft.filter(|_| drafts.len() < DRAFTS_MAX) else {
            return Ok((drafts, planned.withheld));
        };
        business.take(&draft);
        drafts.push(draft);
    }
}

/// How a record of the merchant will be booked.
const fn foreseen(merchant: &Merchant) -> Booking {
    match (merchant.funds_flow, merchant.coupons) {
        (FundsFlow::Direct, _) => Booking::Direct,
        (FundsFlow::Collected, CouponRule::ByFunder) => Booking::ByFunder,
        (FundsFlow::Collected, CouponRule::Excluded) => Booking::CouponExcluded,
    }
}

/// Everything a plan is made from.
struct Business {
    calendar: Calendar,
    previous: Option<Previous>,
    candidates: Vec<Candidate>,
    originals: HashMap<Reference, Original>,
}

impl Business {
    fn plan(&self, scope: Scope<'_>) -> Result<Plan, PlanError> {
        let books = Books {
            merchant: scope.merchant,
            calendar: &self.calendar,
            previous: self.previous,
            candidates: &self.candidates,
            originals: &self.originals,
            through: scope.through,
            today: scope.now.with_timezone(&scope.merchant.zone).date_naive(),
            ceiling: scope.ceiling,
        };
        plan(&books).map_err(|source| PlanError::Collect {
            merchant: scope.merchant.merchant_id.to_string(),
            source,
        })
    }

    /// Takes it that a draft was written down.
    fn take(&mut self, draft: &Draft) {
        let settled: BTreeSet<(RecordKind, &Reference)> = draft
            .items
            .iter()
            .map(|item| (item.kind, &item.record_no))
            .collect();
        self.candidates
            .retain(|it| !settled.contains(&(it.record.kind, &it.record.record_no)));
        for item in &draft.items {
            let number = match item.kind {
                RecordKind::Payment => Some(&item.record_no),
                RecordKind::Refund => item.original.as_ref(),
            };
            let Some(original) = number.and_then(|number| self.originals.get_mut(number)) else {
                continue;
            };
            match item.kind {
                RecordKind::Payment => original.settled = Some((item.credit, item.merchant_fee)),
                RecordKind::Refund => {
                    let before = original.refunded_before.checked_sub(item.credit);
                    original.refunded_before = before.unwrap_or(original.refunded_before);
                    let before = original.given_back_before.checked_sub(item.merchant_fee);
                    original.given_back_before = before.unwrap_or(original.given_back_before);
                }
            }
        }
        self.previous = Some(Previous {
            sequence_no: draft.sequence_no,
            period_until: draft.period.until,
            state: draft.state,
            net: draft.amounts.net,
        });
    }
}

async fn load(tx: &mut Tx, scope: Scope<'_>) -> Result<Business, PlanError> {
    let merchant = scope.merchant;
    let calendar = Calendar::find(&merchant.calendar).ok_or_else(|| PlanError::Calendar {
        merchant: merchant.merchant_id.to_string(),
        calendar: merchant.calendar.clone(),
    })?;
    let (id, currency) = (&merchant.merchant_id, merchant.currency);
    let previous = settlements::latest(tx, id, currency).await?;
    let until = ends_at(merchant, scope.through).unwrap_or(scope.now);
    let mut candidates = settlement_items::candidates(tx, id, currency, until).await?;
    if merchant.settle_basis == SettleBasis::Funded {
        mark_funded(tx, merchant, &mut candidates).await?;
    }
    let mut numbers: Vec<&Reference> = candidates
        .iter()
        .filter_map(|it| it.record.original_record_no.as_ref())
        .collect();
    numbers.sort_unstable();
    numbers.dedup();
    let originals = settlement_items::originals(tx, currency, &numbers).await?;
    Ok(Business {
        calendar,
        previous,
        candidates,
        originals,
    })
}

/// A channel hands over the money of the days before the one on which it pays.
async fn mark_funded(
    tx: &mut Tx,
    merchant: &Merchant,
    candidates: &mut [Candidate],
) -> Result<(), PlanError> {
    let mut paid_until: BTreeMap<_, Option<NaiveDate>> = BTreeMap::new();
    for candidate in candidates {
        let channel = &candidate.record.channel;
        if !paid_until.contains_key(channel) {
            let last = settlement_items::last_deposit(tx, channel).await?;
            paid_until.insert(channel.clone(), last);
        }
        let day = accounting_day(merchant, candidate.record.occurred_at.to_utc());
        let last = paid_until.get(channel).copied().flatten();
        candidate.is_funded = last.is_some_and(|last| day < last);
    }
    Ok(())
}

/// What became of one look at what is to be collected.
pub(super) enum Collected {
    /// A settlement was written down; there may be another one.
    One,
    /// Nothing is left that may be collected; what was passed over, for people.
    Nothing(Option<String>),
}

/// Writes the next settlement of a merchant down, if there is one: its items, its parts and what is booked, together.
pub(super) async fn collect(run: &Run, scope: Scope<'_>) -> Result<Collected, WorkError> {
    let mut tx = run.begin().await?;
    let business = load(&mut tx, scope).await?;
    let planned = business.plan(scope)?;
    let withheld = withheld_words(&planned.withheld);
    let Some(draft) = planned.draft else {
        return Ok(Collected::Nothing(withheld));
    };
    let id = SettlementId(run.engine().ids().uuid());
    let reason = format!(
        "collected {} payments and refunds{}",
        draft.items.len(),
        withheld
            .map(|words| format!("; {words}"))
            .unwrap_or_default()
    );
    let merchant = scope.merchant;
    let new = NewSettlement {
        id,
        merchant_id: &merchant.merchant_id,
        currency: merchant.currency,
        calendar: business.calendar.code(),
        calendar_version: business.calendar.version(),
        draft: &draft,
        job_id: run.job().id,
        reason: &reason,
    };
    if !settlements::insert(&mut tx, new, run.now()).await? {
        return Err(lost(id));
    }
    let marked = settlement_items::insert(&mut tx, id, &draft.items, merchant.settle_basis).await?;
    if u64::try_from(draft.items.len()) != Ok(marked) {
        return Err(lost(id));
    }
    book_collection(run, &mut tx, id, merchant, &draft).await?;
    run.checkpoint(tx).await?;
    info!(settlement.id = %id, merchant.id = %merchant.merchant_id, items = draft.items.len(), "Collected settlement {} of {}", draft.sequence_no, merchant.merchant_id);
    Ok(Collected::One)
}

async fn book_collection(
    run: &Run,
    tx: &mut RunTx,
    id: SettlementId,
    merchant: &Merchant,
    draft: &Draft,
) -> Result<(), WorkError> {
    let subject = format!("settlement:{id}");
    let occasion = on(&subject, china_day(&run.now()));
    let whose = &merchant.merchant_id;
    let amounts = &draft.amounts;
    let collected = amounts
        .collected()
        .map_err(|error| WorkError::Invalid(error.to_string()))?;
    let entries = [
        events::merchant_fee(occasion, whose, amounts.merchant_fees),
        events::collected(occasion, whose, collected),
        events::reserve_held(occasion, whose, amounts.reserve),
    ];
    book(run, tx, entries).await?;
    Ok(())
}

/// What was passed over, the first of it by name.
fn withheld_words(withheld: &[Withheld]) -> Option<String> {
    if withheld.is_empty() {
        return None;
    }
    let named: Vec<String> = withheld
        .iter()
        .take(NAMED_MAX)
        .map(|it| format!("{} {}: {}", it.kind, it.record_no, it.reason))
        .collect();
    let more = withheld.len().saturating_sub(NAMED_MAX);
    let more = if more > 0 {
        format!("; and {more} more")
    } else {
        String::new()
    };
    Some(format!(
        "withheld {} ({}{more})",
        withheld.len(),
        named.join("; ")
    ))
}
