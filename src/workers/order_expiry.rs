//! Carries out the end of an order that nobody paid for in time.
//!
//! Loads the group, asks `domain/order_expiry.rs` for the next step, does it, and loads again,
//! until the group is settled or there is something to wait for. Every step is a transaction of
//! its own, so a crash between any two is taken up where it stopped.

use chrono::TimeDelta;
use clearday_jobs::{OrderExpiry, OrderNo};
use tracing::warn;

use super::Workbench;
use super::calls::{self, Learned, as_json, channel_failure, intend_close, learn, observed};
use crate::connectors::{Channel, DeclineCode, Evidence, PaymentState, QueryAnswer, Receipt};
use crate::domain::operation::{Operation, OperationState};
use crate::domain::order::{Order, OrderEvent, PaymentReference};
use crate::domain::order_expiry::{
    ChannelView, CloseDecision, ClosePromises, ExpiryDecision, GroupSnapshot, ask_again_at,
    decide_close, decide_expiry, group_total,
};
use crate::engine::{Finished, Run, RunTx, WorkError};
use crate::store::operations;
use crate::store::orders::{self, OrderChange, ReferencePayment};

/// Steps one run may take: a group has at most a few dozen references with a few steps each, so
/// more than this is a fault that must not spin.
const STEPS_MAX: usize = 1_000;

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
    for _ in 0..STEPS_MAX {
        let group = load(run, &asked.order_no).await?;
        if let Step::Ended(finished) = take_step(bench, run, &group).await? {
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

async fn take_step(bench: &Workbench, run: &Run, group: &GroupSnapshot) -> Result<Step, WorkError> {
    match decide_expiry(group, run.now()) {
        ExpiryDecision::Settled(reason) => {
            let tx = run.begin().await?;
            run.done(tx, reason).await.map(Step::Ended)
        }
        ExpiryDecision::Snooze(until, reason) => {
            let tx = run.begin().await?;
            run.snooze(tx, until, &reason).await.map(Step::Ended)
        }
        ExpiryDecision::BeginExpiring => {
            let mut tx = run.begin().await?;
            let reason = "the deadline came: no payment may start";
            move_live(run, &mut tx, group, OrderEvent::BeginExpiry, reason).await?;
            run.checkpoint(tx).await?;
            Ok(Step::Again)
        }
        ExpiryDecision::Query(reference, last) => {
            close_reference(bench, run, group, &reference, last.as_ref()).await
        }
        ExpiryDecision::TakePayment => {
            let mut tx = run.begin().await?;
            let reason = "a payment reference was paid at the channel";
            move_live(run, &mut tx, group, OrderEvent::Pay, reason).await?;
            let note = "paid at the channel: the payment was taken, the order not expired";
            run.done(tx, note).await.map(Step::Ended)
        }
        ExpiryDecision::Expire => {
            let mut tx = run.begin().await?;
            let reason = "every reference issued for it is proved closed";
            move_live(run, &mut tx, group, OrderEvent::Expire, reason).await?;
            run.done(tx, "expired").await.map(Step::Ended)
        }
    }
}

/// Moves every live member of the group together, or none.
async fn move_live(
    run: &Run,
    tx: &mut RunTx,
    group: &GroupSnapshot,
    event: OrderEvent,
    reason: &str,
) -> Result<(), WorkError> {
    let now = run.now();
    let live = group.orders.iter().filter(|order| !order.state.is_final());
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

/// Brings one reference a step nearer to its proof: asks the channel, then does what follows.
async fn close_reference(
    bench: &Workbench,
    run: &Run,
    group: &GroupSnapshot,
    reference: &PaymentReference,
    last: Option<&Operation>,
) -> Result<Step, WorkError> {
    let channel =
        bench
            .channels
            .find(&reference.channel)
            .ok_or_else(|| WorkError::Unavailable {
                what: format!("channel {}", reference.channel),
                reason: "it is not configured: add it under [[channels]]".to_owned(),
            })?;
    let answer = match channel.query(&reference.reference).await {
        Ok(answer) => answer,
        Err(error) => return query_failed(run, channel, last, &error).await,
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
        expiring_since(group, run),
        run.now(),
    );
    match decision {
        CloseDecision::RecordClosed => {
            record_closed(run, reference, last, &answer.evidence).await?;
            Ok(Step::Again)
        }
        CloseDecision::RecordPaid => {
            record_paid(run, group, reference, last, &answer).await?;
            Ok(Step::Again)
        }
        CloseDecision::Close { generation } => {
            let operation = intend_close(run, channel, &reference.reference, generation).await?;
            make_close(run, channel, reference, &operation).await
        }
        CloseDecision::Replay(operation) => make_close(run, channel, reference, &operation).await,
        CloseDecision::GiveUp(operation) => {
            let proof = observed(
                "still payable after the channel's processing window: the call had no effect",
                run.now(),
            );
            let detail = "given up: proved without effect";
            learn(
                run,
                &operation,
                OperationState::Declined,
                detail,
                Some(&proof),
            )
            .await?;
            Ok(Step::Again)
        }
        CloseDecision::Wait(until, reason) => {
            let tx = run.begin().await?;
            run.snooze(tx, until, &reason).await.map(Step::Ended)
        }
    }
}

/// A query changes nothing and may be asked again. With a call in the open the job must not run
/// out of attempts, so it waits instead of failing.
async fn query_failed(
    run: &Run,
    channel: &Channel,
    last: Option<&Operation>,
    error: &crate::connectors::ChannelError,
) -> Result<Step, WorkError> {
    let failure = channel_failure(channel, error);
    match (last, &failure) {
        (Some(operation), WorkError::Unavailable { .. }) if !operation.state.is_final() => {
            let tx = run.begin().await?;
            let until = ask_again_at(run.now());
            run.snooze(tx, until, &failure.to_string())
                .await
                .map(Step::Ended)
        }
        _ => Err(failure),
    }
}

async fn make_close(
    run: &Run,
    channel: &Channel,
    reference: &PaymentReference,
    operation: &Operation,
) -> Result<Step, WorkError> {
    match calls::close(run, channel, operation).await? {
        Learned::Succeeded(evidence) => {
            record_closed(run, reference, None, &evidence).await?;
            Ok(Step::Again)
        }
        Learned::Declined(code) => match code {
            // Somebody was faster: the next query tells who.
            DeclineCode::OrderPaid | DeclineCode::OrderClosed | DeclineCode::PaymentNotFound => {
                Ok(Step::Again)
            }
            DeclineCode::Other(code) => Err(WorkError::Invalid(format!(
                "channel {} refuses to close {} with {code}: ask the channel, then retry",
                channel.name(),
                reference.reference
            ))),
        },
        Learned::Unknown => {
            let tx = run.begin().await?;
            let note = format!(
                "the answer to {} was lost; the channel is asked",
                operation.idempotency_key
            );
            let until = ask_again_at(run.now());
            run.snooze(tx, until, &note).await.map(Step::Ended)
        }
    }
}

/// Records that a reference is proved closed, and that an open call about it succeeded.
async fn record_closed(
    run: &Run,
    reference: &PaymentReference,
    last: Option<&Operation>,
    evidence: &Evidence,
) -> Result<(), WorkError> {
    let mut tx = run.begin().await?;
    let proof = as_json(evidence)?;
    settle_operation(run, &mut tx, last, OperationState::Succeeded, &proof).await?;
    orders::close_reference(&mut tx, reference, &proof, run.now()).await?;
    run.checkpoint(tx).await
}

/// Records that a reference is proved paid, if the money is what the group owes.
async fn record_paid(
    run: &Run,
    group: &GroupSnapshot,
    reference: &PaymentReference,
    last: Option<&Operation>,
    answer: &QueryAnswer,
) -> Result<(), WorkError> {
    let PaymentState::Paid(receipt) = &answer.state else {
        return Err(WorkError::Invalid("no receipt in a paid answer".to_owned()));
    };
    check_receipt(group, reference, receipt)?;
    let mut tx = run.begin().await?;
    let proof = as_json(&answer.evidence)?;
    settle_operation(run, &mut tx, last, OperationState::Declined, &proof).await?;
    let payment = ReferencePayment {
        amount: receipt.amount,
        channel_trade_no: &receipt.channel_trade_no,
        paid_at: receipt.paid_at,
        evidence: &proof,
    };
    orders::pay_reference(&mut tx, reference, &payment, run.now()).await?;
    run.checkpoint(tx).await
}

/// Money that is not what was asked for is not taken in silence: the job is buried with both
/// amounts, the orders stay expiring, and nothing else can be paid meanwhile.
fn check_receipt(
    group: &GroupSnapshot,
    reference: &PaymentReference,
    receipt: &Receipt,
) -> Result<(), WorkError> {
    let live: Vec<Order> = group
        .orders
        .iter()
        .filter(|order| !order.state.is_final())
        .cloned()
        .collect();
    let owed = group_total(&live).map_err(|order| {
        WorkError::Invalid(format!(
            "order {order} is in another currency than its group"
        ))
    })?;
    match owed {
        Some(owed) if owed == receipt.amount => Ok(()),
        Some(owed) => {
            warn!(reference = %reference.reference, "Reference {} was paid with another amount than owed", reference.reference);
            Err(WorkError::Invalid(format!(
                "reference {} was paid with {} but {owed} is owed: settle it with the payer, then retry",
                reference.reference, receipt.amount
            )))
        }
        None => Err(WorkError::Invalid("a group without members".to_owned())),
    }
}

async fn settle_operation(
    run: &Run,
    tx: &mut RunTx,
    last: Option<&Operation>,
    state: OperationState,
    proof: &str,
) -> Result<(), WorkError> {
    if let Some(operation) = last.filter(|operation| !operation.state.is_final()) {
        let detail = "closed by the answer to a query";
        operations::learn(tx, operation.id, state, detail, Some(proof), run.now()).await?;
    }
    Ok(())
}

/// When the last member became expiring: from then on nobody could start a payment.
fn expiring_since(group: &GroupSnapshot, run: &Run) -> chrono::DateTime<chrono::Utc> {
    let live = group.orders.iter().filter(|order| !order.state.is_final());
    live.map(|order| order.updated_at)
        .max()
        .unwrap_or_else(|| run.now())
}

const fn view(state: &PaymentState) -> ChannelView {
    match state {
        PaymentState::NotPaid => ChannelView::NotPaid,
        PaymentState::Paid(_) => ChannelView::Paid,
        PaymentState::Closed => ChannelView::Closed,
        PaymentState::NotFound => ChannelView::NotFound,
    }
}
