//! What the tests share.
#![cfg(test)]

pub(crate) mod command_line;
pub(crate) mod servers;
