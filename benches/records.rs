//! Records end to end: from the bytes of a file to the commit, beside the plain loop that writes the
//! same rows with one statement each.
//!
//! Both write in one transaction to an empty table. The loop gets its rows ready-made and compares
//! nothing, so it is the least that a program without bulk statements would take.
//!
//! `scripts/bench records [--records N] [--rounds N]`
#![expect(
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program for people; it ends at the first fault"
)]
#![expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::float_arithmetic,
    reason = "rates, not money"
)]

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::TimeDelta;
use clearday::clock::{Clock, Ids};
use clearday::domain::import::records::RecordRow;
use clearday::domain::record::Record;
use clearday::engine::{Engine, NoBell, Policy};
use clearday::formats::records::read_numbered_records;
use clearday::store::Store;
use sqlx::{Connection, PgConnection, SqliteConnection};

/// What a round measured.
struct Round {
    /// Reading the file alone.
    read: Duration,
    /// Reading it and writing it down.
    whole: Duration,
    /// The same file once more, which changes nothing.
    again: Duration,
    /// The plain loop.
    plain: Duration,
}

#[tokio::main]
async fn main() {
    let count = argument("--records", 200_000);
    let rounds = argument("--rounds", 3);
    let folder = std::env::temp_dir().join(format!("clearday-bench-{}", std::process::id()));
    std::fs::create_dir_all(&folder).unwrap();
    let file = file_of(count);
    println!(
        "{count} records a round ({} MB of CSV), {rounds} rounds",
        file.len().div_euclid(1 << 20)
    );
    let sqlite = format!("sqlite://{}", folder.join("bench.db").display());
    for url in [
        std::env::var("CLEARDAY_TEST_DATABASE_URL").ok(),
        Some(sqlite),
    ]
    .into_iter()
    .flatten()
    {
        let store = Store::connect(&url, 4).await.unwrap();
        store.migrate().await.unwrap();
        let mut measured = Vec::new();
        for _ in 0..rounds {
            measured.push(measure(&store, &url, &file, count).await);
        }
        tell(store.dialect(), count, &measured);
        store.close().await;
    }
    println!("peak memory {} MB", peak_megabytes());
    std::fs::remove_dir_all(&folder).unwrap();
}

async fn measure(store: &Store, url: &str, file: &[u8], count: usize) -> Round {
    let engine = engine(store);
    Loop::connect(url).await.empty().await;
    let started = Instant::now();
    let rows = read(file);
    let read_in = started.elapsed();
    let imported = engine.import_records(rows).await.unwrap();
    let whole = started.elapsed();
    assert_eq!(imported.new, u64::try_from(count).unwrap());

    let started = Instant::now();
    let imported = engine.import_records(read(file)).await.unwrap();
    let again = started.elapsed();
    assert_eq!(imported.unchanged, u64::try_from(count).unwrap());

    let rows = read(file);
    let mut plain = Loop::connect(url).await;
    plain.empty().await;
    let started = Instant::now();
    plain.write(&rows).await;
    Round {
        read: read_in,
        whole,
        again,
        plain: started.elapsed(),
    }
}

fn read(file: &[u8]) -> Vec<RecordRow> {
    let mut rows = Vec::new();
    read_numbered_records(file, |line, record| rows.push(RecordRow { line, record })).unwrap();
    rows
}

fn engine(store: &Store) -> Engine {
    let clock = Clock::system();
    Engine::new(
        store.clone(),
        clock.clone(),
        Ids::random(clock),
        Policy {
            lease: TimeDelta::seconds(60),
            attempts_max: 5,
            rescues_max: 3,
            handler_timeout: Duration::from_mins(1),
            partition_concurrency: None,
        },
        "bench".to_owned(),
        Arc::new(NoBell),
    )
}

/// The plain loop, on a connection of its own.
enum Loop {
    Postgres(PgConnection),
    Sqlite(SqliteConnection),
}

const INSERT: &str = "INSERT INTO records (kind, record_no, channel, channel_trade_no, merchant_id, amount_minor, \
    currency, fee_minor, status, occurred_at, original_record_no, coupon_minor, coupon_funder, imported_at) \
    VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14)";

/// Binds a record to [`INSERT`]; `$at` is an instant as the database keeps it.
macro_rules! bound {
    ($record:expr, $at:expr) => {{
        let record: &Record = $record;
        sqlx::query(INSERT)
            .bind(record.kind.as_str())
            .bind(record.record_no.as_str())
            .bind(record.channel.as_str())
            .bind(record.channel_trade_no.as_ref().map(|it| it.as_str()))
            .bind(record.merchant_id.as_str())
            .bind(record.amount.minor_units())
            .bind(record.amount.currency().code())
            .bind(record.fee.minor_units())
            .bind(record.status.as_str())
            .bind($at)
            .bind(record.original_record_no.as_ref().map(|it| it.as_str()))
            .bind(record.coupon.map(|it| it.amount.minor_units()))
            .bind(record.coupon.map(|it| it.funder.as_str()))
            .bind($at)
    }};
}

impl Loop {
    async fn connect(url: &str) -> Self {
        if url.starts_with("sqlite:") {
            Self::Sqlite(SqliteConnection::connect(url).await.unwrap())
        } else {
            Self::Postgres(PgConnection::connect(url).await.unwrap())
        }
    }

    async fn empty(&mut self) {
        match self {
            Self::Postgres(connection) => {
                let truncate = sqlx::query("TRUNCATE records").execute(&mut *connection);
                truncate.await.unwrap();
            }
            Self::Sqlite(connection) => {
                let delete = sqlx::query("DELETE FROM records").execute(&mut *connection);
                delete.await.unwrap();
                let shrink = sqlx::query("PRAGMA wal_checkpoint(TRUNCATE)").execute(connection);
                shrink.await.unwrap();
            }
        }
    }

    async fn write(&mut self, rows: &[RecordRow]) {
        match self {
            Self::Postgres(connection) => {
                let mut tx = connection.begin().await.unwrap();
                for row in rows {
                    let insert = bound!(&row.record, row.record.occurred_at.to_utc());
                    insert.execute(&mut *tx).await.unwrap();
                }
                tx.commit().await.unwrap();
            }
            Self::Sqlite(connection) => {
                let mut tx = connection.begin().await.unwrap();
                for row in rows {
                    let at = row.record.occurred_at.timestamp_micros();
                    bound!(&row.record, at).execute(&mut *tx).await.unwrap();
                }
                tx.commit().await.unwrap();
            }
        }
    }
}

/// A day of payments in the order they came, every tenth with its refund.
fn file_of(count: usize) -> Vec<u8> {
    let mut csv = String::from(
        "record_no,kind,channel,channel_trade_no,merchant_id,amount,currency,fee,status,occurred_at,original_record_no\n",
    );
    for number in 0..count {
        let (hour, minute, second) = (
            number.div_euclid(3_600).rem_euclid(24),
            number.div_euclid(60).rem_euclid(60),
            number.rem_euclid(60),
        );
        let at = format!("2026-03-02T{hour:02}:{minute:02}:{second:02}+08:00");
        let merchant = number.rem_euclid(2_000);
        // Order numbers of shops are not sorted: the index is filled all over.
        let order = number.wrapping_mul(2_654_435_761).rem_euclid(1 << 32);
        let written = if number.rem_euclid(10) == 9 {
            let paid = (number - 1).wrapping_mul(2_654_435_761).rem_euclid(1 << 32);
            writeln!(
                csv,
                "CDR{order:010}{number:08},refund,wechat_pay,5030{number:024},shop-{merchant},12.30,CNY,-0.07,succeeded,{at},CD{paid:010}{:08}",
                number - 1
            )
        } else {
            writeln!(
                csv,
                "CD{order:010}{number:08},payment,wechat_pay,4200{number:024},shop-{merchant},12.30,CNY,0.07,succeeded,{at},"
            )
        };
        written.unwrap();
    }
    csv.into_bytes()
}

fn tell(dialect: &str, count: usize, measured: &[Round]) {
    let rate = |duration: Duration| count as f64 / duration.as_secs_f64();
    let rates = |of: fn(&Round) -> Duration| measured.iter().map(|it| rate(of(it))).collect();
    let ratios = measured
        .iter()
        .map(|it| it.plain.as_secs_f64() / it.whole.as_secs_f64());
    let ratio = median(ratios.collect());
    println!(
        "{dialect:>8}: end to end {}/s, of that reading {}/s; again {}/s; plain loop {}/s; {ratio:.1} times the plain loop \
         (medians; min and max in brackets)",
        spread(rates(|it| it.whole)),
        spread(rates(|it| it.read)),
        spread(rates(|it| it.again)),
        spread(rates(|it| it.plain)),
    );
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    let middle = figures.len().div_euclid(2);
    figures.get(middle).copied().unwrap_or_default()
}

fn spread(mut rates: Vec<f64>) -> String {
    rates.sort_by(f64::total_cmp);
    let at = |position: usize| rates.get(position).copied().unwrap_or_default();
    format!(
        "{:.0} [{:.0}, {:.0}]",
        at(rates.len().div_euclid(2)),
        at(0),
        at(rates.len().saturating_sub(1))
    )
}

/// The most memory this process ever held; the file and its rows stand in it.
fn peak_megabytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = peak.and_then(|peak| peak.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kilobytes.unwrap_or_default().div_euclid(1 << 10)
}

fn argument(name: &str, default: usize) -> usize {
    let mut arguments = std::env::args();
    arguments
        .find(|argument| argument == name)
        .and_then(|_| arguments.next())
        .map_or(default, |value| value.parse().unwrap())
}
