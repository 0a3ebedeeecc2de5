//! `clearday verify`: whether the books agree with each other, and with what they rest on.
//!
//! Everything is read in one transaction, page by page, and nothing is believed because it is
//! there: digests are made anew, entries are made anew from their records, sums are added up from one book and compared
//! with another. One file per check; a check that finds a value it cannot read is broken, and the others go on.

mod accounts;
mod approvals;
mod audit;
mod authorizations;
mod books;
mod conservation;
mod entries;
mod facts;
mod findings;
mod histories;
mod operations;
mod payouts;
mod records;
mod settlements;
mod states;

use serde::Serialize;

use crate::store::{Store, StoreError, Tx};
use accounts::Accounts;
use books::Books;
use findings::Findings;

/// What `clearday verify` answers.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Whether every check is.
    pub ok: bool,
    /// Every check, in a fixed order.
    pub checks: Vec<Check>,
}

/// One check.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// Its name, which stays.
    pub name: &'static str,
    /// Whether it found nothing.
    pub ok: bool,
    /// How much was looked at, or what is wrong.
    pub detail: String,
}

impl Check {
    fn new(name: &'static str, found: Result<Findings, StoreError>) -> Result<Self, StoreError> {
        match found {
            Ok(findings) => Ok(Self {
                name,
                ok: findings.is_ok(),
                detail: findings.to_string(),
            }),
            Err(error) => Self::unreadable(name, error),
        }
    }

    /// A stored value that cannot be read is a finding; a database that is away is not.
    fn unreadable(name: &'static str, error: StoreError) -> Result<Self, StoreError> {
        match error {
            StoreError::Corrupt { .. } => Ok(Self {
                name,
                ok: false,
                detail: error.to_string(),
            }),
            StoreError::Url
            | StoreError::Unavailable(_)
            | StoreError::NoAnswer(_)
            | StoreError::SchemaBehind
            | StoreError::Constraint { .. }
            | StoreError::LedgerConflict(_)
            | StoreError::Migration(_)
            | StoreError::Other(_) => Err(error),
        }
    }
}

/// Checks everything.
pub async fn verify(store: &Store) -> Result<Report, StoreError> {
    let mut tx = store.read().await?;
    let checks = run(&mut tx).await?;
    Ok(Report {
        ok: checks.iter().all(|check| check.ok),
        checks,
    })
}

/// What compares one book with another comes after what adds them up.
async fn run(tx: &mut Tx) -> Result<Vec<Check>, StoreError> {
    let mut books = Books::default();
    let mut checks = vec![
        Check::new("entries_sealed", entries::check(tx, &mut books).await)?,
        Check::new("records_booked", records::check(tx, &mut books).await)?,
        Check::new("facts", facts::check(tx, &mut books).await)?,
    ];
    match settlements::check(tx, &mut books).await {
        Ok((settlements, payouts)) => {
            checks.push(Check::new("settlements", Ok(settlements))?);
            checks.push(Check::new("payouts", Ok(payouts))?);
        }
        Err(error) => checks.push(Check::unreadable("settlements", error)?),
    }
    checks.push(Check::new("conservation", Ok(conservation::check(&books)))?);
    checks.push(Check::new("operations", operations::check(tx).await)?);
    let authorizations = authorizations::check(tx, &books).await;
    checks.push(Check::new("authorizations", authorizations)?);
    checks.push(Check::new("states", states::check(tx).await)?);
    checks.push(Check::new("histories", histories::check(tx).await)?);
    let mut accounts = Accounts::default();
    checks.push(Check::new(
        "approvals",
        approvals::check(tx, &mut accounts).await,
    )?);
    checks.push(Check::new(
        "bank_accounts",
        accounts::check(tx, &accounts).await,
    )?);
    checks.push(Check::new("audit", audit::check(tx).await)?);
    Ok(checks)
}
