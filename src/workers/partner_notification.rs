//! Carries out that a partner is told: that somebody asks them to pay, that the request still waits,
//! that it no longer stands.
//!
//! Everything is read again before each step: the order, the partner, and what was told so far.
//! Which notices there are is decided in `domain/partner_notification`; how each gets to its end is
//! carried out in [`messages`].

use clearday_jobs::{JobId, PartnerNotification, Purpose};

use super::Workbench;
use super::messages::{self, Delivery, Known, too_many_steps};
use crate::domain::job::JobState;
use crate::domain::notice::{Notice, NoticeId, Standing};
use crate::domain::order::Order;
use crate::domain::partner::Partner;
use crate::domain::partner_notification::{NewNotice, Plan, Situation, decide_plan, purpose_of};
use crate::engine::{Finished, Run, WorkError};
use crate::store::{Tx, jobs, notices, orders, partners};

/// Steps one run may take; see [`messages`].
const STEPS_MAX: usize = 1_000;

/// Runs one job to its recorded end.
pub(super) async fn run(
    bench: &Workbench,
    run: &Run,
    asked: &PartnerNotification,
) -> Result<Finished, WorkError> {
    for _ in 0..STEPS_MAX {
        let scene = load(run, asked).await?;
        if let Some(finished) = take_step(bench, run, asked, &scene).await? {
            return Ok(finished);
        }
    }
    Err(too_many_steps())
}

/// Everything known, read in one transaction.
struct Scene {
    order: Option<Order>,
    partner: Option<Partner>,
    /// Of every purpose, as the decision wants them.
    notices: Vec<Notice>,
    /// Of this purpose, with what is known about each.
    known: Vec<Known>,
    seen_to_by: Option<JobId>,
}

async fn load(run: &Run, asked: &PartnerNotification) -> Result<Scene, WorkError> {
    let mut tx = run.read().await?;
    let order = orders::find(&mut tx, &asked.order_no).await?;
    let partner = partners::find(&mut tx, &asked.partner_id).await?;
    let recipient = asked.partner_id.as_str();
    let tried = notices::to_recipient(&mut tx, &asked.order_no, recipient).await?;
    let all = tried.iter().map(|(notice, _)| notice.clone()).collect();
    let purpose = purpose_of(asked.purpose);
    let mut known = Vec::with_capacity(tried.len());
    for tried in tried {
        if tried.0.purpose == purpose {
            known.push(Known::load(&mut tx, tried).await?);
        }
    }
    let seen_to_by = other_job(&mut tx, run.job().id, &known).await?;
    Ok(Scene {
        order,
        partner,
        notices: all,
        known,
        seen_to_by,
    })
}

/// Another job that sees to one of the notices and has not come to its end.
async fn other_job(tx: &mut Tx, ours: JobId, known: &[Known]) -> Result<Option<JobId>, WorkError> {
    let unsettled = known.iter().filter(|known| !known.notice.is_settled());
    for other in unsettled.map(|known| known.notice.job_id) {
        if other == ours {
            continue;
        }
        let job = jobs::find(tx, other).await?;
        let is_at_work = job.is_some_and(|job| match job.state {
            JobState::Ready | JobState::Running | JobState::Cancelling => true,
            JobState::Done | JobState::Dead | JobState::Cancelled => false,
        });
        if is_at_work {
            return Ok(Some(other));
        }
    }
    Ok(None)
}

async fn take_step(
    bench: &Workbench,
    run: &Run,
    asked: &PartnerNotification,
    scene: &Scene,
) -> Result<Option<Finished>, WorkError> {
    let situation = Situation {
        asked,
        asked_at: run.job().created_at,
        order: scene.order.as_ref(),
        partner: scene.partner.as_ref(),
        notices: &scene.notices,
        seen_to_by: scene.seen_to_by,
        pay_link: bench.pay_link.as_ref(),
    };
    match decide_plan(&situation, run.now()) {
        Plan::Wait(until, reason) => {
            let tx = run.begin().await?;
            run.snooze(tx, until, &reason).await.map(Some)
        }
        Plan::Done(reason) => {
            let tx = run.begin().await?;
            run.done(tx, &reason).await.map(Some)
        }
        Plan::Write(new) => {
            write(run, asked, &new).await?;
            Ok(None)
        }
        Plan::Carry(standing) => carry(bench, run, scene, &standing).await,
    }
}

/// Writes notices down. With a withdrawal goes everything that still asks this partner to pay.
async fn write(
    run: &Run,
    asked: &PartnerNotification,
    planned: &[NewNotice],
) -> Result<(), WorkError> {
    let now = run.now();
    let recipient = asked.partner_id.as_str();
    let mut tx = run.begin().await?;
    for planned in planned {
        let end = planned.end.as_ref();
        let new = notices::NewNotice {
            id: NoticeId(run.engine().ids().uuid()),
            job_id: run.job().id,
            order_no: &asked.order_no,
            recipient,
            purpose: purpose_of(asked.purpose),
            step: "",
            channel: planned.channel,
            target: &planned.target,
            subject: &planned.subject,
            content: &planned.content,
            deadline: planned.deadline,
            end: end.map(|(state, reason)| (*state, reason.as_str())),
        };
        notices::insert(&mut tx, &new, now).await?;
    }
    if asked.purpose == Purpose::Withdrawn {
        let reason = "the request was withdrawn";
        let to = (&asked.order_no, recipient);
        notices::suppress_to_recipient(&mut tx, to, reason, now).await?;
    }
    run.checkpoint(tx).await
}

async fn carry(
    bench: &Workbench,
    run: &Run,
    scene: &Scene,
    standing: &Standing,
) -> Result<Option<Finished>, WorkError> {
    if take_over(run, scene).await? {
        return Ok(None);
    }
    let steps: Vec<_> = scene
        .known
        .iter()
        .map(|known| (known, standing.clone()))
        .collect();
    let Some(delivery) = messages::carry(bench, run, &steps).await? else {
        return Ok(None);
    };
    let tx = run.begin().await?;
    let finished = match delivery {
        Delivery::Waits(until, reason) => run.snooze(tx, until, &reason).await,
        Delivery::Settled(story) => run.done(tx, &story).await,
    };
    finished.map(Some)
}

/// Sees from now on to notices whose job came to its end without them; whether there were any.
async fn take_over(run: &Run, scene: &Scene) -> Result<bool, WorkError> {
    let ours = run.job().id;
    let orphaned: Vec<&Notice> = scene
        .known
        .iter()
        .map(|known| &known.notice)
        .filter(|notice| !notice.is_settled() && notice.job_id != ours)
        .collect();
    if orphaned.is_empty() {
        return Ok(false);
    }
    let mut tx = run.begin().await?;
    for notice in orphaned {
        notices::take_over(&mut tx, notice, ours, run.now()).await?;
    }
    run.checkpoint(tx).await?;
    Ok(true)
}
