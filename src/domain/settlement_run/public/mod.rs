//! What a merchant is told of a settlement: one of four states, why, and when to expect the money.
//!
//! The four are a pure function of where the settlement is and what is proved. An unknown outcome is never shown as a
//! failure, and what was paid offline is never shown as not due.

use std::collections::BTreeMap;

use chrono::{DateTime, NaiveDate, NaiveTime, Utc};
use chrono_tz::Tz;
use clearday_jobs::{ChannelName, Money};

use super::decide::{Consent, Consents};
use super::{ClaimState, Part, PartState, Settlement, SettlementState};
use crate::domain::calendar::Calendar;
use crate::domain::merchant::Merchant;
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
        /// The bank could not be told yet; nothing left.
        BankUnavailable = "bank_unavailable",
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
        /// It was never sent: the bank could not be told in time, or we objected to it ourselves.
        NeverSent = "never_sent",
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
            Self::BankUnavailable => Texts {
                zh: "银行暂时无法连接，将自动重试",
                en: "the bank cannot be reached; it is tried again",
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
            Self::NeverSent => Texts {
                zh: "付款指令未提交银行，待两人放行重付或登记线下付款",
                en: "never sent to the bank; two people must release it or an offline payment be registered",
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
    /// Whether its newest instruction provably did not leave.
    pub is_unsent: bool,
    /// The day on which a bank pays it that was told when it was, or is told now.
    pub paid_on: Option<NaiveDate>,
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

/// When a bank takes its last order of a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BankDay {
    /// An order that comes at this time of day or later is paid on the bank's next day.
    pub cutoff: NaiveTime,
    /// Whose wall clock `cutoff` is read on.
    pub zone: Tz,
}

/// The days of the banks that are configured.
pub type BankDays = BTreeMap<ChannelName, BankDay>;

/// The instant, and what is known of the days around it.
#[derive(Clone, Copy, Debug)]
pub struct Today<'a> {
    /// The instant.
    pub now: DateTime<Utc>,
    /// On which days banks pay, if that is known.
    pub calendar: Option<&'a Calendar>,
    /// Until when.
    pub banks: &'a BankDays,
}

impl Today<'_> {
    /// The day on which a bank pays an order that comes at this instant; of a bank that is not configured, whatever
    /// its hour.
    fn paid_on(&self, bank: &ChannelName, at: DateTime<Utc>, zone: Tz) -> Option<NaiveDate> {
        let day = match self.banks.get(bank) {
            None => at.with_timezone(&zone).date_naive(),
            Some(bank) => {
                let shown = at.with_timezone(&bank.zone);
                if shown.time() < bank.cutoff {
                    shown.date_naive()
                } else {
                    shown.date_naive().succ_opt()?
                }
            }
        };
        self.calendar?.next_business_day_on_or_after(day).ok()
    }
}

/// What a settlement is shown from, out of all that is known of it.
pub fn facts_of(
    settlement: &Settlement,
    consents: &Consents,
    merchant: &Merchant,
    today: Today<'_>,
) -> PublicFacts {
    let parts = settlement.parts.iter().map(|part| PartFacts {
        part_no: part.part_no,
        amount: part.amount,
        state: part.state,
        leave: leave_of(part, consents),
        claimed: claimed_of(part, consents),
        is_unsent: is_unsent(part),
        paid_on: paid_on(part, merchant, today),
    });
    PublicFacts {
        state: settlement.state,
        net: settlement.amounts.net,
        due_on: settlement.due_on,
        today: today.now.with_timezone(&merchant.zone).date_naive(),
        is_held: merchant.is_held,
        parts: parts.collect(),
    }
}

fn is_unsent(part: &Part) -> bool {
    part.instruction().is_some_and(|it| it.unsent_at.is_some())
}

/// What left is expected for the day on which its bank pays what came then, however long ago that is; what did not, for
/// the day on which it pays what comes now.
fn paid_on(part: &Part, merchant: &Merchant, today: Today<'_>) -> Option<NaiveDate> {
    let left = part
        .instruction()
        .filter(|_| part.state.is_in_flight() && !is_unsent(part));
    match left {
        Some(left) => today.paid_on(&left.bank, left.created_at, merchant.zone),
        None => today.paid_on(&merchant.payee.bank, today.now, merchant.zone),
    }
}

fn leave_of(part: &Part, consents: &Consents) -> Leave {
    let releases = consents.releases.iter();
    let consent = if part.instruction().is_some() {
        let of_part = releases.filter(|(number, _)| *number == part.part_no);
        of_part.map(|(_, consent)| consent).next()
    } else {
        Some(&consents.payout)
    };
    match consent {
        None | Some(Consent::NotAsked | Consent::Asked { .. }) => Leave::Open,
        Some(Consent::Given(_)) => Leave::Given,
        Some(Consent::Refused { .. }) => Leave::Refused,
    }
}

fn claimed_of(part: &Part, consents: &Consents) -> Claimed {
    let Some(claim) = part.open_claim() else {
        return Claimed::Nothing;
    };
    let said = consents.claims.iter().find(|(id, _)| *id == claim.id);
    match (claim.state, said) {
        (ClaimState::Waiting, _) | (_, Some((_, Consent::Given(_)))) => Claimed::ByTwo,
        (_, Some((_, Consent::Refused { .. }))) => Claimed::Nothing,
        (_, Some((_, Consent::NotAsked | Consent::Asked { .. })) | None) => Claimed::ByOne,
    }
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
        | PublicReason::BankUnavailable
        | PublicReason::Sent
        | PublicReason::OutcomeUnknown
        | PublicReason::AcceptedByBank => part.paid_on.max(facts.due_on),
        PublicReason::Held
        | PublicReason::BelowMinimum
        | PublicReason::NothingPayable
        | PublicReason::DateUnknown
        | PublicReason::ApprovalOverdue
        | PublicReason::ApprovalRefused
        | PublicReason::OfflineToBeApproved
        | PublicReason::OnStatement
        | PublicReason::PaidOffline
        | PublicReason::NeverSent
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
        PartState::Sent if part.is_unsent => unsent(part),
        PartState::Sent => submitted(PublicReason::Sent),
        PartState::Unknown => submitted(PublicReason::OutcomeUnknown),
        PartState::Accepted => submitted(PublicReason::AcceptedByBank),
        PartState::Confirmed => submitted(PublicReason::OnStatement),
        PartState::PaidOffline => submitted(PublicReason::PaidOffline),
        PartState::Rejected if part.is_unsent => blocked(part, PublicReason::NeverSent),
        PartState::Rejected => blocked(part, PublicReason::RejectedByBank),
        PartState::Bounced | PartState::Returned => blocked(part, PublicReason::ReturnedByBank),
    }
}

/// What is told of a claim about what did not leave: whoever was paid offline is not told that the day has not come.
fn claimed(part: &PartFacts) -> Option<(PublicState, PublicReason)> {
    match part.claimed {
        Claimed::ByTwo => Some((PublicState::Submitted, PublicReason::PaidOffline)),
        Claimed::ByOne => Some((
            PublicState::AwaitingPayment,
            PublicReason::OfflineToBeApproved,
        )),
        Claimed::Nothing => None,
    }
}

/// The bank could not be told: nothing is submitted.
fn unsent(part: &PartFacts) -> (PublicState, PublicReason) {
    let waits = (PublicState::AwaitingPayment, PublicReason::BankUnavailable);
    claimed(part).unwrap_or(waits)
}

fn planned(facts: &PublicFacts, part: &PartFacts) -> (PublicState, PublicReason) {
    if let Some(told) = claimed(part) {
        return told;
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
