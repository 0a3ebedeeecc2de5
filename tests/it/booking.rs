//! How records come into the ledger: once each, by who bears their coupons, with the channel's fees; and how
//! money that nobody owed comes in beside them.
#![cfg(test)]

use chrono::TimeDelta;
use clearday::domain::import::records::RecordRow;
use clearday::domain::job::{Job, JobState};
use clearday::engine::ImportError;
use clearday::formats::records::read_numbered_records;
use clearday::store::ledger;
use clearday::verify::verify;
use clearday_jobs::{JobId, JobKind};

use crate::support::house::{House, Mode, expiry_of};
use crate::support::in_both_modes;
use crate::support::sandbox::reference;
use crate::support::sql::execute;

const BILL: &str = include_str!("../../samples/wechat_pay/bill.ALL.2026-03-02.csv");
const PAYLOAD: &str = r#"{"version":1,"channel":"wechat_pay","statements":["bill.csv"]}"#;
const HEADER: &str = "record_no,kind,channel,channel_trade_no,merchant_id,amount,currency,fee,status,occurred_at,original_record_no,coupon_amount,coupon_funder";

in_both_modes! {
    payments_and_refunds_are_booked_by_who_bears_their_coupons: by_funder;
    booking_again_changes_nothing: again;
    a_corrected_fee_is_booked_as_the_difference: corrected_fee;
    the_policy_of_a_merchant_makes_the_rule: policies;
    what_did_not_succeed_waits_until_it_does: pending;
    one_payment_told_by_two_records_is_booked_once: told_twice;
    thousands_of_records_are_booked_in_chunks: thousands;
    a_booked_record_stays_succeeded: stays_succeeded;
    a_payment_found_at_the_channel_becomes_a_record_and_is_booked: found_payment;
    upstream_may_tell_of_a_payment_that_was_found: found_and_told;
    a_pending_record_succeeds_when_its_payment_is_found: pending_and_found;
    money_that_nobody_owed_is_booked_apart_from_every_merchant: late_money;
    late_money_is_not_booked_again_as_a_record: late_money_and_record;
    late_money_that_goes_back_is_taken_from_nobody: late_money_returned;
    a_recorded_payment_is_not_booked_again_as_late_money: record_and_late_money;
}

async fn try_import(house: &House, rows: &[&str]) -> Result<(), ImportError> {
    let csv = format!("{HEADER}\n{}\n", rows.join("\n"));
    let mut read = Vec::new();
    read_numbered_records(csv.as_bytes(), |line, record| {
        read.push(RecordRow { line, record });
    })
    .unwrap();
    house.engine().import_records(read).await.map(|_| ())
}

async fn import(house: &House, rows: &[&str]) {
    try_import(house, rows).await.unwrap();
}

/// Reconciles, which books first, and says how the job ended.
async fn book(house: &House, key: &str) -> Job {
    std::fs::write(house.statements.path().join("bill.csv"), BILL).unwrap();
    let job = house.submit(JobKind::Reconciliation, key, PAYLOAD).await;
    house.job_reaches(job, JobState::Done).await
}

/// Every balance that is not zero, like `channel_fee(wechat_pay) 0.11 CNY`.
async fn balances(house: &House) -> Vec<String> {
    let mut tx = house.store.read().await.unwrap();
    let all = ledger::balances(&mut tx).await.unwrap();
    let told = all.iter().filter(|it| !it.balance.is_zero());
    told.map(|it| format!("{}({}) {}", it.account, it.owner, it.balance))
        .collect()
}

/// What was booked about a subject, like `payment:R1/capture`.
async fn entries(house: &House, subject: &str) -> Vec<String> {
    let mut tx = house.store.read().await.unwrap();
    let found = ledger::of_subject(&mut tx, subject, 100).await.unwrap();
    found.into_iter().map(|entry| entry.identity).collect()
}

/// Every fact, like `capture T1 18.00 CNY by record, booked`.
async fn facts(house: &House) -> Vec<String> {
    let mut tx = house.store.read().await.unwrap();
    let all = ledger::recent_facts(&mut tx, 1_000).await.unwrap();
    let mut told: Vec<String> = all
        .iter()
        .map(|fact| {
            let booked = if fact.entry_id.is_some() {
                "booked"
            } else {
                "not booked"
            };
            let (kind, number) = (fact.key.kind, &fact.key.external_no);
            format!(
                "{kind} {number} {} by {}, {booked}",
                fact.amount, fact.source
            )
        })
        .collect();
    told.sort();
    told
}

async fn by_funder(house: House) {
    import(
        &house,
        &[
            "P1,payment,wechat_pay,T1,shop,18.00,CNY,0.11,succeeded,2026-03-02T08:00:00+08:00,,,",
            "P2,payment,wechat_pay,T2,shop,10.00,CNY,0.06,succeeded,2026-03-02T08:00:00+08:00,,3.00,merchant",
            "P3,payment,wechat_pay,T3,shop,10.00,CNY,0.06,succeeded,2026-03-02T08:00:00+08:00,,3.00,channel",
            "P4,payment,wechat_pay,T4,shop,10.00,CNY,0.06,succeeded,2026-03-02T08:00:00+08:00,,3.00,platform",
            "P5,payment,wechat_pay,,shop,10.00,CNY,0.06,succeeded,2026-03-02T08:00:00+08:00,,3.00,third_party",
            "P6,payment,wechat_pay,T6,shop,5.00,CNY,0.00,succeeded,2026-03-02T08:00:00+08:00,,5.00,merchant",
            "F1,refund,wechat_pay,T4,shop,5.00,CNY,-0.03,succeeded,2026-03-02T09:00:00+08:00,P4,1.50,platform",
            "F2,refund,wechat_pay,T4,shop,1.00,CNY,0.00,succeeded,2026-03-02T09:00:00+08:00,P4,,",
        ],
    )
    .await;
    book(&house, "first").await;
    // Pending is what the merchant earned: 18 + 7 + 10 + 10 + 10 - 5 - 1.
    assert_eq!(
        balances(&house).await,
        [
            "channel_fee(wechat_pay) 0.32 CNY",
            "channel_receivable(wechat_pay) 44.18 CNY",
            "coupon_receivable(third_party) 3.00 CNY",
            "marketing(clearday) 1.50 CNY",
            "merchant_pending(shop) -49.00 CNY",
        ]
    );
    assert_eq!(
        facts(&house).await,
        [
            "capture P5 10.00 CNY by record, booked",
            "capture T1 18.00 CNY by record, booked",
            "capture T2 10.00 CNY by record, booked",
            "capture T3 10.00 CNY by record, booked",
            "capture T4 10.00 CNY by record, booked",
            "capture T6 5.00 CNY by record, not booked",
            "refund F1 5.00 CNY by record, booked",
            "refund F2 1.00 CNY by record, booked",
        ]
    );
    assert_eq!(
        entries(&house, "payment:P1").await,
        ["payment:P1/capture", "payment:P1/channel_fee/1"]
    );
    house.close().await;
}

const PAYMENT: &str =
    "P1,payment,wechat_pay,T1,shop,18.00,CNY,0.11,succeeded,2026-03-02T08:00:00+08:00,,,";

async fn again(house: House) {
    import(&house, &[PAYMENT]).await;
    book(&house, "first").await;
    let (before, known) = (balances(&house).await, facts(&house).await);
    import(&house, &[PAYMENT]).await;
    book(&house, "second").await;
    assert_eq!(balances(&house).await, before);
    assert_eq!(facts(&house).await, known);
    house.close().await;
}

async fn corrected_fee(house: House) {
    let with_fee = |fee: &str| PAYMENT.replace("0.11", fee);
    for (round, fee) in ["0.11", "0.20", "0.11", "0.20", "-0.05"].iter().enumerate() {
        import(&house, &[&with_fee(fee)]).await;
        book(&house, &format!("round {round}")).await;
        assert_eq!(
            balances(&house).await[0],
            format!("channel_fee(wechat_pay) {fee} CNY")
        );
    }
    assert_eq!(entries(&house, "payment:P1").await.len(), 6);
    house.close().await;
}

async fn policies(house: House) {
    let merchant = |id: &str, funds_flow: &str, coupons: &str| {
        format!(
            "INSERT INTO merchants (merchant_id, name, currency, cycle, cutoff, zone, calendar, minimum_minor, \
             settle_basis, funds_flow, coupons, reserve_billionths, is_held, bank, account_no, account_name, version, \
             created_at, updated_at) SELECT '{id}', 'Shop', 'CNY', 'T+1', '00:00', 'Asia/Shanghai', 'CN', 0, \
             'captured', '{funds_flow}', '{coupons}', 0, 0, 'bank', '1', 'Shop', 1, imported_at, imported_at \
             FROM records LIMIT 1"
        )
    };
    let coupon = "CNY,0.06,succeeded,2026-03-02T08:00:00+08:00,,3.00,platform";
    import(
        &house,
        &[
            &format!("P1,payment,wechat_pay,T1,paid-by-channel,10.00,{coupon}"),
            &format!("P2,payment,wechat_pay,T2,no-coupons,10.00,{coupon}"),
            &format!("P3,payment,wechat_pay,T3,nobody-knows,10.00,{coupon}"),
        ],
    )
    .await;
    let url = house.database.url();
    for row in [
        merchant("paid-by-channel", "direct", "by_funder"),
        merchant("no-coupons", "collected", "excluded"),
    ] {
        execute(url, &row).await.unwrap();
    }
    book(&house, "first").await;
    assert_eq!(
        balances(&house).await,
        [
            "channel_fee(wechat_pay) 0.12 CNY",
            "channel_receivable(wechat_pay) 13.88 CNY",
            "marketing(clearday) 3.00 CNY",
            "merchant_pending(no-coupons) -7.00 CNY",
            "merchant_pending(nobody-knows) -10.00 CNY",
        ]
    );
    // A refund takes back what its payment gave, though the policy is another one by now.
    execute(url, "UPDATE merchants SET coupons = 'by_funder'")
        .await
        .unwrap();
    let refund = "R2,refund,wechat_pay,,no-coupons,10.00,CNY,-0.06,succeeded,2026-03-02T08:00:00+08:00,P2,3.00,platform";
    import(&house, &[refund]).await;
    book(&house, "second").await;
    assert!(
        !balances(&house)
            .await
            .iter()
            .any(|it| it.contains("no-coupons"))
    );
    house.close().await;
}

async fn pending(house: House) {
    let with_status = |status: &str| PAYMENT.replace("succeeded", status);
    for (round, status) in ["pending", "failed"].iter().enumerate() {
        import(&house, &[&with_status(status)]).await;
        book(&house, &format!("round {round}")).await;
        assert!(balances(&house).await.is_empty(), "{status}");
    }
    import(&house, &[PAYMENT]).await;
    book(&house, "at last").await;
    assert_eq!(balances(&house).await.len(), 3);
    house.close().await;
}

async fn told_twice(house: House) {
    let copy = PAYMENT.replace("P1,", "P1-copy,");
    import(&house, &[PAYMENT, &copy]).await;
    let done = book(&house, "first").await;
    let told = "; 1 not booked, their money is in the books otherwise: payment P1-copy";
    assert!(done.note.ends_with(told), "{}", done.note);
    let before = balances(&house).await;
    assert!(before.contains(&"merchant_pending(shop) -18.00 CNY".to_owned()));
    // Not the next day either.
    let later = PAYMENT.replace("P1,", "P1-later,");
    import(&house, &[&later]).await;
    let done = book(&house, "second").await;
    assert!(done.note.ends_with("payment P1-later"), "{}", done.note);
    assert_eq!(balances(&house).await, before);
    house.close().await;
}

async fn thousands(house: House) {
    let rows: Vec<String> = (0..2_300)
        .map(|number| {
            format!("P{number},payment,wechat_pay,T{number},shop,1.00,CNY,0.01,succeeded,2026-03-02T08:00:00+08:00,,,")
        })
        .collect();
    let rows: Vec<&str> = rows.iter().map(String::as_str).collect();
    import(&house, &rows).await;
    book(&house, "first").await;
    assert_eq!(
        balances(&house).await,
        [
            "channel_fee(wechat_pay) 23.00 CNY",
            "channel_receivable(wechat_pay) 2277.00 CNY",
            "merchant_pending(shop) -2300.00 CNY",
        ]
    );
    house.close().await;
}

async fn stays_succeeded(house: House) {
    import(&house, &[PAYMENT]).await;
    // Before it is booked, everything may change.
    import(&house, &[&PAYMENT.replace("succeeded", "closed")]).await;
    import(&house, &[PAYMENT]).await;
    book(&house, "first").await;
    for status in ["closed", "failed", "pending"] {
        let refused = try_import(&house, &[&PAYMENT.replace("succeeded", status)]).await;
        assert_eq!(
            refused.unwrap_err().to_string(),
            "line 2, column status: payment P1 is booked as succeeded, and stays so"
        );
    }
    house.close().await;
}

async fn expire(house: &House) -> JobId {
    house.clock.advance(TimeDelta::hours(1));
    house
        .submit(JobKind::OrderExpiry, "expire O-1", &expiry_of("O-1"))
        .await
}

async fn paid_order(house: &House) {
    house.open_order("O-1", "O-1").await;
    house.open_reference("O-1", "R-1", 1_234).await;
    house.sandbox.handle.pay(&reference("R-1")).unwrap();
}

async fn found_payment(house: House) {
    paid_order(&house).await;
    let job = expire(&house).await;
    house.job_reaches(job, JobState::Done).await;
    assert!(balances(&house).await.is_empty(), "not booked yet");
    book(&house, "first").await;
    assert_eq!(
        balances(&house).await,
        [
            "channel_receivable(sandbox) 12.34 CNY",
            "merchant_pending(M-1) -12.34 CNY",
        ]
    );
    assert_eq!(
        entries(&house, "payment:R-1").await,
        ["payment:R-1/capture"]
    );
    house.close().await;
}

const TOLD: &str = "R-1,payment,sandbox,,M-1,12.34,CNY,0.07,succeeded,2026-03-02T12:00:01+00:00,,,";

async fn found_and_told(house: House) {
    paid_order(&house).await;
    let job = expire(&house).await;
    house.job_reaches(job, JobState::Done).await;
    book(&house, "first").await;
    // Upstream's clock differs, it has no trade number, and it knows the fee.
    import(&house, &[TOLD]).await;
    import(&house, &[TOLD]).await;
    book(&house, "second").await;
    assert_eq!(
        balances(&house).await,
        [
            "channel_fee(sandbox) 0.07 CNY",
            "channel_receivable(sandbox) 12.27 CNY",
            "merchant_pending(M-1) -12.34 CNY",
        ]
    );
    house.close().await;
}

async fn pending_and_found(house: House) {
    import(&house, &[&TOLD.replace("succeeded", "pending")]).await;
    paid_order(&house).await;
    let job = expire(&house).await;
    house.job_reaches(job, JobState::Done).await;
    book(&house, "first").await;
    assert_eq!(
        balances(&house).await,
        [
            "channel_fee(sandbox) 0.07 CNY",
            "channel_receivable(sandbox) 12.27 CNY",
            "merchant_pending(M-1) -12.34 CNY",
        ]
    );
    house.close().await;
}

/// Two references of one order, both paid: the second is what nobody owes.
async fn second_money(house: &House) {
    house.open_order("O-1", "O-1").await;
    for name in ["R-1", "R-2"] {
        house.open_reference("O-1", name, 1_234).await;
        house.sandbox.handle.pay(&reference(name)).unwrap();
    }
    let job = expire(house).await;
    house.job_reaches(job, JobState::Dead).await;
}

const WITH_LATE_MONEY: [&str; 3] = [
    "channel_receivable(sandbox) 24.68 CNY",
    "merchant_pending(M-1) -12.34 CNY",
    "unallocated_receipts(sandbox) -12.34 CNY",
];

async fn late_money(house: House) {
    second_money(&house).await;
    assert_eq!(
        balances(&house).await,
        [
            "channel_receivable(sandbox) 12.34 CNY",
            "unallocated_receipts(sandbox) -12.34 CNY",
        ]
    );
    let known = facts(&house).await;
    assert_eq!(known.len(), 1);
    assert!(
        known[0].ends_with("12.34 CNY by query, booked"),
        "{known:?}"
    );
    book(&house, "first").await;
    assert_eq!(balances(&house).await, WITH_LATE_MONEY);
    house.close().await;
}

async fn late_money_and_record(house: House) {
    second_money(&house).await;
    // Upstream tells of the second payment without the channel's number.
    import(&house, &[&TOLD.replace("R-1", "R-2")]).await;
    let done = book(&house, "first").await;
    assert!(done.note.ends_with("payment R-2"), "{}", done.note);
    assert_eq!(balances(&house).await, WITH_LATE_MONEY);
    house.close().await;
}

async fn late_money_returned(house: House) {
    second_money(&house).await;
    import(&house, &[&TOLD.replace("R-1", "R-2")]).await;
    book(&house, "first").await;
    let back = "F-1,refund,sandbox,,M-1,12.34,CNY,0.00,succeeded,2026-03-02T21:30:00+08:00,R-2,,";
    import(&house, &[back]).await;
    book(&house, "second").await;
    assert_eq!(
        balances(&house).await,
        [
            "channel_receivable(sandbox) 12.34 CNY",
            "merchant_pending(M-1) -12.34 CNY",
        ]
    );
    let report = verify(&house.store).await.unwrap();
    assert!(report.ok, "{report:#?}");
    house.close().await;
}

async fn record_and_late_money(house: House) {
    import(&house, &[&TOLD.replace("R-1", "R-2")]).await;
    book(&house, "first").await;
    second_money(&house).await;
    assert_eq!(
        balances(&house).await,
        [
            "channel_fee(sandbox) 0.07 CNY",
            "channel_receivable(sandbox) 12.27 CNY",
            "merchant_pending(M-1) -12.34 CNY",
        ],
        "as upstream told it"
    );
    house.close().await;
}
