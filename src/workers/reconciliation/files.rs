//! The statement files of a job: read from the folder, remembered by their digest, and refused whole.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::Path;

use chrono::{DateTime, Utc};
use clearday_jobs::{ChannelName, Reconciliation as Asked};
use serde_json::json;

use crate::engine::{Finished, Run, WorkError};
use crate::store::Tx;
use crate::store::reconciliations::{self, NewFile};

/// Larger statement files must be read in parts on disk, which this release does not do yet.
const STATEMENT_BYTES_MAX: u64 = 1 << 30;
/// A refused file is kept in the database up to this size; a larger one is kept by its name and
/// digest, and lies in the folder still.
const KEPT_BYTES_MAX: usize = 4 << 20;
/// A statement file, without its content.
#[derive(Clone, Debug)]
pub(super) struct StatementFile {
    pub(super) name: String,
    pub(super) sha256: String,
}

/// The bytes of a named file in the folder.
pub(super) fn read_file(folder: &Path, name: &str) -> Result<Vec<u8>, WorkError> {
    let unavailable = |error: io::Error| WorkError::Unavailable {
        what: format!("statement {name}"),
        reason: error.to_string(),
    };
    let path = folder.join(name);
    // The contract refuses names that lead out of the folder; a link in it could still do so.
    let root = folder.canonicalize().map_err(unavailable)?;
    if !path.canonicalize().map_err(unavailable)?.starts_with(&root) {
        return Err(WorkError::Invalid(format!(
            "statement {name} leads out of the statements folder"
        )));
    }
    let mut bytes = Vec::new();
    let limit = STATEMENT_BYTES_MAX.saturating_add(1);
    let read = File::open(&path)
        .and_then(|file| file.take(limit).read_to_end(&mut bytes))
        .map_err(unavailable)?;
    if u64::try_from(read).is_ok_and(|read| read > STATEMENT_BYTES_MAX) {
        return Err(WorkError::Invalid(format!(
            "statement {name} is larger than {STATEMENT_BYTES_MAX} bytes: split it"
        )));
    }
    Ok(bytes)
}

/// The content of a refused file, if it is kept.
pub(super) fn kept_content(bytes: Vec<u8>) -> Option<Vec<u8>> {
    (bytes.len() <= KEPT_BYTES_MAX).then_some(bytes)
}

/// The files of a run, as JSON that does not depend on their order.
pub(super) fn names_of(files: &[StatementFile]) -> String {
    let mut names: Vec<(&str, &str)> = files
        .iter()
        .map(|file| (file.name.as_str(), file.sha256.as_str()))
        .collect();
    names.sort_unstable();
    let names: Vec<_> = names
        .into_iter()
        .map(|(file, sha256)| json!({ "file": file, "sha256": sha256 }))
        .collect();
    json!(names).to_string()
}

/// Remembers files that were taken.
pub(super) async fn keep_accepted(
    tx: &mut Tx,
    channel: &ChannelName,
    files: &[StatementFile],
    now: DateTime<Utc>,
) -> Result<(), WorkError> {
    for file in files {
        let kept = NewFile {
            sha256: &file.sha256,
            channel: channel.as_str(),
            file_name: &file.name,
            content: None,
            refusal: None,
        };
        reconciliations::keep_file(tx, &kept, now).await?;
    }
    Ok(())
}

/// Keeps the file at fault with its reason, and ends the job among the dead letters.
pub(super) async fn refuse(
    run: &Run,
    asked: &Asked,
    file: &StatementFile,
    content: Option<&[u8]>,
    reason: &str,
) -> Result<Finished, WorkError> {
    let mut tx = run.begin().await?;
    let kept = NewFile {
        sha256: &file.sha256,
        channel: asked.channel.as_str(),
        file_name: &file.name,
        content,
        refusal: Some(reason),
    };
    reconciliations::keep_file(&mut tx, &kept, run.now()).await?;
    run.checkpoint(tx).await?;
    Err(WorkError::Invalid(format!(
        "statement {}: {reason}",
        file.name
    )))
}
