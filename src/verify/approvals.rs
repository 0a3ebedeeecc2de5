//! Whatever is approved was approved as it was shown, by as many people as its rule asks.

use clearday_jobs::Money;

use super::accounts::Accounts;
use super::findings::Findings;
use super::payouts::text_in;
use crate::domain::approval::{Approval, ApprovalRule, ApprovalState, is_same_person};
use crate::domain::audit::{AuditAction, AuditRow};
use crate::domain::digest::hex_sha256;
use crate::store::approvals::{self, ApprovalFilter};
use crate::store::{StoreError, Tx, audit};

const PAGE: usize = 1_000;

pub(super) async fn check(tx: &mut Tx, accounts: &mut Accounts) -> Result<Findings, StoreError> {
    let mut findings = Findings::about("approvals");
    let mut filter = ApprovalFilter::default();
    loop {
        let page = approvals::list(tx, filter, PAGE).await?;
        for approval in &page {
            findings.look();
            check_approval(approval, &mut findings);
            if is_granted(approval) {
                let told = audit::of_subject(tx, &approval.id.to_string()).await?;
                check_signatures(approval, &told, &mut findings);
            }
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

/// Every signature has its link in the chain, about what is shown.
fn check_signatures(approval: &Approval, told: &[AuditRow], findings: &mut Findings) {
    let (action, subject) = (approval.action, &approval.subject);
    let says = |whats: &[AuditAction], who: Option<&str>| {
        told.iter().any(|row| {
            let is_so = whats.iter().any(|what| what.as_str() == row.what);
            is_so && who.is_none_or(|who| who == row.who) && is_about(row, approval)
        })
    };
    match approval.rule {
        ApprovalRule::BelowLimit => {
            let is_told = says(&[AuditAction::ApprovedBelowLimit], None);
            findings.expect(is_told, || {
                format!("the chain does not say that the {action} of {subject} was small enough")
            });
        }
        ApprovalRule::TwoPeople => {
            // Who asks as a person is the maker by asking.
            let making = [AuditAction::ApprovalMade, AuditAction::ApprovalRequested];
            let signed = [
                (&approval.maker, making.as_slice()),
                (&approval.checker, &[AuditAction::ApprovalChecked]),
            ];
            for (signature, whats) in signed {
                let person = signature.as_ref().map(|it| it.person.as_str());
                findings.expect(person.is_some() && says(whats, person), || {
                    let person = person.unwrap_or("nobody");
                    format!("the chain does not say that {person} signed the {action} of {subject}")
                });
            }
        }
    }
}

fn is_about(row: &AuditRow, approval: &Approval) -> bool {
    let amount = approval.amount.map(Money::to_major_string);
    text_in(&row.detail, "digest").as_ref() == Some(&approval.digest)
        && text_in(&row.detail, "amount") == amount
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
