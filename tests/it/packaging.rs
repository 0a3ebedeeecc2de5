//! What whoever runs the binary relies on: systemd is told how it is, images can ask it, and both wait long enough.
#![cfg(test)]

use std::fs;
use std::os::unix::net::UnixDatagram;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clearday::config::Settings;

use crate::support::servers::{ScratchFolder, TestDatabase};

/// A test that waits longer than this has failed.
const PATIENCE: Duration = Duration::from_secs(30);
/// What the contract allows between SIGTERM and the end.
const STOP_MAX: Duration = Duration::from_secs(25);
/// What a daemon may take after `jobs.shutdown_seconds` for handing back and for letting go.
const LETTING_GO_SECONDS: u64 = 20;

/// The binary over an embedded database, with a supervisor's socket beside it.
struct Supervised {
    database: TestDatabase,
    folder: ScratchFolder,
    socket: UnixDatagram,
}

impl Supervised {
    fn new() -> Self {
        let folder = ScratchFolder::new("notify");
        let socket = UnixDatagram::bind(folder.path().join("s")).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            database: TestDatabase::sqlite(),
            folder,
            socket,
        }
    }

    fn clearday(&self, verb: &str, listen: &str) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_clearday"));
        command
            .arg(verb)
            .env("CLEARDAY_DATABASE__URL", self.database.url())
            .env("CLEARDAY_HTTP__LISTEN", listen)
            .env("NOTIFY_SOCKET", self.folder.path().join("s"))
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command
    }

    /// The next message with this line, and what else stands in it.
    fn told(&self, line: &str) -> String {
        let started = Instant::now();
        let mut buffer = [0; 1_024];
        while started.elapsed() < PATIENCE {
            let length = self.socket.recv(&mut buffer).unwrap();
            let message = std::str::from_utf8(&buffer[..length]).unwrap();
            if message.lines().any(|told| told == line) {
                return message.to_owned();
            }
        }
        panic!("nobody said {line}");
    }
}

fn exit_code(mut command: Command) -> Option<i32> {
    command.status().unwrap().code()
}

fn terminate(process: &Child) {
    let pid = process.id().to_string();
    let sent = Command::new("kill").args(["-TERM", &pid]).status();
    assert!(sent.unwrap().success());
}

#[test]
fn a_supervisor_is_told_when_the_daemon_is_ready_alive_and_stopping() {
    let supervised = Supervised::new();
    assert_eq!(
        exit_code(supervised.clearday("migrate", "127.0.0.1:0")),
        Some(0)
    );
    let mut process = supervised
        .clearday("serve", "127.0.0.1:0")
        .env("WATCHDOG_USEC", "400000")
        .spawn()
        .unwrap();
    let ready = supervised.told("READY=1");
    let (_, address) = ready.split_once("STATUS=Serves http://").unwrap();
    let address = address.trim().to_owned();
    supervised.told("WATCHDOG=1");
    supervised.told("WATCHDOG=1");
    assert_eq!(
        exit_code(supervised.clearday("healthcheck", &address)),
        Some(0)
    );

    let stopping = Instant::now();
    terminate(&process);
    supervised.told("STOPPING=1");
    assert!(process.wait().unwrap().success());
    assert!(stopping.elapsed() < STOP_MAX);
    assert_eq!(
        exit_code(supervised.clearday("healthcheck", &address)),
        Some(1)
    );
}

#[test]
fn a_daemon_without_its_schema_never_says_that_it_is_ready() {
    let supervised = Supervised::new();
    let refused = exit_code(supervised.clearday("serve", "127.0.0.1:0"));
    assert_eq!(refused, Some(3));
    supervised.socket.set_nonblocking(true).unwrap();
    assert!(supervised.socket.recv(&mut [0; 1]).is_err());
}

#[test]
fn a_socket_that_nobody_reads_keeps_no_daemon_from_running() {
    let supervised = Supervised::new();
    exit_code(supervised.clearday("migrate", "127.0.0.1:0"));
    let mut process = supervised
        .clearday("serve", "127.0.0.1:0")
        .env("NOTIFY_SOCKET", "/nobody/listens/here")
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    let mut stdout = std::io::BufReader::new(process.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut stdout, &mut line).unwrap();
    assert!(line.starts_with("clearday serves http://"), "{line}");
    terminate(&process);
    assert!(process.wait().unwrap().success());
}

fn file(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap()
}

/// The value of a setting of a unit.
fn value<'a>(unit: &'a str, name: &str) -> &'a str {
    let mut values = unit
        .lines()
        .filter_map(|line| line.strip_prefix(name)?.strip_prefix('='));
    values.next().unwrap()
}

#[test]
fn the_unit_waits_longer_than_a_daemon_takes_to_stop() {
    let unit = file("packaging/clearday.service");
    let shutdown = Settings::load(None, []).unwrap().jobs.shutdown.as_secs();
    let patience: u64 = value(&unit, "TimeoutStopSec").parse().unwrap();
    assert!(patience > shutdown + LETTING_GO_SECONDS);
    let watchdog: u64 = value(&unit, "WatchdogSec").parse().unwrap();
    assert!(watchdog > shutdown + LETTING_GO_SECONDS);
    assert_eq!(value(&unit, "Type"), "notify");
    assert_eq!(value(&unit, "RestartPreventExitStatus"), "2");
}

#[test]
fn the_image_is_built_by_our_toolchain_and_settings_that_are_read() {
    let (image, toolchain) = (file("Dockerfile"), file("rust-toolchain.toml"));
    let version = image
        .lines()
        .find_map(|line| line.strip_prefix("ARG RUST_VERSION="))
        .unwrap();
    assert!(toolchain.contains(&format!("channel = \"{version}\"")));
    assert!(image.contains("USER 65532:65532"));
    let container = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/container.toml");
    let settings = Settings::load(Some(&container), []).unwrap();
    assert!(
        settings
            .statements
            .directory
            .starts_with("/var/lib/clearday")
    );
    assert!(
        settings
            .database_url()
            .unwrap()
            .reveal()
            .starts_with("sqlite:///var/lib/clearday/")
    );
}
