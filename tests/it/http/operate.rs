//! Operating: retry and cancel, with the name of who asked, and only where the state allows.
#![cfg(test)]

use axum::body::Body;
use axum::http::StatusCode;
use clearday::config::Role;
use clearday_jobs::JobKind;
use serde_json::Value;

use super::{Site, local, person};

#[tokio::test]
async fn a_dead_job_is_retried_and_the_history_says_by_whom() {
    let site = Site::with(vec![person("ann", Role::Operator)], Vec::new()).await;
    let post = async |path: &str| {
        let request = local("POST", path)
            .header("Authorization", "Bearer ann-token")
            .header("Idempotency-Key", "k-1");
        let payload = r#"{"version":1,"order_no":"O-1","expires_at":"2026-03-02T11:00:00Z"}"#;
        site.send(request.body(Body::from(payload)).unwrap()).await
    };
    let submitted = post("/v1/jobs/order_expiry").await.json();
    let id = submitted["job_id"].as_str().unwrap();
    site.bury_due("no such order").await;

    let answer = post(&format!("/v1/jobs/{id}/retry")).await;
    assert_eq!(answer.status, StatusCode::OK);
    let job = answer.json();
    assert_eq!(
        (&job["state"], &job["attempt"]),
        (&"ready".into(), &0.into())
    );
    assert_eq!(job["note"], "retried by ann");

    let answer = post(&format!("/v1/jobs/{id}/cancel")).await;
    assert_eq!(answer.json()["state"], "cancelled");
    assert_eq!(answer.json()["note"], "cancelled by ann");
}

#[tokio::test]
async fn a_running_job_is_cancelled_when_its_worker_lets_go() {
    let site = Site::open().await;
    let id = site.due_job("k-1").await;
    site.engine
        .lease_due(JobKind::OrderExpiry, 1)
        .await
        .unwrap();
    let job = site.post(&format!("/v1/jobs/{id}/cancel")).await.json();
    assert_eq!(job["state"], "cancelling");
    assert_eq!(job["lease"]["worker"], "worker-1");
    assert_eq!(job["lease"]["until"], "2026-03-02T12:01:00Z");
}

#[tokio::test]
async fn what_the_state_does_not_allow_is_a_conflict() {
    let site = Site::open().await;
    let id = site.due_job("k-1").await;
    site.finish_due().await;
    for action in ["retry", "cancel"] {
        let answer = site.post(&format!("/v1/jobs/{id}/{action}")).await;
        assert_eq!(answer.problem(), (409, "state_conflict".to_owned(), None));
        assert_eq!(answer.json()["job_id"], id.to_string());
        let detail: Value = answer.json()["detail"].clone();
        assert!(detail.as_str().unwrap().contains("is done"), "{detail}");
    }
}

#[tokio::test]
async fn an_unknown_job_is_not_found() {
    let site = Site::open().await;
    for action in ["retry", "cancel"] {
        for id in ["00000000-0000-0000-0000-000000000000", "x"] {
            let answer = site.post(&format!("/v1/jobs/{id}/{action}")).await;
            assert_eq!(answer.problem(), (404, "not_found".to_owned(), None));
        }
    }
}
