//! SQL and nothing but SQL, for Postgres and SQLite; one file per aggregate.
//!
//! Every statement is one text for both databases, in a [`Statement`] beside the function that
//! runs it; a dialect differs by a tail only. [`on_both!`] opens the enum and type-checks the same
//! body against each native connection. Rules of the house:
//!
//! - instants are bound as [`Timestamp`]; no arithmetic on instants and no `now()` in SQL;
//! - a change names the state it expects in its `WHERE`, and the count of moved rows is checked;
//! - lists go through `QueryBuilder` in chunks of [`CHUNK_ROWS_MAX`].
//!
//! No call to the outside is made while a [`Tx`] is open.

pub mod approvals;
pub mod audit;
pub mod authorizations;
pub mod bank_lines;
pub mod bookings;
pub mod bulk;
pub mod claims;
mod columns;
pub mod daemons;
mod error;
pub mod events;
mod gate;
pub mod jobs;
pub mod ledger;
pub mod merchants;
pub mod notices;
pub mod operations;
pub mod order_imports;
pub mod orders;
pub mod overview;
pub mod paces;
pub mod partners;
pub mod queues;
pub mod reconciliations;
pub mod records;
pub mod rejections;
pub mod retention;
pub mod settlement_items;
pub mod settlements;
pub mod statement;
pub mod ticks;
mod timestamp;
pub mod verify_history;
pub mod verify_money;
pub mod verify_settlements;
pub mod watch;
mod words;

use std::future::Future;
use std::ops::{Deref, DerefMut};
use std::path::Path;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use sqlx::migrate::Migrator;
use sqlx::pool::PoolConnection;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};
use sqlx::{
    ConnectOptions, Connection, PgConnection, PgPool, Postgres, Row, SqlitePool, Transaction,
};

pub use error::StoreError;
use error::is_locked;
pub use gate::{Access, CommitFate, Gate, SqliteTx};
pub use statement::Statement;
pub(crate) use timestamp::Timestamp;
use words::words;

/// Rows per multi-row statement: at twenty columns a row this stays below SQLite's 32,766 bound
/// values and Postgres' 65,535.
pub(crate) const CHUNK_ROWS_MAX: usize = 500;

/// The server ends a statement, or the wait for a lock, that takes longer than this.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(10);
/// Nobody waits longer than this for one answer, whatever became of the server.
const CALL_TIMEOUT: Duration = Duration::from_secs(15);
/// Waiting for a free connection, which includes opening one to a database that is down.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(5);
/// How long a connection may take to show that it lives.
const TRY_TIMEOUT: Duration = Duration::from_secs(2);
/// A connection that was used so short a time ago is used again without a try.
const IDLE_UNTRIED_MAX: Duration = Duration::from_secs(1);
/// Connections for the renewal of leases and for the sweep alone: however busy the others are, these are free.
const KEEPER_CONNECTIONS: u32 = 2;
/// Prepared statements that a connection keeps: more than there are, since preparing costs more than running.
const STATEMENTS_KEPT: usize = 500;
/// Connections for those who look for due jobs: one for each kind.
const CLAIMER_CONNECTIONS: u32 = 5;
/// How Postgres is to find due jobs and lapsed leases. It chooses a plan once, perhaps while the table is small or
/// before it knows what is in it; one that sorts or goes over the whole table then is slow for ever after. What it
/// cannot do without would count as dear, and a dear plan is compiled, which takes longer than all of it. With one way
/// left there is nothing to plan anew, which takes as long as the look itself.
const BY_INDEX: [(&str, &str); 7] = [
    ("plan_cache_mode", "force_generic_plan"),
    ("jit", "off"),
    ("enable_sort", "off"),
    ("enable_seqscan", "off"),
    ("enable_bitmapscan", "off"),
    ("enable_hashjoin", "off"),
    ("enable_mergejoin", "off"),
];
/// SQLite has one writer at a time; another process (a command line) may hold it for a moment.
const SQLITE_BUSY_TIMEOUT: Duration = Duration::from_secs(5);
const SQLITE_READERS_MAX: u32 = 4;
/// For the writer of SQLite, in KiB: an import meets pages all over the indexes, and what does not stay in memory is
/// written many times. SQLite takes no more of it than it needs.
const SQLITE_CACHE_KIB: u32 = 32 << 10;
/// SQLite does not wait where a new file changes to WAL, so two processes that open one at the same
/// moment may find it locked. It takes milliseconds; after a second it is something else.
const SQLITE_OPEN_TRIES: u32 = 50;
const SQLITE_OPEN_WAIT: Duration = Duration::from_millis(20);

static POSTGRES_MIGRATIONS: Migrator = sqlx::migrate!("migrations/postgres");
static SQLITE_MIGRATIONS: Migrator = sqlx::migrate!("migrations/sqlite");

/// The database, one of two.
#[derive(Clone, Debug)]
pub enum Store {
    /// Production.
    Postgres {
        /// For all others.
        pool: PgPool,
        /// For what keeps leases: it never waits for those who work.
        keeper: PgPool,
        /// For those who look for due jobs, by the front of an index and never in another way.
        claimer: PgPool,
    },
    /// Embedded: one writing connection, so that writers queue instead of failing as busy, and a
    /// few reading ones beside it (WAL).
    Sqlite {
        /// The only connection that writes.
        writer: SqlitePool,
        /// Connections that only read.
        readers: SqlitePool,
        /// What every transaction passes first: a simulation's hand on the database.
        gate: Option<Arc<dyn Gate>>,
    },
}

/// An open transaction; dropping it rolls back, but for statements that stand apart ([`PgTx::Apart`]).
#[derive(Debug)]
pub enum Tx {
    /// On Postgres.
    Postgres(PgTx),
    /// On SQLite.
    Sqlite(SqliteTx),
}

/// A connection to Postgres with its statements.
#[derive(Debug)]
pub enum PgTx {
    /// In one transaction.
    Together(Transaction<'static, Postgres>),
    /// Each in one of its own: committed when it returns.
    Apart(PoolConnection<Postgres>),
}

impl Deref for PgTx {
    type Target = PgConnection;

    fn deref(&self) -> &PgConnection {
        match self {
            Self::Together(transaction) => transaction,
            Self::Apart(connection) => connection,
        }
    }
}

impl DerefMut for PgTx {
    fn deref_mut(&mut self) -> &mut PgConnection {
        match self {
            Self::Together(transaction) => transaction,
            Self::Apart(connection) => connection,
        }
    }
}

/// Runs one body on whichever database the transaction is of: `$db` is the sqlx database type and
/// `$connection` its native connection. A body that gets no answer in time is given up.
macro_rules! on_both {
    ($tx:expr, $db:ident, $connection:ident => $body:expr) => {
        match $tx {
            $crate::store::Tx::Postgres(transaction) => {
                type $db = sqlx::Postgres;
                let $connection: &mut sqlx::PgConnection = &mut *transaction;
                $crate::store::in_time(async { Ok($body) }).await?
            }
            $crate::store::Tx::Sqlite(transaction) => {
                type $db = sqlx::Sqlite;
                let $connection: &mut sqlx::SqliteConnection = &mut *transaction;
                $crate::store::in_time(async { Ok($body) }).await?
            }
        }
    };
}
pub(crate) use on_both;

/// Gives a call up that gets no answer. The server's own time-out comes first where there is a
/// server to keep it; this one is for a network that swallows the question or the answer.
pub(crate) fn in_time<T>(
    call: impl Future<Output = Result<T, StoreError>> + Send,
) -> impl Future<Output = Result<T, StoreError>> + Send {
    // Boxed at once, so that the futures of callers stay small.
    let call = Box::pin(call);
    async move {
        tokio::time::timeout(CALL_TIMEOUT, call)
            .await
            .unwrap_or(Err(StoreError::NoAnswer(CALL_TIMEOUT)))
    }
}

impl Store {
    /// Opens the database named by `url` (`postgres://…` or `sqlite://PATH`) with at most
    /// `connections_max` connections, and checks that it answers.
    ///
    /// # Errors
    /// [`StoreError::Url`] for another kind of URL, [`StoreError::Unavailable`] when it does not
    /// answer.
    pub async fn connect(url: &str, connections_max: u32) -> Result<Self, StoreError> {
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            Self::connect_postgres(url, connections_max).await
        } else if url.starts_with("sqlite:") {
            Self::connect_sqlite(SqliteConnectOptions::from_str(url)?).await
        } else {
            Err(StoreError::Url)
        }
    }

    /// Like [`Store::connect`], but a Postgres need not be there yet: it is asked when it is needed.
    ///
    /// # Errors
    /// [`StoreError::Url`] for another kind of URL, and where a SQLite file cannot be opened.
    pub async fn prepare(url: &str, connections_max: u32) -> Result<Self, StoreError> {
        if url.starts_with("postgres://") || url.starts_with("postgresql://") {
            let options = postgres_options(url)?;
            let pool = postgres_pool(connections_max).connect_lazy_with(options.clone());
            Ok(Self::with_helpers(pool, options))
        } else {
            Self::connect(url, connections_max).await
        }
    }

    async fn connect_postgres(url: &str, connections_max: u32) -> Result<Self, StoreError> {
        let options = postgres_options(url)?;
        let pool = postgres_pool(connections_max)
            .connect_with(options.clone())
            .await?;
        Ok(Self::with_helpers(pool, options))
    }

    /// The pools for single purposes are opened when they are needed: a command line never does.
    fn with_helpers(pool: PgPool, options: PgConnectOptions) -> Self {
        let by_index = options.options(BY_INDEX);
        Self::Postgres {
            pool,
            keeper: postgres_pool(KEEPER_CONNECTIONS).connect_lazy_with(by_index.clone()),
            claimer: postgres_pool(CLAIMER_CONNECTIONS).connect_lazy_with(by_index),
        }
    }

    async fn connect_sqlite(options: SqliteConnectOptions) -> Result<Self, StoreError> {
        let options = options
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(SqliteSynchronous::Full)
            .foreign_keys(true)
            .busy_timeout(SQLITE_BUSY_TIMEOUT)
            .statement_cache_capacity(STATEMENTS_KEPT)
            .disable_statement_logging();
        let pool = |connections_max| {
            SqlitePoolOptions::new()
                .max_connections(connections_max)
                .acquire_timeout(ACQUIRE_TIMEOUT)
                // SQLite rolls back by itself when the disk is full or a write fails, and sqlx then takes the
                // transaction for open: such a connection would refuse to begin another one for ever.
                .before_acquire(|connection, _| {
                    let is_clean = !connection.is_in_transaction();
                    Box::pin(async move { Ok(is_clean) })
                })
        };
        // A negative size is in KiB, a positive one in pages.
        let writing = options
            .clone()
            .pragma("cache_size", format!("-{SQLITE_CACHE_KIB}"));
        let mut tries = 1;
        let writer = loop {
            match pool(1).connect_with(writing.clone()).await {
                Ok(writer) => break writer,
                Err(error) if tries < SQLITE_OPEN_TRIES && is_locked(&error) => {
                    tries += 1;
                    tokio::time::sleep(SQLITE_OPEN_WAIT).await;
                }
                Err(error) => return Err(error.into()),
            }
        };
        let reading = options.pragma("query_only", "ON");
        let readers = pool(SQLITE_READERS_MAX).connect_with(reading).await?;
        Ok(Self::Sqlite {
            writer,
            readers,
            gate: None,
        })
    }

    /// A new SQLite database in memory, on one connection that reads and writes: who has a transaction open lets
    /// nobody else begin one.
    pub async fn in_memory() -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .in_memory(true)
            .statement_cache_capacity(STATEMENTS_KEPT)
            .foreign_keys(true)
            .journal_mode(SqliteJournalMode::Memory)
            .synchronous(SqliteSynchronous::Off)
            .disable_statement_logging();
        // The database is gone with its connection, so that one stays.
        let only = SqlitePoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None)
            .test_before_acquire(false)
            .acquire_timeout(ACQUIRE_TIMEOUT)
            .connect_with(options)
            .await?;
        Ok(Self::Sqlite {
            readers: only.clone(),
            writer: only,
            gate: None,
        })
    }

    /// The same database behind a gate. Only SQLite is simulated: on Postgres there is none.
    #[must_use]
    pub fn behind(&self, gate: Arc<dyn Gate>) -> Self {
        match self {
            Self::Postgres { .. } => self.clone(),
            Self::Sqlite {
                writer, readers, ..
            } => Self::Sqlite {
                writer: writer.clone(),
                readers: readers.clone(),
                gate: Some(gate),
            },
        }
    }

    /// Waits at the gate, if there is one.
    async fn enter(&self, access: Access) -> Option<(Arc<dyn Gate>, CommitFate)> {
        let Self::Sqlite {
            gate: Some(gate), ..
        } = self
        else {
            return None;
        };
        let fate = gate.enter(access).await;
        Some((Arc::clone(gate), fate))
    }

    /// Waits at the gate for another task of this process; `false` at once where there is no gate.
    pub(crate) async fn stand_by(&self) -> bool {
        let Self::Sqlite {
            gate: Some(gate), ..
        } = self
        else {
            return false;
        };
        gate.stand_by().await;
        true
    }

    /// Opens the SQLite file at `path`, creating it where it is missing.
    pub async fn open_file(path: &Path) -> Result<Self, StoreError> {
        // Not through a URL, where a `?` or a `%` in a folder's name would mean something else.
        Self::connect_sqlite(SqliteConnectOptions::new().filename(path)).await
    }

    /// Brings the schema up to date; several daemons may do so at once.
    pub async fn migrate(&self) -> Result<(), StoreError> {
        match self {
            Self::Postgres { pool, .. } => POSTGRES_MIGRATIONS.run(pool).await?,
            // sqlx takes a lock for this on Postgres only; here it is the one that writers take.
            Self::Sqlite { writer, .. } => {
                let mut transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
                SQLITE_MIGRATIONS.run(&mut *transaction).await?;
                transaction.commit().await?;
            }
        }
        Ok(())
    }

    /// Refuses a database whose schema is older than this release.
    ///
    /// # Errors
    /// [`StoreError::SchemaBehind`], which says what to run.
    pub async fn check_schema(&self) -> Result<(), StoreError> {
        const APPLIED: &str = "SELECT MAX(version) FROM _sqlx_migrations WHERE success";
        let wanted = POSTGRES_MIGRATIONS.iter().map(|m| m.version).max();
        let applied: Result<Option<i64>, sqlx::Error> = match self {
            Self::Postgres { pool, .. } => sqlx::query_scalar(APPLIED).fetch_one(pool).await,
            Self::Sqlite { readers, .. } => sqlx::query_scalar(APPLIED).fetch_one(readers).await,
        };
        match applied {
            Ok(applied) if applied >= wanted => Ok(()),
            Ok(_) => Err(StoreError::SchemaBehind),
            Err(error) if error.as_database_error().is_some() => Err(StoreError::SchemaBehind),
            Err(error) => Err(error.into()),
        }
    }

    /// Starts a transaction that may write.
    pub async fn begin(&self) -> Result<Tx, StoreError> {
        let passed = self.enter(Access::Write).await;
        in_time(self.begin_writing(passed)).await
    }

    /// The same for the keepers of leases, who wait for nobody who works.
    pub async fn begin_keeping(&self) -> Result<Tx, StoreError> {
        match self {
            Self::Postgres { keeper, .. } => {
                in_time(async { Ok(Tx::Postgres(PgTx::Together(keeper.begin().await?))) }).await
            }
            Self::Sqlite { .. } => self.begin().await,
        }
    }

    /// The same for those who look for due jobs.
    pub async fn begin_claiming(&self) -> Result<Tx, StoreError> {
        match self {
            Self::Postgres { claimer, .. } => {
                in_time(async { Ok(Tx::Postgres(PgTx::Together(claimer.begin().await?))) }).await
            }
            Self::Sqlite { .. } => self.begin().await,
        }
    }

    /// The same, for looks that need not agree and one statement that takes: on Postgres each is committed by itself,
    /// which saves two journeys.
    pub async fn claiming_apart(&self) -> Result<Tx, StoreError> {
        match self {
            Self::Postgres { claimer, .. } => {
                in_time(async { Ok(Tx::Postgres(PgTx::Apart(claimer.acquire().await?))) }).await
            }
            Self::Sqlite { .. } => self.begin().await,
        }
    }

    async fn begin_writing(
        &self,
        passed: Option<(Arc<dyn Gate>, CommitFate)>,
    ) -> Result<Tx, StoreError> {
        Ok(match self {
            Self::Postgres { pool, .. } => Tx::Postgres(PgTx::Together(pool.begin().await?)),
            // Taking the write lock at once keeps a read-then-write from failing half-way.
            Self::Sqlite { writer, .. } => {
                let transaction = writer.begin_with("BEGIN IMMEDIATE").await?;
                Tx::Sqlite(SqliteTx::new(transaction, passed))
            }
        })
    }

    /// Starts a transaction that only reads what is due, and when the next job will be.
    pub async fn read_claiming(&self) -> Result<Tx, StoreError> {
        match self {
            Self::Postgres { .. } => self.begin_claiming().await,
            Self::Sqlite { .. } => self.read().await,
        }
    }

    /// Starts a transaction that only reads, and sees the database as it was at its first look.
    pub async fn read(&self) -> Result<Tx, StoreError> {
        const READ: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ, READ ONLY";
        let passed = self.enter(Access::Read).await;
        in_time(async {
            Ok(match self {
                Self::Postgres { pool, .. } => {
                    Tx::Postgres(PgTx::Together(pool.begin_with(READ).await?))
                }
                Self::Sqlite { readers, .. } => {
                    Tx::Sqlite(SqliteTx::new(readers.begin().await?, passed))
                }
            })
        })
        .await
    }

    /// Whether the database answers now.
    pub async fn ping(&self) -> Result<(), StoreError> {
        in_time(async {
            match self {
                Self::Postgres { pool, .. } => pool.acquire().await?.ping().await?,
                Self::Sqlite { readers, .. } => readers.acquire().await?.ping().await?,
            }
            Ok(())
        })
        .await
    }

    /// The name of the dialect, for people.
    pub const fn dialect(&self) -> &'static str {
        match self {
            Self::Postgres { .. } => "postgres",
            Self::Sqlite { .. } => "sqlite",
        }
    }

    /// Closes every connection.
    pub async fn close(&self) {
        match self {
            Self::Postgres {
                pool,
                keeper,
                claimer,
            } => {
                claimer.close().await;
                keeper.close().await;
                pool.close().await;
            }
            Self::Sqlite {
                writer, readers, ..
            } => {
                readers.close().await;
                writer.close().await;
            }
        }
    }
}

fn postgres_options(url: &str) -> Result<PgConnectOptions, StoreError> {
    let timeout_ms = STATEMENT_TIMEOUT.as_millis().to_string();
    let options = PgConnectOptions::from_str(url).map_err(StoreError::from)?;
    Ok(options
        .application_name("clearday")
        .statement_cache_capacity(STATEMENTS_KEPT)
        .options([
            ("statement_timeout", timeout_ms.as_str()),
            ("lock_timeout", timeout_ms.as_str()),
            ("idle_in_transaction_session_timeout", timeout_ms.as_str()),
            ("timezone", "UTC"),
        ])
        .disable_statement_logging())
}

/// A connection that has been idle is tried before it is used, and each when it comes back, for as long as a try may
/// take: one whose other end fell silent is closed and its place is free again, whatever TCP still hopes for. So is
/// one that comes back with a transaction open, as it does when whoever began it was given up before the answer.
fn postgres_pool(connections_max: u32) -> PgPoolOptions {
    PgPoolOptions::new()
        .max_connections(connections_max)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .test_before_acquire(false)
        .before_acquire(|connection, meta| {
            Box::pin(async move {
                if meta.idle_for < IDLE_UNTRIED_MAX {
                    return Ok(true);
                }
                Ok(is_free(connection).await.unwrap_or(false))
            })
        })
        .after_release(|connection, _| Box::pin(is_free(connection)))
}

/// Whether a connection lives and has no transaction open: then a statement begins its own. Asked in one journey and
/// not prepared, or its preparation would be what begins it.
async fn is_free(connection: &mut PgConnection) -> Result<bool, sqlx::Error> {
    const IS_FREE: &str = "SELECT transaction_timestamp() = statement_timestamp()";
    let answer = sqlx::raw_sql(IS_FREE).fetch_one(connection);
    let row = tokio::time::timeout(TRY_TIMEOUT, answer).await;
    row.unwrap_or(Err(sqlx::Error::PoolTimedOut))?.try_get(0)
}

/// Every fixed statement with the file and the name it has there, for the test that prepares them
/// all on both databases.
pub fn all_statements() -> Vec<(&'static str, &'static str, Statement)> {
    let files = [
        ("approvals", approvals::STATEMENTS),
        ("audit", audit::STATEMENTS),
        ("authorizations", authorizations::STATEMENTS),
        ("bank_lines", bank_lines::STATEMENTS),
        ("bookings", bookings::STATEMENTS),
        ("claims", claims::STATEMENTS),
        ("daemons", daemons::STATEMENTS),
        ("events", events::STATEMENTS),
        ("jobs", jobs::STATEMENTS),
        ("ledger", ledger::STATEMENTS),
        ("merchants", merchants::STATEMENTS),
        ("notices", notices::STATEMENTS),
        ("operations", operations::STATEMENTS),
        ("orders", orders::STATEMENTS),
        ("order_imports", order_imports::STATEMENTS),
        ("paces", paces::STATEMENTS),
        ("partners", partners::STATEMENTS),
        ("queues", queues::STATEMENTS),
        ("reconciliations", reconciliations::STATEMENTS),
        ("overview", overview::STATEMENTS),
        ("records", records::STATEMENTS),
        ("rejections", rejections::STATEMENTS),
        ("retention", retention::STATEMENTS),
        ("settlement_items", settlement_items::STATEMENTS),
        ("settlements", settlements::STATEMENTS),
        ("ticks", ticks::STATEMENTS),
        ("verify_history", verify_history::STATEMENTS),
        ("verify_money", verify_money::STATEMENTS),
        ("verify_settlements", verify_settlements::STATEMENTS),
        ("watch", watch::STATEMENTS),
    ];
    let named = files.into_iter().flat_map(|(file, statements)| {
        let with_file = move |&(name, statement)| (file, name, statement);
        statements.iter().map(with_file)
    });
    named.collect()
}

impl Tx {
    /// Makes everything done in this transaction durable.
    pub async fn commit(self) -> Result<(), StoreError> {
        let gate = in_time(async {
            match self {
                Self::Postgres(PgTx::Together(transaction)) => transaction.commit().await?,
                Self::Postgres(PgTx::Apart(_)) => {}
                Self::Sqlite(transaction) => return transaction.commit().await,
            }
            Ok(None)
        })
        .await?;
        if let Some(gate) = gate {
            gate.leave().await;
        }
        Ok(())
    }
}
