//! The command line: what each verb takes, and what it prints.
//!
//! A verb is a struct of arguments and a `run` that writes to whatever it is given and says how to
//! exit. [`main`] is the whole program but for the process around it, so that tests run the same.

mod approvals;
mod audit;
mod bank_statement;
mod bulk;
mod calendar;
mod completions;
mod connect;
mod demo;
mod enqueue;
pub mod exit;
mod healthcheck;
mod import;
mod input;
mod jobs;
mod lock;
mod migrate;
mod openapi;
mod prune;
mod queues;
pub mod reconcile;
mod schema;
mod serve;
mod settle;
mod simulate;
pub mod statement;
mod status;
mod supervisor;
mod table;
mod verify;
mod views;

use std::ffi::OsString;
use std::fmt;
use std::io::{Read, Write};
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::clock::Clock;
use crate::config::Settings;
use crate::engine::Engine;
use exit::{CliError, Exit};

/// What a process has around it, as arguments.
pub struct Outside<'a> {
    /// The variables of the environment.
    pub environment: Vec<(String, String)>,
    /// Where `-` reads from.
    pub stdin: &'a mut (dyn Read + Send),
    /// Where answers go.
    pub stdout: &'a mut (dyn Write + Send),
    /// Where errors go.
    pub stderr: &'a mut (dyn Write + Send),
    /// The time.
    pub clock: Clock,
}

impl fmt::Debug for Outside<'_> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The environment holds secrets, and streams have nothing to show.
        formatter.debug_struct("Outside").finish_non_exhaustive()
    }
}

/// The back office of a payment system: jobs that move money, done once.
#[derive(Debug, Parser)]
#[command(name = "clearday", version, max_term_width = 100)]
struct Arguments {
    /// Settings, over the defaults and under the environment (CLEARDAY_<SECTION>__<KEY>).
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Bring the schema of the database up to date; makes an SQLite file that is missing.
    Migrate,
    #[command(flatten)]
    OnStore(StoreVerb),
    /// Run one daemon until SIGTERM or Ctrl-C.
    Serve,
    /// Ask the daemon on this machine whether it is alive; exit code 1 when it is not.
    Healthcheck,
    Demo(demo::DemoArgs),
    /// Print the description of the HTTP API.
    Openapi,
    Reconcile(reconcile::ReconcileArgs),
    Statement(statement::StatementArgs),
    Calendar(calendar::CalendarArgs),
    Schema(schema::SchemaArgs),
    Simulate(simulate::SimulateArgs),
    Completions(completions::CompletionsArgs),
}

/// What works on a database that is up to date.
#[derive(Debug, Subcommand)]
enum StoreVerb {
    Approve(approvals::ApproveArgs),
    Reject(approvals::RejectArgs),
    Approvals(approvals::ApprovalsArgs),
    Audit(audit::AuditArgs),
    Enqueue(enqueue::EnqueueArgs),
    Import(import::ImportArgs),
    Jobs(jobs::JobsArgs),
    Prune(prune::PruneArgs),
    Queues(queues::QueuesArgs),
    Settle(settle::SettleArgs),
    Status(status::StatusArgs),
    Verify(verify::VerifyArgs),
}

/// Runs `clearday` with these arguments, the program's name first, and says how to exit.
pub async fn main(
    arguments: impl IntoIterator<Item = OsString>,
    outside: &mut Outside<'_>,
) -> Exit {
    let exit = match Arguments::try_parse_from(arguments) {
        Ok(arguments) => match run(arguments, outside).await {
            Ok(exit) => exit,
            Err(error) => report(&error, outside),
        },
        Err(usage) => explain_usage(&usage, outside),
    };
    // Whoever reads the answer may be gone; there is nobody left to tell.
    outside.stdout.flush().ok();
    exit
}

async fn run(arguments: Arguments, outside: &mut Outside<'_>) -> Result<Exit, CliError> {
    match arguments.verb {
        Verb::Migrate => {
            let settings = connect::load_settings(arguments.config.as_deref(), outside)?;
            migrate::run(&settings, outside).await
        }
        Verb::OnStore(verb) => {
            let settings = connect::load_settings(arguments.config.as_deref(), outside)?;
            let engine = connect::open_engine(&settings, outside).await?;
            let exit = run_on_store(verb, &settings, &engine, outside).await;
            engine.store().close().await;
            exit
        }
        Verb::Serve => {
            let settings = connect::load_settings(arguments.config.as_deref(), outside)?;
            serve::run(&settings, outside.stdout).await
        }
        Verb::Healthcheck => {
            let settings = connect::load_settings(arguments.config.as_deref(), outside)?;
            healthcheck::run(&settings, outside.stdout).await
        }
        Verb::Demo(args) => {
            let settings = connect::load_settings(arguments.config.as_deref(), outside)?;
            demo::run(&args, settings, outside.stdout).await
        }
        Verb::Openapi => openapi::run(outside.stdout),
        Verb::Reconcile(args) => reconcile::run(&args, &mut outside.stdout),
        Verb::Statement(args) => statement::run(&args, &mut outside.stdout),
        Verb::Calendar(args) => calendar::run(&args, outside.stdout),
        Verb::Schema(args) => schema::run(&args, outside.stdout),
        Verb::Simulate(args) => simulate::run(&args, outside),
        Verb::Completions(args) => completions::run(&args, outside.stdout),
    }
}

async fn run_on_store(
    verb: StoreVerb,
    settings: &Settings,
    engine: &Engine,
    outside: &mut Outside<'_>,
) -> Result<Exit, CliError> {
    match verb {
        StoreVerb::Approve(args) => approvals::approve(args, settings, engine, outside).await,
        StoreVerb::Reject(args) => approvals::reject(args, settings, engine, outside).await,
        StoreVerb::Approvals(args) => approvals::run(args, engine, outside).await,
        StoreVerb::Audit(args) => audit::run(args, engine, outside).await,
        StoreVerb::Enqueue(args) => enqueue::run(args, engine, outside).await,
        StoreVerb::Import(args) => import::run(args, engine, outside).await,
        StoreVerb::Jobs(args) => jobs::run(args, engine, outside).await,
        StoreVerb::Prune(args) => prune::run(args, settings, engine, outside).await,
        StoreVerb::Queues(args) => queues::run(args, engine, outside).await,
        StoreVerb::Settle(args) => settle::run(args, settings, engine, outside).await,
        StoreVerb::Status(args) => status::run(args, engine, outside).await,
        StoreVerb::Verify(args) => verify::run(args, engine, outside).await,
    }
}

fn report(error: &CliError, outside: &mut Outside<'_>) -> Exit {
    if error.is_broken_pipe() {
        return Exit::Fine;
    }
    // There is no place left to say that the error cannot be told.
    writeln!(outside.stderr, "clearday: {}", error.chain()).ok();
    error.exit
}

/// Help and version are answers; everything else is a mistake.
fn explain_usage(usage: &clap::Error, outside: &mut Outside<'_>) -> Exit {
    let words = usage.render();
    if usage.use_stderr() {
        write!(outside.stderr, "{words}").ok();
        Exit::Refused
    } else {
        write!(outside.stdout, "{words}").ok();
        Exit::Fine
    }
}
