//! The public state as one table.

use clearday_jobs::Currency;

use super::*;

fn cny(minor_units: i64) -> Money {
    Money::from_minor(minor_units, Currency::parse("CNY").unwrap())
}

fn date(text: &str) -> NaiveDate {
    text.parse().unwrap()
}

fn facts(part: Option<PartFacts>) -> PublicFacts {
    PublicFacts {
        state: SettlementState::Calculated,
        net: cny(500),
        due_on: Some(date("2026-03-03")),
        today: date("2026-03-02"),
        is_held: false,
        parts: part.into_iter().collect(),
    }
}

fn part(state: PartState, amount: Money) -> PartFacts {
    PartFacts {
        part_no: 1,
        amount,
        state,
        leave: Leave::Open,
        claimed: Claimed::Nothing,
        is_unsent: false,
        paid_on: Some(date("2026-03-03")),
    }
}

fn line(facts: &PublicFacts) -> String {
    let told = progress(facts);
    let day = told
        .expected_on
        .map_or("-".to_owned(), |day| day.to_string());
    format!(
        "{} {} {} {day}",
        told.state.texts().zh,
        told.state,
        told.reason
    )
}

#[test]
fn the_public_state_is_one_table() {
    let mut table: Vec<String> = Vec::new();
    let claims = [
        (Claimed::Nothing, ""),
        (Claimed::ByOne, ", said to be paid offline by one"),
        (Claimed::ByTwo, ", said to be paid offline by two"),
    ];
    let leaves = [
        (Leave::Open, "not approved"),
        (Leave::Given, "approved"),
        (Leave::Refused, "refused"),
    ];
    for (today, when) in [
        ("2026-03-02", "before the day"),
        ("2026-03-03", "on the day"),
    ] {
        for (leave, words) in leaves {
            let planned = PartFacts {
                leave,
                ..part(PartState::Planned, cny(500))
            };
            let facts = PublicFacts {
                today: date(today),
                ..facts(Some(planned))
            };
            table.push(format!("planned, {when}, {words}: {}", line(&facts)));
        }
    }
    let planned = part(PartState::Planned, cny(500));
    let held = PublicFacts {
        is_held: true,
        today: date("2026-03-04"),
        ..facts(Some(planned))
    };
    table.push(format!("planned, held: {}", line(&held)));
    let undated = PublicFacts {
        due_on: None,
        ..facts(Some(planned))
    };
    table.push(format!("planned, no date: {}", line(&undated)));
    for state in PartState::ALL {
        for (claimed, words) in claims {
            if *state == PartState::Planned && claimed == Claimed::Nothing {
                continue;
            }
            let claimed = PartFacts {
                claimed,
                ..part(*state, cny(500))
            };
            table.push(format!("{state}{words}: {}", line(&facts(Some(claimed)))));
        }
    }
    for (state, words) in [
        (PartState::Sent, "sent, provably not"),
        (PartState::Rejected, "rejected, never sent"),
    ] {
        for (claimed, by) in claims {
            let unsent = PartFacts {
                claimed,
                is_unsent: true,
                paid_on: Some(date("2026-03-04")),
                ..part(state, cny(500))
            };
            table.push(format!("{words}{by}: {}", line(&facts(Some(unsent)))));
        }
    }
    let mut carried = facts(None);
    carried.state = SettlementState::CarriedOver;
    table.push(format!("carried over, above zero: {}", line(&carried)));
    carried.net = cny(0);
    table.push(format!("carried over, zero: {}", line(&carried)));
    carried.net = cny(-1);
    table.push(format!("carried over, below zero: {}", line(&carried)));
    assert_eq!(
        table.join("\n"),
        "\
planned, before the day, not approved: 未到付款日 not_due approval_before_due_date 2026-03-03
planned, before the day, approved: 未到付款日 not_due before_due_date 2026-03-03
planned, before the day, refused: 未到付款日 not_due approval_before_due_date 2026-03-03
planned, on the day, not approved: 等待付款 awaiting_payment approval_overdue -
planned, on the day, approved: 等待付款 awaiting_payment about_to_be_sent 2026-03-03
planned, on the day, refused: 等待付款 awaiting_payment approval_refused -
planned, held: 未到付款日 not_due held -
planned, no date: 未到付款日 not_due date_unknown -
planned, said to be paid offline by one: 等待付款 awaiting_payment offline_to_be_approved -
planned, said to be paid offline by two: 付款已提交 submitted paid_offline -
sent: 付款已提交 submitted sent 2026-03-03
sent, said to be paid offline by one: 付款已提交 submitted sent 2026-03-03
sent, said to be paid offline by two: 付款已提交 submitted sent 2026-03-03
unknown: 付款已提交 submitted outcome_unknown 2026-03-03
unknown, said to be paid offline by one: 付款已提交 submitted outcome_unknown 2026-03-03
unknown, said to be paid offline by two: 付款已提交 submitted outcome_unknown 2026-03-03
accepted: 付款已提交 submitted accepted_by_bank 2026-03-03
accepted, said to be paid offline by one: 付款已提交 submitted accepted_by_bank 2026-03-03
accepted, said to be paid offline by two: 付款已提交 submitted accepted_by_bank 2026-03-03
confirmed: 付款已提交 submitted on_statement -
confirmed, said to be paid offline by one: 付款已提交 submitted on_statement -
confirmed, said to be paid offline by two: 付款已提交 submitted on_statement -
rejected: 付款失败 failed rejected_by_bank -
rejected, said to be paid offline by one: 付款失败 failed rejected_by_bank -
rejected, said to be paid offline by two: 付款已提交 submitted paid_offline -
bounced: 付款失败 failed returned_by_bank -
bounced, said to be paid offline by one: 付款失败 failed returned_by_bank -
bounced, said to be paid offline by two: 付款已提交 submitted paid_offline -
returned: 付款失败 failed returned_by_bank -
returned, said to be paid offline by one: 付款失败 failed returned_by_bank -
returned, said to be paid offline by two: 付款已提交 submitted paid_offline -
paid_offline: 付款已提交 submitted paid_offline -
paid_offline, said to be paid offline by one: 付款已提交 submitted paid_offline -
paid_offline, said to be paid offline by two: 付款已提交 submitted paid_offline -
sent, provably not: 等待付款 awaiting_payment bank_unavailable 2026-03-04
sent, provably not, said to be paid offline by one: 等待付款 awaiting_payment offline_to_be_approved -
sent, provably not, said to be paid offline by two: 付款已提交 submitted paid_offline -
rejected, never sent: 付款失败 failed never_sent -
rejected, never sent, said to be paid offline by one: 付款失败 failed never_sent -
rejected, never sent, said to be paid offline by two: 付款已提交 submitted paid_offline -
carried over, above zero: 未到付款日 not_due below_minimum -
carried over, zero: 未到付款日 not_due nothing_payable -
carried over, below zero: 未到付款日 not_due nothing_payable -"
    );
}

#[test]
fn a_bank_pays_on_its_next_day_what_comes_at_its_cut_off_or_later() {
    let bank: ChannelName = "bank".parse().unwrap();
    let day = BankDay {
        cutoff: NaiveTime::from_hms_opt(17, 0, 0).unwrap(),
        zone: chrono_tz::Asia::Shanghai,
    };
    let banks = BankDays::from([(bank.clone(), day)]);
    let calendar = Calendar::find("CN");
    let mut table = Vec::new();
    for (at, bank) in [
        ("2026-03-06T16:59:59+08:00", "bank"),
        ("2026-03-06T17:00:00+08:00", "bank"),
        ("2026-03-06T17:00:00+08:00", "unknown"),
        ("2026-03-07T09:00:00+08:00", "bank"),
        ("2026-05-08T18:00:00+08:00", "bank"),
        ("2026-12-31T16:00:00+08:00", "bank"),
        ("2026-12-31T17:00:00+08:00", "bank"),
    ] {
        let today = Today {
            now: at.parse().unwrap(),
            calendar: calendar.as_ref(),
            banks: &banks,
        };
        let paid = today.paid_on(&bank.parse().unwrap(), today.now, day.zone);
        let paid = paid.map_or("unknown".to_owned(), |day| day.to_string());
        table.push(format!("{at}, {bank}: {paid}"));
    }
    assert_eq!(
        table.join("\n"),
        "\
2026-03-06T16:59:59+08:00, bank: 2026-03-06
2026-03-06T17:00:00+08:00, bank: 2026-03-09
2026-03-06T17:00:00+08:00, unknown: 2026-03-06
2026-03-07T09:00:00+08:00, bank: 2026-03-09
2026-05-08T18:00:00+08:00, bank: 2026-05-09
2026-12-31T16:00:00+08:00, bank: 2026-12-31
2026-12-31T17:00:00+08:00, bank: unknown"
    );
}

#[test]
fn several_parts_show_the_worst_with_the_amounts_of_each() {
    let numbered = |number, state, minor| PartFacts {
        part_no: number,
        leave: Leave::Given,
        ..part(state, cny(minor))
    };
    let of = |parts: &[PartFacts]| {
        let mut facts = facts(None);
        facts.today = date("2026-03-03");
        facts.parts = parts.to_vec();
        progress(&facts)
    };
    let confirmed = numbered(1, PartState::Confirmed, 300);
    let unknown = numbered(2, PartState::Unknown, 200);
    let planned = numbered(3, PartState::Planned, 100);
    let returned = numbered(4, PartState::Returned, 50);
    let told = of(&[confirmed, unknown]);
    assert_eq!(told.state, PublicState::Submitted);
    let told = of(&[confirmed, unknown, planned]);
    assert_eq!(told.state, PublicState::AwaitingPayment);
    let told = of(&[confirmed, unknown, planned, returned]);
    assert_eq!(told.state, PublicState::Failed);
    assert_eq!(told.reason, PublicReason::ReturnedByBank);
    let amounts: Vec<String> = told
        .parts
        .iter()
        .map(|part| format!("{} {} {}", part.part_no, part.amount, part.state))
        .collect();
    assert_eq!(
        amounts,
        [
            "1 3.00 CNY submitted",
            "2 2.00 CNY submitted",
            "3 1.00 CNY awaiting_payment",
            "4 0.50 CNY failed",
        ]
    );
}

#[test]
fn an_unknown_outcome_is_never_shown_as_a_failure() {
    for leave in [Leave::Open, Leave::Given, Leave::Refused] {
        for claimed in [Claimed::Nothing, Claimed::ByOne, Claimed::ByTwo] {
            for is_held in [false, true] {
                let unknown = PartFacts {
                    leave,
                    claimed,
                    ..part(PartState::Unknown, cny(500))
                };
                let mut facts = facts(Some(unknown));
                facts.is_held = is_held;
                assert_eq!(progress(&facts).state, PublicState::Submitted);
            }
        }
    }
}

#[test]
fn every_state_and_reason_is_said_in_both_languages() {
    let states = PublicState::ALL.iter().map(|it| it.texts());
    let reasons = PublicReason::ALL.iter().map(|it| it.texts());
    for texts in states.chain(reasons) {
        assert!(!texts.zh.is_ascii(), "{}", texts.zh);
        assert!(texts.en.is_ascii(), "{}", texts.en);
    }
}
