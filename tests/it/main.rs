//! One test binary: a file per job and per promise.

mod support;
mod tidy;
