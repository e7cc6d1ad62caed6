//! Attributes: `KeyValue` lists turned into label pairs, on the slow path of a series never seen before.

use std::borrow::Cow;
use std::fmt::Write as _;

use super::reject::RejectReason;
use super::wire::{Fields, Value, WireError};
use crate::rollup::Collision;

/// Most attributes of a data point or resource.
pub(super) const COUNT_MAX: usize = 64;
/// Longest key, in bytes.
pub(super) const KEY_MAX: usize = 256;
/// Longest value, in bytes; longer ones are cut.
pub(super) const VALUE_MAX: usize = 4096;
/// Deepest nesting of a value that is still written as JSON; what is deeper is left out.
const DEPTH_MAX: usize = 16;

/// A refusal or a damaged body.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum AttributeError {
    Wire(WireError),
    Rejected(RejectReason),
}

impl From<WireError> for AttributeError {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

impl From<Collision> for AttributeError {
    fn from(_: Collision) -> Self {
        Self::Rejected(RejectReason::SeriesId)
    }
}

/// Key and value as text. Bad UTF-8 in a value is replaced, in a key refused.
pub(super) type Pair<'a> = (&'a str, String);

/// The attributes in `fields`: every field numbered `number` of them, first of a key wins.
pub(super) fn pairs(message: &[u8], number: u32) -> Result<Vec<Pair<'_>>, AttributeError> {
    let mut fields = Fields::new(message);
    let mut out: Vec<Pair<'_>> = Vec::new();
    while let Some((field, value)) = fields.next_field()? {
        if field != number {
            continue;
        }
        let (key, value) = key_value(value.bytes(field)?)?;
        let key = check_key(key)?;
        if out.iter().any(|(known, _)| *known == key) {
            continue;
        }
        if out.len() == COUNT_MAX {
            return Err(AttributeError::Rejected(RejectReason::AttributeCount));
        }
        out.push((key, text(value)?));
    }
    Ok(out)
}

fn check_key(key: &[u8]) -> Result<&str, AttributeError> {
    std::str::from_utf8(key)
        .ok()
        .filter(|key| !key.is_empty() && key.len() <= KEY_MAX && !key.contains('\0'))
        .ok_or(AttributeError::Rejected(RejectReason::AttributeKey))
}

/// Key and `AnyValue` of one `KeyValue`.
pub(super) fn key_value(message: &[u8]) -> Result<(&[u8], &[u8]), WireError> {
    let (mut key, mut any): (&[u8], &[u8]) = (&[], &[]);
    let mut fields = Fields::new(message);
    while let Some((field, value)) = fields.next_field()? {
        match field {
            1 => key = value.bytes(field)?,
            2 => any = value.bytes(field)?,
            _ => {}
        }
    }
    Ok((key, any))
}

/// An `AnyValue` as label text: scalars plain, arrays and maps as JSON.
pub(super) fn text(any: &[u8]) -> Result<String, WireError> {
    let mut out = String::new();
    let mut fields = Fields::new(any);
    while let Some((field, value)) = fields.next_field()? {
        out.clear();
        match (field, value) {
            (1, Value::Bytes(text)) => out.push_str(&String::from_utf8_lossy(text)),
            _ => json(field, value, DEPTH_MAX, &mut out)?,
        }
    }
    Ok(fit(out, VALUE_MAX))
}

/// Text as it is kept: bad UTF-8 and NUL, which Postgres keeps in no text, replaced; cut at `most` bytes.
pub(super) fn plain(bytes: &[u8], most: usize) -> String {
    // What is cut off need not be looked at; a character that is cut with it is bad UTF-8.
    fit(String::from_utf8_lossy(bytes.get(..most + 4).unwrap_or(bytes)).into_owned(), most)
}

fn fit(mut text: String, most: usize) -> String {
    if text.contains('\0') {
        text = text.replace('\0', "\u{fffd}");
    }
    if text.len() > most {
        text.truncate(text.floor_char_boundary(most));
    }
    text
}

fn json(field: u32, value: Value<'_>, depth: usize, out: &mut String) -> Result<(), WireError> {
    // Writing to a String cannot fail.
    let _infallible = match field {
        1 => write!(out, "{}", serde_json::Value::from(lossy(value.bytes(field)?))),
        2 => write!(out, "{}", value.varint(field)? != 0),
        3 => write!(out, "{}", value.varint(field)? as i64),
        4 => write!(out, "{}", value.double(field)?),
        5 => return json_array(value.bytes(field)?, depth, out),
        6 => return json_map(value.bytes(field)?, depth, out),
        7 => {
            value.bytes(field)?.iter().for_each(|byte| {
                let _infallible = write!(out, "{byte:02x}");
            });
            Ok(())
        }
        _ => Ok(()),
    };
    Ok(())
}

fn lossy(bytes: &[u8]) -> Cow<'_, str> {
    String::from_utf8_lossy(bytes)
}

fn json_array(message: &[u8], depth: usize, out: &mut String) -> Result<(), WireError> {
    out.push('[');
    if depth > 0 {
        let mut fields = Fields::new(message);
        let mut first = true;
        while let Some((field, value)) = fields.next_field()? {
            if field != 1 || out.len() > VALUE_MAX {
                continue;
            }
            if !std::mem::take(&mut first) {
                out.push(',');
            }
            any_json(value.bytes(field)?, depth - 1, out)?;
        }
    }
    out.push(']');
    Ok(())
}

fn json_map(message: &[u8], depth: usize, out: &mut String) -> Result<(), WireError> {
    out.push('{');
    if depth > 0 {
        let mut fields = Fields::new(message);
        let mut first = true;
        while let Some((field, value)) = fields.next_field()? {
            if field != 1 || out.len() > VALUE_MAX {
                continue;
            }
            if !std::mem::take(&mut first) {
                out.push(',');
            }
            let (key, any) = key_value(value.bytes(field)?)?;
            let _infallible = write!(out, "{}:", serde_json::Value::from(lossy(key)));
            any_json(any, depth - 1, out)?;
        }
    }
    out.push('}');
    Ok(())
}

fn any_json(any: &[u8], depth: usize, out: &mut String) -> Result<(), WireError> {
    let mut fields = Fields::new(any);
    let before = out.len();
    while let Some((field, value)) = fields.next_field()? {
        out.truncate(before);
        json(field, value, depth, out)?;
    }
    if out.len() == before {
        out.push_str("null");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::common::v1::{
        AnyValue, ArrayValue, KeyValue, KeyValueList, any_value::Value as Any,
    };
    use prost::Message;

    fn any(value: Any) -> AnyValue {
        AnyValue { value: Some(value) }
    }

    fn kv(key: &str, value: Any) -> KeyValue {
        KeyValue { key: key.to_owned(), value: Some(any(value)), ..KeyValue::default() }
    }

    #[test]
    fn every_type_has_a_text() {
        let check = |value: Any, expect: &str| assert_eq!(text(&any(value).encode_to_vec()).as_deref(), Ok(expect));
        check(Any::StringValue("x \" y".into()), "x \" y");
        check(Any::BoolValue(true), "true");
        check(Any::IntValue(-5), "-5");
        check(Any::DoubleValue(0.5), "0.5");
        check(Any::StringValue("a\0b".into()), "a\u{fffd}b");
        check(Any::BytesValue(vec![0, 255]), "00ff");
        let list =
            ArrayValue { values: vec![any(Any::IntValue(1)), AnyValue::default(), any(Any::StringValue("a".into()))] };
        check(Any::ArrayValue(list), "[1,null,\"a\"]");
        check(Any::KvlistValue(KeyValueList { values: vec![kv("k", Any::BoolValue(false))] }), "{\"k\":false}");
        assert_eq!(text(&[]).as_deref(), Ok(""));
    }

    #[test]
    fn deep_nesting_is_cut_not_followed() {
        let mut value = Any::IntValue(1);
        for _ in 0..60 {
            value = Any::ArrayValue(ArrayValue { values: vec![any(value)] });
        }
        let text = text(&any(value).encode_to_vec()).expect("sound");
        assert!(text.len() < 40, "{text}");
    }

    #[test]
    fn keys_are_checked_and_the_first_of_a_key_wins() {
        let encode = |pairs: &[KeyValue]| {
            let mut out = Vec::new();
            for pair in pairs {
                prost::encoding::message::encode(7, pair, &mut out);
            }
            out
        };
        let twice = encode(&[kv("a", Any::IntValue(1)), kv("a", Any::IntValue(2))]);
        assert_eq!(pairs(&twice, 7), Ok(vec![("a", "1".to_owned())]));
        let long = encode(&[kv(&"k".repeat(257), Any::IntValue(1))]);
        assert_eq!(pairs(&long, 7), Err(AttributeError::Rejected(RejectReason::AttributeKey)));
        let many: Vec<_> = (0..65).map(|i| kv(&i.to_string(), Any::IntValue(i))).collect();
        assert_eq!(pairs(&encode(&many), 7), Err(AttributeError::Rejected(RejectReason::AttributeCount)));
    }
}
