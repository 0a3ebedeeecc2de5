//! Merchants and their fee contracts.
//!
//! A merchant is written whole, with a compare-and-set on its version; its contracts are replaced together with it.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveTime, Utc};
use clearday_jobs::{Currency, MerchantId, Money};
use sqlx::{FromRow, QueryBuilder};

use super::jobs::parse;
use super::statement::statements;
use super::{CHUNK_ROWS_MAX, StoreError, Timestamp, Tx, on_both};
use crate::domain::fee::{FeeContract, rate_in_billionths, rate_of_billionths};
use crate::domain::merchant::{Merchant, Payee};
use crate::store::Statement;

/// How a cut-off is kept.
const CUTOFF_FORMAT: &str = "%H:%M";

/// Named, so that a column a later release adds never changes what this one reads.
macro_rules! merchant_columns {
    () => {
        "merchant_id, name, currency, cycle, cutoff, zone, calendar, minimum_minor, settle_basis, funds_flow, coupons, \
         reserve_billionths, is_held, bank, account_no, account_name, pending_bank, pending_account_no, \
         pending_account_name, version"
    };
}

macro_rules! contract_columns {
    () => {
        "merchant_id, valid_from, valid_until, rate_billionths, fixed_minor, minimum_minor, maximum_minor, rounding, \
         returns_fees"
    };
}

statements! {
    LIST = concat!("SELECT ", merchant_columns!(), " FROM merchants ORDER BY merchant_id");
    LIST_CONTRACTS = concat!("SELECT ", contract_columns!(), " FROM fee_contracts ORDER BY merchant_id, valid_from");
    ACCEPT_PENDING = "UPDATE merchants SET bank = pending_bank, account_no = pending_account_no, \
        account_name = pending_account_name, pending_bank = NULL, pending_account_no = NULL, \
        pending_account_name = NULL, version = version + 1, updated_at = $5 \
        WHERE merchant_id = $1 AND pending_bank = $2 AND pending_account_no = $3 AND pending_account_name = $4";
    DROP_PENDING = "UPDATE merchants SET pending_bank = NULL, pending_account_no = NULL, \
        pending_account_name = NULL, version = version + 1, updated_at = $5 \
        WHERE merchant_id = $1 AND pending_bank = $2 AND pending_account_no = $3 AND pending_account_name = $4";
}

const UNLOCKED: Statement = Statement {
    sqlite: "",
    postgres: "",
};
const LOCKED: Statement = Statement {
    sqlite: "",
    postgres: " FOR UPDATE",
};

/// The merchant, if it is known.
pub async fn find(tx: &mut Tx, merchant_id: &MerchantId) -> Result<Option<Merchant>, StoreError> {
    let mut found = read_chunk(tx, &[merchant_id], UNLOCKED).await?;
    Ok(found.pop())
}

/// Every merchant, in the order of their ids.
pub async fn list(tx: &mut Tx) -> Result<Vec<Merchant>, StoreError> {
    let (merchants, contracts): (Vec<MerchantRow>, Vec<ContractRow>) = on_both!(tx, Db, connection => {
        let merchants = sqlx::query_as(LIST.text::<Db>())
            .fetch_all(&mut *connection)
            .await?;
        let contracts = sqlx::query_as(LIST_CONTRACTS.text::<Db>())
            .fetch_all(&mut *connection)
            .await?;
        (merchants, contracts)
    });
    put_together(merchants, contracts)
}

/// Those of the merchants that are known, locked until the transaction ends; in the order of their ids.
pub async fn lock_all(
    tx: &mut Tx,
    merchant_ids: &[&MerchantId],
) -> Result<Vec<Merchant>, StoreError> {
    let mut found = Vec::new();
    for chunk in merchant_ids.chunks(CHUNK_ROWS_MAX) {
        found.extend(read_chunk(tx, chunk, LOCKED).await?);
    }
    Ok(found)
}

async fn read_chunk(
    tx: &mut Tx,
    merchant_ids: &[&MerchantId],
    lock: Statement,
) -> Result<Vec<Merchant>, StoreError> {
    let (merchants, contracts): (Vec<MerchantRow>, Vec<ContractRow>) = on_both!(tx, Db, connection => {
        let mut query = QueryBuilder::<Db>::new(concat!(
            "SELECT ", merchant_columns!(), " FROM merchants WHERE merchant_id IN ("
        ));
        let mut ids = query.separated(", ");
        for merchant_id in merchant_ids {
            ids.push_bind(merchant_id.as_str());
        }
        query.push(") ORDER BY merchant_id").push(lock.text::<Db>());
        let merchants = query.build_query_as().fetch_all(&mut *connection).await?;

        let mut query = QueryBuilder::<Db>::new(concat!(
            "SELECT ", contract_columns!(), " FROM fee_contracts WHERE merchant_id IN ("
        ));
        let mut ids = query.separated(", ");
        for merchant_id in merchant_ids {
            ids.push_bind(merchant_id.as_str());
        }
        query.push(") ORDER BY merchant_id, valid_from");
        let contracts = query.build_query_as().fetch_all(&mut *connection).await?;
        (merchants, contracts)
    });
    put_together(merchants, contracts)
}

/// Writes merchants down that are new (version 0), and replaces known ones that still have the version they were read
/// with; returns how many. When some are missing, the caller gives up, and this transaction with it.
pub async fn upsert_all(
    tx: &mut Tx,
    merchants: &[Merchant],
    now: DateTime<Utc>,
) -> Result<u64, StoreError> {
    let mut written = 0_u64;
    for chunk in merchants.chunks(CHUNK_ROWS_MAX) {
        let rows = upsert_chunk(tx, chunk, now).await?;
        written = written.saturating_add(rows);
        if rows == u64::try_from(chunk.len()).unwrap_or(u64::MAX) {
            replace_contracts(tx, chunk).await?;
        }
    }
    Ok(written)
}

async fn upsert_chunk(
    tx: &mut Tx,
    merchants: &[Merchant],
    now: DateTime<Utc>,
) -> Result<u64, StoreError> {
    let mut reserves = BTreeMap::new();
    for merchant in merchants {
        let reserve = billionths("reserve_billionths", merchant.reserve_rate)?;
        reserves.insert(&merchant.merchant_id, reserve);
    }
    Ok(on_both!(tx, Db, connection => {
        let mut query = QueryBuilder::<Db>::new(concat!(
            "INSERT INTO merchants (", merchant_columns!(), ", created_at, updated_at) "
        ));
        query.push_values(merchants, |mut row, merchant| {
            let pending = merchant.pending_payee.as_ref();
            row.push_bind(merchant.merchant_id.as_str())
                .push_bind(merchant.name.as_str())
                .push_bind(merchant.currency.code())
                .push_bind(merchant.cycle.to_string())
                .push_bind(merchant.cutoff.format(CUTOFF_FORMAT).to_string())
                .push_bind(merchant.zone.name())
                .push_bind(merchant.calendar.as_str())
                .push_bind(merchant.minimum.minor_units())
                .push_bind(merchant.settle_basis.as_str())
                .push_bind(merchant.funds_flow.as_str())
                .push_bind(merchant.coupons.as_str())
                .push_bind(reserves.get(&merchant.merchant_id).copied())
                .push_bind(i16::from(merchant.is_held))
                .push_bind(merchant.payee.bank.as_str())
                .push_bind(merchant.payee.account_no.as_str())
                .push_bind(merchant.payee.account_name.as_str())
                .push_bind(pending.map(|payee| payee.bank.as_str()))
                .push_bind(pending.map(|payee| payee.account_no.as_str()))
                .push_bind(pending.map(|payee| payee.account_name.as_str()))
                .push_bind(merchant.version.saturating_add(1))
                .push_bind(Timestamp(now))
                .push_bind(Timestamp(now));
        });
        query.push(
            " ON CONFLICT (merchant_id) DO UPDATE SET name = excluded.name, currency = excluded.currency, \
             cycle = excluded.cycle, cutoff = excluded.cutoff, zone = excluded.zone, calendar = excluded.calendar, \
             minimum_minor = excluded.minimum_minor, settle_basis = excluded.settle_basis, \
             funds_flow = excluded.funds_flow, coupons = excluded.coupons, \
             reserve_billionths = excluded.reserve_billionths, is_held = excluded.is_held, bank = excluded.bank, \
             account_no = excluded.account_no, account_name = excluded.account_name, \
             pending_bank = excluded.pending_bank, pending_account_no = excluded.pending_account_no, \
             pending_account_name = excluded.pending_account_name, version = excluded.version, \
             updated_at = excluded.updated_at WHERE merchants.version = excluded.version - 1",
        );
        query.build().execute(connection).await?.rows_affected()
    }))
}

async fn replace_contracts(tx: &mut Tx, merchants: &[Merchant]) -> Result<(), StoreError> {
    on_both!(tx, Db, connection => {
        let mut query = QueryBuilder::<Db>::new("DELETE FROM fee_contracts WHERE merchant_id IN (");
        let mut ids = query.separated(", ");
        for merchant in merchants {
            ids.push_bind(merchant.merchant_id.as_str());
        }
        query.push(")");
        query.build().execute(connection).await?;
    });
    let mut contracts = Vec::new();
    for merchant in merchants {
        for contract in &merchant.contracts {
            let rate = billionths("rate_billionths", contract.rate)?;
            contracts.push((merchant.merchant_id.as_str(), rate, contract));
        }
    }
    for chunk in contracts.chunks(CHUNK_ROWS_MAX) {
        on_both!(tx, Db, connection => {
            let mut query = QueryBuilder::<Db>::new(concat!(
                "INSERT INTO fee_contracts (", contract_columns!(), ") "
            ));
            query.push_values(chunk, |mut row, (merchant_id, rate, contract)| {
                row.push_bind(*merchant_id)
                    .push_bind(contract.valid_from.to_string())
                    .push_bind(contract.valid_until.map(|last| last.to_string()))
                    .push_bind(*rate)
                    .push_bind(contract.fixed.minor_units())
                    .push_bind(contract.minimum.minor_units())
                    .push_bind(contract.maximum.map(Money::minor_units))
                    .push_bind(contract.rounding.as_str())
                    .push_bind(i16::from(contract.returns_fees));
            });
            query.build().execute(connection).await?;
        });
    }
    Ok(())
}

/// Makes the account that waits the one that is paid; `false` when another one waits, or none.
pub async fn accept_pending_payee(
    tx: &mut Tx,
    merchant_id: &MerchantId,
    pending: &Payee,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    end_pending(tx, ACCEPT_PENDING, merchant_id, pending, now).await
}

/// Forgets the account that waits; `false` when another one waits, or none.
pub async fn drop_pending_payee(
    tx: &mut Tx,
    merchant_id: &MerchantId,
    pending: &Payee,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    end_pending(tx, DROP_PENDING, merchant_id, pending, now).await
}

async fn end_pending(
    tx: &mut Tx,
    statement: Statement,
    merchant_id: &MerchantId,
    pending: &Payee,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let moved = on_both!(tx, Db, connection => {
        sqlx::query(statement.text::<Db>())
            .bind(merchant_id.as_str())
            .bind(pending.bank.as_str())
            .bind(pending.account_no.as_str())
            .bind(pending.account_name.as_str())
            .bind(Timestamp(now))
            .execute(connection)
            .await?
            .rows_affected()
    });
    Ok(moved == 1)
}

fn billionths(column: &'static str, rate: rust_decimal::Decimal) -> Result<i64, StoreError> {
    rate_in_billionths(rate)
        .ok_or_else(|| StoreError::corrupt(column, format!("{rate} is no rate of 9 places")))
}

#[derive(FromRow)]
struct MerchantRow {
    merchant_id: String,
    name: String,
    currency: String,
    cycle: String,
    cutoff: String,
    zone: String,
    calendar: String,
    minimum_minor: i64,
    settle_basis: String,
    funds_flow: String,
    coupons: String,
    reserve_billionths: i64,
    is_held: i16,
    bank: String,
    account_no: String,
    account_name: String,
    pending_bank: Option<String>,
    pending_account_no: Option<String>,
    pending_account_name: Option<String>,
    version: i64,
}

#[derive(FromRow)]
struct ContractRow {
    merchant_id: String,
    valid_from: String,
    valid_until: Option<String>,
    rate_billionths: i64,
    fixed_minor: i64,
    minimum_minor: i64,
    maximum_minor: Option<i64>,
    rounding: String,
    returns_fees: i16,
}

fn put_together(
    merchants: Vec<MerchantRow>,
    contracts: Vec<ContractRow>,
) -> Result<Vec<Merchant>, StoreError> {
    let mut by_merchant: BTreeMap<String, Vec<ContractRow>> = BTreeMap::new();
    for contract in contracts {
        let of_merchant = by_merchant.entry(contract.merchant_id.clone());
        of_merchant.or_default().push(contract);
    }
    merchants
        .into_iter()
        .map(|row| {
            let contracts = by_merchant.remove(&row.merchant_id).unwrap_or_default();
            row.with(contracts)
        })
        .collect()
}

impl MerchantRow {
    fn with(self, contracts: Vec<ContractRow>) -> Result<Merchant, StoreError> {
        let currency = Currency::parse(&self.currency)
            .map_err(|error| StoreError::corrupt("currency", error))?;
        let cutoff = NaiveTime::parse_from_str(&self.cutoff, CUTOFF_FORMAT)
            .map_err(|error| StoreError::corrupt("cutoff", error))?;
        let pending = self
            .pending_bank
            .zip(self.pending_account_no)
            .zip(self.pending_account_name);
        let pending_payee = match pending {
            None => None,
            Some(((bank, account_no), account_name)) => Some(Payee {
                bank: parse("pending_bank", &bank)?,
                account_no,
                account_name,
            }),
        };
        let contracts = contracts.into_iter().map(|row| row.contract(currency));
        Ok(Merchant {
            merchant_id: parse("merchant_id", &self.merchant_id)?,
            name: self.name,
            currency,
            cycle: parse("cycle", &self.cycle)?,
            cutoff,
            zone: parse("zone", &self.zone)?,
            calendar: self.calendar,
            minimum: Money::from_minor(self.minimum_minor, currency),
            settle_basis: parse("settle_basis", &self.settle_basis)?,
            funds_flow: parse("funds_flow", &self.funds_flow)?,
            coupons: parse("coupons", &self.coupons)?,
            reserve_rate: rate_of_billionths(self.reserve_billionths),
            is_held: self.is_held != 0,
            payee: Payee {
                bank: parse("bank", &self.bank)?,
                account_no: self.account_no,
                account_name: self.account_name,
            },
            pending_payee,
            contracts: contracts.collect::<Result<_, _>>()?,
            version: self.version,
        })
    }
}

impl ContractRow {
    fn contract(self, currency: Currency) -> Result<FeeContract, StoreError> {
        let money = |minor_units| Money::from_minor(minor_units, currency);
        let valid_until = match self.valid_until {
            None => None,
            Some(last) => Some(parse("valid_until", &last)?),
        };
        Ok(FeeContract {
            valid_from: parse("valid_from", &self.valid_from)?,
            valid_until,
            rate: rate_of_billionths(self.rate_billionths),
            fixed: money(self.fixed_minor),
            minimum: money(self.minimum_minor),
            maximum: self.maximum_minor.map(money),
            rounding: parse("rounding", &self.rounding)?,
            returns_fees: self.returns_fees != 0,
        })
    }
}
