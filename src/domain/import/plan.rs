//! Plans the import of a whole file of orders, on everything known about its groups.
//!
//! Members of a combination are paid and expired together, so a row is judged beside the other
//! members: none can join a group for which a reference was issued, because somebody may be paying
//! the sum without it, and no reference is taken for a group that may not be paid any more.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use clearday_jobs::{ChannelName, MerchantId, OrderNo, Reference};

use super::orders::{OrderRow, OrderUpdate, ToldOrder, decide_order_update, first_difference};
use super::{ImportSummary, Refusal, RefusedRow, RowEffect};
use crate::domain::order::{Order, OrderState};

/// A number under which a channel may take money, and the group it was issued for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedReference {
    /// The channel.
    pub channel: ChannelName,
    /// The number.
    pub reference: Reference,
    /// The group.
    pub group_no: OrderNo,
}

/// What is known about the orders, groups and references that a file names.
#[derive(Clone, Debug, Default)]
pub struct Known {
    /// The orders, and every other member of their groups.
    pub orders: Vec<Order>,
    /// The references, and every other one of the groups.
    pub references: Vec<IssuedReference>,
}

/// A change of a known order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlannedChange {
    /// The order as it is known.
    pub order: Order,
    /// The state it goes to.
    pub state: OrderState,
    /// Its deadline from then on.
    pub expires_at: DateTime<Utc>,
    /// Why, for its history.
    pub reason: &'static str,
}

/// An order whose deadline somebody must wait for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Deadline {
    /// The line that set it.
    pub line: u64,
    /// The order.
    pub order_no: OrderNo,
    /// Whose order it is.
    pub merchant_id: MerchantId,
    /// The deadline.
    pub expires_at: DateTime<Utc>,
}

/// What a file does to the books, in the order in which it is done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportPlan {
    /// Orders to be written down.
    pub new: Vec<ToldOrder>,
    /// Known orders to be changed.
    pub changes: Vec<PlannedChange>,
    /// References to be issued.
    pub references: Vec<IssuedReference>,
    /// Deadlines to be waited for.
    pub deadlines: Vec<Deadline>,
    /// What the rows did.
    pub summary: ImportSummary,
}

/// Plans a file; the first row that contradicts what is known refuses it.
pub fn plan_orders(rows: &[OrderRow], known: &Known) -> Result<ImportPlan, RefusedRow> {
    let mut planner = Planner::new(known);
    let mut effects = Vec::with_capacity(rows.len());
    for row in rows {
        let effect = planner.tell(row).map_err(|refusal| refusal.at(row.line))?;
        effects.push(effect);
    }
    // After every order, because a reference depends on all members of its group.
    for (row, effect) in rows.iter().zip(effects) {
        let issued = planner.issue(row).map_err(|refusal| refusal.at(row.line))?;
        let effect = match effect {
            RowEffect::Unchanged if issued => RowEffect::Changed,
            RowEffect::New | RowEffect::Changed | RowEffect::Unchanged => effect,
        };
        planner.plan.summary.count(effect, 1);
    }
    let mut plan = planner.plan;
    // Two files about the same orders then take their locks in one order.
    plan.new
        .sort_by(|one, other| one.order_no.cmp(&other.order_no));
    plan.deadlines
        .sort_by(|one, other| one.order_no.cmp(&other.order_no));
    Ok(plan)
}

struct Planner<'a> {
    known: BTreeMap<&'a OrderNo, &'a Order>,
    /// The row that told an order first, with what it did.
    told: BTreeMap<&'a OrderNo, (&'a OrderRow, RowEffect)>,
    /// The members of each group with the state they will be in.
    members: BTreeMap<&'a OrderNo, BTreeMap<&'a OrderNo, OrderState>>,
    /// Groups for which a reference was issued before.
    committed: BTreeSet<&'a OrderNo>,
    issued: BTreeMap<(&'a ChannelName, &'a Reference), &'a OrderNo>,
    plan: ImportPlan,
}

impl<'a> Planner<'a> {
    fn new(known: &'a Known) -> Self {
        let mut members: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
        for order in &known.orders {
            let group = members.entry(&order.group_no).or_default();
            group.insert(&order.order_no, order.state);
        }
        let references = known.references.iter();
        Self {
            known: known
                .orders
                .iter()
                .map(|order| (&order.order_no, order))
                .collect(),
            told: BTreeMap::new(),
            members,
            committed: references.clone().map(|issued| &issued.group_no).collect(),
            issued: references
                .map(|issued| ((&issued.channel, &issued.reference), &issued.group_no))
                .collect(),
            plan: ImportPlan::default(),
        }
    }

    /// Plans what a row says of its order.
    fn tell(&mut self, row: &'a OrderRow) -> Result<RowEffect, Refusal> {
        let told = &row.told;
        if let Some((first, effect)) = self.told.get(&told.order_no) {
            return match first_difference(&first.told, told) {
                // A new order is new in each of its rows; a change is counted once.
                None if *effect == RowEffect::New => Ok(RowEffect::New),
                None => Ok(RowEffect::Unchanged),
                Some(column) => {
                    let (order, line) = (&told.order_no, first.line);
                    let reason = format!("order {order} has another value on line {line}");
                    Err(Refusal::new(column, reason))
                }
            };
        }
        let effect = match self.known.get(&told.order_no) {
            Some(order) => self.change(row, order)?,
            None => self.add(row)?,
        };
        self.told.insert(&told.order_no, (row, effect));
        Ok(effect)
    }

    fn change(&mut self, row: &'a OrderRow, order: &'a Order) -> Result<RowEffect, Refusal> {
        let (state, expires_at, reason) = match decide_order_update(order, &row.told)? {
            OrderUpdate::Nothing => return Ok(RowEffect::Unchanged),
            OrderUpdate::Change {
                state,
                expires_at,
                reason,
            } => (state, expires_at, reason),
        };
        if expires_at != order.expires_at {
            self.await_deadline(row);
        }
        let group = self.members.entry(&order.group_no).or_default();
        group.insert(&order.order_no, state);
        self.plan.changes.push(PlannedChange {
            order: order.clone(),
            state,
            expires_at,
            reason,
        });
        Ok(RowEffect::Changed)
    }

    fn add(&mut self, row: &'a OrderRow) -> Result<RowEffect, Refusal> {
        let told = &row.told;
        if self.committed.contains(&told.group_no) {
            let reason = format!(
                "a reference was issued for group {} already; no order can join it",
                told.group_no
            );
            return Err(Refusal::new("group_no", reason));
        }
        let state = told.status.first_state();
        let group = self.members.entry(&told.group_no).or_default();
        group.insert(&told.order_no, state);
        if !state.is_final() {
            self.await_deadline(row);
        }
        self.plan.new.push(told.clone());
        Ok(RowEffect::New)
    }

    fn await_deadline(&mut self, row: &OrderRow) {
        self.plan.deadlines.push(Deadline {
            line: row.line,
            order_no: row.told.order_no.clone(),
            merchant_id: row.told.merchant_id.clone(),
            expires_at: row.told.expires_at,
        });
    }

    /// Plans the reference of a row; `true` when it is to be issued.
    fn issue(&mut self, row: &'a OrderRow) -> Result<bool, Refusal> {
        let Some((channel, reference)) = &row.reference else {
            return Ok(false);
        };
        let group_no = &row.told.group_no;
        if let Some(holder) = self.issued.get(&(channel, reference)) {
            if *holder == group_no {
                return Ok(false);
            }
            let reason = format!("{reference} at {channel} belongs to group {holder}");
            return Err(Refusal::new("reference", reason));
        }
        let members = self.members.get(group_no);
        let unpayable = members
            .into_iter()
            .flatten()
            .find(|(_, state)| !may_be_paid(**state));
        if let Some((order, state)) = unpayable {
            let reason = format!("{reference} cannot be paid: order {order} is {state}");
            return Err(Refusal::new("reference", reason));
        }
        self.issued.insert((channel, reference), group_no);
        self.plan.references.push(IssuedReference {
            channel: channel.clone(),
            reference: reference.clone(),
            group_no: group_no.clone(),
        });
        Ok(true)
    }
}

/// Whether a payment may start.
const fn may_be_paid(state: OrderState) -> bool {
    match state {
        OrderState::Open | OrderState::InReview => true,
        OrderState::Expiring | OrderState::Expired | OrderState::Paid | OrderState::Cancelled => {
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clearday_jobs::{Currency, Money};

    fn noon() -> DateTime<Utc> {
        "2026-03-02T12:00:00Z".parse().unwrap()
    }

    /// `A1 in G1 open R1`: an order, its group, its status and perhaps a reference.
    fn rows(lines: &[&str]) -> Vec<OrderRow> {
        let row = |(line, words): (u64, &&str)| {
            let words: Vec<&str> = words.split(' ').collect();
            OrderRow {
                line,
                told: ToldOrder {
                    order_no: words[0].parse().unwrap(),
                    group_no: words[2].parse().unwrap(),
                    merchant_id: "M1".parse().unwrap(),
                    total: Money::from_minor(100, Currency::parse("CNY").unwrap()),
                    status: words[3].parse().unwrap(),
                    expires_at: noon(),
                },
                reference: words
                    .get(4)
                    .map(|reference| ("sandbox".parse().unwrap(), reference.parse().unwrap())),
            }
        };
        (2..).zip(lines).map(row).collect()
    }

    /// What is known when the plan for `lines` was carried out.
    fn known(lines: &[&str]) -> Known {
        let plan = plan_orders(&rows(lines), &Known::default()).unwrap();
        let orders = plan.new.into_iter().map(|told| Order {
            order_no: told.order_no,
            group_no: told.group_no,
            merchant_id: told.merchant_id,
            total: told.total,
            state: told.status.first_state(),
            version: 1,
            expires_at: told.expires_at,
            updated_at: noon(),
        });
        Known {
            orders: orders.collect(),
            references: plan.references,
        }
    }

    fn summary(lines: &[&str], known: &Known) -> (u64, u64, u64) {
        let summary = plan_orders(&rows(lines), known).unwrap().summary;
        assert_eq!(summary.rows, u64::try_from(lines.len()).unwrap());
        (summary.new, summary.changed, summary.unchanged)
    }

    fn refusal(lines: &[&str], known: &Known) -> String {
        plan_orders(&rows(lines), known).unwrap_err().to_string()
    }

    #[test]
    fn the_same_file_again_changes_nothing() {
        let file = [
            "A1 in G1 open R1",
            "A1 in G1 open R2",
            "A2 in G1 in_review",
            "A3 in A3 paid",
        ];
        assert_eq!(summary(&file, &Known::default()), (4, 0, 0));
        let known = known(&file);
        assert_eq!(summary(&file, &known), (0, 0, 4));
        let again = plan_orders(&rows(&file), &known).unwrap();
        assert_eq!(
            ImportPlan {
                summary: ImportSummary::default(),
                ..again
            },
            ImportPlan::default()
        );
    }

    #[test]
    fn only_orders_that_may_still_expire_are_waited_for() {
        let file = [
            "A1 in A1 open",
            "A2 in A2 in_review",
            "A3 in A3 paid",
            "A4 in A4 cancelled",
        ];
        let plan = plan_orders(&rows(&file), &Known::default()).unwrap();
        let awaited: Vec<&str> = plan
            .deadlines
            .iter()
            .map(|it| it.order_no.as_str())
            .collect();
        assert_eq!(awaited, ["A1", "A2"]);
    }

    #[test]
    fn a_change_and_a_new_reference_are_counted_apart() {
        let known = known(&["A1 in A1 open R1", "A2 in A2 open"]);
        let file = ["A1 in A1 open R1", "A1 in A1 open R2", "A2 in A2 paid"];
        assert_eq!(summary(&file, &known), (0, 2, 1));
    }

    #[test]
    fn rows_that_contradict_each_other_are_refused() {
        assert_eq!(
            refusal(&["A1 in A1 open R1", "A1 in A1 paid R2"], &Known::default()),
            "line 3, column status: order A1 has another value on line 2"
        );
        assert_eq!(
            refusal(&["A1 in A1 open R1", "A2 in A2 open R1"], &Known::default()),
            "line 3, column reference: R1 at sandbox belongs to group A1"
        );
    }

    #[test]
    fn a_reference_needs_a_group_that_may_be_paid() {
        let mut books = known(&["A1 in G1 open", "A2 in G1 open R1"]);
        assert_eq!(summary(&["A1 in G1 open R2"], &books), (0, 1, 0));
        assert_eq!(
            refusal(&["A1 in G1 open R2", "A2 in G1 cancelled"], &books),
            "line 2, column reference: R2 cannot be paid: order A2 is cancelled"
        );
        books.orders[1].state = OrderState::Expiring;
        assert_eq!(
            refusal(&["A1 in G1 open R2"], &books),
            "line 2, column reference: R2 cannot be paid: order A2 is expiring"
        );
        // What was issued in time is no news.
        assert_eq!(summary(&["A2 in G1 open R1"], &books), (0, 0, 1));
    }

    #[test]
    fn nobody_joins_a_group_that_somebody_may_be_paying() {
        let books = known(&["A1 in G1 open"]);
        assert_eq!(summary(&["A2 in G1 open R1"], &books), (1, 0, 0));
        let books = known(&["A1 in G1 open R1"]);
        assert_eq!(
            refusal(&["A2 in G1 open"], &books),
            "line 2, column group_no: a reference was issued for group G1 already; no order can join it"
        );
    }

    #[test]
    fn a_status_that_the_books_contradict_is_refused_with_its_line() {
        let books = known(&["A1 in A1 cancelled"]);
        assert_eq!(
            refusal(&["A2 in A2 open", "A1 in A1 open"], &books),
            "line 3, column status: order A1 is cancelled and cannot become open"
        );
    }
}
