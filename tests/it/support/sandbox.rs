//! A sandbox on a free port, in this process, gone with the test.
#![cfg(test)]

use std::net::SocketAddr;
use std::time::Duration;

use chrono::{DateTime, NaiveTime, Utc};
use clearday::connectors::sandbox::{ACCOUNT_NO, SandboxHandle, serve};
use clearday::connectors::{
    Bank, BankAccount, BankConnector, BankSettings, Banks, Channel, ChannelSettings, Channels, Now,
    SandboxSettings, Timeouts,
};
use clearday::domain::settlement_run::public::{BankDay, BankDays};
use clearday_jobs::{ChannelName, Currency, Money, Reference};
use tokio::net::TcpListener;
use tokio_util::sync::{CancellationToken, DropGuard};
use tokio_util::task::TaskTracker;

/// Longer than any machine needs for an answer on loopback.
pub(crate) const PATIENT: Duration = Duration::from_secs(20);

pub(crate) struct RunningSandbox {
    pub(crate) handle: SandboxHandle,
    pub(crate) address: SocketAddr,
    tracker: TaskTracker,
    stop: DropGuard,
}

impl RunningSandbox {
    pub(crate) async fn start(now: Now) -> Self {
        let handle = SandboxHandle::new(now);
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let stop = CancellationToken::new();
        let tracker = TaskTracker::new();
        let server = serve(listener, handle.clone(), stop.clone());
        tracker.spawn(async move { server.await.unwrap() });
        tracker.close();
        Self {
            handle,
            address,
            tracker,
            stop: stop.drop_guard(),
        }
    }

    pub(crate) fn base_url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Stops it and waits until it is gone.
    pub(crate) async fn stop(self) {
        drop(self.stop);
        self.tracker.wait().await;
    }
}

/// The one channel of that address.
pub(crate) fn channels(base_url: &str, request_timeout: Duration, now: &Now) -> Channels {
    channels_within(Duration::ZERO, base_url, request_timeout, now)
}

/// The same, with requests that may be on their way for so long.
pub(crate) fn channels_within(
    processing_window: Duration,
    base_url: &str,
    request_timeout: Duration,
    now: &Now,
) -> Channels {
    let settings = SandboxSettings {
        base_url: base_url.to_owned(),
        timeouts: within(request_timeout),
        processing_window,
    };
    let named = (sandbox_name(), ChannelSettings::Sandbox(settings));
    Channels::build([named], now).unwrap()
}

pub(crate) fn channel(channels: &Channels) -> &Channel {
    channels.find(&sandbox_name()).unwrap()
}

/// Time-outs that end with the request's.
pub(crate) fn within(request_timeout: Duration) -> Timeouts {
    Timeouts {
        connect: request_timeout / 2,
        request: request_timeout,
    }
}

/// The one bank of that address.
pub(crate) fn banks(base_url: &str, request_timeout: Duration, now: &Now) -> Banks {
    banks_within(Duration::ZERO, base_url, request_timeout, now)
}

/// The same, where none pays more than so much at once.
pub(crate) fn banks_paying_at_most(
    most: Money,
    base_url: &str,
    request_timeout: Duration,
    now: &Now,
) -> Banks {
    let settings = BankSettings {
        payout_max: Some(most),
        ..bank_settings(Duration::ZERO, base_url, request_timeout)
    };
    Banks::build([(bank_name(), settings)], now).unwrap()
}

/// The same, with orders that may be on their way for so long.
pub(crate) fn banks_within(
    processing_window: Duration,
    base_url: &str,
    request_timeout: Duration,
    now: &Now,
) -> Banks {
    let settings = bank_settings(processing_window, base_url, request_timeout);
    let capped = BankSettings {
        payout_max: Some(cny(5_000)),
        ..settings.clone()
    };
    Banks::build([(bank_name(), settings), (capped_bank_name(), capped)], now).unwrap()
}

fn bank_settings(
    processing_window: Duration,
    base_url: &str,
    request_timeout: Duration,
) -> BankSettings {
    BankSettings {
        connector: BankConnector::Sandbox,
        base_url: base_url.to_owned(),
        timeouts: within(request_timeout),
        account: BankAccount {
            account_no: ACCOUNT_NO.to_owned(),
            currency: Currency::CNY,
            cutoff: NaiveTime::from_hms_opt(17, 0, 0).unwrap(),
            zone: chrono_tz::Asia::Shanghai,
        },
        payout_max: None,
        processing_window,
    }
}

pub(crate) fn bank(banks: &Banks) -> &Bank {
    banks.find(&bank_name()).unwrap()
}

pub(crate) fn bank_name() -> ChannelName {
    ChannelName::new("sandbox_bank").unwrap()
}

/// Until when they take orders.
pub(crate) fn bank_days() -> BankDays {
    let day = BankDay {
        cutoff: NaiveTime::from_hms_opt(17, 0, 0).unwrap(),
        zone: chrono_tz::Asia::Shanghai,
    };
    [bank_name(), capped_bank_name()]
        .map(|bank| (bank, day))
        .into()
}

/// The same bank, under a name by which it pays ¥50.00 at most at once.
pub(crate) fn capped_bank_name() -> ChannelName {
    ChannelName::new("capped_bank").unwrap()
}

pub(crate) fn sandbox_name() -> ChannelName {
    ChannelName::new("sandbox").unwrap()
}

pub(crate) fn reference(name: &str) -> Reference {
    Reference::new(name).unwrap()
}

pub(crate) fn cny(minor_units: i64) -> Money {
    Money::from_minor(minor_units, Currency::parse("CNY").unwrap())
}

pub(crate) fn at(second: i64) -> DateTime<Utc> {
    DateTime::from_timestamp(1_780_000_000 + second, 0).unwrap()
}
