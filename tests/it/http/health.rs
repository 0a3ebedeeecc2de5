//! Health, metrics and the API's description: what machines read.
#![cfg(test)]

use std::collections::BTreeSet;
use std::sync::Arc;

use axum::http::StatusCode;
use clearday::domain::job::JobState;
use clearday::http::{Access, Check, ROUTES, ReadinessCheck, openapi_json};
use clearday_jobs::{JobKind, schema_for};
use serde_json::{Value, json};

use super::Site;

fn redis_that(answer: Result<(), String>) -> ReadinessCheck {
    let check: Check = Arc::new(move || Box::pin(std::future::ready(answer.clone())));
    ReadinessCheck::new("redis", check)
}

#[tokio::test]
async fn a_daemon_with_all_it_needs_is_ready() {
    let site = Site::with(Vec::new(), vec![redis_that(Ok(()))]).await;
    assert_eq!(site.get("/healthz").await.body, "ok\n");
    let answer = site.get("/readyz").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(
        answer.json(),
        json!({"ready": true, "checks": [
            {"name": "database", "ok": true, "detail": "sqlite"},
            {"name": "redis", "ok": true, "detail": "answers"},
        ]})
    );
}

#[tokio::test]
async fn what_is_missing_is_named() {
    let refused = redis_that(Err("connection refused".to_owned()));
    let site = Site::with(Vec::new(), vec![refused]).await;
    let answer = site.get("/readyz").await;
    assert_eq!(answer.status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(answer.json()["ready"], false);
    assert_eq!(
        answer.json()["checks"][1],
        json!({"name": "redis", "ok": false, "detail": "connection refused"})
    );
    site.engine.store().close().await;
    assert_eq!(site.get("/readyz").await.json()["checks"][0]["ok"], false);
    assert_eq!(site.get("/healthz").await.status, StatusCode::OK);
}

#[tokio::test]
async fn metrics_count_every_kind_and_state_and_what_happened() {
    let site = Site::open().await;
    site.due_job("k-1").await;
    site.finish_due().await;
    site.due_job("k-2").await;
    site.bury_due("no such order").await;
    site.due_job("k-3").await;
    let answer = site.get("/metrics").await;
    assert!(
        answer
            .header("content-type")
            .starts_with("application/openmetrics-text")
    );
    let lines: BTreeSet<&str> = answer.body.lines().collect();
    for line in [
        "clearday_build_info{version=\"0.1.0\"} 1",
        "clearday_database_up 1",
        "clearday_runs_finished_total 1",
        "clearday_runs_failed_total 1",
        "clearday_runs_panicked_total 0",
        "clearday_leases_rescued_total 0",
        "clearday_stale_commits_refused_total 0",
        "clearday_jobs{kind=\"order_expiry\",state=\"ready\"} 1",
        "clearday_jobs{kind=\"order_expiry\",state=\"dead\"} 1",
        "clearday_jobs{kind=\"order_expiry\",state=\"done\"} 1",
        "clearday_queue_latency_seconds{kind=\"order_expiry\"} 3600.0",
        "clearday_queue_latency_seconds{kind=\"settlement_run\"} 0.0",
        "# EOF",
    ] {
        assert!(lines.contains(line), "{line}\n{}", answer.body);
    }
    let jobs = lines
        .iter()
        .filter(|line| line.starts_with("clearday_jobs{"));
    assert_eq!(jobs.count(), JobKind::ALL.len() * JobState::ALL.len());
}

#[tokio::test]
async fn metrics_are_told_while_the_database_is_down() {
    let site = Site::open().await;
    site.engine.store().close().await;
    let answer = site.get("/metrics").await;
    assert_eq!(answer.status, StatusCode::OK);
    assert!(answer.body.contains("clearday_database_up 0"));
    assert!(answer.body.contains("clearday_runs_finished_total 0"));
}

#[tokio::test]
async fn the_description_is_served_and_the_same_for_the_command_line() {
    let site = Site::open().await;
    let served = site.get("/openapi.json").await.json();
    let printed: Value = serde_json::from_str(&openapi_json()).unwrap();
    assert_eq!(served, printed);
    assert_eq!(openapi_json(), openapi_json());
}

#[test]
fn the_description_and_the_table_of_access_name_the_same_operations() {
    let description: Value = serde_json::from_str(&openapi_json()).unwrap();
    let described: BTreeSet<(String, String)> = description["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().keys();
            methods.map(|method| (method.to_uppercase(), path.clone()))
        })
        .collect();
    let machine_paths = ["/v1/", "/healthz", "/readyz", "/metrics"];
    let tabled: BTreeSet<(String, String)> = ROUTES
        .iter()
        .filter(|rule| machine_paths.iter().any(|path| rule.path.starts_with(path)))
        .map(|rule| (rule.method.to_owned(), rule.path.to_owned()))
        .collect();
    assert_eq!(described, tabled);
    for rule in ROUTES {
        let operation = &description["paths"][rule.path][rule.method.to_lowercase()];
        if operation.is_null() {
            continue;
        }
        let parameters = operation["parameters"].as_array().into_iter().flatten();
        let in_query: Vec<&str> = parameters
            .filter(|parameter| parameter["in"] == "query")
            .map(|parameter| parameter["name"].as_str().unwrap())
            .collect();
        assert_eq!(in_query, rule.parameters, "{}", rule.path);
        let is_open = operation["security"] == json!([]);
        assert_eq!(is_open, rule.access == Access::Open, "{}", rule.path);
    }
}

#[test]
fn the_description_holds_every_payload_and_no_dangling_reference() {
    let description: Value = serde_json::from_str(&openapi_json()).unwrap();
    let schemas = &description["components"]["schemas"];
    for kind in JobKind::ALL {
        let mut schema = schema_for(kind);
        schema.as_object_mut().unwrap().remove("$schema");
        assert_eq!(schemas[kind.as_str()], schema);
    }
    let text = description.to_string();
    for reference in text.split("\"#/components/schemas/").skip(1) {
        let name = reference.split('"').next().unwrap();
        assert!(schemas[name].is_object(), "{name}");
    }
    let body = &description["paths"]["/v1/jobs/{job}"]["post"]["requestBody"]["content"];
    let body = &body["application/json"];
    assert_eq!(
        body["schema"]["oneOf"].as_array().unwrap().len(),
        JobKind::ALL.len()
    );
    assert_eq!(body["examples"]["order_expiry"]["value"]["version"], 1);
}

#[test]
fn every_error_is_described_as_a_problem() {
    let description: Value = serde_json::from_str(&openapi_json()).unwrap();
    let items = description["paths"].as_object().unwrap().values();
    for operation in items.flat_map(|item| item.as_object().unwrap().values()) {
        for (status, response) in operation["responses"].as_object().unwrap() {
            let is_error = status.starts_with(['4', '5']);
            if is_error && operation["operationId"] != "readyz" {
                let content = response["content"].as_object().unwrap();
                assert!(content.contains_key("application/problem+json"), "{status}");
            }
        }
    }
}
