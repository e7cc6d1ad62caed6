//! The transcoder: serde visitors that write wire bytes as they read.

use std::borrow::Cow;
use std::fmt;

use prost::encoding::{WireType, encode_key, encode_varint};
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::JsonError;
use super::schema::{Field, Message, Type};

/// Deepest nesting of messages.
const DEPTH_MAX: usize = 64;
/// Bytes of a tag and a length at most.
const HEAD_MAX: usize = 15;

/// The message in `body` as protobuf of at most `limit` bytes.
pub(super) fn message(body: &[u8], schema: &'static Message, limit: usize) -> Result<Vec<u8>, JsonError> {
    let mut reader = serde_json::Deserializer::from_slice(body);
    let mut out = Wire { bytes: Vec::with_capacity((body.len() / 2).min(limit)), room: limit };
    let read = MessageSeed { schema, name: "body", depth: 0, out: &mut out }.deserialize(&mut reader);
    match read.and_then(|()| reader.end()) {
        Err(_) if out.room == 0 => Err(JsonError::TooLarge),
        read => Ok(read.map(|()| out.bytes)?),
    }
}

/// Wire bytes, and how many more there may be.
struct Wire {
    bytes: Vec<u8>,
    room: usize,
}

impl Wire {
    /// Gives up when more was written than there was room for.
    fn account<E: Error>(&mut self, written: usize) -> Result<(), E> {
        self.room = self.room.saturating_sub(written);
        if self.room == 0 { Err(E::custom("larger as protobuf than a body may be")) } else { Ok(()) }
    }
}

/// Reads an object into `out`; null is an empty message.
struct MessageSeed<'o> {
    schema: &'static Message,
    name: &'static str,
    depth: usize,
    out: &'o mut Wire,
}

impl<'de> DeserializeSeed<'de> for MessageSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.depth > DEPTH_MAX {
            return Err(D::Error::custom(format!("{}: nested more than {DEPTH_MAX} deep", self.name)));
        }
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for MessageSeed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object for {}", self.name)
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut written: Vec<(u32, std::ops::Range<usize>)> = Vec::new();
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            let Some(field) = self.schema.fields.iter().find(|field| field.name == key) else {
                map.next_value::<IgnoredAny>()?;
                continue;
            };
            // Of duplicate keys the last wins, as in JSON.
            if let Some(at) = written.iter().position(|(number, _)| *number == field.number) {
                let (_, earlier) = written.remove(at);
                let gone = earlier.len();
                self.out.bytes.drain(earlier.clone());
                for (_, range) in written.iter_mut().filter(|(_, range)| range.start >= earlier.end) {
                    *range = range.start - gone..range.end - gone;
                }
            }
            let from = self.out.bytes.len();
            map.next_value_seed(FieldSeed { field, depth: self.depth, out: self.out })?;
            written.push((field.number, from..self.out.bytes.len()));
        }
        Ok(())
    }
}

/// Reads a field's value, repeated or not, tag included.
struct FieldSeed<'o> {
    field: &'static Field,
    depth: usize,
    out: &'o mut Wire,
}

impl<'de> DeserializeSeed<'de> for FieldSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        if self.field.repeated {
            return deserializer.deserialize_any(Elements(self));
        }
        element(self.field, self.depth, self.out, deserializer)
    }
}

/// Reads an array.
struct Elements<'o>(FieldSeed<'o>);

impl<'de> Visitor<'de> for Elements<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an array for {}", self.0.field.name)
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let FieldSeed { field, depth, out } = self.0;
        while seq.next_element_seed(ElementSeed(FieldSeed { field, depth, out }))?.is_some() {}
        Ok(())
    }
}

struct ElementSeed<'o>(FieldSeed<'o>);

impl<'de> DeserializeSeed<'de> for ElementSeed<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        element(self.0.field, self.0.depth, self.0.out, deserializer)
    }
}

fn element<'de, D: Deserializer<'de>>(
    field: &'static Field,
    depth: usize,
    out: &mut Wire,
    deserializer: D,
) -> Result<(), D::Error> {
    let Type::Message(schema) = field.ty else {
        let before = out.bytes.len();
        deserializer.deserialize_any(Scalar { field, out: &mut out.bytes })?;
        return out.account(out.bytes.len() - before);
    };
    // Written after the ones before it, then moved behind its length.
    let at = out.bytes.len();
    MessageSeed { schema, name: field.name, depth: depth + 1, out }.deserialize(deserializer)?;
    let len = out.bytes.len() - at;
    let mut head = Vec::with_capacity(HEAD_MAX);
    encode_key(field.number, WireType::LengthDelimited, &mut head);
    encode_varint(len as u64, &mut head);
    out.bytes.splice(at..at, head.iter().copied());
    out.account(head.len())
}

/// Reads a scalar.
struct Scalar<'o> {
    field: &'static Field,
    out: &'o mut Vec<u8>,
}

impl Scalar<'_> {
    fn wrong<E: Error>(&self, what: &str) -> E {
        E::custom(format!("{}: {what}", self.field.name))
    }

    fn varint(self, value: u64) {
        encode_key(self.field.number, WireType::Varint, self.out);
        encode_varint(value, self.out);
    }

    fn eight(self, bytes: [u8; 8]) {
        encode_key(self.field.number, WireType::SixtyFourBit, self.out);
        self.out.extend_from_slice(&bytes);
    }

    fn bytes(self, bytes: &[u8]) {
        encode_key(self.field.number, WireType::LengthDelimited, self.out);
        encode_varint(bytes.len() as u64, self.out);
        self.out.extend_from_slice(bytes);
    }

    fn integer<E: Error>(self, value: i128) -> Result<(), E> {
        let range = |ok: bool, this: &Self| if ok { Ok(()) } else { Err(this.wrong::<E>("integer out of range")) };
        match self.field.ty {
            Type::Double => self.eight((value as f64).to_le_bytes()),
            Type::Unsigned => {
                range(u64::try_from(value).is_ok(), &self)?;
                self.varint(value as u64);
            }
            Type::Signed => {
                range(i64::try_from(value).is_ok(), &self)?;
                self.varint(value as i64 as u64);
            }
            Type::ZigZag => {
                let small = i32::try_from(value).map_err(|_| self.wrong::<E>("integer out of range"))?;
                self.varint(((small << 1) ^ (small >> 31)) as u32 as u64);
            }
            Type::Fixed64 => {
                range(u64::try_from(value).is_ok(), &self)?;
                self.eight((value as u64).to_le_bytes());
            }
            Type::SignedFixed64 => {
                range(i64::try_from(value).is_ok(), &self)?;
                self.eight((value as i64).to_le_bytes());
            }
            Type::Fixed32 => {
                range(u32::try_from(value).is_ok(), &self)?;
                encode_key(self.field.number, WireType::ThirtyTwoBit, self.out);
                self.out.extend_from_slice(&(value as u32).to_le_bytes());
            }
            _ => return Err(self.wrong("is not a number")),
        }
        Ok(())
    }
}

impl<'de> Visitor<'de> for Scalar<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "a value for {}", self.field.name)
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        if !matches!(self.field.ty, Type::Bool) {
            return Err(self.wrong("is not a boolean"));
        }
        self.varint(u64::from(value));
        Ok(())
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<(), E> {
        self.integer(i128::from(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<(), E> {
        self.integer(i128::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<(), E> {
        if matches!(self.field.ty, Type::Double) {
            self.eight(value.to_le_bytes());
            return Ok(());
        }
        if value.fract() == 0.0 && value.abs() < 1e18 {
            return self.integer(value as i128);
        }
        Err(self.wrong("must be an integer"))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        match self.field.ty {
            Type::Text => self.bytes(text.as_bytes()),
            Type::Id(len) => {
                let id = hex(text).filter(|id| id.is_empty() || id.len() == len);
                let id = id.ok_or_else(|| self.wrong::<E>(&format!("must be {} hex digits", len * 2)))?;
                self.bytes(&id);
            }
            Type::Base64 => {
                let bytes = base64(text).ok_or_else(|| self.wrong::<E>("is not base64"))?;
                self.bytes(&bytes);
            }
            Type::Double => {
                let value = match text {
                    "NaN" => f64::NAN,
                    "Infinity" => f64::INFINITY,
                    "-Infinity" => f64::NEG_INFINITY,
                    _ => text.parse().map_err(|_| self.wrong::<E>("is not a number"))?,
                };
                self.eight(value.to_le_bytes());
            }
            Type::Signed | Type::Fixed64 | Type::SignedFixed64 => {
                let value = text.parse::<i128>().map_err(|_| self.wrong::<E>("is not an integer"))?;
                return self.integer(value);
            }
            // Repeated uint64 may be text, enums may not: their names are not OTLP/JSON.
            Type::Unsigned if self.field.repeated => {
                let value = text.parse::<i128>().map_err(|_| self.wrong::<E>("is not an integer"))?;
                return self.integer(value);
            }
            Type::Unsigned => return Err(self.wrong("must be an integer, not text")),
            _ => return Err(self.wrong("must not be text")),
        }
        Ok(())
    }
}

fn hex(text: &str) -> Option<Vec<u8>> {
    let digit = |c: u8| (c as char).to_digit(16);
    let (pairs, rest) = text.as_bytes().as_chunks::<2>();
    if !rest.is_empty() {
        return None;
    }
    pairs.iter().map(|[high, low]| Some((digit(*high)? * 16 + digit(*low)?) as u8)).collect()
}

/// Standard or URL-safe alphabet, padding optional, as protobuf's JSON mapping asks.
fn base64(text: &str) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(text.len() / 4 * 3 + 2);
    let (mut bits, mut held) = (0u32, 0);
    for c in text.trim_end_matches('=').bytes() {
        let six = match c {
            b'A'..=b'Z' => c - b'A',
            b'a'..=b'z' => c - b'a' + 26,
            b'0'..=b'9' => c - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = (bits << 6 | u32::from(six)) & 0xfff;
        held += 6;
        if held >= 8 {
            held -= 8;
            out.push((bits >> held) as u8);
        }
    }
    Some(out)
}
