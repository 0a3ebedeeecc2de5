//! What must hold for any lines and any records, however odd.

#![expect(
    clippy::arithmetic_side_effects,
    reason = "an overflow here is a failed test"
)]

use chrono::{DateTime, FixedOffset, NaiveDate, TimeZone};
use clearday_jobs::{Currency, Money};
use proptest::prelude::*;
use rust_decimal::Decimal;

use super::*;

/// An entry that owns its texts; drawn from so few values that collisions are the rule.
#[derive(Clone, Debug)]
struct Drawn {
    record_no: &'static str,
    channel_no: &'static str,
    original_no: &'static str,
    facts: Facts,
}

impl Drawn {
    fn entry(&self) -> Entry<'static> {
        Entry {
            record_no: self.record_no,
            channel_no: self.channel_no,
            original_no: self.original_no,
            facts: self.facts,
        }
    }
}

fn zone() -> FixedOffset {
    FixedOffset::east_opt(8 * 60 * 60).unwrap()
}

fn noon(day: u32) -> DateTime<FixedOffset> {
    zone().with_ymd_and_hms(2026, 3, day, 12, 0, 0).unwrap()
}

fn money(minor_units: i64, code: &str) -> Money {
    Money::from_minor(minor_units, Currency::parse(code).unwrap())
}

fn numbers() -> impl Strategy<Value = (&'static str, &'static str, &'static str)> {
    (
        prop::sample::select(vec!["A", "B", "C"]),
        prop::sample::select(vec!["", "T1", "T2", "T3"]),
        prop::sample::select(vec!["", "A", "B"]),
    )
}

fn facts(kinds: Vec<EntryKind>) -> impl Strategy<Value = Facts> {
    let amount = (
        0_i64..3,
        prop::sample::select(vec!["CNY", "CNY", "CNY", "JPY"]),
    );
    (
        prop::sample::select(kinds),
        prop::sample::select(RecordStatus::ALL),
        0_u16..2,
        amount,
        0_i64..2,
        1_u32..4,
    )
        .prop_map(
            |(kind, status, source, (minor_units, code), fee, day)| Facts {
                kind,
                status,
                source,
                is_foreign: false,
                amount: money(minor_units, code),
                fee: Decimal::new(fee, 2),
                occurred_at: noon(day),
            },
        )
}

fn line() -> impl Strategy<Value = Drawn> {
    let kinds = vec![EntryKind::Payment, EntryKind::Refund, EntryKind::Reversal];
    (numbers(), facts(kinds)).prop_map(|((record_no, channel_no, original_no), facts)| Drawn {
        record_no,
        channel_no,
        original_no,
        facts,
    })
}

fn record() -> impl Strategy<Value = Drawn> {
    let kinds = vec![EntryKind::Payment, EntryKind::Refund];
    let drawn = (numbers(), facts(kinds), prop::bool::weighted(0.1));
    drawn.prop_map(
        |((record_no, channel_no, original_no), facts, is_foreign)| Drawn {
            record_no,
            channel_no,
            original_no,
            facts: Facts {
                source: 0,
                is_foreign,
                ..facts
            },
        },
    )
}

fn lines() -> impl Strategy<Value = Vec<Drawn>> {
    prop::collection::vec(line(), 0..12)
}

fn records() -> impl Strategy<Value = Vec<Drawn>> {
    prop::collection::vec(record(), 0..12)
}

/// Some list and the same list in another order.
fn shuffled(
    list: impl Strategy<Value = Vec<Drawn>>,
) -> impl Strategy<Value = (Vec<Drawn>, Vec<Drawn>)> {
    list.prop_flat_map(|list| (Just(list.clone()), Just(list).prop_shuffle()))
}

/// The second and the third of March, for refunds the second only.
fn coverage() -> Coverage {
    let day = |day| DayRange::day(NaiveDate::from_ymd_opt(2026, 3, day).unwrap());
    let mut coverage = Coverage::nothing(zone());
    coverage.add(RecordKind::Payment, day(2));
    coverage.add(RecordKind::Payment, day(3));
    coverage.add(RecordKind::Refund, day(2));
    coverage
}

fn run(lines: &[Drawn], records: &[Drawn]) -> Reconciliation {
    let entries = |drawn: &[Drawn]| drawn.iter().map(Drawn::entry).collect::<Entries>();
    reconcile(&entries(lines), &entries(records), &coverage())
}

fn count_of(dispositions: &[Disposition], wanted: impl Fn(Disposition) -> bool) -> usize {
    dispositions
        .iter()
        .filter(|disposition| wanted(**disposition))
        .count()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn every_line_and_record_is_accounted_for(lines in lines(), records in records()) {
        let found = run(&lines, &records);
        let summary = &found.summary;
        prop_assert!(summary.complete);
        prop_assert_eq!((found.lines.len(), found.records.len()), (lines.len(), records.len()));
        prop_assert_eq!(summary.breaks_total(), found.breaks.len());

        let pairs = summary.matched + summary.mismatched + count_of(&found.lines, |disposition| {
            matches!(disposition, Disposition::Suspended(_))
        });
        let alone = |dispositions: &[Disposition]| count_of(dispositions, |disposition| {
            matches!(disposition, Disposition::Missing | Disposition::Duplicate)
        });
        let told = pairs + summary.folded_reversals + alone(&found.lines);
        prop_assert!(told >= summary.statement_lines, "{} of {}", told, summary.statement_lines);
        prop_assert_eq!(
            summary.matched + summary.mismatched + summary.suspended + summary.not_expected + alone(&found.records),
            records.len()
        );
    }

    #[test]
    fn the_order_of_rows_changes_nothing(
        (lines, other_lines) in shuffled(lines()),
        (records, other_records) in shuffled(records()),
    ) {
        let found = run(&lines, &records);
        let other = run(&other_lines, &other_records);
        prop_assert_eq!(found.summary, other.summary);
        prop_assert_eq!(found.breaks, other.breaks);
    }

    #[test]
    fn a_side_agrees_with_itself(mut records in records()) {
        for record in &mut records {
            record.facts.is_foreign = false;
        }
        let found = run(&records, &records);
        prop_assert_eq!(found.breaks, vec![]);
        prop_assert_eq!(found.summary.matched + found.summary.suspended, records.len());
    }

    #[test]
    fn the_cash_of_breaks_is_the_difference_of_the_sides(lines in lines(), records in records()) {
        // Only what is certain: one currency, one statement, every day covered, nothing pending.
        let settle = |mut drawn: Drawn| {
            drawn.facts.amount = money(drawn.facts.amount.minor_units(), "CNY");
            drawn.facts.occurred_at = noon(2);
            drawn.facts.source = 0;
            drawn.facts.is_foreign = false;
            if drawn.facts.status == RecordStatus::Pending {
                drawn.facts.status = RecordStatus::Succeeded;
            }
            if drawn.facts.kind == EntryKind::Reversal {
                drawn.facts.kind = EntryKind::Refund;
            }
            drawn
        };
        let lines: Vec<Drawn> = lines.into_iter().map(settle).collect();
        let records: Vec<Drawn> = records.into_iter().map(settle).collect();
        let cash = |drawn: &[Drawn]| drawn.iter().map(|drawn| drawn.facts.cash()).sum::<i128>();
        let found = run(&lines, &records);
        let cash_breaks = found.breaks.iter().filter(|found| found.name != BreakName::FeeMismatch);
        let at_risk: i128 = cash_breaks.map(|found| i128::from(found.at_risk.minor_units())).sum();
        prop_assert_eq!(at_risk, cash(&lines) - cash(&records));
    }

    #[test]
    fn every_break_has_an_identity_of_its_own(lines in lines(), records in records()) {
        let found = run(&lines, &records);
        let mut identities: Vec<String> = found.breaks.iter().map(Break::identity).collect();
        identities.sort();
        identities.dedup();
        prop_assert_eq!(identities.len(), found.breaks.len());
    }
}

#[test]
fn breaks_that_say_the_same_are_counted() {
    let drawn = Drawn {
        record_no: "A",
        channel_no: "T1",
        original_no: "",
        facts: Facts {
            kind: EntryKind::Payment,
            status: RecordStatus::Succeeded,
            source: 0,
            is_foreign: false,
            amount: money(100, "CNY"),
            fee: Decimal::ZERO,
            occurred_at: noon(2),
        },
    };
    let found = run(&vec![drawn; 3], &[]);
    let identities: Vec<String> = found.breaks.iter().map(Break::identity).collect();
    assert_eq!(
        identities,
        [
            "missing_ours:payment:A:T1:0",
            "duplicate_theirs:payment:A:T1:0",
            "duplicate_theirs:payment:A:T1:1"
        ]
    );
}
