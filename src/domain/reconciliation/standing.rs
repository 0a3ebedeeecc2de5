//! How a break stands from one run to the next, and what breaks can be about.

use crate::domain::record::RecordKind;
use crate::domain::words::words;

words! {
    /// How a break stands.
    BreakState {
        /// The newest run that looked found it.
        Open = "open",
        /// It was found once, and is not there any more; its row stays.
        Vanished = "vanished",
    }
    "open, vanished"
}

words! {
    /// What can happen to a break.
    BreakEvent {
        /// A run finds it.
        Find = "find",
        /// A newer run of the same scope does not find it, or what was missing has come.
        Miss = "miss",
    }
    "find, miss"
}

words! {
    /// What a break is about.
    BreakKind {
        /// A payment at a channel.
        Payment = "payment",
        /// A refund at a channel.
        Refund = "refund",
        /// Money that left a bank, or came back to it.
        Payout = "payout",
        /// Money that came to a bank otherwise.
        Deposit = "deposit",
    }
    "payment, refund, payout, deposit"
}

impl BreakState {
    /// The state after `event`; `None` when there is nothing to change.
    pub const fn after(self, event: BreakEvent) -> Option<Self> {
        match self {
            Self::Open => match event {
                BreakEvent::Find => None,
                BreakEvent::Miss => Some(Self::Vanished),
            },
            Self::Vanished => match event {
                BreakEvent::Find => Some(Self::Open),
                BreakEvent::Miss => None,
            },
        }
    }
}

impl From<RecordKind> for BreakKind {
    fn from(kind: RecordKind) -> Self {
        match kind {
            RecordKind::Payment => Self::Payment,
            RecordKind::Refund => Self::Refund,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &str = "\
open: find -> as it is, miss -> vanished
vanished: find -> open, miss -> as it is
";

    #[test]
    fn every_event_is_answered_in_every_state() {
        let line = |state: &BreakState| {
            let after = |event: &BreakEvent| {
                let after = state.after(*event).map_or("as it is", BreakState::as_str);
                format!("{event} -> {after}")
            };
            let answers: Vec<String> = BreakEvent::ALL.iter().map(after).collect();
            format!("{state}: {}\n", answers.join(", "))
        };
        let table: Vec<String> = BreakState::ALL.iter().map(line).collect();
        assert_eq!(table.concat(), TABLE);
    }

    #[test]
    fn a_record_and_its_break_are_of_one_kind() {
        for kind in RecordKind::ALL {
            assert_eq!(BreakKind::from(*kind).as_str(), kind.as_str());
        }
    }
}
