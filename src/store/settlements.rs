//! Settlements, their parts, instructions and claims: one aggregate, whose every change counts in the version of the
//! settlement and has its row of history.

use chrono::{DateTime, NaiveDate, Utc};
use clearday_jobs::{
    ApprovalId, Currency, JobId, MerchantId, Money, OfflinePaymentId, OperationId, Reference,
    SettlementId,
};
use sqlx::{FromRow, QueryBuilder};
use uuid::Uuid;

use super::jobs::{bound, parse};
use super::statement::statements;
use super::{CHUNK_ROWS_MAX, StoreError, Timestamp, Tx, on_both, words};
use crate::domain::operation::{Operation, OperationKind};
use crate::domain::settlement_run::collect::{Amounts, Draft, Previous};
use crate::domain::settlement_run::{
    Claim, ClaimState, DebitLine, Instruction, InstructionState, Part, PartState, Settlement,
    SettlementState,
};

/// Named, so that a column a later release adds never changes what this one reads.
macro_rules! settlement_columns {
    () => {
        "s.id, s.merchant_id, s.currency, s.sequence_no, s.period_from, s.period_until, s.state, s.due_on, s.calendar, \
         s.calendar_version, s.items_count, s.gross_minor, s.coupons_minor, s.refunds_minor, s.merchant_fees_minor, \
         s.reserve_minor, s.carried_minor, s.net_minor, s.digest, s.approval_id, s.job_id, s.version, s.created_at, \
         s.updated_at"
    };
}

statements! {
    FIND = concat!("SELECT ", settlement_columns!(), " FROM settlements s WHERE s.id = $1");
    LOCK = concat!("SELECT ", settlement_columns!(), " FROM settlements s WHERE s.id = $1"), postgres " FOR UPDATE";
    PARTS = "SELECT part_no, amount_minor, currency, state, reason, updated_at FROM settlement_parts \
             WHERE settlement_id = $1 ORDER BY part_no";
    INSTRUCTIONS = "SELECT i.part_no, i.generation, i.end_to_end_id, i.operation_id, i.approval_id, i.bank, \
                    i.payee_account_no, i.payee_name, i.remittance, i.state, i.debited_on, i.debit_no, i.unsent_at, \
                    i.created_at, i.updated_at, \
                    o.job_id AS operation_job_id, o.generation AS operation_generation, \
                    o.idempotency_key AS operation_key, o.state AS operation_state, \
                    o.intended_at AS operation_intended_at, o.updated_at AS operation_updated_at \
                    FROM payout_instructions i JOIN operations o ON o.id = i.operation_id \
                    WHERE i.settlement_id = $1 ORDER BY i.part_no, i.generation";
    CLAIMS = "SELECT id, part_no, amount_minor, currency, bank, paid_on, bank_reference, proof_sha256, registered_by, \
              approval_id, state, debited_on, debit_no, registered_at FROM offline_payments \
              WHERE settlement_id = $1 ORDER BY part_no, registered_at, id";
    LATEST = "SELECT sequence_no, period_until, state, net_minor FROM settlements \
              WHERE merchant_id = $1 AND currency = $2 ORDER BY sequence_no DESC LIMIT 1";
    /// What a job may take up: its own, and what is in nobody's hands any more. A paid one is taken up for a claim.
    OPEN = "SELECT s.id FROM settlements s JOIN jobs j ON j.id = s.job_id \
            WHERE s.merchant_id = $1 AND s.currency = $2 AND s.state IN ('calculated', 'approved') \
            AND (s.job_id = $3 OR j.state IN ('done', 'dead', 'cancelled')) ORDER BY s.sequence_no";
    CLAIMED = "SELECT s.id FROM offline_payments o JOIN settlements s ON s.id = o.settlement_id \
               JOIN jobs j ON j.id = s.job_id \
               WHERE o.state IN ('registered', 'waiting') AND s.merchant_id = $1 AND s.currency = $2 \
               AND s.state = 'paid' AND (s.job_id = $3 OR j.state IN ('done', 'dead', 'cancelled')) \
               ORDER BY s.sequence_no";
    OF_INSTRUCTION = "SELECT settlement_id, part_no, generation FROM payout_instructions WHERE end_to_end_id = $1";
    INSERT = "INSERT INTO settlements (id, merchant_id, currency, sequence_no, period_from, period_until, state, due_on, \
              calendar, calendar_version, items_count, gross_minor, coupons_minor, refunds_minor, merchant_fees_minor, \
              reserve_minor, carried_minor, net_minor, digest, approval_id, job_id, version, created_at, updated_at) \
              VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, NULL, $20, 1, \
              $21, $21) ON CONFLICT (merchant_id, currency, sequence_no) DO NOTHING";
    /// A compare-and-set: a settlement that changed since it was read is not moved.
    MOVE = "UPDATE settlements SET state = $3, approval_id = $4, job_id = $5, version = version + 1, updated_at = $6 \
            WHERE id = $1 AND version = $2";
    HISTORY = "INSERT INTO settlement_events (settlement_id, version, occurred_at, part_no, event, state, reason, job_id) \
               VALUES ($1, $2, $3, $4, $5, $6, $7, $8)";
    MOVE_PART = "UPDATE settlement_parts SET state = $4, reason = $5, updated_at = $6 \
                 WHERE settlement_id = $1 AND part_no = $2 AND state = $3";
    INSTRUCT = "INSERT INTO payout_instructions (settlement_id, part_no, generation, end_to_end_id, operation_id, \
                approval_id, bank, payee_account_no, payee_name, amount_minor, currency, remittance, state, debited_on, \
                created_at, updated_at) \
                VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, 'open', NULL, $13, $13)";
    MOVE_INSTRUCTION = "UPDATE payout_instructions SET state = $3, debited_on = COALESCE($4, debited_on), \
                        debit_no = COALESCE($5, debit_no), updated_at = $6 WHERE end_to_end_id = $1 AND state = $2";
    /// A day that is known is not changed.
    DATE = "UPDATE settlements SET due_on = $2, calendar_version = $3 WHERE id = $1 AND due_on IS NULL";
    ASKED = "UPDATE payout_instructions SET updated_at = $2 WHERE end_to_end_id = $1";
    UNSENT = "UPDATE payout_instructions SET unsent_at = $2 WHERE end_to_end_id = $1";
    CLAIM = "INSERT INTO offline_payments (id, settlement_id, part_no, amount_minor, currency, bank, paid_on, \
             bank_reference, proof_sha256, registered_by, approval_id, state, debited_on, registered_at, updated_at) \
             VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, 'registered', NULL, $12, $12)";
    MOVE_CLAIM = "UPDATE offline_payments SET state = $3, debited_on = COALESCE($4, debited_on), \
                  debit_no = COALESCE($5, debit_no), updated_at = $6 WHERE id = $1 AND state = $2";
    TIMELINE = "SELECT version, occurred_at, part_no, event, state, reason, job_id FROM settlement_events \
                WHERE settlement_id = $1 ORDER BY version";
    /// Merchants that have something to settle, if it is for us to settle, or to pay, one page after the other.
    WITH_WORK = "SELECT m.merchant_id, m.currency FROM merchants m WHERE m.merchant_id > $1 \
                 AND (m.funds_flow = 'collected' \
                 AND EXISTS (SELECT 1 FROM records r WHERE r.merchant_id = m.merchant_id AND r.currency = m.currency \
                 AND r.settlement_id IS NULL AND r.status = 'succeeded' AND r.occurred_at < $2) \
                 OR EXISTS (SELECT 1 FROM settlements s WHERE s.merchant_id = m.merchant_id AND s.currency = m.currency \
                 AND s.state IN ('calculated', 'approved'))) ORDER BY m.merchant_id LIMIT $3";
    /// Whose business nobody can settle, because their policy is not known.
    WITHOUT_POLICY = "SELECT DISTINCT r.merchant_id, r.currency FROM records r \
                      WHERE r.settlement_id IS NULL AND r.status = 'succeeded' AND r.occurred_at < $1 \
                      AND NOT EXISTS (SELECT 1 FROM merchants m WHERE m.merchant_id = r.merchant_id \
                      AND m.currency = r.currency) ORDER BY r.merchant_id, r.currency LIMIT $2";
}

/// One line of a settlement's timeline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SettlementEntry {
    /// The settlement's version after the change.
    pub version: i64,
    /// When.
    pub occurred_at: DateTime<Utc>,
    /// The part that changed, if it was one.
    pub part_no: Option<i64>,
    /// What happened.
    pub event: String,
    /// The state after it, of the part or of the settlement.
    pub state: String,
    /// Why.
    pub reason: String,
    /// The job that did it.
    pub job_id: Option<JobId>,
}

/// What a list of settlements is narrowed to; the list runs from the newest to the oldest.
#[derive(Clone, Debug, Default)]
pub struct SettlementFilter {
    /// Only this merchant's.
    pub merchant_id: Option<MerchantId>,
    /// Only in this state.
    pub state: Option<SettlementState>,
    /// Only those collected before this one (keyset pagination).
    pub before: Option<SettlementId>,
}

/// The settlement with everything about it, if there is one.
pub async fn find(tx: &mut Tx, id: SettlementId) -> Result<Option<Settlement>, StoreError> {
    let row: Option<SettlementRow> = on_both!(tx, Db, connection => {
        sqlx::query_as(FIND.text::<Db>()).bind(id.0).fetch_optional(connection).await?
    });
    match row {
        None => Ok(None),
        Some(row) => complete(tx, row).await.map(Some),
    }
}

/// The same, held until the transaction ends.
pub async fn lock(tx: &mut Tx, id: SettlementId) -> Result<Option<Settlement>, StoreError> {
    let row: Option<SettlementRow> = on_both!(tx, Db, connection => {
        sqlx::query_as(LOCK.text::<Db>()).bind(id.0).fetch_optional(connection).await?
    });
    match row {
        None => Ok(None),
        Some(row) => complete(tx, row).await.map(Some),
    }
}

async fn complete(tx: &mut Tx, row: SettlementRow) -> Result<Settlement, StoreError> {
    let (parts, instructions, claims): (Vec<PartRow>, Vec<InstructionRow>, Vec<ClaimRow>) = on_both!(tx, Db, connection => {
        let parts = sqlx::query_as(PARTS.text::<Db>()).bind(row.id).fetch_all(&mut *connection).await?;
        let instructions = sqlx::query_as(INSTRUCTIONS.text::<Db>()).bind(row.id).fetch_all(&mut *connection).await?;
        let claims = sqlx::query_as(CLAIMS.text::<Db>()).bind(row.id).fetch_all(&mut *connection).await?;
        (parts, instructions, claims)
    });
    let mut settlement = Settlement::try_from(row)?;
    for part in parts {
        settlement.parts.push(part.try_into()?);
    }
    for instruction in instructions {
        let part_no = number("part_no", instruction.part_no)?;
        let part = part_of(&mut settlement, part_no)?;
        part.instructions.push(instruction.try_into()?);
    }
    for claim in claims {
        let part_no = number("part_no", claim.part_no)?;
        part_of(&mut settlement, part_no)?
            .claims
            .push(claim.try_into()?);
    }
    Ok(settlement)
}

fn part_of(settlement: &mut Settlement, part_no: u32) -> Result<&mut Part, StoreError> {
    let mut parts = settlement.parts.iter_mut();
    parts
        .find(|part| part.part_no == part_no)
        .ok_or_else(|| StoreError::corrupt("part_no", part_no))
}

/// The newest settlement of a merchant, as far as the next one follows from it.
pub async fn latest(
    tx: &mut Tx,
    merchant_id: &MerchantId,
    currency: Currency,
) -> Result<Option<Previous>, StoreError> {
    let row: Option<(i64, String, String, i64)> = on_both!(tx, Db, connection => {
        sqlx::query_as(LATEST.text::<Db>())
            .bind(merchant_id.as_str())
            .bind(currency.code())
            .fetch_optional(connection)
            .await?
    });
    row.map(|(sequence_no, period_until, state, net_minor)| {
        Ok(Previous {
            sequence_no: number("sequence_no", sequence_no)?,
            period_until: parse("period_until", &period_until)?,
            state: parse("state", &state)?,
            net: Money::from_minor(net_minor, currency),
        })
    })
    .transpose()
}

/// The settlements of a merchant that a job has to see to, the oldest first.
pub async fn open_for(
    tx: &mut Tx,
    merchant_id: &MerchantId,
    currency: Currency,
    job_id: JobId,
) -> Result<Vec<SettlementId>, StoreError> {
    let mut found: Vec<Uuid> = Vec::new();
    for statement in [OPEN, CLAIMED] {
        let ids: Vec<Uuid> = on_both!(tx, Db, connection => {
            sqlx::query_scalar(statement.text::<Db>())
                .bind(merchant_id.as_str())
                .bind(currency.code())
                .bind(job_id.0)
                .fetch_all(connection)
                .await?
        });
        found.extend(ids);
    }
    found.dedup();
    Ok(found.into_iter().map(SettlementId).collect())
}

/// Which instruction an end-to-end id belongs to.
pub async fn of_instruction(
    tx: &mut Tx,
    end_to_end_id: &Reference,
) -> Result<Option<(SettlementId, u32, u32)>, StoreError> {
    let row: Option<(Uuid, i64, i64)> = on_both!(tx, Db, connection => {
        sqlx::query_as(OF_INSTRUCTION.text::<Db>())
            .bind(end_to_end_id.as_str())
            .fetch_optional(connection)
            .await?
    });
    row.map(|(id, part_no, generation)| {
        Ok((
            SettlementId(id),
            number("part_no", part_no)?,
            number("generation", generation)?,
        ))
    })
    .transpose()
}

/// The settlement and the claim that name one of these numbers of a bank; a refused claim stands for none.
pub async fn of_bank_references(
    tx: &mut Tx,
    bank: &str,
    references: &[&str],
) -> Result<Option<(SettlementId, OfflinePaymentId)>, StoreError> {
    if references.is_empty() {
        return Ok(None);
    }
    let row: Option<(Uuid, Uuid)> = on_both!(tx, Db, connection => {
        let mut query = QueryBuilder::<Db>::new("SELECT settlement_id, id FROM offline_payments WHERE bank = ");
        query.push_bind(bank).push(" AND state <> 'refused' AND bank_reference IN (");
        let mut list = query.separated(", ");
        for reference in references.iter().take(CHUNK_ROWS_MAX) {
            list.push_bind(*reference);
        }
        query.push(") ORDER BY registered_at, id LIMIT 1");
        query.build_query_as().persistent(false).fetch_optional(connection).await?
    });
    Ok(row.map(|(settlement, claim)| (SettlementId(settlement), OfflinePaymentId(claim))))
}

/// A settlement about to be written down.
#[derive(Clone, Copy, Debug)]
pub struct NewSettlement<'a> {
    /// Its id.
    pub id: SettlementId,
    /// Who is owed.
    pub merchant_id: &'a MerchantId,
    /// In what.
    pub currency: Currency,
    /// The calendar that gave its day.
    pub calendar: &'a str,
    /// And the version of it.
    pub calendar_version: &'a str,
    /// What it is.
    pub draft: &'a Draft,
    /// The job in charge of it.
    pub job_id: JobId,
    /// Why, for its history.
    pub reason: &'a str,
}

/// Writes a settlement and its parts down; `false` when its number is taken.
pub async fn insert(
    tx: &mut Tx,
    new: NewSettlement<'_>,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let draft = new.draft;
    let amounts = &draft.amounts;
    let inserted = on_both!(tx, Db, connection => {
        sqlx::query(INSERT.text::<Db>())
            .bind(new.id.0)
            .bind(new.merchant_id.as_str())
            .bind(new.currency.code())
            .bind(i64::from(draft.sequence_no))
            .bind(draft.period.from.to_string())
            .bind(draft.period.until.to_string())
            .bind(draft.state.as_str())
            .bind(draft.period.due_on.map(|day| day.to_string()))
            .bind(new.calendar)
            .bind(new.calendar_version)
            .bind(bound(draft.items.len()))
            .bind(amounts.gross.minor_units())
            .bind(amounts.coupons.minor_units())
            .bind(amounts.refunds.minor_units())
            .bind(amounts.merchant_fees.minor_units())
            .bind(amounts.reserve.minor_units())
            .bind(amounts.carried.minor_units())
            .bind(amounts.net.minor_units())
            .bind(draft.digest.as_str())
            .bind(new.job_id.0)
            .bind(Timestamp(now))
            .execute(connection)
            .await?
            .rows_affected()
    });
    if inserted == 0 {
        return Ok(false);
    }
    insert_parts(tx, new.id, &draft.parts, now).await?;
    let entry = SettlementEntry {
        version: 1,
        occurred_at: now,
        part_no: None,
        event: "collect".to_owned(),
        state: draft.state.to_string(),
        reason: new.reason.to_owned(),
        job_id: Some(new.job_id),
    };
    append_history(tx, new.id, &entry).await?;
    Ok(true)
}

async fn insert_parts(
    tx: &mut Tx,
    id: SettlementId,
    parts: &[Money],
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let numbered: Vec<(i64, &Money)> = (1_i64..).zip(parts).collect();
    for chunk in numbered.chunks(CHUNK_ROWS_MAX) {
        on_both!(tx, Db, connection => {
            let mut query = QueryBuilder::<Db>::new(
                "INSERT INTO settlement_parts (settlement_id, part_no, amount_minor, currency, state, reason, updated_at) ",
            );
            query.push_values(chunk, |mut row, (part_no, amount)| {
                row.push_bind(id.0)
                    .push_bind(*part_no)
                    .push_bind(amount.minor_units())
                    .push_bind(amount.currency().code())
                    .push_bind(PartState::Planned.as_str())
                    .push_bind("a part of the net")
                    .push_bind(Timestamp(now));
            });
            query.build().execute(connection).await?;
        });
    }
    Ok(())
}

/// One change of a settlement, decided on the version it was read at.
#[derive(Clone, Copy, Debug)]
pub struct Change<'a> {
    /// The settlement.
    pub id: SettlementId,
    /// The version the decision was made on.
    pub version: i64,
    /// The state it goes to.
    pub state: SettlementState,
    /// What allows it to be paid, from now on.
    pub approval_id: Option<ApprovalId>,
    /// The job in charge of it, from now on.
    pub job_id: JobId,
    /// The part it is about, if it is about one, and the state it goes to.
    pub part: Option<(u32, PartState)>,
    /// What happened.
    pub event: &'a str,
    /// Why, for its history.
    pub reason: &'a str,
    /// The job that does it.
    pub by: Option<JobId>,
}

/// Counts and records a change; `false` when the settlement changed since it was read.
pub async fn apply(
    tx: &mut Tx,
    change: &Change<'_>,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let moved = on_both!(tx, Db, connection => {
        sqlx::query(MOVE.text::<Db>())
            .bind(change.id.0)
            .bind(change.version)
            .bind(change.state.as_str())
            .bind(change.approval_id.map(|id| id.0))
            .bind(change.job_id.0)
            .bind(Timestamp(now))
            .execute(connection)
            .await?
            .rows_affected()
    });
    if moved == 0 {
        return Ok(false);
    }
    let state = change
        .part
        .map_or(change.state.as_str(), |(_, state)| state.as_str());
    let entry = SettlementEntry {
        version: change.version.saturating_add(1),
        occurred_at: now,
        part_no: change.part.map(|(part_no, _)| i64::from(part_no)),
        event: change.event.to_owned(),
        state: state.to_owned(),
        reason: change.reason.to_owned(),
        job_id: change.by,
    };
    append_history(tx, change.id, &entry).await?;
    Ok(true)
}

async fn append_history(
    tx: &mut Tx,
    id: SettlementId,
    entry: &SettlementEntry,
) -> Result<(), StoreError> {
    on_both!(tx, Db, connection => {
        sqlx::query(HISTORY.text::<Db>())
            .bind(id.0)
            .bind(entry.version)
            .bind(Timestamp(entry.occurred_at))
            .bind(entry.part_no)
            .bind(entry.event.as_str())
            .bind(entry.state.as_str())
            .bind(words(&entry.reason))
            .bind(entry.job_id.map(|job| job.0))
            .execute(connection)
            .await?;
    });
    Ok(())
}

/// Writes down the day on which a settlement is paid, and the version of the calendar that gave it; `false` when there
/// is one already.
pub async fn date(
    tx: &mut Tx,
    id: SettlementId,
    due_on: NaiveDate,
    calendar_version: &str,
) -> Result<bool, StoreError> {
    let dated = on_both!(tx, Db, connection => {
        sqlx::query(DATE.text::<Db>())
            .bind(id.0)
            .bind(due_on.to_string())
            .bind(calendar_version)
            .execute(connection)
            .await?
            .rows_affected()
    });
    Ok(dated == 1)
}

/// Moves a part from one state to another; `false` when it was not there.
pub async fn move_part(
    tx: &mut Tx,
    (id, part_no): (SettlementId, u32),
    (from, to): (PartState, PartState),
    reason: &str,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let moved = on_both!(tx, Db, connection => {
        sqlx::query(MOVE_PART.text::<Db>())
            .bind(id.0)
            .bind(i64::from(part_no))
            .bind(from.as_str())
            .bind(to.as_str())
            .bind(words(reason))
            .bind(Timestamp(now))
            .execute(connection)
            .await?
            .rows_affected()
    });
    Ok(moved == 1)
}

/// An instruction about to be written down, together with its operation.
#[derive(Clone, Copy, Debug)]
pub struct NewInstruction<'a> {
    /// The settlement and the number of its part.
    pub of: (SettlementId, u32),
    /// Its number among the instructions of the part.
    pub generation: u32,
    /// Carried to the payee and back.
    pub end_to_end_id: &'a Reference,
    /// The call that carries it.
    pub operation_id: OperationId,
    /// What allows it.
    pub approval_id: ApprovalId,
    /// Who is told.
    pub bank: &'a str,
    /// The account that is paid.
    pub payee_account_no: &'a str,
    /// By name.
    pub payee_name: &'a str,
    /// How much.
    pub amount: Money,
    /// What the payee reads.
    pub remittance: &'a str,
}

/// Writes an instruction down before it is sent.
///
/// # Errors
/// [`StoreError::Constraint`] when another one about the part is open.
pub async fn instruct(
    tx: &mut Tx,
    new: NewInstruction<'_>,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    let (id, part_no) = new.of;
    on_both!(tx, Db, connection => {
        sqlx::query(INSTRUCT.text::<Db>())
            .bind(id.0)
            .bind(i64::from(part_no))
            .bind(i64::from(new.generation))
            .bind(new.end_to_end_id.as_str())
            .bind(new.operation_id.0)
            .bind(new.approval_id.0)
            .bind(new.bank)
            .bind(new.payee_account_no)
            .bind(new.payee_name)
            .bind(new.amount.minor_units())
            .bind(new.amount.currency().code())
            .bind(new.remittance)
            .bind(Timestamp(now))
            .execute(connection)
            .await?;
    });
    Ok(())
}

/// Moves an instruction from one state to another, with the line of its debit where that is news; `false` when it was
/// not there.
pub async fn move_instruction(
    tx: &mut Tx,
    end_to_end_id: &Reference,
    (from, to): (InstructionState, InstructionState),
    debit: Option<DebitLine<'_>>,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let moved = on_both!(tx, Db, connection => {
        sqlx::query(MOVE_INSTRUCTION.text::<Db>())
            .bind(end_to_end_id.as_str())
            .bind(from.as_str())
            .bind(to.as_str())
            .bind(debit.map(|line| line.booked_on.to_string()))
            .bind(debit.map(|line| line.number))
            .bind(Timestamp(now))
            .execute(connection)
            .await?
            .rows_affected()
    });
    Ok(moved == 1)
}

/// Notes that the bank was asked about an instruction and said nothing new.
pub async fn note_asked(
    tx: &mut Tx,
    end_to_end_id: &Reference,
    now: DateTime<Utc>,
) -> Result<(), StoreError> {
    on_both!(tx, Db, connection => {
        sqlx::query(ASKED.text::<Db>())
            .bind(end_to_end_id.as_str())
            .bind(Timestamp(now))
            .execute(connection)
            .await?;
    });
    Ok(())
}

/// Notes when the call of an instruction failed before anything left, or that it may have left from now on.
pub async fn note_unsent(
    tx: &mut Tx,
    end_to_end_id: &Reference,
    unsent_at: Option<DateTime<Utc>>,
) -> Result<(), StoreError> {
    on_both!(tx, Db, connection => {
        sqlx::query(UNSENT.text::<Db>())
            .bind(end_to_end_id.as_str())
            .bind(unsent_at.map(Timestamp))
            .execute(connection)
            .await?;
    });
    Ok(())
}

/// Writes a claim down.
///
/// # Errors
/// [`StoreError::Constraint`] when the bank's number is claimed already, or another claim about the part is open.
pub async fn insert_claim(
    tx: &mut Tx,
    (id, part_no): (SettlementId, u32),
    claim: &Claim,
) -> Result<(), StoreError> {
    on_both!(tx, Db, connection => {
        sqlx::query(CLAIM.text::<Db>())
            .bind(claim.id.0)
            .bind(id.0)
            .bind(i64::from(part_no))
            .bind(claim.amount.minor_units())
            .bind(claim.amount.currency().code())
            .bind(claim.bank.as_str())
            .bind(claim.paid_on.to_string())
            .bind(claim.bank_reference.as_str())
            .bind(claim.proof_sha256.as_str())
            .bind(claim.registered_by.as_str())
            .bind(claim.approval_id.0)
            .bind(Timestamp(claim.registered_at))
            .execute(connection)
            .await?;
    });
    Ok(())
}

/// Moves a claim from one state to another, with the line of its debit where that is news; `false` when it was not
/// there.
pub async fn move_claim(
    tx: &mut Tx,
    id: OfflinePaymentId,
    (from, to): (ClaimState, ClaimState),
    debit: Option<DebitLine<'_>>,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let moved = on_both!(tx, Db, connection => {
        sqlx::query(MOVE_CLAIM.text::<Db>())
            .bind(id.0)
            .bind(from.as_str())
            .bind(to.as_str())
            .bind(debit.map(|line| line.booked_on.to_string()))
            .bind(debit.map(|line| line.number))
            .bind(Timestamp(now))
            .execute(connection)
            .await?
            .rows_affected()
    });
    Ok(moved == 1)
}

/// Up to `limit` merchants after this one that have something to settle before `until`, or to pay.
pub async fn merchants_with_work(
    tx: &mut Tx,
    after: &str,
    until: DateTime<Utc>,
    limit: usize,
) -> Result<Vec<(MerchantId, Currency)>, StoreError> {
    let rows: Vec<(String, String)> = on_both!(tx, Db, connection => {
        sqlx::query_as(WITH_WORK.text::<Db>())
            .bind(after)
            .bind(Timestamp(until))
            .bind(bound(limit))
            .fetch_all(connection)
            .await?
    });
    rows.into_iter()
        .map(|(merchant, currency)| {
            Ok((
                parse("merchant_id", &merchant)?,
                parse("currency", &currency)?,
            ))
        })
        .collect()
}

/// Up to `limit` merchants with business before `until` in a currency in which they were never imported, each with it.
pub async fn merchants_without_policy(
    tx: &mut Tx,
    until: DateTime<Utc>,
    limit: usize,
) -> Result<Vec<(String, String)>, StoreError> {
    Ok(on_both!(tx, Db, connection => {
        sqlx::query_as(WITHOUT_POLICY.text::<Db>())
            .bind(Timestamp(until))
            .bind(bound(limit))
            .fetch_all(connection)
            .await?
    }))
}

/// Up to `limit` settlements, the newest first, each with everything about it.
pub async fn list(
    tx: &mut Tx,
    filter: &SettlementFilter,
    limit: usize,
) -> Result<Vec<Settlement>, StoreError> {
    let rows: Vec<SettlementRow> = on_both!(tx, Db, connection => {
        let mut query = QueryBuilder::<Db>::new(concat!("SELECT ", settlement_columns!(), " FROM settlements s WHERE 1 = 1"));
        if let Some(merchant_id) = &filter.merchant_id {
            query.push(" AND s.merchant_id = ").push_bind(merchant_id.as_str());
        }
        if let Some(state) = filter.state {
            query.push(" AND s.state = ").push_bind(state.as_str());
        }
        if let Some(before) = filter.before {
            query.push(" AND s.id < ").push_bind(before.0);
        }
        query.push(" ORDER BY s.id DESC LIMIT ").push_bind(bound(limit));
        query.build_query_as().fetch_all(connection).await?
    });
    let mut settlements = Vec::with_capacity(rows.len());
    for row in rows {
        settlements.push(complete(tx, row).await?);
    }
    Ok(settlements)
}

/// Everything that happened to a settlement, in order.
pub async fn timeline(tx: &mut Tx, id: SettlementId) -> Result<Vec<SettlementEntry>, StoreError> {
    let rows: Vec<EventRow> = on_both!(tx, Db, connection => {
        sqlx::query_as(TIMELINE.text::<Db>()).bind(id.0).fetch_all(connection).await?
    });
    let entries = rows.into_iter().map(|row| SettlementEntry {
        version: row.version,
        occurred_at: row.occurred_at.0,
        part_no: row.part_no,
        event: row.event,
        state: row.state,
        reason: row.reason,
        job_id: row.job_id.map(JobId),
    });
    Ok(entries.collect())
}

/// A non-negative number as the databases give it.
fn number(column: &'static str, number: i64) -> Result<u32, StoreError> {
    u32::try_from(number).map_err(|error| StoreError::corrupt(column, error))
}

fn day(column: &'static str, day: Option<String>) -> Result<Option<NaiveDate>, StoreError> {
    day.map(|day| parse(column, &day)).transpose()
}

#[derive(FromRow)]
struct EventRow {
    version: i64,
    occurred_at: Timestamp,
    part_no: Option<i64>,
    event: String,
    state: String,
    reason: String,
    job_id: Option<Uuid>,
}

#[derive(FromRow)]
struct SettlementRow {
    id: Uuid,
    merchant_id: String,
    currency: String,
    sequence_no: i64,
    period_from: String,
    period_until: String,
    state: String,
    due_on: Option<String>,
    calendar: String,
    calendar_version: String,
    items_count: i64,
    gross_minor: i64,
    coupons_minor: i64,
    refunds_minor: i64,
    merchant_fees_minor: i64,
    reserve_minor: i64,
    carried_minor: i64,
    net_minor: i64,
    digest: String,
    approval_id: Option<Uuid>,
    job_id: Uuid,
    version: i64,
    created_at: Timestamp,
    updated_at: Timestamp,
}

impl TryFrom<SettlementRow> for Settlement {
    type Error = StoreError;

    fn try_from(row: SettlementRow) -> Result<Self, StoreError> {
        let currency: Currency = parse("currency", &row.currency)?;
        let money = |minor_units| Money::from_minor(minor_units, currency);
        Ok(Self {
            id: SettlementId(row.id),
            merchant_id: parse("merchant_id", &row.merchant_id)?,
            currency,
            sequence_no: number("sequence_no", row.sequence_no)?,
            period_from: parse("period_from", &row.period_from)?,
            period_until: parse("period_until", &row.period_until)?,
            state: parse("state", &row.state)?,
            due_on: day("due_on", row.due_on)?,
            calendar: row.calendar,
            calendar_version: row.calendar_version,
            items_count: u64::try_from(row.items_count)
                .map_err(|error| StoreError::corrupt("items_count", error))?,
            amounts: Amounts {
                gross: money(row.gross_minor),
                coupons: money(row.coupons_minor),
                refunds: money(row.refunds_minor),
                merchant_fees: money(row.merchant_fees_minor),
                reserve: money(row.reserve_minor),
                carried: money(row.carried_minor),
                net: money(row.net_minor),
            },
            digest: row.digest,
            approval_id: row.approval_id.map(ApprovalId),
            job_id: JobId(row.job_id),
            version: row.version,
            created_at: row.created_at.0,
            updated_at: row.updated_at.0,
            parts: Vec::new(),
        })
    }
}

#[derive(FromRow)]
struct PartRow {
    part_no: i64,
    amount_minor: i64,
    currency: String,
    state: String,
    reason: String,
    updated_at: Timestamp,
}

impl TryFrom<PartRow> for Part {
    type Error = StoreError;

    fn try_from(row: PartRow) -> Result<Self, StoreError> {
        Ok(Self {
            part_no: number("part_no", row.part_no)?,
            amount: Money::from_minor(row.amount_minor, parse("currency", &row.currency)?),
            state: parse("state", &row.state)?,
            reason: row.reason,
            updated_at: row.updated_at.0,
            instructions: Vec::new(),
            claims: Vec::new(),
        })
    }
}

#[derive(FromRow)]
struct InstructionRow {
    part_no: i64,
    generation: i64,
    end_to_end_id: String,
    operation_id: Uuid,
    approval_id: Uuid,
    bank: String,
    payee_account_no: String,
    payee_name: String,
    remittance: String,
    state: String,
    debited_on: Option<String>,
    debit_no: Option<String>,
    unsent_at: Option<Timestamp>,
    created_at: Timestamp,
    updated_at: Timestamp,
    operation_job_id: Uuid,
    operation_generation: i64,
    operation_key: String,
    operation_state: String,
    operation_intended_at: Timestamp,
    operation_updated_at: Timestamp,
}

impl TryFrom<InstructionRow> for Instruction {
    type Error = StoreError;

    fn try_from(row: InstructionRow) -> Result<Self, StoreError> {
        let bank: clearday_jobs::ChannelName = parse("bank", &row.bank)?;
        let end_to_end_id: Reference = parse("end_to_end_id", &row.end_to_end_id)?;
        Ok(Self {
            generation: number("generation", row.generation)?,
            operation: Operation {
                id: OperationId(row.operation_id),
                job_id: JobId(row.operation_job_id),
                kind: OperationKind::PayOut,
                channel: bank.clone(),
                reference: end_to_end_id.clone(),
                generation: number("generation", row.operation_generation)?,
                idempotency_key: row.operation_key,
                state: parse("state", &row.operation_state)?,
                intended_at: row.operation_intended_at.0,
                updated_at: row.operation_updated_at.0,
            },
            end_to_end_id,
            approval_id: ApprovalId(row.approval_id),
            bank,
            payee_account_no: row.payee_account_no,
            payee_name: row.payee_name,
            remittance: row.remittance,
            state: parse("state", &row.state)?,
            debited_on: day("debited_on", row.debited_on)?,
            debit_no: row.debit_no,
            unsent_at: row.unsent_at.map(|at| at.0),
            created_at: row.created_at.0,
            updated_at: row.updated_at.0,
        })
    }
}

#[derive(FromRow)]
struct ClaimRow {
    id: Uuid,
    part_no: i64,
    amount_minor: i64,
    currency: String,
    bank: String,
    paid_on: String,
    bank_reference: String,
    proof_sha256: String,
    registered_by: String,
    approval_id: Uuid,
    state: String,
    debited_on: Option<String>,
    debit_no: Option<String>,
    registered_at: Timestamp,
}

impl TryFrom<ClaimRow> for Claim {
    type Error = StoreError;

    fn try_from(row: ClaimRow) -> Result<Self, StoreError> {
        Ok(Self {
            id: OfflinePaymentId(row.id),
            amount: Money::from_minor(row.amount_minor, parse("currency", &row.currency)?),
            bank: parse("bank", &row.bank)?,
            paid_on: parse("paid_on", &row.paid_on)?,
            bank_reference: row.bank_reference,
            proof_sha256: row.proof_sha256,
            registered_by: row.registered_by,
            approval_id: ApprovalId(row.approval_id),
            state: parse("state", &row.state)?,
            debited_on: day("debited_on", row.debited_on)?,
            debit_no: row.debit_no,
            registered_at: row.registered_at.0,
        })
    }
}
