//! What the tests share.
#![cfg(test)]

pub(crate) mod servers;
