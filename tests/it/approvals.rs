//! Approving at the keyboard, and checking the chain of what people did.
#![cfg(test)]

use clearday::cli::exit::Exit;
use clearday::domain::approval::{Approval, ApprovalAction};
use clearday::engine::{NewApproval, PeopleNeeded};
use clearday_jobs::{Currency, Money};
use serde_json::{Value, json};

use crate::support::command_line::{CommandLine, Ran};
use crate::support::sql::execute;
use crate::support::world::World;

/// A command line whose settings name people.
struct Desk {
    line: CommandLine,
    config: String,
    world: World,
}

impl Desk {
    async fn open(world: World) -> Self {
        let line = CommandLine::on(&world.database).await;
        let person = |name: &str, role: &str, digit: char, more: &str| {
            let digest = digit.to_string().repeat(64);
            format!(
                "[[people]]\nname = \"{name}\"\nrole = \"{role}\"\ntoken_sha256 = \"{digest}\"\n{more}\n"
            )
        };
        let people = [
            person("wang", "approver", '1', ""),
            person("li", "admin", '2', ""),
            person("ops", "operator", '3', ""),
            person(
                "gone",
                "approver",
                '4',
                "expires_at = \"2026-03-02T12:00:00Z\"",
            ),
        ];
        let config = line.file("clearday.toml", people.concat());
        Self {
            line,
            config,
            world,
        }
    }

    async fn run(&self, words: &str) -> Ran {
        let config = &self.config;
        self.line.run(&format!("--config {config} {words}")).await
    }

    async fn ask(&self, subject: &str) -> Approval {
        let new = NewApproval {
            action: ApprovalAction::Payout,
            subject: subject.to_owned(),
            shown: json!({"to": "6222 0000", "amount": "1.00"}),
            merchant_id: None,
            payee: None,
            amount: Some(Money::from_minor(100, Currency::parse("CNY").unwrap())),
            value_on: None,
            people: PeopleNeeded::Two,
            maker: None,
            job_id: None,
        };
        let mut tx = self.world.begin().await;
        let engine = self.world.engine("w");
        let asked = engine.request_approval_in(&mut tx, new).await.unwrap();
        tx.commit().await.unwrap();
        asked
    }
}

#[tokio::test]
async fn two_people_approve_at_the_keyboard() {
    let desk = Desk::open(World::sqlite().await).await;
    let Approval { id, digest, .. } = desk.ask("S-1").await;
    let made = desk.run(&format!("approve {id} --as wang")).await.fine();
    assert_eq!(
        made,
        format!(
            "approval {id}: requested; waits for one person who may approve, other than wang\n"
        )
    );
    let approve = format!("approve {id} --as li --digest {digest} --format json");
    let approved = desk.run(&approve).await.json();
    assert_eq!(approved["state"], "approved");
    assert_eq!(approved["checker"]["person"], "li");
    let shown = desk
        .run(&format!("approvals show {id} --format json"))
        .await;
    assert_eq!(shown.json(), approved);
    assert_eq!(
        desk.run(&format!("approvals show {id}")).await.fine(),
        format!(
            "approval {id}\n\
             action   payout\n\
             subject  S-1\n\
             state    approved\n\
             amount   1.00 CNY\n\
             maker    wang at 2026-03-02T12:00:00Z\n\
             checker  li at 2026-03-02T12:00:00Z\n\
             digest   {digest}\n\
             shown    {{\"amount\":\"1.00\",\"to\":\"6222 0000\"}}\n"
        )
    );
}

#[tokio::test]
async fn what_counts_for_nothing_at_the_keyboard_is_refused() {
    let desk = Desk::open(World::sqlite().await).await;
    let Approval { id, digest, .. } = desk.ask("S-1").await;
    desk.run(&format!("approve {id} --as wang")).await.fine();
    let other = "ab".repeat(32);
    let nil = "00000000-0000-0000-0000-000000000000";
    let table = [
        (
            format!("approve {id} --as wang"),
            format!("approval {id}: wang signed it already; another person must be the second"),
        ),
        (
            format!("approve {id} --as li --digest {other}"),
            format!(
                "approval {id}: it does not show what was signed: its digest is {digest}; look at it again"
            ),
        ),
        (
            format!("approve {id} --as ops"),
            "ops is operator; approving takes the role approver".to_owned(),
        ),
        (
            format!("approve {id} --as Li"),
            "\"Li\" is not in [[people]] of the settings; wang, li may approve".to_owned(),
        ),
        (
            format!("approve {id} --as gone"),
            "gone may not act any more: expired at 2026-03-02T12:00:00Z".to_owned(),
        ),
        (
            format!("approve {nil} --as li"),
            format!("there is no approval {nil}"),
        ),
        (
            format!("approvals show {nil}"),
            format!("there is no approval {nil}"),
        ),
        (
            format!("reject {id} --as ops --reason no"),
            "ops is operator; approving takes the role approver".to_owned(),
        ),
        (
            format!("reject {id} --as li --reason {}", "x".repeat(501)),
            "a rejection needs a reason of 1 to 500 characters".to_owned(),
        ),
    ];
    for (words, expected) in table {
        let said = desk.run(&words).await.refused();
        assert_eq!(said, format!("clearday: {expected}"), "{words}");
    }
    for usage in [
        "approve x --as li".to_owned(),
        format!("approve {id}"),
        format!("reject {id} --as li"),
        "approvals list --state agreed".to_owned(),
        "approvals list --limit 0".to_owned(),
    ] {
        assert_eq!(desk.run(&usage).await.exit, Exit::Refused, "{usage}");
    }
    let nobody = desk.line.run(&format!("approve {id} --as li")).await;
    assert_eq!(
        nobody.refused(),
        "clearday: \"li\" is not in [[people]] of the settings; nobody may approve"
    );
    let rejected = desk
        .run(&format!("reject {id} --as li --reason closed"))
        .await;
    assert_eq!(rejected.fine(), format!("approval {id}: rejected\n"));
    let late = desk.run(&format!("approve {id} --as li")).await.refused();
    assert_eq!(
        late,
        format!("clearday: approval {id}: it is rejected already")
    );
}

#[tokio::test]
async fn on_postgres_a_name_is_not_believed() {
    let desk = Desk::open(World::postgres().await).await;
    let id = desk.ask("S-1").await.id;
    for words in [
        format!("approve {id} --as wang"),
        format!("reject {id} --as wang --reason no"),
    ] {
        assert_eq!(
            desk.run(&words).await.refused(),
            "clearday: on Postgres nobody is believed by name: approve over HTTP, \
             POST /v1/approvals/{id}/approve, with the person's own token"
        );
    }
    // Looking takes nobody's name.
    let shown = desk
        .run(&format!("approvals show {id} --format json"))
        .await;
    assert_eq!(shown.json()["maker"], Value::Null);
}

#[tokio::test]
async fn approvals_are_listed_from_the_newest() {
    let desk = Desk::open(World::sqlite().await).await;
    let mut ids = Vec::new();
    for number in 0..3 {
        ids.push(desk.ask(&format!("S-{number}")).await.id);
    }
    desk.run(&format!("reject {} --as li --reason no", ids[1]))
        .await
        .fine();
    let list = desk.run("approvals list --state requested --format json");
    let listed = list.await.json();
    let subjects: Vec<&str> = listed["approvals"]
        .as_array()
        .unwrap()
        .iter()
        .map(|row| row["subject"].as_str().unwrap())
        .collect();
    assert_eq!(subjects, ["S-2", "S-0"]);
    let list = format!("approvals list --before {} --limit 1", ids[2]);
    assert_eq!(
        desk.run(&list).await.fine(),
        format!(
            "approval                              action  subject  amount    state     maker  checker\n\
             {}  payout  S-1      1.00 CNY  rejected\n",
            ids[1]
        )
    );
}

#[tokio::test]
async fn the_chain_is_checked_and_its_first_broken_row_is_named() {
    for world in [World::sqlite().await, World::postgres().await] {
        let desk = Desk::open(world).await;
        for number in 0..3 {
            desk.ask(&format!("S-{number}")).await;
        }
        let whole = desk.run("audit verify --format json").await.json();
        let head = whole["head_sha256"].as_str().unwrap().to_owned();
        assert_eq!(
            whole,
            json!({"ok": true, "rows": 3, "head_sha256": head, "broken_row": null, "broken": null})
        );
        assert_eq!(
            desk.run("audit verify").await.fine(),
            format!("the chain is whole: 3 rows, head {head}\n")
        );
        let url = desk.world.database.url();
        execute(url, "UPDATE audit_log SET who = 'li' WHERE seq = 2")
            .await
            .unwrap();
        let broken = desk.run("audit verify --format json").await;
        assert_eq!(broken.exit, Exit::Finding);
        let told: Value = serde_json::from_str(&broken.stdout).unwrap();
        assert_eq!(
            (
                &told["ok"],
                &told["rows"],
                &told["broken_row"],
                &told["broken"]
            ),
            (
                &json!(false),
                &json!(1),
                &json!(2),
                &json!("row 2 is not as it was written")
            )
        );
        let broken = desk.run("audit verify").await;
        assert_eq!(broken.exit, Exit::Finding);
        assert_eq!(
            broken.stdout,
            "the chain is broken: row 2 is not as it was written; it is whole up to row 1\n"
        );
    }
}
