//! A daemon that dies as under SIGKILL: nothing it awaits goes on, nothing is handed back.
//!
//! It lives in a runtime of its own. Its handlers are polled a given number of times in all and never
//! again; then the runtime is thrown away with every task in it. Between any two polls of a handler lies an
//! await, and what lies between two awaits no crash of the machine could split either, as far as the
//! database and the outside can see.
#![cfg(test)]

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

use chrono::TimeDelta;
use clearday::daemon::Daemon;
use clearday::engine::Handler;
use clearday::store::Store;
use tokio::runtime::Runtime;
use tokio_util::sync::CancellationToken;

use super::house::House;

/// A daemon with a set number of steps to live.
pub(crate) struct MortalDaemon {
    runtime: Option<Runtime>,
    lived: Arc<AtomicU64>,
    death: CancellationToken,
}

impl MortalDaemon {
    /// Starts a daemon over the house that dies when its handlers were polled `steps` times.
    pub(crate) async fn start(house: &House, steps: u64) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        let lived = Arc::new(AtomicU64::new(0));
        let death = CancellationToken::new();
        let life = Life {
            lived: Arc::clone(&lived),
            steps,
            death: death.clone(),
        };
        let mut parts = house.parts(
            house.store.clone(),
            mortal(house.handler(), life),
            TimeDelta::seconds(5),
        );
        let url = house.database.url().to_owned();
        let born = CancellationToken::new();
        let cry = born.clone();
        runtime.spawn(async move {
            // Connections belong to the runtime that opened them.
            parts.store = Store::connect(&url, 10).await.unwrap();
            let daemon = Daemon::start(parts).unwrap();
            cry.cancel();
            daemon.stopping().cancelled().await;
        });
        born.cancelled().await;
        Self {
            runtime: Some(runtime),
            lived,
            death,
        }
    }

    /// How many steps its handlers took so far.
    pub(crate) fn lived(&self) -> u64 {
        self.lived.load(Ordering::SeqCst)
    }

    /// Whether it has taken its last step; it is buried by then.
    pub(crate) fn is_dead(&mut self) -> bool {
        if self.death.is_cancelled() {
            self.kill();
        }
        self.runtime.is_none()
    }

    /// Kills it now.
    pub(crate) fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Drop for MortalDaemon {
    fn drop(&mut self) {
        self.kill();
    }
}

#[derive(Clone)]
struct Life {
    lived: Arc<AtomicU64>,
    steps: u64,
    death: CancellationToken,
}

fn mortal(handler: Handler, life: Life) -> Handler {
    Handler::new(move |run| {
        let carried = handler.carry_out(run);
        Box::pin(Mortal {
            carried,
            life: life.clone(),
        })
    })
}

/// A handler's future that is not polled any more when its daemon's time has come.
struct Mortal<Carried> {
    carried: Carried,
    life: Life,
}

impl<Carried: Future + Unpin> Future for Mortal<Carried> {
    type Output = Carried::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let step = self.life.lived.fetch_add(1, Ordering::SeqCst);
        if step >= self.life.steps {
            self.life.death.cancel();
            return Poll::Pending;
        }
        Pin::new(&mut self.carried).poll(context)
    }
}
