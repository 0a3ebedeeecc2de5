//! What follows from what: stories of one order against a channel that answers by script.
#![expect(
    clippy::arithmetic_side_effects,
    reason = "a test that overflows fails, which is what it should do"
)]

use chrono::TimeDelta;
use clearday_jobs::{Amount, Currency, Token, YesOrNo};
use proptest::prelude::*;

use std::collections::BTreeSet;

use super::*;
use crate::domain::authorization::reference_for;
use crate::domain::order::OrderState;

/// Steps a story may take; more is a loop.
const STEPS_MAX: usize = 100;

/// How the channel takes what it is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Held,
    Taken,
    Declined,
    /// The answer is lost, and the next query tells.
    LostThenHeld,
    LostThenDeclined,
}

fn noon() -> DateTime<Utc> {
    "2026-03-31T12:00:00Z".parse().unwrap()
}

fn cny(minor_units: i64) -> Money {
    Money::from_minor(minor_units, Currency::parse("CNY").unwrap())
}

fn method(id: &str, maximum: Option<i64>) -> PaymentMethod {
    PaymentMethod {
        method_id: id.parse().unwrap(),
        group: MethodGroup::CreditCard,
        channel: "sandbox".parse().unwrap(),
        token: Token::new("tok_1").unwrap(),
        charge_sequence: 1,
        fixed_amount: None,
        maximum_charge: maximum.map(|minor| Amount(cny(minor))),
        card_expires_on: None,
        capture: Capture::Manual,
    }
}

fn order(state: OrderState, total: i64) -> Order {
    Order {
        order_no: "O-1".parse().unwrap(),
        group_no: "O-1".parse().unwrap(),
        merchant_id: "M-1".parse().unwrap(),
        total: cny(total),
        state,
        version: 1,
        expires_at: noon() + TimeDelta::hours(1),
        updated_at: noon(),
    }
}

fn snapshot(total: i64, methods: Vec<PaymentMethod>) -> Snapshot {
    let everything = Abilities {
        authorize: true,
        charge: true,
        void: true,
        reduce: true,
    };
    let standing = ChannelStanding {
        abilities: Some(everything),
        hold: None,
    };
    Snapshot {
        order_no: "O-1".parse().unwrap(),
        merchant_id: "M-1".parse().unwrap(),
        total: cny(total),
        methods,
        orders: Vec::new(),
        is_paid_elsewhere: false,
        authorizations: Vec::new(),
        suspended: BTreeMap::new(),
        channels: BTreeMap::from([("sandbox".parse().unwrap(), standing)]),
        asked: BTreeMap::new(),
        rules: ChargingRules {
            sequence: vec![MethodGroup::StoredValueCard, MethodGroup::CreditCard],
            zone: chrono_tz::Asia::Shanghai,
        },
    }
}

fn held(method_id: &str, state: AuthorizationState, amount: i64) -> AuthorizationWithCall {
    let order_no: OrderNo = "O-1".parse().unwrap();
    let method_id: MethodId = method_id.parse().unwrap();
    AuthorizationWithCall {
        authorization: Authorization {
            reference: reference_for(&order_no, &method_id, 1).unwrap(),
            channel: "sandbox".parse().unwrap(),
            order_no,
            merchant_id: "M-1".parse().unwrap(),
            method_id,
            group: MethodGroup::CreditCard,
            number: 1,
            capture: Capture::Manual,
            amount: cny(amount),
            keep: None,
            state,
            version: 1,
            because: String::new(),
            is_surplus_told: false,
            updated_at: noon(),
        },
        call: None,
    }
}

fn told(step: &Step) -> String {
    match step {
        Step::Query(_) => "query".to_owned(),
        Step::Suspend(method, suspension) => format!("suspend {method}: {}", suspension.message),
        Step::Authorize(share, number) => {
            format!("authorize {} {} {number}", share.method_id, share.amount)
        }
        Step::Void(_, reason) => format!("void: {reason}"),
        Step::ReverseExcess(_, keep) => format!("keep {keep}"),
        Step::Pay => "pay".to_owned(),
        Step::Wait(_, reason) => format!("wait: {reason}"),
        Step::Answer(answer) => {
            let codes: Vec<&str> = answer.errors.iter().map(|it| it.code.as_str()).collect();
            let remaining = answer.remaining_to_authorize.0;
            format!("{:?}, remaining {remaining}, {codes:?}", answer.successful)
        }
    }
}

fn next(snapshot: &Snapshot) -> String {
    told(&decide(snapshot, noon()).unwrap())
}

/// Plays a story to its answer; `fates` are used up in the order of asking, and then everything is held.
fn play(snapshot: &mut Snapshot, fates: &[Fate]) -> Vec<Step> {
    let mut fates = fates.iter().copied();
    let mut open_fate = Fate::Held;
    let mut steps = Vec::new();
    for _ in 0..STEPS_MAX {
        let step = decide(snapshot, noon()).unwrap();
        steps.push(step.clone());
        match step {
            Step::Query(reference) => {
                let it = find(snapshot, &reference);
                it.state = match (it.state, open_fate) {
                    (AuthorizationState::Voiding, _) => AuthorizationState::Voided,
                    (_, Fate::LostThenDeclined) => AuthorizationState::Declined,
                    _ => AuthorizationState::Authorized,
                };
                if it.state == AuthorizationState::Declined {
                    let method = it.method_id.clone();
                    suspend(snapshot, method);
                }
            }
            Step::Suspend(method, suspension) => {
                snapshot.suspended.insert(method, suspension);
            }
            Step::Authorize(share, number) => {
                open_fate = fates.next().unwrap_or(Fate::Held);
                let state = match open_fate {
                    Fate::Held => AuthorizationState::Authorized,
                    Fate::Taken => AuthorizationState::Captured,
                    Fate::Declined => AuthorizationState::Declined,
                    Fate::LostThenHeld | Fate::LostThenDeclined => AuthorizationState::Unknown,
                };
                let mut asked = held(share.method_id.as_str(), state, share.amount.minor_units());
                asked.authorization.number = number;
                snapshot.authorizations.push(asked);
                if state == AuthorizationState::Declined {
                    suspend(snapshot, share.method_id);
                }
            }
            Step::Void(reference, _) => {
                find(snapshot, &reference).state = AuthorizationState::Voided;
            }
            Step::ReverseExcess(reference, keep) => find(snapshot, &reference).amount = keep,
            Step::Pay => snapshot
                .orders
                .iter_mut()
                .for_each(|order| order.state = OrderState::Paid),
            Step::Wait(..) | Step::Answer(_) => return steps,
        }
    }
    panic!("no end: {steps:#?}");
}

fn suspend(snapshot: &mut Snapshot, method: MethodId) {
    let suspension = Suspension {
        code: SuspensionCode::Declined,
        message: "declined".to_owned(),
    };
    snapshot.suspended.insert(method, suspension);
}

fn find<'a>(snapshot: &'a mut Snapshot, reference: &Reference) -> &'a mut Authorization {
    let mut all = snapshot.authorizations.iter_mut();
    let found = all.find(|it| it.authorization.reference == *reference);
    &mut found.unwrap().authorization
}

fn story(snapshot: &mut Snapshot, fates: &[Fate]) -> String {
    let steps: Vec<String> = play(snapshot, fates).iter().map(told).collect();
    steps.join("\n")
}

#[test]
fn each_method_takes_its_share_and_the_answer_is_yes() {
    let mut order = snapshot(100, vec![method("gift", Some(30)), method("card", None)]);
    assert_eq!(
        story(&mut order, &[]),
        "\
authorize gift 0.30 CNY 1
authorize card 0.70 CNY 1
Yes, remaining 0.00 CNY, []"
    );
}

#[test]
fn the_next_method_takes_over_the_share_of_a_declined_one() {
    let mut order = snapshot(100, vec![method("gift", Some(30)), method("card", None)]);
    assert_eq!(
        story(&mut order, &[Fate::Declined]),
        "\
authorize gift 0.30 CNY 1
authorize card 1.00 CNY 1
Yes, remaining 0.00 CNY, [\"declined\"]"
    );
}

#[test]
fn an_unknown_outcome_keeps_its_share_until_it_is_proved() {
    let methods = || vec![method("gift", Some(30)), method("card", None)];
    assert_eq!(
        story(&mut snapshot(100, methods()), &[Fate::LostThenHeld]),
        "\
authorize gift 0.30 CNY 1
query
authorize card 0.70 CNY 1
Yes, remaining 0.00 CNY, []"
    );
    assert_eq!(
        story(&mut snapshot(100, methods()), &[Fate::LostThenDeclined]),
        "\
authorize gift 0.30 CNY 1
query
authorize card 1.00 CNY 1
Yes, remaining 0.00 CNY, [\"declined\"]"
    );
    let mut asked = snapshot(100, methods());
    asked.authorizations = vec![held("gift", AuthorizationState::Unknown, 30)];
    let reference = asked.authorizations[0].authorization.reference.clone();
    let wait = (
        noon() + TimeDelta::seconds(5),
        "it is asked again".to_owned(),
    );
    asked.asked.insert(reference, wait);
    assert_eq!(next(&asked), "wait: it is asked again");
}

#[test]
fn not_enough_money_is_answered_with_what_remains() {
    let mut order = snapshot(
        100,
        vec![method("gift", Some(30)), method("card", Some(50))],
    );
    assert_eq!(
        story(&mut order, &[Fate::Held, Fate::Declined]),
        "\
authorize gift 0.30 CNY 1
authorize card 0.50 CNY 1
No, remaining 0.70 CNY, [\"declined\"]"
    );
}

#[test]
fn a_card_is_good_through_the_last_day_of_its_month_where_the_seller_is() {
    let mut card = method("card", None);
    card.card_expires_on = Some("2026-03".to_owned().try_into().unwrap());
    let order = snapshot(100, vec![card]);
    let at = |instant: &str| told(&decide(&order, instant.parse().unwrap()).unwrap());
    // Midnight in Shanghai is 16:00 UTC.
    assert_eq!(at("2026-03-31T15:59:59Z"), "authorize card 1.00 CNY 1");
    assert_eq!(
        at("2026-03-31T16:00:00Z"),
        "suspend card: the card is expired on 2026-04-01, the date of the charge"
    );
}

#[test]
fn a_channel_is_never_asked_for_what_it_cannot_do() {
    let mut automatic = method("card", None);
    automatic.capture = Capture::Automatic;
    let mut order = snapshot(100, vec![automatic, method("other", None)]);
    let standing = order.channels.get_mut(&"sandbox".parse().unwrap()).unwrap();
    standing.abilities = Some(Abilities {
        authorize: false,
        charge: false,
        void: false,
        reduce: false,
    });
    assert_eq!(
        story(&mut order, &[]),
        "\
suspend card: channel sandbox cannot take money at once
suspend other: channel sandbox cannot authorize
No, remaining 1.00 CNY, [\"channel_cannot\", \"channel_cannot\"]"
    );
    order.suspended.clear();
    order.channels.clear();
    assert_eq!(
        next(&order),
        "suspend card: channel sandbox is not configured"
    );
}

#[test]
fn a_channel_that_is_on_hold_keeps_its_share_waiting() {
    let mut order = snapshot(100, vec![method("card", None), method("other", None)]);
    let standing = order.channels.get_mut(&"sandbox".parse().unwrap()).unwrap();
    standing.hold = Some((noon() + TimeDelta::minutes(1), "breaker open".to_owned()));
    assert_eq!(next(&order), "wait: breaker open");
}

#[test]
fn a_method_that_may_be_charged_nothing_is_suspended_and_let_go() {
    let mut order = snapshot(100, vec![method("gift", Some(0)), method("card", None)]);
    order.authorizations = vec![held("gift", AuthorizationState::Authorized, 30)];
    assert_eq!(
        story(&mut order, &[]),
        "\
suspend gift: it may be charged nothing
void: method gift was suspended
authorize card 1.00 CNY 1
Yes, remaining 0.00 CNY, [\"charge_zero\"]"
    );
}

#[test]
fn a_method_is_not_asked_for_ever() {
    let mut order = snapshot(100, vec![method("card", None)]);
    order.authorizations = vec![held("card", AuthorizationState::Lapsed, 100)];
    assert_eq!(next(&order), "authorize card 1.00 CNY 2");
    order.authorizations[0].authorization.number = ASKED_MAX;
    assert_eq!(
        next(&order),
        "suspend card: it was asked 3 times for this order"
    );
}

#[test]
fn an_order_that_got_cheaper_lets_go_of_the_excess_from_the_last_method() {
    let mut cheaper = snapshot(100, vec![method("gift", Some(30)), method("card", None)]);
    cheaper.orders = vec![order(OrderState::Open, 20)];
    cheaper.authorizations = vec![
        held("gift", AuthorizationState::Authorized, 30),
        held("card", AuthorizationState::Authorized, 70),
    ];
    assert_eq!(
        story(&mut cheaper, &[]),
        "\
void: the order owes less than is held
keep 0.20 CNY
Yes, remaining 0.00 CNY, []"
    );
}

#[test]
fn all_that_is_owed_and_taken_pays_an_order_that_is_known() {
    let mut known = snapshot(100, vec![method("card", None)]);
    known.orders = vec![order(OrderState::Open, 100)];
    assert_eq!(
        story(&mut known, &[Fate::Taken]),
        "\
authorize card 1.00 CNY 1
pay
Yes, remaining 0.00 CNY, []"
    );
    let mut unknown = snapshot(100, vec![method("card", None)]);
    assert_eq!(
        story(&mut unknown, &[Fate::Taken]),
        "\
authorize card 1.00 CNY 1
Yes, remaining 0.00 CNY, []"
    );
}

#[test]
fn members_of_a_combination_are_paid_together() {
    let mut one = snapshot(100, vec![method("card", None)]);
    let mut sibling = order(OrderState::Open, 50);
    sibling.order_no = "O-2".parse().unwrap();
    one.orders = vec![order(OrderState::Open, 100), sibling];
    assert_eq!(
        story(&mut one, &[Fate::Taken]),
        "\
authorize card 1.00 CNY 1
Yes, remaining 0.00 CNY, []"
    );
    let mut other = held("card", AuthorizationState::Captured, 50);
    other.authorization.order_no = "O-2".parse().unwrap();
    one.authorizations.push(other);
    assert_eq!(next(&one), "pay");
}

#[test]
fn what_an_order_that_is_over_holds_is_let_go_before_the_answer() {
    let rows = [
        (OrderState::Open, 59),
        (OrderState::Open, 60),
        (OrderState::InReview, 60),
        (OrderState::Expiring, 0),
        (OrderState::Expired, 0),
        (OrderState::Cancelled, 0),
        (OrderState::Paid, 0),
    ];
    let table: Vec<String> = rows
        .into_iter()
        .map(|(state, minute)| {
            let mut snapshot = snapshot(100, vec![method("card", None)]);
            snapshot.orders = vec![order(state, 100)];
            let now = noon() + TimeDelta::minutes(minute);
            let mut at = |held| {
                snapshot.authorizations = held;
                told(&decide(&snapshot, now).unwrap())
            };
            format!(
                "{state} at minute {minute}: {}; {}; {}",
                at(vec![held("card", AuthorizationState::Authorized, 100)]),
                at(vec![held("card", AuthorizationState::Unknown, 100)]),
                at(vec![held("card", AuthorizationState::Voided, 100)]),
            )
        })
        .collect();
    // Authorized, unknown, let go.
    assert_eq!(
        table.join("\n"),
        "\
open at minute 59: Yes, remaining 0.00 CNY, []; query; authorize card 1.00 CNY 2
open at minute 60: void: the order may be paid no more since 2026-03-31T13:00:00+00:00; query; No, remaining 1.00 CNY, [\"order_expired\"]
in_review at minute 60: wait: an order of the group is in review past its deadline; query; wait: an order of the group is in review past its deadline
expiring at minute 0: void: the order may be paid no more since 2026-03-31T13:00:00+00:00; query; No, remaining 1.00 CNY, [\"order_expired\"]
expired at minute 0: void: the order expired; query; No, remaining 1.00 CNY, [\"order_expired\"]
cancelled at minute 0: void: the order was cancelled; query; No, remaining 1.00 CNY, [\"order_cancelled\"]
paid at minute 0: Yes, remaining 0.00 CNY, []; query; Yes, remaining 0.00 CNY, []"
    );
}

#[test]
fn what_is_held_for_an_order_paid_in_another_way_is_let_go() {
    let mut order = snapshot(100, vec![method("card", None)]);
    order.authorizations = vec![held("card", AuthorizationState::Authorized, 100)];
    order.is_paid_elsewhere = true;
    assert_eq!(
        story(&mut order, &[]),
        "\
void: the order was paid in another way
Yes, remaining 0.00 CNY, []"
    );
}

#[test]
fn what_contradicts_the_order_is_refused() {
    let mut wrong = snapshot(100, vec![method("card", None)]);
    wrong.orders = vec![order(OrderState::Open, 100)];
    wrong.merchant_id = "M-2".parse().unwrap();
    let refused = decide(&wrong, noon()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "order O-1 is merchant M-1's, not M-2's"
    );
    wrong.merchant_id = "M-1".parse().unwrap();
    wrong.total = Money::from_minor(100, Currency::parse("EUR").unwrap());
    let refused = decide(&wrong, noon()).unwrap_err();
    assert_eq!(
        refused.to_string(),
        "order O-1 is in CNY, but the job is in EUR"
    );
}

fn any_fate() -> impl Strategy<Value = Fate> {
    prop_oneof![
        Just(Fate::Held),
        Just(Fate::Taken),
        Just(Fate::Declined),
        Just(Fate::LostThenHeld),
        Just(Fate::LostThenDeclined),
    ]
}

proptest! {
    #[test]
    fn every_story_ends_with_what_is_held_and_what_remains_being_the_total(
        total in 1_i64..10_000,
        maxima in proptest::collection::vec(proptest::option::of(0_i64..5_000), 0..6),
        fates in proptest::collection::vec(any_fate(), 0..6),
    ) {
        let methods: Vec<PaymentMethod> = maxima
            .iter()
            .enumerate()
            .map(|(index, maximum)| method(&format!("m{index}"), *maximum))
            .collect();
        let mut order = snapshot(total, methods.clone());
        let steps = play(&mut order, &fates);
        let Some(Step::Answer(answer)) = steps.last() else {
            panic!("no answer: {steps:#?}");
        };
        let remaining = answer.remaining_to_authorize.0.minor_units();
        let held: i64 = answer.authorizations.iter().map(|it| it.amount.0.minor_units()).sum();
        prop_assert_eq!(held + remaining, total);
        prop_assert_eq!(answer.successful == YesOrNo::Yes, remaining == 0);
        // Nobody was asked twice, and nobody for more than he may be.
        let mut asked = BTreeSet::new();
        for step in &steps {
            if let Step::Authorize(share, _) = step {
                prop_assert!(asked.insert(share.method_id.clone()));
                let method = methods.iter().find(|it| it.method_id == share.method_id).unwrap();
                if let Some(Amount(maximum)) = method.maximum_charge {
                    prop_assert!(share.amount.minor_units() <= maximum.minor_units());
                }
            }
        }
        // The same question again has the same answer.
        prop_assert_eq!(Step::Answer(answer.clone()), decide(&order, noon()).unwrap());
    }

    #[test]
    fn an_order_that_is_over_ends_with_nothing_held(
        amounts in proptest::collection::vec(1_i64..1_000, 0..5), is_cancelled: bool,
    ) {
        let state = if is_cancelled { OrderState::Cancelled } else { OrderState::Expired };
        let mut over = snapshot(5_000, Vec::new());
        over.orders = vec![order(state, 5_000)];
        over.authorizations = amounts
            .iter()
            .enumerate()
            .map(|(index, amount)| held(&format!("m{index}"), AuthorizationState::Authorized, *amount))
            .collect();
        let steps = play(&mut over, &[]);
        prop_assert_eq!(steps.len(), amounts.len() + 1);
        prop_assert!(over.authorizations.iter().all(|it| !it.authorization.state.is_live()));
    }
}
