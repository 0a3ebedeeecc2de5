//! Keeps card numbers out of what is stored, and addresses of people out of what is shown.
//!
//! Refused payloads are kept, but not their secrets: PCI DSS 4.0.1 requirement 3.4.1 allows at most
//! the first six and the last four digits of a card. Of a telephone number, a mail address or a URL
//! enough is shown to recognise it, and not enough to use it.

use super::partner::MessageChannel;

/// Shortest and longest card number (ISO/IEC 7812).
const DIGITS_MIN: usize = 12;
const DIGITS_MAX: usize = 19;

/// Longest group of digits in a number that is written in groups (4-4-4-4, 4-6-5).
const GROUP_DIGITS_MAX: usize = 6;

/// The bytes with the middle digits of everything that looks like a card number replaced by `*`: 12
/// to 19 digits that pass the Luhn check, in one piece or in groups of at most six with single
/// blanks or dashes between them.
pub fn mask_card_numbers(bytes: &[u8]) -> Vec<u8> {
    let mut masked = bytes.to_vec();
    // Positions of digits, group by group, of the number that may be under way.
    let mut groups: Vec<Vec<usize>> = vec![Vec::new()];
    for (position, byte) in bytes.iter().enumerate() {
        let is_separator = matches!(byte, b' ' | b'-');
        let has_digits = groups.last().is_some_and(|group| !group.is_empty());
        if byte.is_ascii_digit() {
            if let Some(group) = groups.last_mut() {
                group.push(position);
            }
        } else if is_separator && has_digits {
            groups.push(Vec::new());
        } else {
            mask_groups(&mut masked, &groups);
            groups = vec![Vec::new()];
        }
    }
    mask_groups(&mut masked, &groups);
    masked
}

fn mask_groups(masked: &mut [u8], groups: &[Vec<usize>]) {
    let is_grouped = groups.iter().all(|group| group.len() <= GROUP_DIGITS_MAX);
    if is_grouped {
        mask_run(masked, &groups.concat());
    } else {
        for group in groups {
            mask_run(masked, group);
        }
    }
}

fn mask_run(masked: &mut [u8], run: &[usize]) {
    let digits: Vec<u8> = run
        .iter()
        .filter_map(|at| masked.get(*at).copied())
        .collect();
    if !(DIGITS_MIN..=DIGITS_MAX).contains(&digits.len()) || !passes_luhn(&digits) {
        return;
    }
    let hidden = run.iter().skip(6).take(digits.len().saturating_sub(10));
    for position in hidden {
        if let Some(byte) = masked.get_mut(*position) {
            *byte = b'*';
        }
    }
}

fn passes_luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(place, digit)| {
            let value = u32::from(digit.saturating_sub(b'0'));
            let weighted = if place % 2 == 1 {
                value.saturating_mul(2)
            } else {
                value
            };
            if weighted > 9 {
                weighted.saturating_sub(9)
            } else {
                weighted
            }
        })
        .fold(0, u32::saturating_add);
    sum.is_multiple_of(10)
}

/// What hides a part of an address.
const STARS: &str = "****";
/// How many digits at the end of a telephone number are shown, and how many before them are not.
const NUMBER_SHOWN: usize = 4;
const NUMBER_HIDDEN: usize = 4;

/// Where a message goes, as people may see it.
pub fn mask_target(channel: MessageChannel, target: &str) -> String {
    match channel {
        MessageChannel::Sms => mask_number(target),
        MessageChannel::Email => mask_email(target),
        MessageChannel::Webhook => mask_url(target),
    }
}

/// `138****0000`
fn mask_number(number: &str) -> String {
    let characters: Vec<char> = number.chars().collect();
    let length = characters.len();
    let end: String = characters
        .iter()
        .skip(length.saturating_sub(NUMBER_SHOWN))
        .collect();
    let shown = length.saturating_sub(NUMBER_SHOWN.saturating_add(NUMBER_HIDDEN));
    if shown == 0 {
        return STARS.to_owned();
    }
    let start: String = characters.iter().take(shown).collect();
    format!("{start}{STARS}{end}")
}

/// `w****@example.com`
fn mask_email(address: &str) -> String {
    let Some((local, domain)) = address.rsplit_once('@') else {
        return STARS.to_owned();
    };
    let first: String = local.chars().take(1).collect();
    format!("{first}{STARS}@{domain}")
}

/// `https://example.com/…`: paths and queries carry keys.
fn mask_url(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return STARS.to_owned();
    };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    format!("{scheme}://{host}/…")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mask(text: &str) -> String {
        String::from_utf8(mask_card_numbers(text.as_bytes())).unwrap()
    }

    #[test]
    fn only_the_first_six_and_last_four_digits_of_a_card_number_are_kept() {
        assert_eq!(
            mask(r#"{"token":"4111111111111111"}"#),
            r#"{"token":"411111******1111"}"#
        );
        assert_eq!(mask("4111 1111-1111 1111"), "4111 11**-**** 1111");
        assert_eq!(mask("4111111111111111 1227"), "411111******1111 1227");
    }

    #[test]
    fn order_numbers_and_amounts_are_left_alone() {
        for text in [
            "S20210128170702357723",
            "4111111111111112",
            "12.34",
            "1234567890",
        ] {
            assert_eq!(mask(text), text);
        }
    }
    #[test]
    fn an_address_is_shown_so_that_it_is_recognised_and_cannot_be_used() {
        use MessageChannel::{Email, Sms, Webhook};
        let table = [
            (Sms, "13800000000", "138****0000"),
            (Sms, "+8613800001234", "+86138****1234"),
            (Sms, "12345678", "****"),
            (Email, "wang@example.com", "w****@example.com"),
            (Email, "王@例子.中国", "王****@例子.中国"),
            (Email, "nobody", "****"),
            (
                Webhook,
                "https://a.example/hook/KEY?t=1",
                "https://a.example/…",
            ),
            (Webhook, "http://u:p@127.0.0.1:80", "http://127.0.0.1:80/…"),
            (Webhook, "nothing", "****"),
        ];
        for (channel, target, shown) in table {
            assert_eq!(mask_target(channel, target), shown);
        }
    }
}
