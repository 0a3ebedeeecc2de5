//! Databases and servers that a test uses up: made fresh, gone with the value that owns them.
//!
//! `scripts/test` starts one Postgres and one Redis for the whole run; [`TestDatabase`] makes a
//! database of its own in the first. A test that empties, stops or kills a server starts a
//! throw-away one, [`TestRedis`] or [`TestPostgresServer`]. Nothing here skips: where a server is
//! missing, the test that asks for it fails and says what to run.
#![cfg(test)]

use std::{
    collections::hash_map::RandomState,
    env,
    fs::{self, File, Permissions},
    hash::{BuildHasher, Hasher},
    io::{Read, Write},
    net::{Ipv4Addr, TcpListener, TcpStream},
    os::unix::{
        fs::{MetadataExt, PermissionsExt},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use sqlx::{AssertSqlSafe, Connection, PgConnection};

/// A cold machine with both cores busy starts Postgres in about 3 s; 30 s means it never will.
const START_LIMIT: Duration = Duration::from_secs(30);
/// How often a starting or stopping server is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(10);
/// Another process may take a free port before our server does; five times in a row it does not.
const START_TRIES: u32 = 5;
/// Below the range that the kernel hands to outgoing connections (32768 and up), so that nobody
/// is lent the port of a server while it is being restarted.
const FIRST_PORT: u16 = 10_000;
const PORT_COUNT: u16 = 10_000;

/// The Postgres of this run, as a role that may create databases.
pub(crate) fn postgres_url() -> String {
    required("CLEARDAY_TEST_DATABASE_URL")
}

/// The Redis of this run. Other tests use it at the same time: no `FLUSHALL` here.
pub(crate) fn redis_url() -> String {
    required("CLEARDAY_TEST_REDIS_URL")
}

fn required(variable: &str) -> String {
    required_value(variable, env::var(variable).ok())
}

fn required_value(variable: &str, value: Option<String>) -> String {
    value.filter(|value| !value.is_empty()).unwrap_or_else(|| {
        panic!("{variable} is not set: run scripts/test, which starts the servers tests need")
    })
}

/// An empty database of a test's own.
///
/// It goes when the value is dropped, also by a failing test, and whoever is still connected is
/// cut off. [`TestDatabase::close`] does the same and reports what went wrong.
#[derive(Debug)]
pub(crate) struct TestDatabase {
    url: String,
    place: DatabasePlace,
}

#[derive(Debug)]
enum DatabasePlace {
    Server { url: String, name: String },
    Folder(ScratchFolder),
    Closed,
}

impl TestDatabase {
    pub(crate) async fn postgres() -> Self {
        let server = postgres_url();
        let name = unique_name("clearday_test");
        // `template0`, because copying `template1` fails while anybody is connected to it. With the
        // order of text that people's servers have, in which `a` comes before `B`.
        administer(
            &server,
            format!(
                r#"CREATE DATABASE "{name}" TEMPLATE template0 LOCALE_PROVIDER icu ICU_LOCALE 'en-US'"#
            ),
        )
        .await
        .unwrap();
        Self {
            url: url_of_database(&server, &name),
            place: DatabasePlace::Server { url: server, name },
        }
    }

    pub(crate) fn sqlite() -> Self {
        let folder = ScratchFolder::new("sqlite");
        Self {
            url: format!("sqlite://{}", folder.path().join("clearday.db").display()),
            place: DatabasePlace::Folder(folder),
        }
    }

    /// What `[database] url` takes.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Another database with the same content; nobody may be connected to this one.
    pub(crate) async fn copy(&self) -> Self {
        match &self.place {
            DatabasePlace::Server { url, name } => {
                let copy = unique_name("clearday_test");
                let statement = format!(r#"CREATE DATABASE "{copy}" TEMPLATE "{name}""#);
                administer(url, statement).await.unwrap();
                Self {
                    url: url_of_database(url, &copy),
                    place: DatabasePlace::Server {
                        url: url.clone(),
                        name: copy,
                    },
                }
            }
            DatabasePlace::Folder(folder) => {
                let copy = Self::sqlite();
                let DatabasePlace::Folder(place) = &copy.place else {
                    return copy;
                };
                for file in fs::read_dir(folder.path()).unwrap() {
                    let file = file.unwrap();
                    fs::copy(file.path(), place.path().join(file.file_name())).unwrap();
                }
                copy
            }
            DatabasePlace::Closed => panic!("it is closed"),
        }
    }

    pub(crate) async fn close(mut self) {
        match std::mem::replace(&mut self.place, DatabasePlace::Closed) {
            DatabasePlace::Server { url, name } => drop_database(&url, &name).await.unwrap(),
            DatabasePlace::Folder(folder) => drop(folder),
            DatabasePlace::Closed => {}
        }
    }
}

impl Drop for TestDatabase {
    fn drop(&mut self) {
        let place = std::mem::replace(&mut self.place, DatabasePlace::Closed);
        if let DatabasePlace::Server { url, name } = place {
            // A thread with a runtime of its own, because the test's may be this very thread.
            let dropping = thread::spawn(move || {
                let runtime = tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .map_err(|error| error.to_string())?;
                runtime
                    .block_on(drop_database(&url, &name))
                    .map_err(|error| error.to_string())
            });
            // Best effort: the server may be gone, and a test that fails already says why.
            drop(dropping.join());
        }
    }
}

async fn drop_database(server: &str, name: &str) -> sqlx::Result<()> {
    let statement = format!(r#"DROP DATABASE IF EXISTS "{name}" WITH (FORCE)"#);
    administer(server, statement).await
}

async fn administer(server: &str, statement: String) -> sqlx::Result<()> {
    let mut connection = PgConnection::connect(server).await?;
    sqlx::raw_sql(AssertSqlSafe(statement))
        .execute(&mut connection)
        .await?;
    connection.close().await
}

/// The same server and options, another database.
fn url_of_database(server: &str, name: &str) -> String {
    let (address, options) = match server.split_once('?') {
        Some((address, options)) => (address, format!("?{options}")),
        None => (server, String::new()),
    };
    let (scheme, rest) = address.split_once("://").unwrap();
    let host = rest.split_once('/').map_or(rest, |(host, _)| host);
    format!("{scheme}://{host}/{name}{options}")
}

/// A Redis of a test's own: free to be emptied, killed and restarted.
#[derive(Debug)]
pub(crate) struct TestRedis {
    port: u16,
    process: Option<Child>,
    /// Whether what it acknowledged is still there after a kill.
    is_durable: bool,
    folder: ScratchFolder,
}

impl TestRedis {
    /// One that keeps nothing on disk.
    pub(crate) async fn start() -> Self {
        Self::start_as(false).await
    }

    /// One that writes down what it acknowledges before it does (`appendonly yes`).
    pub(crate) async fn start_durable() -> Self {
        Self::start_as(true).await
    }

    async fn start_as(is_durable: bool) -> Self {
        let folder = ScratchFolder::new("redis");
        let mut redis = Self {
            port: 0,
            process: None,
            is_durable,
            folder,
        };
        for _ in 0..START_TRIES {
            redis.port = free_port();
            if redis.try_start().await {
                return redis;
            }
        }
        panic!("redis-server did not start:\n{}", redis.folder.log());
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}/", self.port)
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Ends it at once, as a crash would. Everything in it is lost, unless it is durable.
    pub(crate) fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            // Fails only if it ended by itself.
            drop(process.kill());
            process.wait().unwrap();
        }
    }

    /// Kills it, if it still runs, and starts it empty at the same address.
    pub(crate) async fn restart_empty(&mut self) {
        self.kill();
        let kept = self.folder.path().join("appendonlydir");
        if kept.exists() {
            fs::remove_dir_all(kept).unwrap();
        }
        self.restart().await;
    }

    /// Kills it, if it still runs, and starts it at the same address with what it kept.
    pub(crate) async fn restart(&mut self) {
        self.kill();
        assert!(
            self.try_start().await,
            "redis-server did not start again on port {}:\n{}",
            self.port,
            self.folder.log()
        );
    }

    /// Starts it with what it kept, unless it runs.
    pub(crate) async fn start_again(&mut self) {
        if self.process.is_none() {
            self.restart().await;
        }
    }

    async fn try_start(&mut self) -> bool {
        let mut command = Command::new(required("CLEARDAY_TEST_REDIS_SERVER"));
        command
            .args(["--bind", "127.0.0.1", "--port", &self.port.to_string()])
            .args(["--save", "", "--appendonly"])
            .arg(if self.is_durable { "yes" } else { "no" })
            .arg("--dir")
            .arg(self.folder.path())
            // scripts/test ends by it what a killed test left behind.
            .arg("--pidfile")
            .arg(self.folder.path().join("redis.pid"));
        let process = self.process.insert(spawn(command, &self.folder));
        let (port, id) = (self.port, process.id());
        let started = wait_for_start(process, || redis_answers_as(port, id)).await;
        if !started {
            self.kill();
        }
        started
    }
}

impl Drop for TestRedis {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Asks who answers: another server may have taken the port between our look and our start.
fn redis_answers_as(port: u16, process_id: u32) -> bool {
    let answer = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, port))?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        stream.write_all(b"INFO server\r\nQUIT\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    answer().is_ok_and(|answer| answer.contains(&format!("process_id:{process_id}\r\n")))
}

/// A Postgres of a test's own, copied from the cluster that `scripts/test` initialised.
#[derive(Debug)]
pub(crate) struct TestPostgresServer {
    port: u16,
    process: Option<Child>,
    /// Postgres refuses to run as root: then the account the template belongs to.
    account: Option<(u32, u32)>,
    folder: ScratchFolder,
}

impl TestPostgresServer {
    pub(crate) async fn start() -> Self {
        let folder = ScratchFolder::new("postgres");
        let template = PathBuf::from(required("CLEARDAY_TEST_POSTGRES_TEMPLATE"));
        copy_folder(&template, &folder.path().join("data"));
        let owner = fs::metadata(&template).unwrap();
        let is_ours = owner.uid() == fs::metadata(folder.path()).unwrap().uid();
        let account = (!is_ours).then(|| (owner.uid(), owner.gid()));
        let mut server = Self {
            port: 0,
            process: None,
            account,
            folder,
        };
        for _ in 0..START_TRIES {
            server.port = free_port();
            if server.try_start().await {
                return server;
            }
        }
        panic!("postgres did not start:\n{}", server.folder.log());
    }

    /// Its database `postgres`, as a role that may do everything.
    pub(crate) fn url(&self) -> String {
        Self::url_at(self.port)
    }

    /// The same where somebody else listens for it.
    pub(crate) fn url_at(port: u16) -> String {
        format!("postgres://postgres@127.0.0.1:{port}/postgres")
    }

    pub(crate) fn port(&self) -> u16 {
        self.port
    }

    /// Ends it at once and without a checkpoint, as its own immediate shutdown does.
    pub(crate) fn stop_at_once(&mut self) {
        self.end();
    }

    /// Stops every process of it, so that nobody is answered: new connections are taken by the kernel alone.
    pub(crate) fn stall(&self) {
        self.signal_all("STOP");
    }

    /// Lets it go on where it was stopped.
    pub(crate) fn go_on(&self) {
        self.signal_all("CONT");
    }

    /// Kills one process that serves a client: Postgres ends all others and recovers.
    pub(crate) fn crash(&self) {
        let Some(process) = &self.process else { return };
        // The first ones are its own helpers; any of them makes it recover.
        if let Some(last) = children(process.id()).last() {
            signal("KILL", *last);
        }
    }

    fn signal_all(&self, name: &str) {
        let Some(process) = &self.process else { return };
        signal(name, process.id());
        for child in children(process.id()) {
            signal(name, child);
        }
    }

    /// Ends it as an administrator would: connections are cut off, what was committed stays.
    pub(crate) async fn stop(&mut self) {
        if let Some(mut process) = self.process.take() {
            signal("INT", process.id());
            while process.try_wait().unwrap().is_none() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        }
    }

    /// Stops it, if it still runs, and starts it at the same address.
    pub(crate) async fn restart(&mut self) {
        self.stop().await;
        assert!(
            self.try_start().await,
            "postgres did not start again on port {}:\n{}",
            self.port,
            self.folder.log()
        );
    }

    /// Starts it, unless it runs.
    pub(crate) async fn start_again(&mut self) {
        if self.process.is_none() {
            self.restart().await;
        }
    }

    async fn try_start(&mut self) -> bool {
        let data = self.folder.path().join("data");
        let postgres = Path::new(&required("CLEARDAY_TEST_POSTGRES_BIN")).join("postgres");
        let mut command = Command::new(postgres);
        command
            .arg("-D")
            .arg(&data)
            .args(["-p", &self.port.to_string()]);
        if let Some((user, group)) = self.account {
            command.uid(user).gid(group);
        }
        let process = self.process.insert(spawn(command, &self.folder));
        let started = wait_for_start(process, || postgres_is_ready(&data)).await;
        if !started {
            self.end();
        }
        started
    }

    /// Ends it without ceremony. Not with SIGKILL, which would leave its children running for a
    /// moment and its shared memory for ever.
    fn end(&mut self) {
        // One that is stopped hears nothing.
        self.go_on();
        if let Some(mut process) = self.process.take() {
            signal("QUIT", process.id());
            process.wait().unwrap();
        }
    }
}

impl Drop for TestPostgresServer {
    fn drop(&mut self) {
        self.end();
    }
}

/// The eighth line of a file in its own folder: no other server can write that.
fn postgres_is_ready(data: &Path) -> bool {
    fs::read_to_string(data.join("postmaster.pid")).is_ok_and(|text| {
        text.lines()
            .nth(7)
            .is_some_and(|line| line.starts_with("ready"))
    })
}

/// The standard library only knows SIGKILL; the shell knows them all.
pub(crate) fn signal(name: &str, process_id: u32) {
    // Fails only if the process ended by itself, and then waiting for it is all there is to do.
    Command::new("sh")
        .args(["-c", &format!("kill -{name} {process_id}")])
        .stderr(Stdio::null())
        .status()
        .unwrap();
}

/// The processes that this one started, the oldest first.
fn children(process_id: u32) -> Vec<u32> {
    let listed = Command::new("ps")
        .args(["-o", "pid=", "--sort=start_time", "--ppid"])
        .arg(process_id.to_string())
        .output()
        .unwrap();
    let text = String::from_utf8(listed.stdout).unwrap();
    text.split_whitespace()
        .map(|id| id.parse().unwrap())
        .collect()
}

fn spawn(mut command: Command, folder: &ScratchFolder) -> Child {
    let log = File::options()
        .create(true)
        .append(true)
        .open(folder.log_path())
        .unwrap();
    command
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        .spawn()
        .unwrap_or_else(|error| panic!("{} could not be started: {error}", command_name(&command)))
}

fn command_name(command: &Command) -> String {
    command.get_program().display().to_string()
}

/// True once the server is ready; false when it ended, as it does when its port is taken.
async fn wait_for_start(process: &mut Child, is_ready: impl Fn() -> bool) -> bool {
    // The wall's clock and not tokio's, which a test may have paused.
    let started = Instant::now();
    while started.elapsed() < START_LIMIT {
        if is_ready() {
            return true;
        }
        if process.try_wait().unwrap().is_some() {
            return false;
        }
        tokio::time::sleep(LOOK_EVERY).await;
    }
    false
}

/// A port on which nobody listens now.
pub(crate) fn free_port() -> u16 {
    loop {
        let offset = u16::try_from(random() % u64::from(PORT_COUNT)).unwrap();
        let port = FIRST_PORT + offset;
        if TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok() {
            return port;
        }
    }
}

/// With owners and permissions, which Postgres insists on.
fn copy_folder(from: &Path, to: &Path) {
    let status = Command::new("cp")
        .arg("-a")
        .arg(from)
        .arg(to)
        .status()
        .unwrap();
    assert!(status.success(), "{} could not be copied", from.display());
}

/// A folder that goes with this value.
#[derive(Debug)]
pub(crate) struct ScratchFolder(PathBuf);

impl ScratchFolder {
    pub(crate) fn new(purpose: &str) -> Self {
        let parent = env::var_os("CLEARDAY_TEST_SCRATCH").map_or_else(env::temp_dir, PathBuf::from);
        let path = parent.join(unique_name(&format!("clearday-{purpose}")));
        fs::create_dir(&path).unwrap();
        // Another account's server has its data in here.
        fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    fn log_path(&self) -> PathBuf {
        self.0.join("server.log")
    }

    fn log(&self) -> String {
        fs::read_to_string(self.log_path()).unwrap_or_default()
    }
}

impl Drop for ScratchFolder {
    fn drop(&mut self) {
        // Best effort: scripts/test removes the parent anyway.
        drop(fs::remove_dir_all(&self.0));
    }
}

fn unique_name(prefix: &str) -> String {
    format!("{prefix}_{:016x}", random())
}

/// Random enough for names and ports: the standard library seeds each hasher anew.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

#[test]
#[should_panic(expected = "run scripts/test")]
fn missing_variable_says_what_to_run() {
    required_value("CLEARDAY_TEST_DATABASE_URL", None);
}

#[test]
fn url_of_another_database_keeps_host_and_options() {
    let other = |url| url_of_database(url, "other");
    assert_eq!(
        other("postgres://u:p@h:1/postgres"),
        "postgres://u:p@h:1/other"
    );
    assert_eq!(other("postgres://u@h"), "postgres://u@h/other");
    assert_eq!(
        other("postgres://h/postgres?sslmode=disable&options=-c%20a%3D/b"),
        "postgres://h/other?sslmode=disable&options=-c%20a%3D/b"
    );
}

/// A connection that waits for a server which gets no time to run.
pub(crate) async fn to_redis(url: &str) -> redis::RedisResult<redis::aio::MultiplexedConnection> {
    const PATIENCE: Duration = Duration::from_secs(20);
    let patient = redis::AsyncConnectionConfig::new()
        .set_connection_timeout(Some(PATIENCE))
        .set_response_timeout(Some(PATIENCE));
    let client = redis::Client::open(url)?;
    client
        .get_multiplexed_async_connection_with_config(&patient)
        .await
}

#[tokio::test]
async fn postgres_databases_are_apart_and_gone_afterwards() {
    let (first, second) = (
        TestDatabase::postgres().await,
        TestDatabase::postgres().await,
    );
    execute(first.url(), "CREATE TABLE item (id INT)")
        .await
        .unwrap();
    let missing = execute(second.url(), "SELECT * FROM item").await;
    assert!(missing.unwrap_err().to_string().contains("does not exist"));

    let urls = [first.url().to_owned(), second.url().to_owned()];
    let _still_connected = PgConnection::connect(first.url()).await.unwrap();
    first.close().await;
    drop(second);
    for url in urls {
        let gone = PgConnection::connect(&url).await;
        assert!(gone.unwrap_err().to_string().contains("does not exist"));
    }
}

#[test]
fn sqlite_database_goes_with_its_folder() {
    let database = TestDatabase::sqlite();
    let path = PathBuf::from(database.url().strip_prefix("sqlite://").unwrap());
    fs::write(&path, "").unwrap();
    drop(database);
    assert!(!path.parent().unwrap().exists());
}

#[tokio::test]
async fn redis_of_the_run_answers() {
    assert_eq!(
        ask_redis(&redis_url(), &["ECHO", "here"]).await.unwrap(),
        "here"
    );
}

#[tokio::test]
async fn redis_restarts_empty_at_the_same_address() {
    let mut redis = TestRedis::start().await;
    let url = redis.url();
    ask_redis(&url, &["SET", "key", "value"]).await.unwrap();
    redis.kill();
    ask_redis(&url, &["PING"]).await.unwrap_err();

    redis.restart_empty().await;
    assert_eq!(ask_redis(&url, &["PING"]).await.unwrap(), "PONG");
    assert_eq!(ask_redis(&url, &["EXISTS", "key"]).await.unwrap(), "0");

    drop(redis);
    ask_redis(&url, &["PING"]).await.unwrap_err();
}

#[tokio::test]
async fn postgres_server_keeps_what_was_committed_over_a_restart() {
    let mut server = TestPostgresServer::start().await;
    let url = server.url();
    execute(&url, "CREATE TABLE item (id INT)").await.unwrap();
    server.stop().await;
    execute(&url, "SELECT 1").await.unwrap_err();

    server.restart().await;
    execute(&url, "INSERT INTO item VALUES (1)").await.unwrap();

    let folder = server.folder.path().to_owned();
    drop(server);
    execute(&url, "SELECT 1").await.unwrap_err();
    assert!(!folder.exists());
}

async fn execute(url: &str, statement: &'static str) -> sqlx::Result<()> {
    let mut connection = PgConnection::connect(url).await?;
    sqlx::raw_sql(statement).execute(&mut connection).await?;
    connection.close().await
}

async fn ask_redis(url: &str, words: &[&str]) -> redis::RedisResult<String> {
    let mut connection = to_redis(url).await?;
    let mut command = redis::Cmd::new();
    for word in words {
        command.arg(*word);
    }
    command.query_async(&mut connection).await
}
