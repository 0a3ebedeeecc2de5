//! Carries out the authorization of an order that was accepted before anybody could authorize it.
//!
//! Loads all that is known, asks `domain/deferred_authorization` for the next step, does it, and loads again, until
//! there is an answer or something to wait for. An outage of a channel burns no attempt: waiting is what this job is
//! for.

use chrono::{DateTime, Utc};
use clearday_jobs::{
    Amount, AuthorizationAnswer, ChannelName, DeferredAuthorization, Money, PaymentMethod,
    Reference, YesOrNo,
};

use super::Workbench;
use super::authorizing::{Desk, Seen};
use super::calls::{Intent, intend};
use super::messages::{Callback, Delivery, callback, deliver_callbacks};
use super::order_expiry::move_live;
use crate::connectors::Channel;
use crate::domain::authorization::{
    Authorization, AuthorizationState, AuthorizationWithCall, reference_for,
};
use crate::domain::deferred_authorization::allocation::Share;
use crate::domain::deferred_authorization::{Abilities, ChannelStanding, Snapshot, Step, decide};
use crate::domain::operation::OperationKind;
use crate::domain::order::{OrderEvent, OrderState};
use crate::engine::{Finished, Run, WorkError};
use crate::store::{authorizations, orders};

/// Steps one run may take: twenty methods with a few steps each, so more than this is a fault that must not spin.
const STEPS_MAX: usize = 1_000;

/// The `type` of what is posted to the order's callback.
const CALLBACK_EVENT: &str = "deferred_authorization.answered";

/// What is known, and on which version of it is decided.
struct Loaded {
    snapshot: Snapshot,
    plan_version: i64,
    /// What the job answered, once it has.
    answer: Option<AuthorizationAnswer>,
}

/// Runs one job to its recorded end.
pub(super) async fn run(
    bench: &Workbench,
    run: &Run,
    asked: &DeferredAuthorization,
) -> Result<Finished, WorkError> {
    let mut seen = Seen::default();
    for _ in 0..STEPS_MAX {
        let loaded = load(bench, run, asked, &seen).await?;
        if let Some(answer) = &loaded.answer {
            return tell(bench, run, asked, answer).await;
        }
        let step = decide(&loaded.snapshot, run.now())
            .map_err(|contradiction| WorkError::Invalid(contradiction.to_string()))?;
        match step {
            Step::Wait(until, reason) => {
                let tx = run.begin().await?;
                return run.snooze(tx, until, &reason).await;
            }
            Step::Answer(answer) => keep(run, asked, &answer).await?,
            step @ (Step::Query(_)
            | Step::Suspend(..)
            | Step::Authorize(..)
            | Step::Void(..)
            | Step::ReverseExcess(..)
            | Step::Pay) => take_step(bench, run, asked, &loaded, &mut seen, step).await?,
        }
    }
    Err(WorkError::Invalid(format!(
        "order {} is not authorized after {STEPS_MAX} steps",
        asked.order.order_no
    )))
}

async fn take_step(
    bench: &Workbench,
    run: &Run,
    asked: &DeferredAuthorization,
    loaded: &Loaded,
    seen: &mut Seen,
    step: Step,
) -> Result<(), WorkError> {
    let desk = desk(bench, run, &loaded.snapshot);
    let order_no = &asked.order.order_no;
    match step {
        Step::Query(reference) => desk.ask(seen, find(loaded, &reference)?).await,
        Step::Void(reference, reason) => {
            let found = find(loaded, &reference)?;
            let nothing = Money::from_minor(0, found.authorization.amount.currency());
            desk.let_go(seen, found, nothing, &reason).await
        }
        Step::ReverseExcess(reference, keep) => {
            let reason = format!("the order owes less than is held: {keep} stays");
            desk.let_go(seen, find(loaded, &reference)?, keep, &reason)
                .await
        }
        Step::Suspend(method_id, suspension) => {
            let mut tx = run.begin().await?;
            let (job, now) = (run.job().id, run.now());
            authorizations::suspend(&mut tx, order_no, &method_id, &suspension, job, now).await?;
            run.checkpoint(tx).await
        }
        Step::Authorize(share, number) => {
            authorize(&desk, asked, loaded, seen, &share, number).await
        }
        Step::Pay => {
            let mut tx = run.begin().await?;
            let reason = "all that it owes was taken by its payment methods";
            let orders = &loaded.snapshot.orders;
            move_live(run, &mut tx, orders, OrderEvent::Pay, reason).await?;
            run.checkpoint(tx).await
        }
        Step::Wait(..) | Step::Answer(_) => Ok(()),
    }
}

async fn load(
    bench: &Workbench,
    run: &Run,
    asked: &DeferredAuthorization,
    seen: &Seen,
) -> Result<Loaded, WorkError> {
    let order = &asked.order;
    let mut tx = run.read().await?;
    let group = orders::load_group(&mut tx, &order.order_no).await?;
    let plan_version = authorizations::plan_version(&mut tx, &order.order_no).await?;
    let suspended = authorizations::suspended(&mut tx, &order.order_no).await?;
    let answer = authorizations::answer_of(&mut tx, run.job().id).await?;
    let held = if group.orders.is_empty() {
        authorizations::of_order(&mut tx, &order.order_no).await?
    } else {
        group.authorizations.clone()
    };
    drop(tx);
    let channels = asked
        .methods
        .iter()
        .map(|method| &method.channel)
        .chain(held.iter().map(|it| &it.authorization.channel))
        .map(|name| (name.clone(), standing(bench, seen, name)))
        .collect();
    Ok(Loaded {
        snapshot: Snapshot {
            order_no: order.order_no.clone(),
            merchant_id: order.merchant_id.clone(),
            total: order.total.into(),
            methods: asked.methods.clone(),
            is_paid_elsewhere: group.is_paid_by_reference(),
            orders: group.orders,
            authorizations: held,
            suspended,
            channels,
            asked: seen.asked.clone(),
            rules: bench.charging.as_ref().clone(),
        },
        plan_version,
        answer: answer.as_deref().map(read_answer).transpose()?,
    })
}

fn standing(bench: &Workbench, seen: &Seen, name: &ChannelName) -> ChannelStanding {
    ChannelStanding {
        abilities: bench.channels.find(name).map(abilities),
        hold: seen.holds.get(name).cloned(),
    }
}

fn abilities(channel: &Channel) -> Abilities {
    let capabilities = channel.capabilities();
    Abilities {
        authorize: capabilities.authorize,
        charge: capabilities.charge,
        void: capabilities.void,
        reduce: capabilities.reduce,
    }
}

fn desk<'a>(bench: &'a Workbench, run: &'a Run, snapshot: &'a Snapshot) -> Desk<'a> {
    let is_over = |state: OrderState| match state {
        OrderState::Expired | OrderState::Cancelled => true,
        OrderState::Open | OrderState::InReview | OrderState::Expiring | OrderState::Paid => false,
    };
    let own = snapshot.own_order();
    let is_late = snapshot.is_paid_elsewhere || own.is_some_and(|order| is_over(order.state));
    Desk {
        bench,
        run,
        orders: &snapshot.orders,
        is_wanted: snapshot.is_payable(run.now()),
        is_late,
    }
}

fn find<'a>(
    loaded: &'a Loaded,
    reference: &Reference,
) -> Result<&'a AuthorizationWithCall, WorkError> {
    let mut all = loaded.snapshot.authorizations.iter();
    all.find(|it| it.authorization.reference == *reference)
        .ok_or_else(|| WorkError::Invalid(format!("there is no authorization {reference}")))
}

/// Writes the authorization and its call down, if nothing has changed since it was decided, and makes the call.
async fn authorize(
    desk: &Desk<'_>,
    asked: &DeferredAuthorization,
    loaded: &Loaded,
    seen: &mut Seen,
    share: &Share,
    number: u32,
) -> Result<(), WorkError> {
    let run = desk.run;
    let method = asked
        .methods
        .iter()
        .find(|method| method.method_id == share.method_id)
        .ok_or_else(|| WorkError::Invalid(format!("there is no method {}", share.method_id)))?;
    let Some(channel) = desk.admitted(seen, &method.channel) else {
        return Ok(());
    };
    channel.wait_for_turn().await;
    let now = run.now();
    let new = intended(asked, method, share, number, now)?;
    let order_no = &asked.order.order_no;
    let mut tx = run.begin().await?;
    let is_next = authorizations::move_plan(&mut tx, order_no, loaded.plan_version, now).await?;
    if !is_next || !loaded.snapshot.is_payable(now) {
        return Err(WorkError::LostRace(format!("order {order_no}")));
    }
    // The orders stay locked until the intent is committed.
    desk.hold_orders(&mut tx, order_no).await?;
    authorizations::insert(&mut tx, &new, run.job().id, now).await?;
    let intent = Intent {
        kind: OperationKind::Authorize,
        channel: &new.channel,
        reference: &new.reference,
        generation: 1,
    };
    let call = intend(run, &mut tx, intent).await?;
    run.checkpoint(tx).await?;
    let found = AuthorizationWithCall {
        authorization: new,
        call: Some(call.clone()),
    };
    desk.authorize(seen, channel, &found, &method.token, &call)
        .await
}

fn intended(
    asked: &DeferredAuthorization,
    method: &PaymentMethod,
    share: &Share,
    number: u32,
    now: DateTime<Utc>,
) -> Result<Authorization, WorkError> {
    let order = &asked.order;
    let reference = reference_for(&order.order_no, &method.method_id, number)
        .map_err(|error| WorkError::Invalid(error.to_string()))?;
    Ok(Authorization {
        reference,
        channel: method.channel.clone(),
        order_no: order.order_no.clone(),
        merchant_id: order.merchant_id.clone(),
        method_id: method.method_id.clone(),
        group: method.group,
        number,
        capture: method.capture,
        amount: share.amount,
        keep: None,
        state: AuthorizationState::Intended,
        version: 1,
        because: share.because.to_string(),
        is_surplus_told: false,
        updated_at: now,
    })
}

/// Keeps the answer, and the callback that tells it, in one transaction.
async fn keep(
    run: &Run,
    asked: &DeferredAuthorization,
    answer: &AuthorizationAnswer,
) -> Result<(), WorkError> {
    let mut tx = run.begin().await?;
    authorizations::keep_answer(&mut tx, run.job().id, answer, run.now()).await?;
    if let Some(url) = &asked.callback_url {
        let data = serde_json::to_value(answer)
            .map_err(|error| WorkError::Invalid(format!("the answer cannot be told: {error}")))?;
        let told = Callback {
            order_no: &answer.order_no,
            url,
            event: CALLBACK_EVENT,
            step: "answer",
            data: &data,
        };
        callback(run, &mut tx, told).await?;
    }
    run.checkpoint(tx).await
}

/// Tells upstream the answer where it wants to be told, and ends the job. The answer stands whatever becomes of that.
async fn tell(
    bench: &Workbench,
    run: &Run,
    asked: &DeferredAuthorization,
    answer: &AuthorizationAnswer,
) -> Result<Finished, WorkError> {
    let note = note(answer);
    if asked.callback_url.is_none() {
        let tx = run.begin().await?;
        return run.done(tx, &note).await;
    }
    let delivery = deliver_callbacks(bench, run).await?;
    let tx = run.begin().await?;
    match delivery {
        Delivery::Waits(until, reason) => {
            let reason = format!("{note}; telling upstream: {reason}");
            run.snooze(tx, until, &reason).await
        }
        Delivery::Settled(story) => {
            run.done(tx, &format!("{note}; telling upstream: {story}"))
                .await
        }
    }
}

fn read_answer(text: &str) -> Result<AuthorizationAnswer, WorkError> {
    serde_json::from_str(text)
        .map_err(|error| WorkError::Invalid(format!("the answer cannot be read: {error}")))
}

fn note(answer: &AuthorizationAnswer) -> String {
    match answer.successful {
        YesOrNo::Yes => "authorized".to_owned(),
        YesOrNo::No => {
            let Amount(remaining) = answer.remaining_to_authorize;
            let why: Vec<&str> = answer.errors.iter().map(|it| it.code.as_str()).collect();
            format!("not authorized: {remaining} remain ({})", why.join(", "))
        }
    }
}
