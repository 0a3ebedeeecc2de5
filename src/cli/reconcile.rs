//! `clearday reconcile`: plain statement files against plain records, with no database.
//!
//! Prints a summary and writes every break to `breaks.csv`. A statement that is not whole is refused unless
//! `--accept-incomplete` names it; then what can be read is reconciled, the summary says so, and the run is not
//! complete.

use std::fs::{self, File};
use std::io::{self, BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::thread;

use clap::Args;
use clearday_jobs::ChannelName;
use serde::Serialize;

use super::exit::{CliError, Exit, OutputFormat};
use super::statement::{Channel, open, refused, write_json};
use crate::domain::reconciliation::{Break, Entries, Entry, Reconciliation, Summary, reconcile};
use crate::formats::breaks::write_breaks;
use crate::formats::records::read_records;
use crate::formats::statements::{Added, StatementSet};
use crate::formats::wechat_pay::Tolerance;

/// The file of breaks in the output folder.
const BREAKS_FILE: &str = "breaks.csv";

/// Its name until it is whole.
const PARTIAL_BREAKS_FILE: &str = "breaks.csv.partial";

/// Compare statements of a channel with records of ours, and write down every break.
#[derive(Debug, Args)]
pub struct ReconcileArgs {
    /// The channel that wrote the statements.
    #[arg(long)]
    channel: Channel,
    /// A statement, plain or gzip; may be given several times.
    #[arg(long = "statement", value_name = "FILE", required = true, num_args = 1..)]
    statements: Vec<PathBuf>,
    /// Our records: CSV, or JSON lines with the same names.
    #[arg(long, value_name = "FILE")]
    records: PathBuf,
    /// The folder for `breaks.csv`; made when it is not there.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// A statement to be taken although rows or totals are missing or wrong.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    accept_incomplete: Vec<PathBuf>,
    /// How to print the summary.
    #[arg(long, value_enum, default_value_t)]
    format: OutputFormat,
}

/// Runs the verb and says how to exit.
pub fn run(args: &ReconcileArgs, out: &mut impl Write) -> Result<Exit, CliError> {
    check_accepted(args)?;
    let channel = args
        .channel
        .name()
        .map_err(|error| CliError::refused("the channel").because(error))?;
    let (theirs, ours) = read_both(args, &channel)?;
    let Reconciliation {
        mut summary,
        breaks,
        ..
    } = reconcile(&theirs.set.entries, &ours, &theirs.set.coverage);
    summary.complete &= theirs.accepted.is_empty();

    let path = write_file(&args.out, &breaks)?;
    let exit = if summary.complete && breaks.is_empty() {
        Exit::Fine
    } else {
        Exit::Finding
    };
    let report = Report {
        summary,
        accepted_incomplete: theirs.accepted,
        duplicate_files: theirs.duplicates,
    };
    let written = match args.format {
        OutputFormat::Json => write_json(&report, out),
        OutputFormat::Text => write_text(&report, &path, out),
    };
    written.map_err(|error| CliError::refused("could not write the output").because(error))?;
    Ok(exit)
}

/// Both sides are long and independent, so they are read at the same time.
fn read_both(
    args: &ReconcileArgs,
    channel: &ChannelName,
) -> Result<(Statements, Entries), CliError> {
    let (theirs, ours) = thread::scope(|scope| {
        let ours = scope.spawn(|| read_ours(args, channel));
        (Statements::read(args, channel), ours.join())
    });
    let ours = ours.map_err(|_| CliError::refused("reading the records ended abruptly"))?;
    Ok((theirs?, ours?))
}

/// What `--format json` prints.
#[derive(Serialize)]
struct Report {
    #[serde(flatten)]
    summary: Summary,
    /// Statements that were taken although they are not whole.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    accepted_incomplete: Vec<AcceptedFile>,
    /// Statements left out because they are another one again.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    duplicate_files: Vec<DuplicateFile>,
}

#[derive(Debug, Serialize)]
struct AcceptedFile {
    file: String,
    reason: String,
}

#[derive(Debug, Serialize)]
struct DuplicateFile {
    file: String,
    same_as: String,
}

/// Whoever names a file that is not there meant another one.
fn check_accepted(args: &ReconcileArgs) -> Result<(), CliError> {
    let is_given = |path: &PathBuf| args.statements.iter().any(|given| is_same(given, path));
    match args.accept_incomplete.iter().find(|path| !is_given(path)) {
        None => Ok(()),
        Some(path) => Err(CliError::refused(format!(
            "--accept-incomplete {}: no statement of that name is given",
            path.display()
        ))),
    }
}

fn is_same(one: &Path, other: &Path) -> bool {
    one == other
        || matches!((one.canonicalize(), other.canonicalize()), (Ok(one), Ok(other)) if one == other)
}

/// All statements together, and what there is to say about them.
struct Statements {
    set: StatementSet,
    accepted: Vec<AcceptedFile>,
    duplicates: Vec<DuplicateFile>,
}

impl Statements {
    fn read(args: &ReconcileArgs, channel: &ChannelName) -> Result<Self, CliError> {
        let set = StatementSet::of_channel(channel)
            .map_err(|error| CliError::refused("--channel").because(error))?;
        let mut statements = Self {
            set,
            accepted: Vec::new(),
            duplicates: Vec::new(),
        };
        for path in &args.statements {
            let is_accepted = args
                .accept_incomplete
                .iter()
                .any(|accepted| is_same(accepted, path));
            statements.add(path, is_accepted)?;
        }
        Ok(statements)
    }

    fn add(&mut self, path: &Path, is_accepted: bool) -> Result<(), CliError> {
        let tolerance = if is_accepted {
            Tolerance::AcceptIncomplete
        } else {
            Tolerance::Refuse
        };
        let file = path.display().to_string();
        let mut progress = Progress::new(path);
        let added = self
            .set
            .add(&file, open(path)?, tolerance, || progress.count())
            .map_err(|error| refused(path, error))?;
        progress.finish();
        match added {
            Added::Whole(_) => {}
            Added::Incomplete(_, reason) => self.accepted.push(AcceptedFile { file, reason }),
            Added::SameAs(same_as) => self.duplicates.push(DuplicateFile { file, same_as }),
        }
        Ok(())
    }
}

fn read_ours(args: &ReconcileArgs, channel: &ChannelName) -> Result<Entries, CliError> {
    let path = &args.records;
    let mut entries = Entries::default();
    let mut progress = Progress::new(path);
    read_records(open(path)?, |record| {
        entries.push(Entry::of_record(&record, channel));
        progress.count();
    })
    .map_err(|error| refused(path, error))?;
    progress.finish();
    Ok(entries)
}

/// Writes the breaks under a name that is not theirs, and gives them their name when they are whole.
fn write_file(folder: &Path, breaks: &[Break]) -> Result<PathBuf, CliError> {
    let path = folder.join(BREAKS_FILE);
    let partial = folder.join(PARTIAL_BREAKS_FILE);
    let write = || -> Result<(), csv::Error> {
        fs::create_dir_all(folder)?;
        let mut file = BufWriter::new(File::create(&partial)?);
        write_breaks(&mut file, breaks)?;
        file.into_inner()
            .map_err(io::IntoInnerError::into_error)?
            .sync_all()?;
        fs::rename(&partial, &path)?;
        Ok(())
    };
    match write() {
        Ok(()) => Ok(path),
        Err(error) => Err(refused(&path, error)),
    }
}

fn write_text(report: &Report, path: &Path, out: &mut impl Write) -> io::Result<()> {
    let summary = &report.summary;
    for file in &report.duplicate_files {
        writeln!(
            out,
            "left out   {}: the same file as {}",
            file.file, file.same_as
        )?;
    }
    for file in &report.accepted_incomplete {
        writeln!(out, "incomplete {}: {}", file.file, file.reason)?;
    }
    writeln!(out, "{:>10} statement lines", summary.statement_lines)?;
    if summary.repeated_lines > 0 {
        writeln!(
            out,
            "{:>10} more that another statement tells too",
            summary.repeated_lines
        )?;
    }
    writeln!(out, "{:>10} records", summary.record_lines)?;
    writeln!(out, "{:>10} matched", summary.matched)?;
    writeln!(out, "{:>10} mismatched", summary.mismatched)?;
    writeln!(out, "{:>10} suspended", summary.suspended)?;
    writeln!(out, "{:>10} not expected", summary.not_expected)?;
    for (name, count) in summary.breaks.iter().filter(|(_, count)| **count > 0) {
        writeln!(out, "{count:>10} {name}")?;
    }
    if !summary.complete {
        writeln!(out, "The run is not complete.")?;
    }
    let breaks = summary.breaks_total();
    writeln!(out, "{breaks} breaks in {}", path.display())
}

/// Tells on a terminal how far a long file is read.
struct Progress<'a> {
    path: &'a Path,
    rows: u64,
    is_shown: bool,
}

impl<'a> Progress<'a> {
    /// How many rows between two signs of life.
    const ROWS_PER_SIGN: u64 = 500_000;

    fn new(path: &'a Path) -> Self {
        let is_shown = io::stderr().is_terminal();
        Self {
            path,
            rows: 0,
            is_shown,
        }
    }

    fn count(&mut self) {
        self.rows = self.rows.saturating_add(1);
        if self.is_shown && self.rows.is_multiple_of(Self::ROWS_PER_SIGN) {
            self.show("\r");
        }
    }

    fn finish(&self) {
        if self.is_shown && self.rows >= Self::ROWS_PER_SIGN {
            self.show("\n");
        }
    }

    fn show(&self, end: &str) {
        let told = format!("{}: {} rows{end}", self.path.display(), self.rows);
        // A terminal that cannot be written to misses nothing but this.
        drop(io::stderr().write_all(told.as_bytes()));
    }
}
