//! Every settlement is the sum of its items, as it was written, and is paid in parts that are no more than it.

use std::collections::{BTreeMap, HashMap};

use chrono::NaiveDate;
use clearday_jobs::{Money, MoneyError, SettlementId};
use uuid::Uuid;

use super::books::Books;
use super::findings::Findings;
use super::payouts;
use crate::domain::ledger::{Account, EntryEvent};
use crate::domain::record::RecordKind;
use crate::domain::settlement_run::collect::{Head, Item, digest};
use crate::domain::settlement_run::{Settlement, SettlementState};
use crate::store::verify_settlements::{self, BookedPosting, SettlementRows, booked};
use crate::store::{StoreError, Tx, settlement_items, settlements};

/// Items read at once.
const ITEMS: usize = 5_000;

/// What was counted on the way, to be compared with what there is.
struct Seen {
    rows: SettlementRows,
    /// By merchant and currency, and then by number.
    chains: BTreeMap<(String, String), BTreeMap<u32, Link>>,
}

/// What ties a settlement to the one before it and the one after it.
struct Link {
    from: NaiveDate,
    until: NaiveDate,
    /// What it took over.
    carried: Money,
    /// What it left to the next.
    left: Money,
}

/// Both findings: of what is owed, and of how it is paid.
pub(super) async fn check(
    tx: &mut Tx,
    books: &mut Books,
) -> Result<(Findings, Findings), StoreError> {
    let mut findings = Findings::about("settlements");
    let mut paying = Findings::about("instructions and offline payments");
    let mut seen = Seen {
        rows: SettlementRows {
            items: 0,
            parts: 0,
            instructions: 0,
        },
        chains: BTreeMap::new(),
    };
    let mut after = Uuid::nil();
    loop {
        let page = verify_settlements::settlements(tx, after).await?;
        let Some(last) = page.last() else { break };
        after = last.0;
        for id in page {
            findings.look();
            let Some(settlement) = settlements::find(tx, id).await? else {
                continue;
            };
            check_settlement(tx, &settlement, books, &mut seen, &mut findings).await?;
            payouts::check(tx, &settlement, books, &mut paying).await?;
        }
    }
    check_counts(tx, books, &seen, &mut findings).await?;
    Ok((findings, paying))
}

async fn check_settlement(
    tx: &mut Tx,
    settlement: &Settlement,
    books: &mut Books,
    seen: &mut Seen,
    findings: &mut Findings,
) -> Result<(), StoreError> {
    let items = read_items(tx, settlement).await?;
    seen.count(settlement, items.len());
    let name = name(settlement);
    let head = Head {
        merchant_id: &settlement.merchant_id,
        currency: settlement.currency,
        sequence_no: settlement.sequence_no,
        from: settlement.period_from,
        until: settlement.period_until,
    };
    let is_as_written = digest(&head, &settlement.amounts, &items) == settlement.digest;
    findings.expect(is_as_written, || format!("{name} is not as it was written"));
    let found = u64::try_from(items.len()).unwrap_or(u64::MAX);
    findings.expect(found == settlement.items_count, || {
        format!(
            "{name} has {found} items and had {}",
            settlement.items_count
        )
    });
    match add_up(settlement, &items) {
        Ok(true) => {}
        Ok(false) => findings.wrong(format!("the items of {name} do not add up to its amounts")),
        Err(error) => findings.wrong(format!("{name}: {error}")),
    }
    check_parts(settlement, &name, findings);
    check_booked(tx, settlement, &name, findings).await?;
    let merchant = settlement.merchant_id.as_str();
    books
        .merchant_fees
        .add_money(merchant, settlement.amounts.merchant_fees);
    if let Ok(collected) = settlement.amounts.collected() {
        books.collected.add_money(merchant, collected);
    }
    Ok(())
}

/// A settlement as a person would look for it.
pub(super) fn name(settlement: &Settlement) -> String {
    let (number, merchant) = (settlement.sequence_no, &settlement.merchant_id);
    format!(
        "settlement {number} of {merchant} in {}",
        settlement.currency
    )
}

async fn read_items(tx: &mut Tx, settlement: &Settlement) -> Result<Vec<Item>, StoreError> {
    let (id, currency) = (settlement.id, settlement.currency);
    let mut items: Vec<Item> = Vec::new();
    loop {
        let after = items
            .last()
            .map(|last| (last.kind, last.record_no.as_str()));
        let page = settlement_items::list(tx, id, currency, after, ITEMS).await?;
        if page.is_empty() {
            return Ok(items);
        }
        items.extend(page);
    }
}

/// Whether payments, coupons, refunds and fees are those of the items.
fn add_up(settlement: &Settlement, items: &[Item]) -> Result<bool, MoneyError> {
    let nothing = Money::from_minor(0, settlement.currency);
    let (mut credited, mut refunds, mut coupons, mut fees) = (nothing, nothing, nothing, nothing);
    for item in items {
        match item.kind {
            RecordKind::Payment => {
                credited = credited.checked_add(item.credit)?;
                coupons = coupons.checked_add(item.funded_coupon)?;
            }
            RecordKind::Refund => refunds = refunds.checked_sub(item.credit)?,
        }
        fees = fees.checked_add(item.merchant_fee)?;
    }
    let amounts = &settlement.amounts;
    Ok(amounts.gross == credited.checked_sub(coupons)?
        && amounts.coupons == coupons
        && amounts.refunds == refunds
        && amounts.merchant_fees == fees)
}

/// What is payable is paid in numbered parts that come to the net; what is carried over has none.
fn check_parts(settlement: &Settlement, name: &str, findings: &mut Findings) {
    let mut sum = Some(Money::from_minor(0, settlement.currency));
    for (part, number) in settlement.parts.iter().zip(1_u32..) {
        findings.expect(part.part_no == number, || {
            format!("part {number} of {name} is gone")
        });
        sum = sum.and_then(|sum| sum.checked_add(part.amount).ok());
    }
    let is_carried_over = settlement.state == SettlementState::CarriedOver;
    let expected = if is_carried_over {
        Money::from_minor(0, settlement.currency)
    } else {
        settlement.amounts.net
    };
    findings.expect(sum == Some(expected), || {
        format!("the parts of {name} do not add up to {expected}")
    });
    if settlement.state == SettlementState::Paid {
        findings.expect(settlement.is_paid_in_full(), || {
            format!("{name} is paid, and a part of it is not")
        });
    }
}

/// What was booked when it was collected is what it says.
async fn check_booked(
    tx: &mut Tx,
    settlement: &Settlement,
    name: &str,
    findings: &mut Findings,
) -> Result<(), StoreError> {
    let amounts = &settlement.amounts;
    let collected = amounts
        .collected()
        .map(Money::minor_units)
        .unwrap_or_default();
    let expected = [
        (EntryEvent::Collected, Account::MerchantPending, collected),
        (
            EntryEvent::MerchantFee,
            Account::MerchantPending,
            amounts.merchant_fees.minor_units(),
        ),
        (
            EntryEvent::ReserveHeld,
            Account::MerchantPayable,
            amounts.reserve.minor_units(),
        ),
    ];
    let identity = |event: EntryEvent| format!("{}/{event}", subject(settlement.id));
    let identities: Vec<String> = expected
        .iter()
        .map(|(event, ..)| identity(*event))
        .collect();
    let found = booked(tx, &identities).await?;
    for (event, debit, minor_units) in expected {
        let posted = posted(&found, &identity(event), debit);
        findings.expect(posted == i128::from(minor_units), || {
            format!("{name} has {event} of {minor_units}, and {posted} is booked")
        });
    }
    Ok(())
}

fn subject(id: SettlementId) -> String {
    format!("settlement:{id}")
}

/// What an entry moves from an account: below zero where it moves there.
fn posted(found: &HashMap<String, Vec<BookedPosting>>, identity: &str, debit: Account) -> i128 {
    let postings = found.get(identity).map(Vec::as_slice).unwrap_or_default();
    let amounts = postings.iter().map(|posting| {
        let amount = i128::from(posting.amount_minor);
        if posting.debit_account == debit.as_str() {
            amount
        } else {
            amount.saturating_neg()
        }
    });
    amounts.fold(0, i128::saturating_add)
}

impl Seen {
    fn count(&mut self, settlement: &Settlement, items: usize) {
        let instructions = settlement.parts.iter().map(|part| part.instructions.len());
        let add = |sum: &mut i64, more: usize| {
            *sum = sum.saturating_add(i64::try_from(more).unwrap_or(i64::MAX));
        };
        add(&mut self.rows.items, items);
        add(&mut self.rows.parts, settlement.parts.len());
        add(&mut self.rows.instructions, instructions.sum());
        let key = (
            settlement.merchant_id.to_string(),
            settlement.currency.to_string(),
        );
        let left = if settlement.state == SettlementState::CarriedOver {
            settlement.amounts.net
        } else {
            Money::from_minor(0, settlement.currency)
        };
        let link = Link {
            from: settlement.period_from,
            until: settlement.period_until,
            carried: settlement.amounts.carried,
            left,
        };
        let chain = self.chains.entry(key).or_default();
        chain.insert(settlement.sequence_no, link);
    }
}

/// Nothing hangs on a settlement that is not there, and no number is left out.
async fn check_counts(
    tx: &mut Tx,
    books: &Books,
    seen: &Seen,
    findings: &mut Findings,
) -> Result<(), StoreError> {
    let rows = verify_settlements::count(tx).await?;
    findings.expect(rows == seen.rows, || {
        format!("there are {rows:?}, and settlements have {:?}", seen.rows)
    });
    let settled = i64::try_from(books.settled_records).unwrap_or(i64::MAX);
    findings.expect(rows.items == settled, || {
        format!(
            "{} items settle records, and {settled} records are settled",
            rows.items
        )
    });
    let (odd, untold) = verify_settlements::count_odd(tx).await?;
    findings.expect(odd == 0, || {
        format!("{odd} instructions or offline payments are of another amount than their part")
    });
    findings.expect(untold == 0, || {
        format!("{untold} settlements are where their history does not lead")
    });
    for (whose, chain) in &seen.chains {
        check_chain(whose, chain, findings);
    }
    Ok(())
}

/// Each settlement follows the one before it: its number, its period, and what is carried over, once.
fn check_chain(
    (merchant, currency): &(String, String),
    chain: &BTreeMap<u32, Link>,
    findings: &mut Findings,
) {
    let mut before: Option<&Link> = None;
    for ((number, link), expected) in chain.iter().zip(1_u32..) {
        let name = || format!("settlement {number} of {merchant} in {currency}");
        findings.expect(*number == expected, || {
            format!("{} comes where {expected} is expected", name())
        });
        let left = before.map_or(0, |before| before.left.minor_units());
        let carried = link.carried.minor_units();
        findings.expect(carried == left, || {
            format!("{} takes over {carried}, and {left} was left", name())
        });
        let follows = before.is_none_or(|before| before.until <= link.from);
        findings.expect(follows && link.from < link.until, || {
            format!("the period of {} does not follow", name())
        });
        before = Some(link);
    }
}
