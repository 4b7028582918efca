//! JSON read strictly.
//!
//! Two readers that disagree about a document are a hole: RFC 7519 section 4 lets a reader refuse
//! duplicate member names, and here they are refused at every depth. So is U+0000 in any string
//! or name, because PostgreSQL's text cannot hold it.

use serde::de::{self, DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use std::cell::Cell;
use std::fmt;

/// Why a document was refused. The document itself is never part of the message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum JsonFault {
    #[error("not valid JSON")]
    Malformed,
    #[error("not a JSON object")]
    NotAnObject,
    #[error("a JSON object with a member that occurs twice")]
    DuplicateMember,
    #[error("JSON with the character U+0000")]
    Nul,
}

/// Parses `bytes` (UTF-8) as one JSON object with nothing but white space after it. Nesting
/// deeper than 127 levels is refused as malformed.
pub fn parse_object(bytes: &[u8]) -> Result<Map<String, Value>, JsonFault> {
    let fault = Cell::new(None);
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    let value = Strict { fault: &fault }
        .deserialize(&mut reader)
        .map_err(|_| fault.get().unwrap_or(JsonFault::Malformed))?;
    reader.end().map_err(|_| JsonFault::Malformed)?;
    match value {
        Value::Object(members) => Ok(members),
        _ => Err(JsonFault::NotAnObject),
    }
}

/// Builds a `Value` and remembers in `fault` why it gave up, which serde's error cannot carry.
#[derive(Clone, Copy)]
struct Strict<'a> {
    fault: &'a Cell<Option<JsonFault>>,
}

impl Strict<'_> {
    fn refuse<E: de::Error>(self, fault: JsonFault) -> E {
        self.fault.set(Some(fault));
        E::custom("refused")
    }

    fn text<E: de::Error>(self, text: String) -> Result<String, E> {
        if text.contains('\0') { Err(self.refuse(JsonFault::Nul)) } else { Ok(text) }
    }
}

impl<'de> DeserializeSeed<'de> for Strict<'_> {
    type Value = Value;

    fn deserialize<D: de::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Strict<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("JSON")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| self.refuse(JsonFault::Malformed))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Value, E> {
        self.text(value.to_owned()).map(Value::String)
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Value, E> {
        self.text(value).map(Value::String)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Value, A::Error> {
        let mut out = Vec::new();
        while let Some(item) = items.next_element_seed(self)? {
            out.push(item);
        }
        Ok(Value::Array(out))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<Value, A::Error> {
        let mut out = Map::new();
        while let Some(name) = members.next_key::<String>()? {
            let name = self.text(name)?;
            if out.contains_key(&name) {
                return Err(self.refuse(JsonFault::DuplicateMember));
            }
            let value = members.next_value_seed(self)?;
            out.insert(name, value);
        }
        Ok(Value::Object(out))
    }
}
