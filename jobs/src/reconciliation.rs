//! What is asked when a channel's statements shall be compared with our records.
//!
//! Statements are named, never carried: a job may only name files inside the configured folder, so a name that could
//! lead out of it is refused.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::payload::first_duplicate;
use crate::{ChannelName, FieldError, JobKind, JobPayload, Version};

/// One statement for every day of a month.
const STATEMENTS_MAX: usize = 31;

/// The longest file name that common file systems take, in bytes; here of the whole relative name.
const NAME_BYTES_MAX: usize = 255;

/// Asks to reconcile one channel against the statements it gave.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Reconciliation {
    /// The version of this payload: 1.
    pub version: Version,
    /// The channel that gave the statements, as the configuration names it.
    pub channel: ChannelName,
    /// 1 to 31 different files inside the configured statements folder, by their names relative to it: at most 255
    /// bytes each, with "/" between folders, without "\", "." and "..".
    #[schemars(length(min = 1, max = STATEMENTS_MAX), inner(length(min = 1, max = NAME_BYTES_MAX)))]
    #[schemars(extend("uniqueItems" = true))]
    pub statements: Vec<String>,
}

impl JobPayload for Reconciliation {
    const KIND: JobKind = JobKind::Reconciliation;
    const EXAMPLE: &'static str = include_str!("../schemas/reconciliation.example.json");

    fn validate(&self) -> Result<(), FieldError> {
        let count = self.statements.len();
        if count == 0 || count > STATEMENTS_MAX {
            let problem =
                format!("1 to {STATEMENTS_MAX} files are reconciled at once, not {count}");
            return Err(FieldError::new("statements", problem));
        }
        for (index, name) in self.statements.iter().enumerate() {
            check_statement_name(name)
                .map_err(|problem| FieldError::new(format!("statements[{index}]"), problem))?;
        }
        if let Some((first, second)) = first_duplicate(&self.statements) {
            let problem = format!("is the same file as statements[{first}]");
            return Err(FieldError::new(format!("statements[{second}]"), problem));
        }
        Ok(())
    }

    fn partition(&self) -> Option<String> {
        Some(self.channel.to_string())
    }
}

fn check_statement_name(name: &str) -> Result<(), &'static str> {
    if name.is_empty() || name.len() > NAME_BYTES_MAX {
        return Err("a file name has 1 to 255 bytes");
    }
    if name.chars().any(|char| char == '\\' || char.is_control()) {
        return Err("a file name has no backslash and no control character");
    }
    if name.starts_with('/') {
        return Err("a file name is relative to the statements folder");
    }
    if name.split('/').any(|part| matches!(part, "" | "." | "..")) {
        return Err("a file name has no empty, \".\" or \"..\" part");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(names: &[&str]) -> String {
        let mut job = Reconciliation::parse(Reconciliation::EXAMPLE).unwrap();
        job.statements = names.iter().copied().map(str::to_owned).collect();
        job.validate().unwrap_err().to_string()
    }

    #[test]
    fn a_name_that_could_lead_out_of_the_folder_is_refused() {
        let parts = "statements[0]: a file name has no empty, \".\" or \"..\" part";
        for name in [
            "../a.csv",
            "a/../../b.csv",
            "..",
            ".",
            "./a.csv",
            "a//b.csv",
            "a/",
        ] {
            assert_eq!(refusal(&[name]), parts, "{name}");
        }
        assert_eq!(
            refusal(&["a.csv", "/etc/passwd"]),
            "statements[1]: a file name is relative to the statements folder"
        );
        let characters = "statements[0]: a file name has no backslash and no control character";
        assert_eq!(refusal(&["..\\a.csv"]), characters);
        assert_eq!(refusal(&["a\n.csv"]), characters);
    }

    #[test]
    fn names_are_different_and_few() {
        assert_eq!(
            refusal(&["a", "b", "a"]),
            "statements[2]: is the same file as statements[0]"
        );
        assert_eq!(
            refusal(&[]),
            "statements: 1 to 31 files are reconciled at once, not 0"
        );
        assert_eq!(
            refusal(&["a"; 32]),
            "statements: 1 to 31 files are reconciled at once, not 32"
        );
        let long = "业".repeat(86);
        assert_eq!(
            refusal(&[&long]),
            "statements[0]: a file name has 1 to 255 bytes"
        );
    }
}
