//! Decides what happens next, and what goes wrong with it.
//!
//! One task is polled at a time, up to its next stop. When nobody can go on, the clock moves to the next instant at
//! which somebody can.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use chrono::{DateTime, TimeDelta, Utc};
use clearday_jobs::{JobId, JobKind};
use futures::future::poll_fn;

use super::check::{self, Seen};
use super::daemon::{Act, Bells, Daemon, Ended, Future, Life, Task, Tasks};
use super::dice::{Dice, Purpose};
use super::fault::{ANYWHERE, AT_CALLS, AT_WRITES, Fault, IN_TRANSIT, Struck};
use super::house::House;
use super::setup::{self, beginning, ending, horizon, schedules};
use super::stop::{Call, Step, Stop, Stops, Verdict, lock};
use super::trace::Trace;
use super::world::{Event, World, day_of};
use super::{Finding, Outcome, Plan, SimulateError};
use crate::clock::{Clock, Ids};
use crate::connectors::Parcel;
use crate::domain::job::{Job, JobState};
use crate::engine::{Acceptance, Engine, Source, Submission, TickPlan as _};
use crate::schedule::{self, plans};
use crate::store::jobs::{self, JobFilter};
use crate::store::watch;

/// A night takes a few thousand; a story this long goes round in circles.
const STEPS_MAX: u64 = 400_000;
/// A story in which fewer things go wrong shows little.
const FAULTS_LEAST: usize = 12;
/// Runs of one kind that a daemon carries out at the same time.
const ROOM: usize = 4;
/// As often as daemons are set up to.
const HEARTBEAT: TimeDelta = TimeDelta::seconds(5);
/// Who holds nothing keeps in touch less often than it could, but within a lease: simulating costs time, too.
const IDLE_HEARTBEAT: TimeDelta = TimeDelta::seconds(15);
const SWEEP: TimeDelta = TimeDelta::seconds(10);
/// Due jobs for which no bell was heard are looked for this often.
const POLL: TimeDelta = TimeDelta::seconds(5);
/// Due jobs may wait this long for whoever looks at the database.
const NEARLY: TimeDelta = TimeDelta::seconds(2);
/// Upstream sends again what nobody acknowledged for so long.
const RESEND: TimeDelta = TimeDelta::seconds(30);
/// More jobs than any story has.
const JOBS_MAX: usize = 100_000;

/// Something on its way, to arrive at an instant.
#[derive(Debug)]
enum Transit {
    /// A submission of upstream's.
    Submission(usize),
    /// Upstream looks whether it was acknowledged.
    Resend(usize),
    /// A bell.
    Bell(JobKind),
    /// A request that nobody waits for any more.
    Request(Call, Parcel),
    /// Something outside.
    Event(Event),
    /// A daemon is told to stop, for a new release.
    Deploy(usize),
    /// Somebody looks at the dead letters, and retries them.
    Requeue,
}

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

/// What there was before a run that lost its lease committed.
struct Before {
    id: JobId,
    version: Option<i64>,
    done: i64,
    changes: i64,
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
    faults: Dice,
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
            faults,
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

    fn send(&mut self, at: DateTime<Utc>, what: Transit) {
        self.count = self.count.saturating_add(1);
        self.transit.insert((at, self.count), what);
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

    fn set_clock(&mut self, to: DateTime<Utc>) {
        self.now = to;
        self.house.clock.set(to);
        for daemon in &mut self.daemons {
            daemon.clock.set(to + daemon.skew);
            if let Life::Frozen(until) = daemon.life
                && until <= to
            {
                daemon.life = Life::Alive;
            }
        }
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

    fn tick(&mut self, number: usize) {
        let plans = self.ticks.clone();
        let instants = &self.tick_instants;
        let now = self.now;
        let next = self.daemons.get(number).and_then(|daemon| {
            let own_now = now + daemon.skew;
            instants.iter().find(|at| **at > own_now).copied()
        });
        self.begin(number, Act::Tick, |daemon| {
            daemon.tick_at = next;
            let engine = daemon.engine.clone();
            Box::pin(async move {
                let mut fired = 0_usize;
                for plan in &plans {
                    match engine.tick(plan).await {
                        Ok(count) => fired = fired.saturating_add(count),
                        Err(error) => return Ended::Ticked(Err(error)),
                    }
                }
                Ended::Ticked(Ok(fired))
            })
        });
    }

    fn lease(&mut self, number: usize, kind: JobKind) {
        let runs = self.tasks.values().filter(|task| {
            task.daemon == number && matches!(task.act, Act::Run { kind: of, .. } if of == kind)
        });
        let room = ROOM.saturating_sub(runs.count());
        self.begin(number, Act::Lease(kind), |daemon| {
            daemon.heard.remove(&kind);
            let engine = daemon.engine.clone();
            Box::pin(async move { Ended::Leased(engine.lease_due(kind, room).await) })
        });
    }

    /// Begins something: it is one of those that may go on.
    fn begin(&mut self, number: usize, act: Act, future: impl FnOnce(&mut Daemon) -> Future) {
        let Some(daemon) = self.daemons.get_mut(number) else {
            return;
        };
        let future = future(daemon);
        self.count = self.count.saturating_add(1);
        let id = self.count;
        let task = Task {
            daemon: number,
            act,
            future,
            stop: None,
            not_before: self.now,
            born: self.upheavals,
        };
        self.tasks.insert(id, task);
    }

    /// Lets a task go on to its next stop, unless something goes wrong.
    async fn go_on(&mut self, id: u64) -> Result<(), SimulateError> {
        let Some(task) = self.tasks.get(&id) else {
            return Ok(());
        };
        let (number, act, born) = (task.daemon, task.act.clone(), task.born);
        let step = task.stop.as_ref().map(|stop| stop.step);
        let fault = step.and_then(|step| self.strike_step(&act, step));
        match fault {
            Some(Fault::Crash) => {
                self.crash(number);
                return Ok(());
            }
            Some(Fault::Freeze) => {
                self.freeze(number);
                return Ok(());
            }
            Some(Fault::ClockJump) => self.jump(number),
            Some(_) | None => {}
        }
        let mut stale = None;
        if let (Act::Run { id, epoch, .. }, Some(Step::Write)) = (&act, step)
            && born < self.upheavals
        {
            stale = self.stale_look(*id, *epoch).await?;
        }
        if matches!(act, Act::Sweep | Act::HandBack) || fault == Some(Fault::CommitUnheard) {
            self.upheavals = self.upheavals.saturating_add(1);
        }
        self.tell(|| {
            let step = step.map_or("begin".to_owned(), Step::name);
            format!("d{number} {}: {step}", act.told())
        });
        let Some(mut task) = self.tasks.remove(&id) else {
            return Ok(());
        };
        if let Some(stop) = task.stop.take() {
            stop.release(Verdict { fault });
        }
        match poll(&self.house.stops, &mut task.future).await {
            Polled::Stopped(stop) => {
                let lasts = TimeDelta::from_std(stop.step.lasts()).unwrap_or_default();
                task.not_before = self.now + lasts;
                if let (Some(before), Step::Committed) = (stale, stop.step) {
                    self.check_stale(number, &act, &before).await?;
                }
                task.stop = Some(stop);
                self.tasks.insert(id, task);
            }
            Polled::Ended(ended) => self.ended(number, &act, ended).await?,
        }
        self.collect();
        Ok(())
    }

    /// What there is before a run commits that does not hold its lease any more; nothing where it does.
    async fn stale_look(&self, id: JobId, epoch: i64) -> Result<Option<Before>, SimulateError> {
        let mut tx = self.house.store.read().await?;
        if watch::lease_of(&mut tx, id).await? == Some(epoch) {
            return Ok(None);
        }
        Ok(Some(Before {
            version: jobs::find(&mut tx, id).await?.map(|job| job.version),
            done: watch::done(&mut tx).await?,
            changes: watch::changes(&mut tx).await?,
            id,
        }))
    }

    /// L7: a run that lost its lease commits nothing. It may record the ends of others that still hold theirs.
    async fn check_stale(
        &mut self,
        number: usize,
        act: &Act,
        before: &Before,
    ) -> Result<(), SimulateError> {
        let mut tx = self.house.store.read().await?;
        let version = jobs::find(&mut tx, before.id).await?.map(|job| job.version);
        let done = watch::done(&mut tx).await?;
        let changes = watch::changes(&mut tx).await?;
        drop(tx);
        let ended_others = version == before.version && done > before.done;
        if changes != before.changes && !ended_others {
            let what = format!(
                "d{number} committed without its lease: {} of {}",
                act.told(),
                before.id
            );
            self.find("L7", what);
        }
        Ok(())
    }

    /// What was left on the way by the last step starts to travel.
    fn collect(&mut self) {
        for kind in self.bells.take() {
            self.ring(kind);
        }
        let stragglers = std::mem::take(&mut *lock(&self.house.stragglers));
        for (call, parcel) in stragglers {
            let late = TimeDelta::seconds(self.travel.between(12, 240));
            self.send(self.now + late, Transit::Request(call, parcel));
        }
    }

    fn ring(&mut self, kind: JobKind) {
        let soon = self.now + TimeDelta::milliseconds(self.travel.between(0, 20));
        match self.strike(&IN_TRANSIT, self.rates.transit, || format!("bell {kind}")) {
            Some(Fault::Lost) => return,
            Some(Fault::Twice) => self.send(soon, Transit::Bell(kind)),
            Some(Fault::Overtaken) => {
                let late = TimeDelta::seconds(self.travel.between(1, 20));
                self.send(self.now + late, Transit::Bell(kind));
                return;
            }
            Some(_) | None => {}
        }
        self.send(soon, Transit::Bell(kind));
    }

    /// Upstream sends what it wants, and looks later whether it was acknowledged.
    fn submit(&mut self, wanted: usize) {
        let Some(kind) = self.world.wanted.get(wanted).map(|it| it.kind) else {
            return;
        };
        self.send(self.now + RESEND, Transit::Resend(wanted));
        let soon = self.now + TimeDelta::milliseconds(self.travel.between(0, 1_500));
        let place = || format!("submission {kind}");
        match self.strike(&IN_TRANSIT, self.rates.transit, place) {
            Some(Fault::Lost) => return,
            Some(Fault::Twice) => self.send(soon, Transit::Submission(wanted)),
            Some(Fault::Overtaken) => {
                let late = TimeDelta::seconds(self.travel.between(5, 120));
                self.send(self.now + late, Transit::Submission(wanted));
                return;
            }
            Some(_) | None => {}
        }
        self.send(soon, Transit::Submission(wanted));
    }

    async fn arrive(&mut self, what: Transit) -> Result<(), SimulateError> {
        match what {
            Transit::Submission(wanted) => {
                self.accept(wanted);
                Ok(())
            }
            Transit::Resend(wanted) => {
                if !self.world.is_acknowledged(wanted) {
                    self.submit(wanted);
                }
                Ok(())
            }
            Transit::Bell(kind) => {
                if let Some(daemon) = self.somebody() {
                    daemon.heard.insert(kind);
                }
                Ok(())
            }
            Transit::Request(call, parcel) => {
                self.tell(|| format!("a late request arrives: {}", call.as_str()));
                self.house.outside.answer(parcel).await;
                Ok(())
            }
            Transit::Event(event) => {
                self.tell(|| format!("outside: {event:?}"));
                let asked = self.world.happen(self.house, &self.door, &event).await?;
                if let Some(wanted) = asked {
                    self.submit(wanted);
                }
                Ok(())
            }
            Transit::Deploy(number) => {
                if let Some(daemon) = self.daemons.get_mut(number)
                    && daemon.is_up()
                {
                    daemon.is_leaving = true;
                    self.tell(|| format!("d{number} is told to stop"));
                }
                Ok(())
            }
            Transit::Requeue => self.requeue().await,
        }
    }

    /// Somebody who is up, or frozen: who is asleep hears it later.
    fn somebody(&mut self) -> Option<&mut Daemon> {
        let up: Vec<usize> = self
            .daemons
            .iter()
            .filter(|daemon| !matches!(daemon.life, Life::Dead(_)) && !daemon.is_leaving)
            .map(|daemon| daemon.number)
            .collect();
        let number = self.order.pick(&up).copied()?;
        self.daemons.get_mut(number)
    }

    /// A daemon takes in a submission, and what else has arrived with it.
    fn accept(&mut self, first: usize) {
        let up: Vec<usize> = self
            .daemons
            .iter()
            .filter(|daemon| daemon.is_up() && !daemon.is_leaving)
            .map(|daemon| daemon.number)
            .collect();
        let Some(number) = self.order.pick(&up).copied() else {
            // It stays in its stream until somebody reads that.
            self.send(self.now + TimeDelta::seconds(1), Transit::Submission(first));
            return;
        };
        let mut batch = vec![first];
        if self.order.happens(500) {
            let here = |what: &Transit| {
                if let Transit::Submission(wanted) = what {
                    Some(*wanted)
                } else {
                    None
                }
            };
            let arrived: Vec<((DateTime<Utc>, u64), usize)> = self
                .transit
                .iter()
                .take_while(|((at, _), _)| *at <= self.now)
                .filter_map(|(key, what)| Some((*key, here(what)?)))
                .collect();
            for (key, wanted) in arrived {
                self.transit.remove(&key);
                batch.push(wanted);
            }
        }
        let submissions: Vec<Submission> = batch
            .iter()
            .filter_map(|wanted| self.world.wanted.get(*wanted))
            .map(|wanted| Submission {
                kind: wanted.kind.to_string(),
                idempotency_key: Some(wanted.key.clone()),
                payload: wanted.payload.clone().into_bytes(),
                source: Source::Http,
                fault: None,
            })
            .collect();
        self.begin(number, Act::Accept(batch), |daemon| {
            let engine = daemon.engine.clone();
            Box::pin(async move { Ended::Accepted(engine.accept(submissions).await) })
        });
    }

    /// What follows when a task has ended.
    async fn ended(&mut self, number: usize, act: &Act, ended: Ended) -> Result<(), SimulateError> {
        if self.trace.is_kept() {
            let words = self.outcome_of(act, &ended).await?;
            self.tell(|| format!("d{number} {}: {words}", act.told()));
        }
        match ended {
            Ended::Accepted(Ok(answers)) => {
                if let Act::Accept(batch) = act {
                    for (wanted, answer) in batch.iter().zip(answers) {
                        self.acknowledge(*wanted, &answer);
                    }
                }
            }
            Ended::Leased(Ok(jobs)) => {
                for job in jobs {
                    self.run_job(number, job);
                }
            }
            // What did not end in time is cut off.
            Ended::HandedBack(_) => self.stop(number, TimeDelta::seconds(5)),
            Ended::Accepted(Err(_))
            | Ended::Leased(Err(_))
            | Ended::Ran
            | Ended::Renewed(_)
            | Ended::Swept(_)
            | Ended::Ticked(_) => {}
        }
        Ok(())
    }

    async fn outcome_of(&self, act: &Act, ended: &Ended) -> Result<String, SimulateError> {
        if let Act::Run { id, .. } = act {
            let mut tx = self.house.store.read().await?;
            let job = jobs::find(&mut tx, *id).await?;
            return Ok(job.map_or("no job".to_owned(), |job| {
                format!("ended; the job is {}, {}", job.state, job.note)
            }));
        }
        Ok(if let Ended::Leased(Ok(jobs)) = ended {
            format!("{} leased", jobs.len())
        } else {
            format!("{ended:?}")
        })
    }

    fn acknowledge(&mut self, wanted: usize, answer: &Acceptance) {
        if let Acceptance::Refused(refusal) = answer {
            self.find("L1", format!("submission {wanted} was refused: {refusal}"));
        }
        let lost = self.strike(&[Fault::Lost], self.rates.transit, || {
            "acknowledgement".to_owned()
        });
        if lost.is_none()
            && let Some(is_acknowledged) = self.world.acknowledged.get_mut(wanted)
        {
            *is_acknowledged = true;
        }
    }

    fn run_job(&mut self, number: usize, job: Job) {
        let act = Act::Run {
            kind: job.kind,
            id: job.id,
            key: job.idempotency_key.clone(),
            epoch: job.lease_epoch,
        };
        self.begin(number, act, |daemon| {
            let (engine, handler) = (daemon.engine.clone(), daemon.handler.clone());
            Box::pin(async move {
                engine.execute(job, |run| handler.carry_out(run)).await;
                Ended::Ran
            })
        });
    }

    fn strike_step(&mut self, act: &Act, step: Step) -> Option<Fault> {
        let place = || format!("{} {}", act.name(), step.name());
        match step {
            Step::Read
            | Step::Committed
            | Step::StandBy
            | Step::Answered(_)
            | Step::Waiting(..) => self.strike(&ANYWHERE, self.rates.steps, place),
            Step::Write => self.strike(&AT_WRITES, self.rates.steps, place),
            Step::Call(_) => self.strike(&AT_CALLS, self.rates.calls, place),
        }
    }

    /// Draws whether something goes wrong here.
    fn strike(
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
        for fault in of {
            visits.struck.entry(*fault).or_default();
        }
        if !self.faults.happens(permille) {
            return None;
        }
        let possible: Vec<Fault> = of
            .iter()
            .copied()
            .filter(|fault| self.enabled.contains(fault))
            .collect();
        let fault = self.faults.pick(&possible).copied()?;
        let number = self.drawn;
        self.drawn = self.drawn.saturating_add(1);
        if number >= self.plan.faults_max || self.plan.spared.contains(&number) {
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
        });
        Some(fault)
    }

    fn crash(&mut self, number: usize) {
        let seconds = self.faults.between(1, 40);
        self.stop(number, TimeDelta::seconds(seconds));
    }

    /// Everything that a daemon was doing is gone.
    fn stop(&mut self, number: usize, pause: TimeDelta) {
        self.tasks.retain(|_, task| task.daemon != number);
        let until = self.now + pause;
        if let Some(daemon) = self.daemons.get_mut(number) {
            daemon.life = Life::Dead(until);
            count(&mut self.outcome, &daemon.engine);
        }
    }

    fn freeze(&mut self, number: usize) {
        let seconds = self.faults.between(15, 90);
        let until = self.now + TimeDelta::seconds(seconds);
        if let Some(daemon) = self.daemons.get_mut(number) {
            daemon.life = Life::Frozen(until);
        }
    }

    fn jump(&mut self, number: usize) {
        let seconds = self.faults.between(-300, 300);
        if let Some(daemon) = self.daemons.get_mut(number) {
            daemon.skew = TimeDelta::seconds(seconds);
        }
        self.set_clock(self.now);
    }

    fn restart(&mut self, number: usize) -> Result<(), SimulateError> {
        let starts = self.daemons.get(number).map_or(0, |daemon| daemon.starts);
        let daemon = self.start(number, starts.saturating_add(1))?;
        if let Some(place) = self.daemons.get_mut(number) {
            *place = daemon;
        }
        self.tell(|| format!("d{number} is started again"));
        Ok(())
    }

    /// An operator retries what lies among the dead letters.
    async fn requeue(&mut self) -> Result<(), SimulateError> {
        let filter = JobFilter {
            state: Some(JobState::Dead),
            ..JobFilter::default()
        };
        let mut tx = self.house.store.read().await?;
        let dead = jobs::list(&mut tx, &filter, JOBS_MAX).await?;
        drop(tx);
        for job in dead {
            self.tell(|| {
                format!(
                    "retried: {} {}: {}",
                    job.kind, job.idempotency_key, job.note
                )
            });
            let retried = self.door.retry(job.id, "operator").await;
            retried.map_err(SimulateError::set_up)?;
        }
        Ok(())
    }

    /// Moves the clock to the next instant at which anything can happen; `false` when nothing will.
    async fn move_clock(&mut self) -> Result<bool, SimulateError> {
        // What is nearly there needs no look at the database.
        if let Some(next) = self.next_instant(&[])
            && next <= self.now + NEARLY
        {
            self.set_clock(next);
            return Ok(true);
        }
        let mut tx = self.house.store.read().await?;
        let waiting = watch::waiting(&mut tx).await?;
        let leased = watch::leased(&mut tx).await?;
        drop(tx);
        let is_over = waiting.is_empty() && leased == 0 && self.tasks.is_empty();
        let is_quiet = self.transit.values().all(|what| match what {
            Transit::Event(_) => true,
            Transit::Resend(wanted) => self.world.is_acknowledged(*wanted),
            Transit::Submission(_)
            | Transit::Bell(_)
            | Transit::Request(..)
            | Transit::Deploy(_)
            | Transit::Requeue => false,
        });
        if self.is_healing && is_over && is_quiet && self.now >= ending(self.plan) {
            return Ok(false);
        }
        self.is_watchful = leased > 0;
        let next = self.next_instant(&waiting);
        let Some(next) = next.filter(|next| *next <= horizon(self.plan)) else {
            return Ok(false);
        };
        if day_of(next) != day_of(self.now) {
            self.verify().await?;
        }
        self.set_clock(next);
        for (kind, at) in waiting {
            if at <= self.now
                && let Some(daemon) = self.somebody()
            {
                // By its alarm or its poll.
                daemon.heard.insert(kind);
            }
        }
        Ok(true)
    }

    fn next_instant(&self, waiting: &[(JobKind, DateTime<Utc>)]) -> Option<DateTime<Utc>> {
        let mut instants: Vec<DateTime<Utc>> = Vec::new();
        instants.extend(self.tasks.values().map(|task| task.not_before));
        instants.extend(self.transit.keys().next().map(|(at, _)| *at));
        for (_, at) in waiting {
            instants.push(if *at <= self.now {
                self.now + POLL
            } else {
                *at
            });
        }
        for daemon in &self.daemons {
            match daemon.life {
                Life::Frozen(until) | Life::Dead(until) => instants.push(until),
                Life::Alive => {
                    instants.extend(daemon.tick_at.map(|at| at - daemon.skew));
                    if self.is_watchful {
                        instants.extend([daemon.renew_at, daemon.sweep_at]);
                    }
                }
            }
        }
        instants.into_iter().filter(|at| *at > self.now).min()
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

enum Polled {
    Stopped(Stop),
    Ended(Ended),
}

/// Polls a task until it stops or ends. What waits for the database's own thread is polled again when that answers.
async fn poll(stops: &Stops, future: &mut Future) -> Polled {
    poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(ended) => Poll::Ready(Polled::Ended(ended)),
        Poll::Pending => stops
            .take()
            .map_or(Poll::Pending, |stop| Poll::Ready(Polled::Stopped(stop))),
    })
    .await
}
