//! The embedded mode on a disk that is full: nothing that was acknowledged is lost, the daemon stays up, and goes on
//! when there is room again.
//!
//! The disk is a small tmpfs in a mount namespace of the daemon's own. Where none can be made, the size of its files
//! is limited instead, which SQLite meets as a failed write and not as a full disk; the test says so.
#![cfg(test)]

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use clearday::domain::job::JobState;
use clearday::store::{Store, jobs};
use clearday::verify::verify;
use clearday_jobs::JobKind;

use super::check::wait_until;
use super::report::tell;
use crate::support::servers::{ScratchFolder, free_port, signal};

/// With a fresh database on it a few MiB are free, of which the ballast takes most.
const DISK_BYTES: u64 = 8 << 20;
/// What is left when the ballast is on board: some dozens of jobs.
const ROOM_BYTES: u64 = 256 << 10;
/// The same for the size of a file, in blocks of 512 bytes.
const FILE_BLOCKS: u64 = 900;
/// More than fit.
const TRIES_MAX: usize = 3_000;
/// After the first one that was refused.
const TRIES_WHEN_FULL: usize = 20;

enum Disk {
    Small,
    /// Its files may not grow.
    LimitedFiles,
}

struct Daemon {
    process: Child,
    url: String,
    data: PathBuf,
    disk: Disk,
    http: reqwest::Client,
    _folder: ScratchFolder,
}

impl Daemon {
    async fn start() -> Self {
        let folder = ScratchFolder::new("full-disk");
        let data = folder.path().join("data");
        fs::create_dir(&data).unwrap();
        let port = free_port();
        let config = folder.path().join("clearday.toml");
        let text = format!(
            "[database]\nurl = \"sqlite://{}/clearday.db\"\n[http]\nlisten = \"127.0.0.1:{port}\"\n\
             [jobs]\nlocks_directory = \"{}\"\n",
            data.display(),
            folder.path().join("locks").display(),
        );
        fs::write(&config, text).unwrap();
        let disk = if can_mount() {
            Disk::Small
        } else {
            tell(
                "no mount namespace can be made here: file sizes are limited instead of a full disk",
            );
            Disk::LimitedFiles
        };
        let mut command = match disk {
            Disk::Small => {
                let mut command = Command::new("unshare");
                let mount = format!("mount -t tmpfs -o size={DISK_BYTES} tmpfs \"$0\"");
                let script = format!("{mount} && \"$@\" migrate && exec \"$@\" serve");
                command.args(["--map-root-user", "--mount", "sh", "-c", &script]);
                command
            }
            Disk::LimitedFiles => {
                let mut command = Command::new("sh");
                let limit = format!("trap '' XFSZ; ulimit -Sf {FILE_BLOCKS}");
                let script = format!("\"$@\" migrate && {limit} && exec \"$@\" serve");
                command.args(["-c", &script]);
                command
            }
        };
        let process = command
            .arg(&data)
            .arg(env!("CARGO_BIN_EXE_clearday"))
            .arg("--config")
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        clearday::connectors::install_tls_provider();
        let daemon = Self {
            process,
            url: format!("http://127.0.0.1:{port}"),
            data,
            disk,
            http: reqwest::Client::builder()
                .timeout(Duration::from_secs(20))
                .build()
                .unwrap(),
            _folder: folder,
        };
        assert!(wait_until(async || daemon.status("/readyz").await == 200).await);
        daemon
    }

    /// Its folder, as it sees it.
    fn seen(&self) -> PathBuf {
        match self.disk {
            Disk::Small => {
                let root = PathBuf::from(format!("/proc/{}/root", self.process.id()));
                root.join(self.data.strip_prefix("/").unwrap())
            }
            Disk::LimitedFiles => self.data.clone(),
        }
    }

    async fn status(&self, path: &str) -> u16 {
        let answer = self.http.get(format!("{}{path}", self.url)).send().await;
        answer.map_or(0, |answer| answer.status().as_u16())
    }

    async fn post(&self, number: usize) -> u16 {
        let answer = self
            .http
            .post(format!("{}/v1/jobs/settlement_run", self.url))
            .header("Idempotency-Key", key(number))
            .header("Content-Type", "application/json")
            .body(r#"{"version":1,"through":"2026-03-01"}"#);
        answer
            .send()
            .await
            .map_or(0, |answer| answer.status().as_u16())
    }

    fn fill(&self) {
        if let Disk::Small = self.disk {
            let used: u64 = fs::read_dir(self.seen())
                .unwrap()
                .map(|entry| entry.unwrap().metadata().unwrap().len())
                .sum();
            let ballast = vec![1_u8; usize::try_from(DISK_BYTES - used - ROOM_BYTES).unwrap()];
            fs::write(self.seen().join("ballast"), ballast).unwrap();
        }
    }

    fn make_room(&self) {
        match self.disk {
            Disk::Small => fs::remove_file(self.seen().join("ballast")).unwrap(),
            Disk::LimitedFiles => {
                let raised = Command::new("prlimit")
                    .args(["--fsize=unlimited:unlimited", "--pid"])
                    .arg(self.process.id().to_string())
                    .status();
                assert!(raised.unwrap().success());
            }
        }
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

fn can_mount() -> bool {
    let tried = Command::new("unshare")
        .args(["--map-root-user", "--mount", "sh", "-c"])
        .arg("mount -t tmpfs tmpfs /tmp")
        .stderr(Stdio::null())
        .status();
    tried.is_ok_and(|status| status.success())
}

fn key(number: usize) -> String {
    format!("settle {number}")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn chaos_a_full_disk_refuses_what_it_cannot_keep_and_loses_nothing_that_it_took() {
    let mut daemon = Daemon::start().await;
    daemon.fill();
    let (mut acknowledged, mut refused) = (Vec::new(), Vec::new());
    for number in 0..TRIES_MAX {
        match daemon.post(number).await {
            202 => acknowledged.push(number),
            status => {
                assert!(status >= 500, "{status}");
                refused.push(number);
            }
        }
        if refused.len() > TRIES_WHEN_FULL {
            break;
        }
    }
    assert!(!refused.is_empty(), "the disk was never full");
    assert_eq!(daemon.status("/healthz").await, 200);
    tell(&format!(
        "SQLite on a full disk: {} jobs acknowledged, {} refused",
        acknowledged.len(),
        refused.len()
    ));

    daemon.make_room();
    for number in &refused {
        let is_taken = async || matches!(daemon.post(*number).await, 200 | 202);
        assert!(wait_until(is_taken).await);
    }
    let store = Store::open_file(&daemon.seen().join("clearday.db"))
        .await
        .unwrap();
    for number in acknowledged.iter().chain(&refused) {
        let is_done = async || {
            let mut tx = store.read().await.unwrap();
            let wanted = key(*number);
            let found = jobs::find_by_keys(&mut tx, &[(JobKind::SettlementRun, &wanted)]).await;
            let job = found.unwrap().into_iter().next().expect("it is there");
            job.state == JobState::Done
        };
        assert!(wait_until(is_done).await, "{}", key(*number));
    }
    let report = verify(&store).await.unwrap();
    assert!(report.ok, "{:#?}", report.checks);
    store.close().await;
    signal("TERM", daemon.process.id());
    let ended = daemon.process.wait().unwrap();
    assert!(ended.success());
}
