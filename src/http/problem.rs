//! Errors as RFC 9457 describes them: `application/problem+json`, one type per thing a caller does
//! differently.
//!
//! The details that clients see say what they can mend; what went wrong inside is logged here,
//! once, and not shown.

use axum::Json;
use axum::http::header::{CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE};
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use clearday_jobs::{JobId, PayloadError};
use serde::Serialize;
use tracing::{error, warn};
use utoipa::ToSchema;

use crate::domain::approval::SignatureRefusal;
use crate::engine::{ApprovalError, MendError, OperateError, Refusal};
use crate::store::StoreError;

/// The media type of every error.
pub(super) const PROBLEM_JSON: &str = "application/problem+json";

/// After an outage of the database, this many seconds are worth waiting before the next try.
const RETRY_AFTER_SECONDS: &str = "5";

/// What kind of problem it is; the name is part of the API and never changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ProblemKind {
    MalformedRequest,
    UnknownParameter,
    BadParameter,
    NoIdempotencyKey,
    BadIdempotencyKey,
    Unauthenticated,
    Forbidden,
    CrossSite,
    ForeignHost,
    NotFound,
    UnknownKind,
    MethodNotAllowed,
    IdempotencyKeyTaken,
    StateConflict,
    NoPeople,
    SamePerson,
    ApprovalDecided,
    DigestDiffers,
    CountDiffers,
    PartClaimed,
    PayloadTooLarge,
    UnsupportedEncoding,
    UnsupportedMediaType,
    BadPayload,
    BadRecords,
    Internal,
    Unavailable,
}

impl ProblemKind {
    const fn status(self) -> StatusCode {
        match self {
            Self::MalformedRequest
            | Self::UnknownParameter
            | Self::BadParameter
            | Self::NoIdempotencyKey
            | Self::BadIdempotencyKey => StatusCode::BAD_REQUEST,
            Self::Unauthenticated => StatusCode::UNAUTHORIZED,
            Self::Forbidden | Self::CrossSite | Self::ForeignHost | Self::NoPeople => {
                StatusCode::FORBIDDEN
            }
            Self::NotFound | Self::UnknownKind => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::IdempotencyKeyTaken
            | Self::StateConflict
            | Self::SamePerson
            | Self::ApprovalDecided
            | Self::DigestDiffers
            | Self::CountDiffers
            | Self::PartClaimed => StatusCode::CONFLICT,
            Self::PayloadTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::UnsupportedEncoding | Self::UnsupportedMediaType => {
                StatusCode::UNSUPPORTED_MEDIA_TYPE
            }
            Self::BadPayload | Self::BadRecords => StatusCode::UNPROCESSABLE_ENTITY,
            Self::Internal => StatusCode::INTERNAL_SERVER_ERROR,
            Self::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// The problem's URI, of the form that other publishers of problem types use.
    const fn uri(self) -> &'static str {
        match self {
            Self::MalformedRequest => "urn:problem-type:clearday:malformed_request",
            Self::UnknownParameter => "urn:problem-type:clearday:unknown_parameter",
            Self::BadParameter => "urn:problem-type:clearday:bad_parameter",
            Self::NoIdempotencyKey => "urn:problem-type:clearday:no_idempotency_key",
            Self::BadIdempotencyKey => "urn:problem-type:clearday:bad_idempotency_key",
            Self::Unauthenticated => "urn:problem-type:clearday:unauthenticated",
            Self::Forbidden => "urn:problem-type:clearday:forbidden",
            Self::CrossSite => "urn:problem-type:clearday:cross_site",
            Self::ForeignHost => "urn:problem-type:clearday:foreign_host",
            Self::NotFound => "urn:problem-type:clearday:not_found",
            Self::UnknownKind => "urn:problem-type:clearday:unknown_kind",
            Self::MethodNotAllowed => "urn:problem-type:clearday:method_not_allowed",
            Self::IdempotencyKeyTaken => "urn:problem-type:clearday:idempotency_key_taken",
            Self::StateConflict => "urn:problem-type:clearday:state_conflict",
            Self::NoPeople => "urn:problem-type:clearday:no_people",
            Self::SamePerson => "urn:problem-type:clearday:same_person",
            Self::ApprovalDecided => "urn:problem-type:clearday:approval_decided",
            Self::DigestDiffers => "urn:problem-type:clearday:digest_differs",
            Self::CountDiffers => "urn:problem-type:clearday:count_differs",
            Self::PartClaimed => "urn:problem-type:clearday:part_claimed",
            Self::PayloadTooLarge => "urn:problem-type:clearday:payload_too_large",
            Self::UnsupportedEncoding => "urn:problem-type:clearday:unsupported_encoding",
            Self::UnsupportedMediaType => "urn:problem-type:clearday:unsupported_media_type",
            Self::BadRecords => "urn:problem-type:clearday:bad_records",
            Self::BadPayload => "urn:problem-type:clearday:bad_payload",
            Self::Internal => "urn:problem-type:clearday:internal",
            Self::Unavailable => "urn:problem-type:clearday:unavailable",
        }
    }

    const fn title(self) -> &'static str {
        match self {
            Self::MalformedRequest => "The request cannot be read",
            Self::UnknownParameter => "Unknown query parameter",
            Self::BadParameter => "Bad query parameter",
            Self::NoIdempotencyKey => "No idempotency key",
            Self::BadIdempotencyKey => "Bad idempotency key",
            Self::Unauthenticated => "A valid token is needed",
            Self::Forbidden => "Your role does not allow this",
            Self::CrossSite => "Refused: sent by another site",
            Self::ForeignHost => "Refused: not addressed to this machine",
            Self::NotFound => "Not found",
            Self::UnknownKind => "Unknown kind of job",
            Self::MethodNotAllowed => "Method not allowed",
            Self::IdempotencyKeyTaken => "The idempotency key is taken",
            Self::StateConflict => "The job's state does not allow this",
            Self::NoPeople => "Nobody is configured who could approve",
            Self::SamePerson => "Another person must be the second",
            Self::ApprovalDecided => "The approval is decided already",
            Self::DigestDiffers => "This is not what was seen",
            Self::CountDiffers => "Not as many as were shown",
            Self::PartClaimed => "The payment is claimed already",
            Self::PayloadTooLarge => "The payload is too large",
            Self::UnsupportedEncoding => "Unsupported content encoding",
            Self::UnsupportedMediaType => "Unsupported content type",
            Self::BadPayload => "The payload is refused",
            Self::BadRecords => "The records are refused",
            Self::Internal => "Something went wrong here",
            Self::Unavailable => "Unavailable for now",
        }
    }

    /// What to say when only a status is known, as of answers that the framework makes.
    fn of_status(status: StatusCode) -> Self {
        match status {
            StatusCode::UNAUTHORIZED => Self::Unauthenticated,
            StatusCode::FORBIDDEN => Self::Forbidden,
            StatusCode::NOT_FOUND => Self::NotFound,
            StatusCode::METHOD_NOT_ALLOWED => Self::MethodNotAllowed,
            StatusCode::PAYLOAD_TOO_LARGE => Self::PayloadTooLarge,
            StatusCode::SERVICE_UNAVAILABLE => Self::Unavailable,
            other if other.is_client_error() => Self::MalformedRequest,
            _ => Self::Internal,
        }
    }
}

/// An error answer.
#[derive(Clone, Debug)]
pub(super) struct Problem {
    kind: ProblemKind,
    detail: String,
    field: Option<String>,
    job_id: Option<JobId>,
    errors: Vec<RowProblem>,
}

/// A line that was refused.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = RowProblem)]
pub(super) struct RowProblem {
    /// The line of the body, counted from 1.
    pub(super) line: u64,
    /// The column; absent where the line as a whole is at fault.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) column: Option<String>,
    /// What is wrong with it.
    pub(super) reason: String,
}

impl std::fmt::Display for RowProblem {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.column {
            Some(column) => write!(f, "line {}, column {column}: {}", self.line, self.reason),
            None => write!(f, "line {}: {}", self.line, self.reason),
        }
    }
}

/// The body of an error answer (RFC 9457).
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = Problem)]
pub(super) struct ProblemBody {
    /// Names the kind of problem: `urn:problem-type:clearday:bad_payload`.
    #[serde(rename = "type")]
    uri: &'static str,
    /// The kind of problem in words; the same for every problem of a type.
    title: &'static str,
    /// The HTTP status.
    status: u16,
    /// What is wrong with this request, and what to do.
    detail: String,
    /// The field, header or query parameter it is about: `methods[1].token`.
    #[serde(skip_serializing_if = "Option::is_none")]
    field: Option<String>,
    /// The job that stands in the way.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = "uuid")]
    job_id: Option<JobId>,
    /// The lines of a body that are refused.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    #[schema(required = false)]
    errors: Vec<RowProblem>,
}

impl Problem {
    pub(super) fn new(kind: ProblemKind, detail: impl Into<String>) -> Self {
        Self {
            kind,
            detail: detail.into(),
            field: None,
            job_id: None,
            errors: Vec::new(),
        }
    }

    /// Names the field, header or parameter.
    pub(super) fn about(mut self, field: impl Into<String>) -> Self {
        self.field = Some(field.into());
        self
    }

    /// Names the lines.
    pub(super) fn with_rows(mut self, errors: Vec<RowProblem>) -> Self {
        self.errors = errors;
        self
    }

    /// Names the job that stands in the way.
    fn blocked_by(mut self, job_id: JobId) -> Self {
        self.job_id = Some(job_id);
        self
    }

    /// The problem behind a status that the framework answered on its own.
    pub(super) fn of_status(status: StatusCode) -> Self {
        let kind = ProblemKind::of_status(status);
        let detail = match kind {
            ProblemKind::NotFound => "there is nothing at this address",
            ProblemKind::MethodNotAllowed => "this address does not answer this method",
            ProblemKind::Unavailable => {
                "the request took too long and was given up; a job that was being submitted may or \
                 may not be known: send it again with the same idempotency key"
            }
            ProblemKind::Internal => "the log of this daemon says more",
            ProblemKind::MalformedRequest
            | ProblemKind::UnknownParameter
            | ProblemKind::BadParameter
            | ProblemKind::NoIdempotencyKey
            | ProblemKind::BadIdempotencyKey
            | ProblemKind::Unauthenticated
            | ProblemKind::Forbidden
            | ProblemKind::CrossSite
            | ProblemKind::ForeignHost
            | ProblemKind::UnknownKind
            | ProblemKind::IdempotencyKeyTaken
            | ProblemKind::StateConflict
            | ProblemKind::NoPeople
            | ProblemKind::SamePerson
            | ProblemKind::ApprovalDecided
            | ProblemKind::DigestDiffers
            | ProblemKind::CountDiffers
            | ProblemKind::PartClaimed
            | ProblemKind::PayloadTooLarge
            | ProblemKind::UnsupportedEncoding
            | ProblemKind::UnsupportedMediaType
            | ProblemKind::BadPayload
            | ProblemKind::BadRecords => kind.title(),
        };
        Self::new(kind, detail)
    }

    pub(super) fn internal(action: &'static str, cause: &dyn std::fmt::Display) -> Self {
        error!(error = %cause, "Could not {action}");
        Self::of_status(StatusCode::INTERNAL_SERVER_ERROR)
    }

    pub(super) const fn status(&self) -> StatusCode {
        self.kind.status()
    }

    pub(super) const fn title(&self) -> &'static str {
        self.kind.title()
    }

    pub(super) fn detail(&self) -> &str {
        &self.detail
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = self.kind.status();
        let body = ProblemBody {
            uri: self.kind.uri(),
            title: self.kind.title(),
            status: status.as_u16(),
            detail: self.detail.clone(),
            field: self.field.clone(),
            job_id: self.job_id,
            errors: self.errors.clone(),
        };
        let mut response = (status, Json(body)).into_response();
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static(PROBLEM_JSON));
        match self.kind {
            ProblemKind::Unavailable => {
                headers.insert(RETRY_AFTER, HeaderValue::from_static(RETRY_AFTER_SECONDS));
            }
            ProblemKind::Unauthenticated => {
                let challenge = HeaderValue::from_static("Bearer realm=\"clearday\"");
                headers.insert(WWW_AUTHENTICATE, challenge);
            }
            ProblemKind::UnsupportedEncoding => {
                headers.insert("accept-encoding", HeaderValue::from_static("identity"));
            }
            ProblemKind::MalformedRequest
            | ProblemKind::UnknownParameter
            | ProblemKind::BadParameter
            | ProblemKind::NoIdempotencyKey
            | ProblemKind::BadIdempotencyKey
            | ProblemKind::Forbidden
            | ProblemKind::CrossSite
            | ProblemKind::ForeignHost
            | ProblemKind::NotFound
            | ProblemKind::UnknownKind
            | ProblemKind::MethodNotAllowed
            | ProblemKind::IdempotencyKeyTaken
            | ProblemKind::StateConflict
            | ProblemKind::NoPeople
            | ProblemKind::SamePerson
            | ProblemKind::ApprovalDecided
            | ProblemKind::DigestDiffers
            | ProblemKind::CountDiffers
            | ProblemKind::PartClaimed
            | ProblemKind::PayloadTooLarge
            | ProblemKind::UnsupportedMediaType
            | ProblemKind::BadPayload
            | ProblemKind::BadRecords
            | ProblemKind::Internal => {}
        }
        // For the last layer, which shows problems to people as a page.
        response.extensions_mut().insert(self);
        response
    }
}

impl From<StoreError> for Problem {
    fn from(error: StoreError) -> Self {
        let cause = std::error::Error::source(&error).map(ToString::to_string);
        match &error {
            StoreError::Unavailable(_) | StoreError::NoAnswer(_) | StoreError::SchemaBehind => {
                warn!(error = %error, cause, "Could not answer a request: {error}");
                let detail = format!("{error}; nothing was acknowledged, try again");
                Self::new(ProblemKind::Unavailable, detail)
            }
            StoreError::Url
            | StoreError::Constraint { .. }
            | StoreError::Corrupt { .. }
            | StoreError::LedgerConflict(_)
            | StoreError::Migration(_)
            | StoreError::Other(_) => {
                error!(error = %error, cause, "Could not answer a request: {error}");
                Self::of_status(StatusCode::INTERNAL_SERVER_ERROR)
            }
        }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        let detail = refusal.to_string();
        match refusal {
            Refusal::Kind(_) => Self::new(ProblemKind::UnknownKind, detail).about("kind"),
            Refusal::NoKey => {
                Self::new(ProblemKind::NoIdempotencyKey, detail).about("Idempotency-Key")
            }
            Refusal::Envelope(_) | Refusal::Key => {
                Self::new(ProblemKind::BadIdempotencyKey, detail).about("Idempotency-Key")
            }
            Refusal::Encoding(_) => Self::new(ProblemKind::BadPayload, detail).about("payload"),
            Refusal::Payload(payload) => match payload {
                PayloadError::TooLarge(_) => Self::new(ProblemKind::PayloadTooLarge, detail),
                PayloadError::NotJson(_) | PayloadError::NotAnObject => {
                    Self::new(ProblemKind::BadPayload, detail).about("payload")
                }
                PayloadError::Field(field) => {
                    Self::new(ProblemKind::BadPayload, detail).about(field.field)
                }
            },
            Refusal::KeyTaken(id) => {
                Self::new(ProblemKind::IdempotencyKeyTaken, detail).blocked_by(id)
            }
        }
    }
}

impl From<OperateError> for Problem {
    fn from(error: OperateError) -> Self {
        let detail = error.to_string();
        match error {
            OperateError::NotFound(_) => Self::new(ProblemKind::NotFound, detail),
            OperateError::Refused { id, .. } | OperateError::OpenOperation { id, .. } => {
                Self::new(ProblemKind::StateConflict, detail).blocked_by(id)
            }
            OperateError::SnoozeUntil(_) => {
                Self::new(ProblemKind::BadPayload, detail).about("until")
            }
            OperateError::Reason => Self::new(ProblemKind::BadPayload, detail).about("reason"),
            OperateError::NeverAllowed { .. } => {
                Self::new(ProblemKind::BadPayload, detail).about("state")
            }
            OperateError::CountDiffers { .. } => {
                Self::new(ProblemKind::CountDiffers, detail).about("expected")
            }
            OperateError::Store(store) => store.into(),
        }
    }
}

impl From<MendError> for Problem {
    fn from(error: MendError) -> Self {
        let detail = error.to_string();
        match error {
            MendError::NotFound(_) => Self::new(ProblemKind::NotFound, detail),
            MendError::MendedBefore { job_id, .. } => {
                Self::new(ProblemKind::StateConflict, detail).blocked_by(job_id)
            }
            MendError::Refused(refusal) => refusal.into(),
            MendError::Store(store) => store.into(),
        }
    }
}

impl From<ApprovalError> for Problem {
    fn from(error: ApprovalError) -> Self {
        let detail = error.to_string();
        match error {
            ApprovalError::NotFound(_) => Self::new(ProblemKind::NotFound, detail),
            ApprovalError::NotAnApprover { .. } => Self::new(ProblemKind::Forbidden, detail),
            ApprovalError::Reason => Self::new(ProblemKind::BadPayload, detail).about("reason"),
            ApprovalError::Refused { refusal, .. } => match refusal {
                SignatureRefusal::Decided(_) => Self::new(ProblemKind::ApprovalDecided, detail),
                SignatureRefusal::SamePerson(_) => Self::new(ProblemKind::SamePerson, detail),
                SignatureRefusal::DigestDiffers(_) => {
                    Self::new(ProblemKind::DigestDiffers, detail).about("digest")
                }
            },
            ApprovalError::LostRace(_) => Self::new(ProblemKind::Unavailable, detail),
            ApprovalError::Store(store) => store.into(),
        }
    }
}
