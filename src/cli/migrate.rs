//! `clearday migrate`: brings the schema of the database up to date.

use super::exit::{CliError, Exit};
use super::{Outside, connect};
use crate::config::Settings;

/// Runs the verb and says how to exit.
pub(super) async fn run(settings: &Settings, outside: &mut Outside<'_>) -> Result<Exit, CliError> {
    let store = connect::open_store(settings).await?;
    let migrated = store.migrate().await;
    store.close().await;
    migrated?;
    let dialect = store.dialect();
    writeln!(outside.stdout, "The schema is up to date ({dialect}).").map_err(CliError::output)?;
    Ok(Exit::Fine)
}
