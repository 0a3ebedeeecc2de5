//! Signing in to the pages: the token goes into a cookie that scripts cannot read and other sites
//! cannot send, never into an address.

use axum::Form;
use axum::extract::State;
use axum::http::header::{COOKIE, HOST, SET_COOKIE};
use axum::http::{HeaderMap, HeaderValue};
use axum::response::{IntoResponse, Redirect, Response};
use serde::Deserialize;

use super::access::is_loopback_authority;
use super::problem::Problem;
use super::{Api, page};

const COOKIE_NAME: &str = "clearday_token";

/// A working day: who stays longer signs in again.
const COOKIE_SECONDS: u32 = 12 * 60 * 60;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct SignIn {
    token: String,
}

/// `GET /login`
pub(super) async fn form(State(api): State<Api>) -> Result<Response, Problem> {
    if api.people.is_empty() {
        return Ok(Redirect::to("/").into_response());
    }
    page::login(&api, "")
}

/// `POST /login`
pub(super) async fn sign_in(
    State(api): State<Api>,
    headers: HeaderMap,
    Form(SignIn { token }): Form<SignIn>,
) -> Result<Response, Problem> {
    let token = token.trim();
    let known = api.people.who(token, api.engine.clock().now());
    if known.is_err() || !is_bearer_token(token) {
        let mut refused = page::login(
            &api,
            "这个令牌无效或已过期 The token is not known or has expired",
        )?;
        *refused.status_mut() = axum::http::StatusCode::UNAUTHORIZED;
        return Ok(refused);
    }
    Ok(with_cookie(&headers, token, COOKIE_SECONDS, "/"))
}

/// `POST /logout`
pub(super) async fn sign_out(headers: HeaderMap) -> Response {
    with_cookie(&headers, "", 0, "/login")
}

/// The token in the cookie.
pub(super) fn token_of(headers: &HeaderMap) -> Option<String> {
    headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|header| header.to_str().ok())
        .flat_map(|header| header.split(';'))
        .filter_map(|pair| pair.trim().split_once('='))
        .find_map(|(name, value)| (name == COOKIE_NAME).then(|| value.to_owned()))
}

fn with_cookie(headers: &HeaderMap, value: &str, seconds: u32, to: &'static str) -> Response {
    // Over a network the cookie travels by TLS only; on this machine there is none.
    let is_local = headers
        .get(HOST)
        .and_then(|host| host.to_str().ok())
        .is_some_and(is_loopback_authority);
    let secure = if is_local { "" } else { "; Secure" };
    let cookie = format!(
        "{COOKIE_NAME}={value}; Path=/; Max-Age={seconds}; HttpOnly; SameSite=Strict{secure}"
    );
    let mut response = Redirect::to(to).into_response();
    if let Ok(cookie) = HeaderValue::try_from(cookie) {
        response.headers_mut().insert(SET_COOKIE, cookie);
    }
    response
}

/// Whether it is a bearer token as RFC 6750 spells them; no other could be sent in the header, and
/// these may all stand in a cookie.
fn is_bearer_token(token: &str) -> bool {
    !token.is_empty()
        && token
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || b"-._~+/=".contains(&byte))
}
