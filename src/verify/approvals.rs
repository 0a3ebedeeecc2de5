//! Whatever is approved was approved as it was shown, by as many people as its rule asks.

use super::accounts::Accounts;
use super::findings::Findings;
use crate::domain::approval::{Approval, ApprovalRule, ApprovalState, is_same_person};
use crate::domain::digest::hex_sha256;
use crate::store::approvals::{self, ApprovalFilter};
use crate::store::{StoreError, Tx};

const PAGE: usize = 1_000;

pub(super) async fn check(tx: &mut Tx, accounts: &mut Accounts) -> Result<Findings, StoreError> {
    let mut findings = Findings::about("approvals");
    let mut filter = ApprovalFilter::default();
    loop {
        let page = approvals::list(tx, filter, PAGE).await?;
        for approval in &page {
            findings.look();
            check_approval(approval, &mut findings);
            accounts.add(approval);
        }
        match page.last() {
            Some(last) => filter.before = Some(last.id),
            None => return Ok(findings),
        }
    }
}

fn check_approval(approval: &Approval, findings: &mut Findings) {
    let (action, subject) = (approval.action, &approval.subject);
    let digest = hex_sha256(approval.shown.as_bytes());
    findings.expect(digest == approval.digest, || {
        format!("the {action} of {subject} does not show what was signed")
    });
    if let (Some(maker), Some(checker)) = (&approval.maker, &approval.checker) {
        findings.expect(!is_same_person(&maker.person, &checker.person), || {
            format!("{} approved the {action} of {subject} alone", maker.person)
        });
    }
    if approval.state == ApprovalState::Approved {
        findings.expect(is_agreed(approval), || {
            format!("the {action} of {subject} is approved without two people")
        });
    }
}

/// Whether it was agreed to, also where something else is agreed by now.
pub(super) fn is_granted(approval: &Approval) -> bool {
    match approval.state {
        ApprovalState::Approved | ApprovalState::Superseded => is_agreed(approval),
        ApprovalState::Requested | ApprovalState::Rejected => false,
    }
}

/// Whether as many people agreed as its rule asks, or once did.
fn is_agreed(approval: &Approval) -> bool {
    match approval.rule {
        ApprovalRule::TwoPeople => approval.maker.is_some() && approval.checker.is_some(),
        ApprovalRule::BelowLimit => approval.action.may_be_below_limit(),
    }
}
