//! Merchants and partners come back as they were written, and nobody overwrites what they have not seen.
#![cfg(test)]

use chrono::NaiveTime;
use clearday::domain::fee::{FeeContract, Rounding};
use clearday::domain::merchant::{CouponRule, Cycle, FundsFlow, Merchant, Payee, SettleBasis};
use clearday::domain::partner::{Delivery, MessageChannel, Partner};
use clearday::store::{StoreError, Tx, merchants, partners};
use clearday_jobs::{Currency, MerchantId, Money, PartnerId};
use rust_decimal::Decimal;

use crate::support::world::{World, on_both_databases};

on_both_databases! {
    merchants_come_back_as_they_were_written,
    a_merchant_that_changed_meanwhile_is_not_overwritten,
    contracts_are_replaced_with_their_merchant,
    another_account_waits_until_it_is_accepted_or_dropped,
    merchants_that_cannot_be_are_refused,
    partners_come_back_as_they_were_written,
    partners_are_stopped_once,
    partners_without_the_address_of_a_channel_are_refused,
}

fn cny(minor_units: i64) -> Money {
    Money::from_minor(minor_units, Currency::parse("CNY").unwrap())
}

fn payee(account_no: &str) -> Payee {
    Payee {
        bank: "sandbox_bank".parse().unwrap(),
        account_no: account_no.to_owned(),
        account_name: "杭州小店".to_owned(),
    }
}

fn contract(valid_from: &str, rate: &str) -> FeeContract {
    FeeContract {
        valid_from: valid_from.parse().unwrap(),
        valid_until: None,
        rate: rate.parse().unwrap(),
        fixed: cny(0),
        minimum: cny(0),
        maximum: None,
        rounding: Rounding::HalfUp,
        returns_fees: true,
    }
}

fn merchant(merchant_id: &str) -> Merchant {
    let cny = Currency::parse("CNY").unwrap();
    Merchant {
        merchant_id: merchant_id.parse().unwrap(),
        name: "小店".to_owned(),
        currency: cny,
        cycle: Cycle::BusinessDays(1),
        cutoff: NaiveTime::MIN,
        zone: chrono_tz::Asia::Shanghai,
        calendar: "CN".to_owned(),
        minimum: Money::from_minor(0, cny),
        settle_basis: SettleBasis::Reconciled,
        funds_flow: FundsFlow::Collected,
        coupons: CouponRule::ByFunder,
        reserve_rate: Decimal::ZERO,
        is_held: false,
        payee: payee("6200000000000000001"),
        pending_payee: None,
        contracts: vec![contract("2026-01-01", "0.006")],
        version: 0,
    }
}

fn unlike_any_default(merchant_id: &str) -> Merchant {
    let jpy = Currency::parse("JPY").unwrap();
    let yen = |minor_units| Money::from_minor(minor_units, jpy);
    let with_everything = FeeContract {
        valid_until: Some("2026-06-30".parse().unwrap()),
        rate: "0.123456789".parse().unwrap(),
        fixed: yen(30),
        minimum: yen(50),
        maximum: Some(yen(i64::MAX)),
        rounding: Rounding::HalfEven,
        returns_fees: false,
        ..contract("2026-01-01", "0")
    };
    let open = FeeContract {
        fixed: yen(0),
        minimum: yen(0),
        ..contract("2026-07-01", "1")
    };
    Merchant {
        currency: jpy,
        cycle: Cycle::Monthly { day: 31, lag: 3 },
        cutoff: NaiveTime::from_hms_opt(23, 59, 0).unwrap(),
        zone: chrono_tz::America::New_York,
        minimum: yen(100),
        settle_basis: SettleBasis::Funded,
        funds_flow: FundsFlow::Direct,
        coupons: CouponRule::Excluded,
        reserve_rate: "0.05".parse().unwrap(),
        is_held: true,
        pending_payee: Some(payee("6200000000000000002")),
        contracts: vec![with_everything, open],
        ..merchant(merchant_id)
    }
}

async fn merchants_come_back_as_they_were_written(world: World) {
    let told = ["b", "B", "a-2", "a10"].map(merchant);
    let odd = unlike_any_default("Z");
    let all: Vec<Merchant> = told.into_iter().chain([odd]).collect();
    assert_eq!(write(&world, &all).await, 5);

    let mut tx = world.store.read().await.unwrap();
    for merchant in &all {
        let found = merchants::find(&mut tx, &merchant.merchant_id).await;
        let expected = Merchant {
            version: 1,
            ..merchant.clone()
        };
        assert_eq!(found.unwrap(), Some(expected));
    }
    let listed = merchants::list(&mut tx).await.unwrap();
    let ids: Vec<&str> = listed.iter().map(|it| it.merchant_id.as_str()).collect();
    assert_eq!(ids, ["B", "Z", "a-2", "a10", "b"]);
    assert_eq!(listed[1].contracts, all[4].contracts);
    let nobody: MerchantId = "nobody".parse().unwrap();
    assert_eq!(merchants::find(&mut tx, &nobody).await.unwrap(), None);
}

async fn a_merchant_that_changed_meanwhile_is_not_overwritten(world: World) {
    assert_eq!(write(&world, &[merchant("M1")]).await, 1);
    // Somebody else took it for new as well.
    assert_eq!(write(&world, &[merchant("M1")]).await, 0);
    let mut seen = find(&world, "M1").await;
    seen.is_held = true;
    assert_eq!(write(&world, std::slice::from_ref(&seen)).await, 1);
    seen.is_held = false;
    assert_eq!(write(&world, std::slice::from_ref(&seen)).await, 0);
    let kept = find(&world, "M1").await;
    assert_eq!((kept.is_held, kept.version), (true, 2));
}

async fn contracts_are_replaced_with_their_merchant(world: World) {
    write(&world, &[merchant("M1"), merchant("M2")]).await;
    let mut known = find(&world, "M1").await;
    known.contracts[0].valid_until = Some("2026-03-31".parse().unwrap());
    known.contracts.push(contract("2026-04-01", "0.0038"));
    write(&world, std::slice::from_ref(&known)).await;
    assert_eq!(find(&world, "M1").await.contracts, known.contracts);
    assert_eq!(find(&world, "M2").await.contracts.len(), 1);

    // What cannot be written leaves everything as it was.
    let mut wrong = find(&world, "M1").await;
    wrong.contracts[0].rate = "0.0000000001".parse().unwrap();
    let mut tx = world.begin().await;
    let refused = merchants::upsert_all(&mut tx, &[wrong], world.now()).await;
    assert!(matches!(refused, Err(StoreError::Corrupt { .. })));
    drop(tx);
    assert_eq!(find(&world, "M1").await.contracts, known.contracts);
}

async fn another_account_waits_until_it_is_accepted_or_dropped(world: World) {
    let (new, newer) = (payee("6200000000000000002"), payee("6200000000000000003"));
    let waiting = Merchant {
        pending_payee: Some(new.clone()),
        ..merchant("M1")
    };
    write(&world, &[waiting]).await;
    let id: MerchantId = "M1".parse().unwrap();

    let mut tx = world.begin().await;
    let now = world.now();
    let accept = merchants::accept_pending_payee;
    assert!(!accept(&mut tx, &id, &newer, now).await.unwrap());
    assert!(accept(&mut tx, &id, &new, now).await.unwrap());
    assert!(!accept(&mut tx, &id, &new, now).await.unwrap());
    tx.commit().await.unwrap();
    let mut known = find(&world, "M1").await;
    assert_eq!((&known.payee, &known.pending_payee), (&new, &None));
    assert_eq!(known.version, 2);

    known.pending_payee = Some(newer.clone());
    write(&world, &[known]).await;
    let mut tx = world.begin().await;
    let drop_it = merchants::drop_pending_payee;
    assert!(!drop_it(&mut tx, &id, &new, now).await.unwrap());
    assert!(drop_it(&mut tx, &id, &newer, now).await.unwrap());
    tx.commit().await.unwrap();
    let known = find(&world, "M1").await;
    assert_eq!((known.payee, known.pending_payee), (new, None));
}

async fn merchants_that_cannot_be_are_refused(world: World) {
    let refused: [fn(&mut Merchant); 6] = [
        |it| it.name = String::new(),
        |it| it.minimum = cny(-1),
        |it| it.payee.account_no = "6".repeat(35),
        |it| it.contracts[0].fixed = cny(-1),
        |it| it.contracts[0].valid_until = Some("2025-12-31".parse().unwrap()),
        |it| {
            it.contracts[0].minimum = cny(2);
            it.contracts[0].maximum = Some(cny(1));
        },
    ];
    for change in refused {
        let mut told = merchant("M1");
        change(&mut told);
        let mut tx = world.begin().await;
        let written = merchants::upsert_all(&mut tx, &[told], world.now()).await;
        assert!(
            matches!(written, Err(StoreError::Constraint { .. })),
            "{written:?}"
        );
    }
}

fn partner(partner_id: &str) -> Partner {
    Partner {
        partner_id: partner_id.parse().unwrap(),
        name: "宁波伙伴".to_owned(),
        zone: chrono_tz::Asia::Shanghai,
        delivery: Delivery::Fallback,
        channels: vec![MessageChannel::Webhook, MessageChannel::Sms],
        sms_number: Some("+8613800000000".to_owned()),
        email: None,
        webhook_url: Some("https://example.com/hook".to_owned()),
        is_disabled: false,
    }
}

async fn partners_come_back_as_they_were_written(world: World) {
    let all = [partner("b"), partner("B"), partner("a")];
    let mut tx = world.begin().await;
    let now = world.now();
    assert_eq!(partners::upsert_all(&mut tx, &all, now).await.unwrap(), 3);
    let changed = Partner {
        delivery: Delivery::All,
        channels: vec![MessageChannel::Email],
        sms_number: None,
        email: Some("pay@example.com".to_owned()),
        webhook_url: None,
        ..partner("a")
    };
    let again = std::slice::from_ref(&changed);
    partners::upsert_all(&mut tx, again, now).await.unwrap();
    tx.commit().await.unwrap();

    let listed = partners::list(&mut world.store.read().await.unwrap()).await;
    assert_eq!(listed.unwrap(), [partner("B"), changed, partner("b")]);
    assert_eq!(find_partner(&world, "nobody").await, None);
}

async fn partners_are_stopped_once(world: World) {
    let mut tx = world.begin().await;
    let now = world.now();
    let id: PartnerId = "P1".parse().unwrap();
    let told = [partner("P1")];
    partners::upsert_all(&mut tx, &told, now).await.unwrap();
    let stop = async |tx: &mut Tx, is_disabled| {
        let stopped = partners::set_disabled(tx, &id, is_disabled, now).await;
        stopped.unwrap()
    };
    assert!(!stop(&mut tx, false).await);
    assert!(stop(&mut tx, true).await);
    assert!(!stop(&mut tx, true).await);
    tx.commit().await.unwrap();
    assert!(find_partner(&world, "P1").await.unwrap().is_disabled);
}

async fn partners_without_the_address_of_a_channel_are_refused(world: World) {
    for channel in [
        MessageChannel::Sms,
        MessageChannel::Email,
        MessageChannel::Webhook,
    ] {
        let told = Partner {
            channels: vec![channel],
            sms_number: None,
            webhook_url: None,
            ..partner("P1")
        };
        let mut tx = world.begin().await;
        let written = partners::upsert_all(&mut tx, &[told], world.now()).await;
        assert!(
            matches!(written, Err(StoreError::Constraint { .. })),
            "{written:?}"
        );
    }
}

async fn write(world: &World, told: &[Merchant]) -> u64 {
    let mut tx = world.begin().await;
    let written = merchants::upsert_all(&mut tx, told, world.now()).await;
    tx.commit().await.unwrap();
    written.unwrap()
}

async fn find(world: &World, merchant_id: &str) -> Merchant {
    let mut tx = world.store.read().await.unwrap();
    let found = merchants::find(&mut tx, &merchant_id.parse().unwrap()).await;
    found.unwrap().unwrap()
}

async fn find_partner(world: &World, partner_id: &str) -> Option<Partner> {
    let mut tx = world.store.read().await.unwrap();
    let id: Result<PartnerId, _> = partner_id.parse();
    partners::find(&mut tx, &id.ok()?).await.ok()?
}
