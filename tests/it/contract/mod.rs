//! The contract of every connector: one kit of troubles and answers, one file for each call it is tried on.
//!
//! A call with an effect is a [`Subject`](kit::Subject): it says how the call is made, how the counterparty is asked
//! about it and how often it took effect by the counterparty's own books. [`troubles`] lets everything go wrong
//! around it that can, [`answers`] gives it every answer that it may not believe, and the rules in [`kit`] object by
//! themselves; the tables in the files of the subjects say what each of them makes of it. [`wrong`] has connectors
//! that break the rules, and shows that the kit says so.
#![cfg(test)]

mod answers;
mod authorize;
mod close;
mod email;
mod kit;
mod pay_out;
mod relay;
mod sms;
mod troubles;
mod void;
mod webhook;
mod wrong;
