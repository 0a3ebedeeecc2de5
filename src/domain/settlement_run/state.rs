//! Where a settlement is, as a whole.

use crate::domain::words::words;

words! {
    /// Where a settlement is. What stands between approval and payment is told by its parts.
    SettlementState {
        /// Its items and amounts are fixed; nobody has agreed to pay it yet.
        Calculated = "calculated",
        /// Nothing is paid of it: its net goes into the next settlement. Final.
        CarriedOver = "carried_over",
        /// It may be paid, exactly as it was shown.
        Approved = "approved",
        /// Every part is paid. A returned payment reopens it.
        Paid = "paid",
    }
    "calculated, carried_over, approved, paid"
}

words! {
    /// What can happen to a settlement.
    SettlementEvent {
        /// People agreed to what they were shown.
        Approve = "approve",
        /// What they agreed to is not what would be paid any more.
        Revoke = "revoke",
        /// The last part was paid.
        Close = "close",
        /// A payment came back.
        Reopen = "reopen",
    }
    "approve, revoke, close, reopen"
}

impl SettlementState {
    /// The state after `event`, or `None` when it is refused.
    pub const fn after(self, event: SettlementEvent) -> Option<Self> {
        match self {
            Self::Calculated => match event {
                SettlementEvent::Approve => Some(Self::Approved),
                // Paid offline as a whole, it needs nobody's leave to be paid by the bank.
                SettlementEvent::Close => Some(Self::Paid),
                SettlementEvent::Revoke | SettlementEvent::Reopen => None,
            },
            Self::Approved => match event {
                SettlementEvent::Revoke => Some(Self::Calculated),
                SettlementEvent::Close => Some(Self::Paid),
                SettlementEvent::Approve | SettlementEvent::Reopen => None,
            },
            Self::Paid => match event {
                // What came back was allowed to leave; two people release it again, part by part.
                SettlementEvent::Reopen => Some(Self::Approved),
                SettlementEvent::Approve | SettlementEvent::Revoke | SettlementEvent::Close => None,
            },
            Self::CarriedOver => match event {
                SettlementEvent::Approve
                | SettlementEvent::Revoke
                | SettlementEvent::Close
                | SettlementEvent::Reopen => None,
            },
        }
    }

    /// Whether a job has nothing left to do for it.
    pub const fn is_final(self) -> bool {
        match self {
            Self::CarriedOver | Self::Paid => true,
            Self::Calculated | Self::Approved => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_settlement_state_and_event_is_answered() {
        let table: Vec<String> = SettlementState::ALL
            .iter()
            .map(|state| {
                let answers: Vec<String> = SettlementEvent::ALL
                    .iter()
                    .map(|event| match state.after(*event) {
                        Some(next) => format!("{event} -> {next}"),
                        None => format!("{event} -> refused"),
                    })
                    .collect();
                format!("{state}: {}", answers.join(", "))
            })
            .collect();
        assert_eq!(
            table.join("\n"),
            "\
calculated: approve -> approved, revoke -> refused, close -> paid, reopen -> refused
carried_over: approve -> refused, revoke -> refused, close -> refused, reopen -> refused
approved: approve -> refused, revoke -> calculated, close -> paid, reopen -> refused
paid: approve -> refused, revoke -> refused, close -> refused, reopen -> approved"
        );
    }
}
