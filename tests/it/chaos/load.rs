//! Upstream: asks for every job until somebody acknowledges it, and remembers who did.
#![cfg(test)]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Mutex;
use std::time::Duration;

use clearday::connectors::sandbox::SandboxHandle;
use clearday_jobs::JobKind;
use futures::future::join_all;
use tokio::time::Instant;

use super::chance::Chance;
use super::orders::{OrderPlan, Way, Wish};
use super::scene::Scene;

/// A daemon that was killed or stopped does not answer; somebody else is asked then.
const ANSWER_LIMIT: Duration = Duration::from_secs(3);

/// A kind and a key.
pub(crate) type Asked = (JobKind, String);

/// What upstream knows.
pub(crate) struct Upstream {
    daemons: Vec<String>,
    /// The way to Redis from every host.
    redis: Vec<String>,
    http: reqwest::Client,
    chance: Mutex<Chance>,
    memory: Mutex<Memory>,
}

#[derive(Clone, Debug, Default)]
pub(crate) struct Memory {
    /// What was acknowledged, and by whom.
    pub(crate) acknowledged: BTreeMap<Asked, Way>,
    /// What Redis took, whoever else took it later.
    pub(crate) in_redis: BTreeSet<Asked>,
    /// What was refused, which nothing is that upstream asks for.
    pub(crate) refused: Vec<String>,
    /// How often it asked, and how often nobody answered.
    pub(crate) tries: u64,
    pub(crate) unanswered: u64,
    /// One line for each try: when, what, how, and what came back.
    pub(crate) history: Vec<String>,
}

enum Answer {
    Acknowledged,
    Refused(String),
    None(String),
}

impl Upstream {
    pub(crate) fn of(scene: &Scene, chance: Chance) -> Self {
        clearday::connectors::install_tls_provider();
        let http = reqwest::Client::builder()
            .timeout(ANSWER_LIMIT)
            .build()
            .unwrap();
        Self {
            daemons: scene.seats.iter().map(super::daemons::Seat::url).collect(),
            redis: scene
                .hosts
                .iter()
                .map(|lines| format!("redis://127.0.0.1:{}/", lines.redis.port()))
                .collect(),
            http,
            chance: Mutex::new(chance),
            memory: Mutex::default(),
        }
    }

    /// Asks for everything at its time, until the run is over; buyers pay meanwhile.
    pub(crate) async fn ask_all(
        &self,
        plans: &[OrderPlan],
        sandbox: &SandboxHandle,
        start: Instant,
        length: Duration,
    ) {
        let end = start + length;
        let wishes = plans.iter().flat_map(|plan| &plan.wishes);
        let asking = join_all(wishes.map(|wish| async move {
            tokio::time::sleep_until(start + wish.at).await;
            // What is under way when the run is over has an answer that nobody hears.
            let asked = self.ask_until_acknowledged(wish, start);
            drop(tokio::time::timeout_at(end, asked).await);
        }));
        let pays = plans.iter().flat_map(|plan| &plan.pays);
        let paying = join_all(pays.map(|(at, name)| async move {
            tokio::time::sleep_until(start + *at).await;
            // Too late is as good as in time: the books say which it was.
            drop(sandbox.pay(name));
        }));
        tokio::join!(asking, paying);
    }

    /// Asks by HTTP for what nobody took.
    pub(crate) async fn ask_again(&self, wishes: &[&Wish], start: Instant, limit: Duration) {
        let asking = join_all(wishes.iter().map(|wish| async move {
            let wish = Wish {
                way: Way::Http,
                ..(*wish).clone()
            };
            self.ask_until_acknowledged(&wish, start).await;
        }));
        // Whatever is missing then is told as lost.
        drop(tokio::time::timeout(limit, asking).await);
    }

    pub(crate) fn memory(&self) -> Memory {
        self.memory.lock().unwrap().clone()
    }

    async fn ask_until_acknowledged(&self, wish: &Wish, start: Instant) {
        loop {
            let (door, wait) = {
                let mut chance = self.chance.lock().unwrap();
                (chance.next(), chance.millis(200, 1_000))
            };
            let answer = match wish.way {
                Way::Http => self.post(wish, door).await,
                Way::Redis => self.add(wish, door).await,
            };
            let is_over = self.remember(wish, answer, start.elapsed());
            if is_over {
                return;
            }
            tokio::time::sleep(wait).await;
        }
    }

    /// Notes what came of a try; whether it was the last one.
    fn remember(&self, wish: &Wish, answer: Answer, at: Duration) -> bool {
        let asked = (wish.kind, wish.key.clone());
        let mut memory = self.memory.lock().unwrap();
        memory.tries += 1;
        let (word, is_over) = match answer {
            Answer::Acknowledged => {
                memory.acknowledged.insert(asked.clone(), wish.way);
                if wish.way == Way::Redis {
                    memory.in_redis.insert(asked);
                }
                ("acknowledged".to_owned(), true)
            }
            Answer::Refused(why) => {
                memory.refused.push(format!("{}: {why}", wish.key));
                (format!("refused: {why}"), true)
            }
            Answer::None(why) => {
                memory.unanswered += 1;
                // It may have arrived.
                if wish.way == Way::Redis {
                    memory.in_redis.insert(asked);
                }
                (why, false)
            }
        };
        let line = format!("{at:?} {:?} {}: {word}", wish.way, wish.key);
        memory.history.push(line);
        is_over
    }

    async fn post(&self, wish: &Wish, door: u64) -> Answer {
        let url = pick(&self.daemons, door);
        let request = self
            .http
            .post(format!("{url}/v1/jobs/{}", wish.kind.as_str()))
            .header("Idempotency-Key", &wish.key)
            .header("Content-Type", "application/json")
            .body(wish.payload.clone());
        match request.send().await {
            Ok(answer) => match answer.status().as_u16() {
                200 | 202 => Answer::Acknowledged,
                status @ (408 | 429 | 500..) => Answer::None(format!("status {status}")),
                status => {
                    let words = answer.text().await.unwrap_or_default();
                    Answer::Refused(format!("status {status}: {words}"))
                }
            },
            Err(error) => Answer::None(error.to_string()),
        }
    }

    async fn add(&self, wish: &Wish, door: u64) -> Answer {
        let client = redis::Client::open(pick(&self.redis, door).as_str()).unwrap();
        let adding = async {
            let mut connection = client.get_multiplexed_async_connection().await?;
            redis::cmd("XADD")
                .arg(wish.kind.submission_stream())
                .arg("*")
                .arg("payload")
                .arg(&wish.payload)
                .arg("idempotency_key")
                .arg(&wish.key)
                .query_async::<String>(&mut connection)
                .await
        };
        match tokio::time::timeout(ANSWER_LIMIT, adding).await {
            Ok(Ok(_)) => Answer::Acknowledged,
            Ok(Err(error)) => Answer::None(error.to_string()),
            Err(_) => Answer::None("no answer".to_owned()),
        }
    }
}

fn pick(of: &[String], number: u64) -> &String {
    let length = u64::try_from(of.len()).unwrap();
    &of[usize::try_from(number % length).unwrap()]
}
