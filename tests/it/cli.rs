//! What the command line promises to people and scripts.
#![cfg(test)]

use std::process::{Command, Stdio};

use chrono::TimeDelta;
use clearday::cli::exit::Exit;
use clearday_jobs::JobKind;
use serde_json::{Value, json};

use crate::support::command_line::{CommandLine, Ran};
use crate::support::servers::{ScratchFolder, TestDatabase};

const PAYLOAD: &str = r#"{"version":1,"order_no":"A1","expires_at":"2026-03-02T12:00:00Z"}"#;

async fn enqueue(line: &CommandLine, key: &str, payload: &str) -> Ran {
    let file = line.file("payload.json", payload);
    line.run(&format!(
        "enqueue order_expiry --key {key} --payload {file}"
    ))
    .await
}

fn without_ids(mut value: Value) -> Value {
    for job in value["jobs"].as_array_mut().into_iter().flatten() {
        job.as_object_mut().unwrap().remove("job_id");
    }
    value
}

#[tokio::test]
async fn a_job_is_enqueued_once_under_its_key() {
    let database = TestDatabase::sqlite();
    let line = CommandLine::on(&database).await;
    let first = enqueue(&line, "k", PAYLOAD).await.json();
    assert_eq!(first["state"], "ready");

    let spaced = PAYLOAD.replace("\":", "\" : ");
    let again = line
        .run_with("enqueue order_expiry --key k --payload -", &spaced)
        .await;
    assert_eq!(again.json(), first);

    let other = enqueue(&line, "k", &PAYLOAD.replace("A1", "A2")).await;
    let id = first["job_id"].as_str().unwrap();
    assert_eq!(
        other.refused(),
        format!(
            "clearday: the idempotency key is taken by job {id} with another payload: use a new key for new work"
        )
    );
    let listed = line.run("jobs list --format json").await.json();
    assert_eq!(
        without_ids(listed),
        json!({"jobs": [{
            "kind": "order_expiry", "state": "ready", "idempotency_key": "k", "partition": null,
            "source": "command_line", "run_at": "2026-03-02T12:00:00Z", "attempt": 0, "attempts_max": 25,
            "rescues": 0, "lease": null, "note": "accepted from command_line", "last_error": null,
            "created_at": "2026-03-02T12:00:00Z", "updated_at": "2026-03-02T12:00:00Z",
        }]})
    );
}

#[tokio::test]
async fn what_is_refused_is_kept_and_shown() {
    let database = TestDatabase::sqlite();
    let line = CommandLine::on(&database).await;
    let file = line.file("payload.json", PAYLOAD);
    let table = [
        (
            "order_expire --key k",
            "\"order_expire\" is not a job kind; the kinds are deferred_authorization, order_expiry, \
             settlement_run, partner_notification, reconciliation",
        ),
        (
            "settlement_run --key k",
            "order_no: unknown field `order_no`, expected one of `version`, `through`, `merchant_id`, `currency`",
        ),
    ];
    for (words, expected) in table {
        let ran = line.run(&format!("enqueue {words} --payload {file}")).await;
        assert_eq!(ran.refused(), format!("clearday: {expected}"));
        line.clock.advance(TimeDelta::seconds(1));
    }
    let rejected = line.run("jobs rejected --format json").await.json();
    let newest = &rejected["rejected"][0];
    assert_eq!(newest["raw"], PAYLOAD);
    assert_eq!(newest["source"], "command_line");
    assert_eq!(newest["rejected_at"], "2026-03-02T12:00:01Z");
    assert_eq!(newest["reason"], table[1].1);

    let before = newest["rejection_id"].as_str().unwrap();
    let page = line
        .run(&format!("jobs rejected --before {before}"))
        .await
        .fine();
    assert_eq!(
        page,
        format!(
            "rejected at           source        kind          key  reason\n\
             2026-03-02T12:00:00Z  command_line  order_expire  k    {}\n",
            table[0].1
        )
    );
}

#[tokio::test]
async fn a_payload_too_large_to_keep_is_refused_unread() {
    let database = TestDatabase::sqlite();
    let line = CommandLine::on(&database).await;
    let file = line.file("payload.json", " ".repeat(300_000));
    let ran = line
        .run(&format!("enqueue order_expiry --key k --payload {file}"))
        .await;
    assert_eq!(
        ran.refused(),
        format!("clearday: {file}: longer than 262144 bytes")
    );
    let status = line.run("status --format json").await.json();
    assert_eq!(status["rejected"], 0);
}

#[tokio::test]
async fn a_job_tells_its_story() {
    let database = TestDatabase::sqlite();
    let line = CommandLine::on(&database).await;
    let later = PAYLOAD.replace("12:00", "13:00");
    let job = enqueue(&line, "k", &later).await.json();
    let id = job["job_id"].as_str().unwrap();

    line.clock.advance(TimeDelta::minutes(1));
    let cancelled = line
        .run(&format!("jobs cancel {id} --format json"))
        .await
        .json();
    assert_eq!(cancelled["jobs"][0]["state"], "cancelled");
    line.clock.advance(TimeDelta::minutes(1));
    line.run(&format!("jobs retry {id}")).await.fine();

    let shown = line.run(&format!("jobs show {id}")).await.fine();
    assert_eq!(
        shown,
        format!(
            "\
job      {id}
kind     order_expiry
key      k
payload  {{\"expires_at\":\"2026-03-02T13:00:00Z\",\"order_no\":\"A1\",\"version\":1}}
state    ready: retried by wang at the command line
waits    due since 2026-03-02T12:02:00+00:00: waits for a daemon, and none is at work

at                    event      state      attempt  worker  reason
2026-03-02T12:00:00Z  accepted   ready      0                accepted from command_line
2026-03-02T12:01:00Z  cancelled  cancelled  0                cancelled by wang at the command line
2026-03-02T12:02:00Z  requeued   ready      0                retried by wang at the command line
"
        )
    );
    let story = line
        .run(&format!("jobs show {id} --format json"))
        .await
        .json();
    assert_eq!(story["payload"]["order_no"], "A1");
    assert_eq!(story["timeline"].as_array().unwrap().len(), 3);
    assert_eq!(story["operations"], json!([]));
    assert!(
        story["waiting"]["reason"]
            .as_str()
            .unwrap()
            .starts_with("due since")
    );
}

#[tokio::test]
async fn wishes_that_cannot_be_granted_are_refused() {
    let database = TestDatabase::sqlite();
    let line = CommandLine::on(&database).await;
    let nobody = "00000000-0000-0000-0000-00000000002a";
    for verb in ["show", "retry", "cancel"] {
        let ran = line.run(&format!("jobs {verb} {nobody}")).await;
        assert_eq!(ran.refused(), format!("clearday: there is no job {nobody}"));
    }
    let job = enqueue(&line, "k", PAYLOAD).await.json();
    let id = job["job_id"].as_str().unwrap();
    line.run(&format!("jobs cancel {id}")).await.fine();
    let ran = line.run(&format!("jobs cancel {id}")).await;
    assert_eq!(
        ran.refused(),
        format!("clearday: job {id} is cancelled and cannot be cancelled")
    );
}

#[tokio::test]
async fn lists_are_narrowed_and_paged() {
    let database = TestDatabase::sqlite();
    let line = CommandLine::on(&database).await;
    for key in ["a", "b", "c"] {
        enqueue(&line, key, PAYLOAD).await.fine();
        line.clock.advance(TimeDelta::seconds(1));
    }
    let keys = |page: &Value| -> Vec<String> {
        let jobs = page["jobs"].as_array().unwrap();
        jobs.iter()
            .map(|job| job["idempotency_key"].as_str().unwrap().to_owned())
            .collect()
    };
    let page = line.run("jobs list --limit 2 --format json").await.json();
    assert_eq!(keys(&page), ["c", "b"]);
    let last = page["jobs"][1]["job_id"].as_str().unwrap();
    let page = line
        .run(&format!("jobs list --before {last} --format json"))
        .await
        .json();
    assert_eq!(keys(&page), ["a"]);
    let page = line
        .run("jobs list --kind reconciliation --format json")
        .await
        .json();
    assert!(keys(&page).is_empty());
    let page = line
        .run("jobs list --state dead --format json")
        .await
        .json();
    assert!(keys(&page).is_empty());
}

#[tokio::test]
async fn the_status_names_every_kind() {
    let database = TestDatabase::sqlite();
    let line = CommandLine::on(&database).await;
    enqueue(&line, "k", PAYLOAD).await.fine();
    enqueue(&line, "k", &PAYLOAD.replace("A1", "A2"))
        .await
        .refused();
    assert_eq!(
        line.run("status").await.fine(),
        "\
kind                    waiting  due since             running  dead
deferred_authorization  0                              0        0
order_expiry            1        2026-03-02T12:00:00Z  0        0
settlement_run          0                              0        0
partner_notification    0                              0        0
reconciliation          0                              0        0

refused submissions: 1
no daemon holds a job
"
    );
    let status = line.run("status --format json").await.json();
    let kinds = status["kinds"].as_array().unwrap();
    assert_eq!(kinds.len(), JobKind::ALL.len());
    assert_eq!(
        kinds[1],
        json!({"kind": "order_expiry", "waiting": 1, "due_since": "2026-03-02T12:00:00Z", "running": 0, "dead": 0})
    );
    assert_eq!(
        (&status["rejected"], &status["daemons"]),
        (&json!(1), &json!([]))
    );
}

#[tokio::test]
async fn every_example_is_accepted_as_it_is_printed() {
    let database = TestDatabase::sqlite();
    let line = CommandLine::on(&database).await;
    for kind in JobKind::ALL {
        let schema = line.run(&format!("schema {kind}")).await.json();
        assert_eq!(schema["type"], "object");
        let example = line.run(&format!("schema {kind} --example")).await.fine();
        let words = format!("enqueue {kind} --key example --payload -");
        assert_eq!(
            line.run_with(&words, &example).await.json()["state"],
            "ready"
        );
    }
}

#[tokio::test]
async fn completions_know_every_verb() {
    let line = CommandLine::bare();
    for shell in ["bash", "zsh", "fish"] {
        let script = line.run(&format!("completions {shell}")).await.fine();
        for word in [
            "migrate",
            "enqueue",
            "rejected",
            "reconcile",
            "order_expiry",
            "--accept-incomplete",
        ] {
            let word = if shell == "fish" {
                word.trim_start_matches('-')
            } else {
                word
            };
            assert!(script.contains(word), "{shell} {word}");
        }
    }
}

#[tokio::test]
async fn usage_is_refused_and_help_is_not() {
    let line = CommandLine::bare();
    for words in [
        "",
        "settel",
        "enqueue order_expiry",
        "jobs list --limit 0",
        "schema order",
        "jobs show 1",
    ] {
        let usage = line.run(words).await;
        assert_eq!(
            (usage.exit, usage.stdout.as_str()),
            (Exit::Refused, ""),
            "{words}"
        );
        assert!(
            usage.stderr.contains("--help") || usage.stderr.contains("Usage"),
            "{}",
            usage.stderr
        );
    }
    assert!(line.run("--help").await.fine().contains("enqueue"));
    assert!(line.run("jobs --help").await.fine().contains("rejected"));
    assert!(
        line.run("--version")
            .await
            .fine()
            .starts_with("clearday 0.")
    );
}

#[tokio::test]
async fn settings_are_needed_where_there_is_a_database() {
    let mut line = CommandLine::bare();
    let unset = line.run("status").await.refused();
    assert!(
        unset.starts_with("clearday: `database.url` is not set: "),
        "{unset}"
    );
    let file = line.file("clearday.toml", "[databse]\nurl = \"sqlite://a\"\n");
    let wrong = line.run(&format!("status --config {file}")).await.refused();
    assert_eq!(
        wrong,
        format!("clearday: {file} line 1: `databse` is not a setting; did you mean `database`?")
    );
    line.set("CLEARDAY_DATABASE_URL", "sqlite://a");
    let wrong = line.run("migrate").await.refused();
    assert!(
        wrong.ends_with("did you mean `CLEARDAY_DATABASE__URL`?"),
        "{wrong}"
    );
}

#[tokio::test]
async fn a_database_that_is_not_there_is_no_fault_of_the_input() {
    let folder = ScratchFolder::new("nowhere");
    let mut line = CommandLine::bare();
    let path = folder.path().join("clearday.db");
    line.set(
        "CLEARDAY_DATABASE__URL",
        &format!("sqlite://{}", path.display()),
    );
    let missing = line.run("status").await;
    assert_eq!(missing.exit, Exit::Unavailable);
    let expected = format!(
        "clearday: there is no database at {}: `clearday migrate` makes one\n",
        path.display()
    );
    assert_eq!(missing.stderr, expected);
    assert!(!path.exists());

    std::fs::write(&path, "").unwrap();
    let empty = line.run("jobs list").await;
    assert_eq!(empty.exit, Exit::Unavailable);
    assert_eq!(
        empty.stderr,
        "clearday: the database schema is behind this release: run `clearday migrate`\n"
    );
    std::fs::write(
        &path,
        "not a database, but long enough to have a header of one hundred bytes".repeat(9),
    )
    .unwrap();
    let broken = line.run("migrate").await;
    assert_eq!(broken.exit, Exit::Unavailable);
    assert_eq!(
        broken.stderr,
        "clearday: the database call failed: error returned from database: (code: 26) file is not a database\n"
    );
}

#[tokio::test]
async fn a_postgres_that_is_down_ends_with_its_own_code() {
    let mut line = CommandLine::bare();
    // Port 1 of this machine: nobody listens there.
    line.set(
        "CLEARDAY_DATABASE__URL",
        "postgres://nobody@127.0.0.1:1/nothing",
    );
    let down = line.run("jobs list").await;
    assert_eq!(down.exit, Exit::Unavailable);
    assert!(
        down.stderr
            .starts_with("clearday: the database is unavailable: "),
        "{}",
        down.stderr
    );
}

#[test]
fn the_binary_exits_as_the_contract_says() {
    let folder = ScratchFolder::new("binary");
    let code = |words: &str, variables: &[(&str, &str)]| {
        Command::new(env!("CARGO_BIN_EXE_clearday"))
            .args(words.split_whitespace())
            .env_clear()
            .envs(variables.iter().copied())
            .current_dir(folder.path())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .stdin(Stdio::null())
            .status()
            .unwrap()
            .code()
    };
    let database = [("CLEARDAY_DATABASE__URL", "sqlite://clearday.db")];
    assert_eq!(code("status", &database), Some(3));
    assert_eq!(code("migrate", &database), Some(0));
    assert_eq!(code("migrate", &database), Some(0));
    assert_eq!(code("status", &database), Some(0));
    assert_eq!(code("status", &[]), Some(2));
    assert_eq!(code("status", &[("CLEARDAY_DATABASE_URL", "x")]), Some(2));
    assert_eq!(code("settel", &database), Some(2));
    assert_eq!(code("--version", &[]), Some(0));
    // Standard input is empty: no payload, and kept as refused.
    assert_eq!(
        code("enqueue order_expiry --key k --payload -", &database),
        Some(2)
    );
    assert_eq!(
        code("import --type orders no-such-file.csv", &database),
        Some(2)
    );
}

#[tokio::test]
async fn a_queue_is_paused_listed_and_resumed() {
    let database = TestDatabase::sqlite();
    let line = CommandLine::on(&database).await;
    enqueue(&line, "k", PAYLOAD).await.fine();
    assert_eq!(
        line.run("queues pause order_expiry --reason maintenance")
            .await
            .fine(),
        "order_expiry is paused since 2026-03-02T12:00:00Z by wang at the command line: maintenance; \
         0 running, 1 waiting\n"
    );
    let listed = line.run("queues list --format json").await.json();
    let paused = &listed["queues"][1]["paused"];
    assert_eq!(paused["reason"], "maintenance");
    assert_eq!(listed["daemons"], json!([]));
    let listed = line.run("queues list").await.fine();
    assert!(
        listed.contains("paused since 2026-03-02T12:00:00Z by wang"),
        "{listed}"
    );
    assert!(listed.ends_with("\nno daemon is at work\n"), "{listed}");
    assert_eq!(
        line.run("queues resume order_expiry").await.fine(),
        "order_expiry is open; 0 running, 1 waiting\n"
    );
}

#[tokio::test]
async fn draining_waits_until_nothing_of_the_kind_runs() {
    let database = TestDatabase::sqlite();
    let line = CommandLine::on(&database).await;
    let engine = line.engine(&database).await;
    enqueue(&line, "k", PAYLOAD).await.fine();
    let leased = engine.lease_due(JobKind::OrderExpiry, 1).await.unwrap();
    assert_eq!(leased.len(), 1);
    let drain = "queues drain order_expiry --reason maintenance";
    let hurried = line.run(&format!("{drain} --timeout 0")).await;
    assert_eq!(hurried.exit, Exit::Finding);
    let told = "order_expiry is paused since 2026-03-02T12:00:00Z by wang at the command line: maintenance; ";
    assert_eq!(hurried.stdout, format!("{told}1 running, 0 waiting\n"));

    let finish = async {
        let run = clearday::engine::Run::new(engine.clone(), leased[0].clone());
        run.done(run.begin().await.unwrap(), "done").await.unwrap();
    };
    let (drained, ()) = tokio::join!(line.run(drain), finish);
    let drained = drained.fine();
    assert!(
        drained.ends_with(&format!("{told}0 running, 0 waiting\n")),
        "{drained}"
    );
}

#[tokio::test]
async fn all_jobs_that_match_are_counted_and_then_cancelled_and_retried() {
    let database = TestDatabase::sqlite();
    let line = CommandLine::on(&database).await;
    for key in ["a", "b"] {
        enqueue(&line, key, PAYLOAD).await.fine();
    }
    assert_eq!(
        line.run("jobs cancel --kind order_expiry").await.refused(),
        "clearday: name a job, or count what matches with --dry-run and give that number as --expected"
    );
    let counted = line
        .run("jobs cancel --kind order_expiry --dry-run")
        .await
        .fine();
    assert!(counted.starts_with("2 jobs match\n"), "{counted}");
    let refused = line.run("jobs cancel --expected 1").await.refused();
    assert_eq!(
        refused,
        "clearday: 2 jobs match, not 1: look again before you act on all of them"
    );
    let snoozed = line
        .run("jobs snooze --expected 2 --until 2026-03-03T00:00:00Z")
        .await;
    assert_eq!(snoozed.fine(), "2 jobs snoozed\n");
    let cancelled = line.run("jobs cancel --expected 2").await.fine();
    assert_eq!(cancelled, "2 jobs cancelled\n");
    let retried = line
        .run("jobs retry --state cancelled --expected 2 --format json")
        .await
        .json();
    assert_eq!(
        (&retried["matched"], &retried["changed"]),
        (&json!(2), &json!(2))
    );
    assert_eq!(
        line.run("jobs dead").await.fine(),
        "count  kind  oldest  newest  example  cause\n"
    );
}

#[tokio::test]
async fn finished_jobs_are_pruned_after_their_days() {
    let database = TestDatabase::sqlite();
    let line = CommandLine::on(&database).await;
    enqueue(&line, "k", PAYLOAD).await.fine();
    line.run("jobs cancel --expected 1").await.fine();
    line.clock.advance(TimeDelta::days(91));
    let stay = "0 jobs stay because the books refer to them";
    assert_eq!(
        line.run("prune --dry-run").await.fine(),
        format!("1 jobs and 0 histories would be pruned; {stay}\n")
    );
    let listed = line.run("jobs list --format json").await.json();
    let id = listed["jobs"][0]["job_id"].as_str().unwrap().to_owned();
    let expected = json!({"dry_run": false, "jobs": 1, "histories": 0, "kept": 0});
    assert_eq!(line.run("prune --format json").await.json(), expected);
    let told = line.run(&format!("jobs show {id}")).await.fine();
    assert!(
        told.contains(
            "state    cancelled since 2026-03-02T12:00:00Z, pruned at 2026-06-01T12:00:00Z"
        ),
        "{told}"
    );
    assert!(told.contains("cancelled by wang"), "{told}");
    let mut line = CommandLine::on(&database).await;
    line.set("CLEARDAY_RETENTION__JOBS_DAYS", "0");
    assert_eq!(
        line.run("prune").await.refused(),
        "clearday: everything is kept for ever: `retention.jobs_days` is 0"
    );
    let mut line = CommandLine::on(&database).await;
    line.set("CLEARDAY_RETENTION__JOBS_DAYS", "401");
    let refused = line.run("prune").await.refused();
    assert!(refused.contains("retention.job_events_days"), "{refused}");
}

#[tokio::test]
async fn what_was_refused_is_mended_once_and_linked_to_its_job() {
    let database = TestDatabase::sqlite();
    let line = CommandLine::on(&database).await;
    let broken = PAYLOAD.replace("order_no", "order_number");
    enqueue(&line, "k", &broken).await.refused();
    let rejected = line.run("jobs rejected --format json").await.json();
    let id = rejected["rejected"][0]["rejection_id"]
        .as_str()
        .unwrap()
        .to_owned();

    let still = line.file("still.json", &broken);
    let refused = line
        .run(&format!("jobs mend {id} --payload {still}"))
        .await
        .refused();
    assert!(refused.contains("order_number"), "{refused}");
    let mended = line.file("mended.json", PAYLOAD);
    let mend = format!("jobs mend {id} --payload {mended} --format json");
    let job = line.run(&mend).await.json();
    let job = &job["jobs"][0];
    assert_eq!(
        (&job["state"], &job["idempotency_key"]),
        (&json!("ready"), &json!("k"))
    );

    let rejected = line.run("jobs rejected --format json").await.json();
    assert_eq!(rejected["rejected"].as_array().unwrap().len(), 1);
    assert_eq!(rejected["rejected"][0]["mended_job_id"], job["job_id"]);
    let again = line.run(&mend).await.refused();
    assert!(again.contains("was mended before"), "{again}");
}
