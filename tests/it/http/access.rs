//! Who may do what: the whole table, role by role, and what browsers of other sites may not.
#![cfg(test)]

use axum::body::Body;
use axum::http::{Request, StatusCode};
use chrono::TimeDelta;
use clearday::config::Role;
use clearday::http::{Access, ROUTES, Rule, router, serve};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::{Answer, Site, local, noon, one_of_each_role, person};

/// A request to a route with something in every place of its path.
fn request_to(rule: &Rule) -> axum::http::request::Builder {
    let path = rule
        .path
        .replace("{job}", "00000000-0000-0000-0000-000000000000")
        .replace("{id}", "00000000-0000-0000-0000-000000000000");
    Request::builder()
        .method(rule.method)
        .uri(path)
        .header("Host", "clearday.example")
}

async fn ask(site: &Site, rule: &Rule, authorization: &str) -> Answer {
    let request = request_to(rule).header("Authorization", authorization);
    site.send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn every_route_answers_exactly_the_roles_of_the_table() {
    let site = Site::with(one_of_each_role(), Vec::new()).await;
    let mut checked = 0;
    for rule in ROUTES {
        for role in Role::ALL {
            let answer = ask(&site, rule, &format!("Bearer {role}-token")).await;
            let is_admitted = match rule.access {
                Access::Open => true,
                Access::AtLeast(least) => role >= least,
            };
            let is_refused = answer.status == StatusCode::FORBIDDEN;
            assert_eq!(
                is_refused, !is_admitted,
                "{} {} {role}",
                rule.method, rule.path
            );
            // A row without a route behind it would promise what nobody keeps.
            let is_routed = answer.status != StatusCode::METHOD_NOT_ALLOWED
                && !answer.body.contains("nothing at this address");
            assert!(is_routed, "{} {}", rule.method, rule.path);
            checked += 1;
        }
    }
    assert_eq!(checked, ROUTES.len() * Role::ALL.len());
}

#[tokio::test]
async fn without_a_valid_token_only_open_routes_answer() {
    let site = Site::with(one_of_each_role(), Vec::new()).await;
    for rule in ROUTES {
        let is_open = rule.access == Access::Open;
        for authorization in [
            "",
            "Bearer",
            "Bearer wrong",
            "Basic admin-token",
            "admin-token",
        ] {
            let answer = ask(&site, rule, authorization).await;
            let is_refused = answer.status == StatusCode::UNAUTHORIZED
                && answer.header("www-authenticate").starts_with("Bearer");
            let is_login = rule.path == "/login";
            assert!(
                is_refused != is_open || is_login,
                "{} {}",
                rule.method,
                rule.path
            );
        }
        let nobody = site
            .send(request_to(rule).body(Body::empty()).unwrap())
            .await;
        assert!(
            is_open || nobody.status == StatusCode::UNAUTHORIZED,
            "{} {}",
            rule.method,
            rule.path
        );
    }
}

#[tokio::test]
async fn an_unknown_address_tells_strangers_nothing() {
    let site = Site::with(one_of_each_role(), Vec::new()).await;
    let rule = |method, path| Rule {
        method,
        path,
        access: Access::Open,
        parameters: &[],
    };
    for rule in [rule("GET", "/v1/secrets"), rule("DELETE", "/v1/jobs")] {
        assert_eq!(ask(&site, &rule, "").await.status, StatusCode::UNAUTHORIZED);
    }
    let answer = ask(&site, &rule("GET", "/v1/secrets"), "Bearer viewer-token").await;
    assert_eq!(answer.status, StatusCode::NOT_FOUND);
    let answer = ask(&site, &rule("DELETE", "/v1/jobs"), "Bearer admin-token").await;
    assert_eq!(
        answer.problem(),
        (405, "method_not_allowed".to_owned(), None)
    );
    assert_eq!(answer.header("allow"), "GET,HEAD");
}

#[tokio::test]
async fn a_token_stops_working_when_it_expires() {
    let mut ann = person("ann", Role::Viewer);
    ann.expires_at = Some(noon() + TimeDelta::hours(1));
    let site = Site::with(vec![ann], Vec::new()).await;
    let jobs = ROUTES.iter().find(|rule| rule.path == "/v1/jobs").unwrap();
    assert_eq!(
        ask(&site, jobs, "Bearer ann-token").await.status,
        StatusCode::OK
    );
    site.clock.advance(TimeDelta::hours(1));
    let answer = ask(&site, jobs, "Bearer ann-token").await;
    assert_eq!(answer.problem(), (401, "unauthenticated".to_owned(), None));
    assert!(
        answer.json()["detail"]
            .as_str()
            .unwrap()
            .contains("expired")
    );
}

#[tokio::test]
async fn a_token_in_the_address_is_not_looked_at() {
    let site = Site::with(one_of_each_role(), Vec::new()).await;
    let request = local("GET", "/v1/jobs?token=admin-token&access_token=admin-token");
    let answer = site.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn two_tokens_in_one_request_are_none() {
    let site = Site::with(one_of_each_role(), Vec::new()).await;
    let request = local("GET", "/v1/jobs")
        .header("Authorization", "Bearer viewer-token")
        .header("Authorization", "Bearer admin-token");
    let answer = site.send(request.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::UNAUTHORIZED);
}

#[tokio::test]
async fn without_people_a_name_that_points_at_this_machine_is_refused() {
    let site = Site::open().await;
    let ask = async |host: Option<&str>| {
        let request = Request::builder().uri("/v1/jobs");
        let request = match host {
            Some(host) => request.header("Host", host),
            None => request,
        };
        site.send(request.body(Body::empty()).unwrap()).await
    };
    for host in [
        "localhost",
        "LOCALHOST:8080",
        "127.0.0.1:8080",
        "127.1.2.3",
        "[::1]:8080",
    ] {
        assert_eq!(ask(Some(host)).await.status, StatusCode::OK, "{host}");
    }
    for host in [
        "rebound.example",
        "localhost.example:8080",
        "127.0.0.1.example",
        "192.168.1.5",
        "[::2]",
        "127.0.0.1:8080, rebound.example",
        "",
    ] {
        let answer = ask(Some(host)).await;
        let field = Some("Host".to_owned());
        assert_eq!(
            answer.problem(),
            (403, "foreign_host".to_owned(), field),
            "{host}"
        );
    }
    assert_eq!(ask(None).await.status, StatusCode::FORBIDDEN);
    let absolute = local("GET", "http://rebound.example/v1/jobs");
    let answer = site.send(absolute.body(Body::empty()).unwrap()).await;
    assert_eq!(answer.status, StatusCode::FORBIDDEN);
}

#[tokio::test]
async fn what_another_site_makes_a_browser_send_is_refused() {
    let site = Site::open().await;
    let id = site.due_job("k-1").await;
    let cancel = async |headers: &[(&str, &str)]| {
        let path = format!("/v1/jobs/{id}/cancel");
        let mut request = local("POST", &path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        site.send(request.body(Body::empty()).unwrap()).await
    };
    for headers in [
        &[("Sec-Fetch-Site", "cross-site")][..],
        // Another port of this machine.
        &[("Sec-Fetch-Site", "same-site")],
        &[
            ("Sec-Fetch-Site", "same-origin"),
            ("Sec-Fetch-Site", "cross-site"),
        ],
        &[("Origin", "http://evil.example")],
        &[("Origin", "http://127.0.0.1:3000")],
        &[("Origin", "null")],
    ] {
        let answer = cancel(headers).await;
        let expected = (403, "cross_site".to_owned(), None);
        assert_eq!(answer.problem(), expected, "{headers:?}");
    }
    let job = site.get(&format!("/v1/jobs/{id}")).await.json();
    assert_eq!(job["state"], "ready");
    let ours = [("Origin", "http://127.0.0.1:8080")];
    assert_eq!(cancel(&ours).await.status, StatusCode::OK);
}

#[tokio::test]
async fn a_cookie_reads_everywhere_but_never_submits_to_the_api() {
    let site = Site::with(one_of_each_role(), Vec::new()).await;
    let ask = async |method: &str, path: &str| {
        let request = local(method, path).header("Cookie", "a=b; clearday_token=admin-token");
        site.send(request.body(Body::empty()).unwrap()).await
    };
    for path in ["/", "/jobs", "/v1/jobs", "/openapi.json"] {
        assert_eq!(ask("GET", path).await.status, StatusCode::OK, "{path}");
    }
    let nil = "00000000-0000-0000-0000-000000000000";
    let through_api = ask("POST", &format!("/v1/jobs/{nil}/retry")).await;
    assert_eq!(through_api.status, StatusCode::UNAUTHORIZED);
    let through_page = ask("POST", &format!("/jobs/{nil}/retry")).await;
    assert_eq!(through_page.status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn signing_in_puts_the_token_into_a_cookie_that_scripts_cannot_read() {
    let site = Site::with(one_of_each_role(), Vec::new()).await;
    let sign_in = async |host: &str, token: &str| {
        let request = Request::builder()
            .method("POST")
            .uri("/login")
            .header("Host", host)
            .header("Sec-Fetch-Site", "same-origin")
            .header("Content-Type", "application/x-www-form-urlencoded");
        let form = format!("token={token}");
        site.send(request.body(Body::from(form)).unwrap()).await
    };
    let answer = sign_in("localhost:8080", "viewer-token").await;
    assert_eq!(answer.status, StatusCode::SEE_OTHER);
    assert_eq!(answer.header("location"), "/");
    assert_eq!(
        answer.header("set-cookie"),
        "clearday_token=viewer-token; Path=/; Max-Age=43200; HttpOnly; SameSite=Strict"
    );
    let remote = sign_in("clearday.example", "viewer-token").await;
    assert!(remote.header("set-cookie").ends_with("; Secure"));

    let refused = sign_in("localhost:8080", "wrong").await;
    assert_eq!(refused.status, StatusCode::UNAUTHORIZED);
    assert_eq!(refused.header("set-cookie"), "");
    assert!(refused.body.contains("not known"));

    let out = local("POST", "/logout").header("Sec-Fetch-Site", "same-origin");
    let out = site.send(out.body(Body::empty()).unwrap()).await;
    assert!(
        out.header("set-cookie")
            .contains("clearday_token=; Path=/; Max-Age=0")
    );
}

#[tokio::test]
async fn a_real_listener_serves_and_ends_when_it_is_told_to() {
    let site = Site::open().await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let routes: axum::Router = site.router.clone();
    let serving = serve(listener, routes, shutdown.clone());
    let asking = async {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request =
            format!("GET /healthz HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        // A connection that sends nothing more must not keep the daemon.
        let idle = TcpStream::connect(address).await.unwrap();
        shutdown.cancel();
        (answer, idle)
    };
    let (served, (answer, _idle)) = tokio::join!(serving, asking);
    served.unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert!(answer.ends_with("ok\n"), "{answer}");
}

#[tokio::test]
async fn the_router_can_be_built_twice() {
    let site = Site::open().await;
    let facts = clearday::http::Facts {
        environment: "test".to_owned(),
        queue: "redis",
        zone: chrono_tz::UTC,
        banks: std::collections::BTreeMap::default(),
    };
    let api = clearday::http::Api::new(site.engine.clone(), Vec::new(), Vec::new(), facts);
    drop((router(api.clone()), router(api)));
}
