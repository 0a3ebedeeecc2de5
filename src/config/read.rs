//! Reads settings out of the merged layers, so that an error knows its key and where it came from.
//!
//! A [`serde`] deserializer of our own, because those of the TOML crates forget the origin of a
//! value once layers are merged.

use std::collections::btree_map;
use std::fmt;
use std::slice;

use serde::de::value::{SeqDeserializer, StrDeserializer};
use serde::de::{
    self, DeserializeSeed, Deserializer, IntoDeserializer, MapAccess, SeqAccess, Unexpected,
    Visitor,
};
use serde::forward_to_deserialize_any;

use super::error::{ConfigError, Hint, Origin};
use super::layers::{Node, Value};

/// What is wrong, and where; the path grows from the inside out.
#[derive(Debug)]
pub(super) struct Fault {
    path: String,
    origin: Option<Origin>,
    problem: Problem,
}

#[derive(Debug)]
enum Problem {
    UnknownKey {
        key: String,
        expected: &'static [&'static str],
    },
    Value(String),
}

impl Fault {
    fn new(problem: Problem) -> Self {
        Self {
            path: String::new(),
            origin: None,
            problem,
        }
    }

    fn value(reason: impl fmt::Display) -> Self {
        Self::new(Problem::Value(reason.to_string()))
    }

    /// The same fault as its parent sees it: `step` is a key or an index in brackets.
    fn within(mut self, step: &str, origin: &Origin) -> Self {
        let separator = if self.path.is_empty() || self.path.starts_with('[') {
            ""
        } else {
            "."
        };
        self.path = format!("{step}{separator}{}", self.path);
        self.origin.get_or_insert_with(|| origin.clone());
        self
    }

    fn at(mut self, origin: &Origin) -> Self {
        self.origin.get_or_insert_with(|| origin.clone());
        self
    }

    /// The error for people.
    pub(super) fn into_error(self) -> ConfigError {
        let origin = self.origin.unwrap_or(Origin::Default);
        match self.problem {
            Problem::Value(reason) => ConfigError::Value {
                origin,
                key: self.path,
                reason,
            },
            Problem::UnknownKey { key, expected } => {
                let prefix = if self.path.is_empty() {
                    String::new()
                } else {
                    format!("{}.", self.path)
                };
                let hint = match Hint::nearest(&key, expected) {
                    Hint::DidYouMean(name) => Hint::DidYouMean(format!("{prefix}{name}")),
                    there_is @ Hint::ThereIs(_) => there_is,
                };
                let key = format!("{prefix}{key}");
                ConfigError::UnknownKey { origin, key, hint }
            }
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.problem {
            Problem::UnknownKey { key, .. } => write!(formatter, "unknown key {key}"),
            Problem::Value(reason) => formatter.write_str(reason),
        }
    }
}

impl std::error::Error for Fault {}

impl de::Error for Fault {
    fn custom<T: fmt::Display>(reason: T) -> Self {
        Self::value(reason)
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::value(format!("must be {expected}, not {found}"))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn de::Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn unknown_variant(found: &str, expected: &'static [&'static str]) -> Self {
        Self::value(format!(
            "must be one of {}, not {found:?}",
            expected.join(", ")
        ))
    }

    fn unknown_field(key: &str, expected: &'static [&'static str]) -> Self {
        let key = key.to_owned();
        Self::new(Problem::UnknownKey { key, expected })
    }

    fn missing_field(key: &'static str) -> Self {
        Self::value(format!("lacks `{key}`"))
    }
}

/// Reads one value.
#[derive(Clone, Copy)]
pub(super) struct Reader<'de>(pub(super) &'de Node);

impl<'de> Reader<'de> {
    fn visit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.0.value {
            Value::Text(text) | Value::Variable(text) => visitor.visit_borrowed_str(text),
            Value::Integer(number) => visitor.visit_i64(*number),
            Value::Boolean(is_true) => visitor.visit_bool(*is_true),
            Value::Fraction => Err(de::Error::invalid_type(
                Unexpected::Other("another number"),
                &visitor,
            )),
            Value::Table(table) => visitor.visit_map(Entries {
                rest: table.iter(),
                current: None,
            }),
            Value::List(list) => visitor.visit_seq(Items {
                rest: list.iter(),
                index: 0,
            }),
        }
    }
}

impl<'de> Deserializer<'de> for Reader<'de> {
    type Error = Fault;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        self.visit(visitor)
            .map_err(|fault| fault.at(&self.0.origin))
    }

    fn deserialize_u32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        match &self.0.value {
            Value::Variable(text) => match text.parse() {
                Ok(number) => visitor.visit_i64(number),
                Err(_) => visitor.visit_borrowed_str(text),
            },
            Value::Text(_)
            | Value::Integer(_)
            | Value::Boolean(_)
            | Value::Fraction
            | Value::Table(_)
            | Value::List(_) => self.visit(visitor),
        }
        .map_err(|fault| fault.at(&self.0.origin))
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        visitor.visit_some(self)
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Fault> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _keys: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        if matches!(self.0.value, Value::Table(_)) {
            self.deserialize_any(visitor)
        } else {
            Err(Fault::value("must be a section with keys of its own").at(&self.0.origin))
        }
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Fault> {
        if matches!(self.0.value, Value::List(_)) {
            self.deserialize_any(visitor)
        } else if let Value::Variable(text) = &self.0.value {
            // Lists of words only: lists of sections have no variable.
            let words = text.split(',').map(str::trim);
            visitor
                .visit_seq(SeqDeserializer::new(words))
                .map_err(|fault: Fault| fault.at(&self.0.origin))
        } else {
            let reason = "must be a list: its name in double brackets, once for each item";
            Err(Fault::value(reason).at(&self.0.origin))
        }
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        words: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Fault> {
        let (Value::Text(text) | Value::Variable(text)) = &self.0.value else {
            let reason = format!("must be one of {}", words.join(", "));
            return Err(Fault::value(reason).at(&self.0.origin));
        };
        let word: StrDeserializer<'_, Fault> = text.as_str().into_deserializer();
        visitor
            .visit_enum(word)
            .map_err(|fault| fault.at(&self.0.origin))
    }

    forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u64 u128 f32 f64 char str string bytes byte_buf unit
        unit_struct tuple tuple_struct map identifier ignored_any
    }
}

struct Entries<'de> {
    rest: btree_map::Iter<'de, String, Node>,
    current: Option<(&'de str, &'de Node)>,
}

impl<'de> MapAccess<'de> for Entries<'de> {
    type Error = Fault;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, Fault> {
        let Some((key, node)) = self.rest.next() else {
            return Ok(None);
        };
        self.current = Some((key, node));
        let key: StrDeserializer<'_, Fault> = key.as_str().into_deserializer();
        seed.deserialize(key)
            .map(Some)
            .map_err(|fault| fault.at(&node.origin))
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, Fault> {
        let (key, node) = self
            .current
            .take()
            .ok_or_else(|| Fault::value("was asked for a value before its key"))?;
        seed.deserialize(Reader(node))
            .map_err(|fault| fault.within(key, &node.origin))
    }
}

struct Items<'de> {
    rest: slice::Iter<'de, Node>,
    index: usize,
}

impl<'de> SeqAccess<'de> for Items<'de> {
    type Error = Fault;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, Fault> {
        let Some(node) = self.rest.next() else {
            return Ok(None);
        };
        let step = format!("[{}]", self.index);
        self.index = self.index.saturating_add(1);
        seed.deserialize(Reader(node))
            .map(Some)
            .map_err(|fault| fault.within(&step, &node.origin))
    }
}
