//! `clearday calendar`: the business days of a country and year.

use std::io::{self, Write};

use clap::{Args, ValueEnum};
use serde::Serialize;

use super::exit::{CliError, Exit};
use super::statement::write_json;
use crate::domain::calendar::Calendar;

/// Print every day of a year, and whether it is a business day.
#[derive(Debug, Args)]
pub(super) struct CalendarArgs {
    /// The country's code, like CN.
    country: String,
    /// The year, like 2026.
    year: i32,
    /// How to print the days.
    #[arg(long, value_enum, default_value_t)]
    format: Format,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum Format {
    /// A header and a line per day: `date,business_day`.
    #[default]
    Csv,
    /// One object, with the calendar's version and sources.
    Json,
}

/// Runs the verb and says how to exit.
pub(super) fn run(args: &CalendarArgs, out: &mut (dyn Write + Send)) -> Result<Exit, CliError> {
    let calendar = Calendar::find(&args.country).ok_or_else(|| unknown(&args.country))?;
    let days: Vec<Day> = calendar
        .days_of(args.year)
        .map_err(|error| CliError::refused(calendar.code()).because(error))?
        .into_iter()
        .map(|(date, business_day)| Day {
            date: date.to_string(),
            business_day,
        })
        .collect();
    let written = match args.format {
        Format::Csv => write_csv(&days, out),
        Format::Json => write_json(&Report::of(&calendar, args.year, days), &mut { out }),
    };
    written.map_err(CliError::output)?;
    Ok(Exit::Fine)
}

fn unknown(country: &str) -> CliError {
    let known: Vec<&str> = Calendar::ALL.iter().map(Calendar::code).collect();
    let known = known.join(", ");
    CliError::refused(format!(
        "there is no calendar for {country:?}; there is {known}"
    ))
}

/// What `--format json` prints.
#[derive(Serialize)]
struct Report {
    country: &'static str,
    year: i32,
    version: &'static str,
    notices: &'static [&'static str],
    days: Vec<Day>,
}

#[derive(Serialize)]
struct Day {
    date: String,
    business_day: bool,
}

impl Report {
    fn of(calendar: &Calendar, year: i32, days: Vec<Day>) -> Self {
        Self {
            country: calendar.code(),
            year,
            version: calendar.version(),
            notices: calendar.notices(year),
            days,
        }
    }
}

fn write_csv(days: &[Day], out: &mut dyn Write) -> io::Result<()> {
    writeln!(out, "date,business_day")?;
    for day in days {
        writeln!(out, "{},{}", day.date, day.business_day)?;
    }
    Ok(())
}
