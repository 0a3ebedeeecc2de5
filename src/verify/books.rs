//! What the passes over the books add up, for the checks that compare one book with another.

use std::collections::{BTreeMap, HashMap};

use clearday_jobs::Money;
use uuid::Uuid;

use crate::domain::ledger::{Account, EntryEvent};

/// An account's owner and a currency.
pub(super) type Whose = (String, String);

/// Sums of minor units, wide enough never to overflow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Sums(BTreeMap<Whose, i128>);

impl Sums {
    /// Adds minor units, which may be negative.
    pub(super) fn add(&mut self, owner: &str, currency: &str, minor_units: i128) {
        let key = (owner.to_owned(), currency.to_owned());
        let sum = self.0.entry(key).or_default();
        *sum = sum.saturating_add(minor_units);
    }

    /// Adds an amount.
    pub(super) fn add_money(&mut self, owner: &str, amount: Money) {
        self.add(owner, amount.currency().code(), amount.minor_units().into());
    }

    /// Takes an amount away.
    pub(super) fn take_money(&mut self, owner: &str, amount: Money) {
        let minor_units = i128::from(amount.minor_units()).saturating_neg();
        self.add(owner, amount.currency().code(), minor_units);
    }

    /// The sum of one owner.
    pub(super) fn of(&self, whose: &Whose) -> i128 {
        self.0.get(whose).copied().unwrap_or_default()
    }

    /// Everybody there is a sum of.
    pub(super) fn owners(&self) -> impl Iterator<Item = &Whose> {
        self.0.keys()
    }
}

/// Counts ids and adds them up: two tallies are equal when they are of the same ids.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub(super) count: u64,
    sum: u128,
}

impl Tally {
    /// One more.
    pub(super) const fn add(&mut self, id: Uuid) {
        self.count = self.count.saturating_add(1);
        self.sum = self.sum.wrapping_add(id.as_u128());
    }

    /// Those of another one, too.
    pub(super) const fn join(&mut self, other: Self) {
        self.count = self.count.saturating_add(other.count);
        self.sum = self.sum.wrapping_add(other.sum);
    }
}

/// Everything that the passes add up.
#[derive(Debug, Default)]
pub(super) struct Books {
    /// By event and account: credits minus debits, of each owner.
    pub(super) moved: HashMap<(String, String), Sums>,
    /// The entries of each event.
    pub(super) entries: HashMap<String, Tally>,
    /// The entries that records name, and their fees: how many.
    pub(super) booked_records: Tally,
    /// Fee entries that records count.
    pub(super) fee_entries: u64,
    /// Records that items settle.
    pub(super) settled_records: u64,
    /// By merchant: what payments credit and refunds take back, by the records.
    pub(super) captured: Sums,
    pub(super) refunded: Sums,
    /// By channel: what it owes us by the records, its fees taken off.
    pub(super) through_channel: Sums,
    /// By channel: late money, by the facts.
    pub(super) late: Sums,
    /// By bank: what came in less what went out, by the facts that are booked.
    pub(super) at_bank: Sums,
    /// By merchant: what banks paid less what came back, by the facts.
    pub(super) paid: Sums,
    /// The entries that facts name, by the entry's event.
    pub(super) fact_entries: HashMap<String, Tally>,
    /// By merchant: what settlements collected and our fees, by their items.
    pub(super) collected: Sums,
    pub(super) merchant_fees: Sums,
    /// By merchant: what instructions to banks have under way.
    pub(super) in_transit: Sums,
}

impl Books {
    /// Credits minus debits of an account, over the events that `counts` picks.
    pub(super) fn credit(
        &self,
        account: Account,
        whose: &Whose,
        counts: impl Fn(&str) -> bool,
    ) -> i128 {
        let of_account = self
            .moved
            .iter()
            .filter(|((event, other), _)| other == account.as_str() && counts(event));
        of_account
            .map(|(_, sums)| sums.of(whose))
            .fold(0, i128::saturating_add)
    }

    /// Everybody who has a sum on an account.
    pub(super) fn owners_of(&self, account: Account) -> impl Iterator<Item = &Whose> {
        let of_account = self
            .moved
            .iter()
            .filter(move |((_, other), _)| other == account.as_str());
        of_account.flat_map(|(_, sums)| sums.owners())
    }

    /// The entries of an event.
    pub(super) fn entries_of(&self, event: EntryEvent) -> Tally {
        self.entries
            .get(event.as_str())
            .copied()
            .unwrap_or_default()
    }

    /// The entries of an event that facts name.
    pub(super) fn fact_entries_of(&self, event: EntryEvent) -> Tally {
        let named = self.fact_entries.get(event.as_str());
        named.copied().unwrap_or_default()
    }
}
