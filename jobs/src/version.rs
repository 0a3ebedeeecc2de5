//! The version that every payload carries, so that an old daemon refuses what it would misread.

use std::borrow::Cow;

use schemars::{JsonSchema, Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};

/// The one version of a payload that this release reads.
const READ: u64 = 1;

/// The number 1 and no other: a payload of another version does not become a value of this type.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "u64", into = "u64")]
pub struct Version;

/// A version that this release does not read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("version {0} is not supported; this release reads version {READ}")]
pub struct UnsupportedVersion(pub u64);

impl TryFrom<u64> for Version {
    type Error = UnsupportedVersion;

    fn try_from(version: u64) -> Result<Self, UnsupportedVersion> {
        if version == READ {
            Ok(Self)
        } else {
            Err(UnsupportedVersion(version))
        }
    }
}

impl From<Version> for u64 {
    fn from(_: Version) -> Self {
        READ
    }
}

impl JsonSchema for Version {
    fn schema_name() -> Cow<'static, str> {
        "Version".into()
    }

    fn inline_schema() -> bool {
        true
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        json_schema!({ "type": "integer", "const": READ })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_version_1_is_read() {
        assert_eq!(serde_json::from_str::<Version>("1").unwrap(), Version);
        assert_eq!(serde_json::to_string(&Version).unwrap(), "1");
        let refusal = serde_json::from_str::<Version>("2").unwrap_err();
        assert_eq!(
            refusal.to_string(),
            "version 2 is not supported; this release reads version 1"
        );
    }
}
