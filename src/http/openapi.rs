//! `/openapi.json`: the API described by its own code, with the schemas of every payload.

use axum::Json;
use axum::extract::State;
use clearday_jobs::{JobKind, example_for, schema_for};
use serde_json::{Map, Value, json};
use utoipa::OpenApi;
use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityScheme};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::access::{Access, ROUTES};
use super::problem::{PROBLEM_JSON, ProblemBody};
use super::{Api, approvals, bulk, health, jobs, metrics, queues, records, rejected, settlements};

/// Where the body of a submission is described.
const SUBMITTED_BODY: &str = "/paths/~1v1~1jobs~1{job}/post/requestBody/content";

#[derive(OpenApi)]
#[openapi(
    info(
        title = "clearday",
        description = "The back office of a payment system as one worker daemon: submit jobs, look at them, operate them.",
    ),
    tags(
        (name = "jobs", description = "Submit, list, look at, retry, cancel and put off jobs."),
        (name = "queues", description = "How the queue of each kind stands; pause and resume it."),
        (name = "records", description = "Import payments and refunds of our books."),
        (name = "rejected_submissions", description = "What was refused at the door, and sent anew, mended."),
        (name = "approvals", description = "What two people must agree on before money moves."),
        (name = "settlements", description = "What merchants are owed, and how far its payment is."),
        (name = "health", description = "For probes and monitoring."),
    ),
    components(schemas(ProblemBody)),
    security(("token" = []))
)]
struct Description;

/// The routes of the API, with their description.
pub(super) fn api_router() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(Description::openapi())
        .routes(routes!(jobs::submit, jobs::show))
        .routes(routes!(jobs::list))
        .routes(routes!(jobs::retry))
        .routes(routes!(jobs::cancel))
        .routes(routes!(bulk::retry))
        .routes(routes!(bulk::cancel))
        .routes(routes!(bulk::snooze))
        .routes(routes!(bulk::snooze_one))
        .routes(routes!(bulk::dead_letters))
        .routes(routes!(queues::list))
        .routes(routes!(queues::pause))
        .routes(routes!(queues::resume))
        .routes(routes!(records::import))
        .routes(routes!(rejected::list))
        .routes(routes!(rejected::show))
        .routes(routes!(rejected::mend))
        .routes(routes!(jobs::timeline))
        .routes(routes!(approvals::list))
        .routes(routes!(approvals::show))
        .routes(routes!(approvals::approve))
        .routes(routes!(approvals::reject))
        .routes(routes!(settlements::list))
        .routes(routes!(settlements::show))
        .routes(routes!(settlements::register_offline_payment))
        .routes(routes!(health::healthz))
        .routes(routes!(health::readyz))
        .routes(routes!(metrics::metrics))
}

/// The whole description as text without a last line end, the same for every build of the same code.
pub fn openapi_json() -> String {
    format!("{:#}", describe(api_router().into_openapi()))
}

/// `GET /openapi.json`
pub(super) async fn serve(State(api): State<Api>) -> Json<Value> {
    Json(Value::clone(&api.description))
}

/// The description with what the derive macros cannot say: the payloads, which the contract crate
/// describes itself, and how to authenticate.
pub(super) fn describe(mut description: utoipa::openapi::OpenApi) -> Value {
    let scheme = Http::builder()
        .scheme(HttpAuthScheme::Bearer)
        .description(Some(
            "A token of [[people]]. Without people, requests from this machine need none.",
        ))
        .build();
    description
        .components
        .get_or_insert_default()
        .add_security_scheme("token", SecurityScheme::Http(scheme));
    let mut document = serde_json::to_value(&description).unwrap_or_default();
    if let Some(body) = document.pointer_mut(SUBMITTED_BODY) {
        *body = json!({"application/json": submitted_body()});
    }
    let schemas = document.pointer_mut("/components/schemas");
    if let Some(Value::Object(schemas)) = schemas {
        for kind in JobKind::ALL {
            schemas.insert(kind.to_string(), embedded(schema_for(kind)));
        }
    }
    for rule in ROUTES {
        let path = rule.path.replace('/', "~1");
        let method = rule.method.to_ascii_lowercase();
        let pointer = format!("/paths/{path}/{method}");
        if let Some(operation) = document.pointer_mut(&pointer) {
            describe_errors(operation, rule.access);
        }
    }
    document.sort_all_objects();
    document
}

/// Says what every operation has in common: who may use it, and how errors look.
fn describe_errors(operation: &mut Value, access: Access) {
    match access {
        Access::Open => operation["security"] = json!([]),
        Access::AtLeast(role) => {
            operation["x-role"] = json!(role.as_str());
            let responses = &mut operation["responses"];
            responses["401"] = json!({"description": "No valid token."});
            responses["403"] =
                json!({"description": "The role may not do this, or another site asks."});
            responses["500"] = json!({"description": "A fault of ours; the log says more."});
            if responses.get("503").is_none() {
                responses["503"] = json!({"description": "Unavailable for now; try again."});
            }
        }
    }
    let responses = operation
        .get_mut("responses")
        .and_then(Value::as_object_mut);
    for (status, response) in responses.into_iter().flatten() {
        if status.starts_with(['4', '5']) && response.get("content").is_none() {
            let schema = json!({"$ref": "#/components/schemas/Problem"});
            response["content"] = json!({PROBLEM_JSON: {"schema": schema}});
        }
    }
}

fn submitted_body() -> Value {
    let schemas = JobKind::ALL
        .map(|kind| json!({"$ref": format!("#/components/schemas/{kind}")}))
        .to_vec();
    let examples: Map<String, Value> = JobKind::ALL
        .into_iter()
        .map(|kind| {
            let example: Value = serde_json::from_str(example_for(kind)).unwrap_or_default();
            (kind.to_string(), json!({"value": example}))
        })
        .collect();
    json!({"schema": {"oneOf": schemas}, "examples": examples})
}

/// A schema within another document: the dialect is the document's.
fn embedded(mut schema: Value) -> Value {
    if let Value::Object(fields) = &mut schema {
        fields.remove("$schema");
    }
    schema
}
