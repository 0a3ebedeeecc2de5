//! Searches for the shortest story that still shows what a story showed.
//!
//! First fewer faults from the end, then each fault alone: a story is told again with some faults spared, and it is
//! kept when the same check notices something.

use super::{Outcome, Plan, SimulateError, simulate};

/// So many stories are told at most; each takes a moment.
const STORIES_MAX: usize = 120;

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
    let checks: Vec<&str> = found.findings.iter().map(|it| it.check).collect();
    let mut search = Search {
        check: checks.first().copied().unwrap_or_default().to_owned(),
        stories: 0,
    };
    let mut best = plan.clone();
    best.is_told = false;
    let mut struck = found.struck.clone();
    // The last fault that matters, by halves.
    let (mut low, mut high) = (0, struck.last().map_or(0, |it| it.number.saturating_add(1)));
    while low < high && search.goes_on() {
        let middle = usize::midpoint(low, high);
        let shorter = Plan {
            faults_max: middle,
            ..best.clone()
        };
        match search.shows(&shorter)? {
            Some(outcome) => {
                struck = outcome.struck;
                best = shorter;
                high = middle;
            }
            None => low = middle.saturating_add(1),
        }
    }
    let mut number = struck.len();
    while number > 0 && search.goes_on() {
        number = number.saturating_sub(1);
        let Some(spare) = struck.get(number).map(|it| it.number) else {
            continue;
        };
        let mut shorter = best.clone();
        shorter.spared.insert(spare);
        if let Some(outcome) = search.shows(&shorter)? {
            struck = outcome.struck;
            number = number.min(struck.len());
            best = shorter;
        }
    }
    best.is_told = true;
    let outcome = simulate(&best)?;
    Ok(Shrunk {
        plan: best,
        outcome,
        stories: search.stories,
    })
}

struct Search {
    check: String,
    stories: usize,
}

impl Search {
    fn goes_on(&self) -> bool {
        self.stories < STORIES_MAX
    }

    /// What a plan comes to, if the same check notices something.
    fn shows(&mut self, plan: &Plan) -> Result<Option<Outcome>, SimulateError> {
        self.stories = self.stories.saturating_add(1);
        let outcome = simulate(plan)?;
        let is_same = outcome.findings.iter().any(|it| it.check == self.check);
        Ok(is_same.then_some(outcome))
    }
}
