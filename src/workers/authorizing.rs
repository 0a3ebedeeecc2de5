//! Calls about authorizations: asking what became of one, letting one go, and recording what is proved.
//!
//! Shared by the job that authorizes and the one that ends an order. Every step is a transaction of its own and is
//! taken up after a crash by loading and deciding again. What a run saw itself, and no database keeps, is in [`Seen`].

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use clearday_jobs::{ChannelName, JobKind, Money, OrderNo, Payload, Reference, Token};
use tracing::info;

use super::Workbench;
use super::calls::{
    Intent, Learned, as_json, channel_failure, conclude, in_time, intend, is_own_objection,
    kept_back, learn, sort_answer,
};
use super::money::{Received, book_late_money, record_payment};
use crate::connectors::{
    Channel, ChannelError, Evidence, HoldAnswer, HoldOrder, HoldState, Receipt,
};
use crate::domain::authorization::{
    Authorization, AuthorizationEvent, AuthorizationState, AuthorizationWithCall, CallPromises,
    Finding, HoldView, fate_of_call, weigh,
};
use crate::domain::breaker::Admission;
use crate::domain::china::china_day;
use crate::domain::deferred_authorization::{Suspension, SuspensionCode};
use crate::domain::ledger::events::{self, Occasion};
use crate::domain::operation::{Operation, OperationKind, OperationState};
use crate::domain::order::Order;
use crate::domain::order_expiry::ask_again_at;
use crate::engine::{Run, RunTx, WorkError};
use crate::store::authorizations::{self, AuthorizationChange};
use crate::store::ledger::{self, JobContext};
use crate::store::{jobs, operations, orders};

/// What is noted before a call is made once more.
const RESENT: &str = "sent again under the same key";

/// When to look again, and what is waited for.
pub(super) type Wait = (DateTime<Utc>, String);

/// What this run saw itself.
#[derive(Debug, Default)]
pub(super) struct Seen {
    /// Authorizations that were asked about without a proof.
    pub(super) asked: BTreeMap<Reference, Wait>,
    /// Channels that are not to be called now.
    pub(super) holds: BTreeMap<ChannelName, Wait>,
}

/// On what behalf calls are made.
#[derive(Clone, Copy, Debug)]
pub(super) struct Desk<'a> {
    pub(super) bench: &'a Workbench,
    pub(super) run: &'a Run,
    /// The orders of the group, as decisions found them.
    pub(super) orders: &'a [Order],
    /// Whether the order's money is still to be held.
    pub(super) is_wanted: bool,
    /// Whether money that was taken is owed by nobody any more.
    pub(super) is_late: bool,
}

/// What is proved of an authorization.
#[derive(Debug)]
struct Proof<'a> {
    event: AuthorizationEvent,
    state: &'a HoldState,
    detail: &'a str,
    evidence: &'a Evidence,
}

impl Desk<'_> {
    /// Locks the orders until the transaction ends, if none has changed since it was decided upon: what follows and a
    /// deadline, a withdrawal or another payment cannot cross.
    pub(super) async fn hold_orders(
        &self,
        tx: &mut RunTx,
        order_no: &OrderNo,
    ) -> Result<(), WorkError> {
        let decided_on = self.orders.iter();
        let decided_on = decided_on.map(|order| (order.order_no.to_string(), order.version));
        let locked = orders::lock_group_versions(tx, order_no).await?;
        if locked.into_iter().eq(decided_on) {
            return Ok(());
        }
        Err(WorkError::LostRace(format!("order {order_no}")))
    }

    /// Asks the channel what became of an authorization, and does what follows.
    pub(super) async fn ask(
        &self,
        seen: &mut Seen,
        found: &AuthorizationWithCall,
    ) -> Result<(), WorkError> {
        let authorization = &found.authorization;
        let Some(channel) = self.admitted(seen, &authorization.channel) else {
            return Ok(());
        };
        let answer = match channel.query_authorization(&authorization.reference).await {
            Ok(answer) => answer,
            Err(error @ (ChannelError::Unavailable(_) | ChannelError::Unknown(_))) => {
                self.hold(seen, channel, authorization.updated_at, &error);
                return Ok(());
            }
            Err(error) => return Err(channel_failure(channel.name(), &error)),
        };
        let now = self.run.now();
        let promises = promises(channel, found);
        match weigh(found, view(&answer.state), promises, self.is_wanted, now) {
            Finding::Proved(event) => {
                let proof = Proof {
                    event,
                    state: &answer.state,
                    detail: "proved by the answer to a query",
                    evidence: &answer.evidence,
                };
                self.record(found, found.call.as_ref(), &proof).await
            }
            Finding::Replay(call) => self.replay(seen, channel, found, &call).await,
            Finding::Wait(until, reason) => {
                let reference = authorization.reference.clone();
                seen.asked.insert(reference, (until, reason));
                Ok(())
            }
        }
    }

    /// Makes the call of an authorization whose intent is committed.
    pub(super) async fn authorize(
        &self,
        seen: &mut Seen,
        channel: &Channel,
        found: &AuthorizationWithCall,
        token: &Token,
        call: &Operation,
    ) -> Result<(), WorkError> {
        let authorization = &found.authorization;
        let order = HoldOrder {
            reference: &authorization.reference,
            amount: authorization.amount,
            token,
            capture: authorization.capture,
            idempotency_key: &call.idempotency_key,
        };
        let answer = match in_time(self.run, call) {
            Ok(()) => channel.authorize(&order).await,
            Err(late) => Err(late),
        };
        match self.sorted(seen, channel, found, call, answer).await? {
            None => Ok(()),
            Some(Learned::Succeeded(HoldAnswer { state, evidence })) => {
                let event = match &state {
                    HoldState::Captured(_) => AuthorizationEvent::Capture,
                    HoldState::Held(_)
                    | HoldState::Released
                    | HoldState::Lapsed
                    | HoldState::Declined { .. }
                    | HoldState::NotFound => AuthorizationEvent::Authorize,
                };
                let proof = Proof {
                    event,
                    state: &state,
                    detail: "confirmed by the channel",
                    evidence: &evidence,
                };
                self.record(found, Some(call), &proof).await
            }
            Some(Learned::Declined(declined)) => {
                let state = HoldState::Declined {
                    code: declined.code.to_string(),
                };
                let proof = Proof {
                    event: AuthorizationEvent::Decline,
                    state: &state,
                    detail: &declined.detail,
                    evidence: &declined.evidence,
                };
                self.record(found, Some(call), &proof).await
            }
            Some(Learned::Unknown) => {
                let mut tx = self.run.begin().await?;
                let change = AuthorizationChange {
                    authorization,
                    state: AuthorizationState::Unknown,
                    amount: authorization.amount,
                    keep: None,
                    detail: "the answer was lost; the channel is asked",
                    evidence: None,
                    capture: None,
                };
                self.apply(&mut tx, change).await?;
                self.run.checkpoint(tx).await
            }
        }
    }

    /// Lets go of all that is held above `keep`.
    pub(super) async fn let_go(
        &self,
        seen: &mut Seen,
        found: &AuthorizationWithCall,
        keep: Money,
        reason: &str,
    ) -> Result<(), WorkError> {
        let authorization = &found.authorization;
        let Some(channel) = self.admitted(seen, &authorization.channel) else {
            return Ok(());
        };
        let last_void = found
            .call
            .as_ref()
            .filter(|call| call.kind == OperationKind::Void);
        let intent = Intent {
            kind: OperationKind::Void,
            channel: &authorization.channel,
            reference: &authorization.reference,
            generation: last_void
                .map_or(0, |call| call.generation)
                .saturating_add(1),
        };
        channel.wait_for_turn().await;
        let mut tx = self.run.begin().await?;
        let change = AuthorizationChange {
            authorization,
            state: next_state(authorization, AuthorizationEvent::BeginVoid)?,
            amount: authorization.amount,
            keep: Some(keep),
            detail: reason,
            evidence: None,
            capture: None,
        };
        self.apply(&mut tx, change).await?;
        let call = intend(self.run, &mut tx, intent).await?;
        self.run.checkpoint(tx).await?;
        let leaving = AuthorizationWithCall {
            authorization: Authorization {
                state: change.state,
                keep: Some(keep),
                version: authorization.version.saturating_add(1),
                ..authorization.clone()
            },
            call: Some(call.clone()),
        };
        self.void(seen, channel, &leaving, &call).await
    }

    /// Makes the call of a void whose intent is committed.
    async fn void(
        &self,
        seen: &mut Seen,
        channel: &Channel,
        found: &AuthorizationWithCall,
        call: &Operation,
    ) -> Result<(), WorkError> {
        let Authorization {
            reference,
            keep,
            amount,
            ..
        } = &found.authorization;
        let keep = keep.unwrap_or(Money::from_minor(0, amount.currency()));
        let key = &call.idempotency_key;
        let answer = match in_time(self.run, call) {
            Ok(()) => channel.void(reference, keep, key).await,
            Err(late) => Err(late),
        };
        match self.sorted(seen, channel, found, call, answer).await? {
            None | Some(Learned::Unknown) => Ok(()),
            Some(Learned::Succeeded(HoldAnswer { state, evidence })) => {
                // What proves it is the same for the answer to the call and to a query about it.
                let promises = promises(channel, found);
                let now = self.run.now();
                if let Finding::Proved(event) = weigh(found, view(&state), promises, false, now)
                    && event != AuthorizationEvent::Keep
                {
                    let proof = Proof {
                        event,
                        state: &state,
                        detail: "confirmed by the channel",
                        evidence: &evidence,
                    };
                    return self.record(found, Some(call), &proof).await;
                }
                let detail = "the channel said yes to letting it go, and yet shows no effect";
                let unknown = OperationState::Unknown;
                learn(self.run, call, unknown, detail, Some(&evidence)).await?;
                self.ask_later(seen, call, detail);
                Ok(())
            }
            Some(Learned::Declined(declined)) => {
                // It stands elsewhere than we thought: the query that follows tells where.
                let mut tx = self.run.begin().await?;
                let fate = (OperationState::Declined, declined.detail.as_str());
                conclude(self.run, &mut tx, call, fate, &declined.evidence).await?;
                self.run.checkpoint(tx).await
            }
        }
    }

    /// Sends an open call again under its key, after noting that it may leave once more: its quarantine begins anew.
    async fn replay(
        &self,
        seen: &mut Seen,
        channel: &Channel,
        found: &AuthorizationWithCall,
        call: &Operation,
    ) -> Result<(), WorkError> {
        let token = match call.kind {
            OperationKind::Authorize => Some(self.token_of(found, call).await?),
            OperationKind::Close
            | OperationKind::Void
            | OperationKind::PayOut
            | OperationKind::Send => None,
        };
        channel.wait_for_turn().await;
        let (authorization, now) = (&found.authorization, self.run.now());
        let mut tx = self.run.begin().await?;
        if token.is_some() {
            self.hold_orders(&mut tx, &authorization.order_no).await?;
        }
        let state = OperationState::Unknown;
        if !operations::learn(&mut tx, call.id, state, RESENT, None, now).await? {
            return Err(WorkError::LostRace(call.idempotency_key.clone()));
        }
        // Whoever proves meanwhile that it never arrived finds that it has changed.
        let change = AuthorizationChange {
            authorization,
            state: authorization.state,
            amount: authorization.amount,
            keep: authorization.keep,
            detail: RESENT,
            evidence: None,
            capture: None,
        };
        self.apply(&mut tx, change).await?;
        self.run.checkpoint(tx).await?;
        let call = Operation {
            state,
            updated_at: now,
            ..call.clone()
        };
        let found = AuthorizationWithCall {
            authorization: Authorization {
                version: authorization.version.saturating_add(1),
                updated_at: now,
                ..authorization.clone()
            },
            call: Some(call.clone()),
        };
        match token {
            Some(token) => self.authorize(seen, channel, &found, &token, &call).await,
            None => self.void(seen, channel, &found, &call).await,
        }
    }

    /// The token that the job of a call gave for the method; it is kept in that job's payload only.
    async fn token_of(
        &self,
        found: &AuthorizationWithCall,
        call: &Operation,
    ) -> Result<Token, WorkError> {
        let method_id = &found.authorization.method_id;
        let mut tx = self.run.read().await?;
        let job = jobs::find(&mut tx, call.job_id).await?;
        let payload =
            job.and_then(|job| Payload::parse(JobKind::DeferredAuthorization, &job.payload).ok());
        let method = match payload {
            Some(Payload::DeferredAuthorization(asked)) => asked
                .methods
                .into_iter()
                .find(|method| method.method_id == *method_id),
            Some(
                Payload::OrderExpiry(_)
                | Payload::SettlementRun(_)
                | Payload::PartnerNotification(_)
                | Payload::Reconciliation(_),
            )
            | None => None,
        };
        let what = &call.idempotency_key;
        method.map(|method| method.token).ok_or_else(|| {
            WorkError::Invalid(format!("the job of {what} has no method {method_id}"))
        })
    }

    /// Sorts the answer to a call; `None` when the call provably did nothing and its channel is on hold.
    async fn sorted(
        &self,
        seen: &mut Seen,
        channel: &Channel,
        found: &AuthorizationWithCall,
        call: &Operation,
        answer: Result<HoldAnswer, ChannelError>,
    ) -> Result<Option<Learned<HoldAnswer>>, WorkError> {
        if let Err(error @ ChannelError::Unavailable(_)) = &answer {
            self.hold(seen, channel, call.intended_at, error);
            return Ok(None);
        }
        // That we object to sending it again says nothing of what left before.
        if let Err(error) = &answer
            && call.state == OperationState::Unknown
            && is_own_objection(error)
        {
            let failure = channel_failure(channel.name(), error);
            self.ask_later(seen, call, &failure.to_string());
            return Ok(None);
        }
        let learned = sort_answer(self.run, call, answer).await?;
        if matches!(learned, Learned::Unknown) {
            let reference = &found.authorization.reference;
            info!(%reference, "The answer to {} was lost", call.idempotency_key);
            self.ask_later(seen, call, "was lost; the channel is asked");
        }
        Ok(Some(learned))
    }

    fn ask_later(&self, seen: &mut Seen, call: &Operation, what: &str) {
        let until = ask_again_at(call.intended_at, self.run.now());
        let reason = format!("the answer to {}: {what}", call.idempotency_key);
        seen.asked.insert(call.reference.clone(), (until, reason));
    }

    /// The channel, if it is configured and may be called now; otherwise it is on hold for the rest of this run.
    pub(super) fn admitted(&self, seen: &mut Seen, name: &ChannelName) -> Option<&Channel> {
        let now = self.run.now();
        let Some(channel) = self.bench.channels.find(name) else {
            let reason = format!("channel {name} is not configured: add it under [[channels]]");
            seen.holds
                .insert(name.clone(), (ask_again_at(now, now), reason));
            return None;
        };
        match channel.gate().admit() {
            Admission::Call => Some(channel),
            Admission::Wait(until) => {
                let reason = kept_back(name, channel.gate(), until);
                seen.holds.insert(name.clone(), (until, reason));
                None
            }
        }
    }

    /// Leaves a channel alone for the rest of this run: it did not answer about what is open since `since`.
    fn hold(&self, seen: &mut Seen, channel: &Channel, since: DateTime<Utc>, error: &ChannelError) {
        let name = channel.name();
        let wait = if let Some(until) = channel.gate().open_until() {
            (until, kept_back(name, channel.gate(), until))
        } else {
            let failure = channel_failure(name, error);
            (ask_again_at(since, self.run.now()), failure.to_string())
        };
        seen.holds.insert(name.clone(), wait);
    }

    /// Records what is proved of an authorization, together with all that follows from it.
    async fn record(
        &self,
        found: &AuthorizationWithCall,
        call: Option<&Operation>,
        proof: &Proof<'_>,
    ) -> Result<(), WorkError> {
        let authorization = &found.authorization;
        let Proof {
            event,
            state,
            detail,
            evidence,
        } = proof;
        let amount = amount_of(authorization, state)?;
        let words = as_json(evidence)?;
        let mut tx = self.run.begin().await?;
        if matches!(state, HoldState::Captured(_)) {
            // Whether the money is owed was decided on them.
            self.hold_orders(&mut tx, &authorization.order_no).await?;
        }
        if let Some(call) = call.filter(|call| !call.state.is_final()) {
            let fate = fate_of_call(*event, authorization.state);
            conclude(self.run, &mut tx, call, (fate, detail), evidence).await?;
        }
        let receipt = match state {
            HoldState::Captured(receipt) => Some(receipt),
            HoldState::Held(_)
            | HoldState::Released
            | HoldState::Lapsed
            | HoldState::Declined { .. }
            | HoldState::NotFound => None,
        };
        let change = AuthorizationChange {
            authorization,
            state: next_state(authorization, *event)?,
            amount,
            keep: None,
            detail,
            evidence: Some(&words),
            capture: receipt.map(|it| (it.channel_trade_no.as_str(), it.paid_at)),
        };
        self.apply(&mut tx, change).await?;
        self.book_exposure(&mut tx, authorization, *event, amount)
            .await?;
        if let Some(receipt) = receipt {
            self.take(&mut tx, authorization, receipt, &words).await?;
        }
        if let HoldState::Declined { code } = state {
            let suspension = Suspension {
                code: SuspensionCode::Declined,
                message: format!("channel {} declined with {code}", authorization.channel),
            };
            let Authorization {
                order_no,
                method_id,
                ..
            } = authorization;
            let (job, now) = (self.run.job().id, self.run.now());
            authorizations::suspend(&mut tx, order_no, method_id, &suspension, job, now).await?;
        }
        self.run.checkpoint(tx).await
    }

    /// Brings money that was taken into the books: as the merchant's, or as nobody's when it came too late.
    async fn take(
        &self,
        tx: &mut RunTx,
        authorization: &Authorization,
        receipt: &Receipt,
        evidence: &str,
    ) -> Result<(), WorkError> {
        let received = Received {
            channel: &authorization.channel,
            reference: &authorization.reference,
            channel_trade_no: &receipt.channel_trade_no,
            amount: receipt.amount,
            paid_at: receipt.paid_at,
            evidence,
        };
        if self.is_late {
            book_late_money(self.run, tx, received).await
        } else {
            record_payment(self.run, tx, &authorization.merchant_id, received).await
        }
    }

    /// What is held is told beside the books, from its proof to its end.
    async fn book_exposure(
        &self,
        tx: &mut RunTx,
        before: &Authorization,
        event: AuthorizationEvent,
        amount: Money,
    ) -> Result<(), WorkError> {
        let Authorization {
            channel,
            reference,
            merchant_id,
            version,
            ..
        } = before;
        let now = self.run.now();
        let was_held = match before.state {
            AuthorizationState::Authorized | AuthorizationState::Voiding => true,
            AuthorizationState::Intended
            | AuthorizationState::Unknown
            | AuthorizationState::Captured
            | AuthorizationState::Voided
            | AuthorizationState::Lapsed
            | AuthorizationState::Declined
            | AuthorizationState::Absent => false,
        };
        let authorization = format!("authorization:{channel}:{reference}");
        let end = format!("{authorization}:{version}");
        let on = |subject| Occasion {
            subject,
            accounting_on: china_day(&now),
        };
        let built = match event {
            AuthorizationEvent::Authorize => {
                events::authorization(on(&authorization), channel, merchant_id, amount)
            }
            AuthorizationEvent::Capture
            | AuthorizationEvent::Release
            | AuthorizationEvent::Lapse
                if was_held =>
            {
                events::authorization_voided(on(&end), channel, merchant_id, before.amount)
            }
            AuthorizationEvent::Reduce => {
                let minor = before
                    .amount
                    .minor_units()
                    .saturating_sub(amount.minor_units());
                let gone = Money::from_minor(minor, amount.currency());
                events::authorization_voided(on(&end), channel, merchant_id, gone)
            }
            AuthorizationEvent::Capture
            | AuthorizationEvent::Release
            | AuthorizationEvent::Lapse
            | AuthorizationEvent::Decline
            | AuthorizationEvent::Lose
            | AuthorizationEvent::Miss
            | AuthorizationEvent::BeginVoid
            | AuthorizationEvent::Keep => Ok(None),
        };
        let entry = built.map_err(|error| WorkError::Invalid(error.to_string()))?;
        let Some(entry) = entry else { return Ok(()) };
        let on_behalf = JobContext {
            job_id: Some(self.run.job().id),
        };
        let ids = self.run.engine().ids();
        ledger::append(tx, &[entry], on_behalf, ids, now).await?;
        Ok(())
    }

    async fn apply(
        &self,
        tx: &mut RunTx,
        change: AuthorizationChange<'_>,
    ) -> Result<(), WorkError> {
        if authorizations::apply(tx, change, self.run.now()).await? {
            return Ok(());
        }
        let reference = &change.authorization.reference;
        Err(WorkError::LostRace(format!("authorization {reference}")))
    }
}

/// What is held or was taken from now on.
fn amount_of(authorization: &Authorization, state: &HoldState) -> Result<Money, WorkError> {
    let amount = match state {
        HoldState::Held(amount) => *amount,
        HoldState::Captured(receipt) => receipt.amount,
        HoldState::Released
        | HoldState::Lapsed
        | HoldState::Declined { .. }
        | HoldState::NotFound => authorization.amount,
    };
    if amount.currency() == authorization.amount.currency() {
        return Ok(amount);
    }
    Err(WorkError::Invalid(format!(
        "channel {} holds {amount} for authorization {}, which asked for {}: ask the channel",
        authorization.channel, authorization.reference, authorization.amount
    )))
}

fn next_state(
    authorization: &Authorization,
    event: AuthorizationEvent,
) -> Result<AuthorizationState, WorkError> {
    authorization.state.after(event).ok_or_else(|| {
        let Authorization {
            reference, state, ..
        } = authorization;
        WorkError::LostRace(format!("authorization {reference}, which is {state},"))
    })
}

fn promises(channel: &Channel, found: &AuthorizationWithCall) -> CallPromises {
    let capabilities = channel.capabilities();
    let is_void = found.authorization.state == AuthorizationState::Voiding;
    CallPromises {
        is_idempotent: if is_void {
            capabilities.void_is_idempotent
        } else {
            capabilities.authorize_is_idempotent
        },
        processing_window: chrono::TimeDelta::from_std(capabilities.processing_window)
            .unwrap_or(chrono::TimeDelta::MAX),
    }
}

const fn view(state: &HoldState) -> HoldView {
    match state {
        HoldState::Held(amount) => HoldView::Held(*amount),
        HoldState::Captured(_) => HoldView::Captured,
        HoldState::Released => HoldView::Released,
        HoldState::Lapsed => HoldView::Lapsed,
        HoldState::Declined { .. } => HoldView::Declined,
        HoldState::NotFound => HoldView::NotFound,
    }
}
