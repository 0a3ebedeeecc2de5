//! Ticks over gaps and folds, as tables and against the rule word by word.
#![cfg(test)]
#![expect(
    clippy::arithmetic_side_effects,
    reason = "a test that overflows fails, and should"
)]

use super::*;
use proptest::prelude::*;

fn at(text: &str) -> DateTime<Utc> {
    text.parse().unwrap()
}

fn schedule(expression: &str, zone: &str) -> Schedule {
    Schedule::parse(expression, zone).unwrap()
}

/// The instants due within some days from midnight UTC, as the zone's clock shows them.
fn shown(expression: &str, zone: &str, from: &str, days: i64) -> Vec<String> {
    let schedule = schedule(expression, zone);
    let from = at(&format!("{from}T00:00:00Z"));
    let until = from.checked_add_signed(TimeDelta::days(days)).unwrap();
    schedule
        .due_between(from, until, 1_000)
        .into_iter()
        .map(|due| {
            due.with_timezone(&schedule.zone)
                .format("%m-%d %H:%M %:z")
                .to_string()
        })
        .collect()
}

#[test]
fn a_time_in_a_spring_gap_is_due_right_after_it() {
    let berlin = shown("30 2 * * *", "Europe/Berlin", "2026-03-28", 3);
    assert_eq!(
        berlin,
        [
            "03-28 02:30 +01:00",
            "03-29 03:00 +02:00",
            "03-30 02:30 +02:00"
        ]
    );
    let new_york = shown("30 2 * * *", "America/New_York", "2026-03-07", 3);
    assert_eq!(
        new_york,
        [
            "03-07 02:30 -05:00",
            "03-08 03:00 -04:00",
            "03-09 02:30 -04:00"
        ]
    );
    // Half an hour, from 02:00 to 02:30.
    let lord_howe = shown("15 2 * * *", "Australia/Lord_Howe", "2026-10-02", 3);
    assert_eq!(
        lord_howe,
        [
            "10-03 02:15 +10:30",
            "10-04 02:30 +11:00",
            "10-05 02:15 +11:00"
        ]
    );
    // At midnight, so that the day begins at one o'clock.
    let santiago = shown("0 0 * * *", "America/Santiago", "2026-09-05", 3);
    assert_eq!(
        santiago,
        [
            "09-05 00:00 -04:00",
            "09-06 01:00 -03:00",
            "09-07 00:00 -03:00"
        ]
    );
    // The whole of 30 December 2011 was left out.
    let apia = shown("0 9 * * *", "Pacific/Apia", "2011-12-29", 3);
    assert_eq!(
        apia,
        [
            "12-29 09:00 -10:00",
            "12-31 00:00 +14:00",
            "12-31 09:00 +14:00",
            "01-01 09:00 +14:00"
        ]
    );
}

#[test]
fn a_time_that_is_shown_twice_is_due_the_first_time() {
    let berlin = shown("30 2 * * *", "Europe/Berlin", "2026-10-24", 3);
    assert_eq!(
        berlin,
        [
            "10-24 02:30 +02:00",
            "10-25 02:30 +02:00",
            "10-26 02:30 +01:00"
        ]
    );
    let new_york = shown("30 1 * * *", "America/New_York", "2026-10-31", 3);
    assert_eq!(
        new_york,
        [
            "10-31 01:30 -04:00",
            "11-01 01:30 -04:00",
            "11-02 01:30 -05:00"
        ]
    );
    // Half an hour, from 01:30 to 02:00.
    let lord_howe = shown("45 1 * * *", "Australia/Lord_Howe", "2026-04-03", 3);
    assert_eq!(
        lord_howe,
        [
            "04-04 01:45 +11:00",
            "04-05 01:45 +11:00",
            "04-06 01:45 +10:30"
        ]
    );
}

/// At ten past two for the second time, a quarter to three was due in the first pass.
#[test]
fn a_time_that_is_shown_again_later_was_due_already() {
    let due = schedule("45 2 * * *", "Europe/Berlin").due_between(
        at("2026-10-25T00:00:00Z"),
        at("2026-10-25T01:10:00Z"),
        10,
    );
    assert_eq!(due, [at("2026-10-25T00:45:00Z")]);
}

#[test]
fn a_zone_without_changes_is_due_every_day_alike() {
    let shanghai = shown("30 2 * * *", "Asia/Shanghai", "2026-03-28", 3);
    assert_eq!(
        shanghai,
        [
            "03-29 02:30 +08:00",
            "03-30 02:30 +08:00",
            "03-31 02:30 +08:00"
        ]
    );
}

#[test]
fn every_hour_is_due_once_per_time_on_the_wall() {
    // Two o'clock is left out and falls together with three.
    let spring = shown("0 0-5 * * *", "Europe/Berlin", "2026-03-29", 1);
    assert_eq!(
        spring,
        [
            "03-29 03:00 +02:00",
            "03-29 04:00 +02:00",
            "03-29 05:00 +02:00",
            "03-30 00:00 +02:00",
            "03-30 01:00 +02:00",
            "03-30 02:00 +02:00"
        ]
    );
    // Two o'clock is shown twice and due once.
    let autumn = shown("0 1-3 * * *", "Europe/Berlin", "2026-10-24", 2);
    assert_eq!(
        autumn,
        [
            "10-24 03:00 +02:00",
            "10-25 01:00 +02:00",
            "10-25 02:00 +02:00",
            "10-25 03:00 +01:00",
            "10-26 01:00 +01:00",
        ]
    );
}

#[test]
fn the_next_tick_is_found_over_gaps_folds_and_leap_years() {
    let next = |expression, zone, after| {
        let next = schedule(expression, zone).next_after(at(after)).unwrap();
        next.to_rfc3339_opts(chrono::SecondsFormat::Secs, true)
    };
    let berlin = "Europe/Berlin";
    assert_eq!(
        next("30 2 * * *", berlin, "2026-03-29T00:59:59Z"),
        "2026-03-29T01:00:00Z"
    );
    // At the tick itself the next one is meant.
    assert_eq!(
        next("30 2 * * *", berlin, "2026-03-29T01:00:00Z"),
        "2026-03-30T00:30:00Z"
    );
    // In the second pass of the hour: 02:30 was due in the first.
    assert_eq!(
        next("30 2 * * *", berlin, "2026-10-25T01:10:00Z"),
        "2026-10-26T01:30:00Z"
    );
    assert_eq!(
        next("* * * * *", berlin, "2026-10-25T01:10:00Z"),
        "2026-10-25T02:00:00Z"
    );
    assert_eq!(
        next("0 0 29 2 *", "UTC", "2096-02-29T00:00:00Z"),
        "2104-02-29T00:00:00Z"
    );
    assert_eq!(
        next("0 0 29 2 */7", "UTC", "2088-02-29T00:00:00Z"),
        "2128-02-29T00:00:00Z"
    );
}

#[test]
fn fields_are_those_of_crontab() {
    let days = |expression: &str| -> String {
        // 1 March 2026 is a Sunday.
        let due = schedule(expression, "UTC").due_between(
            at("2026-02-28T23:59:59Z"),
            at("2026-03-15T23:59:59Z"),
            100,
        );
        let day = |due: &DateTime<Utc>| due.format("%a%-d").to_string();
        due.iter().map(day).collect::<Vec<_>>().join(" ")
    };
    assert_eq!(days("0 0 * * 0"), "Sun1 Sun8 Sun15");
    assert_eq!(days("0 0 * * 7"), days("0 0 * * 0"));
    assert_eq!(days("0 0 * * sun"), days("0 0 * * 0"));
    assert_eq!(days("0 0 * * 1"), "Mon2 Mon9");
    assert_eq!(days("0 0 * * 1-5"), days("0 0 * * MON-FRI"));
    assert_eq!(days("0 0 * * 1-5/2"), "Mon2 Wed4 Fri6 Mon9 Wed11 Fri13");
    assert_eq!(
        days("0 0 * * 0,5-6"),
        "Sun1 Fri6 Sat7 Sun8 Fri13 Sat14 Sun15"
    );
    assert_eq!(days("0 0 */7 * *"), "Sun1 Sun8 Sun15");
    assert_eq!(days("0 0 1 4 *"), "");
    // Both are restricted: either will do.
    assert_eq!(days("0 0 3 * 1"), "Mon2 Tue3 Mon9");
    // One of them begins with a star: both must agree.
    assert_eq!(days("0 0 */2 * 1"), "Mon9");
}

#[test]
fn what_cannot_be_read_is_refused_by_its_field() {
    let refusal = |expression, zone| Schedule::parse(expression, zone).unwrap_err().to_string();
    assert_eq!(
        refusal("0 2 * *", "UTC"),
        "a cron expression has 5 fields (minute, hour, day of month, month, day of week), not 4"
    );
    assert!(refusal("0 0 2 * * *", "UTC").ends_with("not 6"));
    assert!(refusal("@daily", "UTC").ends_with("not 1"));
    assert_eq!(
        refusal("60 2 * * *", "UTC"),
        "minute: `60` is not numbers from 0 to 59, like `5`, `0,30`, `10-20` or `*/15`"
    );
    for (expression, field) in [
        ("5* 2 * * *", "minute"),
        ("5, 2 * * *", "minute"),
        ("*/0 2 * * *", "minute"),
        ("20-10 2 * * *", "minute"),
        ("-1 2 * * *", "minute"),
        ("99999999999 2 * * *", "minute"),
        ("0 24 * * *", "hour"),
        ("0 noon * * *", "hour"),
        ("0 2 0 * *", "day of month"),
        ("0 2 L * *", "day of month"),
        ("0 2 ? * 1", "day of month"),
        ("0 2 30 2 *", "day of month"),
        ("0 2 31 4,6,9,11 *", "day of month"),
        ("0 2 * 13 *", "month"),
        ("0 2 * FEV *", "month"),
        ("0 2 * * 8", "day of week"),
        ("0 2 * * 5-7", "day of week"),
        ("0 2 * * +1", "day of week"),
        ("0 2 * * 1,", "day of week"),
        ("0 2 * * 1-", "day of week"),
        ("0 2 * * FRI-SUN", "day of week"),
        ("0 2 * * 1#2", "day of week"),
    ] {
        let refusal = refusal(expression, "UTC");
        assert!(
            refusal.starts_with(&format!("{field}: ")),
            "{expression}: {refusal}"
        );
    }
    assert_eq!(
        refusal("0 2 * * *", "Shanghai"),
        "zone: `Shanghai` is no IANA time zone, such as Asia/Shanghai or UTC"
    );
    let long = format!("{} 2 * * *", "1,".repeat(200));
    assert!(refusal(&long, "UTC").contains("at most 255 characters"));
}

#[test]
fn after_a_year_only_the_newest_ticks_are_walked() {
    let due = schedule("* * * * *", "Europe/Berlin").due_between(
        at("2025-07-01T00:00:00Z"),
        at("2026-07-01T00:00:30Z"),
        3,
    );
    let newest = [
        "2026-06-30T23:58:00Z",
        "2026-06-30T23:59:00Z",
        "2026-07-01T00:00:00Z",
    ];
    assert_eq!(due, newest.map(at));
}

#[test]
fn nothing_is_due_in_an_empty_or_turned_window() {
    let every_minute = schedule("* * * * *", "UTC");
    let (early, late) = (at("2026-03-01T00:00:00Z"), at("2026-03-01T01:00:00Z"));
    assert!(every_minute.due_between(late, late, 10).is_empty());
    assert!(every_minute.due_between(late, early, 10).is_empty());
    assert!(every_minute.due_between(early, late, 0).is_empty());
    assert_eq!(every_minute.due_between(early, late, 100).len(), 60);
}

/// Weeks in which clocks are changed, and one in which none is.
const WEEKS: [(&str, &str); 10] = [
    ("Europe/Berlin", "2026-03-29"),
    ("Europe/Berlin", "2026-10-25"),
    ("America/New_York", "2026-03-08"),
    ("America/New_York", "2026-11-01"),
    ("Australia/Lord_Howe", "2026-04-05"),
    ("Australia/Lord_Howe", "2026-10-04"),
    ("America/Santiago", "2026-04-05"),
    ("Pacific/Apia", "2011-12-30"),
    ("America/Havana", "2026-11-01"),
    ("Asia/Shanghai", "2026-03-29"),
];

const EXPRESSIONS: [&str; 8] = [
    "* * * * *",
    "*/7 * * * *",
    "0 * * * *",
    "15,45 0-3 * * *",
    "30 2 * * *",
    "0 0 * * *",
    "0 1 * * SUN",
    "59 23 5,29 * 0",
];

/// The rule word by word: minute by minute, a time on the wall is due at the first instant at
/// which the clock shows it or a later one.
fn due_by_the_rule(
    schedule: &Schedule,
    from: DateTime<Utc>,
    until: DateTime<Utc>,
) -> Vec<DateTime<Utc>> {
    let minute = TimeDelta::minutes(1);
    let mut due = Vec::new();
    // Early enough to have seen what was shown before the clock was last set back.
    let mut instant = from - TimeDelta::days(2);
    let mut seen = schedule.shown(instant);
    while instant <= until {
        let shown = schedule.shown(instant);
        let mut is_due = false;
        while seen < shown {
            seen += minute;
            let is_time = schedule.times.contains(&seen.time());
            is_due |= is_time && schedule.days.contain(seen.date());
        }
        if is_due && instant > from {
            due.push(instant);
        }
        instant += minute;
    }
    due
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn due_instants_are_those_of_the_rule(
        (zone, day) in prop::sample::select(&WEEKS[..]),
        expression in prop::sample::select(&EXPRESSIONS[..]),
        before_minutes in 0..3_000_i64,
        after_minutes in 0..3_000_i64,
    ) {
        let schedule = schedule(expression, zone);
        let change = at(&format!("{day}T06:00:00Z"));
        let from = change - TimeDelta::minutes(before_minutes);
        let until = change + TimeDelta::minutes(after_minutes);
        let due = schedule.due_between(from, until, 10_000);
        prop_assert_eq!(&due, &due_by_the_rule(&schedule, from, until));
        prop_assert!(due.is_sorted_by(|a, b| a < b));

        // Step by step the same instants are found, and the newest of them from the end.
        let mut next = schedule.next_after(from).unwrap();
        for instant in &due {
            prop_assert_eq!(next, *instant);
            next = schedule.next_after(next).unwrap();
        }
        prop_assert!(next > until);
        let newest: Vec<_> = due.iter().rev().take(5).rev().copied().collect();
        prop_assert_eq!(schedule.due_between(from, until, 5), newest);

        // The oldest of them from the start, and none at the end itself.
        let end = due.last().copied().unwrap_or(until);
        let before: Vec<_> = due.iter().copied().filter(|instant| *instant < end).collect();
        prop_assert_eq!(&schedule.due_before(from, end, 10_000), &before);
        let oldest: Vec<_> = before.iter().take(5).copied().collect();
        prop_assert_eq!(schedule.due_before(from, end, 5), oldest);
    }

    /// The crate's own walk, where it is right: without changes of the clock and with one kind
    /// of day.
    #[test]
    fn in_utc_ticks_are_those_of_the_crate(
        minute in field(0, 59), hour in field(0, 23), day in field(1, 28), month in field(1, 12),
        after_s in 0..2_000_000_000_i64,
    ) {
        let expression = format!("{minute} {hour} {day} {month} *");
        let ours = schedule(&expression, "UTC");
        let theirs = cron::Schedule::from_str(&format!("0 {expression}")).unwrap();
        let mut instant = DateTime::from_timestamp_secs(after_s).unwrap();
        for expected in theirs.after(&instant).take(20) {
            instant = ours.next_after(instant).unwrap();
            prop_assert_eq!(instant, expected);
        }
    }

    #[test]
    fn no_text_is_too_odd_to_be_refused(expression in "[0-9*/,\\-A-Z? @#]{0,40}") {
        if let Ok(schedule) = Schedule::parse(&expression, "Europe/Berlin") {
            prop_assert!(schedule.next_after(at("2026-03-01T00:00:00Z")).is_some());
        }
    }
}

/// A field as people write it.
fn field(first: u32, last: u32) -> impl Strategy<Value = String> {
    let numbers = first..=last;
    prop_oneof![
        Just("*".to_owned()),
        numbers.clone().prop_map(|number| number.to_string()),
        (2..9_u32).prop_map(|step| format!("*/{step}")),
        (numbers.clone(), numbers).prop_map(|(a, b)| format!("{}-{}", a.min(b), a.max(b))),
        prop::collection::vec(first..=last, 1..4).prop_map(|list| list
            .iter()
            .map(u32::to_string)
            .collect::<Vec<_>>()
            .join(",")),
    ]
}
