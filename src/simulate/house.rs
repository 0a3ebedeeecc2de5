//! What all daemons of one simulation share: a database in memory, a sandbox, and a folder of statements and keys.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, NaiveTime, TimeDelta, Utc};
use clearday_jobs::{ChannelName, Currency, MethodGroup};
use tokio::sync::Semaphore;

use super::SimulateError;
use super::network::{Network, Stragglers};
use super::stop::{SimulatedGate, Stops};
use crate::clock::Clock;
use crate::config::Approvals;
use crate::connectors::messages::{
    MessageSettings, Messages, SigningKeys, SmsSettings, UPSTREAM, WebhookSettings,
};
use crate::connectors::sandbox::mailroom::MailroomHandle;
use crate::connectors::sandbox::{ACCOUNT_NO, SandboxHandle, SandboxWithin};
use crate::connectors::{
    BankAccount, BankConnector, BankSettings, Banks, ChannelSettings, Channels, Now,
    SandboxSettings, Timeouts, Wire,
};
use crate::domain::deferred_authorization::ChargingRules;
use crate::domain::partner_notification::PayLinkTemplate;
use crate::engine::{Engine, Handler, NoBell, Policy};
use crate::store::Store;
use crate::workers::{self, Workbench};

/// The channel of every payment. Its statements are read in the format of the real one.
pub(super) const CHANNEL: &str = "wechat_pay";
/// The bank that pays merchants.
pub(super) const BANK: &str = "sandbox_bank";
/// The partner who is asked to pay.
pub(super) const PARTNER: &str = "P-1";
/// Nobody listens there: requests never leave the process.
const OUTSIDE: &str = "http://127.0.0.1:9";
const PAY_LINK: &str = "https://pay.example/{order_no}";
const KEYS: &str = "whsec_AAECAwQFBgcICQoLDA0ODxAREhMUFRYX\n";
/// Longer than a request is ever on its way here, and than a clock is ever wrong, together.
const PROCESSING_WINDOW: Duration = Duration::from_mins(15);
const TIMEOUTS: Timeouts = Timeouts {
    connect: Duration::from_secs(3),
    request: Duration::from_secs(10),
};

/// Faults come in dozens here, and burials by bad luck would say nothing; the lease is the default.
const POLICY: Policy = Policy {
    lease: TimeDelta::seconds(20),
    attempts_max: 40,
    rescues_max: 40,
    // By the machine's clock, which no simulation uses up.
    handler_timeout: Duration::from_hours(1),
    partition_concurrency: None,
};

/// What all daemons share.
pub(super) struct House {
    /// The database, without a gate.
    pub(super) store: Store,
    pub(super) stops: Stops,
    /// The time, as it really is.
    pub(super) clock: Clock,
    pub(super) sandbox: SandboxHandle,
    pub(super) mailroom: MailroomHandle,
    pub(super) outside: SandboxWithin,
    pub(super) stragglers: Stragglers,
    pub(super) folder: Folder,
    wire: Wire,
}

impl House {
    /// An empty house at an instant.
    pub(super) async fn open(start: DateTime<Utc>) -> Result<Self, SimulateError> {
        let store = Store::in_memory().await?;
        store.migrate().await?;
        let clock = Clock::manual(start);
        let (sandbox, mailroom) = (
            SandboxHandle::new(now_of(&clock)),
            MailroomHandle::new(now_of(&clock)),
        );
        let folder = Folder::new()?;
        for endpoint in [PARTNER, UPSTREAM] {
            fs::write(folder.keys().join(endpoint), KEYS)?;
            let keys = SigningKeys::parse(KEYS).map_err(SimulateError::set_up)?;
            mailroom.trust(endpoint, keys);
        }
        let outside = SandboxWithin::new(sandbox.clone(), mailroom.clone());
        let (stops, stragglers) = (Stops::default(), Stragglers::default());
        let network = Network {
            stops: stops.clone(),
            outside: outside.clone(),
            stragglers: Arc::clone(&stragglers),
        };
        Ok(Self {
            store,
            stops,
            clock,
            sandbox,
            mailroom,
            outside,
            stragglers,
            folder,
            wire: Wire::within(Arc::new(network)).map_err(SimulateError::set_up)?,
        })
    }

    /// The address of an endpoint that takes webhooks.
    pub(super) fn endpoint(name: &str) -> String {
        format!("{OUTSIDE}/webhooks/{name}")
    }

    /// How patient daemons are.
    pub(super) fn policy() -> Policy {
        POLICY
    }

    /// The database as a daemon sees it.
    pub(super) fn gated(&self) -> Store {
        self.store
            .behind(Arc::new(SimulatedGate(self.stops.clone())))
    }

    /// The way in for people and systems that nothing happens to.
    pub(super) fn door(&self, ids: crate::clock::Ids) -> Engine {
        Engine::new(
            self.store.clone(),
            self.clock.clone(),
            ids,
            POLICY,
            "door".to_owned(),
            Arc::new(NoBell),
        )
    }

    /// The real workers, for a daemon with this clock.
    pub(super) fn handler(&self, clock: &Clock) -> Result<Handler, SimulateError> {
        let now = now_of(clock);
        let channel = ChannelName::new(CHANNEL).map_err(SimulateError::set_up)?;
        let bank = ChannelName::new(BANK).map_err(SimulateError::set_up)?;
        let channels = Channels::build_on(&self.wire, [(channel, channel_settings())], &now);
        let banks = Banks::build_on(&self.wire, [(bank, bank_settings())], &now);
        let messages = Messages::build_on(&self.wire, &self.messages()?, &now);
        Ok(workers::handler(Workbench {
            channels: Arc::new(channels.map_err(SimulateError::set_up)?),
            messages: Arc::new(messages.map_err(SimulateError::set_up)?),
            pay_link: PayLinkTemplate::parse(PAY_LINK).ok(),
            banks: Arc::new(banks.map_err(SimulateError::set_up)?),
            deposit_texts: Arc::default(),
            charging: Arc::new(charging()),
            approvals: Arc::new(Approvals::default()),
            statements: self.folder.statements(),
            heavy: Arc::new(Semaphore::new(1)),
        }))
    }

    fn messages(&self) -> Result<MessageSettings, SimulateError> {
        let own = "127.0.0.0/8".parse().map_err(SimulateError::set_up)?;
        Ok(MessageSettings {
            sms: Some(SmsSettings {
                url: format!("{OUTSIDE}/v1/messages"),
                token: None,
                timeouts: TIMEOUTS,
                processing_window: PROCESSING_WINDOW,
            }),
            // A mail needs a socket: SMTP stays outside of the simulation.
            email: None,
            webhooks: WebhookSettings {
                keys_directory: Some(self.folder.keys()),
                allow_networks: vec![own],
                timeouts: TIMEOUTS,
            },
        })
    }
}

fn channel_settings() -> ChannelSettings {
    ChannelSettings::Sandbox(SandboxSettings {
        base_url: OUTSIDE.to_owned(),
        timeouts: TIMEOUTS,
        processing_window: PROCESSING_WINDOW,
    })
}

fn bank_settings() -> BankSettings {
    BankSettings {
        connector: BankConnector::Sandbox,
        base_url: OUTSIDE.to_owned(),
        timeouts: TIMEOUTS,
        account: BankAccount {
            account_no: ACCOUNT_NO.to_owned(),
            currency: Currency::CNY,
            cutoff: NaiveTime::MIN
                .overflowing_add_signed(TimeDelta::hours(17))
                .0,
            zone: chrono_tz::Asia::Shanghai,
        },
        payout_max: None,
        processing_window: PROCESSING_WINDOW,
    }
}

fn charging() -> ChargingRules {
    ChargingRules {
        sequence: vec![
            MethodGroup::StoredValueCard,
            MethodGroup::CustomerAccount,
            MethodGroup::CreditCard,
            MethodGroup::Other,
        ],
        zone: chrono_tz::Asia::Shanghai,
    }
}

/// A clock as connectors and the sandbox take it.
pub(super) fn now_of(clock: &Clock) -> Now {
    let clock = clock.clone();
    Arc::new(move || clock.now())
}

/// A folder of its own, gone with the simulation. Nothing that is told contains its name.
pub(super) struct Folder(PathBuf);

impl Folder {
    fn new() -> io::Result<Self> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("clearday-simulate-{}-{count}", std::process::id());
        let folder = Self(std::env::temp_dir().join(name));
        for inner in [folder.statements(), folder.keys()] {
            fs::create_dir_all(inner)?;
        }
        Ok(folder)
    }

    /// Where statements arrive.
    pub(super) fn statements(&self) -> PathBuf {
        self.0.join("statements")
    }

    fn keys(&self) -> PathBuf {
        self.0.join("keys")
    }

    /// Puts a statement there.
    pub(super) fn put(&self, name: &str, content: &str) -> io::Result<()> {
        fs::write(self.statements().join(Path::new(name)), content)
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What is left behind lies in the folder for temporary files.
        fs::remove_dir_all(&self.0).ok();
    }
}
