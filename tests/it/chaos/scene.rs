//! The servers, proxies and daemons of one run.
#![cfg(test)]

use std::fmt::Write as _;
use std::path::PathBuf;
use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use clearday::clock::Clock;
use clearday::store::Store;

use sqlx::{Connection as _, PgConnection};

use super::chance::Chance;
use super::daemons::Seat;
use super::proxy::Proxy;
use crate::support::house::{PAY_LINK, now_of};
use crate::support::mailroom::RunningMailroom;
use crate::support::sandbox::RunningSandbox;
use crate::support::servers::{ScratchFolder, TestPostgresServer, TestRedis, free_port};

pub(crate) const DAEMONS: usize = 3;
/// Short, so that a run of seconds sees many leases lapse.
pub(crate) const LEASE_SECONDS: u64 = 3;

/// Schedules that are due every minute, and for how many minutes nobody has looked when a run begins.
pub(crate) const SCHEDULES: [(&str, i64); 3] = [("all", 40), ("coalesce", 1_200), ("skip", 300)];

/// How patient the daemons are.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Pace {
    /// Leases of seconds.
    Short,
    /// As the default configuration has it.
    Default,
}

/// How the scene is set.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Setting {
    pub(crate) pace: Pace,
    /// Whether the three daemons play one machine, or one each.
    pub(crate) is_one_host: bool,
    /// Whether Redis keeps what it acknowledged.
    pub(crate) is_redis_durable: bool,
}

impl Setting {
    pub(crate) fn drawn(chance: &mut Chance) -> Self {
        Self {
            pace: Pace::Short,
            is_one_host: chance.one_in(2),
            is_redis_durable: chance.one_in(2),
        }
    }
}

/// The ways of one host to the servers.
pub(crate) struct Lines {
    pub(crate) postgres: Proxy,
    pub(crate) redis: Proxy,
}

pub(crate) struct Scene {
    pub(crate) seats: Vec<Seat>,
    /// One host, or one for each daemon.
    pub(crate) hosts: Vec<Lines>,
    pub(crate) sandbox: RunningSandbox,
    pub(crate) mailroom: RunningMailroom,
    pub(crate) redis: TestRedis,
    /// Whether a fault took from Redis what it had acknowledged.
    pub(crate) redis_was_emptied: bool,
    /// To look at, past every proxy.
    pub(crate) store: Store,
    pub(crate) postgres: TestPostgresServer,
    pub(crate) folder: ScratchFolder,
    pub(crate) clock: Clock,
    pub(crate) begins_at: DateTime<Utc>,
}

impl Scene {
    /// Everything but the daemons, which [`Seat::start`] starts.
    pub(crate) async fn set(setting: Setting, chance: &mut Chance) -> Self {
        let clock = Clock::system();
        let postgres = TestPostgresServer::start().await;
        let redis = if setting.is_redis_durable {
            TestRedis::start_durable().await
        } else {
            TestRedis::start().await
        };
        let store = Store::connect(&postgres.url(), 4).await.unwrap();
        store.migrate().await.unwrap();
        let mut hosts = Vec::new();
        for _ in 0..if setting.is_one_host { 1 } else { DAEMONS } {
            hosts.push(Lines {
                postgres: Proxy::start(postgres.port(), chance.fork()).await,
                redis: Proxy::start(redis.port(), chance.fork()).await,
            });
        }
        let mut scene = Self {
            seats: Vec::new(),
            hosts,
            sandbox: RunningSandbox::start(now_of(&clock)).await,
            mailroom: RunningMailroom::start(now_of(&clock)).await,
            redis,
            redis_was_emptied: false,
            store,
            postgres,
            folder: ScratchFolder::new("chaos"),
            begins_at: clock.now(),
            clock,
        };
        scene.follow_schedules().await;
        for number in 0..DAEMONS {
            let port = free_port();
            let config = scene.config(setting, number, port);
            let seat = Seat::new(scene.folder.path(), number, port, &config);
            scene.seats.push(seat);
        }
        scene
    }

    fn config(&self, setting: Setting, number: usize, port: u16) -> String {
        let host = number % self.hosts.len();
        let lines = &self.hosts[host];
        let locks: PathBuf = self.folder.path().join(format!("host-{host}"));
        let mut text = format!(
            "[database]\nurl = \"{}\"\n\
             [redis]\nurl = \"redis://127.0.0.1:{}/\"\n\
             [http]\nlisten = \"127.0.0.1:{port}\"\n\
             [log]\nformat = \"json\"\n",
            TestPostgresServer::url_at(lines.postgres.port()),
            lines.redis.port(),
        );
        // A job may meet more deaths in a minute here than elsewhere in its life.
        write!(
            text,
            "[jobs]\nlocks_directory = \"{}\"\nrescues_max = 100\n",
            locks.display()
        )
        .unwrap();
        if let Pace::Short = setting.pace {
            write!(
                text,
                "lease_seconds = {LEASE_SECONDS}\nheartbeat_seconds = 1\nsweep_seconds = 1\n"
            )
            .unwrap();
        }
        write!(
            text,
            "[[channels]]\nname = \"sandbox\"\nconnector = \"sandbox\"\nurl = \"{}\"\n\
             connect_timeout_seconds = 1\nrequest_timeout_seconds = {}\nprocessing_window_seconds = 1\n",
            self.sandbox.base_url(),
            match setting.pace {
                Pace::Short => 3,
                // Answers that are held stay on their way.
                Pace::Default => 250,
            },
        )
        .unwrap();
        write!(
            text,
            "[sms]\nurl = \"http://{mailroom}/v1/messages\"\nconnect_timeout_seconds = 1\n\
             request_timeout_seconds = 3\nprocessing_window_seconds = 1\n\
             [webhooks]\nkeys_directory = \"{keys}\"\nallow_networks = [\"127.0.0.0/8\"]\n\
             [notifications]\npay_link_template = \"{PAY_LINK}\"\n",
            mailroom = self.mailroom.http,
            keys = self.mailroom.keys.path().display(),
        )
        .unwrap();
        for (name, _) in SCHEDULES {
            write!(
                text,
                "[[schedules]]\nname = \"{name}\"\ncron = \"* * * * *\"\nzone = \"UTC\"\n\
                 kind = \"settlement_run\"\npayload = '{{\"version\":1,\"through\":\"{{date}}\"}}'\n\
                 catch_up = \"{name}\"\n"
            )
            .unwrap();
        }
        text
    }

    /// As if nobody had looked for a while.
    async fn follow_schedules(&self) {
        let mut connection = PgConnection::connect(&self.postgres.url()).await.unwrap();
        for (name, minutes) in SCHEDULES {
            sqlx::query("INSERT INTO schedules (name, first_seen_at) VALUES ($1, $2)")
                .bind(name)
                .bind(self.begins_at - TimeDelta::minutes(minutes))
                .execute(&mut connection)
                .await
                .unwrap();
        }
    }

    /// Starts all daemons, and waits until they answer.
    pub(crate) async fn start_all(&mut self) {
        for seat in &mut self.seats {
            seat.start();
        }
        for seat in &mut self.seats {
            while tokio::net::TcpStream::connect(("127.0.0.1", seat.port()))
                .await
                .is_err()
            {
                assert!(!seat.has_died(), "it did not start: {}", seat.log());
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
    }

    /// Ends what the nemesis left, whatever it was.
    pub(crate) async fn heal(&mut self) {
        self.postgres.go_on();
        self.postgres.start_again().await;
        self.redis.start_again().await;
        for lines in &self.hosts {
            lines.postgres.heal();
            lines.redis.heal();
        }
        self.sandbox.handle.clear_faults();
        for seat in &mut self.seats {
            seat.go_on();
            seat.start();
        }
    }

    /// Everything that all daemons said.
    pub(crate) fn logs(&self) -> String {
        self.seats.iter().map(Seat::log).collect()
    }
}
