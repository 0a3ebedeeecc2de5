//! One test binary: a file per job and per promise.

mod bills;
mod reconcile_files;
mod statement;
