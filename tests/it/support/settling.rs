//! What tests of settlements share: merchants, business, people who sign, and a bank that books.
#![cfg(test)]

use chrono::{DateTime, NaiveTime};
use clearday::config::Role;
use clearday::domain::approval::{Approval, ApprovalState};
use clearday::domain::fee::{FeeContract, Rounding};
use clearday::domain::import::merchants::MerchantRow;
use clearday::domain::job::{Job, JobState};
use clearday::domain::ledger::Account;
use clearday::domain::merchant::{CouponRule, Cycle, FundsFlow, Merchant, Payee, SettleBasis};
use clearday::domain::record::{Record, RecordKind, RecordStatus};
use clearday::domain::settlement_run::public::Progress;
use clearday::domain::settlement_run::{PartState, Settlement};
use clearday::engine::{Signer, settlement_progress};
use clearday::store::approvals::{self, ApprovalFilter};
use clearday::store::settlements::{self, SettlementFilter};
use clearday::store::{ledger, merchants, records};
use clearday_jobs::{Currency, JobId, JobKind, Reference};
use rust_decimal::Decimal;

use super::house::{House, eventually};
use super::sandbox::{bank_days, bank_name, cny};

/// An account that the sandbox bank pays to.
pub(crate) const GOOD_ACCOUNT: &str = "6222020200008888";
/// An account that it refuses at once.
pub(crate) const REFUSED_ACCOUNT: &str = "6222020200000000";

pub(crate) fn contract(rate: &str) -> FeeContract {
    FeeContract {
        valid_from: "2026-01-01".parse().unwrap(),
        valid_until: None,
        rate: rate.parse().unwrap(),
        fixed: cny(0),
        minimum: cny(0),
        maximum: None,
        rounding: Rounding::HalfUp,
        returns_fees: true,
    }
}

/// Paid the next business day, without a minimum, for 0.6 %.
pub(crate) fn merchant(merchant_id: &str) -> Merchant {
    Merchant {
        merchant_id: merchant_id.parse().unwrap(),
        name: "小店".to_owned(),
        currency: Currency::CNY,
        cycle: Cycle::BusinessDays(1),
        cutoff: NaiveTime::MIN,
        zone: chrono_tz::Asia::Shanghai,
        calendar: "CN".to_owned(),
        minimum: cny(0),
        settle_basis: SettleBasis::Captured,
        funds_flow: FundsFlow::Collected,
        coupons: CouponRule::ByFunder,
        reserve_rate: Decimal::ZERO,
        is_held: false,
        payee: Payee {
            bank: bank_name(),
            account_no: GOOD_ACCOUNT.to_owned(),
            account_name: "杭州小店".to_owned(),
        },
        pending_payee: None,
        contracts: vec![contract("0.006")],
        version: 0,
    }
}

/// A payment of M-1 that succeeded.
pub(crate) fn payment(number: &str, minor_units: i64, at: &str) -> Record {
    Record {
        record_no: number.parse().unwrap(),
        kind: RecordKind::Payment,
        channel: "wechat_pay".parse().unwrap(),
        channel_trade_no: Some(format!("T-{number}").parse().unwrap()),
        merchant_id: "M-1".parse().unwrap(),
        amount: cny(minor_units),
        fee: cny(0),
        status: RecordStatus::Succeeded,
        occurred_at: DateTime::parse_from_rfc3339(at).unwrap(),
        original_record_no: None,
        coupon: None,
    }
}

/// A refund of one of its payments.
pub(crate) fn refund(number: &str, of: &str, minor_units: i64, at: &str) -> Record {
    Record {
        kind: RecordKind::Refund,
        original_record_no: Some(of.parse().unwrap()),
        ..payment(number, minor_units, at)
    }
}

/// The end-to-end ids of a settlement, known before they are used.
pub(crate) trait Numbered {
    fn number_of(&self, part_no: u32, generation: u32) -> Reference;
}

impl Numbered for Settlement {
    fn number_of(&self, part_no: u32, generation: u32) -> Reference {
        let digits = self.id.0.simple().to_string().to_ascii_uppercase();
        format!("S{}P{part_no}G{generation}", digits.split_at(12).1)
            .parse()
            .unwrap()
    }
}

impl House {
    /// Writes a merchant down, or changes one, the account included: nobody is asked.
    pub(crate) async fn import_merchant(&self, changed: Merchant) {
        let mut tx = self.store.begin().await.unwrap();
        let known = merchants::find(&mut tx, &changed.merchant_id)
            .await
            .unwrap();
        let version = known.map_or(0, |known| known.version);
        let changed = Merchant { version, ..changed };
        let written = merchants::upsert_all(&mut tx, &[changed], self.clock.now()).await;
        assert_eq!(written.unwrap(), 1);
        tx.commit().await.unwrap();
    }

    /// A file says something else of a merchant who is known.
    pub(crate) async fn import_file_about(&self, told: &Merchant) {
        let row = MerchantRow {
            line: 2,
            merchant: Merchant {
                contracts: Vec::new(),
                ..told.clone()
            },
            contract: told.contracts[0].clone(),
            is_hold_told: true,
        };
        self.engine().import_merchants(&[row]).await.unwrap();
    }

    pub(crate) async fn import_records(&self, told: &[Record]) {
        let mut tx = self.store.begin().await.unwrap();
        let told: Vec<&Record> = told.iter().collect();
        let written = records::insert(&mut tx, &told, self.clock.now()).await;
        assert_eq!(written.unwrap(), u64::try_from(told.len()).unwrap());
        tx.commit().await.unwrap();
    }

    /// Marks records as found without a break.
    pub(crate) async fn reconciled(&self, told: &[&Record]) {
        let mut tx = self.store.begin().await.unwrap();
        let run = self.engine().ids().uuid();
        let marked = records::mark_reconciled(&mut tx, run, told).await;
        assert_eq!(marked.unwrap(), u64::try_from(told.len()).unwrap());
        tx.commit().await.unwrap();
    }

    /// Asks to settle a merchant, under a key of its own for each `key`.
    pub(crate) async fn settle(&self, key: &str, merchant_id: &str, through: &str) -> JobId {
        let payload =
            format!(r#"{{"version":1,"through":"{through}","merchant_id":"{merchant_id}"}}"#);
        self.submit(JobKind::SettlementRun, key, &payload).await
    }

    /// The job, once nobody works on it and it is not due.
    pub(crate) async fn job_rests(&self, id: JobId) -> Job {
        let rested = eventually(async || {
            let job = self.job(id).await;
            let is_waiting = job.state == JobState::Ready && job.run_at > self.clock.now();
            (is_waiting || !job.state.is_leased() && job.state != JobState::Ready).then_some(job)
        });
        match rested.await {
            Some(job) => job,
            None => panic!(
                "the job never rested: {:#?}\n{:#?}",
                self.job(id).await,
                self.timeline(id).await
            ),
        }
    }

    /// The settlements of a merchant, the oldest first.
    pub(crate) async fn settlements_of(&self, merchant_id: &str) -> Vec<Settlement> {
        let filter = SettlementFilter {
            merchant_id: Some(merchant_id.parse().unwrap()),
            ..SettlementFilter::default()
        };
        let mut tx = self.store.read().await.unwrap();
        let mut found = settlements::list(&mut tx, &filter, 100).await.unwrap();
        found.reverse();
        found
    }

    /// The newest settlement of M-1.
    pub(crate) async fn newest(&self) -> Settlement {
        let mut all = self.settlements_of("M-1").await;
        all.pop().expect("M-1 has a settlement")
    }

    /// The newest settlement of M-1, once its first part is there.
    pub(crate) async fn part_becomes(&self, state: PartState) -> Settlement {
        self.newest_becomes(|it| it.parts.first().is_some_and(|part| part.state == state))
            .await
    }

    /// The newest settlement of M-1, once it is as told.
    pub(crate) async fn newest_becomes(&self, is_so: impl Fn(&Settlement) -> bool) -> Settlement {
        let arrived = eventually(async || self.settlements_of("M-1").await.pop().filter(&is_so));
        match arrived.await {
            Some(settlement) => settlement,
            None => panic!("no settlement became so: {:#?}", self.newest().await),
        }
    }

    /// What the merchant is told.
    pub(crate) async fn told(&self, settlement: &Settlement) -> Progress {
        let mut tx = self.store.read().await.unwrap();
        let merchant = merchants::find(&mut tx, &settlement.merchant_id).await;
        let merchant = merchant.unwrap().unwrap();
        settlement_progress(
            &mut tx,
            settlement,
            &merchant,
            &bank_days(),
            self.clock.now(),
        )
        .await
        .unwrap()
    }

    /// The same of the newest settlement of M-1, on one line: state, reason and expected day.
    pub(crate) async fn told_words(&self) -> String {
        let told = self.told(&self.newest().await).await;
        let day = told
            .expected_on
            .map_or(String::new(), |day| format!(" {day}"));
        format!("{} {}{day}", told.state, told.reason)
    }

    /// What waits for people, the oldest first.
    pub(crate) async fn requested(&self) -> Vec<Approval> {
        let filter = ApprovalFilter {
            state: Some(ApprovalState::Requested),
            ..ApprovalFilter::default()
        };
        let mut tx = self.store.read().await.unwrap();
        let mut found = approvals::list(&mut tx, filter, 100).await.unwrap();
        found.reverse();
        found
    }

    /// Two people agree to everything that waits; returns what that was.
    pub(crate) async fn approve_all(&self) -> Vec<Approval> {
        let waiting = self.requested().await;
        for approval in &waiting {
            let people = ["li", "wang"];
            let still_to_sign = people
                .iter()
                .filter(|name| {
                    let maker = approval.maker.as_ref();
                    maker.is_none_or(|maker| maker.person != **name)
                })
                .take(if approval.maker.is_some() { 1 } else { 2 });
            for name in still_to_sign {
                let role = Role::Approver;
                let signer = Signer { name, role };
                self.door().sign(approval.id, signer, None).await.unwrap();
            }
        }
        waiting
    }

    /// Somebody does not agree to the only thing that waits.
    pub(crate) async fn reject(&self, reason: &str) {
        let waiting = self.requested().await;
        let [only] = waiting.as_slice() else {
            panic!("{waiting:#?}");
        };
        let signer = Signer {
            name: "zhao",
            role: Role::Approver,
        };
        self.door().reject(only.id, signer, reason).await.unwrap();
    }

    /// What we owe on an account of M-1, or hold there.
    pub(crate) async fn owed(&self, account: Account) -> i64 {
        let mut tx = self.store.read().await.unwrap();
        let owed = ledger::owed(&mut tx, account, "M-1", Currency::CNY).await;
        owed.unwrap().minor_units()
    }

    /// Moves the clock to an instant, given in the zone of the merchants.
    pub(crate) fn clock_shows(&self, text: &str) {
        let until: DateTime<chrono::Utc> = format!("{text}+08:00").parse().unwrap();
        self.clock.advance(until - self.clock.now());
    }
}
