//! What came in is what went out and what is there, for every merchant, channel and bank.
//!
//! One side is added up from records, facts, settlements and instructions, the other from the ledger. What
//! only the ledger knows (opening balances, disputes, reversals) is taken from it on both.

use std::collections::BTreeSet;

use super::books::{Books, Sums, Whose};
use super::findings::Findings;
use crate::domain::ledger::{Account, EntryEvent};

/// What we owe a merchant, or they owe us.
const OF_MERCHANT: [Account; 10] = [
    Account::MerchantPending,
    Account::MerchantPayable,
    Account::MerchantOverpaid,
    Account::Reserve,
    Account::RefundInTransit,
    Account::PayoutInTransit,
    Account::PayoutReturned,
    Account::OfflineInTransit,
    Account::DisputeAsset,
    Account::DisputeHold,
];

/// What no other book tells.
const LEDGER_ONLY: [EntryEvent; 14] = [
    EntryEvent::BalanceCapture,
    EntryEvent::RefundIntended,
    EntryEvent::RefundSucceeded,
    EntryEvent::LateMoneyReturned,
    EntryEvent::Deposit,
    EntryEvent::DisputeOpened,
    EntryEvent::DisputeLost,
    EntryEvent::DisputeWon,
    EntryEvent::Authorization,
    EntryEvent::AuthorizationVoided,
    EntryEvent::OpeningBalance,
    EntryEvent::BreakLong,
    EntryEvent::BreakShort,
    EntryEvent::Reversal,
];

pub(super) fn check(books: &Books) -> Findings {
    let mut findings = Findings::about("merchants, channels and banks");
    for merchant in merchants(books) {
        findings.look();
        check_merchant(books, &merchant, &mut findings);
    }
    for channel in owners(
        books,
        &[Account::ChannelReceivable],
        books.through_channel.owners(),
    ) {
        findings.look();
        check_channel(books, &channel, &mut findings);
    }
    for bank in owners(books, &[Account::Bank], books.at_bank.owners()) {
        findings.look();
        check_bank(books, &bank, &mut findings);
    }
    findings
}

fn merchants(books: &Books) -> BTreeSet<Whose> {
    let sums = [
        &books.captured,
        &books.refunded,
        &books.collected,
        &books.paid,
    ];
    let told = sums.into_iter().flat_map(Sums::owners);
    owners(books, &OF_MERCHANT, told)
}

fn owners<'a>(
    books: &'a Books,
    accounts: &[Account],
    told: impl Iterator<Item = &'a Whose>,
) -> BTreeSet<Whose> {
    let booked = accounts
        .iter()
        .flat_map(|account| books.owners_of(*account));
    told.chain(booked).cloned().collect()
}

fn is_ledger_only(event: &str) -> bool {
    LEDGER_ONLY.iter().any(|other| other.as_str() == event)
}

fn always(_event: &str) -> bool {
    true
}

fn check_merchant(books: &Books, merchant: &Whose, findings: &mut Findings) {
    let (name, currency) = merchant;
    let earned = sum([
        books.captured.of(merchant),
        minus(books.refunded.of(merchant)),
        minus(books.merchant_fees.of(merchant)),
    ]);
    let of_ledger = OF_MERCHANT.map(|account| books.credit(account, merchant, is_ledger_only));
    let expected = sum([earned, minus(books.paid.of(merchant)), sum(of_ledger)]);
    let closing = sum(OF_MERCHANT.map(|account| books.credit(account, merchant, always)));
    findings.expect(closing == expected, || {
        format!("{name} is owed {closing} {currency} by the ledger, and {expected} by what came in and went out")
    });

    let expected = sum([
        earned,
        minus(books.collected.of(merchant)),
        books.credit(Account::MerchantPending, merchant, is_ledger_only),
    ]);
    let pending = books.credit(Account::MerchantPending, merchant, always);
    findings.expect(pending == expected, || {
        format!("{pending} {currency} of {name} is pending by the ledger, and {expected} is in no settlement")
    });

    let expected = books.in_transit.of(merchant);
    let in_transit = books.credit(Account::PayoutInTransit, merchant, always);
    findings.expect(in_transit == expected, || {
        format!("{in_transit} {currency} is on its way to {name} by the ledger, and {expected} by instructions")
    });
}

fn check_channel(books: &Books, channel: &Whose, findings: &mut Findings) {
    let account = Account::ChannelReceivable;
    let of_ledger = minus(books.credit(account, channel, is_ledger_only));
    let expected = sum([
        books.through_channel.of(channel),
        books.late.of(channel),
        of_ledger,
    ]);
    let owes = minus(books.credit(account, channel, always));
    let (name, currency) = channel;
    findings.expect(owes == expected, || {
        format!("{name} owes {owes} {currency} by the ledger, and {expected} by what it took")
    });
}

fn check_bank(books: &Books, bank: &Whose, findings: &mut Findings) {
    // What a statement line moved is told by its fact; a line that is explained later is undone first.
    let by_facts = [
        EntryEvent::Deposit,
        EntryEvent::BreakLong,
        EntryEvent::BreakShort,
    ];
    let not_told =
        |event: &str| is_ledger_only(event) && by_facts.iter().all(|it| it.as_str() != event);
    let of_ledger = minus(books.credit(Account::Bank, bank, not_told));
    let expected = sum([books.at_bank.of(bank), of_ledger]);
    let has = minus(books.credit(Account::Bank, bank, always));
    let (name, currency) = bank;
    findings.expect(has == expected, || {
        format!("{name} has {has} {currency} by the ledger, and {expected} by its statements")
    });
}

fn sum<const N: usize>(amounts: [i128; N]) -> i128 {
    amounts.into_iter().fold(0, i128::saturating_add)
}

const fn minus(amount: i128) -> i128 {
    amount.saturating_neg()
}
