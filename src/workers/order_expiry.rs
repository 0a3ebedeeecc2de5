//! Carries out the end of an order that nobody paid for in time.
//!
//! Loads the group, asks `domain/order_expiry.rs` for the next step, does it, and loads again,
//! until the group is settled or there is something to wait for. Every step is a transaction of
//! its own, so a crash between any two is taken up where it stopped.

use chrono::{DateTime, TimeDelta, Utc};
use clearday_jobs::{Money, OrderExpiry, OrderNo};
use tracing::warn;

use super::Workbench;
use super::authorizing::{Desk, Seen};
use super::calls::{
    Intent, Learned, as_json, channel_failure, conclude, intend, kept_back, learn, observed,
    sort_answer,
};
use super::money::{Received, book_late_money, record_payment};
use crate::connectors::{
    Channel, ChannelError, DeclineCode, Evidence, PaymentState, QueryAnswer, Receipt,
};
use crate::domain::authorization::{Authorization, AuthorizationWithCall};
use crate::domain::breaker::Admission;
use crate::domain::operation::{Operation, OperationKind, OperationState};
use crate::domain::order::{Order, OrderEvent, PaymentReference};
use crate::domain::order_expiry::{
    ChannelView, CloseDecision, ClosePromises, ExpiryDecision, GroupSnapshot, ReceiptDecision,
    ask_again_at, decide_close, decide_expiry, decide_receipt, settled_reason,
};
use crate::engine::{Effects, Finished, Run, RunTx, WorkError};
use crate::store::orders::{self, OrderChange, ReferencePayment};
use crate::store::{authorizations, operations};

/// Steps one run may take: a group has at most a few dozen references with a few steps each, so
/// more than this is a fault that must not spin.
const STEPS_MAX: usize = 1_000;

/// How the outcome of a call became known that its own answer did not tell.
const BY_QUERY: &str = "closed by the answer to a query";

/// What a step leaves to do.
enum Step {
    Again,
    Ended(Finished),
}

/// Runs one job to its recorded end.
pub(super) async fn run(
    bench: &Workbench,
    run: &Run,
    asked: &OrderExpiry,
) -> Result<Finished, WorkError> {
    let mut seen = Seen::default();
    for _ in 0..STEPS_MAX {
        let group = load(run, &asked.order_no).await?;
        if let Step::Ended(finished) = take_step(bench, run, &group, &mut seen).await? {
            return Ok(finished);
        }
    }
    Err(WorkError::Invalid(format!(
        "order {} is not settled after {STEPS_MAX} steps",
        asked.order_no
    )))
}

async fn load(run: &Run, order_no: &OrderNo) -> Result<GroupSnapshot, WorkError> {
    let mut tx = run.read().await?;
    let group = orders::load_group(&mut tx, order_no).await?;
    if group.orders.is_empty() {
        // It may still be on its way: the upstream system sends orders and jobs by two roads.
        return Err(WorkError::Unavailable {
            what: format!("order {order_no}"),
            reason: "it is not known yet: import it with `clearday import --type orders`"
                .to_owned(),
        });
    }
    Ok(group)
}

async fn take_step(
    bench: &Workbench,
    run: &Run,
    group: &GroupSnapshot,
    seen: &mut Seen,
) -> Result<Step, WorkError> {
    match decide_expiry(group, run.now()) {
        ExpiryDecision::Settled(reason) => {
            run.end(Effects::default(), reason).await.map(Step::Ended)
        }
        ExpiryDecision::Snooze(until, reason) => {
            let tx = run.begin().await?;
            run.snooze(tx, until, &reason).await.map(Step::Ended)
        }
        ExpiryDecision::BeginExpiring => {
            let mut tx = run.begin().await?;
            let reason = "the deadline came: no payment may start";
            move_live(run, &mut tx, &group.orders, OrderEvent::BeginExpiry, reason).await?;
            run.checkpoint(tx).await?;
            Ok(Step::Again)
        }
        ExpiryDecision::Query(open) => close_references(bench, run, group, &open).await,
        ExpiryDecision::LetGo(held) => let_go(bench, run, group, &held, seen).await,
        ExpiryDecision::TellSurplus(surplus) => tell_surplus(run, group, &surplus).await,
        ExpiryDecision::TakePayment => {
            let mut tx = run.begin().await?;
            let reason = if group.is_paid_by_reference() {
                "a payment reference was paid at the channel"
            } else {
                "all that it owes was taken by its payment methods"
            };
            move_live(run, &mut tx, &group.orders, OrderEvent::Pay, reason).await?;
            run.checkpoint(tx).await?;
            Ok(Step::Again)
        }
        ExpiryDecision::Expire => {
            let mut tx = run.begin().await?;
            let reason =
                "every reference issued for it is proved closed, and nothing is held for it";
            move_live(run, &mut tx, &group.orders, OrderEvent::Expire, reason).await?;
            if group.has_untold_surplus() {
                run.checkpoint(tx).await?;
                return Ok(Step::Again);
            }
            run.done(tx, "expired").await.map(Step::Ended)
        }
    }
}

/// Moves every live member of the group together, or none.
pub(super) async fn move_live(
    run: &Run,
    tx: &mut RunTx,
    orders: &[Order],
    event: OrderEvent,
    reason: &str,
) -> Result<(), WorkError> {
    let now = run.now();
    let live = orders.iter().filter(|order| !order.state.is_final());
    for order in live {
        // A member that is further along already (expiring while others are open) stays there.
        let Some(state) = order.state.after(event) else {
            continue;
        };
        let change = OrderChange {
            order,
            state,
            expires_at: order.expires_at,
            reason,
            job_id: Some(run.job().id),
        };
        if !orders::apply(tx, change, now).await? {
            return Err(WorkError::LostRace(format!("order {}", order.order_no)));
        }
    }
    Ok(())
}

/// Brings everything that is held a step nearer to its proved end. What a channel that is not there holds does not
/// keep another from being let go.
async fn let_go(
    bench: &Workbench,
    run: &Run,
    group: &GroupSnapshot,
    held: &[AuthorizationWithCall],
    seen: &mut Seen,
) -> Result<Step, WorkError> {
    let mut has_progress = false;
    let mut waits = Vec::new();
    for found in held {
        let Authorization {
            channel, reference, ..
        } = &found.authorization;
        let known = |seen: &Seen| {
            let asked = seen.asked.get(reference);
            asked.or_else(|| seen.holds.get(channel)).cloned()
        };
        if known(seen).is_none() {
            let desk = Desk {
                bench,
                run,
                orders: &group.orders,
                is_wanted: false,
                is_late: group.owes_nothing_for(&found.authorization),
            };
            let capabilities = bench.channels.find(channel).map(Channel::capabilities);
            let may_void = capabilities.is_none_or(|capabilities| capabilities.void);
            if found.authorization.state.is_open() || !may_void {
                desk.ask(seen, found).await?;
            } else {
                let nothing = Money::from_minor(0, found.authorization.amount.currency());
                let reason = "the order may be paid no more";
                desk.let_go(seen, found, nothing, reason).await?;
            }
        }
        match known(seen) {
            Some(wait) => waits.push(wait),
            None => has_progress = true,
        }
    }
    let earliest = waits.into_iter().min_by_key(|(until, _)| *until);
    match earliest {
        Some((until, reason)) if !has_progress => {
            let tx = run.begin().await?;
            run.snooze(tx, until, &reason).await.map(Step::Ended)
        }
        Some(_) | None => Ok(Step::Again),
    }
}

/// Notes that a person is told, and tells by way of the dead letters.
async fn tell_surplus(
    run: &Run,
    group: &GroupSnapshot,
    surplus: &[Authorization],
) -> Result<Step, WorkError> {
    let mut tx = run.begin().await?;
    for authorization in surplus {
        authorizations::tell_surplus(&mut tx, authorization, run.now()).await?;
    }
    run.checkpoint(tx).await?;
    let told: Vec<String> = surplus
        .iter()
        .map(|it| format!("{} for authorization {}", it.amount, it.reference))
        .collect();
    Err(WorkError::Invalid(format!(
        "{} was taken although {}: give it back to the payer, then retry",
        told.join(" and "),
        settled_reason(group)
    )))
}

/// What became of one open reference in this pass.
enum Progress {
    /// It is a step nearer to its proof.
    Made,
    /// It was paid, so what the others mean has changed: look at the group again.
    Paid,
    /// Nobody knows yet; look again then.
    Waits(DateTime<Utc>, String),
}

/// Brings every open reference a step nearer to its proof. One whose channel is down does not keep
/// another from being found paid; only when none advanced does the run wait or fail.
async fn close_references(
    bench: &Workbench,
    run: &Run,
    group: &GroupSnapshot,
    open: &[(PaymentReference, Option<Operation>)],
) -> Result<Step, WorkError> {
    let mut has_progress = false;
    let mut wait: Option<(DateTime<Utc>, String)> = None;
    let mut failure = None;
    for (reference, last) in open {
        match close_reference(bench, run, group, reference, last.as_ref()).await {
            Ok(Progress::Made) => has_progress = true,
            Ok(Progress::Paid) => return Ok(Step::Again),
            Ok(Progress::Waits(until, reason)) => {
                if wait.as_ref().is_none_or(|(earliest, _)| until < *earliest) {
                    wait = Some((until, reason));
                }
            }
            Err(error @ WorkError::Unavailable { .. }) => {
                failure.get_or_insert(error);
            }
            Err(error) => return Err(error),
        }
    }
    match (has_progress, failure, wait) {
        (true, _, _) => Ok(Step::Again),
        (false, Some(failure), _) => Err(failure),
        (false, None, Some((until, reason))) => {
            let tx = run.begin().await?;
            run.snooze(tx, until, &reason).await.map(Step::Ended)
        }
        (false, None, None) => Err(WorkError::Invalid("no reference to close".to_owned())),
    }
}

/// Asks the channel about one reference, then does what follows.
async fn close_reference(
    bench: &Workbench,
    run: &Run,
    group: &GroupSnapshot,
    reference: &PaymentReference,
    last: Option<&Operation>,
) -> Result<Progress, WorkError> {
    let channel =
        bench
            .channels
            .find(&reference.channel)
            .ok_or_else(|| WorkError::Unavailable {
                what: format!("channel {}", reference.channel),
                reason: "it is not configured: add it under [[channels]]".to_owned(),
            })?;
    if let Admission::Wait(until) = channel.gate().admit() {
        let reason = kept_back(channel.name(), channel.gate(), until);
        return Ok(Progress::Waits(until, reason));
    }
    let answer = match channel.query(&reference.reference).await {
        Ok(answer) => answer,
        Err(error) => return query_failed(run, channel, last, &error),
    };
    let capabilities = channel.capabilities();
    let promises = ClosePromises {
        is_idempotent: capabilities.close_is_idempotent,
        processing_window: TimeDelta::from_std(capabilities.processing_window)
            .unwrap_or(TimeDelta::MAX),
    };
    let decision = decide_close(
        view(&answer.state),
        last,
        promises,
        unpayable_since(group, run),
        run.now(),
    );
    match decision {
        CloseDecision::RecordClosed => {
            let fate = OperationState::Succeeded;
            record_closed(run, reference, last, (fate, BY_QUERY), &answer.evidence).await
        }
        CloseDecision::RecordAbsent => {
            let fate = OperationState::Declined;
            record_closed(run, reference, last, (fate, BY_QUERY), &answer.evidence).await
        }
        CloseDecision::RecordPaid => record_paid(run, group, reference, last, &answer).await,
        CloseDecision::Close { generation } => {
            let intent = Intent {
                kind: OperationKind::Close,
                channel: channel.name(),
                reference: &reference.reference,
                generation,
            };
            channel.wait_for_turn().await;
            let mut tx = run.begin().await?;
            let operation = intend(run, &mut tx, intent).await?;
            run.checkpoint(tx).await?;
            make_close(run, channel, reference, &operation).await
        }
        CloseDecision::Replay(operation) => {
            channel.wait_for_turn().await;
            make_close(run, channel, reference, &operation).await
        }
        CloseDecision::GiveUp(operation) => {
            let proof = observed(
                "still payable after the channel's processing window: the call had no effect",
                run.now(),
            );
            let detail = "given up: proved without effect";
            let fate = OperationState::Declined;
            learn(run, &operation, fate, detail, Some(&proof)).await?;
            Ok(Progress::Made)
        }
        CloseDecision::Wait(until, reason) => Ok(Progress::Waits(until, reason)),
    }
}

/// A query changes nothing and may be asked again. With a call in the open the job must not run
/// out of attempts, so it waits instead of failing.
fn query_failed(
    run: &Run,
    channel: &Channel,
    last: Option<&Operation>,
    error: &ChannelError,
) -> Result<Progress, WorkError> {
    let failure = channel_failure(channel.name(), error);
    match last {
        Some(operation) if !operation.state.is_final() => {
            let until = ask_again_at(operation.intended_at, run.now());
            Ok(Progress::Waits(until, failure.to_string()))
        }
        Some(_) | None => Err(failure),
    }
}

async fn make_close(
    run: &Run,
    channel: &Channel,
    reference: &PaymentReference,
    operation: &Operation,
) -> Result<Progress, WorkError> {
    let answer = channel
        .close(&operation.reference, &operation.idempotency_key)
        .await;
    match sort_answer(run, operation, answer).await? {
        Learned::Succeeded(closed) => {
            let fate = OperationState::Succeeded;
            let detail = "confirmed by the channel";
            let evidence = &closed.evidence;
            record_closed(run, reference, Some(operation), (fate, detail), evidence).await
        }
        Learned::Declined(declined) => {
            let mut tx = run.begin().await?;
            let fate = (OperationState::Declined, declined.detail.as_str());
            conclude(run, &mut tx, operation, fate, &declined.evidence).await?;
            run.checkpoint(tx).await?;
            match declined.code {
                // Somebody was faster: the next query tells who.
                DeclineCode::OrderPaid
                | DeclineCode::OrderClosed
                | DeclineCode::PaymentNotFound => Ok(Progress::Made),
                DeclineCode::Other(code) => Err(WorkError::Invalid(format!(
                    "channel {} refuses to close {} with {code}: ask the channel, then retry",
                    channel.name(),
                    reference.reference
                ))),
            }
        }
        Learned::Unknown => {
            let note = format!(
                "the answer to {} was lost; the channel is asked",
                operation.idempotency_key
            );
            let until = ask_again_at(operation.intended_at, run.now());
            Ok(Progress::Waits(until, note))
        }
    }
}

/// Records that a reference is proved closed, together with the fate of an open call about it.
async fn record_closed(
    run: &Run,
    reference: &PaymentReference,
    last: Option<&Operation>,
    fate: (OperationState, &str),
    evidence: &Evidence,
) -> Result<Progress, WorkError> {
    let mut tx = run.begin().await?;
    let proof = as_json(evidence)?;
    settle_operation(run, &mut tx, last, fate, &proof).await?;
    orders::close_reference(&mut tx, reference, &proof, run.now()).await?;
    run.checkpoint(tx).await?;
    Ok(Progress::Made)
}

/// Records that a reference is proved paid, and what that means for an open call about it. Money
/// that nobody owes is recorded all the same and ends the job among the dead letters.
async fn record_paid(
    run: &Run,
    group: &GroupSnapshot,
    reference: &PaymentReference,
    last: Option<&Operation>,
    answer: &QueryAnswer,
) -> Result<Progress, WorkError> {
    let PaymentState::Paid(receipt) = &answer.state else {
        return Err(WorkError::Invalid("no receipt in a paid answer".to_owned()));
    };
    let decision = decide_receipt(group, reference, receipt.amount);
    let mut tx = run.begin().await?;
    let proof = as_json(&answer.evidence)?;
    let fate = (OperationState::Declined, BY_QUERY);
    settle_operation(run, &mut tx, last, fate, &proof).await?;
    match &decision {
        ReceiptDecision::Take => {
            // Who gets what of a payment for several merchants only upstream can tell.
            let merchant = group.sole_merchant();
            if take_receipt(run, &mut tx, reference, receipt, &proof).await?
                && let Some(merchant) = merchant
            {
                let received = received(reference, receipt, &proof);
                record_payment(run, &mut tx, merchant, received).await?;
            }
        }
        ReceiptDecision::TakeAsSurplus(_) => {
            if take_receipt(run, &mut tx, reference, receipt, &proof).await? {
                let received = received(reference, receipt, &proof);
                book_late_money(run, &mut tx, received).await?;
            }
        }
        ReceiptDecision::Refuse(_) => {}
    }
    run.checkpoint(tx).await?;
    match decision {
        ReceiptDecision::Take => Ok(Progress::Paid),
        ReceiptDecision::TakeAsSurplus(why) | ReceiptDecision::Refuse(why) => {
            warn!(reference = %reference.reference, "Money for reference {} needs a person", reference.reference);
            Err(WorkError::Invalid(why))
        }
    }
}

/// Records that a reference is paid; `false` when somebody recorded it before.
async fn take_receipt(
    run: &Run,
    tx: &mut RunTx,
    reference: &PaymentReference,
    receipt: &Receipt,
    proof: &str,
) -> Result<bool, WorkError> {
    let payment = ReferencePayment {
        amount: receipt.amount,
        channel_trade_no: &receipt.channel_trade_no,
        paid_at: receipt.paid_at,
        evidence: proof,
    };
    Ok(orders::pay_reference(tx, reference, &payment, run.now()).await?)
}

fn received<'a>(
    reference: &'a PaymentReference,
    receipt: &'a Receipt,
    evidence: &'a str,
) -> Received<'a> {
    Received {
        channel: &reference.channel,
        reference: &reference.reference,
        channel_trade_no: &receipt.channel_trade_no,
        amount: receipt.amount,
        paid_at: receipt.paid_at,
        evidence,
    }
}

async fn settle_operation(
    run: &Run,
    tx: &mut RunTx,
    last: Option<&Operation>,
    (state, detail): (OperationState, &str),
    proof: &str,
) -> Result<(), WorkError> {
    if let Some(operation) = last.filter(|operation| !operation.state.is_final()) {
        operations::learn(tx, operation.id, state, detail, Some(proof), run.now()).await?;
    }
    Ok(())
}

/// When the last member became such that nobody could start a payment.
fn unpayable_since(group: &GroupSnapshot, run: &Run) -> DateTime<Utc> {
    let changes = group.orders.iter().map(|order| order.updated_at);
    changes.max().unwrap_or_else(|| run.now())
}

const fn view(state: &PaymentState) -> ChannelView {
    match state {
        PaymentState::NotPaid => ChannelView::NotPaid,
        PaymentState::Paid(_) => ChannelView::Paid,
        PaymentState::Closed => ChannelView::Closed,
        PaymentState::NotFound => ChannelView::NotFound,
    }
}
