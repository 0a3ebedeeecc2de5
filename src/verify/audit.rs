//! The chain of what people did is as it was written.

use super::findings::Findings;
use crate::domain::audit::ChainCheck;
use crate::store::{StoreError, Tx, audit};

/// Rows read at once: the chain may be longer than memory.
const PAGE: usize = 1_000;

pub(super) async fn check(tx: &mut Tx) -> Result<Findings, StoreError> {
    let mut findings = Findings::about("audit rows");
    let mut chain = ChainCheck::default();
    loop {
        let page = audit::after(tx, chain.head().seq, PAGE).await?;
        let is_last = page.len() < PAGE;
        for row in page {
            findings.look();
            if let Err(broken) = chain.follow(&row) {
                findings.wrong(broken);
                return Ok(findings);
            }
        }
        if is_last {
            break;
        }
    }
    let head = audit::head(tx).await?;
    if let Err(broken) = chain.end(head.as_ref()) {
        findings.wrong(broken);
    }
    Ok(findings)
}
