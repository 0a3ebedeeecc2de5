//! Checks that the chain of what people did is as it was written.

use super::Engine;
use crate::domain::audit::{BrokenChain, ChainCheck, ChainHead};
use crate::store::{StoreError, audit};

/// Rows read at once: the chain may be longer than memory.
const PAGE: usize = 1_000;

/// What a check of the chain found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditFinding {
    /// The last row that was found whole; row 0 is before the first. Its digest, kept elsewhere,
    /// tells whether all of the chain was written anew.
    pub head: ChainHead,
    /// The first place where it is broken.
    pub broken: Option<BrokenChain>,
}

impl Engine {
    /// Follows the whole chain, as it is at one moment, to the first place where it is broken.
    pub async fn verify_audit(&self) -> Result<AuditFinding, StoreError> {
        let mut tx = self.store().read().await?;
        let mut check = ChainCheck::default();
        loop {
            let rows = audit::after(&mut tx, check.head().seq, PAGE).await?;
            let is_last = rows.len() < PAGE;
            for row in rows {
                if let Err(broken) = check.follow(&row) {
                    return Ok(AuditFinding::of(&check, Some(broken)));
                }
            }
            if is_last {
                break;
            }
        }
        let head = audit::head(&mut tx).await?;
        let broken = check.end(head.as_ref()).err();
        Ok(AuditFinding::of(&check, broken))
    }
}

impl AuditFinding {
    fn of(check: &ChainCheck, broken: Option<BrokenChain>) -> Self {
        Self {
            head: check.head().clone(),
            broken,
        }
    }
}
