//! JSON Schemas and examples of the payloads, for upstream systems in any language.
//!
//! The schemas are generated from the types; `schemas/` holds them as files, and a test compares the two.

use schemars::generate::SchemaSettings;
use serde_json::Value;

use crate::{
    DeferredAuthorization, JobKind, JobPayload, OrderExpiry, PartnerNotification, Reconciliation,
    SettlementRun,
};

/// The JSON Schema (draft 2020-12) of the payload of this kind.
///
/// It holds no references, so it can be put into another document as it is. It says what a schema can say; agreement
/// between fields and what looks like a card number are checked on top of it.
pub fn schema_for(kind: JobKind) -> Value {
    match kind {
        JobKind::DeferredAuthorization => schema_of::<DeferredAuthorization>(),
        JobKind::OrderExpiry => schema_of::<OrderExpiry>(),
        JobKind::SettlementRun => schema_of::<SettlementRun>(),
        JobKind::PartnerNotification => schema_of::<PartnerNotification>(),
        JobKind::Reconciliation => schema_of::<Reconciliation>(),
    }
}

/// A valid payload of this kind, as a user would write it.
pub fn example_for(kind: JobKind) -> &'static str {
    match kind {
        JobKind::DeferredAuthorization => DeferredAuthorization::EXAMPLE,
        JobKind::OrderExpiry => OrderExpiry::EXAMPLE,
        JobKind::SettlementRun => SettlementRun::EXAMPLE,
        JobKind::PartnerNotification => PartnerNotification::EXAMPLE,
        JobKind::Reconciliation => Reconciliation::EXAMPLE,
    }
}

fn schema_of<P: JobPayload>() -> Value {
    let settings =
        SchemaSettings::draft2020_12().with(|settings| settings.inline_subschemas = true);
    let mut schema = Value::from(settings.into_generator().into_root_schema_for::<P>());
    // The order of keys would otherwise depend on the features of serde_json that others switch on.
    schema.sort_all_objects();
    schema
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_schema_files_are_what_the_types_say() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("schemas");
        for kind in JobKind::ALL {
            let file = std::fs::read_to_string(folder.join(format!("{kind}.json")));
            assert!(
                file.unwrap_or_default() == format!("{:#}\n", schema_for(kind)),
                "schemas/{kind}.json is not what the types say; \
                 write it anew: cargo run -p clearday-jobs --example write_schemas"
            );
        }
    }

    #[test]
    fn every_field_is_described() {
        for kind in JobKind::ALL {
            assert_described(&schema_for(kind), kind.as_str());
        }
    }

    fn assert_described(schema: &Value, path: &str) {
        assert!(
            schema["description"].is_string(),
            "{path} has no description"
        );
        let properties = schema["properties"].as_object().into_iter().flatten();
        for (name, property) in properties {
            assert_described(property, &format!("{path}.{name}"));
        }
    }
}
