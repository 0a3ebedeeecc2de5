//! What the HTTP interface promises, asked through the router itself on a database of its own.
#![cfg(test)]

mod access;
mod approvals;
mod health;
mod look;
mod operate;
mod pages;
mod records;
mod submit;

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{HeaderMap, Request, StatusCode};
use chrono::{DateTime, TimeDelta, Utc};
use clearday::clock::{Clock, Ids};
use clearday::config::{Person, Role, TokenSha256};
use clearday::engine::{Engine, NoBell, Policy, Run, WorkError};
use clearday::http::{Api, Facts, ReadinessCheck, router};
use clearday::store::Store;
use clearday_jobs::{JobId, JobKind};
use serde_json::Value;
use sha2::{Digest, Sha256};
use tower::ServiceExt;

use crate::support::sandbox::bank_days;
use crate::support::servers::TestDatabase;

/// The API over an empty database, at noon.
struct Site {
    router: Router,
    engine: Engine,
    clock: Clock,
    _database: TestDatabase,
}

/// An answer, read to its end.
#[derive(Debug)]
struct Answer {
    status: StatusCode,
    headers: HeaderMap,
    body: String,
}

fn noon() -> DateTime<Utc> {
    "2026-03-02T12:00:00Z".parse().unwrap()
}

impl Site {
    /// With nobody configured.
    async fn open() -> Self {
        Self::with(Vec::new(), Vec::new()).await
    }

    async fn with(people: Vec<Person>, checks: Vec<ReadinessCheck>) -> Self {
        let database = TestDatabase::sqlite();
        let store = Store::connect(database.url(), 4).await.unwrap();
        store.migrate().await.unwrap();
        let clock = Clock::manual(noon());
        let engine = Engine::new(
            store,
            clock.clone(),
            Ids::seeded(clock.clone(), 7),
            Policy {
                lease: TimeDelta::seconds(60),
                attempts_max: 5,
                rescues_max: 3,
                handler_timeout: Duration::from_mins(1),
                partition_concurrency: None,
            },
            "worker-1".to_owned(),
            Arc::new(NoBell),
        );
        let facts = Facts {
            environment: "test".to_owned(),
            queue: "in-process",
            zone: chrono_tz::Asia::Shanghai,
            banks: bank_days(),
        };
        Self {
            router: router(Api::new(engine.clone(), people, checks, facts)),
            engine,
            clock,
            _database: database,
        }
    }

    async fn send(&self, request: Request<Body>) -> Answer {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let bytes = to_bytes(body, usize::MAX).await.unwrap();
        let answer = Answer {
            status: parts.status,
            headers: parts.headers,
            body: String::from_utf8(bytes.to_vec()).unwrap(),
        };
        answer.assert_careful();
        answer
    }

    async fn get(&self, path: &str) -> Answer {
        self.send(local("GET", path).body(Body::empty()).unwrap())
            .await
    }

    async fn post(&self, path: &str) -> Answer {
        self.send(local("POST", path).body(Body::empty()).unwrap())
            .await
    }

    async fn submit(&self, kind: &str, key: &str, payload: impl Into<Body>) -> Answer {
        let path = format!("/v1/jobs/{kind}");
        let request = local("POST", &path).header("Idempotency-Key", key);
        self.send(request.body(payload.into()).unwrap()).await
    }

    /// Submits the example of a kind and gives the job's id.
    async fn submit_example(&self, kind: JobKind, key: &str) -> JobId {
        let example = clearday_jobs::example_for(kind);
        let answer = self.submit(kind.as_str(), key, example).await;
        assert_eq!(answer.status, StatusCode::ACCEPTED, "{}", answer.body);
        JobId(answer.json()["job_id"].as_str().unwrap().parse().unwrap())
    }

    /// An `order_expiry` job that is due.
    async fn due_job(&self, key: &str) -> JobId {
        let payload = r#"{"version":1,"order_no":"O-1","expires_at":"2026-03-02T11:00:00Z"}"#;
        let answer = self.submit("order_expiry", key, payload).await;
        JobId(answer.json()["job_id"].as_str().unwrap().parse().unwrap())
    }

    /// Leases the one due `order_expiry` job and runs it to a failure that trying again cannot mend.
    async fn bury_due(&self, why: &'static str) {
        let leased = self
            .engine
            .lease_due(JobKind::OrderExpiry, 1)
            .await
            .unwrap();
        let fail = |_: Run| async move { Err(WorkError::Invalid(why.to_owned())) };
        self.engine
            .execute(leased.into_iter().next().unwrap(), fail)
            .await;
    }

    /// Leases the one due `order_expiry` job and finishes it.
    async fn finish_due(&self) {
        let leased = self
            .engine
            .lease_due(JobKind::OrderExpiry, 1)
            .await
            .unwrap();
        let finish = |run: Run| async move { run.done(run.begin().await?, "did it").await };
        self.engine
            .execute(leased.into_iter().next().unwrap(), finish)
            .await;
    }
}

impl Answer {
    fn json(&self) -> Value {
        serde_json::from_str(&self.body)
            .unwrap_or_else(|error| panic!("{error}: {} {:?}", self.status, self.body))
    }

    fn header(&self, name: &str) -> &str {
        self.headers
            .get(name)
            .map_or("", |value| value.to_str().unwrap())
    }

    /// The last word of the problem's type and the field it names.
    fn problem(&self) -> (u16, String, Option<String>) {
        let problem = self.json();
        assert_eq!(self.header("content-type"), "application/problem+json");
        assert_eq!(problem["status"], self.status.as_u16());
        for member in ["title", "detail"] {
            assert!(!problem[member].as_str().unwrap().is_empty());
        }
        let name = problem["type"].as_str().unwrap();
        let name = name.strip_prefix("urn:problem-type:clearday:").unwrap();
        let field = problem["field"].as_str().map(ToOwned::to_owned);
        (self.status.as_u16(), name.to_owned(), field)
    }

    /// Every answer tells browsers to be careful, and every error is a problem or a page.
    fn assert_careful(&self) {
        assert!(
            self.header("content-security-policy")
                .starts_with("default-src 'none'")
        );
        assert_eq!(self.header("x-content-type-options"), "nosniff");
        assert!(!self.header("cache-control").is_empty());
        let content_type = self.header("content-type");
        let is_readiness = self.body.starts_with("{\"ready\":");
        if (self.status.is_client_error() || self.status.is_server_error()) && !is_readiness {
            assert!(
                content_type == "application/problem+json"
                    || content_type == "text/html; charset=utf-8",
                "{} {content_type} {}",
                self.status,
                self.body
            );
        }
    }
}

/// A request as a program on this machine sends it.
fn local(method: &str, path: &str) -> axum::http::request::Builder {
    Request::builder()
        .method(method)
        .uri(path)
        .header("Host", "127.0.0.1:8080")
}

/// Somebody whose token is `{name}-token`.
fn person(name: &str, role: Role) -> Person {
    let token = format!("{name}-token");
    Person {
        name: name.to_owned(),
        role,
        token_sha256: TokenSha256(Sha256::digest(token.as_bytes()).into()),
        expires_at: None,
    }
}

/// One person for each role, named after it.
fn one_of_each_role() -> Vec<Person> {
    Role::ALL
        .map(|role| person(role.as_str(), role))
        .into_iter()
        .collect()
}
