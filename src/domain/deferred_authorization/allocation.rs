//! Allocates an order's total to its payment methods, and says why.
//!
//! Methods with a fixed amount come before all others, because the payer said so; within both parts the seller's
//! sequence of groups decides, then the charge sequence, then the order in which the methods were given. Each takes
//! as much as it may of what is left. Nothing is rounded, and nothing is lost: the shares and what remains are the
//! total.

use std::fmt;

use clearday_jobs::{Amount, MethodGroup, MethodId, Money, PaymentMethod};

/// What one method is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Share {
    /// The method.
    pub method_id: MethodId,
    /// How much; more than zero.
    pub amount: Money,
    /// Why this method, and why this much.
    pub because: Because,
}

/// The total, allocated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Allocation {
    /// What each method is asked for, in the order of asking; methods that are asked for nothing are left out.
    pub shares: Vec<Share>,
    /// What no method may be asked for.
    pub remaining: Money,
}

/// Why a method is asked, and why for this much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Because {
    /// Its place in the order of asking; 1 is the first.
    place: usize,
    /// Of how many.
    places: usize,
    group: MethodGroup,
    is_fixed: bool,
    limit: Limit,
}

/// What kept a share from being larger.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Limit {
    /// The payer fixed it.
    Fixed(Money),
    /// The method may not be charged more.
    Maximum(Money),
    /// The order owes no more.
    Owed,
}

/// The methods in the order in which they are asked.
pub fn asking_order<'a>(
    methods: impl IntoIterator<Item = &'a PaymentMethod>,
    sequence: &[MethodGroup],
) -> Vec<&'a PaymentMethod> {
    let mut ordered: Vec<&PaymentMethod> = methods.into_iter().collect();
    let rank = |group| {
        let place = sequence.iter().position(|listed| *listed == group);
        place.unwrap_or(sequence.len())
    };
    // A stable sort: ties stay in the order in which the methods were given.
    ordered.sort_by_key(|method| {
        let is_open = method.fixed_amount.is_none();
        (is_open, rank(method.group), method.charge_sequence)
    });
    ordered
}

/// Allocates `total` to methods that are in [`asking_order`]. Amounts of methods are in the currency of the total.
pub fn allocate(total: Money, methods: &[&PaymentMethod]) -> Allocation {
    let currency = total.currency();
    let mut left = total.minor_units().max(0);
    let mut shares = Vec::new();
    for (index, method) in methods.iter().enumerate() {
        let (most, limit) = most_of(method);
        let amount = most.map_or(left, |most| most.clamp(0, left));
        if amount == 0 {
            continue;
        }
        let limit = if most.is_none_or(|most| most > left) {
            Limit::Owed
        } else {
            limit
        };
        left = left.saturating_sub(amount);
        shares.push(Share {
            method_id: method.method_id.clone(),
            amount: Money::from_minor(amount, currency),
            because: Because {
                place: index.saturating_add(1),
                places: methods.len(),
                group: method.group,
                is_fixed: method.fixed_amount.is_some(),
                limit,
            },
        });
    }
    Allocation {
        shares,
        remaining: Money::from_minor(left, currency),
    }
}

/// Whether a method was given but may be charged nothing.
pub fn may_be_charged(method: &PaymentMethod) -> bool {
    most_of(method).0.is_none_or(|most| most > 0)
}

/// The most a method may be asked for, in minor units, and what says so.
fn most_of(method: &PaymentMethod) -> (Option<i64>, Limit) {
    match (method.fixed_amount, method.maximum_charge) {
        (None, None) => (None, Limit::Owed),
        (Some(Amount(fixed)), Some(Amount(maximum)))
            if maximum.minor_units() < fixed.minor_units() =>
        {
            (Some(maximum.minor_units()), Limit::Maximum(maximum))
        }
        (Some(Amount(fixed)), _) => (Some(fixed.minor_units()), Limit::Fixed(fixed)),
        (None, Some(Amount(maximum))) => (Some(maximum.minor_units()), Limit::Maximum(maximum)),
    }
}

impl fmt::Display for Because {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            place,
            places,
            group,
            is_fixed,
            limit,
        } = self;
        let group = group.as_str();
        write!(formatter, "asked as number {place} of {places} ({group}")?;
        if *is_fixed {
            write!(formatter, ", fixed amounts first")?;
        }
        match limit {
            Limit::Fixed(fixed) => write!(formatter, "); the payer fixed {fixed}"),
            Limit::Maximum(maximum) => {
                write!(formatter, "); it may be charged {maximum} at most")
            }
            Limit::Owed => write!(formatter, "); it takes all that is left"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clearday_jobs::{Capture, Currency, Token};
    use proptest::prelude::*;

    const SEQUENCE: [MethodGroup; 4] = [
        MethodGroup::StoredValueCard,
        MethodGroup::CustomerAccount,
        MethodGroup::CreditCard,
        MethodGroup::Other,
    ];

    fn cny(minor_units: i64) -> Money {
        Money::from_minor(minor_units, Currency::parse("CNY").unwrap())
    }

    fn method(
        id: &str,
        group: MethodGroup,
        charge_sequence: u16,
        fixed: Option<i64>,
        maximum: Option<i64>,
    ) -> PaymentMethod {
        PaymentMethod {
            method_id: id.parse().unwrap(),
            group,
            channel: "sandbox".parse().unwrap(),
            token: Token::new("tok_1").unwrap(),
            charge_sequence,
            fixed_amount: fixed.map(|minor| Amount(cny(minor))),
            maximum_charge: maximum.map(|minor| Amount(cny(minor))),
            card_expires_on: None,
            capture: Capture::Manual,
        }
    }

    fn story(total: i64, methods: &[PaymentMethod]) -> String {
        let allocation = allocate(cny(total), &asking_order(methods, &SEQUENCE));
        let mut lines: Vec<String> = allocation
            .shares
            .iter()
            .map(|share| format!("{} {}: {}", share.method_id, share.amount, share.because))
            .collect();
        lines.push(format!("remaining {}", allocation.remaining));
        lines.join("\n")
    }

    #[test]
    fn the_sellers_sequence_of_groups_comes_before_the_charge_sequence() {
        use MethodGroup::{CreditCard, CustomerAccount, Other, StoredValueCard};
        let methods = [
            method("other", Other, 1, None, Some(1)),
            method("card-2", CreditCard, 2, None, Some(1)),
            method("card-1", CreditCard, 1, None, Some(1)),
            method("account", CustomerAccount, 3, None, Some(1)),
            method("gift", StoredValueCard, 4, None, Some(1)),
            method("gift-too", StoredValueCard, 4, None, Some(1)),
        ];
        let order: Vec<&str> = asking_order(&methods, &SEQUENCE)
            .iter()
            .map(|method| method.method_id.as_str())
            .collect();
        let expected = ["gift", "gift-too", "account", "card-1", "card-2", "other"];
        assert_eq!(order, expected);
    }

    #[test]
    fn fixed_amounts_are_served_first_and_the_rest_is_shared_in_sequence() {
        use MethodGroup::{CreditCard, StoredValueCard};
        let methods = [
            method("gift", StoredValueCard, 1, None, Some(3_000)),
            method("card", CreditCard, 2, None, None),
            method("second", CreditCard, 3, Some(5_000), None),
        ];
        assert_eq!(
            story(19_900, &methods),
            "\
second 50.00 CNY: asked as number 1 of 3 (credit_card, fixed amounts first); the payer fixed 50.00 CNY
gift 30.00 CNY: asked as number 2 of 3 (stored_value_card); it may be charged 30.00 CNY at most
card 119.00 CNY: asked as number 3 of 3 (credit_card); it takes all that is left
remaining 0.00 CNY"
        );
    }

    #[test]
    fn what_no_method_may_be_asked_for_remains() {
        use MethodGroup::{CreditCard, Other, StoredValueCard};
        let methods = [
            method("gift", StoredValueCard, 1, Some(5_000), Some(4_000)),
            method("card", CreditCard, 2, None, Some(10_000)),
            method("none", Other, 3, None, Some(0)),
        ];
        assert_eq!(
            story(19_900, &methods),
            "\
gift 40.00 CNY: asked as number 1 of 3 (stored_value_card, fixed amounts first); it may be charged 40.00 CNY at most
card 100.00 CNY: asked as number 2 of 3 (credit_card); it may be charged 100.00 CNY at most
remaining 59.00 CNY"
        );
        assert!(!may_be_charged(&methods[2]));
    }

    #[test]
    fn nothing_owed_asks_nobody() {
        let methods = [method("card", MethodGroup::CreditCard, 1, Some(100), None)];
        assert_eq!(story(0, &methods), "remaining 0.00 CNY");
    }

    fn any_method() -> impl Strategy<Value = (usize, u16, Option<i64>, Option<i64>)> {
        (
            0_usize..4,
            0_u16..4,
            proptest::option::of(0_i64..50_000),
            proptest::option::of(0_i64..50_000),
        )
    }

    proptest! {
        #[test]
        fn an_allocation_conserves_the_total_and_keeps_every_limit(
            total in 0_i64..100_000, methods in proptest::collection::vec(any_method(), 0..8),
        ) {
            let methods: Vec<PaymentMethod> = methods
                .into_iter()
                .enumerate()
                .map(|(index, (group, sequence, fixed, maximum))| {
                    let group = MethodGroup::ALL[group];
                    method(&format!("m{index}"), group, sequence, fixed, maximum)
                })
                .collect();
            let ordered = asking_order(&methods, &SEQUENCE);
            let Allocation { shares, remaining } = allocate(cny(total), &ordered);
            let amounts = shares.iter().map(|share| share.amount.minor_units());
            prop_assert_eq!(amounts.chain([remaining.minor_units()]).sum::<i64>(), total);
            prop_assert!(remaining.minor_units() >= 0);
            for share in &shares {
                prop_assert!(share.amount.minor_units() > 0);
                let method = methods.iter().find(|it| it.method_id == share.method_id).unwrap();
                for limit in [method.fixed_amount, method.maximum_charge].into_iter().flatten() {
                    prop_assert!(share.amount.minor_units() <= limit.0.minor_units());
                }
            }
            // Nobody is spared while something remains.
            if !remaining.is_zero() {
                for method in &methods {
                    let share = shares.iter().find(|it| it.method_id == method.method_id);
                    let most = most_of(method).0;
                    prop_assert_eq!(share.map_or(0, |it| it.amount.minor_units()), most.unwrap());
                }
            }
        }

        #[test]
        fn a_fixed_amount_is_asked_whole_before_any_open_method_is_asked(
            total in 1_i64..100_000, fixed in 1_i64..100_000, group in 0_usize..4,
        ) {
            let methods = [
                method("open", MethodGroup::StoredValueCard, 0, None, None),
                method("fixed", MethodGroup::ALL[group], 9, Some(fixed), None),
            ];
            let allocation = allocate(cny(total), &asking_order(&methods, &SEQUENCE));
            prop_assert_eq!(allocation.shares[0].method_id.as_str(), "fixed");
            prop_assert_eq!(allocation.shares[0].amount.minor_units(), fixed.min(total));
        }

        #[test]
        fn the_same_methods_in_another_order_are_asked_alike_unless_they_tie(
            total in 1_i64..100_000, limits in proptest::collection::vec(1_i64..30_000, 4),
        ) {
            let given: Vec<PaymentMethod> = MethodGroup::ALL
                .iter()
                .zip(&limits)
                .map(|(group, limit)| method(group.as_str(), *group, 1, None, Some(*limit)))
                .collect();
            let mut turned = given.clone();
            turned.reverse();
            let of = |methods: &[PaymentMethod]| allocate(cny(total), &asking_order(methods, &SEQUENCE));
            prop_assert_eq!(of(&given), of(&turned));
        }
    }
}
