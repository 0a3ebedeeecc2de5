//! From when on something outside may be asked again, over all daemons.

use chrono::{DateTime, Utc};

use super::statement::statements;
use super::{StoreError, Timestamp, Tx, on_both};

statements! {
    KNOW = "INSERT INTO paces (name, next_at) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING";
    LOCK = "SELECT next_at FROM paces WHERE name = $1", postgres " FOR UPDATE";
    SET = "UPDATE paces SET next_at = $2 WHERE name = $1";
}

/// From when on `name` may be asked again, locked; a name that nobody asked yet, from `now` on.
pub async fn lock(
    tx: &mut Tx,
    name: &str,
    now: DateTime<Utc>,
) -> Result<DateTime<Utc>, StoreError> {
    let next: Timestamp = on_both!(tx, Db, connection => {
        sqlx::query(KNOW.text::<Db>())
            .bind(name)
            .bind(Timestamp(now))
            .execute(&mut *connection)
            .await?;
        sqlx::query_scalar(LOCK.text::<Db>()).bind(name).fetch_one(connection).await?
    });
    Ok(next.0)
}

/// Sets from when on a name that is locked may be asked again.
pub async fn set(tx: &mut Tx, name: &str, next_at: DateTime<Utc>) -> Result<(), StoreError> {
    on_both!(tx, Db, connection => {
        sqlx::query(SET.text::<Db>())
            .bind(name)
            .bind(Timestamp(next_at))
            .execute(connection)
            .await?;
    });
    Ok(())
}
