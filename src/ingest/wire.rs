//! Protobuf walked in place: fields are slices of the body, nothing is built.
//!
//! Source: Protocol Buffers encoding, "Message structure". Groups are refused: OTLP has none.

/// The body is not protobuf of the expected shape.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// A field runs past its message.
    #[error("message ends inside a field")]
    Truncated,
    /// A varint longer than ten bytes.
    #[error("varint is longer than ten bytes")]
    Varint,
    /// Field number 0, or a wire type that is not used.
    #[error("invalid field tag {0}")]
    Tag(u64),
    /// A known field of another type than it has.
    #[error("field {0} has the wrong wire type")]
    Type(u32),
}

/// A field's value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Value<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32(u32),
}

impl<'a> Value<'a> {
    pub(crate) const fn bytes(self, field: u32) -> Result<&'a [u8], WireError> {
        if let Self::Bytes(bytes) = self { Ok(bytes) } else { Err(WireError::Type(field)) }
    }

    pub(crate) const fn fixed64(self, field: u32) -> Result<u64, WireError> {
        if let Self::Fixed64(value) = self { Ok(value) } else { Err(WireError::Type(field)) }
    }

    pub(crate) const fn varint(self, field: u32) -> Result<u64, WireError> {
        if let Self::Varint(value) = self { Ok(value) } else { Err(WireError::Type(field)) }
    }

    pub(crate) const fn double(self, field: u32) -> Result<f64, WireError> {
        match self.fixed64(field) {
            Ok(bits) => Ok(f64::from_bits(bits)),
            Err(error) => Err(error),
        }
    }

    /// sint32 as protobuf writes it.
    pub(crate) const fn sint32(self, field: u32) -> Result<i32, WireError> {
        match self.varint(field) {
            Ok(value) => Ok(((value >> 1) as i32) ^ -((value & 1) as i32)),
            Err(error) => Err(error),
        }
    }
}

/// Walks the fields of one message.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) const fn new(message: &'a [u8]) -> Self {
        Self { rest: message }
    }

    /// Bytes not walked yet.
    pub(crate) const fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// The next field.
    #[inline]
    pub(crate) fn next_field(&mut self) -> Result<Option<(u32, Value<'a>)>, WireError> {
        if self.rest.is_empty() {
            return Ok(None);
        }
        let tag = self.varint()?;
        let field = u32::try_from(tag >> 3).map_err(|_| WireError::Tag(tag))?;
        if field == 0 {
            return Err(WireError::Tag(tag));
        }
        let value = match tag & 7 {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => {
                let len = usize::try_from(self.varint()?).map_err(|_| WireError::Truncated)?;
                let (bytes, rest) = self.rest.split_at_checked(len).ok_or(WireError::Truncated)?;
                self.rest = rest;
                Value::Bytes(bytes)
            }
            5 => Value::Fixed32(u32::from_le_bytes(self.array()?)),
            _ => return Err(WireError::Tag(tag)),
        };
        Ok(Some((field, value)))
    }

    /// The first byte of the next tag; 0, which is none, at the end.
    #[inline]
    pub(crate) fn peek(&self) -> u8 {
        self.rest.first().copied().unwrap_or_default()
    }

    /// The value of a field whose tag, a single byte that was looked at, says eight bytes.
    #[inline]
    pub(crate) fn eight(&mut self) -> Result<u64, WireError> {
        let [_tag] = self.array()?;
        self.array().map(u64::from_le_bytes)
    }

    /// The value of a field whose tag, a single byte that was looked at, says a length and bytes.
    #[inline]
    pub(crate) fn run(&mut self) -> Result<&'a [u8], WireError> {
        let [_tag] = self.array()?;
        let len = usize::try_from(self.varint()?).map_err(|_| WireError::Truncated)?;
        let (bytes, rest) = self.rest.split_at_checked(len).ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(bytes)
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, WireError> {
        let (&first, rest) = self.rest.split_first().ok_or(WireError::Truncated)?;
        if first < 0x80 {
            self.rest = rest;
            return Ok(u64::from(first));
        }
        self.long_varint()
    }

    fn long_varint(&mut self) -> Result<u64, WireError> {
        let mut value = 0u64;
        for (i, byte) in self.rest.iter().enumerate().take(10) {
            value |= u64::from(byte & 0x7f) << (7 * i);
            if byte & 0x80 == 0 {
                self.rest = self.rest.get(i + 1..).ok_or(WireError::Truncated)?;
                return Ok(value);
            }
        }
        Err(if self.rest.len() < 10 { WireError::Truncated } else { WireError::Varint })
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(WireError::Truncated)?;
        self.rest = rest;
        Ok(*head)
    }
}

/// Appends the elements of a repeated eight-byte field, packed or not, to `out`.
pub(crate) fn repeated_fixed64<T>(
    field: u32,
    value: Value<'_>,
    out: &mut Vec<T>,
    element: impl Fn(u64) -> T,
) -> Result<(), WireError> {
    match value {
        Value::Fixed64(one) => out.push(element(one)),
        Value::Bytes(packed) => {
            let (chunks, rest) = packed.as_chunks::<8>();
            if !rest.is_empty() {
                return Err(WireError::Truncated);
            }
            out.extend(chunks.iter().map(|chunk| element(u64::from_le_bytes(*chunk))));
        }
        _ => return Err(WireError::Type(field)),
    }
    Ok(())
}

/// Hands every element of a repeated varint field, packed or not, to `each`.
pub(crate) fn repeated_varint(field: u32, value: Value<'_>, mut each: impl FnMut(u64)) -> Result<(), WireError> {
    match value {
        Value::Varint(one) => each(one),
        Value::Bytes(packed) => {
            let mut walk = Fields::new(packed);
            while walk.remaining() > 0 {
                each(walk.varint()?);
            }
        }
        _ => return Err(WireError::Type(field)),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn fields_are_read_in_order() {
        let mut fields = Fields::new(&[0x08, 0x96, 0x01, 0x12, 0x02, b'h', b'i', 0x25, 1, 0, 0, 0]);
        assert_eq!(fields.next_field(), Ok(Some((1, Value::Varint(150)))));
        assert_eq!(fields.next_field(), Ok(Some((2, Value::Bytes(b"hi")))));
        assert_eq!(fields.next_field(), Ok(Some((4, Value::Fixed32(1)))));
        assert_eq!(fields.next_field(), Ok(None));
    }

    #[test]
    fn damage_is_named() {
        let first = |bytes| Fields::new(bytes).next_field();
        assert_eq!(first(&[0x12, 5, 1]), Err(WireError::Truncated));
        assert_eq!(first(&[0x00]), Err(WireError::Tag(0)));
        assert_eq!(first(&[0x0b]), Err(WireError::Tag(11)));
        assert_eq!(first(&[0x80; 12]), Err(WireError::Varint));
    }

    proptest! {
        #[test]
        fn any_bytes_end_in_an_answer(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let mut fields = Fields::new(&bytes);
            while let Ok(Some(_)) = fields.next_field() {}
        }
    }
}
