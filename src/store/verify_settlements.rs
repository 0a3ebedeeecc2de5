//! What `clearday verify` reads of settlements beside what their own files read: which there are, and what was
//! booked for them.

use std::collections::HashMap;

use clearday_jobs::SettlementId;
use sqlx::{FromRow, QueryBuilder};
use uuid::Uuid;

use super::jobs::bound;
use super::statement::statements;
use super::verify_money::PAGE;
use super::{StoreError, Tx, on_both};

statements! {
    SETTLEMENTS = "SELECT id FROM settlements WHERE id > $1 ORDER BY id LIMIT $2";
    COUNT_ITEMS = "SELECT COUNT(*) FROM settlement_items";
    COUNT_PARTS = "SELECT COUNT(*) FROM settlement_parts";
    COUNT_INSTRUCTIONS = "SELECT COUNT(*) FROM payout_instructions";
    /// What was ordered or claimed is the whole part, in its currency.
    COUNT_ODD = "SELECT COUNT(*) FROM (SELECT settlement_id, part_no, amount_minor, currency FROM payout_instructions \
                 UNION ALL SELECT settlement_id, part_no, amount_minor, currency FROM offline_payments) AS said \
                 LEFT JOIN settlement_parts p ON p.settlement_id = said.settlement_id AND p.part_no = said.part_no \
                 WHERE p.part_no IS NULL OR p.amount_minor <> said.amount_minor OR p.currency <> said.currency";
    /// Settlements whose history does not lead to where they are.
    COUNT_UNTOLD = "SELECT COUNT(*) FROM settlements s WHERE s.version <> \
                    (SELECT COUNT(*) FROM settlement_events e WHERE e.settlement_id = s.id AND e.version <= s.version)";
}

/// The next page of settlements after an id.
pub async fn settlements(tx: &mut Tx, after: Uuid) -> Result<Vec<SettlementId>, StoreError> {
    let ids: Vec<Uuid> = on_both!(tx, Db, connection => {
        sqlx::query_scalar(SETTLEMENTS.text::<Db>())
            .bind(after)
            .bind(bound(PAGE))
            .fetch_all(connection)
            .await?
    });
    Ok(ids.into_iter().map(SettlementId).collect())
}

/// How many rows hang on settlements, whatever settlement they name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SettlementRows {
    /// Items.
    pub items: i64,
    /// Parts.
    pub parts: i64,
    /// Instructions to banks.
    pub instructions: i64,
}

/// Instructions and offline payments of another amount than their part, and settlements without their whole history.
pub async fn count_odd(tx: &mut Tx) -> Result<(i64, i64), StoreError> {
    Ok(on_both!(tx, Db, connection => {
        let odd = sqlx::query_scalar(COUNT_ODD.text::<Db>()).fetch_one(&mut *connection).await?;
        let untold = sqlx::query_scalar(COUNT_UNTOLD.text::<Db>()).fetch_one(connection).await?;
        (odd, untold)
    }))
}

/// Counts what hangs on settlements.
pub async fn count(tx: &mut Tx) -> Result<SettlementRows, StoreError> {
    Ok(on_both!(tx, Db, connection => {
        SettlementRows {
            items: sqlx::query_scalar(COUNT_ITEMS.text::<Db>()).fetch_one(&mut *connection).await?,
            parts: sqlx::query_scalar(COUNT_PARTS.text::<Db>()).fetch_one(&mut *connection).await?,
            instructions: sqlx::query_scalar(COUNT_INSTRUCTIONS.text::<Db>()).fetch_one(connection).await?,
        }
    }))
}

/// A posting of an entry that is looked for by its identity.
#[derive(Clone, Debug, FromRow)]
pub struct BookedPosting {
    /// The entry's identity.
    pub identity: String,
    /// The account that gets it.
    pub debit_account: String,
    /// How much.
    pub amount_minor: i64,
}

/// The postings of the entries with these identities, by identity.
pub async fn booked(
    tx: &mut Tx,
    identities: &[String],
) -> Result<HashMap<String, Vec<BookedPosting>>, StoreError> {
    let mut found: HashMap<String, Vec<BookedPosting>> = HashMap::new();
    for chunk in identities.chunks(PAGE) {
        let rows: Vec<BookedPosting> = on_both!(tx, Db, connection => {
            let mut query = QueryBuilder::<Db>::new(
                "SELECT j.identity, p.debit_account, p.amount_minor FROM journal_entries j \
                 JOIN postings p ON p.entry_id = j.id WHERE j.identity IN (",
            );
            let mut list = query.separated(", ");
            for identity in chunk {
                list.push_bind(identity.as_str());
            }
            query.push(") ORDER BY j.identity, p.line");
            query.build_query_as().persistent(false).fetch_all(connection).await?
        });
        for row in rows {
            found.entry(row.identity.clone()).or_default().push(row);
        }
    }
    Ok(found)
}
