//! What requests travel on: the network, or a carrier within this process.
//!
//! A carrier takes the place of sockets where a simulation decides what arrives. Everything before and behind it is
//! the real client: the same requests are written, and the same answers are sorted.

use std::fmt;
use std::sync::Arc;

use axum::body::Bytes;
use axum::http;
use futures::future::BoxFuture;
use reqwest::{Client, RequestBuilder, StatusCode};

use super::TransportError;
use super::outbound::install_tls_provider;

/// A whole request.
pub type Parcel = http::Request<Bytes>;

/// Carries requests to whoever is meant by them, and what is answered back.
pub trait Carrier: fmt::Debug + Send + Sync {
    /// Carries one request, once.
    fn carry(&self, parcel: Parcel) -> BoxFuture<'static, Result<Delivered, Lost>>;
}

/// What came back.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Delivered {
    /// The status.
    pub status: StatusCode,
    /// The whole body.
    pub body: Bytes,
}

/// Why nothing came back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// No connection came about: nothing was sent.
    Unsent,
    /// Nothing came in time.
    Late,
    /// The connection broke.
    Broken,
}

/// What requests travel on.
#[derive(Clone, Debug, Default)]
pub enum Wire {
    /// The network.
    #[default]
    Network,
    /// A carrier within this process.
    Within(Within),
}

/// A carrier, and what writes requests down for it.
#[derive(Clone, Debug)]
pub struct Within {
    pub(super) client: Client,
    pub(super) carrier: Arc<dyn Carrier>,
}

impl Wire {
    /// A wire that never leaves this process.
    ///
    /// # Errors
    /// When not even a client that calls nobody can be had.
    pub fn within(carrier: Arc<dyn Carrier>) -> Result<Self, TransportError> {
        install_tls_provider();
        let bare = Client::builder().tls_certs_only([]).no_proxy().build();
        Ok(Self::Within(Within {
            client: bare.map_err(TransportError)?,
            carrier,
        }))
    }

    /// The client that writes requests down, made by `build` where it also sends them.
    pub(super) fn client<E>(&self, build: impl FnOnce() -> Result<Client, E>) -> Result<Client, E> {
        match self {
            Self::Network => build(),
            Self::Within(within) => Ok(within.client.clone()),
        }
    }
}

/// What became of one request.
pub(super) enum Sent {
    /// It is on the network, and this is the beginning of the answer.
    Network(reqwest::Response),
    /// A carrier brought the whole answer.
    Within(Delivered),
}

/// Why a request got no answer.
pub(super) enum Failed {
    Network(reqwest::Error),
    Within(Lost),
}

impl Wire {
    /// Sends once.
    pub(super) async fn send(&self, builder: RequestBuilder) -> Result<Sent, Failed> {
        match self {
            Self::Network => {
                let response = builder.send().await.map_err(Failed::Network)?;
                Ok(Sent::Network(response))
            }
            Self::Within(within) => {
                let request = builder.build().map_err(Failed::Network)?;
                let carried = within.carrier.carry(written(request)).await;
                carried.map(Sent::Within).map_err(Failed::Within)
            }
        }
    }
}

/// The request as a carrier takes it; a body that is streamed, which no client of ours has, is left out.
fn written(mut request: reqwest::Request) -> Parcel {
    let body = request
        .body()
        .and_then(reqwest::Body::as_bytes)
        .map(Bytes::copy_from_slice);
    let mut parcel = Parcel::new(body.unwrap_or_default());
    *parcel.method_mut() = request.method().clone();
    *parcel.uri_mut() = request.url().as_str().parse().unwrap_or_default();
    *parcel.headers_mut() = std::mem::take(request.headers_mut());
    parcel
}
