//! What a daemon holds in memory while very much is waiting: a process of its own, asked through the system.

use std::io::{BufRead, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use sqlx::{Connection, PgConnection};

use super::house::{House, KIND, payload, redis_url};

const LATER: &str = "2036-01-01T00:00:00Z";
/// Entries per journey to Redis.
const PIPELINE: usize = 1_000;

pub(crate) async fn measure(count: usize) {
    println!("memory: {count} submissions in the stream, taken in by a daemon and waiting");
    let house = House::postgres().await;
    submit(count).await;
    let folder = std::env::temp_dir().join(format!("clearday-bench-locks-{}", std::process::id()));
    let mut daemon = Command::new(env!("CARGO_BIN_EXE_clearday"))
        .arg("serve")
        .env("CLEARDAY_DATABASE__URL", &house.url)
        .env("CLEARDAY_REDIS__URL", redis_url().unwrap())
        .env("CLEARDAY_HTTP__LISTEN", "127.0.0.1:0")
        .env("CLEARDAY_JOBS__LOCKS_DIRECTORY", &folder)
        .env("CLEARDAY_LOG__FILTER", "warn")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    BufReader::new(daemon.stdout.take().unwrap())
        .read_line(&mut line)
        .unwrap();
    while waiting(&house).await < i64::try_from(count).unwrap() {
        assert_eq!(daemon.try_wait().unwrap(), None, "the daemon ended");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    println!(
        "  RSS {} MB, at most {} MB",
        megabytes(&daemon, "VmRSS:"),
        megabytes(&daemon, "VmHWM:")
    );
    daemon.kill().unwrap();
    daemon.wait().unwrap();
    drop(std::fs::remove_dir_all(folder));
    house.close().await;
}

async fn submit(count: usize) {
    let client = redis::Client::open(redis_url().unwrap()).unwrap();
    let mut connection = client.get_multiplexed_async_connection().await.unwrap();
    let stamp = clearday::clock::Clock::system().now().timestamp_micros();
    let numbers: Vec<usize> = (0..count).collect();
    for part in numbers.chunks(PIPELINE) {
        let mut pipeline = redis::pipe();
        for number in part {
            let key = format!("M-{stamp}-{number}");
            pipeline
                .cmd("XADD")
                .arg(KIND.submission_stream())
                .arg("*")
                .arg("payload")
                .arg(payload(&key, LATER))
                .arg("idempotency_key")
                .arg(&key)
                .ignore();
        }
        pipeline.exec_async(&mut connection).await.unwrap();
    }
}

async fn waiting(house: &House) -> i64 {
    let mut connection = PgConnection::connect(&house.url).await.unwrap();
    sqlx::query_scalar("SELECT COUNT(*) FROM jobs WHERE state = 'ready'")
        .fetch_one(&mut connection)
        .await
        .unwrap()
}

fn megabytes(process: &Child, name: &str) -> u64 {
    let path = format!("/proc/{}/status", process.id());
    let status = std::fs::read_to_string(path).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(name));
    let kilobytes = line.and_then(|line| line.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kilobytes.unwrap_or_default().div_euclid(1 << 10)
}
