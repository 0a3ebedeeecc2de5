//! Another account of a merchant: asked for when a file names it, put in force or dropped in the
//! transaction of the decision.

use clearday_jobs::MerchantId;
use serde_json::json;

use super::approvals::Pending;
use super::{ApprovalError, Engine, NewApproval, PeopleNeeded};
use crate::domain::approval::{Approval, ApprovalAction, ApprovalState};
use crate::domain::audit::{AuditAction, AuditEntry, CLEARDAY};
use crate::domain::bank_account::BankAccountChange;
use crate::domain::import::merchants::differences;
use crate::domain::merchant::Merchant;
use crate::store::{StoreError, Tx, merchants};

impl Engine {
    /// Writes down what became another of known merchants, asks two people about every account that waits since
    /// `before`, and withdraws what was asked about those that wait no more. Appends to the audit chain, so it comes last.
    pub(super) async fn ask_about_accounts(
        &self,
        tx: &mut Tx,
        before: &[Merchant],
        written: &[Merchant],
    ) -> Result<(), ApprovalError> {
        let mut pending = Pending::default();
        for merchant in written {
            let known = before
                .iter()
                .find(|known| known.merchant_id == merchant.merchant_id);
            if let Some(entry) = known.and_then(|known| entry_about_change(known, merchant)) {
                pending.add(entry);
            }
            if known.and_then(|known| known.pending_payee.as_ref())
                == merchant.pending_payee.as_ref()
            {
                continue;
            }
            // As it stands in the database now.
            let merchant = Merchant {
                version: merchant.version.saturating_add(1),
                ..merchant.clone()
            };
            let more = match BankAccountChange::waiting_at(&merchant) {
                Some(change) => self.ask(tx, request(&change)).await?.1,
                None => self.withdraw(tx, &merchant.merchant_id).await?,
            };
            pending.extend(more);
        }
        pending.append(tx, self.clock().now()).await
    }

    async fn withdraw(
        &self,
        tx: &mut Tx,
        merchant_id: &MerchantId,
    ) -> Result<Pending, ApprovalError> {
        let (action, subject) = (ApprovalAction::BankAccount, merchant_id.as_str());
        let reason = "another file names the account that is paid now";
        self.withdraw_request(tx, action, subject, reason).await
    }

    /// Does what people decided about an account; the merchant is locked.
    pub(super) async fn settle_account(
        &self,
        tx: &mut Tx,
        approval: &Approval,
        who: &str,
    ) -> Result<Option<AuditEntry>, ApprovalError> {
        let change = BankAccountChange::read(&approval.shown)
            .ok_or_else(|| StoreError::corrupt("shown", "no change of a bank account"))?;
        let (id, to, now) = (&change.merchant_id, &change.to, self.clock().now());
        let (is_settled, what) = match approval.state {
            ApprovalState::Requested | ApprovalState::Superseded => return Ok(None),
            ApprovalState::Approved => (
                merchants::accept_pending_payee(tx, id, to, now).await?,
                AuditAction::BankAccountChanged,
            ),
            ApprovalState::Rejected => (
                merchants::drop_pending_payee(tx, id, to, now).await?,
                AuditAction::BankAccountDropped,
            ),
        };
        if !is_settled {
            return Err(ApprovalError::LostRace(format!(
                "the account that waits at merchant {id}"
            )));
        }
        let mut detail = change.shown();
        if let Some(fields) = detail.as_object_mut() {
            fields.insert("approval_id".to_owned(), json!(approval.id));
        }
        Ok(Some(AuditEntry {
            who: who.to_owned(),
            what,
            subject: id.to_string(),
            detail,
        }))
    }
}

/// What a file changed of a merchant's policy; none where that is nothing but another account, which people decide.
fn entry_about_change(known: &Merchant, now: &Merchant) -> Option<AuditEntry> {
    let columns: Vec<&str> = differences(known, now).collect();
    let has_other_contracts = known.contracts != now.contracts;
    if columns.is_empty() && !has_other_contracts {
        return None;
    }
    Some(AuditEntry {
        who: CLEARDAY.to_owned(),
        what: AuditAction::MerchantChanged,
        subject: now.merchant_id.to_string(),
        detail: json!({
            "columns": columns,
            "contracts": has_other_contracts,
            "held": now.is_held,
            "merchant_version": now.version.saturating_add(1),
        }),
    })
}

fn request(change: &BankAccountChange) -> NewApproval {
    NewApproval {
        action: ApprovalAction::BankAccount,
        subject: change.merchant_id.to_string(),
        shown: change.shown(),
        merchant_id: Some(change.merchant_id.clone()),
        payee: Some(change.to.account_no.clone()),
        amount: None,
        value_on: None,
        people: PeopleNeeded::Two,
        maker: None,
        job_id: None,
    }
}
