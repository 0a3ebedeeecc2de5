//! One test binary: a file per job and per promise.

mod connectors;
mod support;
mod tidy;
