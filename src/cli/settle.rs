//! `clearday settle`: starts a settlement run, shows what one would do, or registers a payment that was made outside of
//! clearday.

use std::fs::File;
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use chrono::NaiveDate;
use clap::{Args, Subcommand};
use clearday_jobs::{ChannelName, Currency, JobKind, MerchantId, Money, SettlementId};
use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};

use super::Outside;
use super::approvals::person;
use super::exit::{CliError, Exit, OutputFormat};
use super::statement::write_json;
use super::table::Table;
use crate::config::{Role, Settings};
use crate::domain::digest::hex;
use crate::domain::job::JobState;
use crate::domain::merchant::{FundsFlow, Merchant};
use crate::domain::settlement_run::collect::{Draft, Withheld};
use crate::engine::{
    Acceptance, Engine, NewOfflinePayment, OfflinePaymentError, Source, Submission,
};
use crate::store::{Store, Tx, merchants};
use crate::workers::{PlanError, Scope, preview_settlements};

/// Settle what merchants are owed through a day: collect, have people agree, pay, follow to the proof.
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, subcommand_negates_reqs = true)]
pub(super) struct SettleArgs {
    #[command(subcommand)]
    verb: Option<SettleVerb>,
    /// The last day that is settled; a day that is not over yet is waited for.
    #[arg(long, value_name = "DATE", required = true)]
    through: Option<NaiveDate>,
    /// Only this merchant.
    #[arg(long, value_name = "M")]
    merchant: Option<MerchantId>,
    /// Print what would be settled, and write nothing.
    #[arg(long)]
    dry_run: bool,
    /// How to print the answer.
    #[arg(long, value_enum, default_value_t)]
    format: OutputFormat,
}

#[derive(Debug, Subcommand)]
enum SettleVerb {
    /// Register that a part was paid outside of clearday (线下付款); another person must approve it. SQLite only.
    Offline(OfflineArgs),
}

#[derive(Debug, Args)]
struct OfflineArgs {
    /// The settlement.
    settlement: SettlementId,
    /// The number of its part.
    part: u32,
    /// How much, in major units: exactly what the part is.
    #[arg(long)]
    amount: String,
    /// The amount's ISO 4217 code.
    #[arg(long, default_value = "CNY")]
    currency: Currency,
    /// The bank that paid; left out: the one that carries payments to the merchant.
    #[arg(long)]
    bank: Option<ChannelName>,
    /// The day on which it was paid.
    #[arg(long, value_name = "DATE")]
    paid_on: NaiveDate,
    /// The bank's number of it, as its statement shows.
    #[arg(long, value_name = "NUMBER")]
    bank_reference: String,
    /// The proof (回单); its SHA-256 is kept, so keep the file.
    #[arg(long, value_name = "FILE")]
    proof: PathBuf,
    /// Who registers it: somebody of [[people]] with the role operator or above.
    #[arg(long = "as", value_name = "NAME")]
    name: String,
    /// How to print the answer.
    #[arg(long, value_enum, default_value_t)]
    format: OutputFormat,
}

/// Runs the verb and says how to exit.
pub(super) async fn run(
    args: SettleArgs,
    settings: &Settings,
    engine: &Engine,
    outside: &mut Outside<'_>,
) -> Result<Exit, CliError> {
    if let Some(SettleVerb::Offline(offline)) = args.verb {
        return register(offline, settings, engine, outside).await;
    }
    let Some(through) = args.through else {
        return Err(CliError::refused("--through DATE says how far"));
    };
    if args.dry_run {
        let asked = args.merchant.as_ref();
        let found = foresee(settings, engine, through, asked).await?;
        let written = match args.format {
            OutputFormat::Json => write_json(&found, &mut outside.stdout),
            OutputFormat::Text => found.write(outside.stdout),
        };
        written.map_err(CliError::output)?;
        return Ok(Exit::Fine);
    }
    enqueue(
        through,
        args.merchant.as_ref(),
        args.format,
        engine,
        outside,
    )
    .await
}

#[derive(Serialize)]
struct Accepted {
    job_id: String,
    state: &'static str,
}

/// The same day and merchant again are the same job.
async fn enqueue(
    through: NaiveDate,
    merchant: Option<&MerchantId>,
    format: OutputFormat,
    engine: &Engine,
    outside: &mut Outside<'_>,
) -> Result<Exit, CliError> {
    let (key, payload) = match merchant {
        None => (
            format!("settle:{through}"),
            json!({"version": 1, "through": through.to_string()}),
        ),
        Some(merchant) => (
            format!("settle:{through}:{merchant}"),
            json!({"version": 1, "through": through.to_string(), "merchant_id": merchant}),
        ),
    };
    let submission = Submission {
        kind: JobKind::SettlementRun.as_str().to_owned(),
        idempotency_key: Some(key),
        payload: payload.to_string().into_bytes(),
        source: Source::CommandLine,
        fault: None,
    };
    let answers = engine.accept(vec![submission]).await?;
    let (id, state) = match answers.into_iter().next() {
        Some(Acceptance::New(id)) => (id, JobState::Ready),
        Some(Acceptance::Known(id, state)) => (id, state),
        Some(Acceptance::Refused(refusal)) => return Err(CliError::of(Exit::Refused, refusal)),
        None => return Err(CliError::refused("the submission was not answered")),
    };
    let accepted = Accepted {
        job_id: id.to_string(),
        state: state.as_str(),
    };
    let written = match format {
        OutputFormat::Json => write_json(&accepted, &mut outside.stdout),
        OutputFormat::Text => writeln!(outside.stdout, "{} {}", accepted.job_id, accepted.state),
    };
    written.map_err(CliError::output)?;
    Ok(Exit::Fine)
}

/// What a run would do.
#[derive(Serialize)]
struct Foreseen {
    dry_run: bool,
    through: NaiveDate,
    settlements: Vec<DraftView>,
    withheld: Vec<WithheldView>,
}

#[derive(Serialize)]
struct DraftView {
    merchant_id: String,
    sequence_no: u32,
    period_from: NaiveDate,
    period_until: NaiveDate,
    due_on: Option<NaiveDate>,
    state: &'static str,
    currency: &'static str,
    items_count: usize,
    gross: String,
    coupons: String,
    refunds: String,
    merchant_fees: String,
    reserve: String,
    carried: String,
    net: String,
    parts: Vec<String>,
}

#[derive(Serialize)]
struct WithheldView {
    merchant_id: String,
    kind: &'static str,
    record_no: String,
    amount: String,
    currency: &'static str,
    reason: String,
}

async fn foresee(
    settings: &Settings,
    engine: &Engine,
    through: NaiveDate,
    only: Option<&MerchantId>,
) -> Result<Foreseen, CliError> {
    let mut tx = engine.store().read().await?;
    let mut found = Foreseen {
        dry_run: true,
        through,
        settlements: Vec::new(),
        withheld: Vec::new(),
    };
    for merchant in asked_merchants(&mut tx, only).await? {
        let scope = Scope {
            merchant: &merchant,
            through,
            now: engine.clock().now(),
            ceiling: ceiling(settings, &merchant)?,
        };
        let (drafts, withheld) = preview_settlements(&mut tx, scope)
            .await
            .map_err(unplanned)?;
        let drafts = drafts.iter().map(|draft| DraftView::of(&merchant, draft));
        found.settlements.extend(drafts);
        let withheld = withheld.iter().map(|it| WithheldView::of(&merchant, it));
        found.withheld.extend(withheld);
    }
    Ok(found)
}

async fn asked_merchants(
    tx: &mut Tx,
    only: Option<&MerchantId>,
) -> Result<Vec<Merchant>, CliError> {
    let mut asked = match only {
        None => merchants::list(tx).await?,
        Some(id) => {
            let found = merchants::find(tx, id).await?;
            let unknown = || CliError::refused(format!("there is no merchant {id}"));
            vec![found.ok_or_else(unknown)?]
        }
    };
    asked.retain(|merchant| merchant.funds_flow == FundsFlow::Collected);
    Ok(asked)
}

fn ceiling(settings: &Settings, merchant: &Merchant) -> Result<Option<Money>, CliError> {
    let mut banks = settings.banks.iter();
    let bank = banks.find(|bank| bank.name == merchant.payee.bank);
    let ceiling = bank.map(crate::config::Bank::payout_ceiling).transpose();
    let ceiling = ceiling.map_err(|error| CliError::of(Exit::Refused, error))?;
    Ok(ceiling.flatten())
}

fn unplanned(error: PlanError) -> CliError {
    match error {
        PlanError::Store(source) => source.into(),
        PlanError::Calendar { .. } | PlanError::Collect { .. } => {
            CliError::of(Exit::Refused, error)
        }
    }
}

impl DraftView {
    fn of(merchant: &Merchant, draft: &Draft) -> Self {
        let amounts = &draft.amounts;
        Self {
            merchant_id: merchant.merchant_id.to_string(),
            sequence_no: draft.sequence_no,
            period_from: draft.period.from,
            period_until: draft.period.until,
            due_on: draft.period.due_on,
            state: draft.state.as_str(),
            currency: merchant.currency.code(),
            items_count: draft.items.len(),
            gross: amounts.gross.to_major_string(),
            coupons: amounts.coupons.to_major_string(),
            refunds: amounts.refunds.to_major_string(),
            merchant_fees: amounts.merchant_fees.to_major_string(),
            reserve: amounts.reserve.to_major_string(),
            carried: amounts.carried.to_major_string(),
            net: amounts.net.to_major_string(),
            parts: draft.parts.iter().map(|it| it.to_major_string()).collect(),
        }
    }
}

impl WithheldView {
    fn of(merchant: &Merchant, withheld: &Withheld) -> Self {
        Self {
            merchant_id: merchant.merchant_id.to_string(),
            kind: withheld.kind.as_str(),
            record_no: withheld.record_no.to_string(),
            amount: withheld.amount.to_major_string(),
            currency: withheld.amount.currency().code(),
            reason: withheld.reason.to_string(),
        }
    }
}

impl Foreseen {
    fn write(&self, out: &mut dyn Write) -> io::Result<()> {
        let mut table = Table::new([
            "merchant", "no", "from", "until", "due", "items", "net", "currency", "then",
        ]);
        for it in &self.settlements {
            let due = it
                .due_on
                .map_or("unknown".to_owned(), |day| day.to_string());
            table.add([
                it.merchant_id.clone(),
                it.sequence_no.to_string(),
                it.period_from.to_string(),
                it.period_until.to_string(),
                due,
                it.items_count.to_string(),
                it.net.clone(),
                it.currency.to_owned(),
                it.state.to_owned(),
            ]);
        }
        table.write(out)?;
        for it in &self.withheld {
            let WithheldView {
                merchant_id,
                kind,
                record_no,
                amount,
                currency,
                reason,
            } = it;
            writeln!(
                out,
                "withheld: {merchant_id} {kind} {record_no} {amount} {currency}: {reason}"
            )?;
        }
        writeln!(out, "dry run: nothing was written")
    }
}

#[derive(Serialize)]
struct Registered {
    offline_payment_id: String,
    approval_id: String,
}

async fn register(
    args: OfflineArgs,
    settings: &Settings,
    engine: &Engine,
    outside: &mut Outside<'_>,
) -> Result<Exit, CliError> {
    if let Store::Postgres { .. } = engine.store() {
        return Err(CliError::refused(
            "on Postgres nobody is believed by name: register over HTTP, \
             POST /v1/settlements/{id}/parts/{part_no}/offline_payments, with the person's own token",
        ));
    }
    let who = person(&args.name, settings, engine)?;
    if who.role < Role::Operator {
        let words = format!(
            "{} is {}; registering takes the role {}",
            who.name,
            who.role,
            Role::Operator
        );
        return Err(CliError::refused(words));
    }
    let amount = Money::parse_major(&args.amount, args.currency)
        .map_err(|error| CliError::of(Exit::Refused, error))?;
    let new = NewOfflinePayment {
        settlement_id: args.settlement,
        part_no: args.part,
        amount,
        bank: args.bank,
        paid_on: args.paid_on,
        bank_reference: args.bank_reference,
        proof_sha256: sha256_of(&args.proof)?,
    };
    let registered = engine
        .register_offline_payment(&new, who.name, Source::CommandLine)
        .await
        .map_err(unregistered)?;
    let view = Registered {
        offline_payment_id: registered.id.to_string(),
        approval_id: registered.approval_id.to_string(),
    };
    let written = match args.format {
        OutputFormat::Json => write_json(&view, &mut outside.stdout),
        OutputFormat::Text => writeln!(
            outside.stdout,
            "offline payment {}: waits for approval {} by another person",
            view.offline_payment_id, view.approval_id
        ),
    };
    written.map_err(CliError::output)?;
    Ok(Exit::Fine)
}

fn unregistered(error: OfflinePaymentError) -> CliError {
    match error {
        OfflinePaymentError::Store(source) => source.into(),
        OfflinePaymentError::NotFound { .. }
        | OfflinePaymentError::Field { .. }
        | OfflinePaymentError::Claimed { .. }
        | OfflinePaymentError::ReferenceTaken(_)
        | OfflinePaymentError::LostRace(_) => CliError::of(Exit::Refused, error),
    }
}

/// The digest of a file of any size.
fn sha256_of(path: &Path) -> Result<String, CliError> {
    let unreadable = |error: io::Error| {
        CliError::refused(format!("could not read {}", path.display())).because(error)
    };
    let mut file = File::open(path).map_err(unreadable)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0_u8; 1 << 16];
    loop {
        let length = file.read(&mut buffer).map_err(unreadable)?;
        let Some(read) = buffer.get(..length).filter(|read| !read.is_empty()) else {
            return Ok(hex(&digest.finalize()));
        };
        digest.update(read);
    }
}
