//! Every field of every payload, what is wrong with it, and what the refusal says.

use std::collections::BTreeSet;

use serde_json::Value;

use crate::{JobKind, Payload, example_for, schema_for};

/// A kind, a field of its example, what is written there, and the refusal.
const REFUSALS: &str = "\
deferred_authorization /version = 2: version: version 2 is not supported; this release reads version 1
deferred_authorization /version = \"1\": version: invalid type: string \"1\", expected u64
deferred_authorization /order = null: order: invalid type: null, expected struct OrderToAuthorize
deferred_authorization /order/order_no = \"\": order.order_no: an order number has 1 to 64 characters, not 0
deferred_authorization /order/order_no = \"SO 1\": order.order_no: an order number is printable ASCII without spaces; character 3 is not
deferred_authorization /order/merchant_id = 7: order.merchant_id: invalid type: integer `7`, expected a string
deferred_authorization /order/payer_id = \"é\": order.payer_id: a payer id is printable ASCII without spaces; character 1 is not
deferred_authorization /order/total = {\"amount\":\"0.00\",\"currency\":\"CNY\"}: order.total: 0.00 CNY is not more than zero
deferred_authorization /order/total = {\"amount\":\"-1.00\",\"currency\":\"CNY\"}: order.total: -1.00 CNY is not more than zero
deferred_authorization /order/total = {\"amount\":\"1.001\",\"currency\":\"CNY\"}: order.total: \"1.001\" is finer than the minor unit of CNY (2 decimal places)
deferred_authorization /order/total = {\"amount\":\"1\",\"currency\":\"XXX\"}: order.total.currency: XXX has no minor unit in ISO 4217, so it cannot carry an amount
deferred_authorization /order/total = {\"amount\":1,\"currency\":\"CNY\"}: order.total.amount: invalid type: integer `1`, expected a string
deferred_authorization /methods = []: methods: an order has 1 to 20 methods, not 0
deferred_authorization /methods = {}: methods: invalid type: map, expected a sequence
deferred_authorization /methods/0/method_id = \"card\": methods[1].method_id: is also the id of methods[0]
deferred_authorization /methods/0/group = \"cash\": methods[0].group: unknown variant `cash`, expected one of `credit_card`, `customer_account`, `stored_value_card`, `other`
deferred_authorization /methods/0/channel = \"\": methods[0].channel: a channel name has 1 to 64 characters, not 0
deferred_authorization /methods/0/token = \"4111111111111111\": methods[0].token: looks like a card number; send the channel's token for the card
deferred_authorization /methods/0/token = \"\": methods[0].token: a token has 1 to 255 characters, not 0
deferred_authorization /methods/0/charge_sequence = -1: methods[0].charge_sequence: invalid value: integer `-1`, expected u16
deferred_authorization /methods/0/charge_sequence = 65536: methods[0].charge_sequence: invalid value: integer `65536`, expected u16
deferred_authorization /methods/0/fixed_amount = {\"amount\":\"-1.00\",\"currency\":\"CNY\"}: methods[0].fixed_amount: -1.00 CNY is less than zero
deferred_authorization /methods/0/fixed_amount = {\"amount\":\"1.00\",\"currency\":\"EUR\"}: methods[0].fixed_amount: is in EUR, but order.total is in CNY
deferred_authorization /methods/1/maximum_charge = {\"amount\":\"-1.00\",\"currency\":\"CNY\"}: methods[1].maximum_charge: -1.00 CNY is less than zero
deferred_authorization /methods/1/maximum_charge = {\"amount\":\"1.00\",\"currency\":\"USD\"}: methods[1].maximum_charge: is in USD, but order.total is in CNY
deferred_authorization /methods/1/card_expires_on = \"2028-13\": methods[1].card_expires_on: \"2028-13\" is not a month; write YYYY-MM, like \"2027-09\"
deferred_authorization /methods/1/capture = \"later\": methods[1].capture: unknown variant `later`, expected `automatic` or `manual`
deferred_authorization /callback_url = \"ftp://orders.example\": callback_url: a URL starts with https:// or http:// and a host
deferred_authorization /callback_url = \"\": callback_url: a URL has 1 to 2048 characters, not 0
deferred_authorization /cvv = \"123\": cvv: unknown field `cvv`, expected one of `version`, `order`, `methods`, `callback_url`
deferred_authorization /methods/0/cvv = \"123\": methods[0].cvv: unknown field `cvv`, expected one of `method_id`, `group`, `channel`, `token`, `charge_sequence`, `fixed_amount`, `maximum_charge`, `card_expires_on`, `capture`
order_expiry /version = 2: version: version 2 is not supported; this release reads version 1
order_expiry /version = null: version: invalid type: null, expected u64
order_expiry /order_no = \"\": order_no: an order number has 1 to 64 characters, not 0
order_expiry /order_no = 7: order_no: invalid type: integer `7`, expected a string
order_expiry /order_no = \"SO 1\": order_no: an order number is printable ASCII without spaces; character 3 is not
order_expiry /expires_at = \"2026-03-08\": expires_at: \"2026-03-08\" is not an instant; write RFC 3339 with a zone, like \"2026-03-01T09:00:00+08:00\"
order_expiry /expires_at = \"2026-03-08T09:00:00\": expires_at: \"2026-03-08T09:00:00\" is not an instant; write RFC 3339 with a zone, like \"2026-03-01T09:00:00+08:00\"
order_expiry /expires_at = \"2026-02-30T09:00:00+08:00\": expires_at: \"2026-02-30T09:00:00+08:00\" is not an instant; write RFC 3339 with a zone, like \"2026-03-01T09:00:00+08:00\"
order_expiry /expires_at = 1772931600: expires_at: invalid type: integer `1772931600`, expected a string
order_expiry /merchant_id = \"\": merchant_id: a merchant id has 1 to 64 characters, not 0
order_expiry /merchant_id = 1001: merchant_id: invalid type: integer `1001`, expected a string
order_expiry /order = \"SO-1\": order: unknown field `order`, expected one of `version`, `order_no`, `expires_at`, `merchant_id`
settlement_run /version = 2: version: version 2 is not supported; this release reads version 1
settlement_run /through = \"2026-02-29\": through: \"2026-02-29\" is not a date; write YYYY-MM-DD, like \"2026-03-01\"
settlement_run /through = \"2026-3-1\": through: \"2026-3-1\" is not a date; write YYYY-MM-DD, like \"2026-03-01\"
settlement_run /through = \"2026-03-01T00:00:00Z\": through: \"2026-03-01T00:00:00Z\" is not a date; write YYYY-MM-DD, like \"2026-03-01\"
settlement_run /through = 20260301: through: invalid type: integer `20260301`, expected a string
settlement_run /merchant_id = \"\": merchant_id: a merchant id has 1 to 64 characters, not 0
settlement_run /merchant_id = \"M 1\": merchant_id: a merchant id is printable ASCII without spaces; character 2 is not
settlement_run /merchant_id = 1001: merchant_id: invalid type: integer `1001`, expected a string
settlement_run /currency = \"RMB\": currency: \"RMB\" is not an ISO 4217 currency code, like \"CNY\"
settlement_run /currency = \"cny\": currency: \"cny\" is not an ISO 4217 currency code, like \"CNY\"
settlement_run /currency = 156: currency: invalid type: integer `156`, expected a string
settlement_run /force = true: force: unknown field `force`, expected one of `version`, `through`, `merchant_id`, `currency`
partner_notification /version = 0: version: version 0 is not supported; this release reads version 1
partner_notification /order_no = \"\": order_no: an order number has 1 to 64 characters, not 0
partner_notification /order_no = \"订单\": order_no: an order number is printable ASCII without spaces; character 1 is not
partner_notification /partner_id = \"\": partner_id: a partner id has 1 to 64 characters, not 0
partner_notification /partner_id = [\"P-1\"]: partner_id: invalid type: sequence, expected a string
partner_notification /purpose = \"advert\": purpose: unknown variant `advert`, expected one of `pay_request`, `reminder`, `withdrawn`
partner_notification /purpose = null: purpose: expected value
partner_notification /deadline = \"tomorrow\": deadline: \"tomorrow\" is not an instant; write RFC 3339 with a zone, like \"2026-03-01T09:00:00+08:00\"
partner_notification /deadline = \"2026-03-08T25:00:00+08:00\": deadline: \"2026-03-08T25:00:00+08:00\" is not an instant; write RFC 3339 with a zone, like \"2026-03-01T09:00:00+08:00\"
partner_notification /email = \"a@b.example\": email: unknown field `email`, expected one of `version`, `order_no`, `partner_id`, `purpose`, `deadline`
reconciliation /version = 2: version: version 2 is not supported; this release reads version 1
reconciliation /channel = \"\": channel: a channel name has 1 to 64 characters, not 0
reconciliation /channel = \"wechat pay\": channel: a channel name is printable ASCII without spaces; character 7 is not
reconciliation /channel = 1: channel: invalid type: integer `1`, expected a string
reconciliation /statements = []: statements: 1 to 31 files are reconciled at once, not 0
reconciliation /statements = \"bill.csv\": statements: invalid type: string \"bill.csv\", expected a sequence
reconciliation /statements/0 = \"\": statements[0]: a file name has 1 to 255 bytes
reconciliation /statements/0 = \"../bill.csv\": statements[0]: a file name has no empty, \".\" or \"..\" part
reconciliation /statements/0 = \"/etc/passwd\": statements[0]: a file name is relative to the statements folder
reconciliation /statements/0 = 1: statements[0]: invalid type: integer `1`, expected a string
reconciliation /scope = \"all\": scope: unknown field `scope`, expected one of `version`, `channel`, `statements`
";

#[test]
fn every_bad_value_is_refused_by_the_name_of_its_field() {
    let mut table = String::new();
    for line in REFUSALS.lines() {
        let (kind, pointer, value) = asked(line);
        let mut payload: Value = serde_json::from_str(example_for(kind)).unwrap();
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        let parent = payload.pointer_mut(parent).unwrap();
        let place = match field.parse::<usize>() {
            Ok(index) => &mut parent[index],
            Err(_) => &mut parent[field],
        };
        *place = serde_json::from_str(value).unwrap();
        let refusal = Payload::parse(kind, &payload.to_string()).unwrap_err();
        let words = [kind.as_str(), " ", pointer, " = ", value, ": "];
        table.extend(words);
        table.extend([&refusal.to_string(), "\n"]);
    }
    assert_eq!(table, REFUSALS);
}

#[test]
fn no_field_of_a_payload_is_left_out_of_the_table() {
    for kind in JobKind::ALL {
        let tried: BTreeSet<String> = REFUSALS
            .lines()
            .map(asked)
            .filter(|(of, ..)| *of == kind)
            .map(|(_, pointer, _)| without_indexes(pointer))
            .collect();
        let mut fields = BTreeSet::new();
        collect_fields(&schema_for(kind), "", &mut fields);
        let missing: Vec<&String> = fields.difference(&tried).collect();
        assert!(missing.is_empty(), "{kind}: {missing:?}");
    }
}

fn asked(line: &str) -> (JobKind, &str, &str) {
    let (kind, rest) = line.split_once(' ').unwrap();
    let (asked, _) = rest.split_once(": ").unwrap();
    let (pointer, value) = asked.split_once(" = ").unwrap();
    (kind.parse().unwrap(), pointer, value)
}

fn without_indexes(pointer: &str) -> String {
    let parts = pointer
        .split('/')
        .filter(|part| part.parse::<usize>().is_err());
    parts.collect::<Vec<&str>>().join("/")
}

/// The fields that a schema describes, as pointers; an amount is one value.
fn collect_fields(schema: &Value, path: &str, fields: &mut BTreeSet<String>) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}/{name}");
        let is_amount = property["properties"]["currency"].is_object();
        if !is_amount {
            collect_fields(property, &path, fields);
            collect_fields(&property["items"], &path, fields);
        }
        fields.insert(path);
    }
}
