//! The business days of China are those of the State Council's notices, on every day of every year.
#![cfg(test)]

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use chrono::{Datelike, NaiveDate, Weekday};
use clearday::domain::calendar::Calendar;
use serde_json::Value;

use crate::support::command_line::CommandLine;

/// The years that are announced, and what the notices say of the days that they name; nothing where the folder is absent.
#[expect(
    clippy::print_stderr,
    reason = "a test that checks nothing has to say so"
)]
fn announced() -> (Vec<i32>, BTreeMap<NaiveDate, bool>) {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/data/calendar_cn");
    let (mut years, mut days) = (Vec::new(), BTreeMap::new());
    let Ok(files) = fs::read_dir(&folder) else {
        eprintln!("NOT CHECKED: {} is absent", folder.display());
        return (years, days);
    };
    for file in files {
        let path = file.unwrap().path();
        let stem = path.file_stem().unwrap().to_str().unwrap();
        let Ok(year) = stem.parse::<i32>() else {
            continue;
        };
        let told: Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        let told = told["days"].as_array().unwrap();
        if !told.is_empty() {
            years.push(year);
        }
        for day in told {
            let date: NaiveDate = day["date"].as_str().unwrap().parse().unwrap();
            days.insert(date, !day["isOffDay"].as_bool().unwrap());
        }
    }
    years.sort_unstable();
    (years, days)
}

#[test]
fn every_day_of_every_year_is_as_announced() {
    let (years, announced) = announced();
    if announced.is_empty() {
        return;
    }
    let calendar = Calendar::find("CN").unwrap();
    assert_eq!(years, (2007..=2026).collect::<Vec<_>>());
    for year in years {
        let days = calendar.days_of(year).unwrap();
        assert_eq!(days.len(), if year % 4 == 0 { 366 } else { 365 });
        for (date, business_day) in days {
            let is_weekday = !matches!(date.weekday(), Weekday::Sat | Weekday::Sun);
            let expected = announced.get(&date).copied().unwrap_or(is_weekday);
            assert_eq!(business_day, expected, "{date}");
            assert_eq!(calendar.is_business_day(date), Some(expected), "{date}");
        }
    }
}

#[tokio::test]
async fn calendar_is_printed_as_csv() {
    let line = CommandLine::bare();
    let printed = line.run("calendar CN 2026 --format csv").await.fine();
    let lines: Vec<&str> = printed.lines().collect();
    assert_eq!(lines.len(), 366);
    assert_eq!(
        lines[..6],
        [
            "date,business_day",
            "2026-01-01,false",
            "2026-01-02,false",
            "2026-01-03,false",
            // A Sunday that is worked for the Friday before it.
            "2026-01-04,true",
            "2026-01-05,true",
        ]
    );
    assert_eq!(lines[365], "2026-12-31,true");
    assert_eq!(line.run("calendar CN 2026").await.fine(), printed);
}

#[tokio::test]
async fn calendar_is_printed_as_json_with_its_sources() {
    let printed = CommandLine::bare()
        .run("calendar CN 2024 --format json")
        .await
        .json();
    assert_eq!(printed["country"], "CN");
    assert_eq!(printed["year"], 2024);
    assert_eq!(printed["version"], "CN-2026.1");
    assert_eq!(
        printed["notices"][0],
        "https://www.gov.cn/zhengce/zhengceku/202310/content_6911528.htm"
    );
    let days = printed["days"].as_array().unwrap();
    assert_eq!(days.len(), 366);
    assert_eq!(days[34]["date"], "2024-02-04");
    assert_eq!(days[34]["business_day"], true);
}

#[tokio::test]
async fn years_and_countries_without_data_are_refused() {
    let line = CommandLine::bare();
    let refusal = async |words: &str| line.run(words).await.refused();
    for year in [2006, 2027, -1, 9_999_999] {
        assert_eq!(
            refusal(&format!("calendar CN --format csv -- {year}")).await,
            format!("clearday: CN: the calendar has no data for the year {year}")
        );
    }
    for country in ["XX", "cn", "China"] {
        assert_eq!(
            refusal(&format!("calendar {country} 2026")).await,
            format!("clearday: there is no calendar for {country:?}; there is CN")
        );
    }
    assert!(refusal("calendar CN soon").await.contains("'soon'"));
}
