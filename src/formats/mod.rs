//! File formats in and out: statements of channels, records of ours, breaks.
//!
//! Readers are given bytes, never a path, and stream: a row is gone before the next is read. What they refuse they
//! refuse with the line, and where there are columns with the column.

pub mod breaks;
pub mod camt053;
pub mod merchants;
pub mod orders;
pub mod partners;
pub mod records;
pub mod rows;
pub mod statements;
pub mod text;
pub mod wechat_pay;
