//! The way between daemons and the outside, on which requests and answers get lost, late and doubled.

use std::fmt;
use std::sync::{Arc, Mutex};

use axum::body::Bytes;
use axum::http::{Method, StatusCode};
use futures::future::BoxFuture;

use super::fault::Fault;
use super::stop::{Call, Step, Stops, lock};
use crate::connectors::sandbox::SandboxWithin;
use crate::connectors::{Carrier, Delivered, Lost, Parcel};

/// After so many seconds a client gives up.
const TIMEOUT_SECONDS: u64 = 10;
/// A slow answer still comes in time.
const SLOW_SECONDS: u64 = 6;

/// Requests that are still on their way when nobody waits for them any more.
pub(super) type Stragglers = Arc<Mutex<Vec<(Call, Parcel)>>>;

/// Carries requests to the sandbox, as well as the driver lets it.
#[derive(Clone)]
pub(super) struct Network {
    pub(super) stops: Stops,
    pub(super) outside: SandboxWithin,
    pub(super) stragglers: Stragglers,
}

impl fmt::Debug for Network {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Network")
    }
}

impl Carrier for Network {
    fn carry(&self, parcel: Parcel) -> BoxFuture<'static, Result<Delivered, Lost>> {
        let network = self.clone();
        Box::pin(async move { network.take(parcel).await })
    }
}

impl Network {
    async fn take(&self, parcel: Parcel) -> Result<Delivered, Lost> {
        let call = call_of(&parcel);
        let fault = self.stops.stop(Step::Call(call)).await.fault;
        match fault {
            None => {
                let delivered = self.outside.answer(parcel).await;
                self.stops.stop(Step::Answered(call)).await;
                Ok(delivered)
            }
            Some(Fault::Unsent) => Err(Lost::Unsent),
            Some(Fault::RequestLost) => self.gives_up(call).await,
            Some(Fault::LateEffect) => {
                lock(&self.stragglers).push((call, parcel));
                self.gives_up(call).await
            }
            Some(Fault::AnswerLost) => {
                self.outside.answer(parcel).await;
                self.gives_up(call).await
            }
            Some(Fault::EffectThenReset) => {
                self.outside.answer(parcel).await;
                self.stops.stop(Step::Answered(call)).await;
                Err(Lost::Broken)
            }
            Some(Fault::EffectThen500) => {
                self.outside.answer(parcel).await;
                self.stops.stop(Step::Answered(call)).await;
                Ok(Delivered {
                    status: StatusCode::INTERNAL_SERVER_ERROR,
                    body: Bytes::from_static(b"something went wrong"),
                })
            }
            Some(Fault::RequestTwice) => {
                lock(&self.stragglers).push((call, parcel.clone()));
                let delivered = self.outside.answer(parcel).await;
                self.stops.stop(Step::Answered(call)).await;
                Ok(delivered)
            }
            Some(_) => {
                let delivered = self.outside.answer(parcel).await;
                self.stops.stop(Step::Waiting(call, SLOW_SECONDS)).await;
                Ok(delivered)
            }
        }
    }

    async fn gives_up(&self, call: Call) -> Result<Delivered, Lost> {
        self.stops.stop(Step::Waiting(call, TIMEOUT_SECONDS)).await;
        Err(Lost::Late)
    }
}

/// What a request asks for, by its method and its path.
fn call_of(parcel: &Parcel) -> Call {
    let path = parcel.uri().path();
    let is_post = parcel.method() == Method::POST;
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    match (parts.as_slice(), is_post) {
        (["v1", "payments", _], false) => Call::Query,
        (["v1", "payments", _, "close"], true) => Call::Close,
        (["v1", "authorizations"], true) => Call::Authorize,
        (["v1", "authorizations", _], false) => Call::QueryAuthorization,
        (["v1", "authorizations", _, "void"], true) => Call::Void,
        (["v1", "bank", "payouts"], true) => Call::PayOut,
        (["v1", "bank", "payouts", _], false) => Call::QueryPayout,
        (["v1", "messages"], true) => Call::SendSms,
        (["v1", "messages", _], false) => Call::QuerySms,
        (["webhooks", _], true) => Call::Webhook,
        _ => Call::Other,
    }
}
