//! Two people for what moves money: who may sign, what is bound to what, and what follows when
//! several act at once. The database refuses what the code would have to be wrong to ask for.
#![cfg(test)]

use std::sync::Arc;

use chrono::{DateTime, NaiveDate, TimeDelta, Utc};
use clearday::clock::{Clock, Ids};
use clearday::config::Role;
use clearday::domain::approval::{
    Approval, ApprovalAction, ApprovalRule, ApprovalState, SignatureRefusal,
};
use clearday::domain::audit::{AuditAction, AuditEntry};
use clearday::domain::job::JobState;
use clearday::engine::{
    ApprovalError, Engine, NewApproval, NoBell, PeopleNeeded, Run, Signer, WorkError,
};
use clearday::store::approvals::{self, ApprovalFilter};
use clearday::store::audit;
use clearday_jobs::{ApprovalId, Currency, JobId, JobKind, Money};
use serde_json::json;
use uuid::Uuid;

use crate::support::sql::execute;
use crate::support::world::{POLICY, World, lease_one, on_both_databases};

on_both_databases! {
    the_first_who_signs_is_the_maker_and_the_second_approves,
    a_request_of_a_person_has_its_maker_already,
    the_database_refuses_one_person_as_two,
    the_database_refuses_an_approval_without_people,
    only_approvers_sign,
    one_person_does_not_sign_twice,
    a_signature_for_something_else_is_refused,
    one_person_rejects_with_a_reason,
    a_rejection_without_a_fit_reason_is_refused,
    an_unknown_request_is_not_found,
    what_is_shown_again_is_the_same_request,
    what_changed_is_asked_again_also_after_its_approval,
    what_is_asked_later_is_newer_whatever_the_clocks_say,
    what_was_rejected_is_asked_again_only_when_it_shows_something_else,
    what_is_below_the_limit_of_the_day_needs_nobody,
    only_payouts_do_without_people,
    lists_run_from_the_newest_to_the_oldest,
    a_decision_makes_the_waiting_job_due,
    a_decision_by_a_clock_that_is_ahead_makes_the_job_due_all_the_same,
    a_decision_is_not_lost_on_a_run_that_looked_before_it,
    a_decision_is_not_lost_on_a_run_that_ends,
    a_decision_leaves_jobs_that_ended_alone,
    the_job_that_asked_last_is_the_one_that_is_woken,
    a_run_that_lost_its_lease_asks_nobody,
    a_run_puts_what_it_did_on_the_chain,
    two_people_sign_at_once,
    one_person_signs_twice_at_once,
    two_checkers_sign_at_once,
    one_signs_while_another_rejects,
    one_signs_while_the_request_changes,
    two_ask_at_once,
    two_small_payouts_at_once_do_not_pass_the_limit_together,
    people_and_workers_never_wait_for_each_other,
}

/// Rounds of what is tried at once: enough to meet in either order.
const ROUNDS: usize = 12;

async fn the_first_who_signs_is_the_maker_and_the_second_approves(world: World) {
    let engine = world.engine("w");
    let asked = ask(&world, payout("S-1", "100.00")).await;
    assert_eq!(asked.state, ApprovalState::Requested);
    assert_eq!(asked.shown, r#"{"amount":"100.00","to":"6222 0000"}"#);
    assert_eq!(asked.digest.len(), 64);

    let made = engine.sign(asked.id, wang(), None).await.unwrap();
    assert_eq!(made.state, ApprovalState::Requested);
    assert_eq!(made.maker.as_ref().unwrap().person, "wang");
    assert_eq!(made, find(&world, asked.id).await);
    world.advance_seconds(60);
    let approved = engine
        .sign(asked.id, li(), Some(&asked.digest))
        .await
        .unwrap();
    assert_eq!(approved.state, ApprovalState::Approved);
    let checker = approved.checker.clone().unwrap();
    assert_eq!((checker.person.as_str(), checker.at), ("li", world.now()));
    assert_eq!(approved, find(&world, asked.id).await);
    assert_eq!(approved.version, 3);
    let told = [
        "clearday approval_requested",
        "wang approval_made",
        "li approval_checked",
    ];
    assert_eq!(chained(&world, asked.id).await, told);
}

async fn a_request_of_a_person_has_its_maker_already(world: World) {
    let engine = world.engine("w");
    let claimed = NewApproval {
        action: ApprovalAction::OfflinePayment,
        maker: Some("wang".to_owned()),
        ..payout("O-1", "100.00")
    };
    let asked = ask(&world, claimed).await;
    assert_eq!(asked.maker.as_ref().unwrap().at, world.now());
    let refused = engine.sign(asked.id, wang(), None).await.unwrap_err();
    assert!(is_same_person(&refused), "{refused}");
    let approved = engine.sign(asked.id, li(), None).await.unwrap();
    assert_eq!(approved.state, ApprovalState::Approved);
    assert_eq!(
        chained(&world, asked.id).await,
        ["wang approval_requested", "li approval_checked"]
    );
}

async fn the_database_refuses_one_person_as_two(world: World) {
    let asked = ask(&world, payout("S-1", "100.00")).await;
    world
        .engine("w")
        .sign(asked.id, wang(), None)
        .await
        .unwrap();
    for set in [
        "checker = maker, checked_at = made_at",
        "checker = maker, checked_at = made_at, state = 'approved'",
        "checker = 'wang', checked_at = made_at, state = 'superseded'",
    ] {
        refused_by_database(&world, set).await;
    }
    let set = "checker = 'li', checked_at = made_at, state = 'approved'";
    let sql = format!("UPDATE approvals SET {set}");
    assert_eq!(execute(world.database.url(), &sql).await.unwrap(), 1);
    refused_by_database(&world, "maker = 'li'").await;
}

async fn the_database_refuses_an_approval_without_people(world: World) {
    let asked = ask(&world, payout("S-1", "100.00")).await;
    for set in [
        "state = 'approved'",
        "state = 'approved', maker = 'wang', made_at = updated_at",
        "state = 'approved', checker = 'li', checked_at = updated_at",
        "state = 'rejected'",
        "state = 'rejected', rejected_by = 'wang'",
        "state = 'agreed'",
        "maker = 'wang'",
        "rule = 'below_limit', amount_minor = NULL, currency = NULL, state = 'approved'",
        "rule = 'below_limit', state = 'approved', action = 'release'",
        "rule = 'below_limit'",
        "amount_minor = NULL",
        "digest = 'ab'",
        "value_on = '2026-3-2'",
    ] {
        refused_by_database(&world, set).await;
    }
    assert_eq!(asked, find(&world, asked.id).await);
}

/// Tries to change every request there is.
async fn refused_by_database(world: &World, set: &str) {
    let sql = format!("UPDATE approvals SET {set}");
    let refused = execute(world.database.url(), &sql).await.unwrap_err();
    let refused = refused.into_database_error().unwrap();
    assert!(refused.is_check_violation(), "{set}: {refused}");
}

async fn only_approvers_sign(world: World) {
    let engine = world.engine("w");
    let asked = ask(&world, payout("S-1", "100.00")).await;
    for role in [Role::Viewer, Role::Operator] {
        let nobody = Signer { name: "zhao", role };
        let refused = engine.sign(asked.id, nobody, None).await.unwrap_err();
        let words = format!("zhao is {role}; approving takes the role approver");
        assert_eq!(refused.to_string(), words);
        let refused = engine.reject(asked.id, nobody, "no").await.unwrap_err();
        assert_eq!(refused.to_string(), words);
    }
    let admin = Signer {
        name: "zhao",
        role: Role::Admin,
    };
    engine.sign(asked.id, admin, None).await.unwrap();
    assert_eq!(chained(&world, asked.id).await.len(), 2);
}

async fn one_person_does_not_sign_twice(world: World) {
    let engine = world.engine("w");
    let asked = ask(&world, payout("S-1", "100.00")).await;
    engine.sign(asked.id, wang(), None).await.unwrap();
    for name in ["wang", "Wang", "WANG"] {
        let again = Signer { name, ..wang() };
        let refused = engine.sign(asked.id, again, None).await.unwrap_err();
        assert!(is_same_person(&refused), "{refused}");
    }
    engine.sign(asked.id, li(), None).await.unwrap();
    let refused = engine.sign(asked.id, li(), None).await.unwrap_err();
    let words = format!("approval {}: it is approved already", asked.id);
    assert_eq!(refused.to_string(), words);
}

async fn a_signature_for_something_else_is_refused(world: World) {
    let engine = world.engine("w");
    let asked = ask(&world, payout("S-1", "100.00")).await;
    let other = "cd".repeat(32);
    let refused = engine
        .sign(asked.id, wang(), Some(&other))
        .await
        .unwrap_err();
    assert_eq!(
        refused.to_string(),
        format!(
            "approval {}: it does not show what was signed: its digest is {}; look at it again",
            asked.id, asked.digest
        )
    );
    assert_eq!(find(&world, asked.id).await, asked);
}

async fn one_person_rejects_with_a_reason(world: World) {
    let engine = world.engine("w");
    let asked = ask(&world, payout("S-1", "100.00")).await;
    engine.sign(asked.id, wang(), None).await.unwrap();
    let rejected = engine
        .reject(asked.id, li(), "  not our\0merchant\n")
        .await
        .unwrap();
    assert_eq!(rejected.state, ApprovalState::Rejected);
    let kept = find(&world, asked.id).await;
    assert_eq!(kept.rejected_by.as_deref(), Some("li"));
    assert_eq!(kept.reason.as_deref(), Some("not our\u{FFFD}merchant"));
    for refused in [
        engine.sign(asked.id, li(), None).await.unwrap_err(),
        engine.reject(asked.id, li(), "again").await.unwrap_err(),
    ] {
        let words = format!("approval {}: it is rejected already", asked.id);
        assert_eq!(refused.to_string(), words);
    }
    // Whoever made it may take it back.
    let other = ask(&world, payout("S-2", "100.00")).await;
    engine.sign(other.id, wang(), None).await.unwrap();
    let taken_back = engine.reject(other.id, wang(), "a mistake").await.unwrap();
    assert_eq!(taken_back.state, ApprovalState::Rejected);
    assert_eq!(
        chained(&world, other.id).await[1..],
        ["wang approval_made", "wang approval_rejected"]
    );
}

async fn a_rejection_without_a_fit_reason_is_refused(world: World) {
    let asked = ask(&world, payout("S-1", "100.00")).await;
    for reason in ["", " \n\t", &"错".repeat(501)] {
        let refused = world.engine("w").reject(asked.id, li(), reason).await;
        assert_eq!(
            refused.unwrap_err().to_string(),
            "a rejection needs a reason of 1 to 500 characters"
        );
    }
    let longest = "错".repeat(500);
    let rejected = world.engine("w").reject(asked.id, li(), &longest).await;
    assert_eq!(rejected.unwrap().reason, Some(longest));
}

async fn an_unknown_request_is_not_found(world: World) {
    let id = ApprovalId(Uuid::from_u128(7));
    let engine = world.engine("w");
    for refused in [
        engine.sign(id, wang(), None).await.unwrap_err(),
        engine.reject(id, wang(), "no").await.unwrap_err(),
    ] {
        assert!(matches!(refused, ApprovalError::NotFound(it) if it == id));
    }
}

async fn what_is_shown_again_is_the_same_request(world: World) {
    let engine = world.engine("w");
    let asked = ask(&world, payout("S-1", "100.00")).await;
    assert_eq!(ask(&world, payout("S-1", "100.00")).await, asked);
    engine.sign(asked.id, wang(), None).await.unwrap();
    engine.sign(asked.id, li(), None).await.unwrap();
    let again = ask(&world, payout("S-1", "100.00")).await;
    assert_eq!((again.id, again.state), (asked.id, ApprovalState::Approved));
    // The same thing is another request for another action or subject.
    let release = NewApproval {
        action: ApprovalAction::Release,
        ..payout("S-1", "100.00")
    };
    assert_ne!(ask(&world, release).await.id, asked.id);
    assert_ne!(ask(&world, payout("S-2", "100.00")).await.id, asked.id);
}

async fn what_changed_is_asked_again_also_after_its_approval(world: World) {
    let engine = world.engine("w");
    let first = ask(&world, payout("S-1", "100.00")).await;
    engine.sign(first.id, wang(), None).await.unwrap();
    world.advance_seconds(1);
    let second = ask(&world, payout("S-1", "100.01")).await;
    assert_eq!(second.state, ApprovalState::Requested);
    assert_eq!(second.maker, None);
    let superseded = find(&world, first.id).await;
    assert_eq!(superseded.state, ApprovalState::Superseded);
    assert_eq!(
        superseded.reason.unwrap(),
        format!(
            "what was shown changed: its digest is now {}",
            second.digest
        )
    );
    let refused = engine.sign(first.id, li(), None).await.unwrap_err();
    assert!(refused.to_string().ends_with("it is superseded already"));

    engine.sign(second.id, wang(), None).await.unwrap();
    engine.sign(second.id, li(), None).await.unwrap();
    world.advance_seconds(1);
    let third = ask(&world, payout("S-1", "100.00")).await;
    assert_eq!(third.state, ApprovalState::Requested);
    assert_ne!(third.id, first.id);
    assert_eq!(third.digest, first.digest);
    assert_eq!(
        find(&world, second.id).await.state,
        ApprovalState::Superseded
    );
    let mut tx = world.store.read().await.unwrap();
    let all = approvals::of_subject(&mut tx, ApprovalAction::Payout, "S-1").await;
    let ids: Vec<ApprovalId> = all.unwrap().iter().map(|it| it.id).collect();
    assert_eq!(ids, [third.id, second.id, first.id]);
    assert_eq!(
        chained(&world, second.id).await.last().unwrap(),
        "clearday approval_superseded"
    );
}

async fn what_is_asked_later_is_newer_whatever_the_clocks_say(world: World) {
    let ahead = ahead_of(&world);
    let mut tx = world.begin().await;
    let first = ahead.request_approval_in(&mut tx, payout("S-1", "1.00"));
    let first = first.await.unwrap();
    tx.commit().await.unwrap();
    let second = ask(&world, payout("S-1", "2.00")).await;
    assert!(second.requested_at > first.requested_at);
    let third = ask(&world, payout("S-1", "1.00")).await;
    let mut tx = world.store.read().await.unwrap();
    let all = approvals::of_subject(&mut tx, ApprovalAction::Payout, "S-1").await;
    let ids: Vec<ApprovalId> = all.unwrap().iter().map(|it| it.id).collect();
    assert_eq!(ids, [third.id, second.id, first.id]);
}

/// The engine of a process whose clock is far ahead of the others'.
fn ahead_of(world: &World) -> Engine {
    let ahead = Clock::manual(world.now() + TimeDelta::days(300));
    Engine::new(
        world.store.clone(),
        ahead.clone(),
        Ids::random(ahead),
        POLICY,
        "command-line".to_owned(),
        Arc::new(NoBell),
    )
}

async fn what_was_rejected_is_asked_again_only_when_it_shows_something_else(world: World) {
    let engine = world.engine("w");
    let first = ask(&world, payout("S-1", "100.00")).await;
    engine.reject(first.id, li(), "hold it").await.unwrap();
    world.advance_seconds(1);
    let again = ask(&world, payout("S-1", "100.00")).await;
    assert_eq!((again.id, again.state), (first.id, ApprovalState::Rejected));
    let second = ask(&world, payout("S-1", "90.00")).await;
    assert_eq!(second.state, ApprovalState::Requested);
    // A rejection is history; it is not superseded.
    assert_eq!(find(&world, first.id).await.state, ApprovalState::Rejected);
}

async fn what_is_below_the_limit_of_the_day_needs_nobody(world: World) {
    let small = |subject: &str, amount: &str| NewApproval {
        people: PeopleNeeded::TwoFrom(Some(cny("100.00"))),
        ..payout(subject, amount)
    };
    let first = ask(&world, small("S-1", "60.00")).await;
    assert_eq!(first.state, ApprovalState::Approved);
    assert_eq!(first.rule, ApprovalRule::BelowLimit);
    assert_eq!((&first.maker, &first.checker), (&None, &None));
    assert_eq!(
        first.reason.as_deref().unwrap(),
        "with all that the payee gets that day below the limit of 100.00 CNY"
    );
    assert_eq!(first, find(&world, first.id).await);
    assert_eq!(
        chained(&world, first.id).await,
        ["clearday approved_below_limit"]
    );
    // Splitting does not help: the day is one sum, whatever the merchant.
    let rest = ask(&world, small("S-2", "40.00")).await;
    assert_eq!(rest.state, ApprovalState::Requested);
    let another_day = NewApproval {
        value_on: Some("2026-03-04".parse().unwrap()),
        ..small("S-3", "40.00")
    };
    assert_eq!(
        ask(&world, another_day).await.state,
        ApprovalState::Approved
    );
    let another_payee = NewApproval {
        payee: Some("6222 0001".to_owned()),
        ..small("S-4", "40.00")
    };
    assert_eq!(
        ask(&world, another_payee).await.state,
        ApprovalState::Approved
    );
    // What is asked anew does not count itself.
    let corrected = ask(&world, small("S-1", "60.01")).await;
    assert_eq!(
        corrected.state,
        ApprovalState::Requested,
        "S-2 is asked for"
    );
    world
        .engine("w")
        .reject(rest.id, li(), "not today")
        .await
        .unwrap();
    let corrected = ask(&world, small("S-1", "59.98")).await;
    assert_eq!(corrected.state, ApprovalState::Approved);
    // Without a limit, in another currency, or without a payee or a day: two people.
    for two in [
        payout("S-5", "0.01"),
        NewApproval {
            people: PeopleNeeded::TwoFrom(None),
            ..payout("S-6", "0.01")
        },
        NewApproval {
            payee: None,
            ..small("S-7", "0.01")
        },
        NewApproval {
            value_on: None,
            ..small("S-8", "0.01")
        },
        NewApproval {
            amount: None,
            ..small("S-9", "0.01")
        },
        NewApproval {
            amount: Some(Money::from_minor(1, Currency::parse("JPY").unwrap())),
            ..small("S-10", "0.01")
        },
    ] {
        let asked = ask(&world, two).await;
        assert_eq!(asked.state, ApprovalState::Requested, "{}", asked.subject);
        assert_eq!(asked.rule, ApprovalRule::TwoPeople);
    }
}

async fn only_payouts_do_without_people(world: World) {
    for action in ApprovalAction::ALL {
        let small = NewApproval {
            action: *action,
            people: PeopleNeeded::TwoFrom(Some(cny("1000000.00"))),
            payee: Some(action.to_string()),
            ..payout("S-1", "0.01")
        };
        let is_approved = ask(&world, small).await.state == ApprovalState::Approved;
        assert_eq!(is_approved, *action == ApprovalAction::Payout, "{action}");
    }
}

async fn lists_run_from_the_newest_to_the_oldest(world: World) {
    let mut ids = Vec::new();
    for number in 0..5 {
        ids.push(ask(&world, payout(&format!("S-{number}"), "1.00")).await.id);
    }
    world.engine("w").reject(ids[3], li(), "no").await.unwrap();
    let mut tx = world.store.read().await.unwrap();
    let mut list = async |state, before, limit| {
        let filter = ApprovalFilter { state, before };
        let found = approvals::list(&mut tx, filter, limit).await.unwrap();
        found.iter().map(|it| it.id).collect::<Vec<_>>()
    };
    assert_eq!(list(None, None, 2).await, [ids[4], ids[3]]);
    assert_eq!(list(None, Some(ids[3]), 9).await, [ids[2], ids[1], ids[0]]);
    let requested = Some(ApprovalState::Requested);
    assert_eq!(list(requested, None, 2).await, [ids[4], ids[2]]);
    assert_eq!(list(Some(ApprovalState::Rejected), None, 9).await, [ids[3]]);
    assert_eq!(list(Some(ApprovalState::Approved), None, 9).await, []);
}

async fn a_decision_makes_the_waiting_job_due(world: World) {
    let engine = world.engine("w");
    for rejects in [false, true] {
        let job = world.leased_job(&engine, &format!("{rejects}")).await;
        let run = Run::new(engine.clone(), job.clone());
        let mut tx = run.begin().await.unwrap();
        let new = waiting(job.id, &format!("S-{rejects}"));
        let asked = run.request_approval(&mut tx, new).await.unwrap();
        run.snooze(tx, next_day(&world), "waits for approval")
            .await
            .unwrap();
        world.bell.take(JobKind::Reconciliation);
        world.advance_seconds(60);

        engine.sign(asked.id, wang(), None).await.unwrap();
        assert_eq!(world.job(job.id).await.note, "waits for approval");
        assert_eq!(world.bell.take(JobKind::Reconciliation), 0);
        if rejects {
            engine.reject(asked.id, li(), "no").await.unwrap();
        } else {
            engine.sign(asked.id, li(), None).await.unwrap();
        }
        let woken = world.job(job.id).await;
        assert_eq!(woken.state, JobState::Ready);
        assert!(woken.run_at <= world.now());
        let outcome = if rejects { "rejected" } else { "approved" };
        assert_eq!(
            woken.note,
            format!("payout S-{rejects} was {outcome} by li")
        );
        assert_eq!(world.bell.take(JobKind::Reconciliation), 1);
        assert_eq!(
            world.story(job.id).await.last().unwrap(),
            "4 requeued ready"
        );
        lease_one(&engine, job.id).await;
    }
}

/// A command line beside a demonstration, whose clock stands at another date.
async fn a_decision_by_a_clock_that_is_ahead_makes_the_job_due_all_the_same(world: World) {
    let engine = world.engine("w");
    let job = world.leased_job(&engine, "a").await;
    let run = Run::new(engine.clone(), job.clone());
    let mut tx = run.begin().await.unwrap();
    let asked = run.request_approval(&mut tx, waiting(job.id, "S-1")).await;
    run.snooze(tx, next_day(&world), "waits").await.unwrap();
    let command_line = ahead_of(&world);
    let id = asked.unwrap().id;
    command_line.sign(id, wang(), None).await.unwrap();
    command_line.sign(id, li(), None).await.unwrap();
    lease_one(&engine, job.id).await;
}

/// The run looks, the decision comes, the run goes to sleep for a day: it must not.
async fn a_decision_is_not_lost_on_a_run_that_looked_before_it(world: World) {
    let engine = world.engine("w");
    let asked = ask(&world, payout("S-1", "1.00")).await;
    engine.sign(asked.id, wang(), None).await.unwrap();
    let job = world.leased_job(&engine, "a").await;
    let run = Run::new(engine.clone(), job.clone());
    let mut tx = run.begin().await.unwrap();
    let again = NewApproval {
        job_id: Some(job.id),
        ..payout("S-1", "1.00")
    };
    let seen = run.request_approval(&mut tx, again).await.unwrap();
    assert_eq!(seen.state, ApprovalState::Requested);
    run.checkpoint(tx).await.unwrap();

    engine.sign(asked.id, li(), None).await.unwrap();
    assert_eq!(world.job(job.id).await, job, "its worker keeps it");
    world.bell.take(JobKind::Reconciliation);
    let tx = run.begin().await.unwrap();
    run.snooze(tx, next_day(&world), "waits for approval")
        .await
        .unwrap();
    let woken = world.job(job.id).await;
    assert_eq!((woken.state, woken.run_at), (JobState::Ready, world.now()));
    assert_eq!(woken.note, "woken meanwhile; waits for approval");
    assert_eq!(world.bell.take(JobKind::Reconciliation), 1);

    // The mark is spent: the next snooze is a snooze.
    let job = lease_one(&engine, job.id).await;
    let run = Run::new(engine, job.clone());
    let tx = run.begin().await.unwrap();
    run.snooze(tx, next_day(&world), "waits for the bank")
        .await
        .unwrap();
    assert_eq!(world.job(job.id).await.run_at, next_day(&world));
}

/// The run looks, the decision comes, the run says that it is done, or fails: it must look again.
async fn a_decision_is_not_lost_on_a_run_that_ends(world: World) {
    let engine = world.engine("w");
    let mut job = world.leased_job(&engine, "a").await;
    for (subject, failure) in [
        ("S-1", None),
        ("S-2", Some(WorkError::LostRace("it".to_owned()))),
        (
            "S-3",
            Some(WorkError::Invalid("it makes no sense".to_owned())),
        ),
    ] {
        let asked = ask(&world, waiting(job.id, subject)).await;
        engine.sign(asked.id, wang(), None).await.unwrap();
        engine.sign(asked.id, li(), None).await.unwrap();
        let id = job.id;
        engine
            .execute(job, async |run| {
                if let Some(failure) = failure {
                    return Err(failure);
                }
                let tx = run.begin().await?;
                run.done(tx, "nothing to do").await
            })
            .await;
        let woken = world.job(id).await;
        assert_eq!((woken.state, woken.run_at), (JobState::Ready, world.now()));
        assert!(
            woken.note.starts_with("woken meanwhile; "),
            "{}",
            woken.note
        );
        job = lease_one(&engine, id).await;
    }
    let run = Run::new(engine, job.clone());
    let tx = run.begin().await.unwrap();
    run.done(tx, "nothing more to do").await.unwrap();
    assert_eq!(world.job(job.id).await.state, JobState::Done);
}

async fn a_decision_leaves_jobs_that_ended_alone(world: World) {
    let engine = world.engine("w");
    let cancelled = world.due_job("cancelled").await;
    engine.cancel(cancelled, "ops").await.unwrap();
    let done = world.leased_job(&engine, "done").await;
    let run = Run::new(engine.clone(), done.clone());
    let tx = run.begin().await.unwrap();
    run.done(tx, "done").await.unwrap();
    for id in [cancelled, done.id] {
        let before = world.job(id).await;
        let asked = ask(&world, waiting(id, &id.to_string())).await;
        engine.sign(asked.id, wang(), None).await.unwrap();
        let approved = engine.sign(asked.id, li(), None).await.unwrap();
        assert_eq!(approved.state, ApprovalState::Approved);
        assert_eq!(world.job(id).await, before);
    }
}

async fn the_job_that_asked_last_is_the_one_that_is_woken(world: World) {
    let engine = world.engine("w");
    let (first, second) = (world.due_job("a").await, world.due_job("b").await);
    for id in [first, second] {
        let job = lease_one(&engine, id).await;
        let run = Run::new(engine.clone(), job);
        let mut tx = run.begin().await.unwrap();
        run.request_approval(&mut tx, waiting(id, "S-1"))
            .await
            .unwrap();
        run.snooze(tx, next_day(&world), "waits").await.unwrap();
        engine.hand_back_all().await.unwrap();
    }
    let asked = ask(&world, payout("S-1", "1.00")).await;
    assert_eq!(asked.job_id, Some(second));
    world.advance_seconds(1);
    engine.sign(asked.id, wang(), None).await.unwrap();
    engine.sign(asked.id, li(), None).await.unwrap();
    assert!(world.job(second).await.run_at <= world.now());
    assert!(world.job(first).await.run_at > world.now());
}

async fn a_run_that_lost_its_lease_asks_nobody(world: World) {
    let engine = world.engine("w");
    let job = world.leased_job(&engine, "a").await;
    let stale = Run::new(engine.clone(), job.clone());
    engine.hand_back_all().await.unwrap();
    let mut tx = stale.begin().await.unwrap();
    let asked = stale
        .request_approval(&mut tx, waiting(job.id, "S-1"))
        .await;
    let refused = stale.checkpoint(tx).await.unwrap_err();
    assert!(matches!(refused, WorkError::StaleLease));
    let mut tx = world.store.read().await.unwrap();
    assert_eq!(
        approvals::find(&mut tx, asked.unwrap().id).await.unwrap(),
        None
    );
    assert_eq!(audit::head(&mut tx).await.unwrap().unwrap().seq, 0);
}

async fn a_run_puts_what_it_did_on_the_chain(world: World) {
    let engine = world.engine("w");
    let job = world.leased_job(&engine, "a").await;
    let run = Run::new(engine.clone(), job);
    let sent = |subject: &str| AuditEntry {
        who: "clearday".to_owned(),
        what: AuditAction::PayoutSent,
        subject: subject.to_owned(),
        detail: json!({}),
    };
    let mut tx = run.begin().await.unwrap();
    run.audit(&mut tx, sent("P-1"));
    run.checkpoint(tx).await.unwrap();
    let mut tx = run.begin().await.unwrap();
    run.audit(&mut tx, sent("P-2"));
    run.audit(&mut tx, sent("P-3"));
    run.done(tx, "paid").await.unwrap();
    let mut tx = world.store.read().await.unwrap();
    let rows = audit::after(&mut tx, 0, 10).await.unwrap();
    let subjects: Vec<&str> = rows.iter().map(|row| row.subject.as_str()).collect();
    assert_eq!(subjects, ["P-1", "P-2", "P-3"]);
    assert_eq!(engine.verify_audit().await.unwrap().broken, None);
}

async fn two_people_sign_at_once(world: World) {
    let engine = world.engine("w");
    for round in 0..ROUNDS {
        let asked = ask(&world, payout(&format!("S-{round}"), "1.00")).await;
        let (one, other) = tokio::join!(
            engine.sign(asked.id, wang(), None),
            engine.sign(asked.id, li(), None)
        );
        let mut states = [one.unwrap().state, other.unwrap().state];
        states.sort();
        assert_eq!(states, [ApprovalState::Requested, ApprovalState::Approved]);
        let approved = find(&world, asked.id).await;
        assert_eq!(approved.state, ApprovalState::Approved);
        let people = [
            approved.maker.unwrap().person,
            approved.checker.unwrap().person,
        ];
        assert!(people == ["wang", "li"] || people == ["li", "wang"]);
    }
    assert_eq!(engine.verify_audit().await.unwrap().broken, None);
}

async fn one_person_signs_twice_at_once(world: World) {
    let engine = world.engine("w");
    for round in 0..ROUNDS {
        let asked = ask(&world, payout(&format!("S-{round}"), "1.00")).await;
        let (one, other) = tokio::join!(
            engine.sign(asked.id, wang(), None),
            engine.sign(asked.id, wang(), None)
        );
        let (signed, refused) = one_of_each(one, other);
        assert_eq!(signed.state, ApprovalState::Requested);
        assert!(is_same_person(&refused), "{refused}");
        let kept = find(&world, asked.id).await;
        assert_eq!((kept.state, kept.checker), (ApprovalState::Requested, None));
    }
}

async fn two_checkers_sign_at_once(world: World) {
    let engine = world.engine("w");
    for round in 0..ROUNDS {
        let asked = ask(&world, payout(&format!("S-{round}"), "1.00")).await;
        engine.sign(asked.id, wang(), None).await.unwrap();
        let zhao = Signer {
            name: "zhao",
            ..li()
        };
        let (one, other) = tokio::join!(
            engine.sign(asked.id, li(), None),
            engine.sign(asked.id, zhao, None)
        );
        let (approved, refused) = one_of_each(one, other);
        assert_eq!(approved, find(&world, asked.id).await);
        assert!(refused.to_string().ends_with("it is approved already"));
    }
}

async fn one_signs_while_another_rejects(world: World) {
    let engine = world.engine("w");
    for round in 0..ROUNDS {
        let asked = ask(&world, payout(&format!("S-{round}"), "1.00")).await;
        engine.sign(asked.id, wang(), None).await.unwrap();
        let (one, other) = tokio::join!(
            engine.sign(asked.id, li(), None),
            engine.reject(asked.id, li(), "no")
        );
        let (decided, refused) = one_of_each(one, other);
        assert_eq!(decided, find(&world, asked.id).await);
        let words = format!("it is {} already", decided.state);
        assert!(refused.to_string().ends_with(&words), "{refused}");
    }
}

/// A checker who signs what is being replaced either came too early or too late; what is in force
/// afterwards was never approved.
async fn one_signs_while_the_request_changes(world: World) {
    let engine = world.engine("w");
    for round in 0..ROUNDS {
        let subject = format!("S-{round}");
        let asked = ask(&world, payout(&subject, "1.00")).await;
        engine.sign(asked.id, wang(), None).await.unwrap();
        let (signed, changed) = tokio::join!(
            engine.sign(asked.id, li(), None),
            ask(&world, payout(&subject, "2.00"))
        );
        if let Err(refused) = signed {
            assert!(refused.to_string().ends_with("it is superseded already"));
        }
        assert_eq!(
            find(&world, asked.id).await.state,
            ApprovalState::Superseded
        );
        assert_eq!(changed, find(&world, changed.id).await);
        assert_eq!(
            (changed.state, changed.maker),
            (ApprovalState::Requested, None)
        );
    }
}

async fn two_ask_at_once(world: World) {
    for round in 0..ROUNDS {
        let subject = format!("S-{round}");
        let (one, other) = tokio::join!(
            ask(&world, payout(&subject, "1.00")),
            ask(&world, payout(&subject, "1.00"))
        );
        assert_eq!(one.id, other.id);
        let (one, other) = tokio::join!(
            ask(&world, payout(&subject, "2.00")),
            ask(&world, payout(&subject, "3.00"))
        );
        assert_ne!(one.id, other.id);
        let mut tx = world.store.read().await.unwrap();
        let all = approvals::of_subject(&mut tx, ApprovalAction::Payout, &subject).await;
        let all = all.unwrap();
        let in_force = all.iter().filter(|it| it.state == ApprovalState::Requested);
        assert_eq!((all.len(), in_force.count()), (3, 1));
    }
}

async fn two_small_payouts_at_once_do_not_pass_the_limit_together(world: World) {
    for round in 0..ROUNDS {
        let small = |subject: &str| NewApproval {
            people: PeopleNeeded::TwoFrom(Some(cny("100.00"))),
            payee: Some(format!("payee {round}")),
            ..payout(&format!("S-{round}-{subject}"), "60.00")
        };
        let (one, other) = tokio::join!(try_ask(&world, small("a")), try_ask(&world, small("b")));
        let approved = [&one, &other]
            .into_iter()
            .filter(|it| matches!(it, Ok(asked) if asked.state == ApprovalState::Approved))
            .count();
        assert_eq!(approved, 1, "{one:?} {other:?}");
        for refused in [one, other].into_iter().filter_map(Result::err) {
            assert!(matches!(refused, ApprovalError::LostRace(_)), "{refused}");
        }
    }
}

/// Everybody locks in one order, so nobody is told to try again: workers that ask, take part in
/// the chain and let go of their jobs, while people sign for the same jobs and operators retry them.
async fn people_and_workers_never_wait_for_each_other(world: World) {
    let engine = world.engine("w");
    for round in 0..ROUNDS {
        let job = world.leased_job(&engine, &format!("{round}")).await;
        let subject = format!("S-{round}");
        let asked = ask(&world, waiting(job.id, &subject)).await;
        engine.sign(asked.id, wang(), None).await.unwrap();
        let run = Run::new(engine.clone(), job.clone());
        let works = async {
            let mut tx = run.begin().await.unwrap();
            let other = waiting(job.id, &format!("{subject} other"));
            run.request_approval(&mut tx, other).await.unwrap();
            run.checkpoint(tx).await.unwrap();
            let mut tx = run.begin().await.unwrap();
            run.request_approval(&mut tx, waiting(job.id, &subject))
                .await
                .unwrap();
            run.snooze(tx, next_day(&world), "waits").await.unwrap();
        };
        let signs = async { engine.sign(asked.id, li(), None).await.unwrap() };
        let cancels = async {
            let other = world.due_job(&format!("{round} cancelled")).await;
            engine.cancel(other, "ops").await.unwrap();
        };
        tokio::join!(works, signs, cancels);
        let left = world.job(job.id).await;
        assert_eq!(left.state, JobState::Ready);
        assert!(left.run_at <= world.now());
        engine.cancel(job.id, "ops").await.unwrap();
    }
    assert_eq!(engine.verify_audit().await.unwrap().broken, None);
}

fn one_of_each(
    one: Result<Approval, ApprovalError>,
    other: Result<Approval, ApprovalError>,
) -> (Approval, ApprovalError) {
    match (one, other) {
        (Ok(done), Err(refused)) | (Err(refused), Ok(done)) => (done, refused),
        both => panic!("{both:?}"),
    }
}

fn is_same_person(refused: &ApprovalError) -> bool {
    matches!(
        refused,
        ApprovalError::Refused {
            refusal: SignatureRefusal::SamePerson(_),
            ..
        }
    )
}

fn wang() -> Signer<'static> {
    Signer {
        name: "wang",
        role: Role::Approver,
    }
}

fn li() -> Signer<'static> {
    Signer {
        name: "li",
        role: Role::Approver,
    }
}

fn cny(amount: &str) -> Money {
    Money::parse_major(amount, Currency::parse("CNY").unwrap()).unwrap()
}

/// A payout that always takes two people.
fn payout(subject: &str, amount: &str) -> NewApproval {
    let value_on: NaiveDate = "2026-03-03".parse().unwrap();
    NewApproval {
        action: ApprovalAction::Payout,
        subject: subject.to_owned(),
        shown: json!({"to": "6222 0000", "amount": amount}),
        merchant_id: Some("M-1".parse().unwrap()),
        payee: Some("6222 0000".to_owned()),
        amount: Some(cny(amount)),
        value_on: Some(value_on),
        people: PeopleNeeded::Two,
        maker: None,
        job_id: None,
    }
}

fn waiting(job_id: JobId, subject: &str) -> NewApproval {
    NewApproval {
        job_id: Some(job_id),
        ..payout(subject, "1.00")
    }
}

fn next_day(world: &World) -> DateTime<Utc> {
    world.now() + TimeDelta::days(1)
}

async fn ask(world: &World, new: NewApproval) -> Approval {
    try_ask(world, new).await.unwrap()
}

async fn try_ask(world: &World, new: NewApproval) -> Result<Approval, ApprovalError> {
    let mut tx = world.begin().await;
    let asked = world.engine("w").request_approval_in(&mut tx, new).await?;
    tx.commit().await.unwrap();
    Ok(asked)
}

async fn find(world: &World, id: ApprovalId) -> Approval {
    let mut tx = world.store.read().await.unwrap();
    approvals::find(&mut tx, id).await.unwrap().unwrap()
}

/// What the chain tells of a request.
async fn chained(world: &World, id: ApprovalId) -> Vec<String> {
    let mut tx = world.store.read().await.unwrap();
    let rows = audit::of_subject(&mut tx, &id.to_string()).await.unwrap();
    rows.iter()
        .map(|row| format!("{} {}", row.who, row.what))
        .collect()
}
