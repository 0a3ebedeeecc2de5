//! Durable jobs: how many, how soon, and at what cost.
//!
//! A job here is accepted (its row and its history), leased (a change and its history) and carried out with an effect:
//! a fact about money, a ledger entry with its posting, and the job's end with its history. All of it is committed
//! before it counts. The bar for how many is a loop of plain SQL that writes the same rows in the same batches, in the
//! same run.
//!
//! `scripts/bench jobs [throughput|latency|burst|claim|fairness|memory] [--jobs N] [--rounds N] [--places N]`
#![expect(
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::unwrap_used,
    reason = "a program for people; it ends at the first fault"
)]
#![expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    clippy::float_arithmetic,
    reason = "rates, not money"
)]

mod burst;
mod claim;
mod fairness;
mod figures;
mod house;
mod latency;
mod memory;
mod plain;
mod throughput;

use figures::argument;

#[tokio::main]
async fn main() {
    let rounds = argument("--rounds", 3);
    let jobs = |default| argument("--jobs", default);
    let named = |name: &str| std::env::args().any(|argument| argument == name);
    let parts = [
        "throughput",
        "latency",
        "burst",
        "claim",
        "fairness",
        "memory",
    ];
    let is_all = !parts.iter().any(|part| named(part));
    if is_all || named("throughput") {
        throughput::measure(jobs(50_000), rounds).await;
    }
    if is_all || named("latency") {
        latency::measure(jobs(500), rounds).await;
    }
    if is_all || named("burst") {
        burst::measure(jobs(100_000)).await;
    }
    if is_all || named("claim") {
        claim::measure(jobs(1_000_000)).await;
    }
    if is_all || named("fairness") {
        fairness::measure(jobs(50_000), rounds).await;
    }
    if is_all || named("memory") {
        memory::measure(jobs(100_000)).await;
    }
}
