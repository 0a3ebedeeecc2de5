//! One test binary: a file per job and per promise.

mod connectors;
mod store_conformance;
mod support;
mod tidy;
