//! The layers of a configuration, each value with the place it was written at.
//!
//! The embedded defaults lie at the bottom, then the file of `--config`, then the environment. A
//! value of a higher layer takes the place of the lower one; a list is replaced as a whole. `url`
//! and `url_file` stand for one setting, so naming either takes the place of both.

use std::collections::BTreeMap;
use std::sync::Arc;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::error::{ConfigError, Hint, Origin};

/// How the variables that are settings begin.
pub(super) const ENVIRONMENT_PREFIX: &str = "CLEARDAY_";
/// The tests' own variables, which name servers and are no settings.
const TEST_PREFIX: &str = "TEST_";
/// Ends the key that names a file instead of giving a value.
const FILE_SUFFIX: &str = "_file";

/// A value and where it was written.
#[derive(Clone, Debug)]
pub(super) struct Node {
    pub(super) value: Value,
    pub(super) origin: Origin,
}

/// What TOML or a variable can hold.
#[derive(Clone, Debug)]
pub(super) enum Value {
    Text(String),
    Integer(i64),
    Boolean(bool),
    /// No setting is one; kept so that the error can say what it found.
    Fraction,
    Table(BTreeMap<String, Node>),
    List(Vec<Node>),
    /// Text from the environment, which may stand for a number.
    Variable(String),
}

impl Node {
    /// Reads a TOML document; `origin` says where a line of it is.
    pub(super) fn from_toml(
        text: &str,
        origin: &dyn Fn(usize) -> Origin,
    ) -> Result<Self, ConfigError> {
        let located = |offset: usize| origin(line_at(text, offset));
        let document = DeTable::parse(text).map_err(|error| ConfigError::Syntax {
            origin: located(error.span().map_or(0, |span| span.start)),
            reason: error.message().to_owned(),
        })?;
        Ok(Self {
            value: table(document.into_inner(), &located),
            origin: origin(1),
        })
    }

    /// Takes the settings among the variables of an environment, in whatever order they come.
    ///
    /// `known` are the names that a variable can have, as section and key.
    pub(super) fn from_environment(
        variables: impl IntoIterator<Item = (String, String)>,
        known: &[(&str, &str)],
    ) -> Result<Self, ConfigError> {
        let mut layer = Self::empty();
        let mut variables: Vec<_> = variables.into_iter().collect();
        variables.sort();
        for (name, text) in variables {
            let upper = name.to_ascii_uppercase();
            let Some(setting) = upper.strip_prefix(ENVIRONMENT_PREFIX) else {
                continue;
            };
            if setting.starts_with(TEST_PREFIX) {
                continue;
            }
            let origin = Origin::Variable(name.as_str().into());
            let (section, key) = known
                .iter()
                .find(|(section, key)| variable_name(section, key) == setting)
                .ok_or_else(|| unknown_variable(&name, setting, known))?;
            let node = Self {
                value: Value::Variable(text),
                origin: origin.clone(),
            };
            if !layer.set(section, key, node) {
                return Err(ConfigError::Value {
                    origin,
                    key: format!("{section}.{key}"),
                    reason: "another variable sets it too, in other letters; keep one".to_owned(),
                });
            }
        }
        Ok(layer)
    }

    fn empty() -> Self {
        Self {
            value: Value::Table(BTreeMap::new()),
            origin: Origin::Default,
        }
    }

    /// Sets `section.key`; `false` when it was set before.
    fn set(&mut self, section: &str, key: &str, node: Self) -> bool {
        let Value::Table(sections) = &mut self.value else {
            return false;
        };
        let origin = node.origin.clone();
        let section = sections.entry(section.to_owned()).or_insert(Self {
            value: Value::Table(BTreeMap::new()),
            origin,
        });
        let Value::Table(keys) = &mut section.value else {
            return false;
        };
        keys.insert(key.to_owned(), node).is_none()
    }

    /// Lays `higher` over this layer.
    pub(super) fn overlay(&mut self, higher: Self) {
        match (&mut self.value, higher.value) {
            (Value::Table(ours), Value::Table(theirs)) => {
                for name in theirs.keys() {
                    ours.remove(&twin(name));
                }
                for (name, node) in theirs {
                    match ours.get_mut(&name) {
                        Some(below) => below.overlay(node),
                        None => {
                            ours.insert(name, node);
                        }
                    }
                }
            }
            (ours, theirs) => {
                *ours = theirs;
                self.origin = higher.origin;
            }
        }
    }

    /// The value at a path such as `jobs.lease_seconds` or `people[1].name`, or its nearest parent.
    pub(super) fn find(&self, path: &str) -> &Self {
        let mut node = self;
        for step in path.split(['.', '[', ']']).filter(|step| !step.is_empty()) {
            let below = match &node.value {
                Value::Table(table) => table.get(step),
                Value::List(list) => step.parse().ok().and_then(|at: usize| list.get(at)),
                Value::Text(_)
                | Value::Integer(_)
                | Value::Boolean(_)
                | Value::Fraction
                | Value::Variable(_) => None,
            };
            match below {
                Some(below) => node = below,
                None => break,
            }
        }
        node
    }
}

/// `url_file` for `url`, and the other way round.
fn twin(key: &str) -> String {
    key.strip_suffix(FILE_SUFFIX)
        .map_or_else(|| format!("{key}{FILE_SUFFIX}"), str::to_owned)
}

/// `DATABASE__URL`
fn variable_name(section: &str, key: &str) -> String {
    format!("{section}__{key}").to_ascii_uppercase()
}

fn unknown_variable(name: &str, setting: &str, known: &[(&str, &str)]) -> ConfigError {
    let names: Vec<String> = known
        .iter()
        .map(|(section, key)| variable_name(section, key))
        .collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let hint = match Hint::nearest(setting, &names) {
        Hint::DidYouMean(name) => Hint::DidYouMean(format!("{ENVIRONMENT_PREFIX}{name}")),
        Hint::ThereIs(_) => Hint::ThereIs(format!(
            "{ENVIRONMENT_PREFIX}<SECTION>__<KEY> for every key of config/default.toml that is not in a list"
        )),
    };
    ConfigError::UnknownKey {
        origin: Origin::Variable(name.into()),
        key: name.to_owned(),
        hint,
    }
}

fn table(table: DeTable<'_>, origin: &dyn Fn(usize) -> Origin) -> Value {
    let entries = table.into_iter().map(|(key, item)| {
        let node = Node {
            origin: origin(key.span().start),
            value: value(item, origin),
        };
        (key.into_inner().into_owned(), node)
    });
    Value::Table(entries.collect())
}

fn value(item: Spanned<DeValue<'_>>, origin: &dyn Fn(usize) -> Origin) -> Value {
    match item.into_inner() {
        DeValue::String(text) => Value::Text(text.into_owned()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or(Value::Fraction, Value::Integer),
        DeValue::Float(_) => Value::Fraction,
        DeValue::Boolean(is_true) => Value::Boolean(is_true),
        // Read on as text, by the same rules as an instant in quotes.
        DeValue::Datetime(instant) => Value::Text(instant.to_string()),
        DeValue::Array(items) => {
            let nodes = items.into_iter().map(|item| Node {
                origin: origin(item.span().start),
                value: value(item, origin),
            });
            Value::List(nodes.collect())
        }
        DeValue::Table(below) => table(below, origin),
    }
}

fn line_at(text: &str, offset: usize) -> usize {
    let before = text.as_bytes().iter().take(offset);
    before
        .filter(|byte| **byte == b'\n')
        .count()
        .saturating_add(1)
}

/// The line as an origin in a file.
pub(super) fn in_file(path: &str) -> impl Fn(usize) -> Origin {
    let path: Arc<str> = path.into();
    move |line| Origin::File {
        path: Arc::clone(&path),
        line,
    }
}
