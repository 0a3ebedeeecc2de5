//! What is done next, as tables.

use std::sync::LazyLock;

use clearday_jobs::{Currency, JobId, Money, OperationId, SettlementId};
use uuid::Uuid;

use super::*;
use crate::domain::operation::{LEAVES_WITHIN, OperationKind};
use crate::domain::settlement_run::InstructionState;
use crate::domain::settlement_run::collect::Amounts;

fn cny(minor_units: i64) -> Money {
    Money::from_minor(minor_units, Currency::parse("CNY").unwrap())
}

fn instant(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

/// On the due day, ten in the morning in China.
fn due() -> DateTime<Utc> {
    instant("2026-03-03T02:00:00Z")
}

const APPROVAL: ApprovalId = ApprovalId(Uuid::from_u128(7));

fn operation(state: OperationState) -> Operation {
    Operation {
        id: OperationId(Uuid::from_u128(3)),
        job_id: JobId(Uuid::from_u128(1)),
        kind: OperationKind::PayOut,
        channel: "bank".parse().unwrap(),
        reference: "E1".parse().unwrap(),
        generation: 1,
        idempotency_key: "pay_out:bank:E1:1".to_owned(),
        state,
        intended_at: due(),
        updated_at: due(),
    }
}

fn instruction(state: PartState) -> Option<Instruction> {
    let (state, operation_state) = match state {
        PartState::Planned => return None,
        PartState::Sent => (InstructionState::Open, OperationState::Intended),
        PartState::Unknown => (InstructionState::Open, OperationState::Unknown),
        PartState::Accepted | PartState::Bounced => {
            (InstructionState::Open, OperationState::Succeeded)
        }
        PartState::Confirmed => (InstructionState::Confirmed, OperationState::Succeeded),
        PartState::Rejected | PartState::PaidOffline => {
            (InstructionState::Rejected, OperationState::Declined)
        }
        PartState::Returned => (InstructionState::Returned, OperationState::Succeeded),
    };
    Some(Instruction {
        generation: 1,
        end_to_end_id: "E1".parse().unwrap(),
        operation: operation(operation_state),
        approval_id: APPROVAL,
        bank: "bank".parse().unwrap(),
        payee_account_no: "6222".to_owned(),
        payee_name: "One".to_owned(),
        remittance: "settlement 1".to_owned(),
        state,
        debited_on: None,
        debit_no: None,
        unsent_at: None,
        created_at: due(),
        updated_at: due(),
    })
}

fn part(state: PartState) -> Part {
    Part {
        part_no: 1,
        amount: cny(500),
        state,
        reason: "by the test".to_owned(),
        updated_at: due(),
        instructions: instruction(state).into_iter().collect(),
        claims: Vec::new(),
    }
}

fn claim(state: ClaimState) -> Claim {
    Claim {
        id: OfflinePaymentId(Uuid::from_u128(9)),
        amount: cny(500),
        bank: "bank".parse().unwrap(),
        paid_on: "2026-03-03".parse().unwrap(),
        bank_reference: "B-1".to_owned(),
        proof_sha256: "0".repeat(64),
        registered_by: "li".to_owned(),
        approval_id: APPROVAL,
        state,
        debited_on: None,
        debit_no: None,
        registered_at: due(),
    }
}

fn settlement(state: SettlementState, parts: Vec<Part>) -> Settlement {
    let nothing = cny(0);
    Settlement {
        id: SettlementId(Uuid::from_u128(2)),
        merchant_id: "M-1".parse().unwrap(),
        currency: Currency::parse("CNY").unwrap(),
        sequence_no: 1,
        period_from: "2026-03-02".parse().unwrap(),
        period_until: "2026-03-03".parse().unwrap(),
        state,
        due_on: Some("2026-03-03".parse().unwrap()),
        calendar: "CN".to_owned(),
        calendar_version: "CN-2026.1".to_owned(),
        items_count: 1,
        amounts: Amounts {
            gross: cny(500),
            coupons: nothing,
            refunds: nothing,
            merchant_fees: nothing,
            reserve: nothing,
            carried: nothing,
            net: cny(500),
        },
        digest: "0".repeat(64),
        approval_id: None,
        job_id: JobId(Uuid::from_u128(1)),
        version: 1,
        created_at: due(),
        updated_at: due(),
        parts,
    }
}

const PROMISES: BankPromises = BankPromises {
    is_idempotent: false,
    processing_window: TimeDelta::hours(2),
};

const IDEMPOTENT: BankPromises = BankPromises {
    is_idempotent: true,
    ..PROMISES
};

static NOBODY: Resting = Resting::new();

fn bank_name() -> &'static ChannelName {
    static NAME: LazyLock<ChannelName> = LazyLock::new(|| "bank".parse().unwrap());
    &NAME
}

fn situation<'a>(settlement: &'a Settlement, consents: &'a Consents) -> Situation<'a> {
    Situation {
        settlement,
        consents,
        is_held: false,
        has_bank: true,
        bank_name: bank_name(),
        resting: &NOBODY,
        payment_day: None,
        zone: chrono_tz::Asia::Shanghai,
        now: due(),
    }
}

fn about_payout(payout: Consent) -> Consents {
    Consents {
        payout,
        ..Consents::default()
    }
}

fn about_release(release: Consent) -> Consents {
    Consents {
        releases: vec![(1, release)],
        ..Consents::default()
    }
}

fn consents() -> [(&'static str, Consent); 5] {
    let refused = |of_this_job| Consent::Refused {
        reason: "no".to_owned(),
        of_this_job,
    };
    let asked = Consent::Asked {
        waits_for: "two people".to_owned(),
    };
    [
        ("not asked", Consent::NotAsked),
        ("asked", asked),
        ("given", Consent::Given(APPROVAL)),
        ("refused", refused(true)),
        ("refused before", refused(false)),
    ]
}

/// The step without what is only for people.
fn short(step: &NextStep) -> String {
    match step {
        NextStep::Finished(_) => "Finished".to_owned(),
        NextStep::Leave(_) => "Leave".to_owned(),
        NextStep::Snooze(until, _) => format!("Snooze {}", until.format("%H:%M:%S")),
        NextStep::Date(_)
        | NextStep::AskForPayout
        | NextStep::TakeApproval(_)
        | NextStep::RevokeApproval
        | NextStep::AskForRelease(_)
        | NextStep::Release(_)
        | NextStep::PayOut(..)
        | NextStep::Query(_)
        | NextStep::MoveClaim(..)
        | NextStep::CountSecond(_)
        | NextStep::Close => {
            let words = format!("{step:?}");
            let name = words.split('(').next().unwrap_or_default().to_owned();
            if let NextStep::MoveClaim(_, event) = step {
                format!("{name} {event}")
            } else {
                name
            }
        }
    }
}

#[test]
fn what_was_never_sent_is_sent_when_people_agree() {
    let mut table = Vec::new();
    for state in [SettlementState::Calculated, SettlementState::Approved] {
        for (words, consent) in consents() {
            let settlement = settlement(state, vec![part(PartState::Planned)]);
            let consents = about_payout(consent);
            let step = decide(&situation(&settlement, &consents));
            table.push(format!("{state}, {words}: {}", short(&step)));
        }
    }
    assert_eq!(
        table.join("\n"),
        "\
calculated, not asked: AskForPayout
calculated, asked: Snooze 03:00:00
calculated, given: TakeApproval
calculated, refused: Leave
calculated, refused before: AskForPayout
approved, not asked: RevokeApproval
approved, asked: RevokeApproval
approved, given: PayOut
approved, refused: RevokeApproval
approved, refused before: RevokeApproval"
    );
}

#[test]
fn each_state_of_a_part_has_its_step() {
    let mut table = Vec::new();
    for state in PartState::ALL {
        for (words, consent) in consents() {
            let settlement = settlement(SettlementState::Approved, vec![part(*state)]);
            let consents = about_release(consent);
            let mut situation = situation(&settlement, &consents);
            situation.now += TimeDelta::minutes(1);
            let step = short(&decide(&situation));
            table.push(format!("{state}, release {words}: {step}"));
        }
    }
    table.dedup_by_key(|line| {
        let (state, rest) = line.split_once(',').unwrap();
        let step = rest.split_once(": ").unwrap().1;
        format!("{state}{step}")
    });
    assert_eq!(
        table.join("\n"),
        "\
planned, release not asked: RevokeApproval
sent, release not asked: Query
unknown, release not asked: Query
accepted, release not asked: Snooze 02:10:00
confirmed, release not asked: Close
rejected, release not asked: AskForRelease
rejected, release asked: Snooze 03:01:00
rejected, release given: Release
rejected, release refused: Leave
rejected, release refused before: AskForRelease
bounced, release not asked: Snooze 02:10:00
returned, release not asked: AskForRelease
returned, release asked: Snooze 03:01:00
returned, release given: Release
returned, release refused: Leave
returned, release refused before: AskForRelease
paid_offline, release not asked: Close"
    );
}

#[test]
fn a_released_part_is_sent_again_by_its_release_alone() {
    let mut again = part(PartState::Planned);
    again.instructions = instruction(PartState::Rejected).into_iter().collect();
    let settlement = settlement(SettlementState::Approved, vec![again]);
    let mut table = Vec::new();
    for (words, consent) in consents() {
        let step = decide(&situation(&settlement, &about_release(consent)));
        table.push(format!("{words}: {}", short(&step)));
    }
    assert_eq!(
        table.join("\n"),
        "\
not asked: AskForRelease
asked: Snooze 03:00:00
given: PayOut
refused: Leave
refused before: AskForRelease"
    );
}

#[test]
fn a_claim_holds_its_part_and_waits_for_what_left() {
    let mut table = Vec::new();
    for state in PartState::ALL {
        for claim_state in [ClaimState::Registered, ClaimState::Waiting] {
            for (words, consent) in consents() {
                let mut claimed = part(*state);
                claimed.claims.push(claim(claim_state));
                let settlement = settlement(SettlementState::Approved, vec![claimed]);
                let mut consents = about_payout(Consent::Given(APPROVAL));
                consents.claims = vec![(claim(claim_state).id, consent)];
                let mut situation = situation(&settlement, &consents);
                situation.now += TimeDelta::seconds(1);
                let step = short(&decide(&situation));
                table.push(format!("{state}, {claim_state}, {words}: {step}"));
            }
        }
    }
    table.retain(|line| !line.contains("waiting, asked") && !line.contains("refused before"));
    table.retain(|line| !line.contains("waiting, given") && !line.contains("waiting, refused"));
    assert_eq!(
        table.join("\n"),
        "\
planned, registered, not asked: Snooze 03:00:01
planned, registered, asked: Snooze 03:00:01
planned, registered, given: MoveClaim approve
planned, registered, refused: MoveClaim refuse
planned, waiting, not asked: MoveClaim count
sent, registered, not asked: Snooze 02:00:05
sent, registered, asked: Snooze 02:00:05
sent, registered, given: MoveClaim approve
sent, registered, refused: MoveClaim refuse
sent, waiting, not asked: Snooze 02:00:05
unknown, registered, not asked: Snooze 02:00:05
unknown, registered, asked: Snooze 02:00:05
unknown, registered, given: MoveClaim approve
unknown, registered, refused: MoveClaim refuse
unknown, waiting, not asked: Snooze 02:00:05
accepted, registered, not asked: Snooze 02:10:00
accepted, registered, asked: Snooze 02:10:00
accepted, registered, given: MoveClaim approve
accepted, registered, refused: MoveClaim refuse
accepted, waiting, not asked: Snooze 02:10:00
confirmed, registered, not asked: Close
confirmed, registered, asked: Close
confirmed, registered, given: MoveClaim approve
confirmed, registered, refused: MoveClaim refuse
confirmed, waiting, not asked: MoveClaim yield
rejected, registered, not asked: Snooze 03:00:01
rejected, registered, asked: Snooze 03:00:01
rejected, registered, given: MoveClaim approve
rejected, registered, refused: MoveClaim refuse
rejected, waiting, not asked: MoveClaim count
bounced, registered, not asked: Snooze 02:10:00
bounced, registered, asked: Snooze 02:10:00
bounced, registered, given: MoveClaim approve
bounced, registered, refused: MoveClaim refuse
bounced, waiting, not asked: Snooze 02:10:00
returned, registered, not asked: Snooze 03:00:01
returned, registered, asked: Snooze 03:00:01
returned, registered, given: MoveClaim approve
returned, registered, refused: MoveClaim refuse
returned, waiting, not asked: MoveClaim count
paid_offline, registered, not asked: Close
paid_offline, registered, asked: Close
paid_offline, registered, given: MoveClaim approve
paid_offline, registered, refused: MoveClaim refuse
paid_offline, waiting, not asked: MoveClaim yield"
    );
}

#[test]
fn a_second_payment_counts_when_the_first_one_is_dead() {
    let mut table = Vec::new();
    for state in PartState::ALL {
        for (words, is_by_bank, is_claimed) in [
            ("the bank's", true, false),
            ("claimed", false, false),
            ("claimed, and another claim waits", false, true),
        ] {
            let mut twice = part(*state);
            if is_by_bank {
                let mut late = instruction(PartState::Rejected).unwrap();
                late.debited_on = Some(due().date_naive());
                twice.instructions.insert(0, late);
            } else {
                let mut surplus = claim(ClaimState::Surplus);
                surplus.debited_on = Some(due().date_naive());
                twice.claims.push(surplus);
            }
            twice
                .claims
                .extend(is_claimed.then(|| claim(ClaimState::Waiting)));
            let settlement = settlement(SettlementState::Approved, vec![twice]);
            let consents = about_payout(Consent::Given(APPROVAL));
            let step = short(&decide(&situation(&settlement, &consents)));
            table.push(format!("{state}, {words}: {step}"));
        }
    }
    assert_eq!(
        table.join("\n"),
        "\
planned, the bank's: CountSecond
planned, claimed: CountSecond
planned, claimed, and another claim waits: CountSecond
sent, the bank's: Snooze 02:00:05
sent, claimed: Snooze 02:00:05
sent, claimed, and another claim waits: Snooze 02:00:05
unknown, the bank's: Snooze 02:00:05
unknown, claimed: Snooze 02:00:05
unknown, claimed, and another claim waits: Snooze 02:00:05
accepted, the bank's: Snooze 02:10:00
accepted, claimed: Snooze 02:10:00
accepted, claimed, and another claim waits: Snooze 02:10:00
confirmed, the bank's: Close
confirmed, claimed: Close
confirmed, claimed, and another claim waits: MoveClaim yield
rejected, the bank's: CountSecond
rejected, claimed: CountSecond
rejected, claimed, and another claim waits: CountSecond
bounced, the bank's: Snooze 02:10:00
bounced, claimed: Snooze 02:10:00
bounced, claimed, and another claim waits: Snooze 02:10:00
returned, the bank's: CountSecond
returned, claimed: CountSecond
returned, claimed, and another claim waits: CountSecond
paid_offline, the bank's: Close
paid_offline, claimed: Close
paid_offline, claimed, and another claim waits: MoveClaim yield"
    );
}

#[test]
fn nothing_is_sent_before_its_day_without_a_date_or_while_held() {
    let approved = settlement(SettlementState::Approved, vec![part(PartState::Planned)]);
    let consents = about_payout(Consent::Given(APPROVAL));
    let mut early = situation(&approved, &consents);
    early.now = instant("2026-03-02T15:59:59Z");
    let begins = instant("2026-03-02T16:00:00Z");
    assert_eq!(
        decide(&early),
        NextStep::Snooze(begins, "it is paid on 2026-03-03".to_owned())
    );
    early.now = begins;
    assert_eq!(decide(&early), NextStep::PayOut(1, APPROVAL));
    early.is_held = true;
    assert!(matches!(decide(&early), NextStep::Snooze(_, why) if why.contains("held")));

    let mut undated = approved.clone();
    undated.due_on = None;
    let step = decide(&situation(&undated, &consents));
    assert!(matches!(step, NextStep::Snooze(_, why) if why.contains("unknown")));

    let mut nowhere = situation(&approved, &consents);
    nowhere.has_bank = false;
    assert!(matches!(decide(&nowhere), NextStep::Snooze(_, why) if why.contains("[[banks]]")));
}

#[test]
fn a_bank_that_is_left_alone_gets_no_order_and_no_question() {
    let unknown = Part {
        part_no: 2,
        ..part(PartState::Unknown)
    };
    let parts = vec![part(PartState::Planned), unknown];
    let approved = settlement(SettlementState::Approved, parts);
    let consents = about_payout(Consent::Given(APPROVAL));
    let mut situation = situation(&approved, &consents);
    situation.now += TimeDelta::minutes(1);
    assert_eq!(decide(&situation), NextStep::PayOut(1, APPROVAL));
    let rests = (instant("2026-03-03T02:02:00Z"), "breaker open".to_owned());
    let another = BTreeMap::from([("another".parse().unwrap(), rests.clone())]);
    situation.resting = &another;
    assert_eq!(decide(&situation), NextStep::PayOut(1, APPROVAL));
    let ours = BTreeMap::from([(bank_name().clone(), rests.clone())]);
    situation.resting = &ours;
    assert_eq!(decide(&situation), NextStep::Snooze(rests.0, rests.1));
}

#[test]
fn a_day_that_becomes_known_is_written_down_before_anybody_is_asked() {
    let day = instant("2027-01-04T00:00:00Z").date_naive();
    let mut table = Vec::new();
    for state in SettlementState::ALL {
        for part_state in [
            PartState::Planned,
            PartState::Accepted,
            PartState::Confirmed,
        ] {
            let mut undated = settlement(*state, vec![part(part_state)]);
            undated.due_on = None;
            let consents = about_payout(Consent::NotAsked);
            let mut known = situation(&undated, &consents);
            known.payment_day = Some(day);
            let step = short(&decide(&known));
            let mut dated = undated.clone();
            dated.due_on = Some(day);
            known.settlement = &dated;
            let after = short(&decide(&known));
            table.push(format!("{state}, {part_state}: {step}, then {after}"));
        }
    }
    assert_eq!(
        table.join("\n"),
        "\
calculated, planned: Date, then AskForPayout
calculated, accepted: Date, then Snooze 02:10:00
calculated, confirmed: Close, then Close
carried_over, planned: Finished, then Finished
carried_over, accepted: Finished, then Finished
carried_over, confirmed: Finished, then Finished
approved, planned: Date, then RevokeApproval
approved, accepted: Date, then Snooze 02:10:00
approved, confirmed: Close, then Close
paid, planned: Date, then AskForPayout
paid, accepted: Date, then Snooze 02:10:00
paid, confirmed: Finished, then Finished"
    );
}

#[test]
fn a_settlement_ends_when_every_part_is_paid() {
    let both = vec![part(PartState::Confirmed), part(PartState::PaidOffline)];
    let open = settlement(SettlementState::Approved, both.clone());
    let consents = Consents::default();
    assert_eq!(decide(&situation(&open, &consents)), NextStep::Close);
    let paid = settlement(SettlementState::Paid, both);
    let step = decide(&situation(&paid, &consents));
    assert_eq!(
        step,
        NextStep::Finished("settlement 1 of M-1 was paid: 5.00 CNY".to_owned())
    );
    let carried = settlement(SettlementState::CarriedOver, Vec::new());
    let step = decide(&situation(&carried, &consents));
    assert!(matches!(step, NextStep::Finished(why) if why.contains("below the minimum")));
}

#[test]
fn an_unknown_outcome_is_asked_for_without_end() {
    let unknown = settlement(SettlementState::Approved, vec![part(PartState::Unknown)]);
    let consents = Consents::default();
    for days in [0, 1, 2, 30, 365] {
        let mut situation = situation(&unknown, &consents);
        situation.now += TimeDelta::days(days) + TimeDelta::minutes(10);
        assert_eq!(decide(&situation), NextStep::Query(1), "after {days} days");
    }
}

#[test]
fn a_part_that_nobody_answers_about_does_not_hold_up_the_next_one() {
    let mut table = Vec::new();
    for state in PartState::ALL.iter().filter(|state| state.is_in_flight()) {
        let asked = instant("2026-03-03T02:01:00Z");
        let mut first = part(*state);
        for instruction in &mut first.instructions {
            instruction.updated_at = asked;
        }
        let second = Part {
            part_no: 2,
            ..part(PartState::Planned)
        };
        let both = settlement(SettlementState::Approved, vec![first.clone(), second]);
        let alone = settlement(SettlementState::Approved, vec![first]);
        let consents = about_payout(Consent::Given(APPROVAL));
        let step = |of| {
            let mut asked_just_now = situation(of, &consents);
            asked_just_now.now = asked;
            decide(&asked_just_now)
        };
        assert_eq!(step(&both), NextStep::PayOut(2, APPROVAL), "{state}");
        table.push(format!("{state}: {}", short(&step(&alone))));
    }
    assert_eq!(
        table.join("\n"),
        "\
sent: Snooze 02:01:15
unknown: Snooze 02:01:15
accepted: Snooze 02:11:00
bounced: Snooze 02:11:00"
    );
}

#[test]
fn each_answer_of_the_bank_has_its_meaning() {
    let views = [
        BankView::NotFound,
        BankView::Accepted,
        BankView::Booked,
        BankView::Rejected("no account".to_owned()),
        BankView::Returned("closed".to_owned()),
    ];
    let states = [
        (PartState::Sent, OperationState::Intended),
        (PartState::Unknown, OperationState::Unknown),
        (PartState::Accepted, OperationState::Succeeded),
        (PartState::Bounced, OperationState::Succeeded),
    ];
    let mut table = Vec::new();
    for (state, operation_state) in states {
        for view in &views {
            let operation = operation(operation_state);
            let resending = Resending::Allowed;
            let decision = decide_answer(view, state, &operation, PROMISES, resending, due());
            let words = format!("{decision:?}");
            let name = words.split('(').next().unwrap_or_default();
            let view = format!("{view:?}");
            let view = view.split('(').next().unwrap_or_default();
            table.push(format!("{state}, {view}: {name}"));
        }
    }
    assert_eq!(
        table.join("\n"),
        "\
sent, NotFound: Wait
sent, Accepted: Accept
sent, Booked: Accept
sent, Rejected: Reject
sent, Returned: Bounce
unknown, NotFound: Wait
unknown, Accepted: Accept
unknown, Booked: Accept
unknown, Rejected: Reject
unknown, Returned: Bounce
accepted, NotFound: Same
accepted, Accepted: Same
accepted, Booked: Same
accepted, Rejected: Reject
accepted, Returned: Bounce
bounced, NotFound: Same
bounced, Accepted: Same
bounced, Booked: Same
bounced, Rejected: Same
bounced, Returned: Same"
    );
}

#[test]
fn silence_proves_an_order_dead_only_after_the_processing_window() {
    let lost = operation(OperationState::Unknown);
    let at = |now, promises| {
        decide_answer(
            &BankView::NotFound,
            PartState::Unknown,
            &lost,
            promises,
            Resending::Allowed,
            now,
        )
    };
    let window = due() + LEAVES_WITHIN + TimeDelta::hours(2);
    let early = at(window - TimeDelta::microseconds(1), PROMISES);
    assert!(matches!(early, AnswerDecision::Wait(until, _) if until == window));
    assert!(matches!(at(window, PROMISES), AnswerDecision::Reject(_)));
    assert_eq!(at(due(), IDEMPOTENT), AnswerDecision::Replay);
}

#[test]
fn what_is_claimed_held_or_moved_is_not_sent_again() {
    let mut table = Vec::new();
    let window = due() + LEAVES_WITHIN + TimeDelta::hours(2);
    for (state, operation_state) in [
        (PartState::Sent, OperationState::Intended),
        (PartState::Unknown, OperationState::Unknown),
    ] {
        for claimed in [
            None,
            Some(ClaimState::Registered),
            Some(ClaimState::Waiting),
        ] {
            for (is_held, account_no) in [(false, "6222"), (true, "6222"), (false, "9999")] {
                let mut part = part(state);
                part.claims.extend(claimed.map(claim));
                let payee = Payee {
                    bank: bank_name().clone(),
                    account_no: account_no.to_owned(),
                    account_name: "One".to_owned(),
                };
                let resending = Resending::of(&part, &payee, is_held);
                let words = [due(), window].map(|now| {
                    let operation = operation(operation_state);
                    let view = BankView::NotFound;
                    let decision =
                        decide_answer(&view, state, &operation, IDEMPOTENT, resending, now);
                    let words = format!("{decision:?}");
                    words.split('(').next().unwrap_or_default().to_owned()
                });
                let claimed = claimed.map_or("not claimed", ClaimState::as_str);
                let held = match (is_held, account_no) {
                    (true, _) => "held",
                    (false, "6222") => "not held",
                    (false, _) => "at another account",
                };
                table.push(format!("{state}, {claimed}, {held}: {}", words.join(", ")));
            }
        }
    }
    assert_eq!(
        table.join("\n"),
        "\
sent, not claimed, not held: Replay, Replay
sent, not claimed, held: Wait, Reject
sent, not claimed, at another account: Wait, Reject
sent, registered, not held: Wait, Reject
sent, registered, held: Wait, Reject
sent, registered, at another account: Wait, Reject
sent, waiting, not held: Wait, Reject
sent, waiting, held: Wait, Reject
sent, waiting, at another account: Wait, Reject
unknown, not claimed, not held: Replay, Replay
unknown, not claimed, held: Wait, Reject
unknown, not claimed, at another account: Wait, Reject
unknown, registered, not held: Wait, Reject
unknown, registered, held: Wait, Reject
unknown, registered, at another account: Wait, Reject
unknown, waiting, not held: Wait, Reject
unknown, waiting, held: Wait, Reject
unknown, waiting, at another account: Wait, Reject"
    );
}

#[test]
fn the_bank_of_an_order_is_asked_whatever_bank_the_merchant_has_by_now() {
    for state in [PartState::Sent, PartState::Unknown, PartState::Accepted] {
        let under_way = settlement(SettlementState::Approved, vec![part(state)]);
        let consents = Consents::default();
        let elsewhere = Situation {
            has_bank: false,
            now: due() + TimeDelta::days(2),
            ..situation(&under_way, &consents)
        };
        assert_eq!(decide(&elsewhere), NextStep::Query(1), "{state}");
    }
}
