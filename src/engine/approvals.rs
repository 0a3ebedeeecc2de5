//! Approvals carried out: asked for with what they are about, signed by people, decided together
//! with what follows.
//!
//! Rows are locked in one order by everybody: the merchant whose account it is about, the request,
//! the job that waits for it, and the head of the audit chain last. A decision makes the waiting
//! job due in its own transaction. A job that is leased at that moment may have looked before the
//! decision was there: it is marked, and whatever would end its run, which finds the mark under the
//! same lock, has it look again at once.

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use clearday_jobs::{ApprovalId, JobId, JobKind, MerchantId, Money, canonical_json};
use serde_json::{Value, json};

use super::operate::due_now;
use super::{Engine, Run, RunTx, WorkError};
use crate::config::Role;
use crate::domain::approval::{
    Approval, ApprovalAction, ApprovalEvent, ApprovalRule, ApprovalState, Signature,
    SignatureDecision, SignatureRefusal, decide_signature, needs_two_people,
};
use crate::domain::audit::{AuditAction, AuditEntry, CLEARDAY};
use crate::domain::digest::hex_sha256;
use crate::domain::job::{JobEvent, JobState};
use crate::store::approvals::PayeeDay;
use crate::store::jobs::JobChange;
use crate::store::{StoreError, Tx, approvals, audit, jobs, merchants};

/// A reason is a sentence or two, not a document.
pub(super) const REASON_LENGTH_MAX: usize = 500;

/// Two who ask for the same thing at once see each other at the second look.
const LOOKS_MAX: usize = 3;

/// What somebody is asked to agree on.
#[derive(Clone, Debug)]
pub struct NewApproval {
    /// What is to be approved.
    pub action: ApprovalAction,
    /// About what. One request per action and subject is in force.
    pub subject: String,
    /// Everything that people must see to decide. Asking for the same again is the same request,
    /// also a rejected one: what shall be asked anew must show that it is new.
    pub shown: Value,
    /// Whose money it is.
    pub merchant_id: Option<MerchantId>,
    /// The account that is paid.
    pub payee: Option<String>,
    /// How much.
    pub amount: Option<Money>,
    /// The day on which money is to move.
    pub value_on: Option<NaiveDate>,
    /// Whether an amount may be small enough for nobody.
    pub people: PeopleNeeded,
    /// Who asks, where a person does: the maker.
    pub maker: Option<String>,
    /// The job that is made due when it is decided.
    pub job_id: Option<JobId>,
}

/// How many people must agree.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeopleNeeded {
    /// Two, always.
    Two,
    /// Nobody below this limit, summed over the payee's day; two at or above it. Without a limit
    /// always two.
    TwoFrom(Option<Money>),
}

/// A person who signs, and what they may do.
#[derive(Clone, Copy, Debug)]
pub struct Signer<'a> {
    /// The person, as `[[people]]` names them.
    pub name: &'a str,
    /// What they may do.
    pub role: Role,
}

/// Why nothing was approved or rejected.
#[derive(Debug, thiserror::Error)]
pub enum ApprovalError {
    /// No such request.
    #[error("there is no approval {0}")]
    NotFound(ApprovalId),
    /// The person may not approve.
    #[error("{person} is {role}; approving takes the role {}", Role::Approver)]
    NotAnApprover {
        /// The person.
        person: String,
        /// Their role.
        role: Role,
    },
    /// Whoever rejects must say why.
    #[error("a rejection needs a reason of 1 to {REASON_LENGTH_MAX} characters")]
    Reason,
    /// The signature counts for nothing.
    #[error("approval {id}: {refusal}")]
    Refused {
        /// The request.
        id: ApprovalId,
        /// Why.
        refusal: SignatureRefusal,
    },
    /// Somebody else asked or paid at the same moment; asking again sees it.
    #[error("{0} changed while it was being asked about")]
    LostRace(String),
    /// The database refused or did not answer.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl From<ApprovalError> for WorkError {
    fn from(error: ApprovalError) -> Self {
        match error {
            ApprovalError::LostRace(what) => Self::LostRace(what),
            ApprovalError::Store(source) => Self::Store(source),
            ApprovalError::NotFound(_)
            | ApprovalError::NotAnApprover { .. }
            | ApprovalError::Reason
            | ApprovalError::Refused { .. } => Self::Invalid(error.to_string()),
        }
    }
}

/// What a transaction still has to add to the chain, last of all.
#[derive(Clone, Debug, Default)]
pub(super) struct Pending {
    entries: Vec<AuditEntry>,
    below_limit: Vec<BelowLimit>,
}

/// A payout that was small enough when it was asked about; looked at again when nobody else can
/// be approved any more before the commit.
#[derive(Clone, Debug)]
struct BelowLimit {
    subject: String,
    payee: String,
    value_on: NaiveDate,
    amount: Money,
    limit: Money,
}

impl Pending {
    /// Adds something that was done.
    pub(super) fn add(&mut self, entry: AuditEntry) {
        self.entries.push(entry);
    }

    pub(super) fn extend(&mut self, other: Self) {
        self.entries.extend(other.entries);
        self.below_limit.extend(other.below_limit);
    }

    /// Appends it all, and holds the chain until the commit.
    pub(super) async fn append(
        &self,
        tx: &mut Tx,
        now: DateTime<Utc>,
    ) -> Result<(), ApprovalError> {
        if self.entries.is_empty() {
            return Ok(());
        }
        audit::lock_head(tx).await?;
        for small in &self.below_limit {
            let paid = approvals::sum_of_day(tx, small.day()).await?;
            if needs_two_people(Some(small.limit), paid, small.amount) {
                return Err(ApprovalError::LostRace(format!(
                    "what {} is paid on {}",
                    small.payee, small.value_on
                )));
            }
        }
        Ok(audit::append(tx, &self.entries, now).await?)
    }
}

impl BelowLimit {
    fn day(&self) -> PayeeDay<'_> {
        PayeeDay {
            payee: &self.payee,
            value_on: self.value_on,
            currency: self.amount.currency(),
            except: (ApprovalAction::Payout, &self.subject),
        }
    }
}

impl Run {
    /// Asks people to agree, in the transaction of what it is about. The answer is the request as
    /// it stands: it may be approved already, by policy or because it was asked before.
    pub async fn request_approval(
        &self,
        tx: &mut RunTx,
        new: NewApproval,
    ) -> Result<Approval, WorkError> {
        let (approval, pending) = self.engine().ask(tx, new).await?;
        tx.pending().extend(pending);
        Ok(approval)
    }

    /// Adds something that was done to the audit chain, in the transaction that does it.
    pub fn audit(&self, tx: &mut RunTx, entry: AuditEntry) {
        tx.pending().add(entry);
    }
}

impl Engine {
    /// Asks people to agree, in a transaction that is no worker's. It appends to the audit chain,
    /// so it comes last in its transaction.
    pub async fn request_approval_in(
        &self,
        tx: &mut Tx,
        new: NewApproval,
    ) -> Result<Approval, ApprovalError> {
        let (approval, pending) = self.ask(tx, new).await?;
        pending.append(tx, self.clock().now()).await?;
        Ok(approval)
    }

    /// Signs a request: the first person becomes its maker, another one approves it. `digest` is
    /// of what the person saw.
    pub async fn sign(
        &self,
        id: ApprovalId,
        signer: Signer<'_>,
        digest: Option<&str>,
    ) -> Result<Approval, ApprovalError> {
        signer.refuse_below_approver()?;
        let mut tx = self.store().begin().await?;
        let approval = lock(&mut tx, id).await?;
        let decision = decide_signature(&approval, signer.name, digest)
            .map_err(|refusal| ApprovalError::Refused { id, refusal })?;
        let now = self.clock().now();
        let signature = Signature {
            person: signer.name.to_owned(),
            at: now,
        };
        let mut changed = Approval {
            updated_at: now,
            ..approval
        };
        let (event, what) = match decision {
            SignatureDecision::BecomesMaker => {
                changed.maker = Some(signature);
                (ApprovalEvent::Make, AuditAction::ApprovalMade)
            }
            SignatureDecision::ApprovesAsChecker => {
                changed.checker = Some(signature);
                (ApprovalEvent::Check, AuditAction::ApprovalChecked)
            }
        };
        self.decide(tx, changed, event, what, signer.name).await
    }

    /// Refuses a request; one person who may approve is enough, also the maker.
    pub async fn reject(
        &self,
        id: ApprovalId,
        signer: Signer<'_>,
        reason: &str,
    ) -> Result<Approval, ApprovalError> {
        signer.refuse_below_approver()?;
        let reason = reason.trim();
        if reason.is_empty() || reason.chars().count() > REASON_LENGTH_MAX {
            return Err(ApprovalError::Reason);
        }
        let mut tx = self.store().begin().await?;
        let approval = lock(&mut tx, id).await?;
        let changed = Approval {
            rejected_by: Some(signer.name.to_owned()),
            reason: Some(reason.to_owned()),
            updated_at: self.clock().now(),
            ..approval
        };
        let what = AuditAction::ApprovalRejected;
        self.decide(tx, changed, ApprovalEvent::Reject, what, signer.name)
            .await
    }

    /// Writes a decision down with what follows from it, and rings for the job that waited.
    async fn decide(
        &self,
        mut tx: Tx,
        changed: Approval,
        event: ApprovalEvent,
        what: AuditAction,
        who: &str,
    ) -> Result<Approval, ApprovalError> {
        let changed = advance(&mut tx, changed, event).await?;
        let mut due = None;
        if let Some(job_id) = changed.job_id
            && changed.state.is_decided()
        {
            due = self
                .wake_in(&mut tx, job_id, &outcome(&changed, who))
                .await?;
        }
        let mut entries = vec![entry_about(&changed, what, who)];
        match changed.action {
            ApprovalAction::BankAccount => {
                entries.extend(self.settle_account(&mut tx, &changed, who).await?);
            }
            // The job that was made due does what follows.
            ApprovalAction::Payout | ApprovalAction::OfflinePayment | ApprovalAction::Release => {}
        }
        audit::append(&mut tx, &entries, changed.updated_at).await?;
        tx.commit().await?;
        self.ring(due);
        Ok(changed)
    }

    /// Makes a job due because what it waits for happened; returns the kind whose bell to ring
    /// after the commit. A job that ended is left alone, also a dead one: its cause is another.
    pub async fn wake_in(
        &self,
        tx: &mut Tx,
        id: JobId,
        reason: &str,
    ) -> Result<Option<JobKind>, StoreError> {
        let Some(job) = jobs::lock(tx, id).await? else {
            return Ok(None);
        };
        let now = self.clock().now();
        match job.state {
            JobState::Ready => {
                // Due since it was last touched: the clock of a command line may be ahead of the
                // daemon's, and what is due by the one would not be due by the other.
                let change = JobChange {
                    run_at: now.min(job.updated_at),
                    ..due_now(&job, now, reason)
                };
                self.change(tx, &job, &change, JobEvent::Requeue).await?;
                Ok(Some(job.kind))
            }
            JobState::Running | JobState::Cancelling => {
                jobs::mark_woken(tx, id, now).await?;
                Ok(None)
            }
            JobState::Done | JobState::Dead | JobState::Cancelled => Ok(None),
        }
    }

    /// The request that is in force after asking, and what to add to the chain.
    pub(super) async fn ask(
        &self,
        tx: &mut Tx,
        new: NewApproval,
    ) -> Result<(Approval, Pending), ApprovalError> {
        let shown = canonical_json(&new.shown);
        let digest = hex_sha256(shown.as_bytes());
        let mut pending = Pending::default();
        for _ in 0..LOOKS_MAX {
            let newest = approvals::lock_newest(tx, new.action, &new.subject).await?;
            let last_asked = newest.as_ref().map(|newest| newest.requested_at);
            if let Some(newest) = newest {
                let is_lapsed = new.value_on.is_some_and(|day| newest.is_lapsed(day));
                let is_same = newest.digest == digest && newest.state != ApprovalState::Superseded;
                if is_same && !is_lapsed {
                    return Ok((follow(tx, newest, new.job_id).await?, pending));
                }
                let reason = if is_same {
                    "nobody agreed to it, and the day it was for is over".to_owned()
                } else {
                    format!("what was shown changed: its digest is now {digest}")
                };
                self.supersede(tx, newest, &reason, &mut pending).await?;
            }
            let (mut approval, small) = self.propose(tx, &new, &shown, &digest).await?;
            // The clocks of two machines differ, but what is asked later is the newer request.
            let later = last_asked.map(|last| last + TimeDelta::microseconds(1));
            approval.requested_at = later.map_or(approval.requested_at, |later| {
                later.max(approval.requested_at)
            });
            if approvals::insert(tx, &approval).await? {
                let what = match approval.rule {
                    ApprovalRule::TwoPeople => AuditAction::ApprovalRequested,
                    ApprovalRule::BelowLimit => AuditAction::ApprovedBelowLimit,
                };
                let who = new.maker.as_deref().unwrap_or(CLEARDAY);
                pending.add(entry_about(&approval, what, who));
                pending.below_limit.extend(small);
                return Ok((approval, pending));
            }
        }
        Err(ApprovalError::LostRace(new.subject))
    }

    /// Withdraws what was asked and is not decided, because it is not wanted any more; returns what
    /// to add to the chain.
    pub(super) async fn withdraw_request(
        &self,
        tx: &mut Tx,
        action: ApprovalAction,
        subject: &str,
        reason: &str,
    ) -> Result<Pending, ApprovalError> {
        let mut pending = Pending::default();
        let newest = approvals::lock_newest(tx, action, subject).await?;
        if let Some(newest) = newest.filter(|newest| !newest.state.is_decided()) {
            self.supersede(tx, newest, reason, &mut pending).await?;
        }
        Ok(pending)
    }

    /// What is no longer so is not asked any more, and not agreed any more.
    async fn supersede(
        &self,
        tx: &mut Tx,
        newest: Approval,
        reason: &str,
        pending: &mut Pending,
    ) -> Result<(), ApprovalError> {
        if newest.state.after(ApprovalEvent::Supersede).is_none() {
            return Ok(());
        }
        let changed = Approval {
            reason: Some(reason.to_owned()),
            updated_at: self.clock().now(),
            ..newest
        };
        let changed = advance(tx, changed, ApprovalEvent::Supersede).await?;
        pending.add(entry_about(
            &changed,
            AuditAction::ApprovalSuperseded,
            CLEARDAY,
        ));
        Ok(())
    }

    /// The new request, approved already where the amount is small enough.
    async fn propose(
        &self,
        tx: &mut Tx,
        new: &NewApproval,
        shown: &str,
        digest: &str,
    ) -> Result<(Approval, Option<BelowLimit>), StoreError> {
        let now = self.clock().now();
        let small = below_limit(tx, new).await?;
        let (rule, state) = match small {
            Some(_) => (ApprovalRule::BelowLimit, ApprovalState::Approved),
            None => (ApprovalRule::TwoPeople, ApprovalState::Requested),
        };
        let reason = small.as_ref().map(|small| {
            let (limit, currency) = (small.limit.to_major_string(), small.limit.currency());
            format!("with all that the payee gets that day below the limit of {limit} {currency}")
        });
        let approval = Approval {
            id: ApprovalId(self.ids().uuid()),
            action: new.action,
            subject: new.subject.clone(),
            shown: shown.to_owned(),
            digest: digest.to_owned(),
            merchant_id: new.merchant_id.clone(),
            payee: new.payee.clone(),
            amount: new.amount,
            value_on: new.value_on,
            rule,
            state,
            maker: new
                .maker
                .clone()
                .map(|person| Signature { person, at: now }),
            checker: None,
            rejected_by: None,
            reason,
            job_id: new.job_id,
            version: 1,
            requested_at: now,
            updated_at: now,
        };
        Ok((approval, small))
    }
}

/// The amount, where it is small enough for nobody.
async fn below_limit(tx: &mut Tx, new: &NewApproval) -> Result<Option<BelowLimit>, StoreError> {
    let PeopleNeeded::TwoFrom(Some(limit)) = new.people else {
        return Ok(None);
    };
    let (Some(payee), Some(value_on), Some(amount)) = (&new.payee, new.value_on, new.amount) else {
        return Ok(None);
    };
    if !new.action.may_be_below_limit() {
        return Ok(None);
    }
    let small = BelowLimit {
        subject: new.subject.clone(),
        payee: payee.clone(),
        value_on,
        amount,
        limit,
    };
    let paid = approvals::sum_of_day(tx, small.day()).await?;
    Ok((!needs_two_people(Some(limit), paid, amount)).then_some(small))
}

impl Signer<'_> {
    fn refuse_below_approver(&self) -> Result<(), ApprovalError> {
        if self.role >= Role::Approver {
            return Ok(());
        }
        Err(ApprovalError::NotAnApprover {
            person: self.name.to_owned(),
            role: self.role,
        })
    }
}

async fn lock(tx: &mut Tx, id: ApprovalId) -> Result<Approval, ApprovalError> {
    let not_found = || ApprovalError::NotFound(id);
    let seen = approvals::find(tx, id).await?.ok_or_else(not_found)?;
    match seen.action {
        // An import locks the merchant before it asks.
        ApprovalAction::BankAccount => {
            let merchant_id = seen.merchant_id.iter().collect::<Vec<_>>();
            merchants::lock_all(tx, &merchant_id).await?;
        }
        ApprovalAction::Payout | ApprovalAction::OfflinePayment | ApprovalAction::Release => {}
    }
    let found = approvals::lock(tx, id).await?;
    found.ok_or_else(not_found)
}

/// Moves a request on that is locked, to the state that follows.
async fn advance(
    tx: &mut Tx,
    mut changed: Approval,
    event: ApprovalEvent,
) -> Result<Approval, ApprovalError> {
    let refusal = SignatureRefusal::Decided(changed.state);
    let id = changed.id;
    changed.state = changed
        .state
        .after(event)
        .ok_or(ApprovalError::Refused { id, refusal })?;
    if !approvals::apply(tx, &changed).await? {
        return Err(StoreError::corrupt("version", "a locked approval changed").into());
    }
    changed.version = changed.version.saturating_add(1);
    Ok(changed)
}

/// The job that asked last is the one that waits.
async fn follow(
    tx: &mut Tx,
    known: Approval,
    job_id: Option<JobId>,
) -> Result<Approval, ApprovalError> {
    if job_id.is_none() || job_id == known.job_id || known.state.is_decided() {
        return Ok(known);
    }
    let mut changed = Approval { job_id, ..known };
    if !approvals::apply(tx, &changed).await? {
        return Err(StoreError::corrupt("version", "a locked approval changed").into());
    }
    changed.version = changed.version.saturating_add(1);
    Ok(changed)
}

/// Why the waiting job is made due, for its history.
fn outcome(approval: &Approval, who: &str) -> String {
    let Approval {
        action,
        subject,
        state,
        ..
    } = approval;
    format!("{action} {subject} was {state} by {who}")
}

fn entry_about(approval: &Approval, what: AuditAction, who: &str) -> AuditEntry {
    let person = |signature: &Option<Signature>| signature.as_ref().map(|it| it.person.clone());
    let amount = approval.amount;
    AuditEntry {
        who: who.to_owned(),
        what,
        subject: approval.id.to_string(),
        detail: json!({
            "action": approval.action.as_str(),
            "subject": approval.subject,
            "digest": approval.digest,
            "amount": amount.map(Money::to_major_string),
            "currency": amount.map(|amount| amount.currency().code()),
            "value_on": approval.value_on.map(|day| day.to_string()),
            "state": approval.state.as_str(),
            "maker": person(&approval.maker),
            "checker": person(&approval.checker),
            "reason": approval.reason,
        }),
    }
}
