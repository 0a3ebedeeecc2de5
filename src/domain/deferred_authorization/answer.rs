//! Puts the answer together that upstream waits for.

use clearday_jobs::{
    Amount, AuthorizationAnswer, AuthorizationError, AuthorizedAmount, Money, YesOrNo,
};

use super::{Snapshot, Step};
use crate::domain::authorization::Authorization;

/// All that is owed is authorized or taken.
pub(super) fn yes(snapshot: &Snapshot) -> Step {
    let nothing = Money::from_minor(0, snapshot.total.currency());
    build(snapshot, YesOrNo::Yes, None, nothing)
}

/// Something remains, or the order's time is over.
pub(super) fn no(snapshot: &Snapshot, error: Option<AuthorizationError>) -> Step {
    let owed = snapshot.owed();
    let remaining = owed
        .minor_units()
        .saturating_sub(snapshot.committed())
        .max(0);
    let remaining = Money::from_minor(remaining, owed.currency());
    build(snapshot, YesOrNo::No, error, remaining)
}

fn build(
    snapshot: &Snapshot,
    successful: YesOrNo,
    error: Option<AuthorizationError>,
    remaining: Money,
) -> Step {
    let of_methods = snapshot.methods.iter().filter_map(|method| {
        let suspension = snapshot.suspended.get(&method.method_id)?;
        Some(AuthorizationError {
            method_id: Some(method.method_id.clone()),
            code: suspension.code.as_str().to_owned(),
            message: suspension.message.clone(),
        })
    });
    let mut committed: Vec<&Authorization> = snapshot
        .all()
        .filter(|it| it.state.is_committed())
        .collect();
    // As they were asked: those of earlier jobs first.
    committed.sort_by_key(|it| snapshot.place_of(&it.method_id));
    Step::Answer(AuthorizationAnswer {
        order_no: snapshot.order_no.clone(),
        successful,
        errors: error.into_iter().chain(of_methods).collect(),
        remaining_to_authorize: Amount(remaining),
        authorizations: committed
            .into_iter()
            .map(|it| AuthorizedAmount {
                method_id: it.method_id.clone(),
                channel: it.channel.clone(),
                reference: it.reference.clone(),
                state: it.state.as_str().to_owned(),
                amount: Amount(it.amount),
                because: it.because.clone(),
            })
            .collect(),
    })
}
