//! A whole clearday for a test: a database, perhaps a Redis, a sandbox channel, and daemons, all
//! on a clock that the test moves.
#![cfg(test)]

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use clearday::clock::{Clock, Ids};
use clearday::config::Approvals;
use clearday::connectors::Now;
use clearday::connectors::messages::{MessageSettings, Messages};
use clearday::daemon::{Daemon, Parts};
use clearday::domain::deferred_authorization::ChargingRules;
use clearday::domain::job::{Job, JobState};
use clearday::domain::order::{Order, OrderState};
use clearday::domain::partner::{Delivery, MessageChannel, Partner};
use clearday::domain::partner_notification::PayLinkTemplate;
use clearday::engine::{Acceptance, Engine, Handler, Policy, Source, Submission};
use clearday::queue::{InProcessBell, QueueSettings};
use clearday::store::events::TimelineEntry;
use clearday::store::{Store, events, jobs, orders, partners};
use clearday::workers::Workbench;
use clearday_jobs::{ChannelName, JobId, JobKind, MethodGroup, OrderNo};

use super::mailroom::RunningMailroom;
use super::sandbox::{RunningSandbox, banks, channels, cny, reference, sandbox_name};
use super::servers::{ScratchFolder, TestDatabase, TestRedis};

/// How long a test waits for something that must happen, before it fails.
const PATIENCE: Duration = Duration::from_secs(30);
/// A sandbox that gets no time to run answers all the same; less than a run may take.
pub(crate) const PATIENT_REQUEST: Duration = Duration::from_secs(15);
/// What the sandbox bank writes where the sandbox channel deposits.
pub(crate) const DEPOSIT_TEXT: &str = "SANDBOX PAY";
/// How the partners of a test are reached.
pub(crate) const NUMBER: &str = "+8613800001234";
pub(crate) const MAILBOX: &str = "wang@partner.example";
/// Where partners pay.
pub(crate) const PAY_LINK: &str = "https://pay.example/{order_no}";
/// How often it looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// The two ways clearday runs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Mode {
    /// SQLite and the in-process queue, one daemon.
    Embedded,
    /// Postgres and Redis, two daemons.
    Production,
}

/// Everything a test needs, gone with the test.
pub(crate) struct House {
    pub(crate) clock: Clock,
    pub(crate) store: Store,
    pub(crate) sandbox: RunningSandbox,
    pub(crate) mailroom: RunningMailroom,
    /// How daemons that are started from now on send messages.
    pub(crate) messages: MessageSettings,
    /// From which amounts they ask two people.
    pub(crate) approvals: Approvals,
    pub(crate) daemons: Vec<Daemon>,
    pub(crate) redis: Option<TestRedis>,
    pub(crate) statements: ScratchFolder,
    pub(crate) database: TestDatabase,
}

pub(crate) fn noon() -> DateTime<Utc> {
    "2026-03-02T12:00:00Z".parse().unwrap()
}

pub(crate) fn policy() -> Policy {
    Policy {
        lease: TimeDelta::seconds(20),
        attempts_max: 5,
        rescues_max: 3,
        handler_timeout: Duration::from_secs(20),
        partition_concurrency: None,
    }
}

impl House {
    /// A running house at noon, with one daemon or two by its mode.
    pub(crate) async fn open(mode: Mode) -> Self {
        let mut house = Self::without_daemons(mode).await;
        house.start_daemon();
        if mode == Mode::Production {
            house.start_daemon();
        }
        house
    }

    pub(crate) async fn without_daemons(mode: Mode) -> Self {
        let clock = Clock::manual(noon());
        let (database, redis) = match mode {
            Mode::Embedded => (TestDatabase::sqlite(), None),
            Mode::Production => (
                TestDatabase::postgres().await,
                Some(TestRedis::start().await),
            ),
        };
        let store = Store::connect(database.url(), 10).await.unwrap();
        store.migrate().await.unwrap();
        let sandbox = RunningSandbox::start(now_of(&clock)).await;
        let mailroom = RunningMailroom::start(now_of(&clock)).await;
        Self {
            messages: mailroom.settings(),
            approvals: Approvals::default(),
            clock,
            store,
            sandbox,
            mailroom,
            daemons: Vec::new(),
            redis,
            statements: ScratchFolder::new("statements"),
            database,
        }
    }

    /// One more daemon.
    pub(crate) fn start_daemon(&mut self) {
        let handler = self.handler();
        let heartbeat = TimeDelta::seconds(5);
        self.start_daemon_with(self.store.clone(), handler, heartbeat);
    }

    /// The workers, over this house's sandbox.
    pub(crate) fn handler(&self) -> Handler {
        clearday::workers::handler(self.bench())
    }

    /// What workers need of this house.
    pub(crate) fn bench(&self) -> Workbench {
        let now = now_of(&self.clock);
        let channels = channels(&self.sandbox.base_url(), PATIENT_REQUEST, &now);
        let banks = banks(&self.sandbox.base_url(), PATIENT_REQUEST, &now);
        Workbench {
            channels: Arc::new(channels),
            banks: Arc::new(banks),
            deposit_texts: Arc::new([(sandbox_name(), DEPOSIT_TEXT.to_owned())].into()),
            charging: Arc::new(charging()),
            approvals: Arc::new(self.approvals.clone()),
            messages: Arc::new(Messages::build(&self.messages, &now).unwrap()),
            pay_link: PayLinkTemplate::parse(PAY_LINK).ok(),
            statements: self.statements.path().to_owned(),
            heavy: Arc::new(tokio::sync::Semaphore::new(1)),
        }
    }

    pub(crate) fn start_daemon_with(
        &mut self,
        store: Store,
        handler: Handler,
        heartbeat: TimeDelta,
    ) {
        let parts = self.parts(store, handler, heartbeat);
        self.daemons.push(Daemon::start(parts).unwrap());
    }

    /// What a daemon of this house is made of.
    pub(crate) fn parts(&self, store: Store, handler: Handler, heartbeat: TimeDelta) -> Parts {
        Parts {
            store,
            clock: self.clock.clone(),
            ids: Ids::random(self.clock.clone()),
            policy: policy(),
            queue: QueueSettings {
                concurrency: 8,
                poll: Duration::from_secs(5),
            },
            heartbeat,
            sweep: TimeDelta::seconds(5),
            retention: None,
            redis_url: self.redis.as_ref().map(TestRedis::url),
            handler,
            locks: None,
        }
    }

    pub(crate) fn engine(&self) -> &Engine {
        self.daemons[0].engine()
    }

    /// The way in. When no daemon of the test's own runs, what it accepts is found by the polls of others.
    pub(crate) fn door(&self) -> Engine {
        if let Some(daemon) = self.daemons.first() {
            return daemon.engine().clone();
        }
        Engine::new(
            self.store.clone(),
            self.clock.clone(),
            Ids::random(self.clock.clone()),
            policy(),
            "door".to_owned(),
            Arc::new(InProcessBell::default()),
        )
    }

    /// Stops every daemon.
    pub(crate) async fn close(self) {
        self.leave().await.close().await;
    }

    /// Stops every daemon and leaves the database as it is, with nobody connected to it.
    pub(crate) async fn leave(self) -> TestDatabase {
        for daemon in self.daemons {
            daemon.shutdown(Duration::from_secs(10)).await.unwrap();
        }
        self.sandbox.stop().await;
        self.mailroom.stop().await;
        self.store.close().await;
        self.database
    }

    /// Accepts a job as if it came by HTTP.
    pub(crate) async fn submit(&self, kind: JobKind, key: &str, payload: &str) -> JobId {
        match self.try_submit(kind.as_str(), key, payload).await {
            Acceptance::New(id) | Acceptance::Known(id, _) => id,
            Acceptance::Refused(refusal) => panic!("refused: {refusal}"),
        }
    }

    pub(crate) async fn try_submit(&self, kind: &str, key: &str, payload: &str) -> Acceptance {
        let submission = Submission {
            kind: kind.to_owned(),
            idempotency_key: Some(key.to_owned()),
            payload: payload.as_bytes().to_vec(),
            source: Source::Http,
            fault: None,
        };
        let accepted = self.door().accept(vec![submission]).await;
        accepted.unwrap().remove(0)
    }

    pub(crate) async fn job(&self, id: JobId) -> Job {
        let mut tx = self.store.read().await.unwrap();
        jobs::find(&mut tx, id).await.unwrap().unwrap()
    }

    pub(crate) async fn timeline(&self, id: JobId) -> Vec<TimelineEntry> {
        let mut tx = self.store.read().await.unwrap();
        events::timeline(&mut tx, id).await.unwrap()
    }

    /// Waits until the job is in `state`.
    pub(crate) async fn job_reaches(&self, id: JobId, state: JobState) -> Job {
        self.job_becomes(id, |job| job.state == state).await
    }

    /// Waits until the job waits with a note that contains `words`.
    pub(crate) async fn job_waits(&self, id: JobId, words: &str) -> Job {
        self.job_becomes(id, |job| {
            job.state == JobState::Ready && job.note.contains(words)
        })
        .await
    }

    async fn job_becomes(&self, id: JobId, is_there: impl Fn(&Job) -> bool) -> Job {
        let arrived = eventually(async || Some(self.job(id).await).filter(&is_there)).await;
        match arrived {
            Some(job) => job,
            None => panic!(
                "job stayed at {:#?}\n{:#?}",
                self.job(id).await,
                self.timeline(id).await
            ),
        }
    }

    /// Writes down an open order of ¥12.34 that is due at noon plus one hour.
    pub(crate) async fn open_order(&self, order_no: &str, group_no: &str) {
        let expires_at = noon() + TimeDelta::hours(1);
        self.open_order_until(order_no, group_no, expires_at).await;
    }

    pub(crate) async fn open_order_until(
        &self,
        order_no: &str,
        group_no: &str,
        expires_at: DateTime<Utc>,
    ) {
        let order = Order {
            order_no: order_no.parse().unwrap(),
            group_no: group_no.parse().unwrap(),
            merchant_id: "M-1".parse().unwrap(),
            total: cny(1_234),
            state: OrderState::Open,
            version: 1,
            expires_at,
            updated_at: noon(),
        };
        let mut tx = self.store.begin().await.unwrap();
        let new = orders::NewOrder {
            order: &order,
            reason: "by the test",
        };
        assert!(
            orders::insert(&mut tx, new, self.clock.now())
                .await
                .unwrap()
        );
        tx.commit().await.unwrap();
    }

    /// A partner who is reached in every way, mail first, and whose endpoint has keys.
    pub(crate) async fn partner(&self, partner_id: &str, delivery: Delivery) -> Partner {
        let partner = Partner {
            partner_id: partner_id.parse().unwrap(),
            name: "王小明".to_owned(),
            zone: chrono_tz::Asia::Shanghai,
            delivery,
            channels: vec![
                MessageChannel::Email,
                MessageChannel::Sms,
                MessageChannel::Webhook,
            ],
            sms_number: Some(NUMBER.to_owned()),
            email: Some(MAILBOX.to_owned()),
            webhook_url: Some(self.mailroom.webhook_url(partner_id)),
            is_disabled: false,
        };
        self.keep_partner(&partner).await;
        partner
    }

    pub(crate) async fn keep_partner(&self, partner: &Partner) {
        let mut tx = self.store.begin().await.unwrap();
        let all = std::slice::from_ref(partner);
        partners::upsert_all(&mut tx, all, self.clock.now())
            .await
            .unwrap();
        tx.commit().await.unwrap();
    }

    /// Issues a reference for a group and makes it known at the channel.
    pub(crate) async fn open_reference(&self, group_no: &str, name: &str, minor_units: i64) {
        self.issue_reference(group_no, name).await;
        self.sandbox
            .handle
            .create(&reference(name), cny(minor_units))
            .unwrap();
    }

    /// Moves an order as the upstream system would.
    pub(crate) async fn cancel_order(&self, order_no: &str) {
        self.order_becomes(order_no, OrderState::Cancelled).await;
    }

    pub(crate) async fn order_becomes(&self, order_no: &str, state: OrderState) {
        let mut tx = self.store.begin().await.unwrap();
        let order = orders::find(&mut tx, &order_no.parse().unwrap()).await;
        let order = order.unwrap().unwrap();
        let change = orders::OrderChange {
            order: &order,
            state,
            expires_at: order.expires_at,
            reason: "by the test",
            job_id: None,
        };
        assert!(
            orders::apply(&mut tx, change, self.clock.now())
                .await
                .unwrap()
        );
        tx.commit().await.unwrap();
    }

    pub(crate) async fn issue_reference(&self, group_no: &str, name: &str) {
        self.issue_reference_at("sandbox", group_no, name).await;
    }

    pub(crate) async fn issue_reference_at(&self, channel: &str, group_no: &str, name: &str) {
        let group_no: OrderNo = group_no.parse().unwrap();
        let channel: ChannelName = channel.parse().unwrap();
        let mut tx = self.store.begin().await.unwrap();
        let now = self.clock.now();
        let issued = orders::issue_reference(&mut tx, channel.as_str(), name, &group_no, now);
        assert!(issued.await.unwrap());
        tx.commit().await.unwrap();
    }

    pub(crate) async fn order_state(&self, order_no: &str) -> OrderState {
        let mut tx = self.store.read().await.unwrap();
        let order = orders::find(&mut tx, &order_no.parse().unwrap()).await;
        order.unwrap().unwrap().state
    }
}

/// What the default settings say.
fn charging() -> ChargingRules {
    ChargingRules {
        sequence: vec![
            MethodGroup::StoredValueCard,
            MethodGroup::CustomerAccount,
            MethodGroup::CreditCard,
            MethodGroup::Other,
        ],
        zone: chrono_tz::Asia::Shanghai,
    }
}

/// An `order_expiry` payload for the deadline that [`House::open_order`] sets.
pub(crate) fn expiry_of(order_no: &str) -> String {
    format!(r#"{{"version":1,"order_no":"{order_no}","expires_at":"2026-03-02T13:00:00Z"}}"#)
}

/// A `partner_notification` payload that asks a partner to pay within two days of noon.
pub(crate) fn request_of(order_no: &str, partner_id: &str) -> String {
    notification_of("pay_request", order_no, partner_id)
}

pub(crate) fn notification_of(purpose: &str, order_no: &str, partner_id: &str) -> String {
    format!(
        r#"{{"version":1,"order_no":"{order_no}","partner_id":"{partner_id}","purpose":"{purpose}","deadline":"2026-03-04T12:00:00Z"}}"#
    )
}

/// The clock as connectors and the sandbox take it.
pub(crate) fn now_of(clock: &Clock) -> Now {
    let clock = clock.clone();
    Arc::new(move || clock.now())
}

/// Looks until there is something to see; `None` when patience ends.
pub(crate) async fn eventually<T, F>(look: impl Fn() -> F) -> Option<T>
where
    F: Future<Output = Option<T>>,
{
    eventually_within(PATIENCE, look).await
}

/// The same with a patience of its own.
pub(crate) async fn eventually_within<T, F>(patience: Duration, look: impl Fn() -> F) -> Option<T>
where
    F: Future<Output = Option<T>>,
{
    let watch = async {
        let mut looks = tokio::time::interval(LOOK_EVERY);
        loop {
            looks.tick().await;
            if let Some(seen) = look().await {
                return seen;
            }
        }
    };
    tokio::time::timeout(patience, watch).await.ok()
}
