//! Text for people on its way into a database: notes, reasons, what somebody else's error said.

/// Room for every honest sentence with its causes; nobody reads on, and rows stay small.
const LENGTH_MAX: usize = 2_000;

/// The text as both databases keep it: on one line, cut where it is endless, and what cannot be
/// shown replaced. Postgres keeps no NUL, and a failure that cannot be recorded would be repeated
/// for ever.
pub(super) fn words(text: &str) -> String {
    let mut rest = text.chars().map(shown);
    let mut kept: String = rest.by_ref().take(LENGTH_MAX - 1).collect();
    let mut rest = rest.peekable();
    if let Some(last) = rest.next() {
        kept.push(if rest.peek().is_some() { '…' } else { last });
    }
    kept
}

fn shown(character: char) -> char {
    match character {
        '\n' | '\r' | '\t' => ' ',
        other if other.is_control() => char::REPLACEMENT_CHARACTER,
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_cannot_be_shown_is_replaced() {
        assert_eq!(words("a\0b\n\tc"), "a\u{FFFD}b  c");
    }

    #[test]
    fn what_is_endless_is_cut() {
        let full = "错".repeat(LENGTH_MAX);
        assert_eq!(words(&full), full);
        let cut = words(&"错".repeat(LENGTH_MAX + 1));
        assert_eq!(cut.chars().count(), LENGTH_MAX);
        assert!(cut.ends_with("错…"));
    }
}
