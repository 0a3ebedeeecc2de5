//! One test binary: a file per job and per promise.

mod authorizing_channels;
mod bank;
mod bills;
mod calendar;
mod chaos;
mod cli;
mod config;
mod connectors;
mod deferred_authorization;
mod demo;
mod every_kind;
mod http;
mod import;
mod killed;
mod order_expiry;
mod reconcile_files;
mod reconciliation;
mod schedule;
mod statement;
mod store_conformance;
mod support;
mod tidy;
mod two_daemons;
