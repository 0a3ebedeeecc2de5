//! What the tests share.
#![cfg(test)]

pub(crate) mod bad_values;
pub(crate) mod command_line;
pub(crate) mod drive;
pub(crate) mod house;
pub(crate) mod mailroom;
pub(crate) mod mortal;
pub(crate) mod raw_http;
pub(crate) mod sandbox;
pub(crate) mod servers;
pub(crate) mod sql;
pub(crate) mod world;

/// Runs a story in both modes: the same promises whatever stands below.
macro_rules! in_both_modes {
    ($($name:ident: $story:expr;)*) => {
        mod embedded {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let story: fn(House) -> _ = $story;
                story(House::open(Mode::Embedded).await).await;
            })*
        }
        mod production {
            use super::*;
            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let story: fn(House) -> _ = $story;
                story(House::open(Mode::Production).await).await;
            })*
        }
    };
}
pub(crate) use in_both_modes;
