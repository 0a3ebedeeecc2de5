//! `/metrics`: what happened since the start, and how the queues stand now.
//!
//! Made anew for every scrape, from the engine's counters and from the database, so there is no
//! second copy of the truth to keep up to date. When the database does not answer, the rest is
//! still told, and `clearday_database_up` is 0.

use std::sync::atomic::{AtomicU64, Ordering};

use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use prometheus_client::encoding::text::encode;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Registry, Unit};
use tracing::warn;

use super::Api;
use super::problem::Problem;
use crate::engine::{Engine, QueueFigures};

const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

type KindLabel = [(&'static str, &'static str); 1];
type KindAndStateLabels = [(&'static str, &'static str); 2];

/// Metrics for Prometheus: what happened since the start, and how the queues stand.
#[utoipa::path(
    get,
    path = "/metrics",
    tag = "health",
    operation_id = "metrics",
    responses((status = 200, description = "OpenMetrics text.", body = String, content_type = "application/openmetrics-text"))
)]
pub(super) async fn metrics(State(api): State<Api>) -> Result<Response, Problem> {
    let mut registry = Registry::with_prefix("clearday");
    let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
    registry.register("build", "The release that runs", build);
    register_counters(&mut registry, &api.engine);
    let queues = api.engine.queues().await;
    let up: Gauge = Gauge::default();
    up.set(i64::from(queues.is_ok()));
    registry.register(
        "database_up",
        "Whether the database answered this scrape",
        up,
    );
    match queues {
        Ok(queues) => register_queues(&mut registry, &queues),
        Err(error) => warn!(error = %error, "Could not read the queues for a scrape: {error}"),
    }
    let mut text = String::new();
    encode(&mut text, &registry).map_err(|error| Problem::internal("write metrics", &error))?;
    Ok(([(CONTENT_TYPE, OPENMETRICS)], text).into_response())
}

fn register_counters(registry: &mut Registry, engine: &Engine) {
    let counters = engine.counters();
    let table: [(&str, &str, &AtomicU64); 7] = [
        (
            "runs_finished",
            "Runs that ended in the recorded effect",
            &counters.finished,
        ),
        (
            "runs_failed",
            "Runs that failed, whatever followed",
            &counters.failed,
        ),
        (
            "runs_panicked",
            "Runs whose handler panicked",
            &counters.panicked,
        ),
        (
            "leases_rescued",
            "Leases that lapsed and were swept",
            &counters.rescued,
        ),
        (
            "stale_commits_refused",
            "Commits refused because the lease was lost",
            &counters.stale_commits_refused,
        ),
        (
            "jobs_pruned",
            "Finished jobs that were deleted because their time was over",
            &counters.jobs_pruned,
        ),
        (
            "histories_pruned",
            "Histories of jobs that were deleted because their time was over",
            &counters.histories_pruned,
        ),
    ];
    for (name, help, count) in table {
        let counter: Counter = Counter::default();
        counter.inc_by(count.load(Ordering::Relaxed));
        registry.register(name, help, counter);
    }
}

fn register_queues(registry: &mut Registry, queues: &[QueueFigures]) {
    let in_state: Family<KindAndStateLabels, Gauge> = Family::default();
    let latency: Family<KindLabel, Gauge<f64, AtomicU64>> = Family::default();
    let paused: Family<KindLabel, Gauge> = Family::default();
    for queue in queues {
        let kind = ("kind", queue.kind.as_str());
        for (state, count) in &queue.counts {
            in_state
                .get_or_create(&[kind, ("state", state.as_str())])
                .set(*count);
        }
        paused
            .get_or_create(&[kind])
            .set(i64::from(queue.pause.is_some()));
        latency
            .get_or_create(&[kind])
            .set(queue.latency.unwrap_or_default().as_secs_f64());
    }
    let help = "Whether people paused the queue";
    registry.register("queue_paused", help, paused);
    let help = "Jobs by kind and state, counted up to 100000";
    registry.register("jobs", help, in_state);
    let help = "For how long the longest waiting due job has been due";
    registry.register_with_unit("queue_latency", help, Unit::Seconds, latency);
}
