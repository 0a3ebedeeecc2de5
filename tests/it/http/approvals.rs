//! Approving over HTTP: what is shown, who may sign, what is refused and how it is told.
#![cfg(test)]

use axum::body::Body;
use axum::http::StatusCode;
use clearday::config::{Person, Role};
use clearday::domain::approval::{Approval, ApprovalAction};
use clearday::engine::{NewApproval, PeopleNeeded};
use clearday_jobs::{Currency, Money};
use serde_json::{Value, json};

use super::{Answer, Site, local, person};

const NIL: &str = "00000000-0000-0000-0000-000000000000";

fn people() -> Vec<Person> {
    vec![
        person("wang", Role::Approver),
        person("li", Role::Approver),
        person("zhao", Role::Admin),
        person("ops", Role::Operator),
    ]
}

async fn site() -> Site {
    Site::with(people(), Vec::new()).await
}

async fn ask(site: &Site, subject: &str) -> Approval {
    ask_with(site, subject, json!({"to": "6222 0000", "amount": "1.00"})).await
}

async fn ask_with(site: &Site, subject: &str, shown: Value) -> Approval {
    let new = NewApproval {
        action: ApprovalAction::Payout,
        subject: subject.to_owned(),
        shown,
        merchant_id: Some("M-1".parse().unwrap()),
        payee: Some("6222 0000".to_owned()),
        amount: Some(Money::from_minor(100, Currency::parse("CNY").unwrap())),
        value_on: Some("2026-03-03".parse().unwrap()),
        people: PeopleNeeded::Two,
        maker: None,
        job_id: None,
    };
    let mut tx = site.engine.store().begin().await.unwrap();
    let asked = site.engine.request_approval_in(&mut tx, new).await.unwrap();
    tx.commit().await.unwrap();
    asked
}

async fn get_as(site: &Site, name: &str, path: &str) -> Answer {
    let request = local("GET", path).header("Authorization", format!("Bearer {name}-token"));
    site.send(request.body(Body::empty()).unwrap()).await
}

async fn post_as(site: &Site, name: &str, path: &str, body: impl Into<Body>) -> Answer {
    let request = local("POST", path).header("Authorization", format!("Bearer {name}-token"));
    site.send(request.body(body.into()).unwrap()).await
}

async fn approve_as(site: &Site, name: &str, asked: &Approval) -> Answer {
    let path = format!("/v1/approvals/{}/approve", asked.id);
    post_as(site, name, &path, "").await
}

fn problem(status: u16, kind: &str, field: Option<&str>) -> (u16, String, Option<String>) {
    (status, kind.to_owned(), field.map(ToOwned::to_owned))
}

#[tokio::test]
async fn two_people_approve_and_everybody_sees_who() {
    let site = site().await;
    let asked = ask(&site, "S-1").await;
    let path = format!("/v1/approvals/{}", asked.id);
    let shown = get_as(&site, "ops", &path).await.json();
    assert_eq!(
        shown,
        json!({
            "approval_id": asked.id,
            "action": "payout",
            "subject": "S-1",
            "shown": {"amount": "1.00", "to": "6222 0000"},
            "digest": asked.digest,
            "merchant_id": "M-1",
            "payee": "6222 0000",
            "amount": "1.00",
            "currency": "CNY",
            "value_on": "2026-03-03",
            "rule": "two_people",
            "state": "requested",
            "maker": null,
            "checker": null,
            "rejected_by": null,
            "reason": null,
            "waits_for": "two people who may approve",
            "job_id": null,
            "requested_at": "2026-03-02T12:00:00Z",
            "updated_at": "2026-03-02T12:00:00Z",
        })
    );
    let made = approve_as(&site, "wang", &asked).await;
    assert_eq!(made.status, StatusCode::OK);
    assert_eq!(made.json()["state"], "requested");
    assert_eq!(
        made.json()["waits_for"],
        "one person who may approve, other than wang"
    );
    let body = json!({"digest": asked.digest}).to_string();
    let approved = post_as(&site, "li", &format!("{path}/approve"), body).await;
    assert_eq!(approved.status, StatusCode::OK);
    let shown = get_as(&site, "ops", &path).await.json();
    assert_eq!(shown, approved.json());
    assert_eq!(shown["state"], "approved");
    assert_eq!(
        shown["maker"],
        json!({"person": "wang", "at": "2026-03-02T12:00:00Z"})
    );
    assert_eq!(shown["checker"]["person"], "li");
    assert_eq!(shown["waits_for"], Value::Null);
}

#[tokio::test]
async fn what_counts_for_nothing_is_a_conflict_that_says_why() {
    let site = site().await;
    let asked = ask(&site, "S-1").await;
    approve_as(&site, "wang", &asked).await;
    let again = approve_as(&site, "wang", &asked).await;
    assert_eq!(again.problem(), problem(409, "same_person", None));
    let detail = again.json()["detail"].clone();
    assert!(
        detail
            .as_str()
            .unwrap()
            .ends_with("another person must be the second"),
        "{detail}"
    );

    let path = format!("/v1/approvals/{}/approve", asked.id);
    for digest in ["cd".repeat(32), String::new(), "x".to_owned()] {
        let body = json!({"digest": digest}).to_string();
        let differs = post_as(&site, "li", &path, body).await;
        assert_eq!(
            differs.problem(),
            problem(409, "digest_differs", Some("digest"))
        );
    }
    site.clock.advance(chrono::TimeDelta::seconds(1));
    ask_with(&site, "S-1", json!({"to": "6222 9999", "amount": "1.00"})).await;
    let superseded = approve_as(&site, "li", &asked).await;
    assert_eq!(superseded.problem(), problem(409, "approval_decided", None));
    let detail = superseded.json()["detail"].clone();
    assert!(detail.as_str().unwrap().contains("superseded"), "{detail}");

    let other = ask(&site, "S-2").await;
    for name in ["wang", "li"] {
        assert_eq!(approve_as(&site, name, &other).await.status, StatusCode::OK);
    }
    let late = approve_as(&site, "zhao", &other).await;
    assert_eq!(late.problem(), problem(409, "approval_decided", None));
}

#[tokio::test]
async fn a_bad_body_is_refused_by_field() {
    let site = site().await;
    let asked = ask(&site, "S-1").await;
    let approve = format!("/v1/approvals/{}/approve", asked.id);
    for (body, field) in [
        ("{", "body"),
        ("5", "body"),
        ("[]", "body"),
        ("[\"ab\"]", "body"),
        ("{} {}", "body"),
        (r#"{"digest":5}"#, "digest"),
        (r#"{"digset":"ab"}"#, "digset"),
        ("\u{FEFF}{}", "body"),
    ] {
        let answer = post_as(&site, "wang", &approve, body).await;
        let expected = problem(422, "bad_payload", Some(field));
        assert_eq!(answer.problem(), expected, "{body}");
    }
    let not_text = post_as(&site, "wang", &approve, vec![0xFF, 0xFE]).await;
    assert_eq!(
        not_text.problem(),
        problem(422, "bad_payload", Some("body"))
    );
    let too_large = post_as(&site, "wang", &approve, vec![b' '; 2_000_000]).await;
    assert_eq!(too_large.status, StatusCode::PAYLOAD_TOO_LARGE);

    let reject = format!("/v1/approvals/{}/reject", asked.id);
    for (body, field) in [
        (String::new(), "body"),
        ("{}".to_owned(), "body"),
        (r#"{"reason":null}"#.to_owned(), "reason"),
        (r#"{"reason":""}"#.to_owned(), "reason"),
        (r#"{"reason":" \n"}"#.to_owned(), "reason"),
        (json!({"reason": "错".repeat(501)}).to_string(), "reason"),
        (r#"{"reason":"a","digest":"b"}"#.to_owned(), "digest"),
    ] {
        let answer = post_as(&site, "wang", &reject, body.clone()).await;
        let expected = problem(422, "bad_payload", Some(field));
        assert_eq!(answer.problem(), expected, "{body}");
    }
    let untouched = get_as(&site, "ops", &format!("/v1/approvals/{}", asked.id)).await;
    assert_eq!(untouched.json()["state"], "requested");
    assert_eq!(untouched.json()["maker"], Value::Null);
    // White space is no body, and a null digest is none.
    let answer = post_as(&site, "wang", &approve, " \n").await;
    assert_eq!(answer.status, StatusCode::OK);
    let answer = post_as(&site, "li", &approve, r#"{"digest":null}"#).await;
    assert_eq!(answer.json()["state"], "approved");
}

#[tokio::test]
async fn one_person_rejects_with_a_reason() {
    let site = site().await;
    let asked = ask(&site, "S-1").await;
    let path = format!("/v1/approvals/{}/reject", asked.id);
    let body = r#"{"reason":"this account is closed"}"#;
    let rejected = post_as(&site, "li", &path, body).await;
    assert_eq!(rejected.status, StatusCode::OK);
    let rejected = rejected.json();
    assert_eq!(rejected["state"], "rejected");
    assert_eq!(rejected["rejected_by"], "li");
    assert_eq!(rejected["reason"], "this account is closed");
    let again = post_as(&site, "wang", &path, body).await;
    assert_eq!(again.problem(), problem(409, "approval_decided", None));
}

#[tokio::test]
async fn an_unknown_approval_is_not_found() {
    let site = site().await;
    for id in [NIL, "x", "%00"] {
        let path = format!("/v1/approvals/{id}");
        let answer = get_as(&site, "ops", &path).await;
        assert_eq!(answer.problem(), problem(404, "not_found", None));
        let answer = post_as(&site, "wang", &format!("{path}/approve"), "").await;
        assert_eq!(answer.problem(), problem(404, "not_found", None));
        let reason = r#"{"reason":"a"}"#;
        let answer = post_as(&site, "wang", &format!("{path}/reject"), reason).await;
        assert_eq!(answer.problem(), problem(404, "not_found", None));
    }
}

#[tokio::test]
async fn below_an_approver_nobody_signs() {
    let site = site().await;
    let asked = ask(&site, "S-1").await;
    for action in ["approve", "reject"] {
        let path = format!("/v1/approvals/{}/{action}", asked.id);
        let answer = post_as(&site, "ops", &path, r#"{"reason":"a"}"#).await;
        assert_eq!(answer.problem(), problem(403, "forbidden", None));
    }
}

#[tokio::test]
async fn where_nobody_is_configured_nobody_approves() {
    let site = Site::open().await;
    let asked = ask(&site, "S-1").await;
    for action in ["approve", "reject"] {
        let path = format!("/v1/approvals/{}/{action}", asked.id);
        let request = local("POST", &path).body(Body::from(r#"{"reason":"a"}"#));
        let answer = site.send(request.unwrap()).await;
        let is_body_refused = answer.status == StatusCode::UNPROCESSABLE_ENTITY;
        if action == "approve" {
            assert!(is_body_refused, "approve takes no reason");
            continue;
        }
        assert_eq!(answer.problem(), problem(403, "no_people", None));
    }
    let answer = site
        .post(&format!("/v1/approvals/{}/approve", asked.id))
        .await;
    assert_eq!(answer.problem(), problem(403, "no_people", None));
    let detail = answer.json()["detail"].clone();
    assert!(detail.as_str().unwrap().contains("[[people]]"), "{detail}");
    let page = site.get("/approvals").await.body;
    assert!(page.contains("Nobody can approve here") && !page.contains("<button>批准"));
}

#[tokio::test]
async fn approvals_are_listed_by_state_page_by_page() {
    let site = site().await;
    let mut asked = Vec::new();
    for number in 0..5 {
        asked.push(ask(&site, &format!("S-{number}")).await);
    }
    for name in ["wang", "li"] {
        approve_as(&site, name, &asked[3]).await;
    }
    let subjects = async |query: &str| {
        let page = get_as(&site, "ops", &format!("/v1/approvals{query}"))
            .await
            .json();
        let rows = page["approvals"].as_array().unwrap().clone();
        let subjects: Vec<String> = rows
            .iter()
            .map(|row| row["subject"].as_str().unwrap().to_owned())
            .collect();
        (subjects.join(" "), page["next"].clone())
    };
    let (all, next) = subjects("").await;
    assert_eq!((all.as_str(), next), ("S-4 S-3 S-2 S-1 S-0", Value::Null));
    let (first, next) = subjects("?state=requested&limit=2").await;
    assert_eq!(first, "S-4 S-2");
    let before = next.as_str().unwrap();
    assert_eq!(before, asked[2].id.to_string());
    let (second, next) = subjects(&format!("?state=requested&limit=2&before={before}")).await;
    assert_eq!((second.as_str(), next), ("S-1 S-0", Value::Null));
    assert_eq!(subjects("?state=approved").await.0, "S-3");
    for (query, kind, field) in [
        ("?state=agreed", "bad_parameter", "state"),
        ("?limit=0", "bad_parameter", "limit"),
        ("?limit=201", "bad_parameter", "limit"),
        ("?before=x", "bad_parameter", "before"),
        ("?kind=payout", "unknown_parameter", "kind"),
    ] {
        let answer = get_as(&site, "ops", &format!("/v1/approvals{query}")).await;
        assert_eq!(answer.problem(), problem(400, kind, Some(field)), "{query}");
    }
}

/// A request as the browser of this person sends it.
async fn browse(site: &Site, name: &str, method: &str, path: &str, form: &str) -> Answer {
    let request = local(method, path)
        .header("Accept", "text/html")
        .header("Sec-Fetch-Site", "same-origin")
        .header("Content-Type", "application/x-www-form-urlencoded")
        .header("Cookie", format!("clearday_token={name}-token"));
    site.send(request.body(Body::from(form.to_owned())).unwrap())
        .await
}

#[tokio::test]
async fn the_page_shows_everything_and_its_buttons_to_those_who_may() {
    let site = site().await;
    let shown = json!({
        "to": {"account_no": "6222 0000", "name": "<b>某某商贸</b>"},
        "items": ["O-1", 2],
        "is_first": true,
    });
    let asked = ask_with(&site, "S-1", shown).await;
    let page = async |name| browse(&site, name, "GET", "/approvals", "").await.body;
    let seen = page("ops").await;
    for words in [
        "待审批",
        "requested",
        "付款",
        "to.account_no",
        "6222 0000",
        "&#60;b&#62;某某商贸",
        "items[1]",
        "is_first",
        "1.00 CNY",
        asked.digest.as_str(),
        "waits for two people who may approve",
    ] {
        assert!(seen.contains(words), "{words}\n{seen}");
    }
    assert!(!seen.contains("<button>批准") && !seen.contains("驳回原因"));
    assert!(!seen.contains("<script"));
    assert!(page("wang").await.contains("<button>批准"));
    let overview = browse(&site, "ops", "GET", "/", "").await.body;
    assert!(overview.contains("/approvals?state=requested"));
    assert!(overview.contains("1 to approve"));

    let approve = format!("/approvals/{}/approve", asked.id);
    let form = format!("digest={}", asked.digest);
    let done = browse(&site, "wang", "POST", &approve, &form).await;
    assert_eq!(done.status, StatusCode::SEE_OTHER);
    assert_eq!(done.header("location"), "/approvals");
    // The maker may take it back, but not sign again.
    let seen = page("wang").await;
    assert!(!seen.contains("<button>批准") && seen.contains("驳回原因"));
    assert!(seen.contains("经办") && seen.contains("wang, "));
    let again = browse(&site, "wang", "POST", &approve, &form).await;
    assert_eq!(again.status, StatusCode::CONFLICT);
    assert!(again.body.contains("another person must be the second"));

    let reject = format!("/approvals/{}/reject", asked.id);
    let done = browse(&site, "li", "POST", &reject, "reason=%E4%B8%8D%E5%AF%B9").await;
    assert_eq!(done.status, StatusCode::SEE_OTHER);
    let seen = page("li").await;
    assert!(seen.contains("不对 (li)") && seen.contains("已驳回"));
    assert!(!seen.contains("驳回原因"));
    for (path, form) in [(&reject, "why=x"), (&reject, ""), (&approve, "other=x")] {
        let bad = browse(&site, "li", "POST", path, form).await;
        assert!(bad.status.is_client_error(), "{path} {form}");
    }
}
