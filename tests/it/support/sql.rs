//! Plain SQL against a test's database, past all the code: what a hand in the database could do.
#![cfg(test)]

use sqlx::{Connection, Executor, PgConnection, SqliteConnection};

/// Runs statements, parted by `;`, and says what the database said.
pub(crate) async fn execute(url: &str, sql: &str) -> Result<u64, sqlx::Error> {
    let text = sqlx::AssertSqlSafe(sql.to_owned());
    if url.starts_with("sqlite:") {
        let mut connection = SqliteConnection::connect(url).await?;
        Ok(connection
            .execute(sqlx::raw_sql(text))
            .await?
            .rows_affected())
    } else {
        let mut connection = PgConnection::connect(url).await?;
        Ok(connection
            .execute(sqlx::raw_sql(text))
            .await?
            .rows_affected())
    }
}

/// The same, with no regard for foreign keys: as somebody who owns the database can.
pub(crate) async fn tamper(url: &str, sql: &str) -> Result<u64, sqlx::Error> {
    let disregard = if url.starts_with("sqlite:") {
        "PRAGMA foreign_keys = OFF"
    } else {
        "SET session_replication_role = replica"
    };
    execute(url, &format!("{disregard}; {sql}")).await
}
