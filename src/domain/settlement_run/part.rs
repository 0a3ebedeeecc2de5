//! One part of a settlement's net on its way to the merchant.
//!
//! A part is paid by one instruction to a bank at a time. An instruction that left is never superseded: not by another
//! one, and not by an [offline payment](super::claim), until it is proved dead. What the bank answers moves a part up
//! to `accepted`; only a line on the bank's statement confirms it.

use crate::domain::words::words;

words! {
    /// Where a part is.
    PartState {
        /// No instruction about it lives; it may be paid.
        Planned = "planned",
        /// An instruction is written down, and its call may have left.
        Sent = "sent",
        /// It left, and no trustworthy answer came: it is asked for, and never sent under a new number.
        Unknown = "unknown",
        /// The bank has it, and will pay or has paid.
        Accepted = "accepted",
        /// Its debit is on the bank's statement (已到账).
        Confirmed = "confirmed",
        /// The bank did not pay and will not. Two people may release it.
        Rejected = "rejected",
        /// The bank says that the money came back (退票); the statement does not show it yet.
        Bounced = "bounced",
        /// The money came back, as the statement shows. Two people may release it.
        Returned = "returned",
        /// It was paid outside of clearday (线下已付), as two people stand for.
        PaidOffline = "paid_offline",
    }
    "planned, sent, unknown, accepted, confirmed, rejected, bounced, returned, paid_offline"
}

words! {
    /// What can happen to a part.
    PartEvent {
        /// An instruction to pay it was written down, right before the bank is called.
        Send = "send",
        /// No trustworthy answer came back.
        Lose = "lose",
        /// The bank has the instruction.
        Accept = "accept",
        /// The bank refused it, or is proved never to have got it.
        Reject = "reject",
        /// The debit of its open instruction is on the statement.
        Confirm = "confirm",
        /// The debit of an instruction that was taken for dead is on the statement.
        ConfirmLate = "confirm_late",
        /// The bank says that the money came back.
        Bounce = "bounce",
        /// The money that came back is on the statement.
        Return = "return",
        /// Two people allow a new instruction.
        Release = "release",
        /// Two people stand for a payment outside of clearday.
        PayOffline = "pay_offline",
    }
    "send, lose, accept, reject, confirm, confirm_late, bounce, return, release, pay_offline"
}

words! {
    /// What is known of one instruction to a bank.
    InstructionState {
        /// Its outcome is not proved.
        Open = "open",
        /// Its debit is on the statement. Final, unless the money comes back.
        Confirmed = "confirmed",
        /// Proved dead: the bank refused it or never got it.
        Rejected = "rejected",
        /// The money went and came back. Final.
        Returned = "returned",
    }
    "open, confirmed, rejected, returned"
}

impl PartState {
    /// The state after `event`, or `None` when it is refused.
    pub const fn after(self, event: PartEvent) -> Option<Self> {
        match self {
            Self::Planned => match event {
                PartEvent::Send => Some(Self::Sent),
                PartEvent::ConfirmLate => Some(Self::Confirmed),
                PartEvent::PayOffline => Some(Self::PaidOffline),
                PartEvent::Lose
                | PartEvent::Accept
                | PartEvent::Reject
                | PartEvent::Confirm
                | PartEvent::Bounce
                | PartEvent::Return
                | PartEvent::Release => None,
            },
            Self::Sent | Self::Unknown => match event {
                PartEvent::Lose => Some(Self::Unknown),
                PartEvent::Accept => Some(Self::Accepted),
                PartEvent::Reject => Some(Self::Rejected),
                PartEvent::Confirm => Some(Self::Confirmed),
                PartEvent::Bounce => Some(Self::Bounced),
                PartEvent::Return => Some(Self::Returned),
                PartEvent::Send
                | PartEvent::ConfirmLate
                | PartEvent::Release
                | PartEvent::PayOffline => None,
            },
            Self::Accepted => match event {
                PartEvent::Accept => Some(Self::Accepted),
                PartEvent::Reject => Some(Self::Rejected),
                PartEvent::Confirm => Some(Self::Confirmed),
                PartEvent::Bounce => Some(Self::Bounced),
                PartEvent::Return => Some(Self::Returned),
                // What the bank has said it has does not become unknown again.
                PartEvent::Send
                | PartEvent::Lose
                | PartEvent::ConfirmLate
                | PartEvent::Release
                | PartEvent::PayOffline => None,
            },
            Self::Confirmed => match event {
                PartEvent::Bounce => Some(Self::Bounced),
                PartEvent::Return => Some(Self::Returned),
                PartEvent::Send
                | PartEvent::Lose
                | PartEvent::Accept
                | PartEvent::Reject
                | PartEvent::Confirm
                | PartEvent::ConfirmLate
                | PartEvent::Release
                | PartEvent::PayOffline => None,
            },
            Self::Rejected => match event {
                // The statement outranks the answer.
                PartEvent::ConfirmLate => Some(Self::Confirmed),
                PartEvent::Release => Some(Self::Planned),
                PartEvent::PayOffline => Some(Self::PaidOffline),
                PartEvent::Send
                | PartEvent::Lose
                | PartEvent::Accept
                | PartEvent::Reject
                | PartEvent::Confirm
                | PartEvent::Bounce
                | PartEvent::Return => None,
            },
            Self::Bounced => match event {
                // The line of the way out comes before the line of the way back.
                PartEvent::Confirm => Some(Self::Bounced),
                PartEvent::Return => Some(Self::Returned),
                PartEvent::Send
                | PartEvent::Lose
                | PartEvent::Accept
                | PartEvent::Reject
                | PartEvent::ConfirmLate
                | PartEvent::Bounce
                | PartEvent::Release
                | PartEvent::PayOffline => None,
            },
            Self::Returned => match event {
                // Another instruction, taken for dead before this one was sent, did pay.
                PartEvent::ConfirmLate => Some(Self::Confirmed),
                PartEvent::Release => Some(Self::Planned),
                PartEvent::PayOffline => Some(Self::PaidOffline),
                PartEvent::Send
                | PartEvent::Lose
                | PartEvent::Accept
                | PartEvent::Reject
                | PartEvent::Confirm
                | PartEvent::Bounce
                | PartEvent::Return => None,
            },
            Self::PaidOffline => match event {
                PartEvent::Send
                | PartEvent::Lose
                | PartEvent::Accept
                | PartEvent::Reject
                | PartEvent::Confirm
                | PartEvent::ConfirmLate
                | PartEvent::Bounce
                | PartEvent::Return
                | PartEvent::Release
                | PartEvent::PayOffline => None,
            },
        }
    }

    /// Whether an instruction about it may still move money.
    pub const fn is_in_flight(self) -> bool {
        match self {
            Self::Sent | Self::Unknown | Self::Accepted | Self::Bounced => true,
            Self::Planned
            | Self::Confirmed
            | Self::Rejected
            | Self::Returned
            | Self::PaidOffline => false,
        }
    }

    /// Whether the merchant has the money.
    pub const fn is_paid(self) -> bool {
        match self {
            Self::Confirmed | Self::PaidOffline => true,
            Self::Planned
            | Self::Sent
            | Self::Unknown
            | Self::Accepted
            | Self::Rejected
            | Self::Bounced
            | Self::Returned => false,
        }
    }

    /// Whether it waits for two people to release it.
    pub const fn is_blocked(self) -> bool {
        match self {
            Self::Rejected | Self::Returned => true,
            Self::Planned
            | Self::Sent
            | Self::Unknown
            | Self::Accepted
            | Self::Confirmed
            | Self::Bounced
            | Self::PaidOffline => false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table(of: impl Fn(PartState, PartEvent) -> bool) -> Vec<String> {
        let line = |state: &PartState| {
            let answers: Vec<String> = PartEvent::ALL
                .iter()
                .filter(|event| of(*state, **event))
                .map(|event| match state.after(*event) {
                    Some(next) => format!("{event} -> {next}"),
                    None => format!("{event} -> refused"),
                })
                .collect();
            format!("{state}: {}", answers.join(", "))
        };
        PartState::ALL.iter().map(line).collect()
    }

    #[test]
    fn every_pair_of_part_state_and_event_is_answered() {
        let table = table(|_, _| true);
        assert_eq!(
            table.join("\n"),
            "\
planned: send -> sent, lose -> refused, accept -> refused, reject -> refused, confirm -> refused, confirm_late -> confirmed, bounce -> refused, return -> refused, release -> refused, pay_offline -> paid_offline
sent: send -> refused, lose -> unknown, accept -> accepted, reject -> rejected, confirm -> confirmed, confirm_late -> refused, bounce -> bounced, return -> returned, release -> refused, pay_offline -> refused
unknown: send -> refused, lose -> unknown, accept -> accepted, reject -> rejected, confirm -> confirmed, confirm_late -> refused, bounce -> bounced, return -> returned, release -> refused, pay_offline -> refused
accepted: send -> refused, lose -> refused, accept -> accepted, reject -> rejected, confirm -> confirmed, confirm_late -> refused, bounce -> bounced, return -> returned, release -> refused, pay_offline -> refused
confirmed: send -> refused, lose -> refused, accept -> refused, reject -> refused, confirm -> refused, confirm_late -> refused, bounce -> bounced, return -> returned, release -> refused, pay_offline -> refused
rejected: send -> refused, lose -> refused, accept -> refused, reject -> refused, confirm -> refused, confirm_late -> confirmed, bounce -> refused, return -> refused, release -> planned, pay_offline -> paid_offline
bounced: send -> refused, lose -> refused, accept -> refused, reject -> refused, confirm -> bounced, confirm_late -> refused, bounce -> refused, return -> returned, release -> refused, pay_offline -> refused
returned: send -> refused, lose -> refused, accept -> refused, reject -> refused, confirm -> refused, confirm_late -> confirmed, bounce -> refused, return -> refused, release -> planned, pay_offline -> paid_offline
paid_offline: send -> refused, lose -> refused, accept -> refused, reject -> refused, confirm -> refused, confirm_late -> refused, bounce -> refused, return -> refused, release -> refused, pay_offline -> refused"
        );
    }

    #[test]
    fn what_left_is_neither_sent_again_nor_paid_offline() {
        for state in PartState::ALL.iter().filter(|state| state.is_in_flight()) {
            assert_eq!(state.after(PartEvent::Send), None, "{state}");
            assert_eq!(state.after(PartEvent::Release), None, "{state}");
            assert_eq!(state.after(PartEvent::PayOffline), None, "{state}");
        }
    }

    #[test]
    fn what_is_paid_is_not_paid_again() {
        for state in PartState::ALL.iter().filter(|state| state.is_paid()) {
            for event in [PartEvent::Send, PartEvent::Release, PartEvent::PayOffline] {
                assert_eq!(state.after(event), None, "{state}");
            }
        }
    }
}
