//! Keeps channel tokens off screens: who may read a job need not be able to charge a card.
//!
//! What is stored stays whole, because the worker needs it; what is shown goes through here. A
//! field is a secret when its name ends with `token`, so that a misspelt one is hidden too.

use serde_json::Value;

/// Shown in the place of a secret.
pub const HIDDEN: &str = "***";

/// JSON within a string within JSON: deeper than this it is hidden whole. Honest submissions nest
/// once, when a stream entry is kept with its fields.
const QUOTED_DEPTH_MAX: usize = 4;

/// The word that ends the name of a secret.
const SECRET_WORD: &str = "token";

/// The value with every secret replaced, also in strings that hold JSON themselves.
pub fn redact(value: Value) -> Value {
    redact_value(value, QUOTED_DEPTH_MAX)
}

/// The text with every secret replaced, whether or not it is well-formed JSON.
pub fn redact_text(text: &str) -> String {
    redact_quoted(text, QUOTED_DEPTH_MAX)
}

/// Recursion is bounded: `serde_json` reads 128 levels and no more.
fn redact_value(value: Value, depth: usize) -> Value {
    match value {
        Value::Object(fields) => fields
            .into_iter()
            .map(|(name, field)| {
                let shown = if is_secret(&name) {
                    Value::from(HIDDEN)
                } else {
                    redact_value(field, depth)
                };
                (name, shown)
            })
            .collect(),
        Value::Array(items) => items
            .into_iter()
            .map(|item| redact_value(item, depth))
            .collect(),
        Value::String(text) if text.trim_start().starts_with(['{', '[']) => {
            match depth.checked_sub(1) {
                Some(depth) => Value::from(redact_quoted(&text, depth)),
                None => Value::from(HIDDEN),
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value,
    }
}

fn redact_quoted(text: &str, depth: usize) -> String {
    match serde_json::from_str::<Value>(text) {
        // Written anew only where something was hidden: a refused text is shown as it was sent.
        Ok(value) => {
            let shown = redact_value(value.clone(), depth);
            if shown == value {
                text.to_owned()
            } else {
                shown.to_string()
            }
        }
        Err(_) => redact_malformed(text),
    }
}

fn is_secret(name: &str) -> bool {
    name.to_ascii_lowercase().ends_with(SECRET_WORD)
}

/// Hides whatever follows the word `token` and a colon or an equals sign.
fn redact_malformed(text: &str) -> String {
    // ASCII lower case keeps every byte in its place.
    let lower = text.to_ascii_lowercase();
    let mut shown = String::with_capacity(text.len());
    let mut from = 0_usize;
    while let Some(found) = lower.get(from..).and_then(|rest| rest.find(SECRET_WORD)) {
        let word_end = from.saturating_add(found).saturating_add(SECRET_WORD.len());
        let rest = text.get(word_end..).unwrap_or_default();
        let value = rest.trim_start_matches(|c: char| is_between(c) || c.is_whitespace());
        let value_start = text.len().saturating_sub(value.len());
        let between = text.get(word_end..value_start).unwrap_or_default();
        shown.push_str(text.get(from..value_start).unwrap_or_default());
        from = value_start;
        if between.contains([':', '=']) {
            let secret = value.find(|c: char| ends_secret(c) || c.is_whitespace());
            shown.push_str(HIDDEN);
            from = value_start.saturating_add(secret.unwrap_or(value.len()));
        }
    }
    shown.push_str(text.get(from..).unwrap_or_default());
    shown
}

const fn is_between(c: char) -> bool {
    matches!(c, '"' | '\'' | '\\' | ':' | '=')
}

const fn ends_secret(c: char) -> bool {
    matches!(c, '"' | '\'' | ',' | '}' | ']' | '&')
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_whose_name_ends_with_token_is_hidden_at_every_depth() {
        let value = json!({"a": [{"token": "t"}], "cardToken": {"b": 1}, "tokens": 3, "c": 1.50});
        assert_eq!(
            redact(value),
            json!({"a": [{"token": "***"}], "cardToken": "***", "tokens": 3, "c": 1.50})
        );
    }

    #[test]
    fn json_within_a_string_is_read_too() {
        let value = json!({"payload": "{\"token\":\"tok_1\",\"n\":1}"});
        assert_eq!(
            redact(value),
            json!({"payload": "{\"n\":1,\"token\":\"***\"}"})
        );
    }

    #[test]
    fn text_without_a_secret_is_shown_as_it_was_sent() {
        for text in [r#"{ "b": 1, "a": 2 }"#, "", "no json", "a token", "tokens"] {
            assert_eq!(redact_text(text), text);
        }
    }

    #[test]
    fn malformed_text_hides_what_follows_the_word_token() {
        let table = [
            (r#"{"token":"tok_1","n":1"#, r#"{"token":"***","n":1"#),
            (r#"{"Token" : "tok_1"#, r#"{"Token" : "***"#),
            (
                r#"{"p":"{\"token\":\"tok_1\"}","#,
                r#"{"p":"{\"token\":\"***"}","#,
            ),
            ("token=tok_1&a=2", "token=***&a=2"),
            ("{token: 12, x", "{token: ***, x"),
            ("tokentoken:secret,", "tokentoken:***,"),
            (
                "{\"订单\":\"一\",\"token\":\"秘\"",
                "{\"订单\":\"一\",\"token\":\"***\"",
            ),
        ];
        for (text, shown) in table {
            assert_eq!(redact_text(text), shown, "{text}");
        }
    }
}
