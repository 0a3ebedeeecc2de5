//! Who may do what: one table of routes and roles, and the guard that reads it before any handler.
//!
//! Denied is the default. A route that is not in [`ROUTES`] answers nobody, whatever its handler
//! says, and a query parameter that is not in the table is refused by name.

use std::collections::BTreeMap;
use std::net::IpAddr;

use axum::extract::{MatchedPath, Query, Request, State};
use axum::http::header::{AUTHORIZATION, HOST, ORIGIN};
use axum::http::{HeaderMap, Method, StatusCode, uri};
use axum::middleware::Next;
use axum::response::Response;
use tracing::warn;

use super::Api;
use super::auth::{Caller, TokenRefusal};
use super::problem::{Problem, ProblemKind};
use super::session;
use crate::config::Role;

/// Who may use a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Everybody: says nothing that is worth hiding.
    Open,
    /// People with this role or one above it.
    AtLeast(Role),
}

/// One row of the table.
#[derive(Clone, Copy, Debug)]
pub struct Rule {
    /// The method; `GET` includes `HEAD`.
    pub method: &'static str,
    /// The path, as the router spells it.
    pub path: &'static str,
    /// Who may.
    pub access: Access,
    /// The query parameters it reads; each at most once.
    pub parameters: &'static [&'static str],
}

const fn rule(method: &'static str, path: &'static str, access: Access) -> Rule {
    Rule {
        method,
        path,
        access,
        parameters: &[],
    }
}

impl Rule {
    const fn reading(mut self, parameters: &'static [&'static str]) -> Self {
        self.parameters = parameters;
        self
    }
}

const OPEN: Access = Access::Open;
const VIEWER: Access = Access::AtLeast(Role::Viewer);
const OPERATOR: Access = Access::AtLeast(Role::Operator);
const APPROVER: Access = Access::AtLeast(Role::Approver);

const JOB_LIST: &[&str] = &["kind", "state", "limit", "before"];
const APPROVAL_LIST: &[&str] = &["state", "limit", "before"];
const SETTLEMENT_LIST: &[&str] = &["merchant_id", "state", "limit", "before"];
const PAGED: &[&str] = &["limit", "before"];

/// Every route and who may use it.
#[rustfmt::skip]
pub const ROUTES: &[Rule] = &[
    rule("GET",  "/healthz",                              OPEN),
    rule("GET",  "/readyz",                               OPEN),
    rule("GET",  "/metrics",                              VIEWER),
    rule("GET",  "/openapi.json",                         VIEWER),
    rule("GET",  "/v1/jobs",                              VIEWER).reading(JOB_LIST),
    // `{job}` is a kind where jobs are submitted and an id elsewhere: the router and OpenAPI alike
    // want one name for one place in a path.
    rule("POST", "/v1/jobs/{job}",                        OPERATOR),
    rule("GET",  "/v1/jobs/{job}",                        VIEWER),
    rule("POST", "/v1/jobs/{job}/retry",                  OPERATOR),
    rule("POST", "/v1/jobs/{job}/cancel",                 OPERATOR),
    rule("GET",  "/v1/jobs/{job}/timeline",               VIEWER),
    rule("POST", "/v1/jobs/{job}/snooze",                 OPERATOR),
    rule("POST", "/v1/jobs/retry",                        OPERATOR),
    rule("POST", "/v1/jobs/cancel",                       OPERATOR),
    rule("POST", "/v1/jobs/snooze",                       OPERATOR),
    rule("GET",  "/v1/dead_letters",                      VIEWER),
    rule("GET",  "/v1/queues",                            VIEWER),
    rule("POST", "/v1/queues/{kind}/pause",               OPERATOR),
    rule("POST", "/v1/queues/{kind}/resume",              OPERATOR),
    rule("POST", "/v1/records",                           OPERATOR),
    rule("GET",  "/v1/rejected_submissions",              VIEWER).reading(PAGED),
    rule("GET",  "/v1/rejected_submissions/{id}",         VIEWER),
    rule("POST", "/v1/rejected_submissions/{id}/mend",    OPERATOR),
    rule("GET",  "/v1/approvals",                         VIEWER).reading(APPROVAL_LIST),
    rule("GET",  "/v1/approvals/{id}",                    VIEWER),
    rule("POST", "/v1/approvals/{id}/approve",            APPROVER),
    rule("POST", "/v1/approvals/{id}/reject",             APPROVER),
    rule("GET",  "/v1/settlements",                       VIEWER).reading(SETTLEMENT_LIST),
    rule("GET",  "/v1/settlements/{id}",                  VIEWER),
    rule("POST", "/v1/settlements/{id}/parts/{part_no}/offline_payments", OPERATOR),
    rule("GET",  "/",                                     VIEWER).reading(&["refresh"]),
    rule("GET",  "/jobs",                                 VIEWER).reading(JOB_LIST),
    rule("GET",  "/jobs/{job}",                           VIEWER),
    rule("POST", "/jobs/{job}/retry",                     OPERATOR),
    rule("POST", "/jobs/{job}/cancel",                    OPERATOR),
    rule("POST", "/jobs/{job}/snooze",                    OPERATOR),
    rule("POST", "/queues/{kind}/pause",                  OPERATOR),
    rule("POST", "/queues/{kind}/resume",                 OPERATOR),
    rule("GET",  "/dead_letters",                         VIEWER),
    rule("POST", "/dead_letters/retry",                   OPERATOR),
    rule("GET",  "/rejected_submissions",                 VIEWER).reading(PAGED),
    rule("GET",  "/breaks",                               VIEWER).reading(&["state"]),
    rule("GET",  "/approvals",                            VIEWER).reading(APPROVAL_LIST),
    rule("POST", "/approvals/{id}/approve",               APPROVER),
    rule("POST", "/approvals/{id}/reject",                APPROVER),
    rule("GET",  "/settlements",                          VIEWER).reading(SETTLEMENT_LIST),
    rule("GET",  "/settlements/{id}",                     VIEWER),
    rule("GET",  "/login",                                OPEN),
    rule("POST", "/login",                                OPEN),
    rule("POST", "/logout",                               OPEN),
    rule("GET",  "/style.css",                            OPEN),
    rule("GET",  "/icon.svg",                             OPEN),
];

/// The query parameters of a request, each one known to its route and given once.
#[derive(Clone, Debug, Default)]
pub(super) struct Parameters(BTreeMap<String, String>);

impl Parameters {
    /// The value of a parameter, read as `T`.
    pub(super) fn read<T>(&self, name: &str) -> Result<Option<T>, Problem>
    where
        T: std::str::FromStr,
        T::Err: std::fmt::Display,
    {
        let read = |text: &String| {
            text.parse().map_err(|error| {
                Problem::new(ProblemKind::BadParameter, format!("{name}: {error}")).about(name)
            })
        };
        self.0.get(name).map(read).transpose()
    }
}

/// Lets a request through to its handler, with its [`Caller`] and its [`Parameters`], or refuses.
pub(super) async fn guard(
    State(api): State<Api>,
    mut request: Request,
    next: Next,
) -> Result<Response, Problem> {
    let found = find_rule(&request);
    refuse_cross_site(&request)?;
    if let Found::Rule(Rule { access, .. }) = found
        && *access == Access::Open
    {
        return Ok(next.run(request).await);
    }
    let caller = identify(&api, &request)?;
    let rule = match found {
        Found::Rule(rule) => rule,
        Found::OtherMethod => return Err(Problem::of_status(StatusCode::METHOD_NOT_ALLOWED)),
        Found::NoRoute => return Err(Problem::of_status(StatusCode::NOT_FOUND)),
        Found::NoRule => {
            return Err(Problem::new(
                ProblemKind::Forbidden,
                "nobody may use this address: it has no row in the table of access",
            ));
        }
    };
    refuse_below(rule, &caller)?;
    let parameters = parameters_of(rule, &request)?;
    request.extensions_mut().insert(caller);
    request.extensions_mut().insert(parameters);
    Ok(next.run(request).await)
}

enum Found {
    Rule(&'static Rule),
    /// The path is in the table, but not with this method.
    OtherMethod,
    /// The router knows the path, the table does not.
    NoRule,
    /// The router does not know the path.
    NoRoute,
}

fn find_rule(request: &Request) -> Found {
    let Some(path) = request.extensions().get::<MatchedPath>() else {
        return Found::NoRoute;
    };
    let method = match request.method() {
        head if head == Method::HEAD => &Method::GET,
        other => other,
    };
    let mut rules = ROUTES.iter().filter(|rule| rule.path == path.as_str());
    let same_method = rules.clone().find(|rule| rule.method == method.as_str());
    match same_method {
        Some(rule) => Found::Rule(rule),
        None if rules.next().is_some() => Found::OtherMethod,
        None => Found::NoRule,
    }
}

/// Who is asking. Without people, whoever is on this machine; the name the request was sent to
/// must be this machine's, or a web page could reach us through a name of its own that it points
/// at 127.0.0.1.
fn identify(api: &Api, request: &Request) -> Result<Caller, Problem> {
    if api.people.is_empty() {
        refuse_foreign_host(request)?;
        return Ok(Caller::local());
    }
    let token = token_of(request).ok_or_else(|| {
        Problem::new(
            ProblemKind::Unauthenticated,
            "send a token: `Authorization: Bearer …`",
        )
    })?;
    let refuse = |detail: String| {
        warn!(http.method = %request.method(), "Refused a token: {detail}");
        Problem::new(ProblemKind::Unauthenticated, detail)
    };
    match api.people.who(&token, api.engine.clock().now()) {
        Ok(person) => Ok(Caller {
            name: person.name.clone(),
            role: person.role,
        }),
        Err(TokenRefusal::Unknown) => Err(refuse("the token is not known".to_owned())),
        Err(TokenRefusal::ExpiredAt(at)) => {
            Err(refuse(format!("the token expired at {}", at.to_rfc3339())))
        }
    }
}

/// The token in the header, or in the cookie of somebody who reads pages. A cookie never submits
/// to the API.
fn token_of(request: &Request) -> Option<String> {
    let headers = request.headers();
    if headers.contains_key(AUTHORIZATION) {
        let header = one(headers, AUTHORIZATION.as_str()).value()?;
        let (scheme, token) = header.split_once(' ')?;
        return scheme
            .eq_ignore_ascii_case("bearer")
            .then(|| token.trim().to_owned());
    }
    let is_api = request.uri().path().starts_with("/v1/");
    if is_api && !request.method().is_safe() {
        return None;
    }
    session::token_of(headers)
}

fn refuse_below(rule: &Rule, caller: &Caller) -> Result<(), Problem> {
    match rule.access {
        Access::Open => Ok(()),
        Access::AtLeast(role) if caller.role >= role => Ok(()),
        Access::AtLeast(role) => {
            warn!(http.method = rule.method, http.route = rule.path, role = %caller.role, "Refused a request of a role that may not do this");
            let detail = format!("this takes the role {role}, yours is {}", caller.role);
            Err(Problem::new(ProblemKind::Forbidden, detail))
        }
    }
}

fn parameters_of(rule: &Rule, request: &Request) -> Result<Parameters, Problem> {
    let Query(pairs) = Query::<Vec<(String, String)>>::try_from_uri(request.uri())
        .map_err(|error| Problem::new(ProblemKind::MalformedRequest, error.body_text()))?;
    let mut parameters = BTreeMap::new();
    for (name, value) in pairs {
        if !rule.parameters.contains(&name.as_str()) {
            let detail = match rule.parameters {
                [] => format!("{name}: this address takes no query parameter"),
                known => format!("{name}: the query parameters are {}", known.join(", ")),
            };
            return Err(Problem::new(ProblemKind::UnknownParameter, detail).about(name));
        }
        if parameters.insert(name.clone(), value).is_some() {
            let detail = format!("{name}: given twice");
            return Err(Problem::new(ProblemKind::BadParameter, detail).about(name));
        }
    }
    Ok(Parameters(parameters))
}

/// Refuses what a page of another site makes a browser send; programs send neither header.
fn refuse_cross_site(request: &Request) -> Result<(), Problem> {
    if request.method().is_safe() || is_from_our_pages(request.headers()) {
        return Ok(());
    }
    warn!(http.method = %request.method(), "Refused a request that another site made a browser send");
    Err(Problem::new(
        ProblemKind::CrossSite,
        "a page of another site may not send this",
    ))
}

fn is_from_our_pages(headers: &HeaderMap) -> bool {
    match one(headers, "sec-fetch-site") {
        // `same-site` is not enough: two ports of one machine are the same site.
        Header::One(site) => matches!(site, "same-origin" | "none"),
        Header::Unclear => false,
        // An older browser: the origin it names must be the host it talks to.
        Header::Absent => match one(headers, ORIGIN.as_str()) {
            Header::One(origin) => {
                let authority = origin.split_once("://").map(|(_, authority)| authority);
                authority == one(headers, HOST.as_str()).value()
            }
            Header::Unclear => false,
            Header::Absent => true,
        },
    }
}

fn refuse_foreign_host(request: &Request) -> Result<(), Problem> {
    let host = one(request.headers(), HOST.as_str()).value();
    let is_ours = host.is_some_and(is_loopback_authority)
        && request.uri().host().is_none_or(is_loopback_name);
    if is_ours {
        return Ok(());
    }
    Err(Problem::new(
        ProblemKind::ForeignHost,
        "without [[people]] only requests to localhost and loopback addresses are answered",
    )
    .about("Host"))
}

pub(super) fn is_loopback_authority(authority: &str) -> bool {
    authority
        .parse::<uri::Authority>()
        .is_ok_and(|authority| is_loopback_name(authority.host()))
}

fn is_loopback_name(host: &str) -> bool {
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host.eq_ignore_ascii_case("localhost")
        || address
            .parse::<IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// A header that must not be given twice: two readers could each believe another one.
enum Header<'h> {
    Absent,
    One(&'h str),
    /// Given twice, or not in visible ASCII.
    Unclear,
}

impl<'h> Header<'h> {
    const fn value(self) -> Option<&'h str> {
        match self {
            Self::One(value) => Some(value),
            Self::Absent | Self::Unclear => None,
        }
    }
}

fn one<'h>(headers: &'h HeaderMap, name: &str) -> Header<'h> {
    let mut values = headers.get_all(name).iter();
    match (values.next(), values.next()) {
        (None, _) => Header::Absent,
        (Some(value), None) => value.to_str().map_or(Header::Unclear, Header::One),
        (Some(_), Some(_)) => Header::Unclear,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use axum::body::Body;
    use axum::routing::get;
    use axum::{Router, middleware};
    use chrono::TimeDelta;
    use tower::ServiceExt;

    use super::super::Facts;
    use super::*;
    use crate::clock::{Clock, Ids};
    use crate::domain::settlement_run::public::BankDays;
    use crate::engine::{Engine, NoBell, Policy};
    use crate::store::Store;

    async fn api() -> Api {
        let clock = Clock::manual("2026-03-02T12:00:00Z".parse().unwrap());
        let policy = Policy {
            lease: TimeDelta::seconds(60),
            attempts_max: 5,
            rescues_max: 3,
            handler_timeout: Duration::from_mins(1),
            partition_concurrency: None,
        };
        let engine = Engine::new(
            Store::connect("sqlite::memory:", 1).await.unwrap(),
            clock.clone(),
            Ids::seeded(clock, 7),
            policy,
            "worker-1".to_owned(),
            Arc::new(NoBell),
        );
        let facts = Facts {
            environment: "test".to_owned(),
            queue: "in-process",
            zone: chrono_tz::UTC,
            banks: BankDays::new(),
        };
        Api::new(engine, Vec::new(), Vec::new(), facts)
    }

    #[tokio::test]
    async fn a_route_without_a_row_answers_nobody() {
        let router = Router::new()
            .route("/forgotten", get(|| async { "secret" }))
            .layer(middleware::from_fn_with_state(api().await, guard));
        let request = Request::builder()
            .uri("/forgotten")
            .header(HOST, "localhost");
        let response = router
            .oneshot(request.body(Body::empty()).unwrap())
            .await
            .unwrap();
        assert_eq!(response.status(), StatusCode::FORBIDDEN);
    }

    #[test]
    fn no_row_is_repeated() {
        for (index, rule) in ROUTES.iter().enumerate() {
            let twin = ROUTES.iter().skip(index + 1);
            let mut twin = twin.filter(|it| (it.method, it.path) == (rule.method, rule.path));
            assert!(twin.next().is_none(), "{} {}", rule.method, rule.path);
        }
    }
}
