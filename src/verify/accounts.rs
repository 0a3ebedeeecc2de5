//! Every merchant is paid to the account that people agreed on.
//!
//! The first account comes with the merchant, and nobody signs it: it is known from what people saw when it was paid or
//! was to change. Of a merchant who was never paid and never changed, nothing can be told.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use clearday_jobs::{ApprovalId, MerchantId};

use super::approvals::is_granted;
use super::findings::Findings;
use super::payouts::text_in;
use crate::domain::approval::{Approval, ApprovalAction, ApprovalState};
use crate::domain::bank_account::BankAccountChange;
use crate::domain::merchant::{Merchant, Payee};
use crate::store::{StoreError, Tx, merchants};

/// What the approvals tell of accounts.
#[derive(Debug, Default)]
pub(super) struct Accounts {
    by_merchant: BTreeMap<MerchantId, Seen>,
}

/// What they tell of one merchant's.
#[derive(Debug, Default)]
struct Seen {
    /// The accounts that people were shown as the one that is paid.
    paid: Vec<Payee>,
    /// What people agreed to, in the order in which it was asked.
    agreed: BTreeMap<(DateTime<Utc>, ApprovalId), BankAccountChange>,
    /// What people are asked about.
    asked: Option<Payee>,
}

impl Accounts {
    /// Remembers what an approval tells of accounts.
    pub(super) fn add(&mut self, approval: &Approval) {
        let Some(merchant_id) = approval.merchant_id.clone() else {
            return;
        };
        let seen = self.by_merchant.entry(merchant_id).or_default();
        match approval.action {
            ApprovalAction::Payout | ApprovalAction::Release => {
                if let Some(payee) = paid_in(approval) {
                    seen.add_paid(payee);
                }
            }
            ApprovalAction::BankAccount => {
                if let Some(change) = BankAccountChange::read(&approval.shown) {
                    seen.add_change(approval, change);
                }
            }
            ApprovalAction::OfflinePayment => {}
        }
    }
}

/// The account that a payment is shown to go to.
fn paid_in(approval: &Approval) -> Option<Payee> {
    Some(Payee {
        bank: text_in(&approval.shown, "bank")?.parse().ok()?,
        account_no: text_in(&approval.shown, "account_no")?,
        account_name: text_in(&approval.shown, "account_name")?,
    })
}

impl Seen {
    fn add_paid(&mut self, payee: Payee) {
        if !self.paid.contains(&payee) {
            self.paid.push(payee);
        }
    }

    fn add_change(&mut self, approval: &Approval, change: BankAccountChange) {
        self.add_paid(change.from.clone());
        if approval.state == ApprovalState::Requested {
            self.asked = Some(change.to);
        } else if is_granted(approval) {
            self.agreed
                .insert((approval.requested_at, approval.id), change);
        }
    }
}

/// Compares every merchant with what people agreed on.
pub(super) async fn check(tx: &mut Tx, accounts: &Accounts) -> Result<Findings, StoreError> {
    let mut findings = Findings::about("bank accounts");
    let nothing = Seen::default();
    for merchant in merchants::list(tx).await? {
        findings.look();
        let seen = accounts.by_merchant.get(&merchant.merchant_id);
        check_merchant(&merchant, seen.unwrap_or(&nothing), &mut findings);
    }
    Ok(findings)
}

fn check_merchant(merchant: &Merchant, seen: &Seen, findings: &mut Findings) {
    let id = &merchant.merchant_id;
    let mut in_force: Option<&Payee> = None;
    for change in seen.agreed.values() {
        findings.expect(in_force.is_none_or(|known| *known == change.from), || {
            let account = &change.from.account_no;
            format!("nobody agreed to account {account} of {id}, which was paid for a while")
        });
        in_force = Some(&change.to);
    }
    let in_force = in_force.unwrap_or(&merchant.payee);
    findings.expect(merchant.payee == *in_force, || {
        let account = &merchant.payee.account_no;
        format!("{id} is paid to account {account}, which nobody agreed to")
    });
    let is_known = |payee: &Payee| {
        let mut changes = seen.agreed.values();
        payee == in_force || changes.any(|change| change.from == *payee)
    };
    for stranger in seen.paid.iter().filter(|payee| !is_known(payee)) {
        let account = &stranger.account_no;
        findings.wrong(format!(
            "people were shown account {account} of {id}, which is not the one they agreed to"
        ));
    }
    findings.expect(merchant.pending_payee == seen.asked, || {
        format!("what people are asked about the account of {id} is not what waits there")
    });
}
