//! `clearday serve` as a process that can be killed, stopped and started again.
#![cfg(test)]

use std::env;
use std::fs::{File, read_to_string};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use chrono::{DateTime, Utc};
use clearday::clock::Clock;

use crate::support::servers::signal;

/// Where one daemon after the other runs, at one address and with one configuration.
pub(crate) struct Seat {
    port: u16,
    config: PathBuf,
    log: PathBuf,
    process: Option<Child>,
    is_stopped: bool,
    /// Who was killed here, and when.
    pub(crate) killed: Vec<Killed>,
}

/// A daemon that was killed.
#[derive(Clone, Debug)]
pub(crate) struct Killed {
    /// What the name under which it leased begins with.
    pub(crate) worker: String,
    pub(crate) at: DateTime<Utc>,
}

impl Seat {
    /// A seat in `folder`, with this configuration; nobody sits there yet.
    pub(crate) fn new(folder: &Path, number: usize, port: u16, config: &str) -> Self {
        let path = folder.join(format!("daemon-{number}.toml"));
        std::fs::write(&path, config).unwrap();
        Self {
            port,
            config: path,
            log: folder.join(format!("daemon-{number}.log")),
            process: None,
            is_stopped: false,
            killed: Vec::new(),
        }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    pub(crate) const fn port(&self) -> u16 {
        self.port
    }

    /// Starts a daemon, unless one is there. It answers a moment later.
    pub(crate) fn start(&mut self) {
        if self.process.is_some() {
            return;
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(&self.log)
            .unwrap();
        let process = self
            .command()
            .arg("serve")
            .stdin(Stdio::null())
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap();
        self.process = Some(process);
    }

    /// The binary with this seat's configuration.
    pub(crate) fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_clearday"));
        command.arg("--config").arg(&self.config);
        // What scripts/chaos tells the test is no setting.
        for (name, _) in env::vars_os() {
            if name.to_string_lossy().starts_with("CLEARDAY_CHAOS_") {
                command.env_remove(name);
            }
        }
        command
    }

    /// SIGKILL, also where it is stopped.
    pub(crate) fn kill(&mut self) {
        let Some(mut process) = self.process.take() else {
            return;
        };
        self.is_stopped = false;
        self.killed.push(Killed {
            worker: format!("{}-", process.id()),
            at: Clock::system().now(),
        });
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// SIGSTOP: it neither dies nor lives.
    pub(crate) fn stop(&mut self) {
        if let Some(process) = &self.process {
            signal("STOP", process.id());
            self.is_stopped = true;
        }
    }

    /// SIGCONT.
    pub(crate) fn go_on(&mut self) {
        if let Some(process) = self.process.as_ref().filter(|_| self.is_stopped) {
            signal("CONT", process.id());
        }
        self.is_stopped = false;
    }

    /// SIGTERM, and whether it ended well.
    pub(crate) async fn end(&mut self) -> bool {
        self.go_on();
        let Some(mut process) = self.process.take() else {
            return true;
        };
        signal("TERM", process.id());
        let ended = tokio::task::spawn_blocking(move || process.wait()).await;
        ended.unwrap().unwrap().success()
    }

    /// Whether it ended by itself, which no fault may make it do. Then nobody sits there any more.
    pub(crate) fn has_died(&mut self) -> bool {
        let process = self.process.as_mut();
        let has_died = process.is_some_and(|process| process.try_wait().unwrap().is_some());
        if has_died {
            self.process = None;
        }
        has_died
    }

    /// What all daemons of this seat said.
    pub(crate) fn log(&self) -> String {
        read_to_string(&self.log).unwrap_or_default()
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        if let Some(process) = &mut self.process {
            drop(process.kill());
            drop(process.wait());
        }
    }
}
