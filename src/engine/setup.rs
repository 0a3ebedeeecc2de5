//! Takes whole files of set-up data in: merchants and partners; every row of a file in one transaction, or none of it.

use std::collections::BTreeSet;

use clearday_jobs::{MerchantId, PartnerId};

use super::{Engine, ImportError};
use crate::domain::import::ImportSummary;
use crate::domain::import::merchants::{MerchantOutcome, MerchantRow, plan_merchants};
use crate::domain::import::partners::{PartnerRow, plan_partners};
use crate::store::{merchants, partners};

impl Engine {
    /// Imports a file of merchants. Another bank account of a known merchant is written down and waits for approval.
    pub async fn import_merchants(
        &self,
        rows: &[MerchantRow],
    ) -> Result<MerchantOutcome, ImportError> {
        let ids: BTreeSet<&MerchantId> = rows.iter().map(|row| &row.merchant.merchant_id).collect();
        let ids: Vec<&MerchantId> = ids.into_iter().collect();
        let now = self.clock().now();
        let mut tx = self.store().begin().await?;
        let known = merchants::lock_all(&mut tx, &ids).await?;
        let plan = plan_merchants(rows, &known, now)?;
        let written = merchants::upsert_all(&mut tx, &plan.writes, now).await?;
        if usize::try_from(written) != Ok(plan.writes.len()) {
            return Err(ImportError::MerchantChanged);
        }
        self.ask_about_accounts(&mut tx, &known, &plan.writes)
            .await?;
        tx.commit().await?;
        Ok(plan.outcome)
    }

    /// Imports a file of partners.
    pub async fn import_partners(&self, rows: &[PartnerRow]) -> Result<ImportSummary, ImportError> {
        let ids: BTreeSet<&PartnerId> = rows.iter().map(|row| &row.partner.partner_id).collect();
        let ids: Vec<&PartnerId> = ids.into_iter().collect();
        let mut tx = self.store().begin().await?;
        let known = partners::lock_all(&mut tx, &ids).await?;
        let plan = plan_partners(rows, &known)?;
        partners::upsert_all(&mut tx, &plan.writes, self.clock().now()).await?;
        tx.commit().await?;
        Ok(plan.summary)
    }
}
