//! One story from an order to the merchant's money, told in both modes, and with a daemon killed anywhere in it.
//!
//! ARCHITECTURE.md tells it in words.
#![cfg(test)]

use chrono::{DateTime, Utc};
use clearday::connectors::messages::UPSTREAM;
use clearday::connectors::sandbox::{BankEvent, Event, Fault, HoldEvent, Operation};
use clearday::domain::authorization::reference_for;
use clearday::domain::import::records::RecordRow;
use clearday::domain::job::JobState;
use clearday::domain::merchant::{Cycle, Merchant};
use clearday::domain::order::OrderState;
use clearday::domain::partner::Delivery;
use clearday::domain::settlement_run::SettlementState;
use clearday::formats::records::read_numbered_records;
use clearday::store::{authorizations, reconciliations};
use clearday::verify::verify;
use clearday_jobs::{JobId, JobKind, Reference};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::bank_reconciliation::balances;
use crate::bills::{self, all_bill, records_csv};
use crate::support::house::{House, Mode, expiry_of, request_of};
use crate::support::mortal::MortalDaemon;
use crate::support::sandbox::reference;
use crate::support::settling::{Numbered, merchant};

/// A house with a story, and the daemon that may die in it.
struct Stage {
    house: House,
    mortal: MortalDaemon,
}

impl Stage {
    async fn open(mode: Mode, steps: u64) -> Self {
        let mut house = House::without_daemons(mode).await;
        let mortal = MortalDaemon::start(&house, steps).await;
        if mode == Mode::Production {
            house.start_daemon();
        }
        Self { house, mortal }
    }

    /// Works until an instant, given in the zone of the merchants.
    async fn works_until(&mut self, text: &str) {
        let until: DateTime<Utc> = format!("{text}+08:00").parse().unwrap();
        let mortal = Some(&mut self.mortal);
        // Where nobody else is left, somebody starts it again.
        self.house
            .work_until(until, mortal, |house| {
                if house.daemons.is_empty() {
                    house.start_daemon();
                }
            })
            .await;
    }

    fn fault(&self, operation: Operation, about: &Reference, fault: Fault) {
        self.house
            .sandbox
            .handle
            .queue_fault(operation, about, fault);
    }
}

/// Tells the whole story with a daemon that dies after `steps`; returns how many it took, and whether it died.
async fn tell(mode: Mode, steps: u64) -> (u64, bool) {
    let mut stage = Stage::open(mode, steps).await;
    let first = an_evening(&mut stage).await;
    a_morning_of_reconciliation(&mut stage).await;
    a_payout(&mut stage).await;
    a_statement(&mut stage).await;
    everything_happened_once(&stage, first).await;

    let Stage { house, mut mortal } = stage;
    let told = (mortal.lived(), mortal.is_dead());
    mortal.kill();
    let report = verify(&house.store).await.unwrap();
    assert!(report.ok, "{report:#?}");
    house.close().await;
    told
}

/// Monday: O-1 is accepted while the channel is down, a partner is asked to pay O-2, and nobody does.
async fn an_evening(stage: &mut Stage) -> JobId {
    let house = &stage.house;
    house
        .import_merchant(Merchant {
            cycle: Cycle::BusinessDays(2),
            ..merchant("M-1")
        })
        .await;
    house.partner("P-1", Delivery::All).await;
    house.open_order("O-1", "O-1").await;
    house.open_order("O-2", "O-2").await;
    house.open_reference("O-2", "R-2", 1_234).await;

    stage.fault(Operation::Authorize, &card(), Fault::Unavailable);
    stage.fault(Operation::Close, &reference("R-2"), Fault::LostAnswer);
    let kind = JobKind::DeferredAuthorization;
    let payload = authorization_of_o_1(&house.mailroom.webhook_url(UPSTREAM));
    let accepted = house.submit(kind, "O-1", &payload.to_string()).await;
    let kind = JobKind::PartnerNotification;
    house.submit(kind, "O-2", &request_of("O-2", "P-1")).await;
    stage.works_until("2026-03-02T20:55:00").await;
    assert_eq!(stage.house.order_state("O-1").await, OrderState::Paid);
    assert_eq!(stage.house.order_state("O-2").await, OrderState::Open);

    let kind = JobKind::OrderExpiry;
    stage.house.submit(kind, "O-2", &expiry_of("O-2")).await;
    stage.works_until("2026-03-02T23:00:00").await;
    assert_eq!(stage.house.order_state("O-2").await, OrderState::Expired);
    accepted
}

/// Tuesday: the bill of Monday has another amount for P-2, and a payment that nobody knows.
async fn a_morning_of_reconciliation(stage: &mut Stage) {
    let sold = [
        bills::payment("P-1", 10_000, 60),
        bills::payment("P-2", 3_000, 18),
    ];
    let billed = [
        bills::payment("P-1", 10_000, 60),
        bills::payment("P-2", 2_900, 18),
        bills::payment("P-3", 500, 3),
    ];
    import(&stage.house, &sold).await;
    let folder = stage.house.statements.path();
    std::fs::write(folder.join("bill.csv"), all_bill(&billed)).unwrap();
    stage.works_until("2026-03-03T10:00:00").await;
    reconcile(stage, "bill", "wechat_pay", "bill.csv").await;
    stage.works_until("2026-03-03T10:30:00").await;
    assert_eq!(
        breaks(&stage.house).await,
        ["amount_mismatch P-2", "missing_ours P-3"]
    );
}

/// Tuesday and Wednesday: what is not in a break is settled, agreed to by two people, and ordered from the bank.
async fn a_payout(stage: &mut Stage) {
    let kind = JobKind::SettlementRun;
    let payload = r#"{"version":1,"through":"2026-03-02"}"#;
    stage.house.submit(kind, "2026-03-02", payload).await;
    stage.works_until("2026-03-03T11:00:00").await;
    assert_eq!(
        stage.house.told_words().await,
        "not_due approval_before_due_date 2026-03-04"
    );

    stage.works_until("2026-03-04T16:30:00").await;
    assert_eq!(
        stage.house.told_words().await,
        "awaiting_payment approval_overdue"
    );
    let number = stage.house.newest().await.number_of(1, 1);
    stage.fault(Operation::PayOut, &number, Fault::LostAnswer);
    for _ in 0..1_000 {
        stage.fault(Operation::QueryPayout, &number, Fault::Unavailable);
    }
    assert_eq!(stage.house.approve_all().await.len(), 1);
    stage.works_until("2026-03-04T17:00:00").await;
    assert_eq!(
        stage.house.told_words().await,
        "submitted outcome_unknown 2026-03-04"
    );
}

/// Wednesday evening: the bank's statement shows what its answer did not.
async fn a_statement(stage: &mut Stage) {
    let day = "2026-03-04".parse().unwrap();
    let number = stage.house.newest().await.number_of(1, 1);
    let bank = &stage.house.sandbox.handle;
    if bank.bank_books().count_effects(BankEvent::Accept, &number) == 0 {
        // It died before the bank had it. The bank is back first, and gets it under the same number.
        bank.clear_faults();
        stage.works_until("2026-03-04T17:30:00").await;
    }
    let bank = &stage.house.sandbox.handle;
    bank.book_day(day).unwrap();
    let xml = bank.statement(day).unwrap();
    let folder = stage.house.statements.path();
    std::fs::write(folder.join("bank.xml"), xml).unwrap();
    reconcile(stage, "statement", "sandbox_bank", "bank.xml").await;
    stage.works_until("2026-03-04T18:00:00").await;
    let settlement = stage.house.newest().await;
    assert_eq!(settlement.state, SettlementState::Paid);
    assert_eq!(stage.house.told_words().await, "submitted on_statement");
}

async fn everything_happened_once(stage: &Stage, accepted: JobId) {
    let house = &stage.house;
    let sandbox = &house.sandbox.handle;
    let number = house.newest().await.number_of(1, 1);
    let holds = sandbox.hold_books();
    assert_eq!(holds.count_effects(HoldEvent::Authorize, &card()), 1);
    let closes = sandbox
        .books()
        .count_effects(Event::Close, &reference("R-2"));
    assert_eq!(closes, 1);
    let bank = sandbox.bank_books();
    assert_eq!(bank.count_effects(BankEvent::Accept, &number), 1);
    assert_eq!(bank.count_effects(BankEvent::Book, &number), 1);
    assert_eq!(bank.effects().len(), 2, "nothing else was ordered");

    let mut tx = house.store.read().await.unwrap();
    let answer = authorizations::answer_of(&mut tx, accepted).await.unwrap();
    drop(tx);
    let answer: Value = serde_json::from_str(&answer.unwrap()).unwrap();
    assert_eq!(answer["successful"], "Y");
    told_once(house);

    for job in house.all_jobs().await {
        assert_eq!(job.state, JobState::Done, "{job:#?}");
    }
    assert_eq!(balances(house).await, BALANCES);
}

/// A partner and upstream may be called again after a crash, under one id. A mail cannot be taken back or asked
/// about: after a crash in its sending it is not sent again, and the notice says so.
fn told_once(house: &House) {
    let mailroom = &house.mailroom.handle;
    let sms = mailroom.sms();
    assert_eq!((sms.len(), sms[0].handed_over), (1, 1));
    assert!(mailroom.mails().len() <= 1);
    let calls = mailroom.webhooks();
    for endpoint in ["P-1", UPSTREAM] {
        let mut ids: Vec<&String> = calls
            .iter()
            .filter(|call| call.endpoint == endpoint)
            .map(|call| &call.id)
            .collect();
        ids.dedup();
        assert_eq!(ids.len(), 1, "{endpoint}");
    }
    assert!(calls.iter().all(|call| call.is_verified));
}

/// What is left in the books: P-2 waits for its break, everything else was paid.
const BALANCES: [&str; 7] = [
    "bank sandbox_bank 9999888.33",
    "channel_fee wechat_pay 0.78",
    "channel_receivable sandbox 12.34",
    "channel_receivable wechat_pay 129.22",
    "fee_income M-1 -0.67",
    "merchant_pending M-1 -30.00",
    "opening_balance clearday -10000000.00",
];

fn authorization_of_o_1(callback_url: &str) -> Value {
    json!({
        "version": 1,
        "order": {
            "order_no": "O-1",
            "merchant_id": "M-1",
            "payer_id": "C-1",
            "total": { "amount": "12.34", "currency": "CNY" },
        },
        "methods": [{
            "method_id": "card",
            "group": "credit_card",
            "channel": "sandbox",
            "token": "tok_card",
            "charge_sequence": 1,
            "capture": "automatic",
        }],
        "callback_url": callback_url,
    })
}

/// The only authorization of O-1.
fn card() -> Reference {
    reference_for(&"O-1".parse().unwrap(), &"card".parse().unwrap(), 1).unwrap()
}

async fn import(house: &House, sold: &[bills::Row]) {
    let records: Vec<bills::Record> = sold.iter().map(bills::Row::record).collect();
    let csv = records_csv(&records).replace(",M1,", ",M-1,");
    let mut rows = Vec::new();
    read_numbered_records(csv.as_bytes(), |line, record| {
        rows.push(RecordRow { line, record });
    })
    .unwrap();
    house.door().import_records(rows).await.unwrap();
}

async fn reconcile(stage: &Stage, key: &str, channel: &str, file: &str) {
    let payload = json!({ "version": 1, "channel": channel, "statements": [file] });
    let kind = JobKind::Reconciliation;
    stage.house.submit(kind, key, &payload.to_string()).await;
}

/// The open breaks: name and our number, or the channel's order number where we have none.
async fn breaks(house: &House) -> Vec<String> {
    let mut tx = house.store.read().await.unwrap();
    let open = reconciliations::list_breaks(&mut tx, "open", 100).await;
    let mut told: Vec<String> = open
        .unwrap()
        .into_iter()
        .map(|it| format!("{} {}", it.break_name, it.record_no.unwrap_or_default()))
        .collect();
    told.sort();
    told
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_story_is_told_on_sqlite() {
    let (steps, is_dead) = tell(Mode::Embedded, u64::MAX).await;
    assert!(!is_dead);
    assert!(steps > 100, "{steps} steps are no story");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_story_is_told_on_postgres_and_redis_by_two_daemons() {
    let (_, is_dead) = tell(Mode::Production, u64::MAX).await;
    assert!(!is_dead);
}

/// Kills one daemon at each of at least `count` points of the story, drawn from a seed; another one or its successor
/// carries on.
async fn tell_with_deaths(mode: Mode, seed: u64, count: usize) {
    let (steps, _) = tell(mode, u64::MAX).await;
    let mut random = StdRng::seed_from_u64(seed);
    let (mut deaths, mut tries) = (0, 0);
    // How two daemons share the work differs from run to run, so one of them may be through before its time: then another
    // point is drawn, until most have died.
    while tries < count || deaths * 2 <= count {
        assert!(tries < count * 4, "only {deaths} of {tries} died");
        let step = random.random_range(0..steps);
        let (_, is_dead) = tell(mode, step).await;
        deaths += usize::from(is_dead);
        tries += 1;
    }
}

/// Sixty points in all, in tests of five so that they run side by side.
macro_rules! the_story_survives_deaths {
    ($($name:ident: $mode:expr, $seed:literal;)*) => {
        $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $name() {
            tell_with_deaths($mode, $seed, 5).await;
        })*
    };
}

mod the_story_survives_deaths_on_sqlite {
    use super::*;

    the_story_survives_deaths! {
        of_the_only_daemon_with_seed_1: Mode::Embedded, 1;
        of_the_only_daemon_with_seed_2: Mode::Embedded, 2;
    }
}

mod the_story_survives_deaths_on_postgres_and_redis {
    use super::*;

    the_story_survives_deaths! {
        of_one_of_two_with_seed_1: Mode::Production, 1;
        of_one_of_two_with_seed_2: Mode::Production, 2;
        of_one_of_two_with_seed_3: Mode::Production, 3;
        of_one_of_two_with_seed_4: Mode::Production, 4;
        of_one_of_two_with_seed_5: Mode::Production, 5;
        of_one_of_two_with_seed_6: Mode::Production, 6;
        of_one_of_two_with_seed_7: Mode::Production, 7;
        of_one_of_two_with_seed_8: Mode::Production, 8;
        of_one_of_two_with_seed_9: Mode::Production, 9;
        of_one_of_two_with_seed_10: Mode::Production, 10;
    }
}
