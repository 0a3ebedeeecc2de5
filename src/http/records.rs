//! `/v1/records`: payments and refunds of our books, many at a time, as JSON lines.
//!
//! The same rules and the same writing as `clearday import`: all of a body or nothing of it, and the same body again
//! changes nothing. The body is read while it arrives; only its rows are held.

use std::io::{self, BufReader, Read};

use axum::Json;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header::{CONTENT_LENGTH, CONTENT_TYPE};
use axum::http::{HeaderMap, HeaderValue};
use futures::StreamExt;
use serde::Serialize;
use tokio::sync::mpsc;
use utoipa::ToSchema;

use super::Api;
use super::jobs::refuse_encoded;
use super::problem::{Problem, ProblemKind, RowProblem};
use crate::domain::import::records::{RecordBatch, RecordRow};
use crate::domain::import::{ImportSummary, RefusedRow};
use crate::engine::ImportError;
use crate::formats::records::read_json_records;
use crate::formats::rows::RowsError;

/// The largest body: about 250,000 records, whose rows take about twice this in memory. What is larger is sent in
/// parts, which may be repeated.
const BODY_BYTES_MAX: u64 = 64 << 20;

/// Bodies read at the same time; each holds its rows until they are written. More wait for their turn.
pub(super) const IMPORTS_MAX: usize = 2;

/// Faulty lines that one answer tells.
const FAULTS_MAX: usize = 100;

/// Pieces of a body that wait for the reader.
const PIECES_WAITING_MAX: usize = 16;

const NDJSON: &str = "application/x-ndjson";

/// What an import did, in lines of the body.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = ImportedRecords)]
pub(super) struct Imported {
    /// Lines read, empty ones not counted.
    read: u64,
    /// About a record that was not known.
    new: u64,
    /// Changed how a known record went.
    updated: u64,
    /// Told nothing new.
    unchanged: u64,
}

impl From<ImportSummary> for Imported {
    fn from(summary: ImportSummary) -> Self {
        Self {
            read: summary.rows,
            new: summary.new,
            updated: summary.changed,
            unchanged: summary.unchanged,
        }
    }
}

/// Imports records.
///
/// One JSON object a line, with the columns of the CSV as its members and every value a string. All of the body is
/// written down before this answers 200, or nothing of it; the same body again changes nothing, so send it again
/// whenever an answer is lost. What is larger than the limit, or does not arrive within 20 seconds, is sent in parts.
#[utoipa::path(
    post,
    path = "/v1/records",
    tag = "records",
    operation_id = "import_records",
    request_body(
        content = String,
        content_type = "application/x-ndjson",
        description = "JSON lines. At most 67,108,864 bytes, and 50,000 a line.",
        example = r#"{"record_no":"CD20260302001","kind":"payment","channel":"wechat_pay","channel_trade_no":"4200000001202603020000000001","merchant_id":"shop-hangzhou","amount":"18.00","currency":"CNY","fee":"0.11","status":"succeeded","occurred_at":"2026-03-02T08:14:09+08:00"}"#,
    ),
    responses(
        (status = 200, description = "All of it is durable.", body = Imported),
        (status = 400, description = "The body broke off."),
        (status = 413, description = "The body is too large; nothing was imported."),
        (status = 415, description = "Not JSON lines, or compressed."),
        (status = 422, description = "Nothing was imported; `errors` names the first 100 faulty lines with their columns."),
        (status = 503, description = "Nothing was acknowledged; try again."),
    )
)]
pub(super) async fn import(
    State(api): State<Api>,
    headers: HeaderMap,
    body: Body,
) -> Result<Json<Imported>, Problem> {
    refuse_encoded(&headers)?;
    refuse_other_types(&headers)?;
    refuse_announced(&headers)?;
    let _room = api
        .imports
        .acquire()
        .await
        .map_err(|error| Problem::internal("import records", &error))?;
    let rows = read(body).await?;
    Ok(Json(api.engine.import_batch(&rows).await?.into()))
}

/// Whoever sends a CSV here would find its first line refused and wonder why.
fn refuse_other_types(headers: &HeaderMap) -> Result<(), Problem> {
    let told = headers.get(CONTENT_TYPE).map(HeaderValue::to_str);
    let essence = match told {
        Some(Ok(text)) => text.split(';').next().unwrap_or_default().trim(),
        Some(Err(_)) | None => "",
    };
    if essence.eq_ignore_ascii_case(NDJSON) {
        return Ok(());
    }
    let detail = format!("send JSON lines as `Content-Type: {NDJSON}`");
    Err(Problem::new(ProblemKind::UnsupportedMediaType, detail).about("Content-Type"))
}

fn refuse_announced(headers: &HeaderMap) -> Result<(), Problem> {
    let told = headers
        .get(CONTENT_LENGTH)
        .and_then(|told| told.to_str().ok());
    let announced = told.and_then(|told| told.parse::<u64>().ok());
    match announced {
        Some(length) if length > BODY_BYTES_MAX => Err(too_large()),
        Some(_) | None => Ok(()),
    }
}

fn too_large() -> Problem {
    let detail =
        format!("the body may have {BODY_BYTES_MAX} bytes: send it in parts; nothing was imported");
    Problem::new(ProblemKind::PayloadTooLarge, detail)
}

/// The rows of a body, read and sorted on a thread of their own while it arrives.
async fn read(body: Body) -> Result<RecordBatch, Problem> {
    let (pieces, waiting) = mpsc::channel(PIECES_WAITING_MAX);
    let reading = tokio::task::spawn_blocking(move || read_rows(Pieces::new(waiting)));
    hand_over(body, pieces).await?;
    match reading.await {
        Ok(Ok(rows)) => Ok(rows),
        Ok(Err(faults)) => Err(refused(faults)),
        Err(error) => Err(Problem::internal("read records", &error)),
    }
}

fn read_rows(pieces: Pieces) -> Result<RecordBatch, Vec<RowProblem>> {
    let mut rows = Vec::new();
    let take = |line, record| rows.push(RecordRow { line, record });
    read_json_records(BufReader::new(pieces), FAULTS_MAX, take)
        .map_err(|faults| faults.iter().map(RowProblem::from).collect::<Vec<_>>())?;
    RecordBatch::new(rows).map_err(|row| vec![row.into()])
}

/// Ends early, and not as an error, when the reader has seen enough faults.
async fn hand_over(body: Body, pieces: mpsc::Sender<Bytes>) -> Result<(), Problem> {
    let mut arriving = body.into_data_stream();
    let mut length = 0_u64;
    while let Some(piece) = arriving.next().await {
        let piece = piece.map_err(|error| {
            Problem::new(
                ProblemKind::MalformedRequest,
                format!("the body broke off: {error}; nothing was imported"),
            )
        })?;
        length = length.saturating_add(u64::try_from(piece.len()).unwrap_or(u64::MAX));
        if length > BODY_BYTES_MAX {
            return Err(too_large());
        }
        if pieces.send(piece).await.is_err() {
            break;
        }
    }
    Ok(())
}

fn refused(faults: Vec<RowProblem>) -> Problem {
    let detail = match faults.as_slice() {
        [only] => format!("{only}; nothing was imported"),
        [first, ..] if faults.len() < FAULTS_MAX => {
            format!(
                "{} lines are refused; nothing was imported. The first: {first}",
                faults.len()
            )
        }
        [first, ..] => {
            format!(
                "{FAULTS_MAX} lines are refused and the rest was not read; nothing was imported. The first: {first}"
            )
        }
        [] => "nothing was imported".to_owned(),
    };
    Problem::new(ProblemKind::BadRecords, detail).with_rows(faults)
}

/// The pieces of a body as one reader.
struct Pieces {
    waiting: mpsc::Receiver<Bytes>,
    current: Bytes,
}

impl Pieces {
    fn new(waiting: mpsc::Receiver<Bytes>) -> Self {
        Self {
            waiting,
            current: Bytes::new(),
        }
    }
}

impl Read for Pieces {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        while self.current.is_empty() {
            match self.waiting.blocking_recv() {
                Some(piece) => self.current = piece,
                None => return Ok(0),
            }
        }
        let mut rest: &[u8] = &self.current;
        let length = rest.read(into)?;
        drop(self.current.split_to(length));
        Ok(length)
    }
}

impl From<&RowsError> for RowProblem {
    fn from(error: &RowsError) -> Self {
        Self {
            line: error.line(),
            column: error.column().map(ToOwned::to_owned),
            reason: error.reason(),
        }
    }
}

impl From<RefusedRow> for RowProblem {
    fn from(row: RefusedRow) -> Self {
        Self {
            line: row.line,
            column: Some(row.column.to_owned()),
            reason: row.reason,
        }
    }
}

impl From<ImportError> for Problem {
    fn from(error: ImportError) -> Self {
        match error {
            ImportError::Refused(row) => refused(vec![row.into()]),
            ImportError::Store(error) => error.into(),
            ImportError::Deadline { .. } => Self::internal("import records", &error),
            ImportError::LostRace | ImportError::MerchantChanged => {
                Self::new(ProblemKind::Unavailable, error.to_string())
            }
        }
    }
}
