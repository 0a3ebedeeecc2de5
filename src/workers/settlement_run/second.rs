//! A part that was paid twice: the second payment is booked against the merchant and is a break, until it comes back or
//! the first one dies. Then it is the payment.

use clearday_jobs::{Amount, ChannelName, Money, OfflinePaymentId};
use serde_json::json;

use super::moves::Mover;
use crate::domain::reconciliation::{BreakKind, BreakName};
use crate::domain::settlement_run::DebitLine;
use crate::engine::WorkError;
use crate::store::reconciliations::{self, NewBreak};
use crate::workers::suspense::break_identity;

/// A debit that pays what was paid.
#[derive(Clone, Copy, Debug)]
pub(super) struct RepeatedDebit<'a> {
    pub(super) bank: &'a ChannelName,
    pub(super) line: DebitLine<'a>,
    /// Above zero.
    pub(super) amount: Money,
    /// The end-to-end id that it carries, if it carries one of ours.
    pub(super) end_to_end_id: &'a str,
}

/// Reports the debit of a claim whose part was paid without it.
pub(super) async fn report_claim(
    mover: &mut Mover<'_>,
    id: OfflinePaymentId,
) -> Result<(), WorkError> {
    let (_, claim) = mover.claim(id)?;
    let Some(booked_on) = claim.debited_on else {
        return Ok(());
    };
    let claim = claim.clone();
    let repeated = RepeatedDebit {
        bank: &claim.bank,
        line: DebitLine {
            booked_on,
            number: claim.debit_number(),
        },
        amount: claim.amount,
        end_to_end_id: "",
    };
    report(mover, &repeated).await
}

/// Writes the break down, in the transaction that books the debit.
pub(super) async fn report(
    mover: &mut Mover<'_>,
    repeated: &RepeatedDebit<'_>,
) -> Result<(), WorkError> {
    let signed = repeated.amount.checked_neg();
    let signed = signed.map_err(|error| WorkError::Invalid(error.to_string()))?;
    let (name, number) = (BreakName::DuplicateTheirs, repeated.line.number);
    let found = NewBreak {
        id: mover.run().engine().ids().uuid(),
        identity: break_identity(repeated.bank, name, number),
        break_name: name.as_str(),
        kind: BreakKind::Payout.as_str(),
        record_no: repeated.end_to_end_id.to_owned(),
        channel_trade_no: number.to_owned(),
        detail: json!({
            "ours": null,
            "theirs": Amount(signed),
            "booked_on": repeated.line.booked_on,
        })
        .to_string(),
        at_risk_minor: signed.minor_units(),
        currency: signed.currency().code(),
    };
    let (bank, now) = (repeated.bank.as_str(), mover.now());
    reconciliations::upsert_breaks(mover.tx, bank, None, &[found], now).await?;
    Ok(())
}
