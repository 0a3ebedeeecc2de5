//! One embedded daemon per data folder: the queue is inside the process, so a second one would
//! neither hear nor be heard.

use std::fs::{self, File, TryLockError};
use std::path::Path;

use super::exit::CliError;

/// The lock's file, in the data folder.
const LOCK_FILE: &str = "clearday.lock";

/// Held while the daemon lives; the operating system lets go of it when the process ends.
#[derive(Debug)]
pub(super) struct FolderLock {
    _file: File,
}

impl FolderLock {
    /// Takes the lock of a folder, which is made where it is missing.
    ///
    /// # Errors
    /// When another daemon has it; the error names the file.
    pub(super) fn take(folder: &Path) -> Result<Self, CliError> {
        let path = folder.join(LOCK_FILE);
        let failed = |error: std::io::Error| {
            CliError::unavailable(format!("cannot take the lock {}", path.display())).because(error)
        };
        fs::create_dir_all(folder).map_err(failed)?;
        let file = File::create(&path).map_err(failed)?;
        match file.try_lock() {
            Ok(()) => Ok(Self { _file: file }),
            Err(TryLockError::WouldBlock) => Err(CliError::unavailable(format!(
                "another clearday daemon uses this data folder: it holds the lock {}",
                path.display()
            ))),
            Err(TryLockError::Error(error)) => Err(failed(error)),
        }
    }
}
