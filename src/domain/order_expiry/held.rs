//! What the payment methods of a group hold, and what becomes of it when an order is over.
//!
//! An order expires only when nothing is held for it any more. Money that was taken instead pays the group if it is
//! all that is owed; a part of it, or money beside another payment, is owed by nobody and told to a person.

use super::GroupSnapshot;
use crate::domain::authorization::{Authorization, AuthorizationState, AuthorizationWithCall};
use crate::domain::order::{Order, OrderState, ReferenceState};

/// How an order of the group looks at what is held for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Claim {
    /// It may still want it.
    Open,
    /// It was paid; perhaps with it.
    Paid,
    /// It wants it no more.
    Over,
}

impl GroupSnapshot {
    /// Whether a payment reference was paid: then nothing else is owed.
    pub fn is_paid_by_reference(&self) -> bool {
        let mut references = self.references.iter();
        references.any(|(reference, _)| reference.state == ReferenceState::Paid)
    }

    /// Whether money that is taken under an authorization now comes too late.
    pub fn owes_nothing_for(&self, authorization: &Authorization) -> bool {
        let is_over = |order: &Order| {
            order.order_no == authorization.order_no
                && matches!(order.state, OrderState::Expired | OrderState::Cancelled)
        };
        self.is_paid_by_reference() || self.orders.iter().any(is_over)
    }

    /// Whether what was taken from payment methods is all that these members owe.
    pub(super) fn is_taken<'a>(&self, members: impl Iterator<Item = &'a Order>) -> bool {
        let members: Vec<&Order> = members.collect();
        let owed = members
            .iter()
            .map(|order| order.total.minor_units())
            .fold(0, i64::saturating_add);
        let taken = self
            .captured()
            .filter(|it| members.iter().any(|order| order.order_no == it.order_no))
            .map(|it| it.amount.minor_units())
            .fold(0, i64::saturating_add);
        owed > 0 && taken >= owed
    }

    /// What is to be let go, or has to be proved first.
    pub(super) fn leaving(&self) -> Vec<AuthorizationWithCall> {
        let leaves = |it: &&AuthorizationWithCall| {
            let state = it.authorization.state;
            match self.claim_on(&it.authorization) {
                Claim::Open => false,
                Claim::Paid => state.is_open(),
                Claim::Over => state.is_live(),
            }
        };
        self.authorizations.iter().filter(leaves).cloned().collect()
    }

    /// Money that was taken and that nobody owes, as far as no person was told of it.
    pub(super) fn untold_surplus(&self) -> Vec<Authorization> {
        self.captured()
            .filter(|it| !it.is_surplus_told && self.claim_on(it) == Claim::Over)
            .cloned()
            .collect()
    }

    /// Whether a person is still to be told of money that nobody owes once the group is over.
    pub fn has_untold_surplus(&self) -> bool {
        !self.untold_surplus().is_empty()
    }

    fn captured(&self) -> impl Iterator<Item = &Authorization> {
        let all = self.authorizations.iter().map(|it| &it.authorization);
        all.filter(|it| it.state == AuthorizationState::Captured)
    }

    fn claim_on(&self, authorization: &Authorization) -> Claim {
        if self.is_paid_by_reference() {
            return Claim::Over;
        }
        let mut orders = self.orders.iter();
        let own = orders.find(|order| order.order_no == authorization.order_no);
        match own.map(|order| order.state) {
            Some(OrderState::Open | OrderState::InReview) | None => Claim::Open,
            Some(OrderState::Paid) => Claim::Paid,
            Some(OrderState::Expiring | OrderState::Expired | OrderState::Cancelled) => Claim::Over,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ExpiryDecision, decide_expiry};
    use super::*;
    use chrono::{DateTime, Utc};
    use clearday_jobs::{Capture, Currency, MethodGroup, Money};

    use crate::domain::order::PaymentReference;

    fn noon() -> DateTime<Utc> {
        "2026-03-02T12:00:00Z".parse().unwrap()
    }

    fn cny(minor_units: i64) -> Money {
        Money::from_minor(minor_units, Currency::parse("CNY").unwrap())
    }

    fn order(number: &str, state: OrderState) -> Order {
        Order {
            order_no: number.parse().unwrap(),
            group_no: "O-1".parse().unwrap(),
            merchant_id: "M-1".parse().unwrap(),
            total: cny(100),
            state,
            version: 1,
            expires_at: noon(),
            updated_at: noon(),
        }
    }

    fn held(number: &str, state: AuthorizationState, amount: i64) -> AuthorizationWithCall {
        AuthorizationWithCall {
            authorization: Authorization {
                reference: format!("A-{number}-{amount}").parse().unwrap(),
                channel: "sandbox".parse().unwrap(),
                order_no: number.parse().unwrap(),
                merchant_id: "M-1".parse().unwrap(),
                method_id: "card".parse().unwrap(),
                group: MethodGroup::CreditCard,
                number: 1,
                capture: Capture::Manual,
                amount: cny(amount),
                keep: None,
                state,
                version: 1,
                because: String::new(),
                is_surplus_told: false,
                updated_at: noon(),
            },
            call: None,
        }
    }

    fn next(
        orders: Vec<Order>,
        authorizations: Vec<AuthorizationWithCall>,
        is_paid_by_reference: bool,
    ) -> &'static str {
        let reference = PaymentReference {
            channel: "sandbox".parse().unwrap(),
            reference: "R-1".parse().unwrap(),
            state: ReferenceState::Paid,
        };
        let group = GroupSnapshot {
            orders,
            references: is_paid_by_reference
                .then_some((reference, None))
                .into_iter()
                .collect(),
            authorizations,
        };
        match decide_expiry(&group, noon()) {
            ExpiryDecision::Settled(_) => "settled",
            ExpiryDecision::Snooze(..) => "snooze",
            ExpiryDecision::BeginExpiring => "begin expiring",
            ExpiryDecision::Query(..) => "query",
            ExpiryDecision::LetGo(_) => "let go",
            ExpiryDecision::TakePayment => "take payment",
            ExpiryDecision::Expire => "expire",
            ExpiryDecision::TellSurplus(_) => "tell",
        }
    }

    #[test]
    fn what_is_held_decides_what_becomes_of_a_due_order() {
        use OrderState::{Cancelled, Expired, Expiring, InReview, Open, Paid};
        let mut table: Vec<String> = Vec::new();
        for state in [Open, InReview, Expiring, Expired, Paid, Cancelled] {
            for is_paid_by_reference in [false, true] {
                let steps: Vec<&str> = [
                    held("O-1", AuthorizationState::Unknown, 100),
                    held("O-1", AuthorizationState::Authorized, 100),
                    held("O-1", AuthorizationState::Voiding, 100),
                    held("O-1", AuthorizationState::Voided, 100),
                    held("O-1", AuthorizationState::Captured, 100),
                    held("O-1", AuthorizationState::Captured, 40),
                ]
                .into_iter()
                .map(|held| next(vec![order("O-1", state)], vec![held], is_paid_by_reference))
                .collect();
                let paid = if is_paid_by_reference {
                    ", paid by reference"
                } else {
                    ""
                };
                table.push(format!("{state}{paid}: {}", steps.join(", ")));
            }
        }
        // Unknown, authorized, voiding, voided, captured, captured in part.
        assert_eq!(
            table.join("\n"),
            "\
open: begin expiring, begin expiring, begin expiring, begin expiring, take payment, begin expiring
open, paid by reference: take payment, take payment, take payment, take payment, take payment, take payment
in_review: snooze, snooze, snooze, snooze, take payment, snooze
in_review, paid by reference: take payment, take payment, take payment, take payment, take payment, take payment
expiring: let go, let go, let go, expire, take payment, expire
expiring, paid by reference: take payment, take payment, take payment, take payment, take payment, take payment
expired: let go, let go, let go, settled, tell, tell
expired, paid by reference: let go, let go, let go, settled, tell, tell
paid: let go, settled, let go, settled, settled, settled
paid, paid by reference: let go, let go, let go, settled, tell, tell
cancelled: let go, let go, let go, settled, tell, tell
cancelled, paid by reference: let go, let go, let go, settled, tell, tell"
        );
    }

    #[test]
    fn members_of_a_combination_are_paid_by_what_was_taken_for_all_of_them() {
        let both = || {
            vec![
                order("O-1", OrderState::Expiring),
                order("O-2", OrderState::Expiring),
            ]
        };
        let one = || held("O-1", AuthorizationState::Captured, 100);
        assert_eq!(next(both(), vec![one()], false), "expire");
        let two = held("O-2", AuthorizationState::Captured, 100);
        assert_eq!(next(both(), vec![one(), two], false), "take payment");
    }

    #[test]
    fn what_a_withdrawn_member_holds_is_let_go_before_the_others_expire() {
        let orders = vec![
            order("O-1", OrderState::Expiring),
            order("O-2", OrderState::Cancelled),
        ];
        let held = held("O-2", AuthorizationState::Authorized, 100);
        assert_eq!(next(orders, vec![held], false), "let go");
    }
}
