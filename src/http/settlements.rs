//! `/v1/settlements`: what merchants are owed and how far its payment is; register a payment made outside of clearday.

use axum::Json;
use axum::body::Bytes;
use axum::extract::{Extension, Path, State};
use axum::http::StatusCode;
use chrono::{DateTime, NaiveDate, Utc};
use clearday_jobs::{
    ApprovalId, ChannelName, Currency, JobId, MerchantId, Money, OfflinePaymentId, Reference,
    SettlementId,
};
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use super::Api;
use super::access::Parameters;
use super::approvals::read_body;
use super::auth::Caller;
use super::paging::{Limit, Page};
use super::problem::{Problem, ProblemKind};
use super::view::{PublicStateName, SettlementStateName};
use crate::domain::settlement_run::public::{BankDays, PartProgress, Progress};
use crate::domain::settlement_run::{Claim, Instruction, Part, Settlement};
use crate::engine::{
    Engine, NewOfflinePayment, OfflinePaymentError, OfflinePaymentRegistered, Source,
    settlement_progress,
};
use crate::store::settlements::{self, SettlementEntry, SettlementFilter};
use crate::store::{StoreError, Tx, merchants};

/// What a merchant is owed for a period.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = Settlement)]
pub struct SettlementView {
    /// Its id.
    #[schema(value_type = String, format = "uuid")]
    pub settlement_id: SettlementId,
    /// Who is owed.
    #[schema(value_type = String)]
    pub merchant_id: MerchantId,
    /// Its number among the settlements of the merchant.
    pub sequence_no: u32,
    /// The first day it covers.
    #[schema(value_type = String, format = "date")]
    pub period_from: NaiveDate,
    /// The first day it does not cover any more: the period is half-open.
    #[schema(value_type = String, format = "date")]
    pub period_until: NaiveDate,
    /// The day on which it is paid; null while the calendar of that year is not announced.
    #[schema(value_type = Option<String>, format = "date")]
    pub due_on: Option<NaiveDate>,
    /// The version of the calendar that gave the day.
    pub calendar_version: String,
    /// Where it is, for operations.
    #[schema(value_type = SettlementStateName)]
    pub state: &'static str,
    /// How far it is, for the merchant: the worst of its parts.
    pub progress: ProgressView,
    /// The ISO 4217 code of every amount here.
    #[schema(value_type = String)]
    pub currency: Currency,
    /// What it comes to, in major units.
    pub amounts: AmountsView,
    /// How many payments and refunds it settles.
    pub items_count: u64,
    /// SHA-256 over what it says and all its items.
    pub digest: String,
    /// What allowed it to be paid.
    #[schema(value_type = Option<String>, format = "uuid")]
    pub approval_id: Option<ApprovalId>,
    /// The job in charge of it.
    #[schema(value_type = String, format = "uuid")]
    pub job_id: JobId,
    /// How it is paid; nothing when it goes into the next settlement.
    pub parts: Vec<PartView>,
    /// When it was collected.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: DateTime<Utc>,
    /// When it last changed.
    #[schema(value_type = String, format = DateTime)]
    pub updated_at: DateTime<Utc>,
}

/// How far a payment is, as a merchant is told: 未到付款日, 等待付款, 付款已提交 or 付款失败, and why.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = SettlementProgress)]
pub struct ProgressView {
    /// The public state.
    #[schema(value_type = PublicStateName)]
    pub state: &'static str,
    /// The same in Chinese.
    pub state_zh: &'static str,
    /// Why, as a name.
    pub reason: &'static str,
    /// Why, in Chinese.
    pub reason_zh: &'static str,
    /// Why, in English.
    pub reason_en: &'static str,
    /// When the money is expected; null where that cannot be said, or it is there.
    #[schema(value_type = Option<String>, format = "date")]
    pub expected_on: Option<NaiveDate>,
}

/// What a settlement comes to: `net` is `gross + coupons - refunds - merchant_fees - reserve + carried`.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = SettlementAmounts)]
pub struct AmountsView {
    /// Payments, without their coupons.
    pub gross: String,
    /// Coupons of payments that somebody else bears, and that are paid out.
    pub coupons: String,
    /// Refunds, with their coupons.
    pub refunds: String,
    /// Our fees, less those given back.
    pub merchant_fees: String,
    /// What is held back.
    pub reserve: String,
    /// What the settlement before left.
    pub carried: String,
    /// What is owed.
    pub net: String,
}

/// One part of the net, as large as the bank pays at once.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = SettlementPart)]
pub struct PartView {
    /// Its number.
    pub part_no: u32,
    /// How much, in major units.
    pub amount: String,
    /// Where it is, for operations.
    pub state: &'static str,
    /// Why, for operations.
    pub reason: String,
    /// How far it is, for the merchant.
    pub progress: ProgressView,
    /// What banks were told, the oldest first.
    pub instructions: Vec<InstructionView>,
    /// Who says that it was paid outside of clearday (线下付款), the oldest first.
    pub offline_payments: Vec<OfflinePaymentView>,
}

/// What a bank was told.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = PayoutInstruction)]
pub struct InstructionView {
    /// On the merchant's bank statement, too.
    #[schema(value_type = String)]
    pub end_to_end_id: Reference,
    /// Its number among those of the part.
    pub generation: u32,
    /// The bank.
    #[schema(value_type = String)]
    pub bank: ChannelName,
    /// The account that is paid.
    pub payee_account_no: String,
    /// What the payee reads beside the amount.
    pub remittance: String,
    /// `open`, `confirmed`, `rejected` or `returned`.
    pub state: &'static str,
    /// The day of its debit, as the bank's statement shows.
    #[schema(value_type = Option<String>, format = "date")]
    pub debited_on: Option<NaiveDate>,
    /// When it was written down.
    #[schema(value_type = String, format = DateTime)]
    pub created_at: DateTime<Utc>,
}

/// A payment that somebody says was made outside of clearday.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = OfflinePayment)]
pub struct OfflinePaymentView {
    /// Its id.
    #[schema(value_type = String, format = "uuid")]
    pub offline_payment_id: OfflinePaymentId,
    /// `registered`, `waiting` for an instruction to be proved dead, `counted`, `surplus` or `refused`.
    pub state: &'static str,
    /// The bank that is said to have paid.
    #[schema(value_type = String)]
    pub bank: ChannelName,
    /// The day on which it is said to have been paid.
    #[schema(value_type = String, format = "date")]
    pub paid_on: NaiveDate,
    /// The bank's number of it.
    pub bank_reference: String,
    /// SHA-256 of the proof.
    pub proof_sha256: String,
    /// Who registered it.
    pub registered_by: String,
    /// Where the second person is asked.
    #[schema(value_type = String, format = "uuid")]
    pub approval_id: ApprovalId,
    /// The day of its debit, as the bank's statement shows.
    #[schema(value_type = Option<String>, format = "date")]
    pub debited_on: Option<NaiveDate>,
    /// When it was registered.
    #[schema(value_type = String, format = DateTime)]
    pub registered_at: DateTime<Utc>,
}

/// A settlement with everything that happened to it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = SettlementDetail)]
pub struct SettlementDetail {
    /// The settlement.
    #[serde(flatten)]
    pub settlement: SettlementView,
    /// Everything that happened to it, in order.
    pub timeline: Vec<SettlementEventView>,
}

/// One change of a settlement or of a part of it.
#[derive(Clone, Debug, Serialize, ToSchema)]
#[schema(as = SettlementEvent)]
pub struct SettlementEventView {
    /// The settlement's version after it.
    pub version: i64,
    /// When.
    #[schema(value_type = String, format = DateTime)]
    pub occurred_at: DateTime<Utc>,
    /// The part that changed, if it was one.
    pub part_no: Option<i64>,
    /// What happened.
    pub event: String,
    /// The state after it, of the part or of the settlement.
    pub state: String,
    /// Why.
    pub reason: String,
    /// The job that did it.
    #[schema(value_type = Option<String>, format = "uuid")]
    pub job_id: Option<JobId>,
}

impl SettlementView {
    fn new(settlement: Settlement, told: &Progress) -> Self {
        let amounts = settlement.amounts;
        let parts = settlement.parts.into_iter().map(|part| {
            let of_part = told.parts.iter().find(|it| it.part_no == part.part_no);
            PartView::new(part, of_part, told)
        });
        Self {
            settlement_id: settlement.id,
            merchant_id: settlement.merchant_id,
            sequence_no: settlement.sequence_no,
            period_from: settlement.period_from,
            period_until: settlement.period_until,
            due_on: settlement.due_on,
            calendar_version: settlement.calendar_version,
            state: settlement.state.as_str(),
            progress: ProgressView::of_whole(told),
            currency: settlement.currency,
            amounts: AmountsView {
                gross: amounts.gross.to_major_string(),
                coupons: amounts.coupons.to_major_string(),
                refunds: amounts.refunds.to_major_string(),
                merchant_fees: amounts.merchant_fees.to_major_string(),
                reserve: amounts.reserve.to_major_string(),
                carried: amounts.carried.to_major_string(),
                net: amounts.net.to_major_string(),
            },
            items_count: settlement.items_count,
            digest: settlement.digest,
            approval_id: settlement.approval_id,
            job_id: settlement.job_id,
            parts: parts.collect(),
            created_at: settlement.created_at,
            updated_at: settlement.updated_at,
        }
    }
}

impl ProgressView {
    fn of_whole(told: &Progress) -> Self {
        Self {
            state: told.state.as_str(),
            state_zh: told.state.texts().zh,
            reason: told.reason.as_str(),
            reason_zh: told.reason.texts().zh,
            reason_en: told.reason.texts().en,
            expected_on: told.expected_on,
        }
    }

    fn of_part(told: &PartProgress) -> Self {
        Self {
            state: told.state.as_str(),
            state_zh: told.state.texts().zh,
            reason: told.reason.as_str(),
            reason_zh: told.reason.texts().zh,
            reason_en: told.reason.texts().en,
            expected_on: told.expected_on,
        }
    }
}

impl PartView {
    fn new(part: Part, of_part: Option<&PartProgress>, whole: &Progress) -> Self {
        Self {
            part_no: part.part_no,
            amount: part.amount.to_major_string(),
            state: part.state.as_str(),
            reason: part.reason,
            progress: of_part.map_or_else(|| ProgressView::of_whole(whole), ProgressView::of_part),
            instructions: part.instructions.into_iter().map(Into::into).collect(),
            offline_payments: part.claims.into_iter().map(Into::into).collect(),
        }
    }
}

impl From<Instruction> for InstructionView {
    fn from(it: Instruction) -> Self {
        Self {
            end_to_end_id: it.end_to_end_id,
            generation: it.generation,
            bank: it.bank,
            payee_account_no: it.payee_account_no,
            remittance: it.remittance,
            state: it.state.as_str(),
            debited_on: it.debited_on,
            created_at: it.created_at,
        }
    }
}

impl From<Claim> for OfflinePaymentView {
    fn from(it: Claim) -> Self {
        Self {
            offline_payment_id: it.id,
            state: it.state.as_str(),
            bank: it.bank,
            paid_on: it.paid_on,
            bank_reference: it.bank_reference,
            proof_sha256: it.proof_sha256,
            registered_by: it.registered_by,
            approval_id: it.approval_id,
            debited_on: it.debited_on,
            registered_at: it.registered_at,
        }
    }
}

impl From<SettlementEntry> for SettlementEventView {
    fn from(it: SettlementEntry) -> Self {
        Self {
            version: it.version,
            occurred_at: it.occurred_at,
            part_no: it.part_no,
            event: it.event,
            state: it.state,
            reason: it.reason,
            job_id: it.job_id,
        }
    }
}

impl SettlementDetail {
    /// Everything about one settlement; `None` when there is no such settlement.
    pub async fn load(
        engine: &Engine,
        banks: &BankDays,
        id: SettlementId,
    ) -> Result<Option<Self>, StoreError> {
        let mut tx = engine.store().read().await?;
        let Some(settlement) = settlements::find(&mut tx, id).await? else {
            return Ok(None);
        };
        let view = view_of(&mut tx, settlement, banks, engine.clock().now()).await?;
        let timeline = settlements::timeline(&mut tx, id).await?;
        Ok(Some(Self {
            settlement: view,
            timeline: timeline.into_iter().map(Into::into).collect(),
        }))
    }
}

async fn view_of(
    tx: &mut Tx,
    settlement: Settlement,
    banks: &BankDays,
    now: DateTime<Utc>,
) -> Result<SettlementView, StoreError> {
    let merchant = merchants::find(tx, &settlement.merchant_id).await?;
    let merchant = merchant
        .ok_or_else(|| StoreError::corrupt("merchant_id", "a settled merchant is not known"))?;
    let told = settlement_progress(tx, &settlement, &merchant, banks, now).await?;
    Ok(SettlementView::new(settlement, &told))
}

/// A page of settlements.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = SettlementList)]
pub(super) struct SettlementList {
    /// The newest first.
    settlements: Vec<SettlementView>,
    /// What to give as `before` for the page after this one; null on the last page.
    #[schema(value_type = Option<String>, format = "uuid")]
    next: Option<SettlementId>,
}

/// Lists settlements, the newest first.
#[utoipa::path(
    get,
    path = "/v1/settlements",
    tag = "settlements",
    operation_id = "list_settlements",
    params(
        ("merchant_id" = Option<String>, Query, description = "Only this merchant's."),
        ("state" = Option<SettlementStateName>, Query, description = "Only this state."),
        ("limit" = Option<usize>, Query, description = "1 to 200; 50 where it is not given.", minimum = 1, maximum = 200),
        ("before" = Option<String>, Query, description = "The `next` of the page before.", format = "uuid"),
    ),
    responses(
        (status = 200, description = "A page of settlements.", body = SettlementList),
        (status = 400, description = "An unknown or bad query parameter."),
    )
)]
pub(super) async fn list(
    State(api): State<Api>,
    Extension(parameters): Extension<Parameters>,
) -> Result<Json<SettlementList>, Problem> {
    let (filter, limit) = (filter_of(&parameters)?, Limit::of(&parameters)?);
    let page = load_page(&api.engine, &api.facts.banks, &filter, limit).await?;
    Ok(Json(SettlementList {
        settlements: page.rows,
        next: page.next,
    }))
}

/// One page of settlements.
pub(super) async fn load_page(
    engine: &Engine,
    banks: &BankDays,
    filter: &SettlementFilter,
    limit: Limit,
) -> Result<Page<SettlementView, SettlementId>, StoreError> {
    let mut tx = engine.store().read().await?;
    let now = engine.clock().now();
    let mut views = Vec::new();
    for settlement in settlements::list(&mut tx, filter, limit.to_load()).await? {
        views.push(view_of(&mut tx, settlement, banks, now).await?);
    }
    Ok(Page::cut(views, limit, |view| view.settlement_id))
}

pub(super) fn filter_of(parameters: &Parameters) -> Result<SettlementFilter, Problem> {
    Ok(SettlementFilter {
        merchant_id: parameters.read("merchant_id")?,
        state: parameters.read("state")?,
        before: parameters.read("before")?,
    })
}

/// Shows one settlement: its amounts, how far each part is and why, and everything that happened to it.
#[utoipa::path(
    get,
    path = "/v1/settlements/{id}",
    tag = "settlements",
    operation_id = "show_settlement",
    params(("id" = String, Path, description = "The settlement's id.", format = "uuid")),
    responses(
        (status = 200, description = "The settlement.", body = SettlementDetail),
        (status = 404, description = "No such settlement."),
    )
)]
pub(super) async fn show(
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<SettlementDetail>, Problem> {
    let detail = SettlementDetail::load(&api.engine, &api.facts.banks, settlement_id(&id)?).await?;
    detail.map(Json).ok_or_else(|| no_such(&id))
}

/// A payment that was made outside of clearday.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct RegisterOfflinePayment {
    /// How much, in major units: exactly what the part is.
    amount: String,
    /// The amount's ISO 4217 code.
    #[schema(value_type = String)]
    currency: Currency,
    /// The bank that paid; left out: the one that carries payments to the merchant.
    #[serde(default)]
    #[schema(value_type = Option<String>)]
    bank: Option<ChannelName>,
    /// The day on which it was paid.
    #[schema(value_type = String, format = "date")]
    paid_on: NaiveDate,
    /// The bank's number of it, as its statement shows.
    bank_reference: String,
    /// SHA-256 of the proof (回单), in hexadecimal.
    proof_sha256: String,
}

/// A registered payment.
#[derive(Debug, Serialize, ToSchema)]
#[schema(as = OfflinePaymentRegistered)]
pub(super) struct RegisteredView {
    /// Its id.
    #[schema(value_type = String, format = "uuid")]
    offline_payment_id: OfflinePaymentId,
    /// Where a second person is asked; it closes nothing before that.
    #[schema(value_type = String, format = "uuid")]
    approval_id: ApprovalId,
}

/// Registers that a part was paid outside of clearday (线下付款).
///
/// The caller is its maker; another person must approve it. It closes the part at once where no instruction to a bank
/// lives, and else when that instruction is proved dead. The same registration again is the same one.
#[utoipa::path(
    post,
    path = "/v1/settlements/{id}/parts/{part_no}/offline_payments",
    tag = "settlements",
    operation_id = "register_offline_payment",
    params(
        ("id" = String, Path, description = "The settlement's id.", format = "uuid"),
        ("part_no" = u32, Path, description = "The number of the part."),
    ),
    request_body(content = RegisterOfflinePayment),
    responses(
        (status = 201, description = "Registered; a second person is asked.", body = RegisteredView),
        (status = 200, description = "It was registered before.", body = RegisteredView),
        (status = 404, description = "No such settlement or part."),
        (status = 409, description = "Another claim about the part is open, or the bank's number is taken."),
        (status = 413, description = "The body is too large."),
        (status = 422, description = "The body is refused; `field` names where."),
    )
)]
pub(super) async fn register_offline_payment(
    State(api): State<Api>,
    Extension(caller): Extension<Caller>,
    Path((id, part_no)): Path<(String, String)>,
    body: Bytes,
) -> Result<(StatusCode, Json<RegisteredView>), Problem> {
    let settlement_id = settlement_id(&id)?;
    let part_no = part_no.parse().map_err(|_| {
        let detail = format!("there is no part {part_no} of settlement {id}");
        Problem::new(ProblemKind::NotFound, detail)
    })?;
    if api.people.is_empty() {
        return Err(Problem::new(
            ProblemKind::NoPeople,
            "an offline payment takes two different people, and nobody is configured: name them in the settings under \
             [[people]]",
        ));
    }
    let told: RegisterOfflinePayment = read_body(&body)?;
    let amount = Money::parse_major(&told.amount, told.currency).map_err(|error| {
        Problem::new(ProblemKind::BadPayload, error.to_string()).about("amount")
    })?;
    let new = NewOfflinePayment {
        settlement_id,
        part_no,
        amount,
        bank: told.bank,
        paid_on: told.paid_on,
        bank_reference: told.bank_reference,
        proof_sha256: told.proof_sha256,
    };
    let OfflinePaymentRegistered {
        id,
        approval_id,
        is_known,
    } = api
        .engine
        .register_offline_payment(&new, &caller.name, Source::Http)
        .await?;
    let status = if is_known {
        StatusCode::OK
    } else {
        StatusCode::CREATED
    };
    let view = RegisteredView {
        offline_payment_id: id,
        approval_id,
    };
    Ok((status, Json(view)))
}

impl From<OfflinePaymentError> for Problem {
    fn from(error: OfflinePaymentError) -> Self {
        let detail = error.to_string();
        match error {
            OfflinePaymentError::NotFound { .. } => Self::new(ProblemKind::NotFound, detail),
            OfflinePaymentError::Field { field, .. } => {
                Self::new(ProblemKind::BadPayload, detail).about(field)
            }
            OfflinePaymentError::Claimed { .. }
            | OfflinePaymentError::ReferenceTaken(_)
            | OfflinePaymentError::LostRace(_) => Self::new(ProblemKind::PartClaimed, detail),
            OfflinePaymentError::Store(store) => store.into(),
        }
    }
}

/// What is no id cannot be found either.
pub(super) fn settlement_id(text: &str) -> Result<SettlementId, Problem> {
    text.parse().map_err(|_| no_such(text))
}

pub(super) fn no_such(id: &str) -> Problem {
    let detail = format!("there is no settlement {id}");
    Problem::new(ProblemKind::NotFound, detail)
}
