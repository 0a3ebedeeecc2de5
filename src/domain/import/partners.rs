//! Decides what a file of partners changes.
//!
//! The upstream system owns its partners: what a file says takes effect. Whether messages to a partner were stopped is
//! ours to know, and stays.

use std::collections::BTreeMap;

use clearday_jobs::PartnerId;

use super::{ImportSummary, Refusal, RefusedRow, RowEffect};
use crate::domain::partner::Partner;

/// One row of a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartnerRow {
    /// The line, counted from 1.
    pub line: u64,
    /// The partner.
    pub partner: Partner,
}

/// What a file of partners does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartnerPlan {
    /// Partners to be written down, in the order of their ids.
    pub writes: Vec<Partner>,
    /// What the rows did.
    pub summary: ImportSummary,
}

/// Plans a file; the first row that contradicts another one refuses it.
pub fn plan_partners(rows: &[PartnerRow], known: &[Partner]) -> Result<PartnerPlan, RefusedRow> {
    let known: BTreeMap<_, _> = known.iter().map(|it| (&it.partner_id, it)).collect();
    let mut told: BTreeMap<&PartnerId, &PartnerRow> = BTreeMap::new();
    let mut plan = PartnerPlan::default();
    for row in rows {
        let partner_id = &row.partner.partner_id;
        if let Some(first) = told.get(partner_id) {
            check_repeated(first, row).map_err(|refusal| refusal.at(row.line))?;
            plan.summary.count(RowEffect::Unchanged, 1);
            continue;
        }
        told.insert(partner_id, row);
        let effect = match known.get(partner_id) {
            None => RowEffect::New,
            Some(known) if first_difference(known, &row.partner).is_some() => RowEffect::Changed,
            Some(_) => RowEffect::Unchanged,
        };
        plan.summary.count(effect, 1);
    }
    for (partner_id, row) in told {
        let known = known.get(partner_id);
        let partner = Partner {
            is_disabled: known.map_or(row.partner.is_disabled, |known| known.is_disabled),
            ..row.partner.clone()
        };
        if known.is_none_or(|known| **known != partner) {
            plan.writes.push(partner);
        }
    }
    Ok(plan)
}

fn check_repeated(first: &PartnerRow, row: &PartnerRow) -> Result<(), Refusal> {
    match first_difference(&first.partner, &row.partner) {
        None => Ok(()),
        Some(column) => {
            let (partner_id, line) = (&row.partner.partner_id, first.line);
            let reason = format!("partner {partner_id} has another value on line {line}");
            Err(Refusal::new(column, reason))
        }
    }
}

/// The first column in which two rows about one partner differ.
fn first_difference(one: &Partner, other: &Partner) -> Option<&'static str> {
    [
        ("name", one.name == other.name),
        ("zone", one.zone == other.zone),
        ("delivery", one.delivery == other.delivery),
        ("channels", one.channels == other.channels),
        ("sms_number", one.sms_number == other.sms_number),
        ("email", one.email == other.email),
        ("webhook_url", one.webhook_url == other.webhook_url),
    ]
    .into_iter()
    .find_map(|(column, is_same)| (!is_same).then_some(column))
}

#[cfg(test)]
mod tests {
    use super::*;

    use crate::domain::partner::{Delivery, MessageChannel};

    fn partner(partner_id: &str) -> Partner {
        Partner {
            partner_id: partner_id.parse().unwrap(),
            name: "Partner".to_owned(),
            zone: chrono_tz::Tz::UTC,
            delivery: Delivery::All,
            channels: vec![MessageChannel::Sms],
            sms_number: Some("+8613800000000".to_owned()),
            email: None,
            webhook_url: None,
            is_disabled: false,
        }
    }

    fn rows(partners: &[Partner]) -> Vec<PartnerRow> {
        let row = |(partner, line): (&Partner, u64)| PartnerRow {
            line,
            partner: partner.clone(),
        };
        partners.iter().zip(2..).map(row).collect()
    }

    fn counts(plan: &PartnerPlan) -> [u64; 3] {
        let summary = plan.summary;
        [summary.new, summary.changed, summary.unchanged]
    }

    /// A column, and a change of it.
    type Change = (&'static str, fn(&mut Partner));

    const CHANGES: [Change; 7] = [
        ("name", |it| it.name.push('!')),
        ("zone", |it| it.zone = chrono_tz::Tz::Asia__Shanghai),
        ("delivery", |it| it.delivery = Delivery::Fallback),
        ("channels", |it| it.channels.push(MessageChannel::Email)),
        ("sms_number", |it| it.sms_number = None),
        ("email", |it| it.email = Some("pay@example.com".to_owned())),
        ("webhook_url", |it| {
            it.webhook_url = Some("https://example.com".to_owned());
        }),
    ];

    #[test]
    fn what_is_new_is_written_and_what_is_known_is_not() {
        let (one, other) = (partner("B"), partner("A"));
        let told = rows(&[one.clone(), other.clone(), one.clone()]);
        let first = plan_partners(&told, &[]).unwrap();
        assert_eq!(counts(&first), [2, 0, 1]);
        assert_eq!(first.writes, [other.clone(), one.clone()]);
        let again = plan_partners(&told, &[one, other]).unwrap();
        assert_eq!(counts(&again), [0, 0, 3]);
        assert!(again.writes.is_empty());
    }

    #[test]
    fn every_column_may_change_and_who_was_stopped_stays_stopped() {
        let known = Partner {
            is_disabled: true,
            ..partner("A")
        };
        let same = plan_partners(&rows(&[partner("A")]), std::slice::from_ref(&known)).unwrap();
        assert_eq!(counts(&same), [0, 0, 1]);
        assert!(same.writes.is_empty());
        for (column, change) in CHANGES {
            let mut told = partner("A");
            change(&mut told);
            let known = std::slice::from_ref(&known);
            let changed = plan_partners(&rows(std::slice::from_ref(&told)), known).unwrap();
            told.is_disabled = true;
            assert_eq!(changed.writes, [told], "{column}");
            assert_eq!(counts(&changed), [0, 1, 0], "{column}");
        }
    }

    #[test]
    fn rows_of_one_partner_agree_in_every_column() {
        for (column, change) in CHANGES {
            let mut other = partner("A");
            change(&mut other);
            let refused = plan_partners(&rows(&[partner("A"), other]), &[]).unwrap_err();
            assert_eq!(
                refused.to_string(),
                format!("line 3, column {column}: partner A has another value on line 2")
            );
        }
    }
}
