//! The pages: what people see, escaped, without a script, and never a bare error.
#![cfg(test)]

use axum::body::Body;
use axum::http::StatusCode;
use clearday::config::Role;
use clearday_jobs::JobKind;

use super::{Answer, Site, local, one_of_each_role, person};

const BROWSER: &str = "text/html,application/xhtml+xml;q=0.9,*/*;q=0.8";

/// A request as a browser on this machine sends it.
async fn browse(site: &Site, method: &str, path: &str) -> Answer {
    let request = local(method, path)
        .header("Accept", BROWSER)
        .header("Sec-Fetch-Site", "same-origin");
    site.send(request.body(Body::empty()).unwrap()).await
}

#[tokio::test]
async fn the_overview_says_how_every_queue_stands() {
    let site = Site::open().await;
    let empty = browse(&site, "GET", "/").await;
    assert_eq!(empty.status, StatusCode::OK);
    assert!(empty.body.contains("All clear") && empty.body.contains("No job yet"));
    for kind in JobKind::ALL {
        assert!(empty.body.contains(kind.as_str()), "{kind}");
    }

    site.due_job("k-1").await;
    site.bury_due("no such order").await;
    site.due_job("k-2").await;
    site.submit("order_expiry", "k-3", "{").await;
    let page = browse(&site, "GET", "/").await.body;
    for words in [
        "1 dead order_expiry",
        "order_expiry due for 1 h",
        "/jobs?kind=order_expiry&amp;state=dead",
        "buried: no such order",
        "the payload is not JSON",
        "2026-03-02 20:00:00",
        "http-equiv=\"refresh\"",
    ] {
        assert!(page.contains(words), "{words}");
    }
    let still = browse(&site, "GET", "/?refresh=off").await;
    assert!(!still.body.contains("http-equiv=\"refresh\""));
}

#[tokio::test]
async fn jobs_are_browsed_by_kind_and_state_page_by_page() {
    let site = Site::open().await;
    for key in ["first", "second", "third"] {
        site.due_job(key).await;
    }
    let page = browse(&site, "GET", "/jobs?kind=order_expiry&limit=2")
        .await
        .body;
    assert!(page.contains("third") && page.contains("second") && !page.contains("first"));
    let (_, rest) = page
        .split_once("/jobs?kind=order_expiry&#38;limit=2&#38;before=")
        .unwrap();
    let (before, _) = rest.split_once('"').unwrap();
    let older = format!("/jobs?kind=order_expiry&limit=2&before={before}");
    let page = browse(&site, "GET", &older).await.body;
    assert!(page.contains("first") && !page.contains("second") && !page.contains("rel=\"next\""));
    let none = browse(&site, "GET", "/jobs?state=dead").await.body;
    assert!(none.contains("No such job"));
}

#[tokio::test]
async fn breaks_are_looked_at_by_their_state() {
    let site = Site::open().await;
    for path in ["/breaks", "/breaks?state=open", "/breaks?state=vanished"] {
        let page = browse(&site, "GET", path).await;
        assert_eq!(page.status, StatusCode::OK, "{path}");
        assert!(page.body.contains("没有差错") && page.body.contains("No such break"));
    }
    let unknown = browse(&site, "GET", "/breaks?state=lost").await;
    assert_eq!(unknown.status, StatusCode::BAD_REQUEST);
    assert!(unknown.body.contains("neither open nor vanished"));
}

#[tokio::test]
async fn what_people_sent_is_escaped() {
    let site = Site::open().await;
    let nasty = "<script>alert('k')</script>";
    let id = site.due_job(nasty).await;
    site.bury_due("<b onclick=x>\"quoted\"</b>").await;
    site.submit("%3Ci%3Ekind", nasty, "<u>payload</u>").await;
    for path in [
        "/".to_owned(),
        "/jobs".to_owned(),
        format!("/jobs/{id}"),
        "/rejected_submissions".to_owned(),
    ] {
        let page = browse(&site, "GET", &path).await.body;
        for tag in ["<script", "<b ", "<i>", "<u>"] {
            assert!(!page.contains(tag), "{path} {tag}");
        }
        assert!(page.contains("script"), "{path}");
    }
}

#[tokio::test]
async fn a_job_is_retried_and_cancelled_by_buttons_that_appear_where_they_work() {
    let site = Site::open().await;
    let id = site.due_job("k-1").await;
    site.bury_due("no such order").await;
    let path = format!("/jobs/{id}");
    let page = browse(&site, "GET", &path).await.body;
    assert!(page.contains("Retry now") && page.contains("Cancel job"));
    // What is dead does not wait.
    assert!(!page.contains("Snooze"));
    for words in [
        "Why is this waiting?",
        "buried",
        "accepted",
        "worker-1",
        "&#34;O-1&#34;",
    ] {
        assert!(page.contains(words), "{words}");
    }
    let retried = browse(&site, "POST", &format!("{path}/retry")).await;
    assert_eq!(retried.status, StatusCode::SEE_OTHER);
    assert_eq!(retried.header("location"), path);
    let page = browse(&site, "GET", &path).await.body;
    assert!(page.contains("Snooze") && page.contains("retried by local"));
    let put_off = format!("{path}/snooze");
    let form = submit_form(&site, &put_off, "seconds=3600").await;
    assert_eq!(form.status, StatusCode::SEE_OTHER);
    let page = browse(&site, "GET", &path).await.body;
    assert!(page.contains("snoozed by local until") && page.contains("(in 1 h)"));
    browse(&site, "POST", &format!("{path}/cancel")).await;
    let again = browse(&site, "POST", &format!("{path}/cancel")).await;
    assert_eq!(again.status, StatusCode::CONFLICT);
    assert!(again.body.contains("cannot be cancelled") && again.body.contains("<html"));
}

/// A form as a browser sends it from one of our pages.
async fn submit_form(site: &Site, path: &str, form: &str) -> Answer {
    let request = local("POST", path)
        .header("Accept", "text/html")
        .header("Sec-Fetch-Site", "same-origin")
        .header("Content-Type", "application/x-www-form-urlencoded");
    site.send(request.body(Body::from(form.to_owned())).unwrap())
        .await
}

#[tokio::test]
async fn a_queue_is_paused_and_resumed_from_the_overview() {
    let site = Site::open().await;
    let page = browse(&site, "GET", "/").await.body;
    assert!(page.contains("No daemon is at work") && !page.contains("Resume"));
    site.engine.renew_held().await.unwrap();
    let pause = "/queues/order_expiry/pause";
    let paused = submit_form(&site, pause, "reason=%E7%BB%B4%E6%8A%A4+%3Cb%3E").await;
    assert_eq!(paused.status, StatusCode::SEE_OTHER);
    let page = browse(&site, "GET", "/").await.body;
    for words in [
        "order_expiry is paused by local: 维护 &#60;b&#62;",
        "/queues/order_expiry/resume",
        "<code>worker-1</code>",
    ] {
        assert!(page.contains(words), "{words}");
    }
    assert_eq!(
        submit_form(&site, pause, "reason=+").await.status.as_u16(),
        422
    );
    submit_form(&site, "/queues/order_expiry/resume", "").await;
    let page = browse(&site, "GET", "/").await.body;
    assert!(page.contains("All clear"));
}

#[tokio::test]
async fn due_jobs_that_nobody_works_on_want_a_person() {
    let site = Site::open().await;
    site.due_job("k-1").await;
    let page = browse(&site, "GET", "/").await.body;
    assert!(page.contains("jobs are due, and no daemon is at work"));
}

#[tokio::test]
async fn dead_letters_are_replayed_by_their_cause() {
    let site = Site::open().await;
    let none = browse(&site, "GET", "/dead_letters").await.body;
    assert!(none.contains("No dead letter"));
    for key in ["k-1", "k-2"] {
        site.due_job(key).await;
        site.bury_due("order O-1 is unknown").await;
    }
    let page = browse(&site, "GET", "/dead_letters").await.body;
    assert!(page.contains("order # is unknown") && page.contains("Retry all 2"));
    let replay = async |expected: u32| {
        let form = format!("kind=order_expiry&reason=order+%23+is+unknown&expected={expected}");
        submit_form(&site, "/dead_letters/retry", &form).await
    };
    let refused = replay(3).await;
    assert_eq!(refused.status, StatusCode::CONFLICT);
    assert!(refused.body.contains("2 jobs match, not 3"));
    assert_eq!(replay(2).await.status, StatusCode::SEE_OTHER);
    let page = browse(&site, "GET", "/dead_letters").await.body;
    assert!(page.contains("No dead letter"));
}

#[tokio::test]
async fn a_viewer_sees_no_buttons() {
    let site = Site::with(
        vec![person("ann", Role::Viewer), person("bob", Role::Operator)],
        Vec::new(),
    )
    .await;
    let ask = async |name: &str, method: &str, path: &str| {
        let request = local(method, path)
            .header("Accept", BROWSER)
            .header("Idempotency-Key", "k-1")
            .header("Authorization", format!("Bearer {name}-token"));
        let example = clearday_jobs::example_for(JobKind::OrderExpiry);
        site.send(request.body(Body::from(example)).unwrap()).await
    };
    let job = ask("bob", "POST", "/v1/jobs/order_expiry").await.json();
    let path = format!("/jobs/{}", job["job_id"].as_str().unwrap());
    let seen = ask("ann", "GET", &path).await.body;
    assert!(!seen.contains("Retry now") && seen.contains("ann · viewer"));
    let seen = ask("bob", "GET", &path).await.body;
    assert!(seen.contains("Retry now"));
    // Hidden is not all: the route refuses too.
    let refused = ask("ann", "POST", &format!("{path}/retry")).await;
    assert_eq!(refused.status, StatusCode::FORBIDDEN);
    assert!(refused.body.contains("<html") && refused.body.contains("operator"));
}

#[tokio::test]
async fn who_is_not_signed_in_is_asked_to() {
    let site = Site::with(one_of_each_role(), Vec::new()).await;
    for path in ["/", "/jobs", "/nowhere"] {
        let answer = browse(&site, "GET", path).await;
        assert_eq!(answer.status, StatusCode::SEE_OTHER, "{path}");
        assert_eq!(answer.header("location"), "/login");
    }
    let form = browse(&site, "GET", "/login").await;
    assert_eq!(form.status, StatusCode::OK);
    assert!(form.body.contains("type=\"password\""));
    // The API never redirects, whatever the request accepts.
    let api = browse(&site, "GET", "/v1/jobs").await;
    assert_eq!(api.problem(), (401, "unauthenticated".to_owned(), None));
}

#[tokio::test]
async fn errors_are_pages_for_browsers_and_problems_for_programs() {
    let site = Site::open().await;
    let page = browse(&site, "GET", "/nowhere").await;
    assert_eq!(page.status, StatusCode::NOT_FOUND);
    assert!(page.body.contains("<html") && page.body.contains("Not found"));
    let problem = site.get("/nowhere").await;
    assert_eq!(problem.problem(), (404, "not_found".to_owned(), None));
    site.engine.store().close().await;
    let page = browse(&site, "GET", "/").await;
    assert_eq!(page.status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(page.body.contains("unavailable"));
}

#[tokio::test]
async fn pages_load_nothing_that_runs() {
    let site = Site::open().await;
    site.due_job("k-1").await;
    for path in ["/", "/jobs", "/rejected_submissions"] {
        let page = browse(&site, "GET", path).await;
        assert!(
            !page.body.contains("<script") && !page.body.contains(" style="),
            "{path}"
        );
        assert!(
            !page.body.contains("http://") && !page.body.contains("https://"),
            "{path}"
        );
    }
    let style = site.get("/style.css").await;
    assert_eq!(style.header("content-type"), "text/css; charset=utf-8");
    assert_eq!(style.header("cache-control"), "max-age=300");
    assert_eq!(
        site.get("/icon.svg").await.header("content-type"),
        "image/svg+xml"
    );
    assert_eq!(browse(&site, "GET", "/login").await.header("location"), "/");
}
