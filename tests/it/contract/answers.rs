//! Answers that an honest counterparty never gives, or not to this: one list for every subject that speaks HTTP.
//!
//! Only the counterparty's own words about this very thing are believed; everything else is unknown. Each answer is
//! given to one question and one call, which are sent once and follow nobody elsewhere.
#![cfg(test)]

use clearday::connectors::ANSWER_BYTES_MAX;

use super::kit::{Call, Speech, Subject, Told};
use crate::support::raw_http::{RawServer, answer};
use crate::support::sandbox::PATIENT;

/// A subject whose counterparty speaks HTTP.
pub(super) trait Spoken: Subject {
    /// What its counterparty says with 404, with 409 and with 422.
    const CODES: [&'static str; 3];

    /// The bodies of its answers about a reference, by what they say. The first says that it took effect.
    fn bodies(&self, about: &str) -> Vec<(&'static str, String)>;

    /// The body of an answer that is an error.
    fn error(&self, about: &str, code: &str) -> String;
}

/// What everything below is about.
const ABOUT: &str = "R1";
/// What none of it is about.
const ANOTHER: &str = "R2";

struct Case {
    name: String,
    bytes: Vec<u8>,
    /// Whether these are its own words about this.
    is_its_own: bool,
}

/// The table of all answers: what is made of them by the question, where there is one, and by the call.
pub(super) async fn table<S: Spoken>(subject: &S) -> String {
    let call = Call::new(ABOUT);
    subject.prepare(&call).await;
    let mut table = Vec::new();
    for case in cases(subject) {
        let Case {
            name,
            bytes,
            is_its_own,
        } = case;
        let server = RawServer::start(|_| bytes).await;
        let connector = subject.connector(server.address, PATIENT);
        let mut said = Vec::new();
        said.extend(subject.ask(&connector, &call).await);
        said.push(subject.act(&connector, &call).await);
        assert_eq!(server.served(), said.len(), "{name}: each is sent once");
        let has_words = subject.promises(&connector).speech == Speech::Words;
        if has_words && !is_its_own {
            let strange = said.iter().find(|told| **told != Told::Unknown);
            assert_eq!(strange, None, "{name}: nobody's words are believed");
        }
        let said: Vec<String> = said.iter().map(Told::to_string).collect();
        table.push(format!("{name}: {}\n", said.join(", ")));
    }
    table.concat()
}

fn cases<S: Spoken>(subject: &S) -> Vec<Case> {
    let case = |name: &str, bytes: Vec<u8>, is_its_own| Case {
        name: name.to_owned(),
        bytes,
        is_its_own,
    };
    let said = subject.bodies(ABOUT);
    let done = said[0].1.clone();
    let about_another = subject.bodies(ANOTHER)[0].1.clone();
    let [missing, conflict, nonsense] = S::CODES;
    let page = "<html>down</html>";
    let half = "HTTP/1.1 200 OK\r\ncontent-length: 999\r\n\r\n{";
    let away = "307 Temporary Redirect\r\nlocation: /elsewhere";
    let endless = format!("{done}{}", " ".repeat(ANSWER_BYTES_MAX));
    let strange = |name: &str, body: &str| {
        let status = name.split(": ").next().unwrap_or(name);
        case(name, answer(status, body), false)
    };
    let own = |status: &str, code: &str| {
        let body = subject.error(ABOUT, code);
        case(&format!("{status}: {code}"), answer(status, &body), true)
    };
    let foreign = |status: &str, code: &str| {
        let body = subject.error(ANOTHER, code);
        let name = format!("{status}: {code} about another");
        case(&name, answer(status, &body), false)
    };
    let mut cases = vec![
        case("nothing at all", vec![], false),
        case("no HTTP", b"SSH-2.0-OpenSSH_9.2\r\n".to_vec(), false),
        case("half a body", half.as_bytes().to_vec(), false),
        strange("200 OK: garbage", "{\"reference\":\"R1\","),
        strange("200 OK: empty", ""),
        strange("200 OK: of a gateway", page),
        strange("200 OK: about another", &about_another),
        strange("200 OK: without end", &endless),
    ];
    cases.extend(said.iter().map(|(name, body)| {
        let name = format!("200 OK: {name}");
        case(&name, answer("200 OK", body), true)
    }));
    cases.extend([
        case("202 Accepted", answer("202 Accepted", &done), true),
        strange("204 No Content", ""),
        strange("302 Found", ""),
        case("307 elsewhere", answer(away, ""), false),
        own("400 Bad Request", "bad_key"),
        strange("400 Bad Request: of a gateway", page),
        strange("401 Unauthorized", ""),
        strange("402 Payment Required: of a gateway", page),
        foreign("402 Payment Required", "insufficient_funds"),
        own("402 Payment Required", "insufficient_funds"),
        strange("403 Forbidden: of a gateway", page),
        strange("404 Not Found: of a gateway", page),
        foreign("404 Not Found", missing),
        own("404 Not Found", missing),
        strange("408 Request Timeout", ""),
        strange("409 Conflict: of a gateway", page),
        foreign("409 Conflict", conflict),
        own("409 Conflict", conflict),
        strange("410 Gone", ""),
        foreign("422 Unprocessable Entity", nonsense),
        own("422 Unprocessable Entity", nonsense),
        strange("429 Too Many Requests: of a gateway", page),
        own("429 Too Many Requests", "not_processed"),
        strange("500 Internal Server Error: of a gateway", page),
        own("500 Internal Server Error", "not_processed"),
        strange("502 Bad Gateway", page),
        strange("503 Service Unavailable: of a gateway", page),
        own("503 Service Unavailable", "busy"),
        foreign("503 Service Unavailable", "not_processed"),
        own("503 Service Unavailable", "not_processed"),
        strange("504 Gateway Timeout", page),
    ]);
    cases
}
