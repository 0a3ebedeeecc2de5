//! Searches for the shortest story that still shows what a story showed.
//!
//! First fewer jobs, then fewer faults from the end, then parts of what is left: a story is told again with some faults
//! spared, and it is kept when the same check notices something.

use super::{Outcome, Plan, SimulateError, Struck, simulate};

/// So many stories are told at most; each takes a moment.
const STORIES_MAX: usize = 150;

/// The shortest story that was found.
#[derive(Clone, Debug)]
pub struct Shrunk {
    /// What tells it.
    pub plan: Plan,
    /// What it comes to, told.
    pub outcome: Outcome,
    /// How many stories it took to find it.
    pub stories: usize,
}

/// Searches, given a plan that finds something.
///
/// # Errors
/// When the simulation itself fails.
pub fn shrink(plan: &Plan, found: &Outcome) -> Result<Shrunk, SimulateError> {
    let check = found.findings.first().map(|finding| finding.check);
    let mut search = Search {
        check: check.unwrap_or_default(),
        stories: 0,
        best: Plan {
            is_told: false,
            ..plan.clone()
        },
        struck: found.struck.clone(),
    };
    search.fewer_jobs()?;
    search.fewer_faults()?;
    search.parts()?;
    let best = Plan {
        is_told: true,
        ..search.best
    };
    Ok(Shrunk {
        outcome: simulate(&best)?,
        plan: best,
        stories: search.stories,
    })
}

struct Search {
    check: &'static str,
    stories: usize,
    best: Plan,
    struck: Vec<Struck>,
}

impl Search {
    /// The least power of two of jobs that shows it.
    fn fewer_jobs(&mut self) -> Result<(), SimulateError> {
        let mut jobs = 1;
        while jobs < self.best.jobs {
            let shorter = Plan {
                jobs,
                ..self.best.clone()
            };
            if self.takes(shorter)? {
                return Ok(());
            }
            jobs = jobs.saturating_mul(2);
        }
        Ok(())
    }

    /// The last fault that matters, by halves.
    fn fewer_faults(&mut self) -> Result<(), SimulateError> {
        let after_last = |struck: &[Struck]| struck.last().map_or(0, |it| it.number + 1);
        let (mut low, mut high) = (0, after_last(&self.struck));
        while low < high {
            let middle = usize::midpoint(low, high);
            let shorter = Plan {
                faults_max: middle,
                ..self.best.clone()
            };
            if self.takes(shorter)? {
                high = middle;
            } else {
                low = middle.saturating_add(1);
            }
        }
        Ok(())
    }

    /// Spares parts of the faults, ever smaller ones.
    fn parts(&mut self) -> Result<(), SimulateError> {
        let mut size = self.struck.len().div_ceil(2);
        while size > 0 && self.stories < STORIES_MAX {
            let mut start = 0;
            while start < self.struck.len() {
                let part = self.struck.iter().skip(start).take(size);
                let mut shorter = self.best.clone();
                shorter
                    .spared
                    .extend(part.map(|it| (it.place.clone(), it.visit)));
                let before = self.struck.len();
                if !self.takes(shorter)? || self.struck.len() >= before {
                    start = start.saturating_add(size);
                }
            }
            size = if size == 1 { 0 } else { size.div_ceil(2) };
        }
        Ok(())
    }

    /// Keeps a plan if the same check notices something in a story that is not longer, and tells whether it did.
    fn takes(&mut self, plan: Plan) -> Result<bool, SimulateError> {
        if self.stories >= STORIES_MAX {
            return Ok(false);
        }
        self.stories = self.stories.saturating_add(1);
        let outcome = simulate(&plan)?;
        let shows = outcome.findings.iter().any(|it| it.check == self.check);
        let length = (plan.jobs, outcome.struck.len());
        let is_kept = shows && length <= (self.best.jobs, self.struck.len());
        if is_kept {
            self.best = plan;
            self.struck = outcome.struck;
        }
        Ok(is_kept)
    }
}
