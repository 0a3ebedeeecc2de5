//! Partners and how they are reached.

use chrono::{DateTime, Utc};
use clearday_jobs::PartnerId;
use sqlx::{FromRow, QueryBuilder};

use super::jobs::parse;
use super::statement::statements;
use super::{CHUNK_ROWS_MAX, StoreError, Timestamp, Tx, on_both};
use crate::domain::partner::{Partner, channels_text, parse_channels};
use crate::store::Statement;

/// Named, so that a column a later release adds never changes what this one reads.
macro_rules! partner_columns {
    () => {
        "partner_id, name, zone, delivery, channels, sms_number, email, webhook_url, is_disabled"
    };
}

statements! {
    FIND = concat!("SELECT ", partner_columns!(), " FROM partners WHERE partner_id = $1");
    LIST = concat!("SELECT ", partner_columns!(), " FROM partners ORDER BY partner_id");
    SET_DISABLED = "UPDATE partners SET is_disabled = $2, updated_at = $3 \
        WHERE partner_id = $1 AND is_disabled <> $2";
}

const LOCKED: Statement = Statement {
    sqlite: "",
    postgres: " FOR UPDATE",
};

/// The partner, if they are known.
pub async fn find(tx: &mut Tx, partner_id: &PartnerId) -> Result<Option<Partner>, StoreError> {
    let row: Option<PartnerRow> = on_both!(tx, Db, connection => {
        sqlx::query_as(FIND.text::<Db>())
            .bind(partner_id.as_str())
            .fetch_optional(connection)
            .await?
    });
    row.map(TryInto::try_into).transpose()
}

/// Every partner, in the order of their ids.
pub async fn list(tx: &mut Tx) -> Result<Vec<Partner>, StoreError> {
    let rows: Vec<PartnerRow> = on_both!(tx, Db, connection => {
        sqlx::query_as(LIST.text::<Db>()).fetch_all(connection).await?
    });
    rows.into_iter().map(TryInto::try_into).collect()
}

/// Those of the partners that are known, locked until the transaction ends; in the order of their ids.
pub async fn lock_all(tx: &mut Tx, partner_ids: &[&PartnerId]) -> Result<Vec<Partner>, StoreError> {
    let mut found = Vec::new();
    for chunk in partner_ids.chunks(CHUNK_ROWS_MAX) {
        let rows: Vec<PartnerRow> = on_both!(tx, Db, connection => {
            let mut query = QueryBuilder::<Db>::new(concat!(
                "SELECT ", partner_columns!(), " FROM partners WHERE partner_id IN ("
            ));
            let mut ids = query.separated(", ");
            for partner_id in chunk {
                ids.push_bind(partner_id.as_str());
            }
            query.push(") ORDER BY partner_id").push(LOCKED.text::<Db>());
            query.build_query_as().fetch_all(connection).await?
        });
        for row in rows {
            found.push(row.try_into()?);
        }
    }
    Ok(found)
}

/// Writes partners down, in place of what is known of them; returns how many.
pub async fn upsert_all(
    tx: &mut Tx,
    partners: &[Partner],
    now: DateTime<Utc>,
) -> Result<u64, StoreError> {
    let mut written = 0_u64;
    for chunk in partners.chunks(CHUNK_ROWS_MAX) {
        let rows = on_both!(tx, Db, connection => {
            let mut query = QueryBuilder::<Db>::new(concat!(
                "INSERT INTO partners (", partner_columns!(), ", created_at, updated_at) "
            ));
            query.push_values(chunk, |mut row, partner| {
                row.push_bind(partner.partner_id.as_str())
                    .push_bind(partner.name.as_str())
                    .push_bind(partner.zone.name())
                    .push_bind(partner.delivery.as_str())
                    .push_bind(channels_text(&partner.channels))
                    .push_bind(partner.sms_number.as_deref())
                    .push_bind(partner.email.as_deref())
                    .push_bind(partner.webhook_url.as_deref())
                    .push_bind(i16::from(partner.is_disabled))
                    .push_bind(Timestamp(now))
                    .push_bind(Timestamp(now));
            });
            query.push(
                " ON CONFLICT (partner_id) DO UPDATE SET name = excluded.name, zone = excluded.zone, \
                 delivery = excluded.delivery, channels = excluded.channels, sms_number = excluded.sms_number, \
                 email = excluded.email, webhook_url = excluded.webhook_url, is_disabled = excluded.is_disabled, \
                 updated_at = excluded.updated_at",
            );
            query.build().execute(connection).await?.rows_affected()
        });
        written = written.saturating_add(rows);
    }
    Ok(written)
}

/// Stops or resumes messages to a partner; `false` when nothing changed.
pub async fn set_disabled(
    tx: &mut Tx,
    partner_id: &PartnerId,
    is_disabled: bool,
    now: DateTime<Utc>,
) -> Result<bool, StoreError> {
    let moved = on_both!(tx, Db, connection => {
        sqlx::query(SET_DISABLED.text::<Db>())
            .bind(partner_id.as_str())
            .bind(i16::from(is_disabled))
            .bind(Timestamp(now))
            .execute(connection)
            .await?
            .rows_affected()
    });
    Ok(moved == 1)
}

#[derive(FromRow)]
struct PartnerRow {
    partner_id: String,
    name: String,
    zone: String,
    delivery: String,
    channels: String,
    sms_number: Option<String>,
    email: Option<String>,
    webhook_url: Option<String>,
    is_disabled: i16,
}

impl TryFrom<PartnerRow> for Partner {
    type Error = StoreError;

    fn try_from(row: PartnerRow) -> Result<Self, StoreError> {
        let channels = parse_channels(&row.channels)
            .map_err(|error| StoreError::corrupt("channels", error))?;
        Ok(Self {
            partner_id: parse("partner_id", &row.partner_id)?,
            name: row.name,
            zone: parse("zone", &row.zone)?,
            delivery: parse("delivery", &row.delivery)?,
            channels,
            sms_number: row.sms_number,
            email: row.email,
            webhook_url: row.webhook_url,
            is_disabled: row.is_disabled != 0,
        })
    }
}
