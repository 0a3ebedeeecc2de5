//! What goes wrong, and what becomes of the daemon it happens to.

use chrono::TimeDelta;

use super::{Driver, count};
use crate::simulate::SimulateError;
use crate::simulate::daemon::{Act, Life};
use crate::simulate::dice::Dice;
use crate::simulate::fault::{ANYWHERE, AT_CALLS, AT_WRITES, Fault, Struck};
use crate::simulate::stop::Step;

impl Driver<'_> {
    pub(super) fn strike_step(&mut self, act: &Act, step: Step) -> Option<Fault> {
        let place = || format!("{} {}", act.name(), step.name());
        match step {
            Step::Read | Step::Committed => self.strike(&ANYWHERE, self.rates.steps, place),
            // Of these there are few.
            Step::StandBy | Step::Answered(_) | Step::Waiting(..) => {
                self.strike(&ANYWHERE, self.rates.calls, place)
            }
            Step::Write => self.strike(&AT_WRITES, self.rates.steps, place),
            Step::Call(_) => self.strike(&AT_CALLS, self.rates.calls, place),
        }
    }

    /// Draws whether something goes wrong here.
    pub(super) fn strike(
        &mut self,
        of: &[Fault],
        permille: u32,
        place: impl FnOnce() -> String,
    ) -> Option<Fault> {
        if self.is_healing {
            return None;
        }
        let place = place();
        let visits = self.outcome.table.entry(place.clone()).or_default();
        visits.taken = visits.taken.saturating_add(1);
        let visit = visits.taken;
        for fault in of {
            visits.struck.entry(*fault).or_default();
        }
        let seed = self.plan.seed;
        let dice = self.faults.entry(place.clone());
        let dice = dice.or_insert_with(|| Dice::at(seed, &place));
        if !dice.happens(permille) {
            return None;
        }
        let possible: Vec<Fault> = of
            .iter()
            .copied()
            .filter(|fault| self.enabled.contains(fault))
            .collect();
        let drawn = dice.pick(&possible).copied();
        self.extent = Dice::of(dice.seed());
        let fault = drawn?;
        let number = self.drawn;
        self.drawn = self.drawn.saturating_add(1);
        let is_spared = self.plan.spared.contains(&(place.clone(), visit));
        if number >= self.plan.faults_max || is_spared {
            return None;
        }
        self.tell(|| format!("FAULT {number} {fault} at {place}"));
        let visits = self.outcome.table.entry(place.clone()).or_default();
        let times = visits.struck.entry(fault).or_default();
        *times = times.saturating_add(1);
        self.outcome.struck.push(Struck {
            number,
            fault,
            place,
            visit,
        });
        Some(fault)
    }

    pub(super) fn crash(&mut self, number: usize) {
        let seconds = self.extent.between(1, 40);
        self.stop(number, TimeDelta::seconds(seconds));
    }

    /// Everything that a daemon was doing is gone.
    pub(super) fn stop(&mut self, number: usize, pause: TimeDelta) {
        self.tasks.retain(|_, task| task.daemon != number);
        let until = self.now + pause;
        if let Some(daemon) = self.daemons.get_mut(number) {
            daemon.life = Life::Dead(until);
            count(&mut self.outcome, &daemon.engine);
        }
    }

    pub(super) fn freeze(&mut self, number: usize) {
        let seconds = self.extent.between(15, 90);
        let until = self.now + TimeDelta::seconds(seconds);
        if let Some(daemon) = self.daemons.get_mut(number) {
            daemon.life = Life::Frozen(until);
        }
    }

    pub(super) fn jump(&mut self, number: usize) {
        let seconds = self.extent.between(-300, 300);
        if let Some(daemon) = self.daemons.get_mut(number) {
            daemon.skew = TimeDelta::seconds(seconds);
        }
        self.set_clock(self.now);
    }

    pub(super) fn restart(&mut self, number: usize) -> Result<(), SimulateError> {
        let starts = self.daemons.get(number).map_or(0, |daemon| daemon.starts);
        let daemon = self.start(number, starts.saturating_add(1))?;
        if let Some(place) = self.daemons.get_mut(number) {
            *place = daemon;
        }
        self.tell(|| format!("d{number} is started again"));
        Ok(())
    }
}
