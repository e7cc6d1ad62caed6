//! Spans and what they carry, as kept traces hold them.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

/// Name of the service where none is told, as OpenTelemetry's SDKs name it.
const UNKNOWN_SERVICE: &str = "unknown_service";

/// Which trace: 16 bytes, written as 32 hexadecimal digits.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TraceId(pub [u8; 16]);

impl TraceId {
    /// A number that is spread evenly over all 64 bits, the same on every replica. Clients may have sampled by the last
    /// bytes of the id, so those alone would not do.
    #[must_use]
    pub fn spread(self) -> u64 {
        xxhash_rust::xxh3::xxh3_64(&self.0)
    }
}

impl fmt::Display for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for TraceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// Text that is not an id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be {0} hexadecimal digits, not all zero")]
pub struct BadId(usize);

fn read_hex<const N: usize>(text: &str) -> Result<[u8; N], BadId> {
    let bad = BadId(2 * N);
    let digits = text.as_bytes();
    if digits.len() != 2 * N || !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(bad);
    }
    let mut out = [0; N];
    for (byte, at) in out.iter_mut().zip((0..2 * N).step_by(2)) {
        *byte = text.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok()).ok_or(bad)?;
    }
    if out == [0; N] { Err(bad) } else { Ok(out) }
}

impl FromStr for TraceId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        read_hex(text).map(Self)
    }
}

/// Which span of a trace: 8 bytes, written as 16 hexadecimal digits.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SpanId(pub [u8; 8]);

impl SpanId {
    /// True for the id that means none.
    #[must_use]
    pub fn is_none(self) -> bool {
        self.0 == [0; 8]
    }
}

impl fmt::Display for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for SpanId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for SpanId {
    type Err = BadId;

    fn from_str(text: &str) -> Result<Self, BadId> {
        read_hex(text).map(Self)
    }
}

/// Which side of a call a span is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SpanKind {
    /// Not told.
    #[default]
    Unspecified = 0,
    /// Neither side.
    Internal = 1,
    /// Answers a request.
    Server = 2,
    /// Makes a request.
    Client = 3,
    /// Puts a message.
    Producer = 4,
    /// Takes a message.
    Consumer = 5,
}

impl SpanKind {
    /// From its number in OTLP; numbers that are not known are not told.
    #[must_use]
    pub const fn from_number(number: u64) -> Self {
        match number {
            1 => Self::Internal,
            2 => Self::Server,
            3 => Self::Client,
            4 => Self::Producer,
            5 => Self::Consumer,
            _ => Self::Unspecified,
        }
    }

    /// As the API writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unspecified => "unspecified",
            Self::Internal => "internal",
            Self::Server => "server",
            Self::Client => "client",
            Self::Producer => "producer",
            Self::Consumer => "consumer",
        }
    }
}

/// How a span ended.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum SpanStatus {
    /// Not told.
    #[default]
    Unset = 0,
    /// Well.
    Ok = 1,
    /// With an error.
    Error = 2,
}

impl SpanStatus {
    /// From its number in OTLP; numbers that are not known are not told.
    #[must_use]
    pub const fn from_number(number: u64) -> Self {
        match number {
            1 => Self::Ok,
            2 => Self::Error,
            _ => Self::Unset,
        }
    }

    /// As the API writes it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unset => "unset",
            Self::Ok => "ok",
            Self::Error => "error",
        }
    }
}

/// The value of an attribute.
#[derive(Clone, Debug, PartialEq)]
pub enum AttributeValue {
    /// None.
    Empty,
    /// A string.
    Text(String),
    /// A truth value.
    Bool(bool),
    /// A whole number.
    Int(i64),
    /// A number.
    Double(f64),
    /// Bytes.
    Bytes(Vec<u8>),
    /// Several values.
    List(Vec<Self>),
    /// Values by key.
    Map(Vec<Attribute>),
}

/// A key and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Attribute {
    /// Dotted name.
    pub key: String,
    /// What it says.
    pub value: AttributeValue,
}

impl AttributeValue {
    /// A scalar as text, as labels write it; lists and maps have none.
    #[must_use]
    pub fn scalar(&self) -> Option<String> {
        match self {
            Self::Text(text) => Some(text.clone()),
            Self::Bool(value) => Some(value.to_string()),
            Self::Int(value) => Some(value.to_string()),
            Self::Double(value) => Some(value.to_string()),
            Self::Empty | Self::Bytes(_) | Self::List(_) | Self::Map(_) => None,
        }
    }
}

/// What happened within a span.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpanEvent {
    /// When, in Unix nanoseconds.
    pub time: u64,
    /// What.
    pub name: String,
    /// More of it.
    pub attributes: Vec<Attribute>,
    /// Attributes that the sender left out.
    pub dropped_attributes: u32,
}

/// A span of this or another trace that belongs with it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpanLink {
    /// Its trace.
    pub trace_id: TraceId,
    /// Which span there.
    pub span_id: SpanId,
    /// The W3C trace state with it.
    pub trace_state: String,
    /// How they belong.
    pub attributes: Vec<Attribute>,
    /// Attributes that the sender left out.
    pub dropped_attributes: u32,
    /// W3C flags.
    pub flags: u32,
}

/// Who made a span: resource and instrumentation scope, shared by many.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct SpanSource {
    /// Attributes of the resource.
    pub resource: Vec<Attribute>,
    /// Name of the scope.
    pub scope_name: String,
    /// Version of the scope.
    pub scope_version: String,
    /// Attributes of the scope.
    pub scope_attributes: Vec<Attribute>,
}

impl SpanSource {
    /// The service.
    #[must_use]
    pub fn service(&self) -> &str {
        let named = self.resource.iter().find(|attribute| attribute.key == "service.name");
        match named.map(|attribute| &attribute.value) {
            Some(AttributeValue::Text(name)) => name,
            _ => UNKNOWN_SERVICE,
        }
    }
}

/// One span.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Span {
    /// Which.
    pub span_id: SpanId,
    /// The span that it is a part of; none for the root.
    pub parent_id: SpanId,
    /// The operation.
    pub name: String,
    /// Which side of a call.
    pub kind: SpanKind,
    /// When it began, in Unix nanoseconds.
    pub start: u64,
    /// When it ended.
    pub end: u64,
    /// How it ended.
    pub status: SpanStatus,
    /// What the sender says about that.
    pub status_message: String,
    /// W3C trace state.
    pub trace_state: String,
    /// W3C flags.
    pub flags: u32,
    /// What it says.
    pub attributes: Vec<Attribute>,
    /// What happened within.
    pub events: Vec<SpanEvent>,
    /// What belongs with it.
    pub links: Vec<SpanLink>,
    /// Attributes, events and links that the sender left out.
    pub dropped: [u32; 3],
    /// Who made it.
    pub source: Arc<SpanSource>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_as_they_are_written() {
        let text = "0af7651916cd43dd8448eb211c80319c";
        assert_eq!(text.parse::<TraceId>().map(|id| id.to_string()), Ok(text.to_owned()));
        for bad in ["", "0af7", "0af7651916cd43dd8448eb211c80319g", "00000000000000000000000000000000", "é"] {
            assert_eq!(bad.parse::<TraceId>(), Err(BadId(32)), "{bad}");
        }
        assert_eq!("b7ad6b7169203331".parse::<SpanId>().map(|id| id.to_string()), Ok("b7ad6b7169203331".to_owned()));
    }
}
