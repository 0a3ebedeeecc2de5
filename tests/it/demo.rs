//! The first hour of a stranger, with the real binary: the demo, a port that is taken, a data
//! folder that is in use.
#![cfg(test)]

use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use crate::support::servers::ScratchFolder;

fn clearday() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_clearday"));
    command.stdin(Stdio::null());
    command
}

fn demo(data: &Path) -> Output {
    clearday()
        .arg("demo")
        .arg("--once")
        .arg("--data")
        .arg(data)
        .output()
        .unwrap()
}

fn said(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// A process that is killed with its test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        drop(self.0.kill());
        drop(self.0.wait());
    }
}

#[test]
fn the_demo_tells_what_happened_and_a_second_run_changes_nothing() {
    let folder = ScratchFolder::new("demo");
    let first = demo(folder.path());
    assert!(first.status.success(), "{}", said(&first.stderr));
    let table = said(&first.stdout);
    for line in [
        "order_expiry                8     6        2     0",
        "reconciliation              1     1        0     0",
        "close:sandbox:CD-PAY-5:1 succeeded: closed by the answer to a query",
        "close:sandbox:CD-PAY-1:1 succeeded: confirmed by the channel",
        "the order was paid",
        "order CD-ORDER-6 is in review, which stops the clock",
        "8 breaks found",
    ] {
        assert!(table.contains(line), "{line:?} is missing in\n{table}");
    }
    let second = demo(folder.path());
    assert!(second.status.success(), "{}", said(&second.stderr));
    assert_eq!(said(&second.stdout), table);
}

#[test]
fn a_port_in_use_is_named_and_nothing_is_started() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port();
    let folder = ScratchFolder::new("port");
    let output = clearday()
        .arg("serve")
        .env(
            "CLEARDAY_DATABASE__URL",
            format!("sqlite://{}", folder.path().join("c.db").display()),
        )
        .env("CLEARDAY_HTTP__LISTEN", format!("127.0.0.1:{port}"))
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(3));
    let words = said(&output.stderr);
    let expected = format!("clearday: cannot listen on 127.0.0.1:{port} ([http] listen): ");
    assert!(words.starts_with(&expected), "{words}");
}

#[test]
fn a_second_daemon_in_one_data_folder_is_refused_and_the_lock_named() {
    let folder = ScratchFolder::new("lock");
    let mut first = Running(
        clearday()
            .args(["demo", "--data"])
            .arg(folder.path())
            .env("CLEARDAY_HTTP__LISTEN", "127.0.0.1:0")
            .stdout(Stdio::piped())
            .spawn()
            .unwrap(),
    );
    let mut lines = BufReader::new(first.0.stdout.take().unwrap()).lines();
    let page = lines.find(|line| line.as_ref().unwrap().starts_with("The page is at http://"));
    assert!(page.is_some());
    let second = demo(folder.path());
    assert_eq!(second.status.code(), Some(3));
    let lock = folder.path().join("clearday.lock");
    let words = said(&second.stderr);
    assert!(words.contains(&lock.display().to_string()), "{words}");
}

#[test]
fn a_misspelt_setting_is_named_with_its_neighbour() {
    let folder = ScratchFolder::new("settings");
    let file = folder.path().join("clearday.toml");
    std::fs::write(
        &file,
        "[http]\nlisten = \"127.0.0.1:0\"\n[databse]\nurl = \"sqlite://x\"\n",
    )
    .unwrap();
    let mut serve = clearday()
        .arg("--config")
        .arg(&file)
        .arg("serve")
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    assert_eq!(serve.wait().unwrap().code(), Some(2));
    let mut words = String::new();
    serve
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut words)
        .unwrap();
    assert!(
        words.contains("databse") && words.contains("database"),
        "{words}"
    );
}
