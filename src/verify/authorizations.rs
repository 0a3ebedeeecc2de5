//! What is held or was taken of payers' money has its evidence, and the books tell the same beside and in them.

use std::collections::BTreeSet;

use super::books::{Books, Sums, Whose};
use super::findings::Findings;
use super::operations::is_evidence;
use crate::domain::authorization::AuthorizationState;
use crate::domain::ledger::Account;
use crate::store::verify_history::{StoredAuthorization, authorizations};
use crate::store::{StoreError, Tx};

pub(super) async fn check(tx: &mut Tx, books: &Books) -> Result<Findings, StoreError> {
    let mut findings = Findings::about("authorizations");
    let mut held = Sums::default();
    let mut after: Option<StoredAuthorization> = None;
    loop {
        let page = authorizations(tx, after.as_ref()).await?;
        for authorization in &page {
            findings.look();
            check_authorization(authorization, &mut held, &mut findings);
        }
        match page.into_iter().next_back() {
            Some(last) => after = Some(last),
            None => break,
        }
    }
    check_exposure(books, &held, &mut findings);
    Ok(findings)
}

fn check_authorization(
    authorization: &StoredAuthorization,
    held: &mut Sums,
    findings: &mut Findings,
) {
    let StoredAuthorization {
        channel,
        reference,
        merchant_id,
        amount_minor,
        currency,
        state,
        ..
    } = authorization;
    let name = format!("authorization {reference} at {channel}");
    let state: AuthorizationState = match state.parse() {
        Ok(state) => state,
        Err(error) => {
            findings.wrong(format!("{name}: {error}"));
            return;
        }
    };
    match state {
        AuthorizationState::Intended | AuthorizationState::Unknown => return,
        AuthorizationState::Authorized | AuthorizationState::Voiding => {
            held.add(merchant_id, currency, (*amount_minor).into());
        }
        AuthorizationState::Captured => {
            let told = (authorization.told_minor, &authorization.told_currency);
            let is_told = told == (Some(*amount_minor), &Some(currency.clone()));
            findings.expect(is_told, || {
                format!("{name} took {amount_minor} {currency}, and no fact and no record says so")
            });
        }
        AuthorizationState::Voided
        | AuthorizationState::Lapsed
        | AuthorizationState::Declined
        | AuthorizationState::Absent => {}
    }
    findings.expect(is_evidence(authorization.evidence.as_deref()), || {
        format!("{name} is {state} without evidence")
    });
}

fn check_exposure(books: &Books, held: &Sums, findings: &mut Findings) {
    let booked = books.owners_of(Account::MemoExposure);
    let everybody: BTreeSet<&Whose> = held.owners().chain(booked).collect();
    for whose in everybody {
        let exposure = books.credit(Account::MemoExposure, whose, |_| true);
        let (is, booked) = (held.of(whose), exposure.saturating_neg());
        let (merchant, currency) = whose;
        findings.expect(is == booked, || {
            format!("{is} {currency} is held for {merchant}, and {booked} is told beside the books")
        });
    }
}
