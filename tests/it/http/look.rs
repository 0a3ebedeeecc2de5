//! Looking: lists page by page, one job with its whole story, nothing secret.
#![cfg(test)]

use axum::http::StatusCode;
use clearday::domain::operation::{Operation, OperationKind, OperationState};
use clearday::store::{authorizations, operations};
use clearday_jobs::{AuthorizationAnswer, JobId, JobKind, OperationId};
use serde_json::{Value, json};

use super::{Site, noon};

#[tokio::test]
async fn every_job_is_listed_once_page_by_page_from_the_newest() {
    let site = Site::open().await;
    let mut submitted = Vec::new();
    for number in 0..120 {
        submitted.push(site.due_job(&format!("k-{number}")).await.to_string());
    }
    submitted.reverse();
    let mut listed = Vec::new();
    let mut path = "/v1/jobs".to_owned();
    let mut sizes = Vec::new();
    loop {
        let page = site.get(&path).await.json();
        let jobs = page["jobs"].as_array().unwrap();
        sizes.push(jobs.len());
        listed.extend(
            jobs.iter()
                .map(|job| job["job_id"].as_str().unwrap().to_owned()),
        );
        // What is submitted meanwhile does not disturb the pages that follow.
        site.due_job(&format!("late-{}", sizes.len())).await;
        let Some(next) = page["next"].as_str() else {
            break;
        };
        path = format!("/v1/jobs?before={next}");
    }
    assert_eq!(sizes, [50, 50, 20]);
    assert_eq!(listed, submitted);
}

#[tokio::test]
async fn the_answer_of_an_authorization_is_shown_once_there_is_one() {
    let site = Site::open().await;
    let job = site
        .submit_example(JobKind::DeferredAuthorization, "k-1")
        .await;
    let path = format!("/v1/jobs/{job}");
    assert_eq!(site.get(&path).await.json()["answer"], json!(null));
    let answer = json!({
        "order_no": "SO-20260301-0001",
        "successful": "N",
        "errors": [{ "method_id": "card", "code": "card_expired", "message": "the card is expired" }],
        "remaining_to_authorize": { "amount": "149.00", "currency": "CNY" },
        "authorizations": [],
    });
    let told: AuthorizationAnswer = serde_json::from_value(answer.clone()).unwrap();
    let mut tx = site.engine.store().begin().await.unwrap();
    authorizations::keep_answer(&mut tx, job, &told, noon())
        .await
        .unwrap();
    tx.commit().await.unwrap();
    assert_eq!(site.get(&path).await.json()["answer"], answer);
}

#[tokio::test]
async fn a_full_last_page_says_that_nothing_follows() {
    let site = Site::open().await;
    for key in ["a", "b", "c"] {
        site.due_job(key).await;
    }
    let page = site.get("/v1/jobs?limit=3").await.json();
    assert_eq!(page["jobs"].as_array().unwrap().len(), 3);
    assert_eq!(page["next"], json!(null));
    let page = site.get("/v1/jobs?limit=2").await.json();
    assert_eq!(page["next"], page["jobs"][1]["job_id"]);
}

#[tokio::test]
async fn the_list_is_narrowed_by_kind_and_state() {
    let site = Site::open().await;
    for kind in JobKind::ALL {
        site.submit_example(kind, "k-1").await;
    }
    site.due_job("k-2").await;
    site.bury_due("no such order").await;
    let keys = async |query: &str| -> Vec<(String, String)> {
        let page = site.get(&format!("/v1/jobs?{query}")).await.json();
        let name = |job: &Value, field: &str| job[field].as_str().unwrap().to_owned();
        let jobs = page["jobs"].as_array().unwrap();
        jobs.iter()
            .map(|job| (name(job, "kind"), name(job, "idempotency_key")))
            .collect()
    };
    let dead = [("order_expiry".to_owned(), "k-2".to_owned())];
    assert_eq!(keys("state=dead").await, dead);
    assert_eq!(keys("kind=order_expiry&state=dead").await, dead);
    assert_eq!(keys("kind=settlement_run&state=dead").await, []);
    assert_eq!(keys("kind=order_expiry").await.len(), 2);
    assert_eq!(keys("state=ready").await.len(), 5);
}

#[tokio::test]
async fn a_bad_query_parameter_is_refused_by_name() {
    let site = Site::open().await;
    #[rustfmt::skip]
    let table = [
        ("/v1/jobs?sate=dead", "unknown_parameter", "sate"),
        ("/v1/jobs?state=dead&offset=3", "unknown_parameter", "offset"),
        ("/v1/jobs?state=finished", "bad_parameter", "state"),
        ("/v1/jobs?kind=", "bad_parameter", "kind"),
        ("/v1/jobs?limit=0", "bad_parameter", "limit"),
        ("/v1/jobs?limit=201", "bad_parameter", "limit"),
        ("/v1/jobs?limit=-1", "bad_parameter", "limit"),
        ("/v1/jobs?before=5", "bad_parameter", "before"),
        ("/v1/jobs?state=dead&state=done", "bad_parameter", "state"),
        ("/v1/rejected_submissions?state=dead", "unknown_parameter", "state"),
        ("/v1/rejected_submissions?before=x", "bad_parameter", "before"),
        ("/metrics?a=1", "unknown_parameter", "a"),
        ("/v1/jobs/00000000-0000-0000-0000-000000000000?token=x", "unknown_parameter", "token"),
    ];
    for (path, name, field) in table {
        let answer = site.get(path).await;
        let expected = (400, name.to_owned(), Some(field.to_owned()));
        assert_eq!(answer.problem(), expected, "{path} {}", answer.body);
    }
}

#[tokio::test]
async fn a_job_is_shown_with_its_story_and_why_it_waits() {
    let site = Site::open().await;
    let id = site.due_job("k-1").await;
    let path = format!("/v1/jobs/{id}");
    let waiting = site.get(&path).await.json()["waiting"].clone();
    assert_eq!(waiting["until"], json!(null));
    assert!(waiting["reason"].as_str().unwrap().starts_with("due since"));

    site.bury_due("no such order").await;
    let job = site.get(&path).await.json();
    assert_eq!(job["job_id"], id.to_string());
    assert_eq!(job["state"], "dead");
    assert_eq!(job["attempt"], 1);
    assert_eq!(job["last_error"], "no such order");
    assert_eq!(job["created_at"], "2026-03-02T12:00:00Z");
    assert_eq!(job["payload"]["order_no"], "O-1");
    assert!(
        job["waiting"]["reason"]
            .as_str()
            .unwrap()
            .contains("buried")
    );
    let story: Vec<(&str, &str)> = job["timeline"]
        .as_array()
        .unwrap()
        .iter()
        .map(|event| {
            (
                event["event"].as_str().unwrap(),
                event["state"].as_str().unwrap(),
            )
        })
        .collect();
    assert_eq!(
        story,
        [
            ("accepted", "ready"),
            ("leased", "running"),
            ("buried", "dead")
        ]
    );
}

#[tokio::test]
async fn a_done_job_waits_for_nothing_and_a_later_one_says_until_when() {
    let site = Site::open().await;
    let done = site.due_job("k-1").await;
    site.finish_due().await;
    let job = site.get(&format!("/v1/jobs/{done}")).await.json();
    assert_eq!(
        (&job["state"], &job["waiting"]),
        (&json!("done"), &json!(null))
    );

    let later = site.submit_example(JobKind::OrderExpiry, "k-2").await;
    let job = site.get(&format!("/v1/jobs/{later}")).await.json();
    assert_eq!(job["waiting"]["until"], "2026-03-08T01:00:00Z");
}

#[tokio::test]
async fn tokens_are_hidden_in_payloads_evidence_and_refusals() {
    let site = Site::open().await;
    let id = site
        .submit_example(JobKind::DeferredAuthorization, "k-1")
        .await;
    operate(
        &site,
        id,
        r#"{"answer":{"token":"tok_evidence","code":200}}"#,
    )
    .await;
    let example = clearday_jobs::example_for(JobKind::DeferredAuthorization);
    let unfinished = example.split("\"charge_sequence\"").next().unwrap();
    for refused in [example.replace("199.00", "0"), unfinished.to_owned()] {
        site.submit("deferred_authorization", "k-2", refused).await;
    }

    let job = site.get(&format!("/v1/jobs/{id}")).await;
    assert_eq!(job.json()["payload"]["methods"][0]["token"], "***");
    assert_eq!(
        job.json()["operations"][0]["evidence"],
        json!({"answer": {"token": "***", "code": 200}})
    );
    let page = site.get(&format!("/jobs/{id}")).await;
    let list = site.get("/v1/rejected_submissions").await;
    let refused = list.json()["rejected_submissions"]
        .as_array()
        .unwrap()
        .clone();
    assert_eq!(refused.len(), 2);
    let one = refused[0]["rejected_submission_id"].as_str().unwrap();
    let one = site.get(&format!("/v1/rejected_submissions/{one}")).await;
    let pages = site.get("/rejected_submissions").await;
    for answer in [job, page, list, one, pages] {
        assert_eq!(answer.status, StatusCode::OK);
        assert!(answer.body.contains("***"));
        assert!(!answer.body.contains("tok_"), "{}", answer.body);
    }
}

/// Writes down an operation of a job that succeeded, with its evidence.
async fn operate(site: &Site, job_id: JobId, evidence: &str) {
    let operation = Operation {
        id: OperationId(site.engine.ids().uuid()),
        job_id,
        kind: OperationKind::Close,
        channel: "sandbox".parse().unwrap(),
        reference: "R-1".parse().unwrap(),
        generation: 1,
        idempotency_key: "close:sandbox:R-1:1".to_owned(),
        state: OperationState::Intended,
        intended_at: noon(),
        updated_at: noon(),
    };
    let mut tx = site.engine.store().begin().await.unwrap();
    operations::intend(&mut tx, &operation).await.unwrap();
    let succeeded = OperationState::Succeeded;
    let learned = operations::learn(
        &mut tx,
        operation.id,
        succeeded,
        "closed",
        Some(evidence),
        noon(),
    );
    assert!(learned.await.unwrap());
    tx.commit().await.unwrap();
}

#[tokio::test]
async fn refusals_are_listed_page_by_page_and_cut_in_the_list_only() {
    let site = Site::open().await;
    for number in 0..5 {
        let payload = format!("{number}{}", "x".repeat(3_000));
        site.submit("order_expiry", "k", payload).await;
    }
    let first = site.get("/v1/rejected_submissions?limit=3").await.json();
    let next = first["next"].as_str().unwrap();
    let second = site
        .get(&format!("/v1/rejected_submissions?before={next}"))
        .await
        .json();
    let of = |page: &Value| page["rejected_submissions"].as_array().unwrap().clone();
    let all = [of(&first), of(&second)].concat();
    assert_eq!(second["next"], json!(null));
    assert_eq!(all.len(), 5);
    for (refused, number) in all.iter().zip(["4", "3", "2", "1", "0"]) {
        let raw = refused["raw"].as_str().unwrap();
        assert!(raw.starts_with(number) && raw.len() == 2_000);
        assert_eq!(refused["raw_bytes"], 3_001);
    }
    let id = all[0]["rejected_submission_id"].as_str().unwrap();
    let one = site
        .get(&format!("/v1/rejected_submissions/{id}"))
        .await
        .json();
    assert_eq!(one["raw"].as_str().unwrap().len(), 3_001);
}

#[tokio::test]
async fn an_unreadable_address_is_a_problem_too() {
    let site = Site::open().await;
    for path in ["/v1/jobs/%FF", "/jobs/%FF", "/v1/jobs?kind=%FF"] {
        let (status, name, _) = site.get(path).await.problem();
        assert_eq!(status, 400, "{path} {name}");
    }
}

#[tokio::test]
async fn what_is_not_there_is_not_found() {
    let site = Site::open().await;
    let nil = "00000000-0000-0000-0000-000000000000";
    for path in [
        format!("/v1/jobs/{nil}"),
        "/v1/jobs/order_expiry".to_owned(),
        format!("/v1/rejected_submissions/{nil}"),
        "/v1/rejected_submissions/x".to_owned(),
        format!("/jobs/{nil}"),
        "/v2".to_owned(),
        "/v1/jobs/".to_owned(),
    ] {
        let answer = site.get(&path).await;
        assert_eq!(
            answer.problem(),
            (404, "not_found".to_owned(), None),
            "{path}"
        );
    }
}
