//! One test binary: a file per job and per promise.

mod bills;
mod cli;
mod config;
mod import;
mod reconcile_files;
mod statement;
mod support;
mod tidy;
