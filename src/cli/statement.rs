//! `clearday statement inspect`: what a statement file is, and whether its own totals agree.

use std::fs::File;
use std::io::{self, BufRead, Write};
use std::path::{Path, PathBuf};

use clap::{Args, Subcommand, ValueEnum};
use clearday_jobs::{ChannelName, IdError};
use serde::Serialize;

use super::bank_statement;
use super::exit::{CliError, Exit, OutputFormat};
use crate::formats::text::unpack;
use crate::formats::wechat_pay::totals::{TotalTexts, decimal_text, total_text};
use crate::formats::wechat_pay::{self, Statement, Tolerance, TotalName, read_statement};

/// Look at statement files of payment channels and banks.
#[derive(Debug, Args)]
pub struct StatementArgs {
    #[command(subcommand)]
    verb: StatementVerb,
}

#[derive(Debug, Subcommand)]
enum StatementVerb {
    /// Say what a statement is, sum up its rows and compare the sums with its trailer.
    Inspect(InspectArgs),
}

/// Say what a statement is, sum up its rows and compare the sums with its trailer.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// The statement, plain or gzip.
    file: PathBuf,
    /// Who wrote it.
    #[arg(long)]
    channel: Writer,
    /// How to print what was found.
    #[arg(long, value_enum, default_value_t)]
    format: OutputFormat,
}

/// Whose statements can be looked at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Writer {
    /// 微信支付.
    #[value(name = "wechat_pay")]
    WechatPay,
    /// Any bank that writes ISO 20022 (camt.053).
    Bank,
}

/// The channels whose statements can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Channel {
    /// 微信支付.
    #[value(name = "wechat_pay")]
    WechatPay,
}

impl Channel {
    /// The channel as records name it.
    pub fn name(self) -> Result<ChannelName, IdError> {
        match self {
            Self::WechatPay => ChannelName::new(wechat_pay::CHANNEL),
        }
    }
}

/// Runs the verb and says how to exit.
pub fn run(args: &StatementArgs, out: &mut impl Write) -> Result<Exit, CliError> {
    match &args.verb {
        StatementVerb::Inspect(inspect) => run_inspect(inspect, out),
    }
}

fn run_inspect(args: &InspectArgs, out: &mut impl Write) -> Result<Exit, CliError> {
    let statement = match args.channel {
        Writer::WechatPay => read_statement(open(&args.file)?, Tolerance::Refuse, |_| ())
            .map_err(|error| refused(&args.file, error))?,
        Writer::Bank => return bank_statement::inspect(&args.file, args.format, out),
    };
    let written = match args.format {
        OutputFormat::Json => write_json(&Report::of(&statement), out),
        OutputFormat::Text => write_text(&args.file, &statement, out),
    };
    written.map_err(|error| CliError::refused("could not write the output").because(error))?;
    Ok(if statement.trailer_agrees() {
        Exit::Fine
    } else {
        Exit::Finding
    })
}

/// Opens a file, unpacking it when it is gzip.
pub(super) fn open(path: &Path) -> Result<Box<dyn BufRead>, CliError> {
    File::open(path)
        .and_then(unpack)
        .map_err(|error| refused(path, error))
}

/// An error about one file, which it names first.
pub(super) fn refused(
    path: &Path,
    error: impl std::error::Error + Send + Sync + 'static,
) -> CliError {
    CliError::refused(path.display().to_string()).because(error)
}

pub(super) fn write_json(report: &impl Serialize, out: &mut impl Write) -> io::Result<()> {
    serde_json::to_writer(&mut *out, report)?;
    writeln!(out)
}

/// What `--format json` prints. Amounts are decimal strings in major units of `currency`.
#[derive(Serialize)]
struct Report {
    format: &'static str,
    lines: u64,
    currency: Option<&'static str>,
    totals: TotalTexts,
    #[serde(skip_serializing_if = "Option::is_none")]
    receivable: Option<String>,
    trailer_agrees: bool,
    /// The file's own sums, when they are others.
    #[serde(skip_serializing_if = "Option::is_none")]
    trailer: Option<TotalTexts>,
    /// The names of the sums that differ.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    disagreements: Vec<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    balances_follow: Option<bool>,
    sha256: String,
}

impl Report {
    fn of(statement: &Statement) -> Self {
        let currency = statement.currency;
        let agrees = statement.trailer_agrees();
        let places = currency.map_or(2, clearday_jobs::Currency::exponent);
        Self {
            format: statement.format.name(),
            lines: statement.lines,
            currency: currency.map(clearday_jobs::Currency::code),
            totals: statement.totals.texts(currency),
            receivable: statement.receivable().map(|sum| decimal_text(sum, places)),
            trailer_agrees: agrees,
            trailer: statement
                .trailer
                .as_ref()
                .filter(|_| !agrees)
                .map(|trailer| trailer.texts(currency)),
            disagreements: statement
                .disagreements()
                .into_iter()
                .map(|differing| differing.name.as_str())
                .collect(),
            balances_follow: statement.balances_follow,
            sha256: hex(&statement.sha256),
        }
    }
}

/// Bytes as lower-case hexadecimal digits.
pub fn hex(bytes: &[u8]) -> String {
    bytes
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect::<Vec<_>>()
        .concat()
}

fn write_text(path: &Path, statement: &Statement, out: &mut impl Write) -> io::Result<()> {
    let currency = statement.currency;
    writeln!(
        out,
        "{}: {}, {} rows",
        path.display(),
        statement.format,
        statement.lines
    )?;
    writeln!(out, "{:<24}{:>16}{:>16}", "total", "rows", "trailer")?;
    for (name, computed) in statement.totals.iter() {
        let told = statement
            .trailer
            .as_ref()
            .and_then(|trailer| trailer.get(name));
        let told = told.map_or_else(String::new, |value| total_text(name, value, currency));
        let note = if told == total_text(name, computed, currency) {
            ""
        } else {
            "  differs"
        };
        let computed = total_text(name, computed, currency);
        writeln!(out, "{:<24}{computed:>16}{told:>16}{note}", name.as_str())?;
    }
    if statement.balances_follow == Some(false) {
        writeln!(out, "The balances do not follow from one row to the next.")?;
    }
    let lines = statement.totals.get(TotalName::Lines);
    let verdict = match statement.trailer_agrees() {
        true if lines.is_some_and(|lines| lines.is_zero()) => {
            "The trailer agrees; the bill is empty."
        }
        true => "The trailer agrees.",
        false => "The trailer disagrees: rows are missing or were changed.",
    };
    writeln!(out, "{verdict}")
}
