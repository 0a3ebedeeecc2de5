//! The people of the demo: two who sign what is paid, of whom one has not come to everything.

use std::collections::BTreeMap;

use clearday_jobs::{MerchantId, SettlementId};

use super::super::exit::CliError;
use super::LISTED_MAX;
use super::outside::Outside;
use crate::config::Role;
use crate::connectors::sandbox::{Fault, Operation};
use crate::domain::approval::{Approval, ApprovalAction, ApprovalState};
use crate::engine::{Engine, Signer};
use crate::store::approvals::{self, ApprovalFilter};
use crate::store::settlements::{self, SettlementFilter};
use crate::workers::payout_reference;

const MAKER: &str = "li";
const CHECKER: &str = "wang";
/// The merchant whose payout the bank takes without saying so.
const LOST_ANSWER_MERCHANT: &str = "shop-hangzhou";

/// Who has signed the payment of a merchant by now.
fn signers_of(merchant_id: &MerchantId) -> &'static [&'static str] {
    match merchant_id.as_str() {
        "shop-hangzhou" | "shop-wenzhou" => &[MAKER, CHECKER],
        "shop-suzhou" => &[MAKER],
        _ => &[],
    }
}

/// Signs what waits; the bank's answer to one of the payments that follow will be lost.
pub(super) async fn sign(engine: &Engine, outside: &Outside) -> Result<(), CliError> {
    let payouts = waiting_payouts(engine).await?;
    let settlements = settlements_by_merchant(engine).await?;
    for (approval, merchant_id) in &payouts {
        if merchant_id.as_str() == LOST_ANSWER_MERCHANT
            && let Some(id) = settlements.get(merchant_id)
        {
            let number = payout_reference(*id, 1, 1).map_err(refused)?;
            let bank = &outside.sandbox;
            bank.queue_fault(Operation::PayOut, &number, Fault::LostAnswer);
        }
        let maker = approval.maker.as_ref().map(|maker| maker.person.as_str());
        for name in signers_of(merchant_id) {
            if maker == Some(*name) {
                continue;
            }
            let role = Role::Approver;
            let signed = engine.sign(approval.id, Signer { name, role }, Some(&approval.digest));
            signed.await.map_err(refused)?;
        }
    }
    Ok(())
}

fn refused(error: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> CliError {
    CliError::refused("a payment could not be signed").because(error)
}

async fn waiting_payouts(engine: &Engine) -> Result<Vec<(Approval, MerchantId)>, CliError> {
    let filter = ApprovalFilter {
        state: Some(ApprovalState::Requested),
        ..ApprovalFilter::default()
    };
    let mut tx = engine.store().read().await?;
    let found = approvals::list(&mut tx, filter, LISTED_MAX).await?;
    let payouts = found
        .into_iter()
        .filter(|approval| approval.action == ApprovalAction::Payout)
        .filter_map(|approval| Some((approval.merchant_id.clone()?, approval)))
        .map(|(merchant_id, approval)| (approval, merchant_id));
    Ok(payouts.collect())
}

async fn settlements_by_merchant(
    engine: &Engine,
) -> Result<BTreeMap<MerchantId, SettlementId>, CliError> {
    let mut tx = engine.store().read().await?;
    let found = settlements::list(&mut tx, &SettlementFilter::default(), LISTED_MAX).await?;
    Ok(found
        .into_iter()
        .map(|it| (it.merchant_id, it.id))
        .collect())
}
