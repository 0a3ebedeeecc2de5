//! `clearday simulate`: nights in which everything goes wrong, from a seed.

use std::collections::BTreeMap;
use std::io::Write;
use std::num::NonZero;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use clap::Args;
use serde_json::json;

use super::exit::{CliError, Exit, OutputFormat};
use super::statement::write_json;
use super::table::Table;
use crate::simulate::{Outcome, Plan, SimulateError, Visits, shrink, simulate};

/// Tells how far it is after so many seeds.
const TOLD_EVERY: u64 = 100;

/// Simulate nights of work in which everything goes wrong, and check what was promised.
///
/// Daemons crash, freeze and lose messages on a clock of their own, over a database in memory and the sandbox's own
/// books. The same seed tells the same story. Exit code 1 when something is found.
#[derive(Debug, Args)]
pub(super) struct SimulateArgs {
    /// What everything is drawn from.
    #[arg(long)]
    seed: u64,
    /// Nights of new work.
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=365))]
    nights: u32,
    /// Jobs that are asked for in each night.
    #[arg(long, default_value_t = 40, value_parser = clap::value_parser!(u32).range(1..=10_000))]
    jobs: u32,
    /// Seeds that are tried, from `--seed` on.
    #[arg(long, default_value_t = 1)]
    seeds: u64,
    /// Print the story, a line per step.
    #[arg(long)]
    trace: bool,
    /// How to print the answer.
    #[arg(long, value_enum, default_value_t)]
    format: OutputFormat,
}

/// What all seeds came to together.
#[derive(Debug, Default)]
struct Sum {
    seeds: u64,
    jobs: u64,
    steps: u64,
    faults: u64,
    faults_least: Option<usize>,
    stale_refused: u64,
    failed: Vec<u64>,
    table: BTreeMap<String, Visits>,
}

/// Runs the verb and says how to exit.
pub(super) fn run(args: &SimulateArgs, outside: &mut super::Outside<'_>) -> Result<Exit, CliError> {
    let mut sum = Sum::default();
    let told = Mutex::new((&mut sum, outside));
    let next = AtomicU64::new(0);
    let work = || -> Result<(), CliError> {
        loop {
            let number = next.fetch_add(1, Ordering::Relaxed);
            if number >= args.seeds {
                return Ok(());
            }
            let plan = Plan {
                nights: args.nights,
                is_told: args.trace,
                ..Plan::of_seed(args.seed.saturating_add(number), args.jobs)
            };
            let outcome = simulate(&plan).map_err(failed)?;
            let mut told = told.lock().unwrap_or_else(PoisonError::into_inner);
            let (sum, outside) = &mut *told;
            tell(args, &plan, outcome, sum, outside)?;
        }
    };
    // A story is told by one thread; several stories may be told side by side.
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let threads = threads.min(usize::try_from(args.seeds).unwrap_or(usize::MAX));
    let ended: Vec<Result<(), CliError>> = thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        let failed = || CliError::refused("a simulation panicked");
        workers
            .into_iter()
            .map(|worker| worker.join().unwrap_or_else(|_| Err(failed())))
            .collect()
    });
    let (sum, outside) = told.into_inner().unwrap_or_else(PoisonError::into_inner);
    ended.into_iter().collect::<Result<(), CliError>>()?;
    sum.failed.sort_unstable();
    match args.format {
        OutputFormat::Json => write_json(&sum.json(), &mut outside.stdout),
        OutputFormat::Text => sum.write(outside.stdout),
    }
    .map_err(CliError::output)?;
    Ok(if sum.failed.is_empty() {
        Exit::Fine
    } else {
        Exit::Finding
    })
}

/// Tells of one story, and adds it to the sum.
fn tell(
    args: &SimulateArgs,
    plan: &Plan,
    outcome: Outcome,
    sum: &mut Sum,
    outside: &mut super::Outside<'_>,
) -> Result<(), CliError> {
    for line in &outcome.trace {
        writeln!(outside.stdout, "{line}").map_err(CliError::output)?;
    }
    if !outcome.findings.is_empty() {
        tell_failure(plan, &outcome, sum.failed.is_empty(), outside.stderr)?;
    }
    sum.add(plan.seed, outcome);
    if args.seeds > TOLD_EVERY && sum.seeds.is_multiple_of(TOLD_EVERY) {
        let words = format!(
            "{} of {} seeds, {} faults, {} failed",
            sum.seeds,
            args.seeds,
            sum.faults,
            sum.failed.len()
        );
        writeln!(outside.stderr, "{words}").map_err(CliError::output)?;
    }
    Ok(())
}

fn failed(error: SimulateError) -> CliError {
    CliError::of(Exit::Unavailable, error)
}

/// The seed, what is wrong and, of the first such seed, the shortest story that shows it.
fn tell_failure(
    plan: &Plan,
    outcome: &Outcome,
    is_first: bool,
    out: &mut (dyn Write + Send),
) -> Result<(), CliError> {
    let told = |error| CliError::output(error);
    writeln!(out, "seed {} found:", plan.seed).map_err(told)?;
    for finding in &outcome.findings {
        writeln!(out, "  {}: {}", finding.check, finding.what).map_err(told)?;
    }
    if !is_first {
        return Ok(());
    }
    let shrunk = shrink(plan, outcome).map_err(failed)?;
    writeln!(
        out,
        "the shortest story found in {} tries has {} of its {} faults:",
        shrunk.stories,
        shrunk.outcome.struck.len(),
        outcome.struck.len()
    )
    .map_err(told)?;
    for line in &shrunk.outcome.trace {
        writeln!(out, "  {line}").map_err(told)?;
    }
    for finding in &shrunk.outcome.findings {
        writeln!(out, "  {}: {}", finding.check, finding.what).map_err(told)?;
    }
    Ok(())
}

impl Sum {
    fn add(&mut self, seed: u64, outcome: Outcome) {
        let count = |number: usize| u64::try_from(number).unwrap_or(u64::MAX);
        self.seeds = self.seeds.saturating_add(1);
        self.jobs = self.jobs.saturating_add(count(outcome.jobs));
        self.steps = self.steps.saturating_add(outcome.steps);
        let faults = outcome.struck.len();
        self.faults = self.faults.saturating_add(count(faults));
        self.faults_least = self.faults_least.into_iter().chain([faults]).min();
        self.stale_refused = self.stale_refused.saturating_add(outcome.stale_refused);
        if !outcome.findings.is_empty() {
            self.failed.push(seed);
        }
        for (step, visits) in outcome.table {
            self.table.entry(step).or_default().join(&visits);
        }
    }

    /// What could have gone wrong somewhere, and never did.
    fn never_struck(&self) -> Vec<String> {
        let pairs = self.table.iter().flat_map(|(step, visits)| {
            let never = visits.struck.iter().filter(|(_, times)| **times == 0);
            never.map(move |(fault, _)| format!("{fault} at {step}"))
        });
        pairs.collect()
    }

    fn json(&self) -> serde_json::Value {
        let struck = |visits: &Visits| -> BTreeMap<&'static str, u64> {
            let struck = visits.struck.iter();
            struck
                .map(|(fault, times)| (fault.as_str(), *times))
                .collect()
        };
        let table: BTreeMap<&str, serde_json::Value> = self
            .table
            .iter()
            .map(|(step, visits)| {
                let told = json!({"taken": visits.taken, "faults": struck(visits)});
                (step.as_str(), told)
            })
            .collect();
        json!({
            "ok": self.failed.is_empty(),
            "seeds": self.seeds,
            "jobs": self.jobs,
            "steps": self.steps,
            "faults": self.faults,
            "faults_least": self.faults_least,
            "stale_commits_refused": self.stale_refused,
            "failed_seeds": self.failed,
            "steps_and_faults": table,
            "never_struck": self.never_struck(),
        })
    }

    fn write(&self, out: &mut dyn Write) -> std::io::Result<()> {
        let mut table = Table::new(["step", "taken", "faults"]);
        for (step, visits) in &self.table {
            let faults: Vec<String> = visits
                .struck
                .iter()
                .map(|(fault, times)| format!("{fault} {times}"))
                .collect();
            table.add([step.clone(), visits.taken.to_string(), faults.join(", ")]);
        }
        table.write(out)?;
        for pair in self.never_struck() {
            writeln!(out, "never: {pair}")?;
        }
        writeln!(
            out,
            "{} seeds, {} jobs, {} steps, {} faults (at least {} in a seed), {} stale commits refused, {} seeds failed",
            self.seeds,
            self.jobs,
            self.steps,
            self.faults,
            self.faults_least.unwrap_or_default(),
            self.stale_refused,
            self.failed.len()
        )
    }
}
