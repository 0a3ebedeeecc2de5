//! What an upstream system would do: hand over its files, and ask for jobs under keys of its own.
//!
//! The same keys and payloads as on the command line; a job that was asked for in an earlier run is not asked for again.

use std::collections::BTreeMap;
use std::error::Error;

use chrono::NaiveDate;
use clearday_jobs::{JobKind, Money, Reference};
use serde_json::json;

use super::super::exit::CliError;
use super::outside::{BANK, Outside};
use crate::connectors::sandbox::{Fault, Operation};
use crate::domain::authorization::reference_for;
use crate::domain::import::orders::OrderRow;
use crate::domain::import::records::RecordRow;
use crate::engine::{Acceptance, Engine, Source, Submission};
use crate::formats::merchants::read_merchants;
use crate::formats::orders::read_orders;
use crate::formats::partners::read_partners;
use crate::formats::records::read_numbered_records;
use crate::store::jobs;

const MERCHANTS: &[u8] = include_bytes!("../../../samples/merchants.csv");
const PARTNERS: &[u8] = include_bytes!("../../../samples/partners.csv");
const ORDERS: &[u8] = include_bytes!("../../../samples/orders.csv");
const RECORDS: &[u8] = include_bytes!("../../../samples/records.csv");
const BILL: &[u8] = include_bytes!("../../../samples/wechat_pay/bill.ALL.2026-03-02.csv");
const BILL_NAME: &str = "wechat_pay/bill.ALL.2026-03-02.csv";
const BANK_STATEMENT_NAME: &str = "sandbox_bank/camt.053.2026-03-03.xml";

/// The order whose payment the sandbox has taken before its deadline.
const PAID_REFERENCE: &str = "CD-PAY-2";
/// The reference whose close is answered into the void, so that a query must prove it.
const LOST_ANSWER_REFERENCE: &str = "CD-PAY-5";
/// The order that was accepted while its channel was down.
pub(super) const DEFERRED_ORDER: &str = "CD-ORDER-9";
const DEFERRED_METHOD: &str = "card";
/// The order that a partner is asked to pay.
const PARTNER_ORDER: &str = "CD-ORDER-10";
const PARTNER: &str = "partner-ningbo";
/// The day of the samples, and the one on which the bank pays.
const BUSINESS_DAY: &str = "2026-03-02";

pub(super) const DEFERRED_KEY: &str = "demo authorize CD-ORDER-9";
pub(super) const PARTNER_KEY: &str = "demo tell partner-ningbo of CD-ORDER-10";
pub(super) const BILL_KEY: &str = "demo wechat_pay 2026-03-02";
pub(super) const BANK_KEY: &str = "demo sandbox_bank 2026-03-03";

/// The name of a sample and its rows.
pub(super) type SampleRows = (&'static str, usize);

/// Imports the samples, and lets the sandbox know what the channel would.
pub(super) async fn hand_over(
    engine: &Engine,
    outside: &Outside,
) -> Result<Vec<SampleRows>, CliError> {
    let merchants = read_merchants(MERCHANTS).map_err(refused)?;
    engine.import_merchants(&merchants).await.map_err(refused)?;
    let mut partners = read_partners(PARTNERS).map_err(refused)?;
    for row in &mut partners {
        // The sample's endpoint is nobody's; the mailroom stands for it, at another port every time.
        row.partner.webhook_url = Some(outside.partner_url(&row.partner.partner_id)?);
    }
    engine.import_partners(&partners).await.map_err(refused)?;
    let orders = read_orders(ORDERS).map_err(refused)?;
    seed_sandbox(&orders, outside)?;
    engine.import_orders(&orders).await.map_err(refused)?;
    let mut records = Vec::new();
    read_numbered_records(RECORDS, |line, record| {
        records.push(RecordRow { line, record });
    })
    .map_err(refused)?;
    let rows = vec![
        ("merchants.csv", merchants.len()),
        ("partners.csv", partners.len()),
        ("orders.csv", orders.len()),
        ("records.csv", records.len()),
    ];
    engine.import_records(records).await.map_err(refused)?;
    Ok(rows)
}

/// Asks for an authorization, a notification and a reconciliation; the orders have asked for their deadlines.
pub(super) async fn ask(engine: &Engine, outside: &Outside) -> Result<(), CliError> {
    outside.write_statement(BILL_NAME, BILL)?;
    let deferred = json!({
        "version": 1,
        "order": {
            "order_no": DEFERRED_ORDER,
            "merchant_id": "shop-hangzhou",
            "payer_id": "payer-1",
            "total": {"amount": "199.00", "currency": "CNY"},
        },
        "methods": [{
            "method_id": DEFERRED_METHOD,
            "group": "credit_card",
            "channel": "sandbox",
            "token": "tok_demo_card",
            "charge_sequence": 1,
            "card_expires_on": "2028-09",
            "capture": "manual",
        }],
        "callback_url": outside.upstream_url()?,
    });
    submit(
        engine,
        JobKind::DeferredAuthorization,
        DEFERRED_KEY,
        &deferred,
    )
    .await?;
    let asked = json!({
        "version": 1,
        "order_no": PARTNER_ORDER,
        "partner_id": PARTNER,
        "purpose": "pay_request",
        "deadline": "2026-03-04T18:00:00+08:00",
    });
    submit(engine, JobKind::PartnerNotification, PARTNER_KEY, &asked).await?;
    let bill = json!({"version": 1, "channel": "wechat_pay", "statements": [BILL_NAME]});
    submit(engine, JobKind::Reconciliation, BILL_KEY, &bill).await
}

/// What `clearday settle --through 2026-03-02` asks for.
pub(super) async fn settle(engine: &Engine) -> Result<(), CliError> {
    let key = format!("settle:{BUSINESS_DAY}");
    let asked = json!({"version": 1, "through": BUSINESS_DAY});
    submit(engine, JobKind::SettlementRun, &key, &asked).await
}

/// The bank pays what it was told to, and its statement is reconciled.
pub(super) async fn end_bank_day(engine: &Engine, outside: &Outside) -> Result<(), CliError> {
    // A bank that was started anew knows nothing of what an earlier run told it.
    if !outside.has_statement(BANK_STATEMENT_NAME) {
        let day = NaiveDate::from_ymd_opt(2026, 3, 3)
            .ok_or_else(|| CliError::refused("the demo's date"))?;
        outside.sandbox.book_day(day).map_err(refused)?;
        let statement = outside.sandbox.statement(day).map_err(refused)?;
        outside.write_statement(BANK_STATEMENT_NAME, statement.as_bytes())?;
    }
    let asked = json!({"version": 1, "channel": BANK, "statements": [BANK_STATEMENT_NAME]});
    submit(engine, JobKind::Reconciliation, BANK_KEY, &asked).await
}

fn refused(error: impl Into<Box<dyn Error + Send + Sync>>) -> CliError {
    CliError::refused("the samples were refused").because(error)
}

async fn submit(
    engine: &Engine,
    kind: JobKind,
    key: &str,
    payload: &serde_json::Value,
) -> Result<(), CliError> {
    let mut tx = engine.store().read().await?;
    let known = jobs::find_by_keys(&mut tx, &[(kind, key)]).await?;
    drop(tx);
    if !known.is_empty() {
        return Ok(());
    }
    let submission = Submission {
        kind: kind.to_string(),
        idempotency_key: Some(key.to_owned()),
        payload: payload.to_string().into_bytes(),
        source: Source::CommandLine,
        fault: None,
    };
    let answers = engine.accept(vec![submission]).await?;
    match answers.into_iter().next() {
        Some(Acceptance::Refused(refusal)) => Err(refused(refusal)),
        Some(Acceptance::New(_) | Acceptance::Known(..)) | None => Ok(()),
    }
}

/// Makes the references known at the channel. One is paid, the answer to closing another is lost, and the channel is
/// not there when it is first asked to authorize.
fn seed_sandbox(orders: &[OrderRow], outside: &Outside) -> Result<(), CliError> {
    let sandbox = &outside.sandbox;
    for (reference, amount) in owed(orders)? {
        sandbox.create(reference, amount).map_err(refused)?;
        if reference.as_str() == PAID_REFERENCE {
            sandbox.pay(reference).map_err(refused)?;
        }
        if reference.as_str() == LOST_ANSWER_REFERENCE {
            sandbox.queue_fault(Operation::Close, reference, Fault::LostAnswer);
        }
    }
    let order_no = DEFERRED_ORDER.parse().map_err(refused)?;
    let method_id = DEFERRED_METHOD.parse().map_err(refused)?;
    let deferred = reference_for(&order_no, &method_id, 1).map_err(refused)?;
    sandbox.queue_fault(Operation::Authorize, &deferred, Fault::Unavailable);
    Ok(())
}

fn owed(orders: &[OrderRow]) -> Result<BTreeMap<&Reference, Money>, CliError> {
    let mut owed: BTreeMap<&Reference, Money> = BTreeMap::new();
    for row in orders {
        let Some((_, reference)) = &row.reference else {
            continue;
        };
        let total = match owed.get(reference) {
            None => row.told.total,
            Some(sum) => sum.checked_add(row.told.total).map_err(refused)?,
        };
        owed.insert(reference, total);
    }
    Ok(owed)
}
