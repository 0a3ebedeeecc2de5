//! One test binary: a file per job and per promise.

mod chaos;
mod connectors;
mod order_expiry;
mod support;
mod tidy;
