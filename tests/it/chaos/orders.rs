//! The orders of one run: what is asked about each, what its buyers do, and what goes wrong at the channel.
#![cfg(test)]

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use clearday::connectors::sandbox::{Fault, Operation};
use clearday::domain::authorization::reference_for;
use clearday::domain::order::{Order, OrderState};
use clearday::domain::partner::{Delivery, MessageChannel, Partner};
use clearday::store::{orders, partners};
use clearday_jobs::{JobKind, OrderNo, Reference};
use serde_json::{Value, json};

use super::chance::Chance;
use super::scene::Scene;
use crate::support::sandbox::{cny, reference};

/// ¥12.34 each.
pub(crate) const TOTAL_MINOR: i64 = 1_234;
pub(crate) const METHOD: &str = "card";
/// A method that its channel declines.
const EMPTY_METHOD: &str = "empty";
const MERCHANTS: u64 = 5;
/// What is asked for when all is done.
pub(crate) const LAST_KEY: &str = "settle everything";
/// Later than any run ends, and too soon to wait for the end of a night.
const NOTICE_DEADLINE: TimeDelta = TimeDelta::minutes(15);

/// One order and everything that is to happen about it.
#[derive(Clone, Debug)]
pub(crate) struct OrderPlan {
    pub(crate) order_no: OrderNo,
    merchant: String,
    /// When it may be paid no more, from the beginning of the run.
    deadline: Duration,
    /// What its buyers may pay by.
    pub(crate) references: Vec<Reference>,
    /// Which of them are paid when, if they still can be.
    pub(crate) pays: Vec<(Duration, Reference)>,
    /// Whether methods that were given are asked for its money.
    pub(crate) authorization: Option<Capture>,
    pub(crate) wishes: Vec<Wish>,
}

/// Who takes what an authorization holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Capture {
    Automatic,
    Manual,
}

/// A job that upstream asks for.
#[derive(Clone, Debug)]
pub(crate) struct Wish {
    pub(crate) kind: JobKind,
    pub(crate) key: String,
    pub(crate) payload: String,
    /// When, from the beginning of the run.
    pub(crate) at: Duration,
    pub(crate) way: Way,
}

/// How upstream asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    Http,
    Redis,
}

/// As many orders as a run of this length carries.
pub(crate) fn draw(
    chance: &mut Chance,
    length: Duration,
    begins_at: DateTime<Utc>,
) -> Vec<OrderPlan> {
    let count = (length.as_secs() * 12).clamp(120, 600);
    (0..count)
        .map(|number| one(&mut chance.fork(), number, length, begins_at))
        .collect()
}

fn one(chance: &mut Chance, number: u64, length: Duration, begins_at: DateTime<Utc>) -> OrderPlan {
    let length_ms = u64::try_from(length.as_millis()).unwrap();
    let order_no: OrderNo = format!("O-{number}").parse().unwrap();
    let story = chance.below(10);
    // Who is told of an order needs some time for it.
    let earliest = if story >= 8 {
        length_ms.div_euclid(2)
    } else {
        1_000
    };
    let deadline = chance.millis(earliest, length_ms);
    let mut plan = OrderPlan {
        order_no: order_no.clone(),
        merchant: format!("M-{}", chance.below(MERCHANTS)),
        deadline,
        references: Vec::new(),
        pays: Vec::new(),
        authorization: None,
        wishes: Vec::new(),
    };
    if story < 3 {
        plan.authorization = Some(if chance.one_in(2) {
            Capture::Automatic
        } else {
            Capture::Manual
        });
        let payload = plan.authorization_payload(chance);
        plan.ask(chance, length_ms, JobKind::DeferredAuthorization, &payload);
    } else {
        for part in 0..chance.below(3) {
            plan.references
                .push(reference(&format!("R-{number}-{part}")));
        }
        for name in plan.references.clone() {
            if chance.below(5) < 2 {
                plan.pays.push((chance.millis(0, length_ms), name));
            }
        }
    }
    if story >= 8 {
        let payload = json!({
            "version": 1, "order_no": order_no, "partner_id": partner_of(&order_no),
            "purpose": "pay_request", "deadline": begins_at + NOTICE_DEADLINE,
        });
        plan.ask(chance, length_ms, JobKind::PartnerNotification, &payload);
    }
    let expires_at = begins_at + TimeDelta::from_std(deadline).unwrap();
    let payload = json!({"version": 1, "order_no": order_no, "expires_at": expires_at});
    plan.ask(chance, length_ms, JobKind::OrderExpiry, &payload);
    plan
}

/// Every order that is told of has a partner of its own.
fn partner_of(order_no: &OrderNo) -> String {
    format!("P-{order_no}")
}

/// Books what is on record.
pub(crate) fn settlement(now: DateTime<Utc>) -> Wish {
    Wish {
        kind: JobKind::SettlementRun,
        key: LAST_KEY.to_owned(),
        payload: json!({"version": 1, "through": now.date_naive()}).to_string(),
        at: Duration::ZERO,
        way: Way::Http,
    }
}

impl OrderPlan {
    fn is_told_of(&self) -> bool {
        let mut wishes = self.wishes.iter();
        wishes.any(|wish| wish.kind == JobKind::PartnerNotification)
    }

    fn partner(&self, scene: &Scene, number: usize) -> Partner {
        let partner_id = partner_of(&self.order_no);
        Partner {
            name: "王小明".to_owned(),
            zone: chrono_tz::Asia::Shanghai,
            delivery: Delivery::All,
            channels: vec![MessageChannel::Sms, MessageChannel::Webhook],
            sms_number: Some(format!("+86138{number:08}")),
            email: None,
            webhook_url: Some(scene.mailroom.webhook_url(&partner_id)),
            is_disabled: false,
            partner_id: partner_id.parse().unwrap(),
        }
    }

    fn ask(&mut self, chance: &mut Chance, length_ms: u64, kind: JobKind, payload: &Value) {
        self.wishes.push(Wish {
            kind,
            key: format!("{} {}", kind.as_str(), self.order_no),
            payload: payload.to_string(),
            at: chance.millis(0, (length_ms * 9).div_euclid(10)),
            way: if chance.one_in(2) {
                Way::Http
            } else {
                Way::Redis
            },
        });
    }

    fn authorization_payload(&self, chance: &mut Chance) -> Value {
        let capture = match self.authorization {
            Some(Capture::Automatic) => "automatic",
            Some(Capture::Manual) | None => "manual",
        };
        let method = |id: &str, token: &str, sequence: u16| {
            json!({
                "method_id": id, "group": "credit_card", "channel": "sandbox", "token": token,
                "charge_sequence": sequence, "capture": capture,
            })
        };
        let mut methods = vec![method(METHOD, "tok_card", 2)];
        if chance.one_in(4) {
            methods.push(method(EMPTY_METHOD, "tok_declined_insufficient_funds", 1));
        }
        json!({
            "version": 1,
            "order": {
                "order_no": self.order_no,
                "merchant_id": self.merchant,
                "payer_id": "C-1",
                "total": {"amount": "12.34", "currency": "CNY"},
            },
            "methods": methods,
        })
    }

    /// The reference of its first authorization.
    pub(crate) fn authorization_reference(&self) -> Reference {
        reference_for(&self.order_no, &METHOD.parse().unwrap(), 1).unwrap()
    }
}

/// Writes the orders down, and lets the channel know its references and what is to go wrong.
pub(crate) async fn open_all(
    scene: &Scene,
    plans: &[OrderPlan],
    chance: &mut Chance,
    begins_at: DateTime<Utc>,
) {
    let mut tx = scene.store.begin().await.unwrap();
    for plan in plans {
        let order = Order {
            order_no: plan.order_no.clone(),
            group_no: plan.order_no.clone(),
            merchant_id: plan.merchant.parse().unwrap(),
            total: cny(TOTAL_MINOR),
            state: OrderState::Open,
            version: 1,
            expires_at: begins_at + TimeDelta::from_std(plan.deadline).unwrap(),
            updated_at: begins_at,
        };
        let new = orders::NewOrder {
            order: &order,
            reason: "by upstream",
        };
        assert!(orders::insert(&mut tx, new, begins_at).await.unwrap());
        for name in &plan.references {
            let channel = "sandbox";
            let issued =
                orders::issue_reference(&mut tx, channel, name.as_str(), &plan.order_no, begins_at);
            assert!(issued.await.unwrap());
            scene.sandbox.handle.create(name, cny(TOTAL_MINOR)).unwrap();
            disturb(scene, chance, name, [Operation::Query, Operation::Close]);
        }
        if plan.authorization.is_some() {
            let name = plan.authorization_reference();
            let asked = [
                Operation::Authorize,
                Operation::QueryAuthorization,
                Operation::Void,
            ];
            disturb(scene, chance, &name, asked);
        }
    }
    let told = plans.iter().zip(0..).filter(|(plan, _)| plan.is_told_of());
    let told: Vec<Partner> = told
        .map(|(plan, number)| plan.partner(scene, number))
        .collect();
    partners::upsert_all(&mut tx, &told, begins_at)
        .await
        .unwrap();
    tx.commit().await.unwrap();
    for partner in &told {
        let addresses = [
            (Operation::SendSms, partner.sms_number.as_deref()),
            (Operation::CallWebhook, Some(partner.partner_id.as_str())),
        ];
        for (operation, address) in addresses {
            let address = address.and_then(|address| Reference::new(address).ok());
            if let Some(address) = address.filter(|_| chance.one_in(4)) {
                let fault = chance.pick(&[
                    Fault::LostAnswer,
                    Fault::LostRequest,
                    Fault::ErrorAfterEffect,
                    Fault::Unavailable,
                ]);
                scene
                    .mailroom
                    .handle
                    .queue_fault(operation, &address, fault);
            }
        }
    }
}

/// About every fourth call meets a fault of the channel.
fn disturb<const N: usize>(
    scene: &Scene,
    chance: &mut Chance,
    name: &Reference,
    operations: [Operation; N],
) {
    for operation in operations {
        if !chance.one_in(4) {
            continue;
        }
        let fault = chance.pick(&[
            Fault::LostAnswer,
            Fault::LostRequest,
            Fault::ErrorAfterEffect,
            Fault::SlowAnswer { delay_ms: 1_500 },
            Fault::SlowAnswer { delay_ms: 5_000 },
            Fault::Unavailable,
        ]);
        scene.sandbox.handle.queue_fault(operation, name, fault);
    }
}
