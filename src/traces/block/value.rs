//! Attribute values as bytes: a tag and what it needs.

use crate::model::{Attribute, AttributeValue};
use crate::varint::{Cursor, put, put_bytes, unzigzag, zigzag};

/// What lies deeper is left out: it was bounded when it came in, and is bounded again when it is read.
const DEPTH_MAX: usize = 16;

pub(super) fn write(out: &mut Vec<u8>, value: &AttributeValue) {
    write_at(out, value, DEPTH_MAX);
}

fn write_at(out: &mut Vec<u8>, value: &AttributeValue, depth: usize) {
    match value {
        AttributeValue::Text(text) => {
            out.push(1);
            put_bytes(out, text.as_bytes());
        }
        AttributeValue::Bool(false) => out.push(2),
        AttributeValue::Bool(true) => out.push(3),
        AttributeValue::Int(value) => {
            out.push(4);
            put(out, zigzag(*value));
        }
        AttributeValue::Double(value) => {
            out.push(5);
            out.extend_from_slice(&value.to_le_bytes());
        }
        AttributeValue::Bytes(bytes) => {
            out.push(6);
            put_bytes(out, bytes);
        }
        AttributeValue::List(values) if depth > 0 => {
            out.push(7);
            put(out, values.len() as u64);
            values.iter().for_each(|value| write_at(out, value, depth - 1));
        }
        AttributeValue::Map(pairs) if depth > 0 => {
            out.push(8);
            put(out, pairs.len() as u64);
            for pair in pairs {
                put_bytes(out, pair.key.as_bytes());
                write_at(out, &pair.value, depth - 1);
            }
        }
        AttributeValue::Empty | AttributeValue::List(_) | AttributeValue::Map(_) => out.push(0),
    }
}

pub(super) fn read(bytes: &mut Cursor<'_>) -> Option<AttributeValue> {
    read_at(bytes, DEPTH_MAX)
}

fn read_at(bytes: &mut Cursor<'_>, depth: usize) -> Option<AttributeValue> {
    Some(match bytes.u8()? {
        0 => AttributeValue::Empty,
        1 => AttributeValue::Text(bytes.text()?.to_owned()),
        2 => AttributeValue::Bool(false),
        3 => AttributeValue::Bool(true),
        4 => AttributeValue::Int(unzigzag(bytes.varint()?)),
        5 => AttributeValue::Double(f64::from_le_bytes(bytes.array()?)),
        6 => AttributeValue::Bytes(bytes.bytes()?.to_vec()),
        7 => {
            let (n, depth) = (bytes.count(1)?, depth.checked_sub(1)?);
            AttributeValue::List((0..n).map(|_| read_at(bytes, depth)).collect::<Option<_>>()?)
        }
        8 => {
            let (n, depth) = (bytes.count(2)?, depth.checked_sub(1)?);
            let mut pair = || Some(Attribute { key: bytes.text()?.to_owned(), value: read_at(bytes, depth)? });
            AttributeValue::Map((0..n).map(|_| pair()).collect::<Option<_>>()?)
        }
        _ => return None,
    })
}
