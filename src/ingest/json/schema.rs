//! The messages of OTLP as tables: JSON name, field number, type.

/// A field's type.
#[derive(Clone, Copy)]
pub(super) enum Type {
    Message(&'static Message),
    Text,
    /// Hex text of so many bytes, or empty.
    Id(usize),
    Base64,
    Bool,
    /// Enums, uint32 and uint64.
    Unsigned,
    /// int64 as a plain varint.
    Signed,
    ZigZag,
    Fixed64,
    SignedFixed64,
    Fixed32,
    Double,
}

/// A field.
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) number: u32,
    pub(super) repeated: bool,
    pub(super) ty: Type,
}

/// A message.
pub(super) struct Message {
    pub(super) fields: &'static [Field],
}

const fn one(name: &'static str, number: u32, ty: Type) -> Field {
    Field { name, number, repeated: false, ty }
}

const fn many(name: &'static str, number: u32, ty: Type) -> Field {
    Field { name, number, repeated: true, ty }
}

use Type::{Base64, Bool, Double, Fixed32, Fixed64, Id, Signed, SignedFixed64, Text, Unsigned, ZigZag};

pub(super) static EXPORT_METRICS: Message =
    Message { fields: &[many("resourceMetrics", 1, Type::Message(&RESOURCE_METRICS))] };
pub(super) static EXPORT_TRACES: Message =
    Message { fields: &[many("resourceSpans", 1, Type::Message(&RESOURCE_SPANS))] };

static RESOURCE_METRICS: Message = Message {
    fields: &[
        one("resource", 1, Type::Message(&RESOURCE)),
        many("scopeMetrics", 2, Type::Message(&SCOPE_METRICS)),
        one("schemaUrl", 3, Text),
    ],
};
static RESOURCE_SPANS: Message = Message {
    fields: &[
        one("resource", 1, Type::Message(&RESOURCE)),
        many("scopeSpans", 2, Type::Message(&SCOPE_SPANS)),
        one("schemaUrl", 3, Text),
    ],
};
static RESOURCE: Message =
    Message { fields: &[many("attributes", 1, Type::Message(&KEY_VALUE)), one("droppedAttributesCount", 2, Unsigned)] };
static SCOPE: Message = Message {
    fields: &[
        one("name", 1, Text),
        one("version", 2, Text),
        many("attributes", 3, Type::Message(&KEY_VALUE)),
        one("droppedAttributesCount", 4, Unsigned),
    ],
};
static KEY_VALUE: Message = Message { fields: &[one("key", 1, Text), one("value", 2, Type::Message(&ANY_VALUE))] };
static ANY_VALUE: Message = Message {
    fields: &[
        one("stringValue", 1, Text),
        one("boolValue", 2, Bool),
        one("intValue", 3, Signed),
        one("doubleValue", 4, Double),
        one("arrayValue", 5, Type::Message(&ARRAY_VALUE)),
        one("kvlistValue", 6, Type::Message(&KEY_VALUE_LIST)),
        one("bytesValue", 7, Base64),
    ],
};
static ARRAY_VALUE: Message = Message { fields: &[many("values", 1, Type::Message(&ANY_VALUE))] };
static KEY_VALUE_LIST: Message = Message { fields: &[many("values", 1, Type::Message(&KEY_VALUE))] };

static SCOPE_METRICS: Message = Message {
    fields: &[
        one("scope", 1, Type::Message(&SCOPE)),
        many("metrics", 2, Type::Message(&METRIC)),
        one("schemaUrl", 3, Text),
    ],
};
static METRIC: Message = Message {
    fields: &[
        one("name", 1, Text),
        one("description", 2, Text),
        one("unit", 3, Text),
        one("gauge", 5, Type::Message(&GAUGE)),
        one("sum", 7, Type::Message(&SUM)),
        one("histogram", 9, Type::Message(&HISTOGRAM)),
        one("exponentialHistogram", 10, Type::Message(&EXPONENTIAL_HISTOGRAM)),
        one("summary", 11, Type::Message(&SUMMARY)),
        many("metadata", 12, Type::Message(&KEY_VALUE)),
    ],
};
static GAUGE: Message = Message { fields: &[many("dataPoints", 1, Type::Message(&NUMBER))] };
static SUM: Message = Message {
    fields: &[
        many("dataPoints", 1, Type::Message(&NUMBER)),
        one("aggregationTemporality", 2, Unsigned),
        one("isMonotonic", 3, Bool),
    ],
};
static HISTOGRAM: Message = Message {
    fields: &[many("dataPoints", 1, Type::Message(&HISTOGRAM_POINT)), one("aggregationTemporality", 2, Unsigned)],
};
static EXPONENTIAL_HISTOGRAM: Message = Message {
    fields: &[many("dataPoints", 1, Type::Message(&EXPONENTIAL_POINT)), one("aggregationTemporality", 2, Unsigned)],
};
static SUMMARY: Message = Message { fields: &[many("dataPoints", 1, Type::Message(&SUMMARY_POINT))] };
static NUMBER: Message = Message {
    fields: &[
        many("attributes", 7, Type::Message(&KEY_VALUE)),
        one("startTimeUnixNano", 2, Fixed64),
        one("timeUnixNano", 3, Fixed64),
        one("asDouble", 4, Double),
        one("asInt", 6, SignedFixed64),
        many("exemplars", 5, Type::Message(&EXEMPLAR)),
        one("flags", 8, Unsigned),
    ],
};
static HISTOGRAM_POINT: Message = Message {
    fields: &[
        many("attributes", 9, Type::Message(&KEY_VALUE)),
        one("startTimeUnixNano", 2, Fixed64),
        one("timeUnixNano", 3, Fixed64),
        one("count", 4, Fixed64),
        one("sum", 5, Double),
        many("bucketCounts", 6, Fixed64),
        many("explicitBounds", 7, Double),
        many("exemplars", 8, Type::Message(&EXEMPLAR)),
        one("flags", 10, Unsigned),
        one("min", 11, Double),
        one("max", 12, Double),
    ],
};
static EXPONENTIAL_POINT: Message = Message {
    fields: &[
        many("attributes", 1, Type::Message(&KEY_VALUE)),
        one("startTimeUnixNano", 2, Fixed64),
        one("timeUnixNano", 3, Fixed64),
        one("count", 4, Fixed64),
        one("sum", 5, Double),
        one("scale", 6, ZigZag),
        one("zeroCount", 7, Fixed64),
        one("positive", 8, Type::Message(&BUCKETS)),
        one("negative", 9, Type::Message(&BUCKETS)),
        one("flags", 10, Unsigned),
        many("exemplars", 11, Type::Message(&EXEMPLAR)),
        one("min", 12, Double),
        one("max", 13, Double),
        one("zeroThreshold", 14, Double),
    ],
};
static BUCKETS: Message = Message { fields: &[one("offset", 1, ZigZag), many("bucketCounts", 2, Unsigned)] };
static SUMMARY_POINT: Message = Message {
    fields: &[
        many("attributes", 7, Type::Message(&KEY_VALUE)),
        one("startTimeUnixNano", 2, Fixed64),
        one("timeUnixNano", 3, Fixed64),
        one("count", 4, Fixed64),
        one("sum", 5, Double),
        many("quantileValues", 6, Type::Message(&QUANTILE)),
        one("flags", 8, Unsigned),
    ],
};
static QUANTILE: Message = Message { fields: &[one("quantile", 1, Double), one("value", 2, Double)] };
static EXEMPLAR: Message = Message {
    fields: &[
        many("filteredAttributes", 7, Type::Message(&KEY_VALUE)),
        one("timeUnixNano", 2, Fixed64),
        one("asDouble", 3, Double),
        one("asInt", 6, SignedFixed64),
        one("spanId", 4, Id(8)),
        one("traceId", 5, Id(16)),
    ],
};

static SCOPE_SPANS: Message = Message {
    fields: &[
        one("scope", 1, Type::Message(&SCOPE)),
        many("spans", 2, Type::Message(&SPAN)),
        one("schemaUrl", 3, Text),
    ],
};
static SPAN: Message = Message {
    fields: &[
        one("traceId", 1, Id(16)),
        one("spanId", 2, Id(8)),
        one("traceState", 3, Text),
        one("parentSpanId", 4, Id(8)),
        one("name", 5, Text),
        one("kind", 6, Unsigned),
        one("startTimeUnixNano", 7, Fixed64),
        one("endTimeUnixNano", 8, Fixed64),
        many("attributes", 9, Type::Message(&KEY_VALUE)),
        one("droppedAttributesCount", 10, Unsigned),
        many("events", 11, Type::Message(&EVENT)),
        one("droppedEventsCount", 12, Unsigned),
        many("links", 13, Type::Message(&LINK)),
        one("droppedLinksCount", 14, Unsigned),
        one("status", 15, Type::Message(&STATUS)),
        one("flags", 16, Fixed32),
    ],
};
static EVENT: Message = Message {
    fields: &[
        one("timeUnixNano", 1, Fixed64),
        one("name", 2, Text),
        many("attributes", 3, Type::Message(&KEY_VALUE)),
        one("droppedAttributesCount", 4, Unsigned),
    ],
};
static LINK: Message = Message {
    fields: &[
        one("traceId", 1, Id(16)),
        one("spanId", 2, Id(8)),
        one("traceState", 3, Text),
        many("attributes", 4, Type::Message(&KEY_VALUE)),
        one("droppedAttributesCount", 5, Unsigned),
        one("flags", 6, Fixed32),
    ],
};
static STATUS: Message = Message { fields: &[one("message", 2, Text), one("code", 3, Unsigned)] };
