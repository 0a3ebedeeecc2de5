//! What a check found: how much it looked at, and what of it is wrong.

use std::fmt;

/// So many findings are told; the others are counted.
const TOLD_MAX: usize = 5;

/// What one check found.
#[derive(Clone, Debug)]
pub(super) struct Findings {
    /// What was looked at, in the plural.
    what: &'static str,
    looked_at: u64,
    wrong: u64,
    told: Vec<String>,
}

impl Findings {
    /// Nothing so far.
    pub(super) const fn about(what: &'static str) -> Self {
        Self {
            what,
            looked_at: 0,
            wrong: 0,
            told: Vec::new(),
        }
    }

    /// One more was looked at.
    pub(super) const fn look(&mut self) {
        self.looked_at = self.looked_at.saturating_add(1);
    }

    /// Something is wrong.
    pub(super) fn wrong(&mut self, finding: impl fmt::Display) {
        self.wrong = self.wrong.saturating_add(1);
        if self.told.len() < TOLD_MAX {
            self.told.push(finding.to_string());
        }
    }

    /// Something is wrong unless this holds.
    pub(super) fn expect(&mut self, holds: bool, finding: impl FnOnce() -> String) {
        if !holds {
            self.wrong(finding());
        }
    }

    /// Whether nothing is wrong.
    pub(super) const fn is_ok(&self) -> bool {
        self.wrong == 0
    }
}

impl fmt::Display for Findings {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (looked_at, what) = (self.looked_at, self.what);
        if self.is_ok() {
            return write!(formatter, "{looked_at} {what}");
        }
        let told = self.told.join("; ");
        write!(formatter, "{told}")?;
        let more = self
            .wrong
            .saturating_sub(u64::try_from(self.told.len()).unwrap_or(u64::MAX));
        if more > 0 {
            write!(formatter, "; and {more} more")?;
        }
        write!(formatter, " ({looked_at} {what})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn findings_are_told_up_to_a_number_and_counted_beyond() {
        let mut findings = Findings::about("entries");
        findings.look();
        assert_eq!(findings.to_string(), "1 entries");
        for number in 0..7 {
            findings.wrong(number);
        }
        assert_eq!(
            findings.to_string(),
            "0; 1; 2; 3; 4; and 2 more (1 entries)"
        );
        assert!(!findings.is_ok());
    }
}
