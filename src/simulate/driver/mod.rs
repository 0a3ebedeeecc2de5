//! Decides what happens next, and what goes wrong with it.
//!
//! One task is polled at a time, up to its next stop. When nobody can go on, the clock moves to the next instant at
//! which somebody can.

mod strikes;
mod tasks;
mod time;
mod traffic;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use chrono::{DateTime, TimeDelta, Utc};
use clearday_jobs::JobKind;

use self::tasks::ROOM;
use self::traffic::Transit;
use super::check::{self, Seen};
use super::daemon::{Act, Bells, Daemon, Ended, Life, Tasks};
use super::dice::{Dice, Purpose};
use super::fault::Fault;
use super::house::House;
use super::setup::{self, beginning, ending, horizon, schedules};
use super::trace::Trace;
use super::world::World;
use super::{Finding, Outcome, Plan, SimulateError};
use crate::clock::{Clock, Ids};
use crate::engine::{Engine, TickPlan as _};
use crate::schedule::{self, plans};
use crate::store::jobs::{self, JobFilter};

/// A night takes a few thousand; a story this long goes round in circles.
const STEPS_MAX: u64 = 400_000;
/// A story in which fewer things go wrong shows little.
const FAULTS_LEAST: usize = 12;
/// As often as daemons are set up to.
const HEARTBEAT: TimeDelta = TimeDelta::seconds(5);
/// Who holds nothing keeps in touch less often than it could, but within a lease: simulating costs time, too.
const IDLE_HEARTBEAT: TimeDelta = TimeDelta::seconds(15);
const SWEEP: TimeDelta = TimeDelta::seconds(10);
/// More jobs than any story has.
const JOBS_MAX: usize = 100_000;

/// What may happen next.
#[derive(Clone, Copy, Debug)]
enum Choice {
    GoOn(u64),
    Renew(usize),
    Sweep(usize),
    Tick(usize),
    Lease(usize, JobKind),
    HandBack(usize),
    Restart(usize),
    Arrive((DateTime<Utc>, u64)),
}

/// How often things go wrong in this story, in a thousand.
#[derive(Clone, Copy, Debug)]
struct Rates {
    steps: u32,
    calls: u32,
    transit: u32,
}

struct Driver<'a> {
    plan: &'a Plan,
    house: &'a House,
    world: World,
    door: Engine,
    ticks: Vec<schedule::Plan>,
    tick_instants: Vec<DateTime<Utc>>,
    /// Whether anything was leased when the clock moved last: only then is there anything to renew or to sweep.
    is_watchful: bool,
    now: DateTime<Utc>,
    heal_at: DateTime<Utc>,
    /// Where little went wrong by then, until here.
    heal_late: DateTime<Utc>,
    is_healing: bool,
    order: Dice,
    /// By place, so that a fault that is left out changes nothing of those elsewhere.
    faults: BTreeMap<String, Dice>,
    /// How long the fault that was drawn last lasts.
    extent: Dice,
    travel: Dice,
    rates: Rates,
    enabled: Vec<Fault>,
    bells: Bells,
    daemons: Vec<Daemon>,
    tasks: Tasks,
    transit: BTreeMap<(DateTime<Utc>, u64), Transit>,
    count: u64,
    /// Grows with each step that may take a lease from its holder.
    upheavals: u64,
    drawn: usize,
    trace: Trace,
    outcome: Outcome,
}

/// Carries a plan out.
pub(super) async fn run(plan: &Plan) -> Result<Outcome, SimulateError> {
    let house = House::open(beginning()).await?;
    let (world, events) = setup::tell(&house, plan).await?;
    let mut driver = Driver::new(plan, &house, world)?;
    for (at, event) in events {
        driver.send(at, Transit::Event(event));
    }
    driver.work().await?;
    let outcome = driver.close().await?;
    house.store.close().await;
    Ok(outcome)
}

impl<'a> Driver<'a> {
    fn new(plan: &'a Plan, house: &'a House, world: World) -> Result<Self, SimulateError> {
        let mut faults = Dice::new(plan.seed, Purpose::Faults);
        let rates = Rates {
            steps: u32::try_from(faults.between(8, 25)).unwrap_or(10),
            calls: u32::try_from(faults.between(50, 250)).unwrap_or(100),
            transit: u32::try_from(faults.between(20, 150)).unwrap_or(50),
        };
        // Not everything goes wrong in every story, so that one kind of fault does not hide what another shows.
        let mut enabled: Vec<Fault> = Vec::new();
        for fault in Fault::ALL {
            if faults.happens(750) {
                enabled.push(fault);
            }
        }
        let night_seconds = ending(plan)
            .signed_duration_since(beginning())
            .num_seconds();
        let heal_after = faults.between(4 * 3_600, night_seconds);
        let plans = plans(&schedules()).map_err(SimulateError::set_up)?;
        let mut tick_instants: Vec<DateTime<Utc>> = plans
            .iter()
            .flat_map(|it| it.due_between(beginning(), horizon(plan), JOBS_MAX))
            .collect();
        tick_instants.sort_unstable();
        let ids = Ids::seeded(house.clock.clone(), plan.seed);
        let mut driver = Self {
            plan,
            house,
            world,
            door: house.door(ids),
            ticks: plans,
            tick_instants,
            is_watchful: false,
            now: beginning(),
            heal_at: beginning() + TimeDelta::seconds(heal_after),
            heal_late: ending(plan) + TimeDelta::days(2),
            is_healing: false,
            order: Dice::new(plan.seed, Purpose::Order),
            faults: BTreeMap::new(),
            extent: faults,
            travel: Dice::new(plan.seed, Purpose::Travel),
            rates,
            enabled,
            bells: Bells::default(),
            daemons: Vec::new(),
            tasks: Tasks::new(),
            transit: BTreeMap::new(),
            count: 0,
            upheavals: 0,
            drawn: 0,
            trace: Trace::new(plan.is_told),
            outcome: Outcome::default(),
        };
        let count = 2_usize.saturating_add(driver.order.below(2));
        for number in 0..count {
            let daemon = driver.start(number, 1)?;
            driver.daemons.push(daemon);
        }
        for number in 0..count {
            if driver.order.happens(500) {
                let after = driver.order.between(600, night_seconds);
                let at = driver.now + TimeDelta::seconds(after);
                driver.send(at, Transit::Deploy(number));
            }
        }
        Ok(driver)
    }

    /// A daemon as it is right after its start.
    fn start(&mut self, number: usize, starts: u32) -> Result<Daemon, SimulateError> {
        let clock = Clock::manual(self.now);
        let ids = Ids::seeded(clock.clone(), self.order.seed());
        let engine = Engine::new(
            self.house.gated(),
            clock.clone(),
            ids,
            House::policy(),
            format!("d{number}.{starts}"),
            Arc::new(self.bells.clone()),
        );
        #[cfg(feature = "weaknesses")]
        let engine = match self.plan.weakness {
            Some(weakness) => engine.without(weakness),
            None => engine,
        };
        Ok(Daemon {
            number,
            starts,
            life: Life::Alive,
            engine,
            handler: self.house.handler(&clock)?,
            clock,
            skew: TimeDelta::zero(),
            renew_at: self.now,
            sweep_at: self.now,
            heard: JobKind::ALL.into_iter().collect(),
            tick_at: Some(self.now),
            is_leaving: false,
        })
    }

    fn tell(&mut self, words: impl FnOnce() -> String) {
        self.trace.add(self.now, words);
    }

    fn find(&mut self, check: &'static str, what: String) {
        self.tell(|| format!("FOUND {check}: {what}"));
        let finding = Finding { check, what };
        if !self.outcome.findings.contains(&finding) {
            self.outcome.findings.push(finding);
        }
    }

    /// Works until everything has come to its end, or never will.
    async fn work(&mut self) -> Result<(), SimulateError> {
        while self.outcome.findings.is_empty() {
            if self.outcome.steps >= STEPS_MAX {
                self.find("L9", format!("no end after {STEPS_MAX} steps"));
                return Ok(());
            }
            let is_enough = self.drawn >= FAULTS_LEAST || self.now >= self.heal_late;
            if !self.is_healing && self.now >= self.heal_at && is_enough {
                self.heal();
            }
            let choices = self.choices();
            match self.order.pick(&choices).copied() {
                Some(choice) => self.carry_out(choice).await?,
                None => {
                    if !self.move_clock().await? {
                        return Ok(());
                    }
                }
            }
            self.outcome.steps = self.outcome.steps.saturating_add(1);
        }
        Ok(())
    }

    /// From here on nothing goes wrong any more.
    fn heal(&mut self) {
        self.is_healing = true;
        self.tell(|| "healing: nothing goes wrong from here on".to_owned());
        for daemon in &mut self.daemons {
            daemon.skew = TimeDelta::zero();
            if matches!(daemon.life, Life::Frozen(_)) {
                daemon.life = Life::Alive;
            }
        }
        self.set_clock(self.now);
        self.send(self.now + TimeDelta::minutes(30), Transit::Requeue);
    }

    fn choices(&self) -> Vec<Choice> {
        let mut choices = Vec::new();
        for (number, task) in &self.tasks {
            let is_up = self.daemons.get(task.daemon).is_some_and(Daemon::is_up);
            if is_up && task.not_before <= self.now {
                choices.push(Choice::GoOn(*number));
            }
        }
        for daemon in &self.daemons {
            match daemon.life {
                Life::Alive => self.add_choices_of(daemon, &mut choices),
                Life::Dead(until) if until <= self.now => {
                    choices.push(Choice::Restart(daemon.number));
                }
                Life::Dead(_) | Life::Frozen(_) => {}
            }
        }
        let arriving = self.transit.keys().take_while(|(at, _)| *at <= self.now);
        choices.extend(arriving.map(|key| Choice::Arrive(*key)));
        choices
    }

    fn add_choices_of(&self, daemon: &Daemon, choices: &mut Vec<Choice>) {
        let number = daemon.number;
        let own = || self.tasks.values().filter(|task| task.daemon == number);
        let does = |act: &Act| own().any(|task| task.act == *act);
        if self.is_watchful && daemon.renew_at <= self.now && !does(&Act::Renew) {
            choices.push(Choice::Renew(number));
        }
        if daemon.is_leaving {
            if !does(&Act::HandBack) {
                choices.push(Choice::HandBack(number));
            }
            return;
        }
        if self.is_watchful && daemon.sweep_at <= self.now && !does(&Act::Sweep) {
            choices.push(Choice::Sweep(number));
        }
        let own_now = self.now + daemon.skew;
        if daemon.tick_at.is_some_and(|at| at <= own_now) && !does(&Act::Tick) {
            choices.push(Choice::Tick(number));
        }
        for kind in &daemon.heard {
            let runs =
                own().filter(|it| matches!(it.act, Act::Run { kind: of, .. } if of == *kind));
            if runs.count() < ROOM && !does(&Act::Lease(*kind)) {
                choices.push(Choice::Lease(number, *kind));
            }
        }
    }

    async fn carry_out(&mut self, choice: Choice) -> Result<(), SimulateError> {
        match choice {
            Choice::GoOn(number) => self.go_on(number).await,
            Choice::Arrive(key) => match self.transit.remove(&key) {
                Some(what) => self.arrive(what).await,
                None => Ok(()),
            },
            Choice::Restart(number) => self.restart(number),
            Choice::Renew(number) => {
                let holds = self.tasks.values().any(|task| task.daemon == number);
                let at = self.now + if holds { HEARTBEAT } else { IDLE_HEARTBEAT };
                self.begin(number, Act::Renew, |daemon| {
                    daemon.renew_at = at;
                    let engine = daemon.engine.clone();
                    Box::pin(async move { Ended::Renewed(engine.renew_held().await) })
                });
                Ok(())
            }
            Choice::Sweep(number) => {
                let at = self.now + SWEEP;
                self.begin(number, Act::Sweep, |daemon| {
                    daemon.sweep_at = at;
                    let engine = daemon.engine.clone();
                    Box::pin(async move { Ended::Swept(engine.sweep_when_steady().await) })
                });
                Ok(())
            }
            Choice::Tick(number) => {
                self.tick(number);
                Ok(())
            }
            Choice::Lease(number, kind) => {
                self.lease(number, kind);
                Ok(())
            }
            Choice::HandBack(number) => {
                self.begin(number, Act::HandBack, |daemon| {
                    let engine = daemon.engine.clone();
                    Box::pin(async move { Ended::HandedBack(engine.hand_back_all().await) })
                });
                Ok(())
            }
        }
    }

    /// The books must agree at any time.
    async fn verify(&mut self) -> Result<(), SimulateError> {
        for finding in check::at_any_time(self.house).await? {
            self.find(finding.check, finding.what);
        }
        Ok(())
    }

    async fn close(mut self) -> Result<Outcome, SimulateError> {
        for daemon in &self.daemons {
            if !matches!(daemon.life, Life::Dead(_)) {
                count(&mut self.outcome, &daemon.engine);
            }
        }
        self.tasks.clear();
        if self.outcome.findings.is_empty() {
            let seen = Seen {
                world: &self.world,
                tick_instants: &self.tick_instants,
                now: self.now,
            };
            let found = check::at_the_end(self.house, &seen).await?;
            for finding in found {
                self.find(finding.check, finding.what);
            }
        }
        let mut tx = self.house.store.read().await?;
        let all = jobs::list(&mut tx, &JobFilter::default(), JOBS_MAX).await?;
        drop(tx);
        self.outcome.jobs = all.len();
        self.outcome.trace = self.trace.close();
        Ok(self.outcome)
    }
}

/// Adds what a daemon counted in its life.
fn count(outcome: &mut Outcome, engine: &Engine) {
    let counters = engine.counters();
    let refused = counters.stale_commits_refused.load(Ordering::Relaxed);
    outcome.stale_refused = outcome.stale_refused.saturating_add(refused);
    let panicked = counters.panicked.load(Ordering::Relaxed);
    if panicked > 0 {
        outcome.findings.push(Finding {
            check: "panic",
            what: format!("{panicked} runs of {} panicked", engine.worker()),
        });
    }
}
