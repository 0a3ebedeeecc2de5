//! A claim that a part was paid outside of clearday (线下付款).
//!
//! Whoever registers it is its maker; another person approves it. It closes the part at once where no instruction to a
//! bank lives, and else waits until the instruction is proved dead. If the instruction turns out to have paid, the
//! claim is a surplus: should its debit be on the statement too, the merchant was paid twice, and both are booked. When
//! the money of the instruction comes back then, the claim is what paid the part.

use crate::domain::words::words;

words! {
    /// Where a claim is.
    ClaimState {
        /// One person says so.
        Registered = "registered",
        /// The second person did not agree. Final.
        Refused = "refused",
        /// Two people say so, and an instruction to a bank still lives.
        Waiting = "waiting",
        /// It closed its part. Final.
        Counted = "counted",
        /// Its part was paid without it. It counts after all when that payment dies and its own is on the statement.
        Surplus = "surplus",
    }
    "registered, refused, waiting, counted, surplus"
}

words! {
    /// What can happen to a claim.
    ClaimEvent {
        /// A second person agrees.
        Approve = "approve",
        /// A second person does not agree.
        Refuse = "refuse",
        /// No instruction lives, and the part is not paid, or not any more.
        Count = "count",
        /// The part is paid without it.
        Yield = "yield",
        /// Its debit is on the bank's statement.
        Debit = "debit",
    }
    "approve, refuse, count, yield, debit"
}

impl ClaimState {
    /// The state after `event`, or `None` when it is refused.
    pub const fn after(self, event: ClaimEvent) -> Option<Self> {
        match self {
            Self::Registered => match event {
                ClaimEvent::Approve => Some(Self::Waiting),
                ClaimEvent::Refuse => Some(Self::Refused),
                // One person alone explains no money: its line waits in suspense.
                ClaimEvent::Count | ClaimEvent::Yield | ClaimEvent::Debit => None,
            },
            Self::Waiting => match event {
                ClaimEvent::Count => Some(Self::Counted),
                ClaimEvent::Yield => Some(Self::Surplus),
                ClaimEvent::Debit => Some(Self::Waiting),
                ClaimEvent::Approve | ClaimEvent::Refuse => None,
            },
            Self::Counted => match event {
                ClaimEvent::Debit => Some(Self::Counted),
                ClaimEvent::Approve
                | ClaimEvent::Refuse
                | ClaimEvent::Count
                | ClaimEvent::Yield => None,
            },
            Self::Surplus => match event {
                ClaimEvent::Count => Some(Self::Counted),
                ClaimEvent::Debit => Some(Self::Surplus),
                ClaimEvent::Approve | ClaimEvent::Refuse | ClaimEvent::Yield => None,
            },
            Self::Refused => match event {
                ClaimEvent::Approve
                | ClaimEvent::Refuse
                | ClaimEvent::Count
                | ClaimEvent::Yield
                | ClaimEvent::Debit => None,
            },
        }
    }

    /// Whether it is not known yet whether it closes its part.
    pub const fn is_open(self) -> bool {
        match self {
            Self::Registered | Self::Waiting => true,
            Self::Refused | Self::Counted | Self::Surplus => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pair_of_claim_state_and_event_is_answered() {
        let table: Vec<String> = ClaimState::ALL
            .iter()
            .map(|state| {
                let answers: Vec<String> = ClaimEvent::ALL
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
registered: approve -> waiting, refuse -> refused, count -> refused, yield -> refused, debit -> refused
refused: approve -> refused, refuse -> refused, count -> refused, yield -> refused, debit -> refused
waiting: approve -> refused, refuse -> refused, count -> counted, yield -> surplus, debit -> waiting
counted: approve -> refused, refuse -> refused, count -> refused, yield -> refused, debit -> counted
surplus: approve -> refused, refuse -> refused, count -> counted, yield -> refused, debit -> surplus"
        );
    }
}
