//! Keeps card numbers out of what is stored: refused payloads are kept, but not their secrets.
//!
//! PCI DSS 4.0.1 requirement 3.4.1 allows at most the first six and the last four digits.

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
}
