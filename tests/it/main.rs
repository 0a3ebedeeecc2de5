//! One test binary: a file per job and per promise.

mod config;
mod support;
mod tidy;
