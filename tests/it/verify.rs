//! `clearday verify`: a little world that is well, and whatever somebody with a hand in its database could do to it.
#![cfg(test)]

use chrono::TimeDelta;
use clearday::cli::exit::Exit;
use clearday::domain::import::records::RecordRow;
use clearday::domain::job::JobState;
use clearday::domain::ledger::events::{self, Occasion};
use clearday::domain::ledger::{Booking, Entry};
use clearday::domain::record::{Record, RecordKind, RecordStatus};
use clearday::formats::records::read_numbered_records;
use clearday::store::Store;
use clearday::store::ledger::{self, JobContext};
use clearday::verify::{Report, verify};
use clearday_jobs::{JobId, JobKind};
use serde_json::json;

use crate::support::command_line::CommandLine;
use crate::support::house::{House, Mode, expiry_of};
use crate::support::sandbox::{cny, reference};
use crate::support::servers::TestDatabase;
use crate::support::settling::merchant;
use crate::support::sql::tamper;

const RECORDS: &str = "\
record_no,kind,channel,channel_trade_no,merchant_id,amount,currency,fee,status,occurred_at,original_record_no,coupon_amount,coupon_funder
P-1,payment,wechat_pay,T-1,M-1,18.00,CNY,0.11,succeeded,2026-03-02T08:00:00+08:00,,,
P-2,payment,wechat_pay,T-2,M-1,10.00,CNY,0.06,succeeded,2026-03-02T08:00:00+08:00,,3.00,merchant
P-3,payment,wechat_pay,T-3,M-1,10.00,CNY,0.06,succeeded,2026-03-02T08:00:00+08:00,,3.00,platform
P-4,payment,wechat_pay,T-4,M-2,5.00,CNY,0.03,pending,2026-03-02T08:00:00+08:00,,,
P-5,payment,wechat_pay,T-1,M-1,18.00,CNY,0.11,succeeded,2026-03-02T08:00:00+08:00,,,
P-6,payment,wechat_pay,T-6,M-2,50.00,CNY,0.30,succeeded,2026-03-02T08:00:00+08:00,,,
F-1,refund,wechat_pay,,M-1,5.00,CNY,-0.03,succeeded,2026-03-02T09:00:00+08:00,P-3,1.50,platform
";

async fn import(house: &House, csv: &str) {
    let mut rows = Vec::new();
    read_numbered_records(csv.as_bytes(), |line, record| {
        rows.push(RecordRow { line, record });
    })
    .unwrap();
    house.engine().import_records(rows).await.unwrap();
}

/// Books every record: a settlement run does, also where it finds nothing to settle.
async fn book(house: &House, key: &str) {
    let job = house.settle(key, "M-1", "2026-03-01").await;
    house.job_reaches(job, JobState::Done).await;
}

async fn expire(house: &House, order_no: &str) -> JobId {
    let key = format!("expire {order_no}");
    house
        .submit(JobKind::OrderExpiry, &key, &expiry_of(order_no))
        .await
}

/// Records with a corrected fee, an order that was paid (twice), and one that expired; two merchants who are
/// paid, one of them down to the line on the bank's statement, and from then on to another account.
async fn little_world(mode: Mode) -> TestDatabase {
    let house = House::open(mode).await;
    house.import_merchant(merchant("M-1")).await;
    house.import_merchant(merchant("M-2")).await;
    import(&house, RECORDS).await;
    house.open_order("O-paid", "O-paid").await;
    for name in ["R-1", "R-2"] {
        house.open_reference("O-paid", name, 1_234).await;
        house.sandbox.handle.pay(&reference(name)).unwrap();
    }
    house.open_order("O-late", "O-late").await;
    house.open_reference("O-late", "R-3", 1_234).await;
    house.clock.advance(TimeDelta::hours(1));
    let paid = expire(&house, "O-paid").await;
    house.job_reaches(paid, JobState::Dead).await;
    let late = expire(&house, "O-late").await;
    house.job_reaches(late, JobState::Done).await;
    authorize(&house, "O-taken", "automatic").await;
    authorize(&house, "O-held", "manual").await;
    book(&house, "first").await;
    import(&house, &RECORDS.replace("0.11", "0.20")).await;
    book(&house, "second").await;
    pay(&house, "M-1", "2026-03-03T09:00:00").await;
    house.clock_shows("2026-03-04T09:00:00");
    read_statement(&house, "2026-03-03").await;
    pay(&house, "M-2", "2026-03-04T10:00:00").await;
    let mut moved = merchant("M-1");
    moved.payee.account_no = "6222020200009999".to_owned();
    house.import_file_about(&moved).await;
    house.approve_all().await;
    house.leave().await
}

/// Holds or takes what an order owes.
async fn authorize(house: &House, order_no: &str, capture: &str) {
    let until = house.clock.now() + TimeDelta::days(9);
    house.open_order_until(order_no, order_no, until).await;
    let payload = json!({
        "version": 1,
        "order": {
            "order_no": order_no,
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
            "capture": capture,
        }],
    });
    let kind = JobKind::DeferredAuthorization;
    let job = house.submit(kind, order_no, &payload.to_string()).await;
    house.job_reaches(job, JobState::Done).await;
}

/// Settles the 2nd of March, and has two people agree to pay it.
async fn pay(house: &House, merchant_id: &str, at: &str) {
    house.clock_shows(at);
    let job = house.settle(merchant_id, merchant_id, "2026-03-02").await;
    house.job_waits(job, "two people").await;
    house.approve_all().await;
    house.job_waits(job, "waits for the statement").await;
}

async fn read_statement(house: &House, day: &str) {
    let date = day.parse().unwrap();
    house.sandbox.handle.book_day(date).unwrap();
    let xml = house.sandbox.handle.statement(date).unwrap();
    std::fs::write(house.statements.path().join("bank.xml"), xml).unwrap();
    let payload = r#"{"version":1,"channel":"sandbox_bank","statements":["bank.xml"]}"#;
    let job = house.submit(JobKind::Reconciliation, day, payload).await;
    let note = house.job_reaches(job, JobState::Done).await.note;
    assert!(note.contains("1 of 1 lines explained, 0 breaks"), "{note}");
}

async fn verified(database: &TestDatabase) -> Report {
    let store = Store::connect(database.url(), 4).await.unwrap();
    let report = verify(&store).await.unwrap();
    store.close().await;
    report
}

/// The checks that found something, with what they found.
fn broken(report: &Report) -> Vec<String> {
    let broken = report.checks.iter().filter(|check| !check.ok);
    broken
        .map(|check| format!("{}: {}", check.name, check.detail))
        .collect()
}

/// What is done, the check that must notice, and how it is done.
const TAMPERING: &[(&str, &str, &str)] = &[
    (
        "a changed posting",
        "entries_sealed",
        "UPDATE postings SET amount_minor = amount_minor + 1 WHERE entry_id IN \
         (SELECT id FROM journal_entries WHERE identity = 'payment:P-1/capture')",
    ),
    (
        "a posting to somebody else",
        "entries_sealed",
        "UPDATE postings SET credit_owner = 'M-2' WHERE entry_id IN \
         (SELECT id FROM journal_entries WHERE identity = 'payment:P-1/capture')",
    ),
    (
        "a deleted posting",
        "entries_sealed",
        "DELETE FROM postings WHERE line = 2 AND entry_id IN \
         (SELECT id FROM journal_entries WHERE identity = 'payment:P-3/capture')",
    ),
    (
        "an inserted posting",
        "entries_sealed",
        "INSERT INTO postings SELECT id, 2, 'merchant_payable', 'M-1', 'bank', 'mine', 100, 'CNY' \
         FROM journal_entries WHERE identity = 'payment:P-1/capture'",
    ),
    (
        "an inserted posting that is counted",
        "entries_sealed",
        "INSERT INTO postings SELECT id, 2, 'merchant_payable', 'M-1', 'bank', 'mine', 100, 'CNY' \
         FROM journal_entries WHERE identity = 'payment:P-1/capture'; \
         UPDATE journal_entries SET postings_count = 2 WHERE identity = 'payment:P-1/capture'",
    ),
    (
        "an entry of another day",
        "entries_sealed",
        "UPDATE journal_entries SET accounting_on = '2026-03-09' WHERE identity = 'payment:P-1/capture'",
    ),
    (
        "an entry deleted without its postings",
        "entries_sealed",
        "DELETE FROM journal_entries WHERE identity = 'payment:P-1/capture'",
    ),
    (
        "a deleted entry",
        "records_booked",
        "DELETE FROM postings WHERE entry_id IN \
         (SELECT id FROM journal_entries WHERE identity = 'payment:P-1/capture'); \
         DELETE FROM journal_entries WHERE identity = 'payment:P-1/capture'",
    ),
    (
        "a deleted fee",
        "records_booked",
        "DELETE FROM postings WHERE entry_id IN \
         (SELECT id FROM journal_entries WHERE identity = 'payment:P-1/channel_fee/2'); \
         DELETE FROM journal_entries WHERE identity = 'payment:P-1/channel_fee/2'",
    ),
    (
        "a deleted entry of late money",
        "facts",
        "DELETE FROM postings WHERE entry_id IN (SELECT id FROM journal_entries WHERE event = 'late_money'); \
         DELETE FROM journal_entries WHERE event = 'late_money'",
    ),
    (
        "a changed record",
        "records_booked",
        "UPDATE records SET amount_minor = amount_minor + 1 WHERE record_no = 'P-1'",
    ),
    (
        "a record of somebody else",
        "records_booked",
        "UPDATE records SET merchant_id = 'M-2' WHERE record_no = 'P-1'",
    ),
    (
        "a record that did not succeed after all",
        "records_booked",
        "UPDATE records SET status = 'failed' WHERE record_no = 'P-1'",
    ),
    (
        "a deleted record",
        "records_booked",
        "DELETE FROM records WHERE record_no = 'P-1'",
    ),
    (
        "a record that forgot its entry",
        "records_booked",
        "UPDATE records SET booking = NULL, booked_entry_id = NULL, booked_fee_minor = NULL, fee_entries = 0 \
         WHERE record_no = 'P-1'",
    ),
    (
        "a fee that is not what was booked",
        "records_booked",
        "UPDATE records SET fee_minor = 25, booked_fee_minor = 25 WHERE record_no = 'P-1'",
    ),
    (
        "a changed fact of a record",
        "facts",
        "UPDATE money_facts SET amount_minor = amount_minor + 1 WHERE external_no = 'T-1'",
    ),
    (
        "a changed fact of a query",
        "facts",
        "UPDATE money_facts SET amount_minor = amount_minor + 1 WHERE source = 'query'",
    ),
    (
        "a deleted fact",
        "facts",
        "DELETE FROM money_facts WHERE external_no = 'T-1'",
    ),
    (
        "a fact that names another entry",
        "facts",
        "UPDATE money_facts SET entry_id = (SELECT id FROM journal_entries WHERE identity = 'payment:P-2/capture') \
         WHERE external_no = 'T-1'",
    ),
    (
        "an operation that succeeded without evidence",
        "operations",
        "UPDATE operations SET evidence = '{}' WHERE kind = 'close'",
    ),
    (
        "a skipped generation",
        "operations",
        "UPDATE operations SET generation = 2, idempotency_key = 'close:sandbox:R-3:2' WHERE reference = 'R-3'",
    ),
    (
        "a new generation while the old one lives",
        "operations",
        "INSERT INTO operations SELECT entry_id, job_id, kind, channel, reference, 2, 'close:sandbox:R-3:2', 'unknown', \
         detail, NULL, intended_at, operations.updated_at FROM operations, (SELECT entry_id FROM postings LIMIT 1) AS any_id \
         WHERE reference = 'R-3'",
    ),
    (
        "a deleted job event",
        "histories",
        "DELETE FROM job_events WHERE version = 2 AND job_id = (SELECT id FROM jobs ORDER BY id LIMIT 1)",
    ),
    (
        "a job that is done by decree",
        "histories",
        "UPDATE jobs SET state = 'done' WHERE state = 'dead'",
    ),
    (
        "an order marked paid",
        "states",
        "UPDATE orders SET state = 'paid' WHERE order_no = 'O-late'",
    ),
    (
        "an order marked paid with its history",
        "states",
        "UPDATE orders SET state = 'paid', version = version + 1 WHERE order_no = 'O-late'; \
         INSERT INTO order_events SELECT order_no, version, updated_at, state, 'forged', \
         (SELECT id FROM jobs ORDER BY id LIMIT 1) FROM orders WHERE order_no = 'O-late'",
    ),
    (
        "an expired order that may be paid again",
        "states",
        "UPDATE payment_references SET state = 'open' WHERE reference = 'R-3'",
    ),
    (
        "a reference that is closed because somebody says so",
        "states",
        "UPDATE payment_references SET evidence = 'believe me' WHERE reference = 'R-3'",
    ),
    (
        "a payment that was found with another amount",
        "states",
        "UPDATE payment_references SET paid_minor = paid_minor + 1 WHERE reference = 'R-1'",
    ),
    (
        "a changed settlement item",
        "settlements",
        "UPDATE settlement_items SET credit_minor = credit_minor + 1 WHERE record_no = 'P-1'",
    ),
    (
        "a deleted settlement item",
        "settlements",
        "DELETE FROM settlement_items WHERE record_no = 'P-1'",
    ),
    (
        "a settlement item of somebody else",
        "settlements",
        "UPDATE settlement_items SET settlement_id = (SELECT id FROM settlements WHERE merchant_id = 'M-2') \
         WHERE record_no = 'P-1'",
    ),
    (
        "a record that is settled once more",
        "records_booked",
        "UPDATE records SET settlement_id = NULL WHERE record_no = 'P-1'",
    ),
    (
        "a settlement of more than its items",
        "settlements",
        "UPDATE settlements SET gross_minor = gross_minor + 100, net_minor = net_minor + 100 WHERE merchant_id = 'M-2'",
    ),
    (
        "a settlement that is paid by decree",
        "settlements",
        "UPDATE settlements SET state = 'paid' WHERE merchant_id = 'M-2'",
    ),
    (
        "a changed part",
        "settlements",
        "UPDATE settlement_parts SET amount_minor = amount_minor + 1 WHERE state = 'accepted'",
    ),
    (
        "a part that is confirmed by decree",
        "payouts",
        "UPDATE settlement_parts SET state = 'confirmed' WHERE state = 'accepted'",
    ),
    (
        "a payout without approval",
        "payouts",
        "DELETE FROM approvals WHERE merchant_id = 'M-2'",
    ),
    (
        "a payout on what nobody approved",
        "payouts",
        "UPDATE approvals SET state = 'requested', checker = NULL, checked_at = NULL WHERE merchant_id = 'M-2'",
    ),
    (
        "an approval by one person",
        "approvals",
        "UPDATE approvals SET checker = UPPER(maker) WHERE merchant_id = 'M-2'",
    ),
    (
        "an approval of something else",
        "approvals",
        "UPDATE approvals SET shown = REPLACE(shown, '6222020200008888', '6222020200006666') WHERE merchant_id = 'M-2'",
    ),
    (
        "a payout to another account",
        "payouts",
        "UPDATE payout_instructions SET payee_account_no = '6222020200006666' WHERE state = 'open'",
    ),
    (
        "an instruction that is dead by decree",
        "payouts",
        "UPDATE payout_instructions SET state = 'rejected' WHERE state = 'open'",
    ),
    (
        "a deleted instruction",
        "conservation",
        "DELETE FROM payout_instructions WHERE state = 'open'",
    ),
    (
        "a payout that is on no statement",
        "facts",
        "DELETE FROM money_facts WHERE kind = 'payout'",
    ),
    (
        "a line of a statement with another amount",
        "facts",
        "UPDATE money_facts SET amount_minor = amount_minor + 1 WHERE kind = 'payout'",
    ),
    (
        "money that was taken, and no fact says so",
        "authorizations",
        "UPDATE authorizations SET amount_minor = amount_minor + 1 WHERE state = 'captured'",
    ),
    (
        "a hold that is let go by decree",
        "authorizations",
        "UPDATE authorizations SET state = 'voided' WHERE state = 'authorized'",
    ),
    (
        "a hold without evidence",
        "authorizations",
        "UPDATE authorizations SET evidence = 'believe me' WHERE state = 'authorized'",
    ),
    (
        "a paid order whose money was not taken",
        "states",
        "UPDATE authorizations SET state = 'lapsed', captured_at = NULL WHERE state = 'captured'",
    ),
    (
        "an expired order whose payer's money is still held",
        "states",
        "UPDATE authorizations SET order_no = 'O-late' WHERE state = 'authorized'",
    ),
    (
        "an account that nobody agreed to",
        "bank_accounts",
        "UPDATE merchants SET account_no = '6222020200006666' WHERE merchant_id = 'M-1'",
    ),
    (
        "another account of a merchant who never changed it",
        "bank_accounts",
        "UPDATE merchants SET account_no = '6222020200006666' WHERE merchant_id = 'M-2'",
    ),
    (
        "a change of account that nobody was asked about",
        "bank_accounts",
        "DELETE FROM approvals WHERE action = 'bank_account'",
    ),
    (
        "an account that waits for nobody",
        "bank_accounts",
        "UPDATE merchants SET pending_bank = bank, pending_account_no = '6222020200006666',          pending_account_name = account_name WHERE merchant_id = 'M-2'",
    ),
    (
        "a signature of somebody who did not sign",
        "approvals",
        "UPDATE approvals SET checker = 'mallory' WHERE merchant_id = 'M-2'",
    ),
    (
        "a payout that passes as small",
        "approvals",
        "UPDATE approvals SET rule = 'below_limit' WHERE merchant_id = 'M-2' AND action = 'payout'",
    ),
    (
        "an instruction of another amount",
        "settlements",
        "UPDATE payout_instructions SET amount_minor = amount_minor + 1 WHERE state = 'open'",
    ),
    (
        "a deleted event of a settlement",
        "settlements",
        "DELETE FROM settlement_events WHERE version = 1 AND settlement_id = \
         (SELECT id FROM settlements WHERE merchant_id = 'M-2')",
    ),
    (
        "an edited row of the audit",
        "audit",
        "UPDATE audit_log SET who = 'nobody' WHERE seq = 1",
    ),
    (
        "an audit that was cut off",
        "audit",
        "DELETE FROM audit_log WHERE seq = (SELECT MAX(seq) FROM audit_log)",
    ),
];

async fn every_kind_of_tampering_is_noticed(mode: Mode) {
    let world = little_world(mode).await;
    let report = verified(&world).await;
    assert!(report.ok, "{:#?}", broken(&report));
    for check in &report.checks {
        assert!(check.detail.starts_with(char::is_numeric), "{check:?}");
    }
    let mut unnoticed = Vec::new();
    for (what, noticed_by, sql) in TAMPERING {
        let copy = world.copy().await;
        match tamper(copy.url(), sql).await {
            Ok(_) => unnoticed.extend(unless_noticed(&copy, what, noticed_by).await),
            Err(error) => unnoticed.push(format!("{what} cannot be done: {error}")),
        }
        copy.close().await;
    }
    for (what, noticed_by, entry) in forged() {
        let copy = world.copy().await;
        append(&copy, &entry).await;
        unnoticed.extend(unless_noticed(&copy, what, noticed_by).await);
        copy.close().await;
    }
    assert!(unnoticed.is_empty(), "{}", unnoticed.join("\n"));
    the_command_line_says_so(&world).await;
    world.close().await;
}

/// What to say if the check that must notice found nothing.
async fn unless_noticed(database: &TestDatabase, what: &str, noticed_by: &str) -> Option<String> {
    let found = broken(&verified(database).await);
    let by_it = format!("{noticed_by}: ");
    let is_noticed = found.iter().any(|told| told.starts_with(&by_it));
    (!is_noticed).then(|| format!("{what} is not noticed by {noticed_by}, but {found:?}"))
}

async fn the_command_line_says_so(world: &TestDatabase) {
    let line = CommandLine::on(world).await;
    let told = line.run("verify --format json").await.json();
    assert_eq!(told["ok"], true, "{told:#}");
    assert_eq!(told["checks"][0]["name"], "entries_sealed");
    assert!(line.run("verify").await.fine().contains("conservation"));

    let copy = world.copy().await;
    let (_, _, sql) = TAMPERING[0];
    tamper(copy.url(), sql).await.unwrap();
    let line = CommandLine::on(&copy).await;
    let ran = line.run("verify --format json").await;
    assert_eq!(ran.exit, Exit::Finding);
    let told: serde_json::Value = serde_json::from_str(&ran.stdout).unwrap();
    assert_eq!(told["ok"], false);
    let detail = told["checks"][0]["detail"].as_str().unwrap();
    let says = "payment:P-1/capture is not as it was written (";
    assert!(detail.starts_with(says), "{detail}");
    copy.close().await;
}

/// Entries that are sealed as they should be, and that nothing outside of the ledger tells of.
fn forged() -> Vec<(&'static str, &'static str, Entry)> {
    let on = |subject: &'static str| Occasion {
        subject,
        accounting_on: "2026-03-02".parse().unwrap(),
    };
    let (merchant, channel) = ("M-1".parse().unwrap(), "sandbox".parse().unwrap());
    let bank = "sandbox_bank".parse().unwrap();
    let invented = Record {
        record_no: "P-9".parse().unwrap(),
        kind: RecordKind::Payment,
        channel: "wechat_pay".parse().unwrap(),
        channel_trade_no: None,
        merchant_id: "M-1".parse().unwrap(),
        amount: cny(9_999),
        fee: cny(0),
        status: RecordStatus::Succeeded,
        occurred_at: "2026-03-02T08:00:00+08:00".parse().unwrap(),
        original_record_no: None,
        coupon: None,
    };
    let built = |entry: events::Built| entry.unwrap().unwrap();
    vec![
        (
            "a payment that was never made",
            "records_booked",
            built(events::capture(&invented, Booking::ByFunder)),
        ),
        (
            "a settlement of nothing",
            "conservation",
            built(events::collected(on("settlement:1"), &merchant, cny(100))),
        ),
        (
            "a payout that nobody ordered",
            "conservation",
            built(events::payout_submitted(
                on("payout:1"),
                &merchant,
                cny(100),
            )),
        ),
        (
            "a payout that no statement shows",
            "facts",
            built(events::payout_confirmed(
                on("payout:1"),
                &merchant,
                &bank,
                cny(100),
            )),
        ),
        (
            "late money that no channel took",
            "conservation",
            built(events::late_money(on("receipt:1"), &channel, cny(100))),
        ),
    ]
}

async fn append(database: &TestDatabase, entry: &Entry) {
    let store = Store::connect(database.url(), 4).await.unwrap();
    let clock = clearday::clock::Clock::manual(crate::support::house::noon());
    let ids = clearday::clock::Ids::random(clock.clone());
    let mut tx = store.begin().await.unwrap();
    let on_behalf = JobContext { job_id: None };
    ledger::append(
        &mut tx,
        std::slice::from_ref(entry),
        on_behalf,
        &ids,
        clock.now(),
    )
    .await
    .unwrap();
    tx.commit().await.unwrap();
    store.close().await;
}

mod embedded {
    use super::*;
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_kind_of_tampering_is_noticed() {
        super::every_kind_of_tampering_is_noticed(Mode::Embedded).await;
    }
}

mod production {
    use super::*;
    #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
    async fn every_kind_of_tampering_is_noticed() {
        super::every_kind_of_tampering_is_noticed(Mode::Production).await;
    }
}
