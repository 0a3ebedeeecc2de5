//! From the settings to an engine on a database that is up to date.

use std::path::Path;
use std::sync::Arc;

use super::Outside;
use super::exit::CliError;
use crate::clock::Ids;
use crate::config::Settings;
use crate::engine::{Engine, NoBell};
use crate::store::Store;

/// Never seen as the holder of a lease: a command line leases nothing.
const WORKER: &str = "command-line";
/// A command works on one thing after the other.
const CONNECTIONS: u32 = 1;

/// The settings, from `--config` and the environment.
pub(super) fn load_settings(
    config: Option<&Path>,
    outside: &Outside<'_>,
) -> Result<Settings, CliError> {
    Ok(Settings::load(config, outside.environment.clone())?)
}

/// The database, whatever state its schema is in.
pub(super) async fn open_store(settings: &Settings) -> Result<Store, CliError> {
    let url = settings.database_url()?.reveal();
    Ok(Store::connect(url, CONNECTIONS).await?)
}

/// An engine that wakes nobody: daemons find its jobs by their own look at what is due.
pub(super) async fn open_engine(
    settings: &Settings,
    outside: &Outside<'_>,
) -> Result<Engine, CliError> {
    refuse_missing_file(settings.database_url()?.reveal())?;
    let store = open_store(settings).await?;
    store.check_schema().await?;
    let clock = outside.clock.clone();
    Ok(Engine::new(
        store,
        clock.clone(),
        Ids::random(clock),
        settings.policy(),
        WORKER.to_owned(),
        Arc::new(NoBell),
    ))
}

/// Opening would make an empty file, and a misspelt path would look like an old schema.
fn refuse_missing_file(url: &str) -> Result<(), CliError> {
    let Some(path) = url.strip_prefix("sqlite:") else {
        return Ok(());
    };
    let path = path.strip_prefix("//").unwrap_or(path);
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    if Path::new(path).exists() || path == ":memory:" {
        return Ok(());
    }
    Err(CliError::unavailable(format!(
        "there is no database at {path}: `clearday migrate` makes one"
    )))
}
