//! What the store and the engine promise, proved on both databases: every test here runs once on
//! Postgres and once on SQLite under the same name, except where its file says why not.
#![cfg(test)]

mod accept;
mod approvals;
mod audit;
mod authorizations;
mod bank_accounts;
mod bulk;
mod claimers;
mod ends;
mod execute;
mod fairness;
mod leases;
mod ledger;
mod merchants;
mod model;
mod operate;
mod operations;
mod orders;
mod paces;
mod queues;
mod records;
mod rejections;
mod retention;
mod runs;
mod schema;
mod statements;
mod sweep;
mod ticks;
mod transactions;
