//! Records by HTTP: the rules of an imported file, all of a body or nothing of it.
#![cfg(test)]

use std::io;

use axum::body::{Body, Bytes};
use axum::http::StatusCode;
use clearday::domain::record::RecordKind;
use clearday::formats::records::COLUMNS;
use clearday::store::records;
use serde_json::{Value, json};

use super::{Answer, Site, local};
use crate::support::bad_values::{self, json_row};

const NDJSON: &str = "application/x-ndjson";

async fn send(site: &Site, body: impl Into<Body>) -> Answer {
    let request = local("POST", "/v1/records").header("Content-Type", NDJSON);
    site.send(request.body(body.into()).unwrap()).await
}

fn record(number: &str, column: &str, value: &str) -> String {
    let mut cells = bad_values::RECORDS.with(column, value);
    if column != "record_no" {
        cells[0].1 = number.to_owned();
    }
    json_row(&cells)
}

/// How many of these numbers are known.
async fn known(site: &Site, numbers: &[&str]) -> usize {
    let mut tx = site.engine.store().read().await.unwrap();
    let numbers: Vec<_> = numbers.iter().map(|it| (RecordKind::Refund, *it)).collect();
    records::find(&mut tx, &numbers).await.unwrap().len()
}

fn counts(read: u64, new: u64, updated: u64, unchanged: u64) -> Value {
    json!({"read": read, "new": new, "updated": updated, "unchanged": unchanged})
}

#[tokio::test]
async fn records_are_imported_and_the_same_body_again_changes_nothing() {
    let site = Site::open().await;
    let body = format!("{}\n\n{}", record("P1", "", ""), record("P2", "", ""));
    let first = send(&site, body.clone()).await;
    assert_eq!(first.status, StatusCode::OK, "{}", first.body);
    assert_eq!(first.json(), counts(2, 2, 0, 0));
    assert_eq!(send(&site, body).await.json(), counts(2, 0, 0, 2));
    let changed = format!(
        "\u{feff}{}\r\n{}\r\n",
        record("P2", "fee", "-0.08"),
        record("P3", "", "")
    );
    assert_eq!(send(&site, changed).await.json(), counts(2, 1, 1, 0));
    assert_eq!(send(&site, "").await.json(), counts(0, 0, 0, 0));
    assert_eq!(known(&site, &["P1", "P2", "P3"]).await, 3);
}

#[tokio::test]
async fn every_column_is_refused_by_line_and_name_and_nothing_is_kept() {
    bad_values::RECORDS.assert_covers(&COLUMNS.names);
    let site = Site::open().await;
    let mut bodies = vec![record("before", "", "")];
    for (column, value, reason) in bad_values::RECORDS.bad {
        let lines = [
            record("before", "", ""),
            record("P1", column, value),
            record("behind", "", ""),
        ];
        bodies.push(record("P1", column, value));
        let answer = send(&site, lines.join("\n")).await;
        assert_eq!(answer.problem(), (422, "bad_records".to_owned(), None));
        let told = json!([{"line": 2, "column": column, "reason": reason}]);
        assert_eq!(answer.json()["errors"], told, "{}", answer.body);
    }
    // All of them in one body: one answer names them all.
    let answer = send(&site, bodies.join("\n")).await;
    let errors = answer.json()["errors"].as_array().unwrap().clone();
    assert_eq!(errors.len(), bad_values::RECORDS.bad.len());
    assert_eq!(errors[0]["line"], 2);
    assert_eq!(known(&site, &["before", "behind", "P1"]).await, 0);
}

#[tokio::test]
async fn members_are_refused_by_name_and_lines_by_number() {
    let site = Site::open().await;
    let good = record("P1", "", "");
    #[rustfmt::skip]
    let table = [
        (good.replace("\"12.30\"", "12.30"), json!({"line": 1, "column": "amount", "reason": "is not a string"})),
        (good.replace("\"fee\"", "\"fees\""), json!({"line": 1, "column": "fees", "reason": format!("is unknown; the columns are {}", COLUMNS.names.join(","))})),
        (good.replacen('{', "{\"fee\":\"1\",", 1), json!({"line": 1, "column": "fee", "reason": "is there twice"})),
        (good.replace("\"fee\":\"-0.07\",", ""), json!({"line": 1, "column": "fee", "reason": "is empty"})),
        (format!("{good}{good}"), json!({"line": 1, "reason": format!("not a JSON object, from byte {} on", good.len() + 1)})),
        (bad_values::RECORDS.header(), json!({"line": 1, "reason": "not a JSON object, from byte 1 on"})),
        (format!("{good}\n[]"), json!({"line": 2, "reason": "not a JSON object, from byte 0 on"})),
        (format!("{good}\n{}", " ".repeat(50_000)), json!({"line": 2, "reason": "longer than 50000 bytes"})),
        (format!("{good}\n{}", record("P1", "fee", "1.00")), json!({"line": 2, "column": "record_no", "reason": "refund P1 is on line 1 with other values"})),
    ];
    for (body, told) in table {
        let answer = send(&site, body).await;
        assert_eq!(answer.json()["errors"], json!([told]), "{}", answer.body);
    }
    let bytes = [good.as_bytes(), b"\n\xff\n{\n"].concat();
    let answer = send(&site, bytes).await;
    let told = json!([
        {"line": 2, "reason": "not valid UTF-8"},
        {"line": 3, "reason": "not a JSON object, from byte 1 on"},
    ]);
    assert_eq!(answer.json()["errors"], told);
    assert_eq!(known(&site, &["P1"]).await, 0);
}

#[tokio::test]
async fn what_a_record_is_never_changes_and_the_rest_of_the_body_is_not_kept() {
    let site = Site::open().await;
    send(&site, record("P1", "", "")).await;
    let body = format!(
        "{}\n{}",
        record("P0", "", ""),
        record("P1", "amount", "12.31")
    );
    let answer = send(&site, body).await;
    let reason = "refund P1 has another one, and that never changes";
    assert_eq!(
        answer.json()["errors"],
        json!([{"line": 2, "column": "amount", "reason": reason}])
    );
    assert_eq!(known(&site, &["P0"]).await, 0);
}

#[tokio::test]
async fn a_hundred_faults_are_told_and_the_rest_is_not_read() {
    let site = Site::open().await;
    let bad = record("P1", "kind", "sale");
    let ninety_nine = vec![bad.as_str(); 99].join("\n");
    let answer = send(&site, ninety_nine).await;
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.starts_with("99 lines are refused;"), "{detail}");
    let thousand = vec![bad.as_str(); 1_000].join("\n");
    let answer = send(&site, thousand).await;
    assert_eq!(answer.json()["errors"].as_array().unwrap().len(), 100);
    let detail = answer.json()["detail"].as_str().unwrap().to_owned();
    assert!(detail.contains("the rest was not read"), "{detail}");
}

#[tokio::test]
async fn only_plain_json_lines_are_taken() {
    let site = Site::open().await;
    let body = record("P1", "", "");
    for content_type in [
        "",
        "application/json",
        "text/csv",
        "application/x-ndjson+gzip",
    ] {
        let request = local("POST", "/v1/records").header("Content-Type", content_type);
        let answer = site.send(request.body(body.clone().into()).unwrap()).await;
        let field = Some("Content-Type".to_owned());
        let expected = (415, "unsupported_media_type".to_owned(), field);
        assert_eq!(answer.problem(), expected);
    }
    let packed = local("POST", "/v1/records")
        .header("Content-Type", NDJSON)
        .header("Content-Encoding", "gzip");
    let answer = site.send(packed.body(body.clone().into()).unwrap()).await;
    assert_eq!(answer.problem().1, "unsupported_encoding");
    let spelt =
        local("POST", "/v1/records").header("Content-Type", "Application/X-NDJSON; charset=utf-8");
    let answer = site.send(spelt.body(body.into()).unwrap()).await;
    assert_eq!(answer.json(), counts(1, 1, 0, 0));
}

#[tokio::test]
async fn a_body_beyond_the_limit_is_refused_announced_or_not() {
    let site = Site::open().await;
    let announced = local("POST", "/v1/records")
        .header("Content-Type", NDJSON)
        .header("Content-Length", (64 << 20) + 1);
    let announced = site.send(announced.body(Body::empty()).unwrap()).await;
    let record = Bytes::from(record("P1", "", "") + "\n");
    let rest = Bytes::from(vec![b'\n'; 64 << 20]);
    let stream = futures::stream::iter([Ok::<Bytes, io::Error>(record), Ok(rest)]);
    let arriving = send(&site, Body::from_stream(stream)).await;
    for answer in [announced, arriving] {
        assert_eq!(
            answer.problem(),
            (413, "payload_too_large".to_owned(), None)
        );
    }
    assert_eq!(known(&site, &["P1"]).await, 0);
}

#[tokio::test]
async fn a_body_that_breaks_off_leaves_nothing() {
    let site = Site::open().await;
    let piece = Bytes::from(record("P1", "", "") + "\n");
    let broken = io::Error::other("the line was cut");
    let stream = futures::stream::iter([Ok(piece), Err(broken)]);
    let answer = send(&site, Body::from_stream(stream)).await;
    assert_eq!(
        answer.problem(),
        (400, "malformed_request".to_owned(), None)
    );
    assert_eq!(known(&site, &["P1"]).await, 0);
}

#[tokio::test]
async fn nothing_is_acknowledged_while_the_database_is_down() {
    let site = Site::open().await;
    site.engine.store().close().await;
    let answer = send(&site, record("P1", "", "")).await;
    assert_eq!(answer.problem(), (503, "unavailable".to_owned(), None));
}
