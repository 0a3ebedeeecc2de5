//! The story of some nights, drawn from the seed: who there is, what is ordered, and what people will do when.

use chrono::{DateTime, Days, NaiveDate, NaiveTime, TimeDelta, Utc};
use clearday_jobs::{Currency, JobKind, MerchantId, Money, OrderNo, Reference};
use rust_decimal::Decimal;
use serde_json::json;

use super::dice::{Dice, Purpose};
use super::house::{BANK, CHANNEL, House, PARTNER};
use super::world::{Event, Wanted, World, at};
use super::{Plan, SimulateError};
use crate::config;
use crate::connectors::messages::UPSTREAM;
use crate::domain::fee::{FeeContract, Rounding};
use crate::domain::import::orders::{ToldOrder, ToldStatus};
use crate::domain::merchant::{CouponRule, Cycle, FundsFlow, Merchant, Payee, SettleBasis};
use crate::domain::order::{Order, OrderState};
use crate::domain::partner::{Delivery, MessageChannel, Partner};
use crate::store::{Tx, merchants, orders, partners};

/// A Monday; nights begin at eight in the evening in China.
const FIRST_DAY: (i32, u32, u32) = (2026, 3, 2);
const EVENING_HOUR: i64 = 20;
/// So many days the outside goes on after the last night, for what is still to come to its end.
const DAYS_AFTER: u64 = 9;
const MERCHANTS: [&str; 2] = ["M-1", "M-2"];

/// What will happen outside, and when.
pub(super) type Events = Vec<(DateTime<Utc>, Event)>;

/// The first day of every story.
fn first_day() -> NaiveDate {
    let (year, month, day) = FIRST_DAY;
    NaiveDate::from_ymd_opt(year, month, day).unwrap_or_default()
}

/// When every story begins.
pub(super) fn beginning() -> DateTime<Utc> {
    at(first_day(), EVENING_HOUR, 0)
}

/// When the last new thing has happened.
pub(super) fn ending(plan: &Plan) -> DateTime<Utc> {
    at(day_after(u64::from(plan.nights)), EVENING_HOUR, 0)
}

/// When the outside stops altogether.
pub(super) fn horizon(plan: &Plan) -> DateTime<Utc> {
    let last = u64::from(plan.nights).saturating_add(DAYS_AFTER);
    at(day_after(last), 0, 0)
}

fn day_after(days: u64) -> NaiveDate {
    let first = first_day();
    first.checked_add_days(Days::new(days)).unwrap_or(first)
}

/// What is done by the clock.
pub(super) fn schedules() -> Vec<config::Schedule> {
    let schedule = |name: &str, cron: &str, kind, payload: String| config::Schedule {
        name: name.to_owned(),
        cron: cron.to_owned(),
        zone: chrono_tz::Asia::Shanghai,
        kind,
        payload,
        days_back: 1,
        catch_up: config::CatchUp::All,
        catch_up_max: Some(100),
    };
    let bill =
        format!(r#"{{"version":1,"channel":"{CHANNEL}","statements":["bill.{{date}}.csv"]}}"#);
    let through = r#"{"version":1,"through":"{date}"}"#.to_owned();
    vec![
        schedule("bill", "30 2 * * *", JobKind::Reconciliation, bill),
        schedule("settle", "0 3 * * *", JobKind::SettlementRun, through),
    ]
}

/// The story so far.
struct Author<'a> {
    house: &'a House,
    dice: Dice,
    world: World,
    events: Events,
}

/// Writes down who there is, and draws what will happen.
pub(super) async fn tell(house: &House, plan: &Plan) -> Result<(World, Events), SimulateError> {
    let mut author = Author {
        house,
        dice: Dice::new(plan.seed, Purpose::World),
        world: World::default(),
        events: Vec::new(),
    };
    let mut tx = house.store.begin().await?;
    author.people(&mut tx).await?;
    for night in 0..plan.nights {
        author.night(&mut tx, night, plan.jobs).await?;
    }
    tx.commit().await?;
    for day in 0..=u64::from(plan.nights).saturating_add(DAYS_AFTER) {
        author.routine(day_after(day));
    }
    author.events.retain(|(at, _)| *at >= beginning());
    Ok((author.world, author.events))
}

impl Author<'_> {
    async fn people(&mut self, tx: &mut Tx) -> Result<(), SimulateError> {
        let now = self.house.clock.now();
        let all: Result<Vec<Merchant>, SimulateError> =
            MERCHANTS.iter().map(|id| Self::merchant(id)).collect();
        merchants::upsert_all(tx, &all?, now).await?;
        let partner = Partner {
            partner_id: PARTNER.parse().map_err(SimulateError::set_up)?,
            name: "partner".to_owned(),
            zone: chrono_tz::Asia::Shanghai,
            delivery: Delivery::All,
            channels: vec![MessageChannel::Sms, MessageChannel::Webhook],
            sms_number: Some("+8613800001234".to_owned()),
            email: None,
            webhook_url: Some(House::endpoint(PARTNER)),
            is_disabled: false,
        };
        partners::upsert_all(tx, &[partner], now).await?;
        Ok(())
    }

    fn merchant(id: &str) -> Result<Merchant, SimulateError> {
        let zero = Money::from_minor(0, Currency::CNY);
        let valid_from = NaiveDate::from_ymd_opt(2026, 1, 1).unwrap_or_default();
        Ok(Merchant {
            merchant_id: id.parse().map_err(SimulateError::set_up)?,
            name: id.to_owned(),
            currency: Currency::CNY,
            cycle: Cycle::BusinessDays(1),
            cutoff: NaiveTime::MIN,
            zone: chrono_tz::Asia::Shanghai,
            calendar: "CN".to_owned(),
            minimum: zero,
            settle_basis: if id == "M-1" {
                SettleBasis::Captured
            } else {
                SettleBasis::Reconciled
            },
            funds_flow: FundsFlow::Collected,
            coupons: CouponRule::ByFunder,
            reserve_rate: Decimal::ZERO,
            is_held: false,
            payee: Payee {
                bank: BANK.parse().map_err(SimulateError::set_up)?,
                account_no: "6222020200008888".to_owned(),
                account_name: id.to_owned(),
            },
            pending_payee: None,
            contracts: vec![FeeContract {
                valid_from,
                valid_until: None,
                rate: Decimal::new(6, 3),
                fixed: zero,
                minimum: zero,
                maximum: None,
                rounding: Rounding::HalfUp,
                returns_fees: true,
            }],
            version: 0,
        })
    }

    /// What upstream asks for in one night, and what buyers do.
    async fn night(&mut self, tx: &mut Tx, night: u32, jobs: u32) -> Result<(), SimulateError> {
        let evening = at(day_after(u64::from(night)), EVENING_HOUR, 0);
        for number in 0..jobs {
            let name = format!("{night}-{number}");
            match self.dice.below(100) {
                0..50 => self.expiring_order(tx, evening, &name).await?,
                50..75 => self.deferred_order(tx, evening, &name).await?,
                75..90 => self.partner_order(tx, evening, &name).await?,
                _ => self.sale(evening, &name)?,
            }
        }
        Ok(())
    }

    fn soon_after(&mut self, from: DateTime<Utc>, minutes: i64) -> DateTime<Utc> {
        let seconds = minutes.saturating_mul(60);
        from + TimeDelta::seconds(self.dice.between(0, seconds))
    }

    fn money(&mut self) -> Money {
        Money::from_minor(self.dice.between(100, 99_999), Currency::CNY)
    }

    fn someones(&mut self) -> Result<MerchantId, SimulateError> {
        let id = self.dice.pick(&MERCHANTS).copied().unwrap_or("M-1");
        id.parse().map_err(SimulateError::set_up)
    }

    fn ask(&mut self, when: DateTime<Utc>, kind: JobKind, key: &str, payload: &serde_json::Value) {
        let number = self.world.want(Wanted {
            kind,
            key: key.to_owned(),
            payload: payload.to_string(),
        });
        self.events.push((when, Event::Ask(number)));
    }

    async fn order(
        &mut self,
        tx: &mut Tx,
        order_no: &str,
        total: Money,
        expires_at: DateTime<Utc>,
    ) -> Result<MerchantId, SimulateError> {
        let merchant_id = self.someones()?;
        let order = Order {
            order_no: order_no.parse().map_err(SimulateError::set_up)?,
            group_no: order_no.parse().map_err(SimulateError::set_up)?,
            merchant_id: merchant_id.clone(),
            total,
            state: OrderState::Open,
            version: 1,
            expires_at,
            updated_at: self.house.clock.now(),
        };
        let new = orders::NewOrder {
            order: &order,
            reason: "ordered",
        };
        orders::insert(tx, new, self.house.clock.now()).await?;
        // References of orders that are paid at the channel begin with another letter.
        let beginning = format!("{}-", order_no.replacen('E', "R", 1));
        self.world.owners.push((beginning, merchant_id.clone()));
        Ok(merchant_id)
    }

    fn ask_expiry(&mut self, evening: DateTime<Utc>, order_no: &str, expires_at: DateTime<Utc>) {
        let asked_at = self.soon_after(evening, 180);
        let payload =
            json!({"version": 1, "order_no": order_no, "expires_at": expires_at.to_rfc3339()});
        let kind = JobKind::OrderExpiry;
        self.ask(asked_at, kind, order_no, &payload);
    }

    /// An order that is paid in time, too late or never, by one of its references.
    async fn expiring_order(
        &mut self,
        tx: &mut Tx,
        evening: DateTime<Utc>,
        name: &str,
    ) -> Result<(), SimulateError> {
        let order_no = format!("E-{name}");
        let expires_at = self.soon_after(evening + TimeDelta::minutes(20), 160);
        let total = self.money();
        self.order(tx, &order_no, total, expires_at).await?;
        let count = self.dice.below(3);
        let mut references = Vec::new();
        for number in 0..count {
            let text = format!("R-{name}-{number}");
            let group = order_no.parse().map_err(SimulateError::set_up)?;
            let now = self.house.clock.now();
            orders::issue_reference(tx, CHANNEL, &text, &group, now).await?;
            let reference: Reference = text.parse().map_err(SimulateError::set_up)?;
            // Not every buyer who was given a number ever showed it to the channel.
            if number == 0 || self.dice.happens(700) {
                let created = self.house.sandbox.create(&reference, total);
                created.map_err(SimulateError::set_up)?;
                references.push(reference);
            }
        }
        if let Some(reference) = self.dice.pick(&references).cloned() {
            let around = TimeDelta::seconds(self.dice.between(-30, 90));
            match self.dice.below(10) {
                0..4 => {}
                4..6 => {
                    let paid_at = self.soon_after(evening, 20);
                    self.events.push((paid_at, Event::Pay(reference)));
                }
                _ => self
                    .events
                    .push((expires_at + around, Event::Pay(reference))),
            }
        }
        self.ask_expiry(evening, &order_no, expires_at);
        Ok(())
    }

    /// An order whose payment methods are charged later.
    async fn deferred_order(
        &mut self,
        tx: &mut Tx,
        evening: DateTime<Utc>,
        name: &str,
    ) -> Result<(), SimulateError> {
        let order_no = format!("D-{name}");
        let expires_at = self.soon_after(evening + TimeDelta::minutes(60), 180);
        let total = self.money();
        let merchant_id = self.order(tx, &order_no, total, expires_at).await?;
        let methods: Vec<serde_json::Value> = (1..=self.dice.between(1, 2))
            .map(|number| {
                let is_declined = self.dice.happens(250);
                let capture = if self.dice.happens(700) {
                    "automatic"
                } else {
                    "manual"
                };
                let token = if is_declined {
                    "tok_declined_funds"
                } else {
                    "tok_card"
                };
                json!({
                    "method_id": format!("card{number}"),
                    "group": "credit_card",
                    "channel": CHANNEL,
                    "token": token,
                    "charge_sequence": number,
                    "capture": capture,
                })
            })
            .collect();
        let mut payload = json!({
            "version": 1,
            "order": {
                "order_no": order_no,
                "merchant_id": merchant_id.as_str(),
                "payer_id": "C-1",
                "total": {"amount": total.to_major_string(), "currency": "CNY"},
            },
            "methods": methods,
        });
        if self.dice.happens(600)
            && let Some(fields) = payload.as_object_mut()
        {
            fields.insert("callback_url".to_owned(), json!(House::endpoint(UPSTREAM)));
        }
        let asked_at = self.soon_after(evening, 120);
        let kind = JobKind::DeferredAuthorization;
        self.ask(asked_at, kind, &order_no, &payload);
        self.ask_expiry(evening, &order_no, expires_at);
        if self.dice.happens(300) {
            // While the methods are asked, or not much later.
            let withdrawn_at = asked_at + TimeDelta::seconds(self.dice.between(0, 60));
            let number: OrderNo = order_no.parse().map_err(SimulateError::set_up)?;
            let told = ToldOrder {
                order_no: number.clone(),
                group_no: number,
                merchant_id,
                total,
                status: ToldStatus::Cancelled,
                expires_at,
            };
            let withdrawal = Event::Withdraw(Box::new(told));
            self.events.push((withdrawn_at, withdrawal));
        }
        Ok(())
    }

    /// An order that a partner is asked to pay for.
    async fn partner_order(
        &mut self,
        tx: &mut Tx,
        evening: DateTime<Utc>,
        name: &str,
    ) -> Result<(), SimulateError> {
        let order_no = format!("N-{name}");
        let expires_at = self.soon_after(evening + TimeDelta::minutes(30), 14 * 60);
        let total = self.money();
        self.order(tx, &order_no, total, expires_at).await?;
        let payload = json!({
            "version": 1,
            "order_no": order_no,
            "partner_id": PARTNER,
            "purpose": "pay_request",
            "deadline": expires_at.to_rfc3339(),
        });
        let asked_at = self.soon_after(evening, 25);
        let kind = JobKind::PartnerNotification;
        self.ask(asked_at, kind, &order_no, &payload);
        if self.dice.happens(600) {
            self.ask_expiry(evening, &order_no, expires_at);
        }
        Ok(())
    }

    /// Something that is sold and paid at once, and told us of later.
    fn sale(&mut self, evening: DateTime<Utc>, name: &str) -> Result<(), SimulateError> {
        let when = self.soon_after(evening, 180);
        let sale = Event::Sale {
            reference: format!("S-{name}").parse().map_err(SimulateError::set_up)?,
            merchant_id: self.someones()?,
            amount: self.money(),
        };
        self.events.push((when, sale));
        Ok(())
    }

    /// What happens on every day.
    fn routine(&mut self, day: NaiveDate) {
        let before = day.checked_sub_days(Days::new(1)).unwrap_or(day);
        self.events.push((at(day, 1, 0), Event::TellSales));
        self.events.push((at(day, 2, 0), Event::Bill(before)));
        for hour in 15..=16 {
            self.events.push((at(day, hour, 30), Event::Sign));
        }
        self.events.push((at(day, 17, 10), Event::BankDay(day)));
    }
}
