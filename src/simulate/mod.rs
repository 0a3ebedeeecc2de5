//! `clearday simulate`: nights of work in which everything goes wrong, from a seed.
//!
//! The real engine and the real workers of several daemons, on a clock of the simulation's own, over SQLite in memory,
//! against the sandbox's own books, in one thread. What happens next, and what goes wrong, is drawn from the seed; the
//! same seed tells the same story, byte for byte. First there are faults, then everything heals and must come to its
//! end; what was promised is checked on the way and at the end.
//!
//! Outside of it stay apalis, Redis, sockets, SMTP, and Postgres' isolation between statements: for those there are
//! tests with real servers.

mod bill;
mod check;
mod daemon;
mod dice;
mod driver;
pub mod fault;
mod house;
mod network;
mod setup;
mod shrink;
mod stop;
mod trace;
mod world;

use std::collections::{BTreeMap, BTreeSet};

use crate::store::StoreError;

pub use fault::{Fault, Struck};
pub use shrink::{Shrunk, shrink};

/// What is simulated.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Everything is drawn from it.
    pub seed: u64,
    /// How many nights of new work, at least one.
    pub nights: u32,
    /// How many jobs upstream asks for in each.
    pub jobs: u32,
    /// Whether the story is told.
    pub is_told: bool,
    /// Nothing goes wrong any more after so many faults.
    pub faults_max: usize,
    /// Faults that do not strike, by the step and which time it is taken: for the search for the shortest story.
    pub spared: BTreeSet<(String, u64)>,
    /// What is taken out of the engine, to see whether anybody notices.
    #[cfg(feature = "weaknesses")]
    pub weakness: Option<crate::engine::Weakness>,
}

impl Plan {
    /// One night of a seed.
    pub fn of_seed(seed: u64, jobs: u32) -> Self {
        Self {
            seed,
            nights: 1,
            jobs,
            is_told: false,
            faults_max: usize::MAX,
            spared: BTreeSet::new(),
            #[cfg(feature = "weaknesses")]
            weakness: None,
        }
    }
}

/// Something that must never be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The check that noticed.
    pub check: &'static str,
    /// What is wrong.
    pub what: String,
}

/// What one simulation came to.
#[derive(Clone, Debug, Default)]
pub struct Outcome {
    /// What must never be, and was.
    pub findings: Vec<Finding>,
    /// What went wrong, in order.
    pub struck: Vec<Struck>,
    /// Steps that were taken.
    pub steps: u64,
    /// Jobs in the database at the end.
    pub jobs: usize,
    /// Commits that were refused because the lease was lost.
    pub stale_refused: u64,
    /// By step: how often it was taken, and how often each fault struck there that could.
    pub table: BTreeMap<String, Visits>,
    /// The story, if it was to be told.
    pub trace: Vec<String>,
}

/// How often a step was taken, and what went wrong there.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Visits {
    /// How often it was taken while things could go wrong.
    pub taken: u64,
    /// Every fault that may strike there, and how often it did.
    pub struck: BTreeMap<Fault, u64>,
}

impl Visits {
    /// Both together.
    pub fn join(&mut self, other: &Self) {
        self.taken = self.taken.saturating_add(other.taken);
        for (fault, times) in &other.struck {
            let total = self.struck.entry(*fault).or_default();
            *total = total.saturating_add(*times);
        }
    }
}

/// Why a simulation could not be carried out.
#[derive(Debug, thiserror::Error)]
pub enum SimulateError {
    /// The database of the simulation itself failed.
    #[error("the simulation's own database failed")]
    Store(#[from] StoreError),
    /// Its folder could not be used.
    #[error("the simulation's own folder failed")]
    Folder(#[from] std::io::Error),
    /// Something it sets up was refused.
    #[error("the simulation could not be set up: {0}")]
    SetUp(String),
}

impl SimulateError {
    fn set_up(error: impl std::fmt::Display) -> Self {
        Self::SetUp(error.to_string())
    }
}

/// Carries one plan out, on this thread and nowhere else.
///
/// # Errors
/// When the simulation itself fails; what it finds is in the outcome.
pub fn simulate(plan: &Plan) -> Result<Outcome, SimulateError> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(Box::pin(driver::run(plan)))
}
