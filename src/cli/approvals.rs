//! `clearday approvals`, `approve` and `reject`: what people are asked to agree on, at the keyboard
//! of the one machine that holds everything.
//!
//! Whoever may write the file of an SQLite database may do anything with it, so a name is believed
//! there. On Postgres it is not: people approve over HTTP, each with a token of their own.

use std::io::{self, Write};

use chrono::{DateTime, Utc};
use clap::builder::{PossibleValuesParser, TypedValueParser};
use clap::{Args, Subcommand};
use clearday_jobs::{ApprovalId, Money};
use serde::Serialize;

use super::Outside;
use super::exit::{CliError, Exit, OutputFormat};
use super::statement::write_json;
use super::table::{Table, visible};
use super::views::instant;
use crate::config::{Person, Role, Settings};
use crate::domain::approval::{Approval, ApprovalState, Signature};
use crate::domain::words::NotOneOf;
use crate::engine::{ApprovalError, Engine, Signer};
use crate::http::ApprovalView;
use crate::store::Store;
use crate::store::approvals::{self, ApprovalFilter};

/// Sign an approval in somebody's name; the second person's signature approves. SQLite only.
#[derive(Debug, Args)]
pub(super) struct ApproveArgs {
    /// The approval.
    id: ApprovalId,
    #[command(flatten)]
    signer: SignerArgs,
    /// The digest of what the person saw: refused where it differs.
    #[arg(long, value_name = "SHA256")]
    digest: Option<String>,
}

/// Refuse an approval in somebody's name. SQLite only.
#[derive(Debug, Args)]
pub(super) struct RejectArgs {
    /// The approval.
    id: ApprovalId,
    #[command(flatten)]
    signer: SignerArgs,
    /// Why: 1 to 500 characters.
    #[arg(long)]
    reason: String,
}

#[derive(Debug, Args)]
struct SignerArgs {
    /// Who decides: somebody of [[people]] with the role approver or admin.
    #[arg(long = "as", value_name = "NAME")]
    name: String,
    /// How to print the answer.
    #[arg(long, value_enum, default_value_t)]
    format: OutputFormat,
}

/// Look at approvals.
#[derive(Debug, Args)]
pub(super) struct ApprovalsArgs {
    #[command(subcommand)]
    verb: ApprovalsVerb,
    /// How to print the answer.
    #[arg(long, value_enum, default_value_t, global = true)]
    format: OutputFormat,
}

#[derive(Debug, Subcommand)]
enum ApprovalsVerb {
    /// List approvals, the newest first.
    List(ListArgs),
    /// Tell everything about one approval: what is shown, who signed, who must act.
    Show {
        /// The approval.
        id: ApprovalId,
    },
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Only this state.
    #[arg(long, value_parser = state_parser())]
    state: Option<ApprovalState>,
    /// Only approvals asked for before this one: the last of the page before.
    #[arg(long, value_name = "ID")]
    before: Option<ApprovalId>,
    /// How many at most.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u16).range(1..=1_000))]
    limit: u16,
}

fn state_parser() -> impl TypedValueParser<Value = ApprovalState> {
    PossibleValuesParser::new(ApprovalState::ALL.iter().map(|state| state.as_str()))
        .try_map(|name| -> Result<ApprovalState, NotOneOf> { name.parse() })
}

/// `clearday approve`
pub(super) async fn approve(
    args: ApproveArgs,
    settings: &Settings,
    engine: &Engine,
    outside: &mut Outside<'_>,
) -> Result<Exit, CliError> {
    let signer = args.signer.person(settings, engine)?;
    let digest = args.digest.as_deref();
    let approval = engine.sign(args.id, signer, digest).await?;
    write_decided(approval, args.signer.format, outside.stdout)
}

/// `clearday reject`
pub(super) async fn reject(
    args: RejectArgs,
    settings: &Settings,
    engine: &Engine,
    outside: &mut Outside<'_>,
) -> Result<Exit, CliError> {
    let signer = args.signer.person(settings, engine)?;
    let approval = engine.reject(args.id, signer, &args.reason).await?;
    write_decided(approval, args.signer.format, outside.stdout)
}

/// `clearday approvals`
pub(super) async fn run(
    args: ApprovalsArgs,
    engine: &Engine,
    outside: &mut Outside<'_>,
) -> Result<Exit, CliError> {
    let mut tx = engine.store().read().await?;
    let written = match args.verb {
        ApprovalsVerb::List(wanted) => {
            let filter = ApprovalFilter {
                state: wanted.state,
                before: wanted.before,
            };
            let page = approvals::list(&mut tx, filter, wanted.limit.into()).await?;
            write_list(page, args.format, outside.stdout)
        }
        ApprovalsVerb::Show { id } => {
            let found = approvals::find(&mut tx, id).await?;
            let found = found.ok_or(ApprovalError::NotFound(id))?;
            write_one(found, args.format, outside.stdout)
        }
    };
    written.map_err(CliError::output)?;
    Ok(Exit::Fine)
}

impl SignerArgs {
    fn person<'s>(&self, settings: &'s Settings, engine: &Engine) -> Result<Signer<'s>, CliError> {
        person(&self.name, settings, engine)
    }
}

/// The person by this name, who must be in the settings and whose token must not have expired.
pub(super) fn person<'s>(
    name: &str,
    settings: &'s Settings,
    engine: &Engine,
) -> Result<Signer<'s>, CliError> {
    match engine.store() {
        Store::Sqlite { .. } => {}
        Store::Postgres { .. } => {
            return Err(CliError::refused(
                "on Postgres nobody is believed by name: approve over HTTP, \
                 POST /v1/approvals/{id}/approve, with the person's own token",
            ));
        }
    }
    let now = engine.clock().now();
    let known = settings.people.iter().find(|it| it.name == name);
    let Some(person) = known else {
        return Err(unknown(name, &settings.people, now));
    };
    if let Some(expired) = person.expires_at.filter(|at| now >= *at) {
        let at = instant(expired);
        let words = format!("{} may not act any more: expired at {at}", person.name);
        return Err(CliError::refused(words));
    }
    Ok(Signer {
        name: &person.name,
        role: person.role,
    })
}

fn unknown(name: &str, people: &[Person], now: DateTime<Utc>) -> CliError {
    let may_approve = |person: &&Person| {
        person.role >= Role::Approver && person.expires_at.is_none_or(|at| now < at)
    };
    let approvers: Vec<&str> = people
        .iter()
        .filter(may_approve)
        .map(|person| person.name.as_str())
        .collect();
    let who = if approvers.is_empty() {
        "nobody".to_owned()
    } else {
        approvers.join(", ")
    };
    CliError::refused(format!(
        "{name:?} is not in [[people]] of the settings; {who} may approve"
    ))
}

fn write_decided(
    approval: Approval,
    format: OutputFormat,
    mut out: &mut (dyn Write + Send),
) -> Result<Exit, CliError> {
    let written = match format {
        OutputFormat::Json => write_json(&ApprovalView::from(approval), &mut out),
        OutputFormat::Text => {
            let waits = waits(&approval);
            writeln!(out, "approval {}: {}{waits}", approval.id, approval.state)
        }
    };
    written.map_err(CliError::output)?;
    Ok(Exit::Fine)
}

fn waits(approval: &Approval) -> String {
    let waits_for = approval.waits_for();
    waits_for.map_or_else(String::new, |who| format!("; waits for {who}"))
}

#[derive(Serialize)]
struct ApprovalPage {
    approvals: Vec<ApprovalView>,
}

fn write_list(
    page: Vec<Approval>,
    format: OutputFormat,
    mut out: &mut dyn Write,
) -> io::Result<()> {
    if format == OutputFormat::Json {
        let approvals = page.into_iter().map(Into::into).collect();
        return write_json(&ApprovalPage { approvals }, &mut out);
    }
    let mut table = Table::new([
        "approval", "action", "subject", "amount", "state", "maker", "checker",
    ]);
    for approval in page {
        table.add([
            approval.id.to_string(),
            approval.action.to_string(),
            approval.subject,
            approval.amount.map(amount).unwrap_or_default(),
            approval.state.to_string(),
            approval.maker.map(|it| it.person).unwrap_or_default(),
            approval.checker.map(|it| it.person).unwrap_or_default(),
        ]);
    }
    table.write(out)
}

fn amount(amount: Money) -> String {
    format!("{} {}", amount.to_major_string(), amount.currency())
}

fn write_one(approval: Approval, format: OutputFormat, mut out: &mut dyn Write) -> io::Result<()> {
    if format == OutputFormat::Json {
        return write_json(&ApprovalView::from(approval), &mut out);
    }
    let mut lines = vec![
        ("approval", approval.id.to_string()),
        ("action", approval.action.to_string()),
        ("subject", approval.subject.clone()),
        ("state", format!("{}{}", approval.state, waits(&approval))),
        ("amount", approval.amount.map(amount).unwrap_or_default()),
        ("maker", signed(approval.maker.as_ref())),
        ("checker", signed(approval.checker.as_ref())),
        ("rejected", approval.rejected_by.clone().unwrap_or_default()),
        ("reason", approval.reason.clone().unwrap_or_default()),
        ("digest", approval.digest.clone()),
    ];
    lines.retain(|(_, value)| !value.is_empty());
    for (name, value) in lines {
        writeln!(out, "{name:<9}{}", visible(&value))?;
    }
    writeln!(out, "shown    {}", visible(&approval.shown))
}

fn signed(signature: Option<&Signature>) -> String {
    signature.map_or_else(String::new, |it| {
        format!("{} at {}", it.person, instant(it.at))
    })
}
