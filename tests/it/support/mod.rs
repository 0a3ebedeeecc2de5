//! What the tests share.
#![cfg(test)]

pub(crate) mod command_line;
pub(crate) mod house;
pub(crate) mod raw_http;
pub(crate) mod sandbox;
pub(crate) mod servers;
pub(crate) mod world;
