//! Takes whole files in: every row of a file in one transaction, or none of it.
//!
//! The same file again changes nothing. What an order owes to its deadline, a job of
//! `order_expiry`, is accepted in the transaction that writes the order down. While a file is being
//! written on SQLite, other writers wait for it.

use std::collections::{BTreeSet, HashMap};

use chrono::SecondsFormat;
use clearday_jobs::{JobKind, OrderExpiry, Reference, Version};

use super::accept::{Acceptance, Source, Submission};
use super::{ApprovalError, Engine, Refusal};
use crate::domain::import::orders::OrderRow;
use crate::domain::import::plan::{Deadline, ImportPlan, PlannedChange, plan_orders};
use crate::domain::import::records::{RecordBatch, RecordRow, Standing, decide_record_update};
use crate::domain::import::{ImportSummary, RefusedRow, RowEffect};
use crate::domain::order::OrderState;
use crate::domain::record::{Record, RecordKind};
use crate::store::orders::OrderChange;
use crate::store::records::CHUNK_RECORDS_MAX;
use crate::store::{StoreError, Tx, authorizations, bookings, order_imports, orders, records};

/// Jobs accepted together; a bound on memory, not on speed.
const DEADLINES_PER_BATCH: usize = 1_000;

/// Why a file was not imported; nothing of it was.
#[derive(Debug, thiserror::Error)]
pub enum ImportError {
    /// A row contradicts what is known, or another row.
    #[error(transparent)]
    Refused(#[from] RefusedRow),
    /// The job for an order's deadline was refused.
    #[error("line {line}: no job can wait for the deadline")]
    Deadline {
        /// The line.
        line: u64,
        /// Why.
        #[source]
        source: Refusal,
    },
    /// Somebody else changed an order of the file meanwhile; again, the file will see it.
    #[error("an order of the file was changed while it was being imported: import it again")]
    LostRace,
    /// Somebody else changed a merchant of the file meanwhile; again, the file will see it.
    #[error("a merchant of the file was changed while it was being imported: import it again")]
    MerchantChanged,
    /// The database refused or did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ApprovalError> for ImportError {
    fn from(error: ApprovalError) -> Self {
        match error {
            ApprovalError::Store(source) => Self::Store(source),
            // Nobody signs in an import; what is left is a request that changed meanwhile.
            ApprovalError::LostRace(_)
            | ApprovalError::NotFound(_)
            | ApprovalError::NotAnApprover { .. }
            | ApprovalError::Reason
            | ApprovalError::Refused { .. } => Self::MerchantChanged,
        }
    }
}

impl Engine {
    /// Imports a file of orders.
    pub async fn import_orders(&self, rows: &[OrderRow]) -> Result<ImportSummary, ImportError> {
        let mut tx = self.store().begin().await?;
        order_imports::lock(&mut tx).await?;
        let known = order_imports::load_known(&mut tx, rows).await?;
        let plan = plan_orders(rows, &known)?;
        self.carry_out(&mut tx, &plan).await?;
        let mut due = self.accept_deadlines(&mut tx, &plan.deadlines).await?;
        let withdrawn = self.held_for_withdrawn(&mut tx, rows, &plan).await?;
        due.extend(self.accept_deadlines(&mut tx, &withdrawn).await?);
        tx.commit().await?;
        self.ring(due);
        Ok(plan.summary)
    }

    /// Orders that were withdrawn while payers' money is held for them: somebody lets it go now, and not only when
    /// the deadline comes.
    async fn held_for_withdrawn(
        &self,
        tx: &mut Tx,
        rows: &[OrderRow],
        plan: &ImportPlan,
    ) -> Result<Vec<Deadline>, ImportError> {
        let mut held = Vec::new();
        let withdrawn = |change: &&PlannedChange| change.state == OrderState::Cancelled;
        for change in plan.changes.iter().filter(withdrawn) {
            let order_no = &change.order.order_no;
            if authorizations::has_live(tx, order_no).await? {
                let row = rows.iter().find(|row| row.told.order_no == *order_no);
                held.push(Deadline {
                    line: row.map_or(0, |row| row.line),
                    order_no: order_no.clone(),
                    merchant_id: change.order.merchant_id.clone(),
                    expires_at: self.clock().now(),
                });
            }
        }
        Ok(held)
    }

    async fn carry_out(&self, tx: &mut Tx, plan: &ImportPlan) -> Result<(), ImportError> {
        let now = self.clock().now();
        let inserted = order_imports::insert_all(tx, &plan.new, now).await?;
        expect_all(inserted, plan.new.len())?;
        for change in &plan.changes {
            let change = OrderChange {
                order: &change.order,
                state: change.state,
                expires_at: change.expires_at,
                reason: change.reason,
                job_id: None,
            };
            if !orders::apply(tx, change, now).await? {
                return Err(ImportError::LostRace);
            }
        }
        let issued = order_imports::issue_all(tx, &plan.references, now).await?;
        expect_all(issued, plan.references.len())
    }

    async fn accept_deadlines(
        &self,
        tx: &mut Tx,
        deadlines: &[Deadline],
    ) -> Result<BTreeSet<JobKind>, ImportError> {
        let mut due = BTreeSet::new();
        for batch in deadlines.chunks(DEADLINES_PER_BATCH) {
            let submissions = batch.iter().map(expiry_of).collect();
            let (answers, rings) = self.accept_in(tx, submissions).await?;
            due.extend(rings);
            for (deadline, answer) in batch.iter().zip(answers) {
                match answer {
                    Acceptance::New(_) | Acceptance::Known(..) => {}
                    Acceptance::Refused(source) => {
                        let line = deadline.line;
                        return Err(ImportError::Deadline { line, source });
                    }
                }
            }
        }
        Ok(due)
    }

    /// Imports a file of records.
    pub async fn import_records(&self, rows: Vec<RecordRow>) -> Result<ImportSummary, ImportError> {
        self.import_batch(&RecordBatch::new(rows)?).await
    }

    /// Imports records that are sorted already, which for many takes a while.
    pub async fn import_batch(&self, batch: &RecordBatch) -> Result<ImportSummary, ImportError> {
        let mut summary = ImportSummary::default();
        summary.count(RowEffect::Unchanged, batch.repeated());
        let mut tx = self.store().begin().await?;
        for chunk in batch.rows().chunks(CHUNK_RECORDS_MAX) {
            self.import_chunk(&mut tx, chunk, &mut summary).await?;
        }
        tx.commit().await?;
        Ok(summary)
    }

    /// Writes the new ones down first, since most files are new; only what is left is compared. Whatever was there
    /// is held from then on, so that the comparison stays true until the commit.
    async fn import_chunk(
        &self,
        tx: &mut Tx,
        chunk: &[RecordRow],
        summary: &mut ImportSummary,
    ) -> Result<(), ImportError> {
        let now = self.clock().now();
        let told: Vec<&Record> = chunk.iter().map(|row| &row.record).collect();
        let inserted = records::insert(tx, &told, now).await?;
        summary.count(RowEffect::New, inserted);
        if expect_all(inserted, told.len()).is_ok() {
            return Ok(());
        }
        let numbers: Vec<_> = told
            .iter()
            .map(|it| (it.kind, it.record_no.as_str()))
            .collect();
        let known = records::find(tx, &numbers).await?;
        let known: HashMap<_, &Record> = known.iter().map(|it| (it.key(), it)).collect();
        let standings = standings(tx, &told).await?;
        let mut changed = Vec::new();
        let mut same = 0_u64;
        for row in chunk {
            let key = row.record.key();
            let known = known.get(&key).ok_or(ImportError::LostRace)?;
            let standing = standings.get(&key).copied().unwrap_or_default();
            let decided = decide_record_update(known, standing, &row.record);
            match decided.map_err(|it| it.at(row.line))? {
                None => same = same.saturating_add(1),
                Some(record) => {
                    if record.coupon != known.coupon && !bookings::add_coupon(tx, &record).await? {
                        return Err(ImportError::LostRace);
                    }
                    changed.push(record);
                }
            }
        }
        let changed: Vec<&Record> = changed.iter().collect();
        let updated = records::update(tx, &changed, now).await?;
        summary.count(RowEffect::Changed, updated);
        // What was written down a moment ago compares as the same.
        summary.count(RowEffect::Unchanged, same.saturating_sub(inserted));
        Ok(())
    }
}

fn expect_all(done: u64, wanted: usize) -> Result<(), ImportError> {
    if u64::try_from(wanted).is_ok_and(|wanted| wanted == done) {
        Ok(())
    } else {
        Err(ImportError::LostRace)
    }
}

/// The job that looks at an order when its deadline comes. A moved deadline is another job; the
/// old one finds that it has come too early.
fn expiry_of(deadline: &Deadline) -> Submission {
    let Deadline {
        order_no,
        merchant_id,
        expires_at,
        ..
    } = deadline;
    let instant = expires_at.to_rfc3339_opts(SecondsFormat::AutoSi, true);
    let payload = OrderExpiry {
        version: Version,
        order_no: order_no.clone(),
        expires_at: *expires_at,
        merchant_id: Some(merchant_id.clone()),
    };
    Submission {
        kind: JobKind::OrderExpiry.to_string(),
        idempotency_key: Some(format!("{order_no}@{instant}")),
        // An empty payload would be refused, and nothing in this one can fail to be written.
        payload: serde_json::to_vec(&payload).unwrap_or_default(),
        source: Source::Import,
        fault: None,
    }
}

/// How those of the records stand that are booked, or were found at their channel.
async fn standings<'a>(
    tx: &mut Tx,
    told: &[&'a Record],
) -> Result<HashMap<(RecordKind, &'a Reference), Standing>, StoreError> {
    let mut standings = HashMap::new();
    for kind in RecordKind::ALL {
        let of_kind = told.iter().filter(|record| record.kind == *kind);
        let numbers: Vec<&Reference> = of_kind.map(|record| &record.record_no).collect();
        let found = bookings::standings(tx, *kind, &numbers).await?;
        for number in numbers {
            if let Some(standing) = found.get(number) {
                standings.insert((*kind, number), *standing);
            }
        }
    }
    Ok(standings)
}
