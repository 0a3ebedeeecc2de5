//! States rest on evidence: a paid order has its money, an expired one no way to be paid, a closed reference its proof.

use super::findings::Findings;
use super::operations::is_evidence;
use crate::domain::operation::OperationState;
use crate::domain::order::{OrderState, ReferenceState};
use crate::store::verify_history::{StoredOrder, StoredReference, orders, references};
use crate::store::{StoreError, Tx};

pub(super) async fn check(tx: &mut Tx) -> Result<Findings, StoreError> {
    let mut findings = Findings::about("orders and references");
    let mut after = String::new();
    loop {
        let page = orders(tx, &after).await?;
        for order in &page {
            findings.look();
            check_order(order, &mut findings);
        }
        match page.into_iter().next_back() {
            Some(last) => after = last.order_no,
            None => break,
        }
    }
    let mut after: Option<StoredReference> = None;
    loop {
        let page = references(tx, after.as_ref()).await?;
        for reference in &page {
            findings.look();
            check_reference(reference, &mut findings);
        }
        match page.into_iter().next_back() {
            Some(last) => after = Some(last),
            None => return Ok(findings),
        }
    }
}

fn check_order(order: &StoredOrder, findings: &mut Findings) {
    let StoredOrder {
        order_no,
        state,
        version,
        ..
    } = order;
    let is_told = order.events == *version
        && order.last_version == Some(*version)
        && order.last_state.as_ref() == Some(state);
    findings.expect(is_told, || {
        format!("order {order_no} is {state} at version {version}, which its history does not tell")
    });
    // What upstream told was its own to know.
    if order.moved_by.is_none() {
        return;
    }
    match state.parse() {
        Ok(OrderState::Paid) => {
            let is_taken = order.taken_minor >= order.paid_minor;
            findings.expect(order.paid_references > 0 || is_taken, || {
                format!(
                    "order {order_no} is paid, and neither a reference nor its authorizations are"
                )
            });
        }
        Ok(OrderState::Expired) => {
            let is_over = order.open_references == 0 && order.live_authorizations == 0;
            findings.expect(is_over, || {
                format!("order {order_no} is expired, and somebody may still pay for it")
            });
        }
        Ok(
            OrderState::Open | OrderState::InReview | OrderState::Expiring | OrderState::Cancelled,
        ) => {}
        Err(error) => findings.wrong(format!("order {order_no}: {error}")),
    }
}

fn check_reference(reference: &StoredReference, findings: &mut Findings) {
    let StoredReference {
        channel,
        reference: number,
        ..
    } = reference;
    let name = format!("reference {number} at {channel}");
    let closing = reference
        .close_state
        .as_ref()
        .and_then(|state| state.parse().ok());
    let proof = is_evidence(reference.evidence.as_deref());
    match reference.state.parse() {
        Ok(ReferenceState::Open) => {
            let is_closed = closing == Some(OperationState::Succeeded);
            findings.expect(!is_closed, || {
                format!("{name} is open, and was closed at its channel")
            });
        }
        Ok(ReferenceState::Closed) => {
            findings.expect(proof, || format!("{name} is closed without evidence"));
            findings.expect(closing.is_none_or(OperationState::is_final), || {
                format!("{name} is closed, and a call about it has no outcome")
            });
        }
        Ok(ReferenceState::Paid) => {
            findings.expect(proof, || format!("{name} is paid without evidence"));
            check_payment(reference, &name, findings);
        }
        Err(error) => findings.wrong(format!("{name}: {error}")),
    }
}

/// The record that we wrote of a payment says what the channel said.
fn check_payment(reference: &StoredReference, name: &str, findings: &mut Findings) {
    if reference.record_taken_by.is_none() {
        return;
    }
    let is_same = reference.record_channel.as_ref() == Some(&reference.channel)
        && reference.record_minor == reference.paid_minor
        && reference.record_currency == reference.paid_currency;
    findings.expect(is_same, || {
        format!("{name} was paid otherwise than our record says")
    });
}
