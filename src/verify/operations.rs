//! Calls to the outside form chains: each key but the newest is proved dead, and what is proved has its evidence.

use chrono::TimeDelta;

use super::findings::Findings;
use crate::domain::operation::OperationState;
use crate::store::verify_history::{StoredOperation, operations};
use crate::store::{StoreError, Tx};

/// Each instant is by the clock of the host that wrote it down: two of them may be five minutes wrong, either way. That
/// one key is closed before the next is opened is kept by the database; see the index
/// `operations_one_open`.
const CLOCKS_APART_MAX: TimeDelta = TimeDelta::minutes(10);

pub(super) async fn check(tx: &mut Tx) -> Result<Findings, StoreError> {
    let mut findings = Findings::about("operations");
    let mut before: Option<StoredOperation> = None;
    loop {
        let page = operations(tx, before.as_ref()).await?;
        if page.is_empty() {
            return Ok(findings);
        }
        for operation in page {
            findings.look();
            let chained = before.filter(|before| is_one_chain(before, &operation));
            check_operation(&operation, chained.as_ref(), &mut findings);
            before = Some(operation);
        }
    }
}

fn is_one_chain(one: &StoredOperation, other: &StoredOperation) -> bool {
    one.channel == other.channel && one.reference == other.reference && one.kind == other.kind
}

fn check_operation(
    operation: &StoredOperation,
    before: Option<&StoredOperation>,
    findings: &mut Findings,
) {
    let StoredOperation {
        channel,
        reference,
        kind,
        generation,
        idempotency_key: key,
        state,
        ..
    } = operation;
    findings.expect(
        *key == format!("{kind}:{channel}:{reference}:{generation}"),
        || format!("{key} is the key of {kind} {generation} of {reference} at {channel}"),
    );
    let expected = before.map_or(1, |before| before.generation.saturating_add(1));
    findings.expect(*generation == expected, || {
        format!("{key} comes where generation {expected} is expected")
    });
    if let Some(before) = before {
        check_dead(operation, before, findings);
    }
    match state.parse() {
        Ok(OperationState::Succeeded | OperationState::Declined) => {
            findings.expect(is_evidence(operation.evidence.as_deref()), || {
                format!("{key} is {state} without evidence")
            });
        }
        Ok(OperationState::Intended | OperationState::Unknown) => {}
        Err(error) => findings.wrong(format!("{key}: {error}")),
    }
}

/// A new key needs proof that the old one is dead.
fn check_dead(operation: &StoredOperation, before: &StoredOperation, findings: &mut Findings) {
    let (key, old) = (&operation.idempotency_key, &before.idempotency_key);
    let is_dead = before.state == OperationState::Declined.as_str();
    findings.expect(is_dead, || {
        format!("{key} follows {old}, which is {}", before.state)
    });
    let proved_at = before.updated_at.0 - CLOCKS_APART_MAX;
    findings.expect(proved_at <= operation.intended_at.0, || {
        format!("{key} was intended before {old} was proved dead")
    });
}

/// What was asked and what was answered, as JSON.
pub(super) fn is_evidence(evidence: Option<&str>) -> bool {
    let told: Option<serde_json::Value> = evidence.and_then(|text| serde_json::from_str(text).ok());
    told.is_some_and(|told| {
        let says = |field: &str| {
            let text = told.get(field).and_then(serde_json::Value::as_str);
            text.is_some_and(|text| !text.is_empty())
        };
        says("request") && says("answered_at") && told.get("answer").is_some()
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Timestamp;

    fn call(generation: i64, state: &str, minute: i64) -> StoredOperation {
        let at = chrono::DateTime::default() + TimeDelta::minutes(minute);
        StoredOperation {
            channel: "sandbox".to_owned(),
            reference: "R-1".to_owned(),
            kind: "close".to_owned(),
            generation,
            idempotency_key: format!("close:sandbox:R-1:{generation}"),
            state: state.to_owned(),
            evidence: None,
            intended_at: Timestamp(at),
            updated_at: Timestamp(at),
        }
    }

    #[test]
    fn clocks_of_two_hosts_may_differ_and_days_may_not() {
        let is_fine = |proved_at, intended_at| {
            let mut findings = Findings::about("operations");
            let before = call(1, "declined", proved_at);
            check_dead(&call(2, "unknown", intended_at), &before, &mut findings);
            findings.is_ok()
        };
        assert!(is_fine(0, 1) && is_fine(10, 0));
        assert!(!is_fine(11, 0));
    }

    #[test]
    fn evidence_is_a_question_and_its_answer() {
        let fine = r#"{"request":"GET /x","answer":"","answered_at":"2026-03-02T12:00:00Z"}"#;
        assert!(is_evidence(Some(fine)));
        for other in [
            None,
            Some(""),
            Some("{}"),
            Some("proof"),
            Some(r#"{"request":"","answer":"x","answered_at":"y"}"#),
        ] {
            assert!(!is_evidence(other), "{other:?}");
        }
    }
}
