//! What people must agree on before money moves: who may sign, and what a signature does.
//!
//! A request shows one thing to people and is bound to the digest of what it shows. Two different
//! people sign it: the first is the maker, the second the checker. What changes afterwards is
//! another request, which supersedes this one and asks again.

use chrono::{DateTime, NaiveDate, Utc};
use clearday_jobs::{ApprovalId, JobId, MerchantId, Money};

use super::words::words;

words! {
    /// What is to be approved.
    ApprovalAction {
        /// Have a bank pay a merchant.
        Payout = "payout",
        /// Take it that a merchant was paid outside of clearday.
        OfflinePayment = "offline_payment",
        /// Pay a returned part again.
        Release = "release",
        /// Pay a merchant to another account from now on.
        BankAccount = "bank_account",
    }
    "payout, offline_payment, release, bank_account"
}

words! {
    /// Whose agreement is needed.
    ApprovalRule {
        /// A maker and a checker.
        TwoPeople = "two_people",
        /// Nobody's: the amount is below the configured limit.
        BelowLimit = "below_limit",
    }
    "two_people, below_limit"
}

words! {
    /// Where a request is in its life.
    ApprovalState {
        /// Waits for people.
        Requested = "requested",
        /// Agreed.
        Approved = "approved",
        /// Refused by somebody. Final.
        Rejected = "rejected",
        /// What it showed is no longer so. Final.
        Superseded = "superseded",
    }
    "requested, approved, rejected, superseded"
}

/// What can happen to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ApprovalEvent {
    /// The first person signs.
    Make,
    /// Another person signs.
    Check,
    /// Somebody refuses.
    Reject,
    /// Something else is asked for the same subject.
    Supersede,
}

impl ApprovalEvent {
    /// Every event.
    pub const ALL: [Self; 4] = [Self::Make, Self::Check, Self::Reject, Self::Supersede];

    /// The name of the event, for people.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Make => "make",
            Self::Check => "check",
            Self::Reject => "reject",
            Self::Supersede => "supersede",
        }
    }
}

impl ApprovalState {
    /// The state after `event`, or `None` when the event is refused in this state.
    pub const fn after(self, event: ApprovalEvent) -> Option<Self> {
        match self {
            Self::Requested => match event {
                ApprovalEvent::Make => Some(Self::Requested),
                ApprovalEvent::Check => Some(Self::Approved),
                ApprovalEvent::Reject => Some(Self::Rejected),
                ApprovalEvent::Supersede => Some(Self::Superseded),
            },
            // A change after approval asks again.
            Self::Approved => match event {
                ApprovalEvent::Supersede => Some(Self::Superseded),
                ApprovalEvent::Make | ApprovalEvent::Check | ApprovalEvent::Reject => None,
            },
            Self::Rejected | Self::Superseded => match event {
                ApprovalEvent::Make
                | ApprovalEvent::Check
                | ApprovalEvent::Reject
                | ApprovalEvent::Supersede => None,
            },
        }
    }

    /// Whether nobody is asked any more.
    pub const fn is_decided(self) -> bool {
        match self {
            Self::Requested => false,
            Self::Approved | Self::Rejected | Self::Superseded => true,
        }
    }
}

impl ApprovalAction {
    /// Whether an amount below the limit may do without people. Only what clearday computed itself
    /// may: what people claim or change takes two of them, whatever the amount.
    pub const fn may_be_below_limit(self) -> bool {
        match self {
            Self::Payout => true,
            Self::OfflinePayment | Self::Release | Self::BankAccount => false,
        }
    }
}

/// Somebody's name under something.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signature {
    /// The person, as `[[people]]` names them.
    pub person: String,
    /// When.
    pub at: DateTime<Utc>,
}

/// A request as it stands in the database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Approval {
    /// Its id.
    pub id: ApprovalId,
    /// What is to be approved.
    pub action: ApprovalAction,
    /// About what: a settlement, a part of one, a merchant.
    pub subject: String,
    /// What people see, as canonical JSON.
    pub shown: String,
    /// SHA-256 of `shown`: what a signature is bound to.
    pub digest: String,
    /// Whose money it is.
    pub merchant_id: Option<MerchantId>,
    /// The account that is paid; what is paid on one day is summed per payee.
    pub payee: Option<String>,
    /// How much.
    pub amount: Option<Money>,
    /// The day on which money is to move.
    pub value_on: Option<NaiveDate>,
    /// Whose agreement is needed.
    pub rule: ApprovalRule,
    /// Where it is in its life.
    pub state: ApprovalState,
    /// Who signed first.
    pub maker: Option<Signature>,
    /// Who signed second.
    pub checker: Option<Signature>,
    /// Who refused.
    pub rejected_by: Option<String>,
    /// Why it was refused, superseded, or approved by nobody.
    pub reason: Option<String>,
    /// The job that waits for the decision.
    pub job_id: Option<JobId>,
    /// Counts the changes.
    pub version: i64,
    /// When it was asked.
    pub requested_at: DateTime<Utc>,
    /// When it last changed.
    pub updated_at: DateTime<Utc>,
}

impl Approval {
    /// Whether nobody agreed to it, because it was small enough, for a day before this one: what a payee gets is
    /// limited by the day on which it leaves.
    pub fn is_lapsed(&self, day: NaiveDate) -> bool {
        let is_over = self.value_on.is_none_or(|value_on| value_on < day);
        self.rule == ApprovalRule::BelowLimit && is_over
    }

    /// Who must act for it to go on, in a sentence; `None` when nobody is asked.
    pub fn waits_for(&self) -> Option<String> {
        if self.state.is_decided() {
            return None;
        }
        Some(match &self.maker {
            None => "two people who may approve".to_owned(),
            Some(maker) => format!("one person who may approve, other than {}", maker.person),
        })
    }
}

/// What a signature does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SignatureDecision {
    /// The person becomes the maker; another one is still needed.
    BecomesMaker,
    /// The person approves as the checker.
    ApprovesAsChecker,
}

/// Why a signature or a refusal counts for nothing.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureRefusal {
    /// It is decided.
    #[error("it is {0} already")]
    Decided(ApprovalState),
    /// One person is not two.
    #[error("{0} signed it already; another person must be the second")]
    SamePerson(String),
    /// The person saw something else.
    #[error("it does not show what was signed: its digest is {0}; look at it again")]
    DigestDiffers(String),
}

/// What the signature of `person` does, who saw what has `digest`; without a digest it is taken
/// that they saw what this request shows, which never changes.
///
/// # Errors
/// [`SignatureRefusal`], which says what to do.
pub fn decide_signature(
    approval: &Approval,
    person: &str,
    digest: Option<&str>,
) -> Result<SignatureDecision, SignatureRefusal> {
    if digest.is_some_and(|seen| !seen.eq_ignore_ascii_case(&approval.digest)) {
        return Err(SignatureRefusal::DigestDiffers(approval.digest.clone()));
    }
    if approval.state.is_decided() {
        return Err(SignatureRefusal::Decided(approval.state));
    }
    match &approval.maker {
        None => Ok(SignatureDecision::BecomesMaker),
        Some(maker) if is_same_person(&maker.person, person) => {
            Err(SignatureRefusal::SamePerson(maker.person.clone()))
        }
        Some(_) => Ok(SignatureDecision::ApprovesAsChecker),
    }
}

/// Whether two names mean one person: `wang` is `Wang`.
pub fn is_same_person(one: &str, other: &str) -> bool {
    one.trim().to_lowercase() == other.trim().to_lowercase()
}

/// Whether a payout takes two people: at or above the limit together with what the payee gets on
/// the same day, so that splitting does not help. Without a limit always, and so where sums
/// overflow or currencies differ.
pub fn needs_two_people(limit: Option<Money>, paid_to_payee_today: Money, amount: Money) -> bool {
    let (Some(limit), Ok(sum)) = (limit, paid_to_payee_today.checked_add(amount)) else {
        return true;
    };
    let is_below = limit.currency() == sum.currency()
        && !amount.is_negative()
        && !paid_to_payee_today.is_negative()
        && sum.minor_units() < limit.minor_units();
    !is_below
}

#[cfg(test)]
mod tests {
    use clearday_jobs::Currency;
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    #[test]
    fn every_pair_of_state_and_event_is_answered() {
        let table: Vec<String> = ApprovalState::ALL
            .iter()
            .map(|state| {
                let answers: Vec<String> = ApprovalEvent::ALL
                    .iter()
                    .map(|event| {
                        let next = state.after(*event).map(ApprovalState::as_str);
                        format!("{} -> {}", event.as_str(), next.unwrap_or("refused"))
                    })
                    .collect();
                format!("{state}: {}", answers.join(", "))
            })
            .collect();
        assert_eq!(
            table.join("\n"),
            "\
requested: make -> requested, check -> approved, reject -> rejected, supersede -> superseded
approved: make -> refused, check -> refused, reject -> refused, supersede -> superseded
rejected: make -> refused, check -> refused, reject -> refused, supersede -> refused
superseded: make -> refused, check -> refused, reject -> refused, supersede -> refused"
        );
    }

    fn noon() -> DateTime<Utc> {
        "2026-03-02T12:00:00Z".parse().unwrap()
    }

    fn request() -> Approval {
        Approval {
            id: ApprovalId(Uuid::nil()),
            action: ApprovalAction::Payout,
            subject: "settlement 7 part 1".to_owned(),
            shown: "{}".to_owned(),
            digest: "ab".repeat(32),
            merchant_id: None,
            payee: None,
            amount: None,
            value_on: None,
            rule: ApprovalRule::TwoPeople,
            state: ApprovalState::Requested,
            maker: None,
            checker: None,
            rejected_by: None,
            reason: None,
            job_id: None,
            version: 1,
            requested_at: noon(),
            updated_at: noon(),
        }
    }

    fn made_by(person: &str) -> Approval {
        let maker = Signature {
            person: person.to_owned(),
            at: noon(),
        };
        Approval {
            maker: Some(maker),
            ..request()
        }
    }

    #[test]
    fn the_first_who_signs_is_the_maker_and_another_person_the_checker() {
        let first = decide_signature(&request(), "wang", None);
        assert_eq!(first, Ok(SignatureDecision::BecomesMaker));
        let second = decide_signature(&made_by("wang"), "li", None);
        assert_eq!(second, Ok(SignatureDecision::ApprovesAsChecker));
    }

    #[test]
    fn one_person_is_never_two() {
        for same in ["wang", "Wang", " wang "] {
            let refused = decide_signature(&made_by("wang"), same, None).unwrap_err();
            assert_eq!(
                refused.to_string(),
                "wang signed it already; another person must be the second"
            );
        }
    }

    #[test]
    fn a_signature_is_for_what_was_seen() {
        let approval = request();
        let seen = approval.digest.to_uppercase();
        assert!(decide_signature(&approval, "wang", Some(&seen)).is_ok());
        for other in ["", "ab", &"cd".repeat(32)] {
            let refused = decide_signature(&approval, "wang", Some(other)).unwrap_err();
            let differs = SignatureRefusal::DigestDiffers(approval.digest.clone());
            assert_eq!(refused, differs);
        }
    }

    #[test]
    fn what_is_decided_takes_no_signature() {
        for state in [
            ApprovalState::Approved,
            ApprovalState::Rejected,
            ApprovalState::Superseded,
        ] {
            let approval = Approval {
                state,
                ..made_by("wang")
            };
            let refused = decide_signature(&approval, "li", None).unwrap_err();
            assert_eq!(refused, SignatureRefusal::Decided(state));
            assert_eq!(approval.waits_for(), None);
        }
    }

    #[test]
    fn who_must_act_is_told() {
        assert_eq!(request().waits_for().unwrap(), "two people who may approve");
        assert_eq!(
            made_by("wang").waits_for().unwrap(),
            "one person who may approve, other than wang"
        );
    }

    #[test]
    fn only_payouts_may_do_without_people() {
        let without: Vec<_> = ApprovalAction::ALL
            .iter()
            .filter(|action| action.may_be_below_limit())
            .collect();
        assert_eq!(without, [&ApprovalAction::Payout]);
    }

    fn cny(minor_units: i64) -> Money {
        Money::from_minor(minor_units, Currency::parse("CNY").unwrap())
    }

    #[test]
    fn the_limit_counts_the_whole_day_and_itself() {
        let table = [
            (None, 0, 1, true),
            (Some(100), 0, 99, false),
            (Some(100), 0, 100, true),
            (Some(100), 50, 49, false),
            (Some(100), 50, 50, true),
            (Some(100), 100, 0, true),
            (Some(0), 0, 0, true),
            (Some(100), 0, -1, true),
            (Some(100), -50, 99, true),
            (Some(100), i64::MAX, 1, true),
        ];
        for (limit, paid, amount, two) in table {
            let answer = needs_two_people(limit.map(cny), cny(paid), cny(amount));
            assert_eq!(answer, two, "{limit:?} {paid} {amount}");
        }
        let yen = Money::from_minor(1, Currency::parse("JPY").unwrap());
        assert!(needs_two_people(Some(cny(100)), yen, yen));
        assert!(needs_two_people(Some(cny(100)), cny(0), yen));
    }

    proptest! {
        /// However an amount is cut, the cuts that pass without people stay below the limit together.
        #[test]
        fn splitting_does_not_help(limit in 1_i64..1_000_000, cuts in proptest::collection::vec(0_i64..500_000, 1..40)) {
            let mut paid = 0_i64;
            for cut in cuts {
                if !needs_two_people(Some(cny(limit)), cny(paid), cny(cut)) {
                    paid = paid.saturating_add(cut);
                }
            }
            prop_assert!(paid < limit);
        }
    }
}
