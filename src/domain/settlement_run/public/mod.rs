//! What a merchant is told of a settlement: one of four states, why, and when to expect the money.
//!
//! The four are a pure function of where the settlement is and what is proved. An unknown outcome is never shown as a
//! failure, and what was paid offline is never shown as not due.

use chrono::NaiveDate;
use clearday_jobs::Money;

use super::{PartState, SettlementState};
use crate::domain::words::words;

words! {
    /// How far a payment to a merchant is, as the merchant sees it. From the worst to the best.
    PublicState {
        /// 付款失败: it did not arrive, and somebody must act.
        Failed = "failed",
        /// 未到付款日: nothing is payable yet.
        NotDue = "not_due",
        /// 等待付款: it is due, and about to be paid.
        AwaitingPayment = "awaiting_payment",
        /// 付款已提交: it was paid, or is on its way.
        Submitted = "submitted",
    }
    "failed, not_due, awaiting_payment, submitted"
}

words! {
    /// Why it is there.
    PublicReason {
        /// The day has not come.
        BeforeDueDate = "before_due_date",
        /// Nor is it approved.
        ApprovalBeforeDueDate = "approval_before_due_date",
        /// Nothing is paid to the merchant for now.
        Held = "held",
        /// It goes into the next settlement.
        BelowMinimum = "below_minimum",
        /// Refunds, fees and what was carried leave nothing.
        NothingPayable = "nothing_payable",
        /// The calendar does not know the year yet.
        DateUnknown = "date_unknown",
        /// It is due, and people have not agreed.
        ApprovalOverdue = "approval_overdue",
        /// Somebody did not agree.
        ApprovalRefused = "approval_refused",
        /// It is due and approved.
        AboutToBeSent = "about_to_be_sent",
        /// Somebody says that it was paid offline; a second person must agree.
        OfflineToBeApproved = "offline_to_be_approved",
        /// The bank is being told.
        Sent = "sent",
        /// The bank was told, and its answer was lost; it is asked.
        OutcomeUnknown = "outcome_unknown",
        /// The bank has it.
        AcceptedByBank = "accepted_by_bank",
        /// 已到账: it is on the bank's statement.
        OnStatement = "on_statement",
        /// 线下已付: it was paid outside of clearday.
        PaidOffline = "paid_offline",
        /// The bank refused it.
        RejectedByBank = "rejected_by_bank",
        /// 退票: the money came back.
        ReturnedByBank = "returned_by_bank",
    }
    "the reasons of a public state"
}

/// Texts in both languages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Texts {
    /// In Chinese.
    pub zh: &'static str,
    /// In English.
    pub en: &'static str,
}

impl PublicState {
    /// What it is called.
    pub const fn texts(self) -> Texts {
        match self {
            Self::NotDue => Texts {
                zh: "未到付款日",
                en: "Not due",
            },
            Self::AwaitingPayment => Texts {
                zh: "等待付款",
                en: "Awaiting payment",
            },
            Self::Submitted => Texts {
                zh: "付款已提交",
                en: "Payment submitted",
            },
            Self::Failed => Texts {
                zh: "付款失败",
                en: "Payment failed",
            },
        }
    }
}

impl PublicReason {
    /// The reason, and who must act where somebody must.
    pub const fn texts(self) -> Texts {
        match self {
            Self::BeforeDueDate => Texts {
                zh: "付款日未到",
                en: "the payment date has not come",
            },
            Self::ApprovalBeforeDueDate => Texts {
                zh: "付款日未到，待两人审批",
                en: "the payment date has not come; two people have yet to approve",
            },
            Self::Held => Texts {
                zh: "商户已被暂停付款",
                en: "payments to the merchant are held",
            },
            Self::BelowMinimum => Texts {
                zh: "未达起付金额，并入下一期",
                en: "below the minimum; goes into the next settlement",
            },
            Self::NothingPayable => Texts {
                zh: "本期无应付金额，并入下一期",
                en: "nothing is payable; the balance goes into the next settlement",
            },
            Self::DateUnknown => Texts {
                zh: "付款日待定：节假日安排尚未公布",
                en: "the payment date is unknown: the calendar of that year is not announced",
            },
            Self::ApprovalOverdue => Texts {
                zh: "已到付款日，待两人审批",
                en: "due; two people have yet to approve",
            },
            Self::ApprovalRefused => Texts {
                zh: "审批未通过，待运营处理",
                en: "not approved; operations must act",
            },
            Self::AboutToBeSent => Texts {
                zh: "已审批，即将付款",
                en: "approved, about to be sent to the bank",
            },
            Self::OfflineToBeApproved => Texts {
                zh: "已登记线下付款，待第二人审批",
                en: "registered as paid offline; a second person has yet to approve",
            },
            Self::Sent => Texts {
                zh: "付款指令正在提交银行",
                en: "the instruction is being sent to the bank",
            },
            Self::OutcomeUnknown => Texts {
                zh: "银行结果待确认，正在查询",
                en: "the bank's answer was lost; the bank is asked",
            },
            Self::AcceptedByBank => Texts {
                zh: "银行已受理",
                en: "the bank has the instruction",
            },
            Self::OnStatement => Texts {
                zh: "已到账",
                en: "paid, as the bank's statement shows",
            },
            Self::PaidOffline => Texts {
                zh: "线下已付",
                en: "paid offline",
            },
            Self::RejectedByBank => Texts {
                zh: "银行拒付，待两人放行重付或登记线下付款",
                en: "refused by the bank; two people must release it or an offline payment be registered",
            },
            Self::ReturnedByBank => Texts {
                zh: "银行退票，待两人放行重付或登记线下付款",
                en: "returned by the bank; two people must release it or an offline payment be registered",
            },
        }
    }
}

/// What people say about paying it, as far as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    /// They have yet to agree.
    Open,
    /// They agreed, or the limit does.
    Given,
    /// They did not.
    Refused,
}

/// A claim about a part, as far as it is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Claimed {
    /// Nobody claims anything that is not decided.
    Nothing,
    /// One person does.
    ByOne,
    /// Two people do.
    ByTwo,
}

/// What a part is shown from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartFacts {
    /// Its number.
    pub part_no: u32,
    /// How much.
    pub amount: Money,
    /// Where it is.
    pub state: PartState,
    /// Whether people allow it to be sent.
    pub leave: Leave,
    /// Whether it is said to be paid offline.
    pub claimed: Claimed,
}

/// What a settlement is shown from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PublicFacts {
    /// Where it is.
    pub state: SettlementState,
    /// What it comes to.
    pub net: Money,
    /// The day on which it is paid, if it is known.
    pub due_on: Option<NaiveDate>,
    /// The day it is where the merchant is.
    pub today: NaiveDate,
    /// The next day, today included, on which banks pay; if it is known.
    pub next_business_day: Option<NaiveDate>,
    /// Nothing is paid to the merchant for now.
    pub is_held: bool,
    /// Its parts.
    pub parts: Vec<PartFacts>,
}

/// What is shown.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Progress {
    /// The worst state of its parts.
    pub state: PublicState,
    /// Why.
    pub reason: PublicReason,
    /// When the money is expected, if that can be said.
    pub expected_on: Option<NaiveDate>,
    /// Each part by itself.
    pub parts: Vec<PartProgress>,
}

/// What is shown of a part.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartProgress {
    /// Its number.
    pub part_no: u32,
    /// How much.
    pub amount: Money,
    /// How far it is.
    pub state: PublicState,
    /// Why.
    pub reason: PublicReason,
    /// When the money is expected, if that can be said.
    pub expected_on: Option<NaiveDate>,
}

/// What a merchant is told of a settlement.
pub fn progress(facts: &PublicFacts) -> Progress {
    let parts: Vec<PartProgress> = facts
        .parts
        .iter()
        .map(|part| part_progress(facts, part))
        .collect();
    // The first of the worst: parts are sent in their order.
    let worst = parts.iter().min_by_key(|part| part.state).copied();
    let (state, reason, expected_on) = match worst {
        Some(worst) => (worst.state, worst.reason, worst.expected_on),
        None if facts.net.minor_units() > 0 => {
            (PublicState::NotDue, PublicReason::BelowMinimum, None)
        }
        None => (PublicState::NotDue, PublicReason::NothingPayable, None),
    };
    Progress {
        state,
        reason,
        expected_on,
        parts,
    }
}

fn part_progress(facts: &PublicFacts, part: &PartFacts) -> PartProgress {
    let (state, reason) = told(facts, part);
    let expected_on = match reason {
        PublicReason::BeforeDueDate | PublicReason::ApprovalBeforeDueDate => facts.due_on,
        PublicReason::AboutToBeSent
        | PublicReason::Sent
        | PublicReason::OutcomeUnknown
        | PublicReason::AcceptedByBank => facts.next_business_day.max(facts.due_on),
        PublicReason::Held
        | PublicReason::BelowMinimum
        | PublicReason::NothingPayable
        | PublicReason::DateUnknown
        | PublicReason::ApprovalOverdue
        | PublicReason::ApprovalRefused
        | PublicReason::OfflineToBeApproved
        | PublicReason::OnStatement
        | PublicReason::PaidOffline
        | PublicReason::RejectedByBank
        | PublicReason::ReturnedByBank => None,
    };
    PartProgress {
        part_no: part.part_no,
        amount: part.amount,
        state,
        reason,
        expected_on,
    }
}

fn told(facts: &PublicFacts, part: &PartFacts) -> (PublicState, PublicReason) {
    let submitted = |reason| (PublicState::Submitted, reason);
    match part.state {
        PartState::Planned => planned(facts, part),
        PartState::Sent => submitted(PublicReason::Sent),
        PartState::Unknown => submitted(PublicReason::OutcomeUnknown),
        PartState::Accepted => submitted(PublicReason::AcceptedByBank),
        PartState::Confirmed => submitted(PublicReason::OnStatement),
        PartState::PaidOffline => submitted(PublicReason::PaidOffline),
        PartState::Rejected => blocked(part, PublicReason::RejectedByBank),
        PartState::Bounced => (PublicState::Failed, PublicReason::ReturnedByBank),
        PartState::Returned => blocked(part, PublicReason::ReturnedByBank),
    }
}

fn planned(facts: &PublicFacts, part: &PartFacts) -> (PublicState, PublicReason) {
    match part.claimed {
        // Whoever was paid offline is not told that the day has not come.
        Claimed::ByTwo => return (PublicState::Submitted, PublicReason::PaidOffline),
        Claimed::ByOne => {
            return (
                PublicState::AwaitingPayment,
                PublicReason::OfflineToBeApproved,
            );
        }
        Claimed::Nothing => {}
    }
    if facts.is_held {
        return (PublicState::NotDue, PublicReason::Held);
    }
    let Some(due_on) = facts.due_on else {
        return (PublicState::NotDue, PublicReason::DateUnknown);
    };
    if facts.today < due_on {
        return match part.leave {
            Leave::Given => (PublicState::NotDue, PublicReason::BeforeDueDate),
            Leave::Open | Leave::Refused => {
                (PublicState::NotDue, PublicReason::ApprovalBeforeDueDate)
            }
        };
    }
    let reason = match part.leave {
        Leave::Given => PublicReason::AboutToBeSent,
        Leave::Open => PublicReason::ApprovalOverdue,
        Leave::Refused => PublicReason::ApprovalRefused,
    };
    (PublicState::AwaitingPayment, reason)
}

/// A part that did not arrive stays a failure until two people say that it was paid.
fn blocked(part: &PartFacts, reason: PublicReason) -> (PublicState, PublicReason) {
    match part.claimed {
        Claimed::ByTwo => (PublicState::Submitted, PublicReason::PaidOffline),
        Claimed::ByOne | Claimed::Nothing => (PublicState::Failed, reason),
    }
}

#[cfg(test)]
mod tests;
