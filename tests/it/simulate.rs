//! Nights in which everything goes wrong, from seeds: nothing is lost, nothing happens twice, and who takes a safeguard
//! out is noticed.
#![cfg(test)]

use std::collections::BTreeSet;

use clearday::engine::Weakness;
use clearday::simulate::{Fault, Outcome, Plan, shrink, simulate};

/// Jobs in a night.
const JOBS: u32 = 40;
/// Fewer do where one safeguard is missing.
const FEW_JOBS: u32 = 16;
/// Within so many seeds somebody must notice.
const SEEDS_MAX: u64 = 60;

/// Tells the stories of some seeds, which must find nothing.
fn tell(seeds: std::ops::Range<u64>, jobs: u32) -> Vec<Outcome> {
    seeds
        .map(|seed| {
            let outcome = simulate(&Plan::of_seed(seed, jobs)).unwrap();
            let found = &outcome.findings;
            assert!(
                found.is_empty(),
                "`clearday simulate --seed {seed} --jobs {jobs}` finds {found:#?}"
            );
            outcome
        })
        .collect()
}

/// Three hundred nights, in tests of twenty so that they run side by side.
macro_rules! nothing_is_lost {
    ($($name:ident: $seeds:expr;)*) => {
        $(#[test]
        fn $name() {
            let outcomes = tell($seeds, JOBS);
            let faults: usize = outcomes.iter().map(|it| it.struck.len()).sum();
            assert!(faults > 10 * outcomes.len(), "only {faults} faults struck");
            let refused: u64 = outcomes.iter().map(|it| it.stale_refused).sum();
            assert!(refused > 0, "no stale commit was tried");
        })*
    };
}

mod nothing_is_lost {
    use super::*;

    nothing_is_lost! {
        in_seeds_0_to_19: 0..20;
        in_seeds_20_to_39: 20..40;
        in_seeds_40_to_59: 40..60;
        in_seeds_60_to_79: 60..80;
        in_seeds_80_to_99: 80..100;
        in_seeds_100_to_119: 100..120;
        in_seeds_120_to_139: 120..140;
        in_seeds_140_to_159: 140..160;
        in_seeds_160_to_179: 160..180;
        in_seeds_180_to_199: 180..200;
        in_seeds_200_to_219: 200..220;
        in_seeds_220_to_239: 220..240;
        in_seeds_240_to_259: 240..260;
        in_seeds_260_to_279: 260..280;
        in_seeds_280_to_299: 280..300;
    }
}

#[test]
fn nothing_is_lost_in_a_night_of_two_hundred_jobs() {
    let [outcome] = tell(1_000..1_001, 200).try_into().unwrap();
    assert!(outcome.jobs >= 200 && outcome.struck.len() >= 10);
}

#[test]
fn nothing_is_lost_in_three_nights() {
    let plan = Plan {
        nights: 3,
        ..Plan::of_seed(7, 20)
    };
    let outcome = simulate(&plan).unwrap();
    assert_eq!(outcome.findings, []);
}

#[test]
fn the_same_seed_tells_the_same_story() {
    let plan = Plan {
        is_told: true,
        ..Plan::of_seed(11, JOBS)
    };
    let (one, other) = (simulate(&plan).unwrap(), simulate(&plan).unwrap());
    assert!(one.trace.len() > 1_000, "{} lines", one.trace.len());
    assert_eq!(one.trace.join("\n"), other.trace.join("\n"));
}

#[test]
fn another_seed_tells_another_story() {
    let told = |seed| {
        let plan = Plan {
            is_told: true,
            ..Plan::of_seed(seed, FEW_JOBS)
        };
        simulate(&plan).unwrap().trace
    };
    assert_ne!(told(12), told(13));
}

#[test]
fn every_fault_strikes_within_a_few_seeds() {
    let outcomes = tell(2_000..2_012, FEW_JOBS);
    let struck: BTreeSet<Fault> = outcomes
        .iter()
        .flat_map(|it| it.struck.iter().map(|struck| struck.fault))
        .collect();
    assert_eq!(struck, BTreeSet::from(Fault::ALL));
}

/// The first story in which the absence of a safeguard is noticed.
fn noticed(weakness: Weakness) -> (Plan, Outcome) {
    for seed in 0..SEEDS_MAX {
        let plan = Plan {
            weakness: Some(weakness),
            ..Plan::of_seed(seed, FEW_JOBS)
        };
        let outcome = simulate(&plan).unwrap();
        if !outcome.findings.is_empty() {
            return (plan, outcome);
        }
    }
    panic!("nobody noticed the absence of {weakness:?} in {SEEDS_MAX} seeds");
}

/// The check that notices first.
fn noticed_by(weakness: Weakness) -> &'static str {
    let (_, outcome) = noticed(weakness);
    outcome.findings[0].check
}

#[test]
fn a_commit_without_its_epoch_is_noticed_as_a_zombie() {
    assert_eq!(noticed_by(Weakness::EpochCheck), "L7");
}

#[test]
fn a_tick_that_is_decided_twice_is_noticed_as_two_jobs() {
    assert_eq!(noticed_by(Weakness::UniqueTick), "L6");
}

#[test]
fn a_call_that_nobody_wrote_down_is_noticed_as_an_effect_from_nowhere() {
    assert_eq!(noticed_by(Weakness::IntentRow), "L2");
}

#[test]
fn money_that_is_booked_twice_is_noticed_in_the_books() {
    let check = noticed_by(Weakness::UniqueFact);
    assert!(["books", "L5"].contains(&check), "{check}");
}

#[test]
fn an_unknown_outcome_that_is_called_failed_is_noticed() {
    let check = noticed_by(Weakness::UnknownIsFailed);
    assert!(["L3", "L4", "books"].contains(&check), "{check}");
}

#[test]
fn a_finding_is_told_by_the_shortest_story() {
    let (plan, outcome) = noticed(Weakness::EpochCheck);
    let shrunk = shrink(&plan, &outcome).unwrap();
    assert_eq!(shrunk.outcome.findings[0].check, "L7");
    let (shortest, whole) = (shrunk.outcome.struck.len(), outcome.struck.len());
    let is_shorter = (shrunk.plan.jobs, shortest) < (plan.jobs, whole);
    assert!(
        is_shorter,
        "{shortest} of {whole}, {} jobs",
        shrunk.plan.jobs
    );
    let told = shrunk.outcome.trace.join("\n");
    assert!(told.contains("FOUND L7"), "{told}");
}
