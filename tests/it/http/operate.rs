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

#[tokio::test]
async fn a_queue_is_paused_with_a_reason_and_resumed() {
    let site = Site::with(vec![person("ann", Role::Operator)], Vec::new()).await;
    let post = async |path: &str, body: &'static str| {
        let request = local("POST", path).header("Authorization", "Bearer ann-token");
        site.send(request.body(Body::from(body)).unwrap()).await
    };
    let reason = r#"{"reason":"the channel is being changed"}"#;
    let paused = post("/v1/queues/order_expiry/pause", reason).await;
    assert_eq!(paused.status, StatusCode::OK);
    let expected = serde_json::json!({
        "since": "2026-03-02T12:00:00Z", "by": "ann", "reason": "the channel is being changed",
    });
    assert_eq!(paused.json()["paused"], expected);

    let get = local("GET", "/v1/queues").header("Authorization", "Bearer ann-token");
    let listed = site.send(get.body(Body::empty()).unwrap()).await.json();
    assert_eq!(
        listed["queues"].as_array().unwrap().len(),
        JobKind::ALL.len()
    );
    assert_eq!(listed["queues"][1]["paused"], expected);
    assert_eq!(listed["queues"][0]["paused"], Value::Null);
    assert_eq!(listed["queues"][1]["jobs"]["ready"], 0);

    let resumed = post("/v1/queues/order_expiry/resume", "").await.json();
    assert_eq!(resumed["paused"], Value::Null);
}

#[tokio::test]
async fn a_pause_without_a_reason_or_of_an_unknown_kind_is_refused() {
    let site = Site::open().await;
    let post = async |path: &str, body: &'static str| {
        let request = local("POST", path).body(Body::from(body)).unwrap();
        site.send(request).await.problem()
    };
    let about = |field: &str| Some(field.to_owned());
    for (body, field) in [
        ("", "body"),
        ("{}", "body"),
        (r#"{"reason":" "}"#, "reason"),
    ] {
        let refused = post("/v1/queues/order_expiry/pause", body).await;
        assert_eq!(
            refused,
            (422, "bad_payload".to_owned(), about(field)),
            "{body}"
        );
    }
    let reason = r#"{"reason":"why not"}"#;
    for path in ["/v1/queues/order_expire/pause", "/v1/queues/x/resume"] {
        let refused = post(path, reason).await;
        assert_eq!(refused, (404, "unknown_kind".to_owned(), about("kind")));
    }
}

#[tokio::test]
async fn all_dead_letters_of_a_cause_are_replayed_when_their_number_is_sent_back() {
    let site = Site::with(vec![person("ann", Role::Operator)], Vec::new()).await;
    let ask = async |method: &str, path: &str, body: &str| {
        let request = local(method, path).header("Authorization", "Bearer ann-token");
        let request = request.header("Idempotency-Key", format!("key of {body}"));
        site.send(request.body(Body::from(body.to_owned())).unwrap())
            .await
    };
    for order_no in ["O-1", "O-2"] {
        let payload = format!(
            r#"{{"version":1,"order_no":"{order_no}","expires_at":"2026-03-02T11:00:00Z"}}"#
        );
        ask("POST", "/v1/jobs/order_expiry", &payload).await;
    }
    site.bury_due("order O-1 is unknown").await;
    site.bury_due("order O-2 is unknown").await;
    let letters = ask("GET", "/v1/dead_letters", "").await.json();
    let group = &letters["groups"][0];
    assert_eq!(group["reason"], "order # is unknown");
    assert_eq!(
        (&group["count"], &group["kind"]),
        (&2.into(), &"order_expiry".into())
    );

    let retry = async |rest: &str| {
        let filter = r#"{"kind":"order_expiry","reason":"order # is unknown"}"#;
        let body = format!(r#"{{"filter":{filter},{rest}}}"#);
        ask("POST", "/v1/jobs/retry", &body).await
    };
    let shown = retry(r#""dry_run":true"#).await.json();
    assert_eq!(
        (&shown["matched"], &shown["changed"]),
        (&2.into(), &0.into())
    );
    assert_eq!(shown["examples"].as_array().unwrap().len(), 2);
    let refused = retry(r#""expected":3"#).await.problem();
    let about = |field: &str| Some(field.to_owned());
    assert_eq!(
        refused,
        (409, "count_differs".to_owned(), about("expected"))
    );
    let refused = retry(r#""dry_run":false"#).await.problem();
    assert_eq!(refused, (422, "bad_payload".to_owned(), about("expected")));
    let done = retry(r#""expected":2"#).await.json();
    assert_eq!((&done["changed"], &done["refused"]), (&2.into(), &0.into()));
    let listed = ask("GET", "/v1/jobs?state=ready", "").await.json();
    assert_eq!(listed["jobs"][0]["note"], "retried by ann");
}

#[tokio::test]
async fn a_job_is_put_off_by_an_instant_or_by_seconds() {
    let site = Site::open().await;
    let id = site.due_job("k-1").await;
    let snooze = async |path: String, body: &'static str| {
        site.send(local("POST", &path).body(Body::from(body)).unwrap())
            .await
    };
    let one = format!("/v1/jobs/{id}/snooze");
    let job = snooze(one.clone(), r#"{"until":"2026-03-03T08:00:00+08:00"}"#).await;
    assert_eq!(job.json()["run_at"], "2026-03-03T00:00:00Z");
    let job = snooze(one.clone(), r#"{"seconds":3600}"#).await.json();
    assert_eq!(job["run_at"], "2026-03-02T13:00:00Z");
    for body in [
        "{}",
        r#"{"seconds":1,"until":"2026-03-03T00:00:00Z"}"#,
        r#"{"until":"2026-03-02T12:00:00Z"}"#,
    ] {
        let refused = snooze(one.clone(), body).await.problem();
        assert_eq!(refused.0, 422, "{body}");
    }
    let all = r#"{"expected":1,"seconds":60}"#;
    let done = snooze("/v1/jobs/snooze".to_owned(), all).await.json();
    assert_eq!(done["changed"], 1);
    let misplaced = r#"{"dry_run":true,"seconds":60}"#;
    let refused = snooze("/v1/jobs/cancel".to_owned(), misplaced).await;
    assert_eq!(refused.problem().2.as_deref(), Some("seconds"));
}

#[tokio::test]
async fn what_was_refused_is_sent_anew_with_its_key() {
    let site = Site::open().await;
    site.submit("order_expiry", "k-1", r#"{"version":1}"#).await;
    let rejected = site.get("/v1/rejected_submissions").await.json();
    let id = &rejected["rejected_submissions"][0]["rejected_submission_id"];
    let path = format!("/v1/rejected_submissions/{}/mend", id.as_str().unwrap());
    let mend = async |body: &'static str| {
        site.send(local("POST", &path).body(Body::from(body)).unwrap())
            .await
    };
    let refused = mend(r#"{"payload":{"version":1}}"#).await.problem();
    assert_eq!((refused.0, refused.1.as_str()), (422, "bad_payload"));
    let good = r#"{"payload":{"version":1,"order_no":"O-1","expires_at":"2026-03-02T11:00:00Z"}}"#;
    let job_id = mend(good).await.json()["job_id"].clone();
    let job = site
        .get(&format!("/v1/jobs/{}", job_id.as_str().unwrap()))
        .await;
    assert_eq!(job.json()["idempotency_key"], "k-1");
    let rejected = site.get("/v1/rejected_submissions").await.json();
    assert_eq!(rejected["rejected_submissions"][0]["mended_job_id"], job_id);
    assert_eq!(mend(good).await.problem().0, 409);
}

#[tokio::test]
async fn the_history_of_a_pruned_job_is_still_told() {
    let site = Site::open().await;
    let id = site.due_job("k-1").await;
    site.finish_due().await;
    site.clock.advance(chrono::TimeDelta::days(91));
    let keep = clearday::engine::Retention {
        jobs: chrono::TimeDelta::days(90),
        job_events: chrono::TimeDelta::days(400),
    };
    let path = format!("/v1/jobs/{id}/timeline");
    assert_eq!(site.get(&path).await.json()["pruned"], Value::Null);
    site.engine.prune_batch(&keep).await.unwrap();
    assert_eq!(
        site.get(&format!("/v1/jobs/{id}")).await.status,
        StatusCode::NOT_FOUND
    );
    let told = site.get(&path).await.json();
    assert_eq!(told["pruned"]["state"], "done");
    assert_eq!(told["timeline"].as_array().unwrap().len(), 3);
    let metrics = site.get("/metrics").await.body;
    assert!(
        metrics.contains("clearday_jobs_pruned_total 1"),
        "{metrics}"
    );
}
