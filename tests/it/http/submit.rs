//! Submitting: what is acknowledged is durable, what is refused is named and kept.
#![cfg(test)]

use axum::body::Body;
use axum::http::StatusCode;
use clearday_jobs::{JobKind, PAYLOAD_BYTES_MAX, example_for};
use serde_json::{Value, json};

use super::{Answer, Site, local};

const PAYLOAD: &str = r#"{"version":1,"order_no":"O-1","expires_at":"2026-03-02T13:00:00Z"}"#;

#[tokio::test]
async fn a_job_of_every_kind_is_accepted_and_can_be_looked_at() {
    let site = Site::open().await;
    for kind in JobKind::ALL {
        let answer = site.submit(kind.as_str(), "k-1", example_for(kind)).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED);
        let body = answer.json();
        assert_eq!(body["state"], "ready");
        assert_eq!(body.as_object().unwrap().len(), 2);
        let location = answer.header("location");
        assert_eq!(
            location,
            format!("/v1/jobs/{}", body["job_id"].as_str().unwrap())
        );
        let job = site.get(location).await.json();
        assert_eq!(job["kind"], kind.as_str());
        assert_eq!(job["idempotency_key"], "k-1");
    }
}

#[tokio::test]
async fn the_same_key_and_payload_is_the_same_job() {
    let site = Site::open().await;
    let first = site.submit("order_expiry", "k-1", PAYLOAD).await;
    let spaced = PAYLOAD.replace(':', ": ").replace("13: 00: 00", "13:00:00");
    for payload in [PAYLOAD, spaced.as_str()] {
        let again = site.submit("order_expiry", "k-1", payload.to_owned()).await;
        assert_eq!(again.status, StatusCode::OK);
        assert_eq!(again.body, first.body);
    }
    assert_eq!(
        site.get("/v1/jobs").await.json()["jobs"]
            .as_array()
            .unwrap()
            .len(),
        1
    );
}

#[tokio::test]
async fn a_known_job_is_answered_with_the_state_it_reached() {
    let site = Site::open().await;
    site.due_job("k-1").await;
    site.finish_due().await;
    let payload = r#"{"version":1,"order_no":"O-1","expires_at":"2026-03-02T11:00:00Z"}"#;
    let again = site.submit("order_expiry", "k-1", payload).await;
    assert_eq!(again.status, StatusCode::OK);
    assert_eq!(again.json()["state"], "done");
}

#[tokio::test]
async fn the_same_key_with_another_payload_is_refused_and_kept() {
    let site = Site::open().await;
    let first = site.submit("order_expiry", "k-1", PAYLOAD).await.json();
    let other = PAYLOAD.replace("O-1", "O-2");
    let answer = site.submit("order_expiry", "k-1", other.clone()).await;
    assert_eq!(
        answer.problem(),
        (409, "idempotency_key_taken".to_owned(), None)
    );
    assert_eq!(answer.json()["job_id"], first["job_id"]);
    let kept = kept(&site).await;
    assert_eq!(kept.len(), 1);
    assert_eq!(kept[0]["job_id"], first["job_id"]);
    assert_eq!(kept[0]["raw"], other);
    assert_eq!(kept[0]["source"], "http");
}

#[tokio::test]
async fn the_same_key_of_another_kind_is_another_job() {
    let site = Site::open().await;
    for kind in [JobKind::OrderExpiry, JobKind::SettlementRun] {
        site.submit_example(kind, "k-1").await;
    }
}

#[tokio::test]
async fn the_payload_is_json_whatever_its_content_type_says() {
    let site = Site::open().await;
    for (key, content_type) in [
        ("k-1", "application/x-www-form-urlencoded"),
        ("k-2", "text/plain"),
        ("k-3", "application/json; charset=utf-8"),
    ] {
        let request = local("POST", "/v1/jobs/order_expiry")
            .header("Idempotency-Key", key)
            .header("Content-Type", content_type);
        let answer = site.send(request.body(PAYLOAD.into()).unwrap()).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{content_type}");
    }
}

#[tokio::test]
async fn a_bad_submission_is_refused_by_name_and_kept() {
    let site = Site::open().await;
    let long_key = "k".repeat(256);
    let large = format!(
        "{{\"version\":1,\"a\":\"{}\"}}",
        "x".repeat(PAYLOAD_BYTES_MAX)
    );
    #[rustfmt::skip]
    let table = [
        ("order_expire", "k", PAYLOAD, 404, "unknown_kind", Some("kind")),
        ("order_expiry", "", PAYLOAD, 400, "bad_idempotency_key", Some("Idempotency-Key")),
        ("order_expiry", &long_key, PAYLOAD, 400, "bad_idempotency_key", Some("Idempotency-Key")),
        ("order_expiry", "k", "{", 422, "bad_payload", Some("payload")),
        ("order_expiry", "k", "", 422, "bad_payload", Some("payload")),
        ("order_expiry", "k", "[]", 422, "bad_payload", Some("payload")),
        ("order_expiry", "k", &PAYLOAD.replace("order_no", "orderno"), 422, "bad_payload", Some("orderno")),
        ("order_expiry", "k", &PAYLOAD.replace("\"version\":1", "\"version\":2"), 422, "bad_payload", Some("version")),
        ("order_expiry", "k", &PAYLOAD.replace("13:00:00Z", "13:00:00"), 422, "bad_payload", Some("expires_at")),
        ("order_expiry", "k", &large, 413, "payload_too_large", None),
    ];
    for (kind, key, payload, status, name, field) in table {
        let answer = site.submit(kind, key, payload.to_owned()).await;
        let expected = (status, name.to_owned(), field.map(ToOwned::to_owned));
        assert_eq!(answer.problem(), expected, "{}", answer.body);
    }
    assert_eq!(kept(&site).await.len(), table.len());
    assert_eq!(job_count(&site).await, 0);
}

#[tokio::test]
async fn a_bad_amount_or_token_is_named_with_its_path() {
    let site = Site::open().await;
    let example = example_for(JobKind::DeferredAuthorization);
    #[rustfmt::skip]
    let table = [
        ("199.00", "-199.00", "order.total"),
        ("\"50.00\", \"currency\": \"CNY\"", "\"50.00\", \"currency\": \"USD\"", "methods[0].fixed_amount"),
        ("tok_card_9Xw4", "4111111111111111", "methods[1].token"),
    ];
    for (find, replace, field) in table {
        let payload = example.replacen(find, replace, 1);
        let answer = site.submit("deferred_authorization", "k", payload).await;
        let expected = (422, "bad_payload".to_owned(), Some(field.to_owned()));
        assert_eq!(answer.problem(), expected, "{}", answer.body);
    }
    for refused in kept(&site).await {
        let raw = refused["raw"].as_str().unwrap();
        assert!(!raw.contains("411111") && !raw.contains("tok_"), "{raw}");
    }
}

#[tokio::test]
async fn a_key_that_is_missing_unreadable_or_given_twice_is_refused_and_kept() {
    let site = Site::open().await;
    let post = || local("POST", "/v1/jobs/order_expiry");
    let missing = post();
    let unreadable = post().header("Idempotency-Key", &b"k\xFF"[..]);
    let twice = post()
        .header("Idempotency-Key", "a")
        .header("Idempotency-Key", "b");
    for (request, name) in [
        (missing, "no_idempotency_key"),
        (unreadable, "bad_idempotency_key"),
        (twice, "bad_idempotency_key"),
    ] {
        let answer = site.send(request.body(PAYLOAD.into()).unwrap()).await;
        let field = Some("Idempotency-Key".to_owned());
        assert_eq!(answer.problem(), (400, name.to_owned(), field));
    }
    assert_eq!(kept(&site).await.len(), 3);
}

#[tokio::test]
async fn bytes_that_are_no_text_are_refused_and_kept() {
    let site = Site::open().await;
    let answer = site
        .submit("order_expiry", "k", &b"{\"a\":\"\xFF\"}"[..])
        .await;
    let field = Some("payload".to_owned());
    assert_eq!(answer.problem(), (422, "bad_payload".to_owned(), field));
    let kept = kept(&site).await;
    assert_eq!(kept[0]["raw"], "{\"a\":\"\u{FFFD}\"}");
    assert_eq!(kept[0]["raw_bytes"], 9);
}

#[tokio::test]
async fn a_body_beyond_all_measure_is_not_even_read() {
    let site = Site::open().await;
    let answer = site
        .submit("order_expiry", "k", vec![b'x'; PAYLOAD_BYTES_MAX * 4 + 1])
        .await;
    assert_eq!(
        answer.problem(),
        (413, "payload_too_large".to_owned(), None)
    );
    assert!(kept(&site).await.is_empty());
}

#[tokio::test]
async fn a_compressed_body_is_refused() {
    let site = Site::open().await;
    let request = local("POST", "/v1/jobs/order_expiry")
        .header("Idempotency-Key", "k")
        .header("Content-Encoding", "gzip");
    let answer = site.send(request.body(Body::from("…")).unwrap()).await;
    let field = Some("Content-Encoding".to_owned());
    assert_eq!(
        answer.problem(),
        (415, "unsupported_encoding".to_owned(), field)
    );
    assert_eq!(answer.header("accept-encoding"), "identity");
}

#[tokio::test]
async fn nothing_is_acknowledged_while_the_database_is_down() {
    let site = Site::open().await;
    site.engine.store().close().await;
    let answer = site.submit("order_expiry", "k", PAYLOAD).await;
    assert_unavailable(&answer);
    for path in ["/v1/jobs", "/v1/rejected_submissions", "/jobs"] {
        assert_unavailable(&site.get(path).await);
    }
    let path = format!("/v1/jobs/{}", uuid::Uuid::nil());
    assert_unavailable(&site.get(&path).await);
    for action in ["retry", "cancel"] {
        assert_unavailable(&site.post(&format!("{path}/{action}")).await);
    }
}

fn assert_unavailable(answer: &Answer) {
    assert_eq!(answer.problem(), (503, "unavailable".to_owned(), None));
    assert_eq!(answer.header("retry-after"), "5");
}

async fn kept(site: &Site) -> Vec<Value> {
    let list = site.get("/v1/rejected_submissions").await.json();
    assert_eq!(list["next"], json!(null));
    list["rejected_submissions"].as_array().unwrap().clone()
}

async fn job_count(site: &Site) -> usize {
    let list = site.get("/v1/jobs").await.json();
    list["jobs"].as_array().unwrap().len()
}
