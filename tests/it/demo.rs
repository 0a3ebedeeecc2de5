//! The first hour of a stranger, with the real binary: the demo, a port that is taken, a data
//! folder that is in use.
#![cfg(test)]

use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use clearday::domain::order::OrderState;
use clearday::store::{Store, orders};
use serde_json::Value;

use crate::support::raw_http;
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

/// A demo that serves its pages: what it told before, and where they are.
struct Demo {
    told: String,
    address: SocketAddr,
    // Last, so that everybody who asks it is gone first.
    _running: Running,
}

impl Demo {
    fn start(data: &Path) -> Self {
        let mut running = Running(
            clearday()
                .args(["demo", "--data"])
                .arg(data)
                .env("CLEARDAY_HTTP__LISTEN", "127.0.0.1:0")
                .stdout(Stdio::piped())
                .spawn()
                .unwrap(),
        );
        let mut told = String::new();
        for line in BufReader::new(running.0.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            if let Some(rest) = line.strip_prefix("The page is at http://") {
                let (address, _) = rest.split_once(' ').unwrap();
                return Self {
                    told,
                    address: address.parse().unwrap(),
                    _running: running,
                };
            }
            told.push_str(&line);
            told.push('\n');
        }
        panic!("the demo ended without a page:\n{told}");
    }

    async fn page(&self, path: &str) -> String {
        body_of(self.address, path).await
    }

    async fn json(&self, path: &str) -> Value {
        serde_json::from_str(&self.page(path).await).unwrap()
    }

    /// The jobs of a kind with all that happened to them, the newest first.
    async fn jobs(&self, kind: &str) -> Vec<Value> {
        let listed = self.json(&format!("/v1/jobs?kind={kind}")).await;
        let mut jobs = Vec::new();
        for job in list(&listed["jobs"]) {
            jobs.push(
                self.json(&format!("/v1/jobs/{}", text(&job["job_id"])))
                    .await,
            );
        }
        jobs
    }
}

async fn body_of(address: SocketAddr, path: &str) -> String {
    let (status, body) = raw_http::ask(address, "GET", path, "").await;
    assert_eq!(status, 200, "{path}: {body}");
    body
}

fn list(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

#[tokio::test]
async fn the_demo_shows_every_job_and_every_state_of_a_settlement() {
    let folder = ScratchFolder::new("shown");
    let demo = Demo::start(folder.path());
    authorized_later(&demo).await;
    expired_and_proved(&demo, folder.path()).await;
    told_on_every_way(&demo).await;
    breaks_are_listed(&demo).await;
    four_states(&demo).await;
    books_agree(&demo, folder.path());
}

/// Accepted while the channel was down, authorized later, and upstream was told.
async fn authorized_later(demo: &Demo) {
    let jobs = demo.jobs("deferred_authorization").await;
    let [job] = jobs.as_slice() else {
        panic!("{jobs:#?}");
    };
    let was_down = |entry: &&Value| {
        entry["event"] == "snoozed"
            && text(&entry["reason"]).starts_with("channel sandbox is unavailable")
    };
    assert!(list(&job["timeline"]).iter().any(|entry| was_down(&entry)));
    assert_eq!(
        job["note"],
        "authorized; telling upstream: webhook delivered"
    );
    assert_eq!(job["answer"]["successful"], "Y");
    assert_eq!(job["answer"]["authorizations"][0]["state"], "authorized");
    assert_eq!(job["answer"]["authorizations"][0]["amount"], "199.00");
}

/// One order expired after its close was confirmed, another after a query proved it, a third was paid.
async fn expired_and_proved(demo: &Demo, data: &Path) {
    let jobs = demo.jobs("order_expiry").await;
    let call = |key: &str| {
        let calls = jobs.iter().flat_map(|job| list(&job["operations"]));
        let mut found = calls.filter(|call| call["idempotency_key"] == key);
        let call = found.next().unwrap();
        format!("{} {}", text(&call["state"]), text(&call["detail"]))
    };
    assert_eq!(
        call("close:sandbox:CD-PAY-1:1"),
        "succeeded confirmed by the channel"
    );
    assert_eq!(
        call("close:sandbox:CD-PAY-5:1"),
        "succeeded closed by the answer to a query"
    );
    let store = Store::open_file(&data.join("clearday.db")).await.unwrap();
    let mut tx = store.read().await.unwrap();
    for (order_no, state) in [
        ("CD-ORDER-1", OrderState::Expired),
        ("CD-ORDER-2", OrderState::Paid),
        ("CD-ORDER-5", OrderState::Expired),
        ("CD-ORDER-6", OrderState::InReview),
        ("CD-ORDER-9", OrderState::Open),
    ] {
        let order = orders::find(&mut tx, &order_no.parse().unwrap()).await;
        assert_eq!(order.unwrap().unwrap().state, state, "{order_no}");
    }
    drop(tx);
    store.close().await;
}

/// One SMS, one e-mail, one webhook; the gateway of the mailroom has the SMS.
async fn told_on_every_way(demo: &Demo) {
    let jobs = demo.jobs("partner_notification").await;
    let notices: Vec<&Value> = jobs.iter().flat_map(|job| list(&job["notices"])).collect();
    let told: Vec<String> = notices
        .iter()
        .map(|it| {
            format!(
                "{} {} {}",
                text(&it["channel"]),
                text(&it["state"]),
                it["attempts"]
            )
        })
        .collect();
    assert_eq!(told, ["sms sent 1", "email sent 1", "webhook delivered 1"]);
    let mailroom = text(&notices[2]["target"])
        .trim_start_matches("http://")
        .trim_end_matches("/…");
    let path = format!("/v1/messages/{}", text(&notices[0]["notice_id"]));
    let status = body_of(mailroom.parse().unwrap(), &path).await;
    assert!(status.contains("\"delivered\""), "{status}");
}

async fn breaks_are_listed(demo: &Demo) {
    let overview = demo.page("/?refresh=off").await;
    for link in [
        "<a href=\"/breaks\">8 open breaks</a>",
        "<a href=\"/approvals?state=requested\">3 to approve</a>",
        "<a href=\"/settlements\"",
    ] {
        assert!(overview.contains(link), "{link} is missing in {overview}");
    }
    let page = demo.page("/breaks").await;
    assert_eq!(page.matches("<td class=\"head\">").count(), 8);
    for words in [
        "金额不符 <code>amount_mismatch</code>",
        "对方缺失 <code>missing_theirs</code>",
        "我方重复 <code>duplicate_ours</code>",
        "-64.00 CNY 短款 short",
        "39.90 CNY 长款 long",
    ] {
        assert!(page.contains(words), "{words} is missing in {page}");
    }
}

/// Of every settlement: merchant, public state, reason, expected day; and the same on its page, in both languages.
async fn four_states(demo: &Demo) {
    let listed = demo.json("/v1/settlements").await;
    let mut told: Vec<String> = Vec::new();
    let overview = demo.page("/settlements").await;
    for settlement in list(&listed["settlements"]) {
        let progress = &settlement["progress"];
        told.push(format!(
            "{} {} {} {} due {}",
            text(&settlement["merchant_id"]),
            text(&progress["state_zh"]),
            text(&progress["state"]),
            text(&progress["reason"]),
            text(&settlement["due_on"]),
        ));
        let id = text(&settlement["settlement_id"]);
        let detail = demo.page(&format!("/settlements/{id}")).await;
        for page in [&overview, &detail] {
            for name in ["state", "state_zh", "reason_zh"] {
                assert!(page.contains(text(&progress[name])), "{progress} in {page}");
            }
            let reason = text(&progress["reason_en"]).replace('\'', "&#39;");
            assert!(page.contains(&reason), "{reason} in {page}");
            assert!(page.contains(text(&settlement["due_on"])));
            let expected_on = progress["expected_on"].as_str().unwrap_or_default();
            assert!(page.contains(expected_on));
        }
    }
    told.sort();
    assert_eq!(
        told,
        [
            "shop-hangzhou 付款已提交 submitted on_statement due 2026-03-03",
            "shop-ningbo 未到付款日 not_due approval_before_due_date due 2026-03-05",
            "shop-suzhou 等待付款 awaiting_payment approval_overdue due 2026-03-03",
            "shop-wenzhou 付款失败 failed rejected_by_bank due 2026-03-03",
        ]
    );
    bank_lost_its_answer(demo, list(&listed["settlements"])).await;
    one_of_two_signed(demo).await;
}

/// An unknown outcome that a query resolved, and the statement proved.
async fn bank_lost_its_answer(demo: &Demo, settlements: &[Value]) {
    let of_merchant = |it: &&Value| it["merchant_id"] == "shop-hangzhou";
    let paid = settlements.iter().find(of_merchant).unwrap();
    let path = format!("/v1/settlements/{}", text(&paid["settlement_id"]));
    let detail = demo.json(&path).await;
    let states: Vec<&str> = list(&detail["timeline"])
        .iter()
        .filter(|entry| entry["part_no"] == 1)
        .map(|entry| text(&entry["state"]))
        .collect();
    assert_eq!(states, ["sent", "unknown", "accepted", "confirmed"]);
}

async fn one_of_two_signed(demo: &Demo) {
    let listed = demo.json("/v1/approvals?state=requested").await;
    let mut waiting: Vec<String> = list(&listed["approvals"])
        .iter()
        .map(|it| {
            let maker = it["maker"]["person"].as_str().unwrap_or("nobody");
            let (action, merchant) = (text(&it["action"]), text(&it["merchant_id"]));
            format!("{action} {merchant} {maker}")
        })
        .collect();
    waiting.sort();
    assert_eq!(
        waiting,
        [
            "payout shop-ningbo nobody",
            "payout shop-suzhou li",
            "release shop-wenzhou nobody",
        ]
    );
}

/// The demo says so itself, and so does whoever asks its database.
fn books_agree(demo: &Demo, data: &Path) {
    assert!(
        demo.told.contains("7. verify 核对账目: ok\n"),
        "{}",
        demo.told
    );
    let output = clearday()
        .args(["verify", "--format", "json"])
        .env(
            "CLEARDAY_DATABASE__URL",
            format!("sqlite://{}", data.join("clearday.db").display()),
        )
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", said(&output.stderr));
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["ok"], true, "{report:#}");
}

#[test]
fn the_demo_tells_what_happened_and_a_second_run_changes_nothing() {
    let folder = ScratchFolder::new("demo");
    let first = demo(folder.path());
    assert!(first.status.success(), "{}", said(&first.stderr));
    let story = said(&first.stdout);
    for line in [
        "deferred_authorization      1     1        0     0",
        "order_expiry               10     6        4     0",
        "settlement_run              5     2        3     0",
        "partner_notification        1     1        0     0",
        "reconciliation              2     2        0     0",
        "channel sandbox is unavailable",
        "authorized; telling upstream: webhook delivered",
        "close:sandbox:CD-PAY-5:1 succeeded: closed by the answer to a query",
        "close:sandbox:CD-PAY-1:1 succeeded: confirmed by the channel",
        "the order was paid",
        "order CD-ORDER-6 is in review, which stops the clock",
        "sms sent to +86138****0000",
        "8 breaks found",
        "withheld 6 (payment CD20260302003: it is in an open break (amount_mismatch)",
        "was lost; the bank is asked",
        "未到付款日 not_due",
        "等待付款 awaiting_payment",
        "付款已提交 submitted",
        "付款失败 failed",
        "waits for one person who may approve, other than li",
        "7. verify 核对账目: ok",
    ] {
        assert!(story.contains(line), "{line:?} is missing in\n{story}");
    }
    let second = demo(folder.path());
    assert!(second.status.success(), "{}", said(&second.stderr));
    assert_eq!(said(&second.stdout), story);
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
    let _first = Demo::start(folder.path());
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
