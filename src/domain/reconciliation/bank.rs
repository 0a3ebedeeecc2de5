//! What a line of a bank's statement means for us: whom to ask about it, and what to make of the answers.
//!
//! A line is never passed over. Either our books explain it, or it waits in suspense and is a break: the bank's own
//! balance is ours, whether or not we know why. Every reading asks again: what was booked is answered as before, so the
//! same file changes nothing, and what could not be explained may be by now.

use clearday_jobs::{Money, MoneyError};

use super::{BreakKind, BreakName};
use crate::domain::ledger::FactKind;

/// What a line shows of itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Traits {
    /// Which way the money went.
    pub direction: Direction,
    /// Whether it carries an end-to-end id.
    pub has_end_to_end_id: bool,
    /// Whether a channel of ours signs its deposits like this.
    pub is_signed_by_channel: bool,
    /// Whether it was explained and booked before: whatever nobody remembers of it, it is not booked again.
    pub is_known: bool,
}

/// Which way the money went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Off the account.
    Debit,
    /// Onto it.
    Credit,
    /// Neither: a line of nothing.
    Neither,
}

/// A question to our books.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// Does it pay a part of a settlement?
    ConfirmPart,
    /// Is it a payment that somebody registered as made offline (线下付款)?
    OfflinePayment,
    /// Does it bring a payout back (退票)?
    ReturnPart,
    /// Does a channel deposit what it owes?
    Deposit,
}

/// What the books say to a question.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Answer {
    /// It is booked, now or before.
    Explained,
    /// It is booked, and pays for a second time.
    SecondDebit,
    /// It is ours, but of another amount; nothing is booked.
    Differs {
        /// The amount of ours, without a sign.
        expected: Money,
    },
    /// It is nothing of ours.
    NotOurs,
}

/// What to do next about a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Ask this.
    Ask(Question),
    /// Nothing: the line is explained.
    Rest,
    /// Report a break; the line itself is booked.
    Report(Difference),
    /// Report a break, and keep the money in suspense.
    Suspend(Difference),
}

/// In what way the bank and we disagree about a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Difference {
    /// Its name.
    pub name: BreakName,
    /// Our amount, without a sign, where we have one.
    pub expected: Option<Money>,
}

/// A fact that is known under the line's number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KnownFact {
    /// What kind of money moved.
    pub kind: FactKind,
    /// How much, without a sign.
    pub amount: Money,
}

impl KnownFact {
    fn is_of(&self, amount: Money) -> bool {
        self.amount.currency() == amount.currency()
            && self.amount.minor_units().unsigned_abs() == amount.minor_units().unsigned_abs()
    }
}

impl Direction {
    /// Of a signed amount.
    pub const fn of(amount: Money) -> Self {
        if amount.is_negative() {
            Self::Debit
        } else if amount.is_zero() {
            Self::Neither
        } else {
            Self::Credit
        }
    }

    /// The kind of fact that a line is while nobody can explain it.
    pub const fn suspended_kind(self) -> Option<FactKind> {
        match self {
            Self::Debit => Some(FactKind::BankDebit),
            Self::Credit => Some(FactKind::BankCredit),
            Self::Neither => None,
        }
    }

    /// The kinds of fact that such a line can be.
    const fn kinds(self) -> &'static [FactKind] {
        match self {
            Self::Debit => &[
                FactKind::Payout,
                FactKind::OfflinePayment,
                FactKind::BankDebit,
            ],
            Self::Credit => &[FactKind::Return, FactKind::Deposit, FactKind::BankCredit],
            Self::Neither => &[],
        }
    }
}

/// The questions to ask about a line, in their order.
pub const fn questions(line: Traits) -> &'static [Question] {
    let may_be_deposit = line.is_signed_by_channel && !line.is_known;
    match (line.direction, line.has_end_to_end_id, may_be_deposit) {
        (Direction::Debit, true, _) => &[Question::ConfirmPart, Question::OfflinePayment],
        (Direction::Debit, false, _) => &[Question::OfflinePayment],
        (Direction::Credit, true, true) => &[Question::ReturnPart, Question::Deposit],
        (Direction::Credit, true, false) => &[Question::ReturnPart],
        (Direction::Credit, false, true) => &[Question::Deposit],
        (Direction::Credit, false, false) | (Direction::Neither, _, _) => &[],
    }
}

/// Decides about a line after `answers` to its first questions.
pub fn decide(line: Traits, answers: &[Answer]) -> Step {
    let questions = questions(line);
    match answers.last() {
        None | Some(Answer::NotOurs) => match questions.get(answers.len()) {
            Some(question) => Step::Ask(*question),
            None if line.is_known || line.direction == Direction::Neither => Step::Rest,
            None => Step::Suspend(Difference {
                name: BreakName::MissingOurs,
                expected: None,
            }),
        },
        Some(Answer::Explained) => Step::Rest,
        Some(Answer::SecondDebit) => Step::Report(Difference {
            name: BreakName::DuplicateTheirs,
            expected: None,
        }),
        Some(Answer::Differs { expected }) => Step::Suspend(mismatch(*expected)),
    }
}

/// The amount of ours, without a sign, if the line's number stands for another amount in our books. A person must look;
/// nobody is asked and nothing is booked.
pub fn contradicted(amount: Money, facts: &[KnownFact]) -> Option<Money> {
    let kinds = Direction::of(amount).kinds();
    let fact = facts
        .iter()
        .find(|fact| kinds.contains(&fact.kind) && !fact.is_of(amount))?;
    Some(fact.amount)
}

/// Whether the line's number stands for the same money in our books, by anything but suspense.
pub fn is_known(amount: Money, facts: &[KnownFact]) -> bool {
    let direction = Direction::of(amount);
    facts.iter().any(|fact| {
        direction.kinds().contains(&fact.kind)
            && direction.suspended_kind() != Some(fact.kind)
            && fact.is_of(amount)
    })
}

/// What to do about such a line.
pub const fn contradiction(expected: Money) -> Step {
    Step::Report(mismatch(expected))
}

const fn mismatch(expected: Money) -> Difference {
    Difference {
        name: BreakName::AmountMismatch,
        expected: Some(expected),
    }
}

/// What a break of such a line is about.
pub const fn kind_of(line: Traits) -> BreakKind {
    match (line.direction, line.has_end_to_end_id) {
        (Direction::Debit, _) | (Direction::Credit, true) => BreakKind::Payout,
        (Direction::Credit | Direction::Neither, _) => BreakKind::Deposit,
    }
}

/// The bank's signed cash minus ours.
pub fn at_risk(amount: Money, expected: Option<Money>) -> Result<Money, MoneyError> {
    match expected {
        None => Ok(amount),
        Some(expected) if expected.currency() != amount.currency() => Ok(amount),
        Some(expected) if amount.is_negative() => amount.checked_add(expected),
        Some(expected) => amount.checked_sub(expected),
    }
}

#[cfg(test)]
mod tests {
    use clearday_jobs::Currency;

    use super::*;

    /// Direction, end-to-end id, signed by a channel, booked before: what is done after each way to answer.
    const TABLE: &str = "\
debit, id, signed, new: confirm_part; explained rest, second report duplicate_theirs, differs suspend amount_mismatch, not ours: offline_payment; explained rest, second report duplicate_theirs, differs suspend amount_mismatch, not ours: suspend missing_ours
debit, id, signed, known: confirm_part; explained rest, second report duplicate_theirs, differs suspend amount_mismatch, not ours: offline_payment; explained rest, second report duplicate_theirs, differs suspend amount_mismatch, not ours: rest
debit, id, -, new: confirm_part; explained rest, second report duplicate_theirs, differs suspend amount_mismatch, not ours: offline_payment; explained rest, second report duplicate_theirs, differs suspend amount_mismatch, not ours: suspend missing_ours
debit, id, -, known: confirm_part; explained rest, second report duplicate_theirs, differs suspend amount_mismatch, not ours: offline_payment; explained rest, second report duplicate_theirs, differs suspend amount_mismatch, not ours: rest
debit, -, signed, new: offline_payment; explained rest, second report duplicate_theirs, differs suspend amount_mismatch, not ours: suspend missing_ours
debit, -, signed, known: offline_payment; explained rest, second report duplicate_theirs, differs suspend amount_mismatch, not ours: rest
debit, -, -, new: offline_payment; explained rest, second report duplicate_theirs, differs suspend amount_mismatch, not ours: suspend missing_ours
debit, -, -, known: offline_payment; explained rest, second report duplicate_theirs, differs suspend amount_mismatch, not ours: rest
credit, id, signed, new: return_part; explained rest, second report duplicate_theirs, differs suspend amount_mismatch, not ours: deposit; explained rest, second report duplicate_theirs, differs suspend amount_mismatch, not ours: suspend missing_ours
credit, id, signed, known: return_part; explained rest, second report duplicate_theirs, differs suspend amount_mismatch, not ours: rest
credit, id, -, new: return_part; explained rest, second report duplicate_theirs, differs suspend amount_mismatch, not ours: suspend missing_ours
credit, id, -, known: return_part; explained rest, second report duplicate_theirs, differs suspend amount_mismatch, not ours: rest
credit, -, signed, new: deposit; explained rest, second report duplicate_theirs, differs suspend amount_mismatch, not ours: suspend missing_ours
credit, -, signed, known: rest
credit, -, -, new: suspend missing_ours
credit, -, -, known: rest
neither, id, signed, new: rest
neither, id, signed, known: rest
neither, id, -, new: rest
neither, id, -, known: rest
neither, -, signed, new: rest
neither, -, signed, known: rest
neither, -, -, new: rest
neither, -, -, known: rest
";

    #[test]
    fn every_line_is_asked_about_until_it_is_explained_or_suspended() {
        let mut table = Vec::new();
        for (direction, word) in [
            (Direction::Debit, "debit"),
            (Direction::Credit, "credit"),
            (Direction::Neither, "neither"),
        ] {
            for (has_end_to_end_id, id) in [(true, "id"), (false, "-")] {
                for (is_signed_by_channel, signed) in [(true, "signed"), (false, "-")] {
                    for (is_known, known) in [(false, "new"), (true, "known")] {
                        let line = Traits {
                            direction,
                            has_end_to_end_id,
                            is_signed_by_channel,
                            is_known,
                        };
                        let told = tell(line, &mut Vec::new());
                        table.push(format!("{word}, {id}, {signed}, {known}: {told}\n"));
                    }
                }
            }
        }
        assert_eq!(table.concat(), TABLE);
    }

    fn tell(line: Traits, answers: &mut Vec<Answer>) -> String {
        let question = match decide(line, answers) {
            Step::Ask(question) => question,
            Step::Rest => return "rest".to_owned(),
            Step::Report(found) => return format!("report {}", found.name),
            Step::Suspend(found) => return format!("suspend {}", found.name),
        };
        let asked = match question {
            Question::ConfirmPart => "confirm_part",
            Question::OfflinePayment => "offline_payment",
            Question::ReturnPart => "return_part",
            Question::Deposit => "deposit",
        };
        let ends = [
            ("explained", Answer::Explained),
            ("second", Answer::SecondDebit),
            ("differs", Answer::Differs { expected: cny(5) }),
        ]
        .map(|(word, answer)| {
            answers.push(answer);
            let told = tell(line, answers);
            answers.pop();
            format!("{word} {told}")
        });
        answers.push(Answer::NotOurs);
        let rest = tell(line, answers);
        answers.pop();
        format!("{asked}; {}, not ours: {rest}", ends.join(", "))
    }

    #[test]
    fn a_number_that_stands_for_another_amount_is_contradicted() {
        let expected = |line: i64, kind, minor| {
            let fact = KnownFact {
                kind,
                amount: cny(minor),
            };
            contradicted(cny(line), &[fact]).map(Money::minor_units)
        };
        for kind in [
            FactKind::Payout,
            FactKind::OfflinePayment,
            FactKind::BankDebit,
        ] {
            assert_eq!(expected(-5, kind, 5), None);
            assert_eq!(expected(-5, kind, 6), Some(6));
            // What came under the number of what went, as a return may, is another fact.
            assert_eq!(expected(5, kind, 6), None);
        }
        for kind in [FactKind::Return, FactKind::Deposit, FactKind::BankCredit] {
            assert_eq!(expected(5, kind, 5), None);
            assert_eq!(expected(5, kind, 6), Some(6));
            assert_eq!(expected(-5, kind, 6), None);
        }
        assert_eq!(contradicted(cny(5), &[]), None);
    }

    #[test]
    fn what_only_waits_in_suspense_is_not_known() {
        let known = |line: i64, kind| {
            let amount = cny(5);
            is_known(cny(line), &[KnownFact { kind, amount }])
        };
        for kind in [FactKind::Payout, FactKind::OfflinePayment] {
            assert!(known(-5, kind) && !known(-6, kind) && !known(5, kind));
        }
        for kind in [FactKind::Return, FactKind::Deposit] {
            assert!(known(5, kind) && !known(6, kind) && !known(-5, kind));
        }
        assert!(!known(-5, FactKind::BankDebit) && !known(5, FactKind::BankCredit));
    }

    #[test]
    fn cash_at_risk_is_the_banks_less_ours() {
        let risk = |line, expected: Option<i64>| {
            let expected = expected.map(cny);
            at_risk(cny(line), expected).unwrap().minor_units()
        };
        assert_eq!(risk(-500, None), -500);
        assert_eq!(risk(500, None), 500);
        assert_eq!(risk(-500, Some(400)), -100);
        assert_eq!(risk(500, Some(400)), 100);
        assert_eq!(risk(-400, Some(500)), 100);
    }

    fn cny(minor_units: i64) -> Money {
        Money::from_minor(minor_units, Currency::CNY)
    }
}
