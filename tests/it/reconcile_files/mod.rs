//! `reconcile` on plain files: every deliberate break is found, and nothing else.
#![cfg(test)]

mod breaks;
mod coverage;
mod real_bills;
mod refunds;
mod refusals;

use std::fs;
use std::path::PathBuf;

use clearday::cli::exit::Exit;
use serde_json::Value;

use crate::bills::{Ran, Record, Row, all_bill, folder, records_csv, run_reconcile};

const BREAKS_HEADER: &str = "break,kind,record_no,channel_trade_no,currency,our_amount,channel_amount,our_status,\
    channel_status,our_fee,channel_fee,occurred_at,at_risk";

/// A folder with statements and records in it, and what a run made of them.
struct Bench {
    folder: PathBuf,
}

impl Bench {
    fn new(test: &str) -> Self {
        Self {
            folder: folder(test),
        }
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> String {
        let path = self.folder.join(name);
        fs::write(&path, content).unwrap();
        path.to_str().unwrap().to_owned()
    }

    fn run(&self, statements: &[&str], records: &[Record], further: &[&str]) -> Ran {
        let records = self.write("records.csv", records_csv(records));
        self.run_files(statements, &records, further)
    }

    fn run_files(&self, statements: &[&str], records: &str, further: &[&str]) -> Ran {
        let out = self.folder.join("out");
        let mut words = vec![
            "--records",
            records,
            "--out",
            out.to_str().unwrap(),
            "--statement",
        ];
        words.extend(statements);
        words.extend(further);
        run_reconcile(&words)
    }

    /// The rows of `breaks.csv`, without its header.
    fn breaks(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.join("out/breaks.csv")).unwrap();
        let mut lines = text.lines().map(str::to_owned);
        assert_eq!(lines.next().as_deref(), Some(BREAKS_HEADER));
        lines.collect()
    }

    /// Runs one ALL bill against records; gives back the counts, and each break as `name record_no at_risk`.
    fn reconcile(&self, rows: &[Row], records: &[Record]) -> (Value, Vec<String>) {
        let bill = self.write("bill.csv", all_bill(rows));
        let ran = self.run(&[&bill], records, &[]);
        let breaks = short(&self.breaks());
        let told = ran.json();
        assert_eq!(told["complete"], true);
        assert_eq!(
            ran.exit,
            if breaks.is_empty() {
                Exit::Fine
            } else {
                Exit::Finding
            }
        );
        (told, breaks)
    }
}

/// Each break as `name record_no at_risk`.
fn short(breaks: &[String]) -> Vec<String> {
    let cells = breaks.iter().map(|row| row.split(',').collect::<Vec<_>>());
    cells
        .map(|cells| format!("{} {} {}", cells[0], cells[2], cells[12]))
        .collect()
}

fn records_of(rows: &[Row]) -> Vec<Record> {
    rows.iter().map(Row::record).collect()
}
