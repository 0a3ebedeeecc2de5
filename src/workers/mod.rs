//! The jobs carried out: load, decide, act, record. One straight line each.

use clearday_jobs::JobKind;

/// Whether this release has a worker for the kind; a job of another kind is accepted and waits.
pub const fn is_carried_out(kind: JobKind) -> bool {
    match kind {
        JobKind::OrderExpiry | JobKind::Reconciliation => true,
        JobKind::DeferredAuthorization | JobKind::SettlementRun | JobKind::PartnerNotification => {
            false
        }
    }
}
