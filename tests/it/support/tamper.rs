//! Somebody with a password of the database and bad intent: SQL that no code of ours runs.
#![cfg(test)]

use sqlx::{AssertSqlSafe, Connection, PgConnection, SqliteConnection};

use super::servers::TestDatabase;

/// Runs one statement on either database and says how many rows it moved.
pub(crate) async fn tamper(database: &TestDatabase, sql: &str) -> Result<u64, sqlx::Error> {
    let sql = AssertSqlSafe(sql.to_owned());
    let url = database.url();
    if url.starts_with("sqlite:") {
        let mut connection = SqliteConnection::connect(url).await?;
        let done = sqlx::query(sql).execute(&mut connection).await?;
        Ok(done.rows_affected())
    } else {
        let mut connection = PgConnection::connect(url).await?;
        let done = sqlx::query(sql).execute(&mut connection).await?;
        Ok(done.rows_affected())
    }
}
