//! The command line: what each verb takes, and what it prints.
//!
//! A verb is a struct of arguments and a `run` that writes to whatever it is given and says how to exit; printing
//! errors and ending the process belong to `main`.

pub mod exit;
pub mod reconcile;
pub mod statement;
