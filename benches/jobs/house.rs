//! What every measurement needs: a database with its schema, a daemon on it, and work for it.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use chrono::{NaiveDate, TimeDelta};
use clearday::clock::{Clock, Ids};
use clearday::daemon::{Daemon, Parts};
use clearday::domain::ledger::events::{Occasion, late_money};
use clearday::domain::ledger::{Fact, FactKey, FactKind, FactSource};
use clearday::engine::{Booking, Effects, Handler, Policy, Source, Submission};
use clearday::queue::QueueSettings;
use clearday::store::Store;
use clearday_jobs::{ChannelName, Currency, JobKind, Money};
use sqlx::{Connection, PgConnection};

/// What every job here is.
pub(crate) const KIND: JobKind = JobKind::OrderExpiry;
/// Submissions per accepted batch, as the Redis intake takes them.
pub(crate) const BATCH: usize = 500;
/// Connections to Postgres, as many as a daemon has by default.
const CONNECTIONS: u32 = 10;

/// A database of this run's own; its file goes with it.
pub(crate) struct House {
    pub(crate) store: Store,
    pub(crate) url: String,
    folder: Option<PathBuf>,
}

impl House {
    /// On Postgres with Redis, empty.
    pub(crate) async fn postgres() -> Self {
        let url = std::env::var("CLEARDAY_TEST_DATABASE_URL").unwrap();
        let store = Store::connect(&url, CONNECTIONS).await.unwrap();
        store.migrate().await.unwrap();
        let house = Self {
            store,
            url,
            folder: None,
        };
        house.empty().await;
        house
    }

    /// On a SQLite file.
    pub(crate) async fn sqlite() -> Self {
        let folder = std::env::temp_dir().join(format!("clearday-bench-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&folder));
        std::fs::create_dir_all(&folder).unwrap();
        let url = format!("sqlite://{}", folder.join("bench.db").display());
        let store = Store::connect(&url, 4).await.unwrap();
        store.migrate().await.unwrap();
        Self {
            store,
            url,
            folder: Some(folder),
        }
    }

    /// Forgets everything.
    pub(crate) async fn empty(&self) {
        let mut connection = PgConnection::connect(&self.url).await.unwrap();
        let all = "TRUNCATE jobs, job_events, journal_entries, postings, money_facts CASCADE";
        sqlx::query(all).execute(&mut connection).await.unwrap();
        sqlx::query("CHECKPOINT")
            .execute(&mut connection)
            .await
            .unwrap();
    }

    /// A daemon with this handler and so much room.
    pub(crate) fn start(&self, handler: Handler, concurrency: usize) -> Daemon {
        let clock = Clock::system();
        Daemon::start(Parts {
            store: self.store.clone(),
            ids: Ids::random(clock.clone()),
            clock,
            policy: Policy {
                lease: TimeDelta::seconds(20),
                attempts_max: 5,
                rescues_max: 3,
                handler_timeout: Duration::from_mins(1),
                partition_concurrency: None,
            },
            queue: QueueSettings {
                concurrency,
                poll: Duration::from_secs(5),
            },
            heartbeat: TimeDelta::seconds(5),
            sweep: TimeDelta::seconds(5),
            redis_url: redis_url().filter(|_| self.folder.is_none()),
            retention: None,
            locks: None,
            handler,
        })
        .unwrap()
    }

    pub(crate) async fn close(self) {
        self.store.close().await;
        if let Some(folder) = self.folder {
            std::fs::remove_dir_all(folder).unwrap();
        }
    }
}

pub(crate) fn redis_url() -> Option<String> {
    std::env::var("CLEARDAY_TEST_REDIS_URL").ok()
}

/// Waits until the daemon has finished so many jobs.
pub(crate) async fn finished(daemon: &Daemon, count: usize) {
    let wanted = u64::try_from(count).unwrap();
    while daemon.engine().counters().finished.load(Ordering::Relaxed) < wanted {
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
}

/// Books a receipt under the job's own key, and ends.
pub(crate) fn booking_handler() -> Handler {
    Handler::new(|run| {
        Box::pin(async move {
            let effects = receipt(&run.job().idempotency_key);
            run.end(effects, "booked").await
        })
    })
}

/// Money that came in under this number and was owed by nobody.
pub(crate) fn receipt(number: &str) -> Effects {
    let channel: ChannelName = "wechat_pay".parse().unwrap();
    let amount = Money::from_minor(1_234, Currency::parse("CNY").unwrap());
    let subject = format!("receipt:{channel}:{number}");
    let occasion = Occasion {
        subject: &subject,
        accounting_on: NaiveDate::from_ymd_opt(2026, 3, 2).unwrap(),
    };
    let entry = late_money(occasion, &channel, amount).unwrap().unwrap();
    let fact = Fact {
        key: FactKey {
            account: channel,
            kind: FactKind::Capture,
            external_no: number.to_owned(),
        },
        amount,
        occurred_at: "2026-03-02T12:00:00Z".parse().unwrap(),
        source: FactSource::Query,
        evidence: "{}".to_owned(),
    };
    Effects {
        bookings: vec![Booking { fact, entry }],
    }
}

/// A job whose time has come.
pub(crate) fn submission(key: &str, expires_at: &str) -> Submission {
    Submission {
        kind: KIND.to_string(),
        idempotency_key: Some(key.to_owned()),
        payload: payload(key, expires_at).into_bytes(),
        source: Source::Http,
        fault: None,
    }
}

pub(crate) fn payload(key: &str, expires_at: &str) -> String {
    format!(r#"{{"version":1,"order_no":"{key}","expires_at":"{expires_at}"}}"#)
}
