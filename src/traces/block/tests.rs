//! Blocks read back as they were written, whatever is in them, and damage is noticed.

use std::sync::Arc;

use proptest::prelude::*;

use super::{Block, TraceSpans, encode};
use crate::model::{
    Attribute, AttributeValue, Span, SpanEvent, SpanId, SpanKind, SpanLink, SpanSource, SpanStatus, TraceId,
};

fn value() -> impl Strategy<Value = AttributeValue> {
    let leaf = prop_oneof![
        Just(AttributeValue::Empty),
        "[a-z]{0,8}".prop_map(AttributeValue::Text),
        any::<bool>().prop_map(AttributeValue::Bool),
        any::<i64>().prop_map(AttributeValue::Int),
        (-1e9..1e9).prop_map(AttributeValue::Double),
        prop::collection::vec(any::<u8>(), 0..4).prop_map(AttributeValue::Bytes),
    ];
    leaf.prop_recursive(3, 8, 3, |inner| {
        let pair = ("[a-z]{1,4}", inner.clone()).prop_map(|(key, value)| Attribute { key, value });
        prop_oneof![
            prop::collection::vec(inner, 0..3).prop_map(AttributeValue::List),
            prop::collection::vec(pair, 0..3).prop_map(AttributeValue::Map),
        ]
    })
}

fn attributes() -> impl Strategy<Value = Vec<Attribute>> {
    let pair = (prop_oneof![Just("http.route".to_owned()), "[a-z.]{1,12}"], value());
    prop::collection::vec(pair.prop_map(|(key, value)| Attribute { key, value }), 0..4)
}

fn events() -> impl Strategy<Value = Vec<SpanEvent>> {
    let event = (any::<u64>(), "[a-z]{0,5}", attributes(), 0..3u32);
    let event = event.prop_map(|(time, name, attributes, dropped_attributes)| SpanEvent {
        time,
        name,
        attributes,
        dropped_attributes,
    });
    prop::collection::vec(event, 0..3)
}

fn links() -> impl Strategy<Value = Vec<SpanLink>> {
    let link = (any::<[u8; 16]>(), any::<[u8; 8]>(), "[a-z]{0,3}", attributes(), any::<u32>());
    let link = link.prop_map(|(trace_id, span_id, trace_state, attributes, flags)| SpanLink {
        trace_id: TraceId(trace_id),
        span_id: SpanId(span_id),
        trace_state,
        attributes,
        flags,
        dropped_attributes: 1,
    });
    prop::collection::vec(link, 0..2)
}

fn span() -> impl Strategy<Value = Span> {
    let head = (1..20u8, 0..20u8, "[a-z /]{0,10}", 0..6u64, 0..3u64, 0..1_000_000u64, 0..1_000_000u64);
    let source = ("[a-z]{0,5}", attributes(), attributes());
    let tail = ("[a-z]{0,5}", "[a-z]{0,5}", any::<u32>(), 0..3u32);
    (head, source, attributes(), events(), links(), tail).prop_map(
        |(head, source, attributes, events, links, (status_message, trace_state, flags, dropped))| Span {
            span_id: SpanId([head.0; 8]),
            parent_id: SpanId([head.1; 8]),
            name: head.2,
            kind: SpanKind::from_number(head.3),
            status: SpanStatus::from_number(head.4),
            start: 1_700_000_000_000_000_000 + head.5,
            end: 1_700_000_000_000_000_000 + head.5 + head.6,
            source: Arc::new(SpanSource {
                scope_name: source.0,
                scope_version: String::new(),
                resource: source.1,
                scope_attributes: source.2,
            }),
            attributes,
            events,
            links,
            status_message,
            trace_state,
            flags,
            dropped: [dropped, 0, 0],
        },
    )
}

fn traces() -> impl Strategy<Value = Vec<TraceSpans>> {
    let spans = prop::collection::vec(span(), 0..6);
    prop::collection::vec((any::<[u8; 16]>(), spans), 0..5).prop_map(|traces| {
        let trace = |(id, spans)| TraceSpans { trace_id: TraceId(id), spans };
        traces.into_iter().map(trace).collect()
    })
}

fn read_back(block: &Block) -> Vec<TraceSpans> {
    let spans = |range: std::ops::Range<usize>| range.map(|i| block.span(i).expect("sound")).collect();
    block.traces().iter().map(|(id, range)| TraceSpans { trace_id: *id, spans: spans(range.clone()) }).collect()
}

proptest! {
    #[test]
    fn any_traces_read_back_as_written(traces in traces()) {
        let block = Block::decode(&encode(&traces).expect("encodes")).expect("decodes");
        prop_assert_eq!(read_back(&block), traces);
    }

    #[test]
    fn a_flipped_bit_is_noticed(traces in traces(), at in any::<prop::sample::Index>()) {
        let mut block = encode(&traces).expect("encodes");
        let at = at.index(block.len());
        block[at] ^= 0x10;
        prop_assert!(Block::decode(&block).is_err());
    }
}

/// A service's spans as an SDK makes them: random ids and times, a handful of operations, a few values of their own.
fn usual(traces: usize) -> Vec<TraceSpans> {
    let text = |text: &str| AttributeValue::Text(text.to_owned());
    let attribute = |key: &str, value| Attribute { key: key.to_owned(), value };
    let source = |service: &str| {
        let resource = vec![attribute("service.name", text(service)), attribute("host.name", text("node-1"))];
        Arc::new(SpanSource { resource, scope_name: "shop".to_owned(), ..SpanSource::default() })
    };
    let sources = ["front", "cart", "stock"].map(source);
    let random = |i: u64| xxhash_rust::xxh3::xxh3_64(&i.to_le_bytes());
    let span = |trace: u64, i: u64| {
        let start = 1_700_000_000_000_000_000 + trace * 31_000_000 + i * 1_000_000 + random(trace * 100 + i) % 900_000;
        let route = format!("/api/{}", random(trace) % 20);
        Span {
            span_id: SpanId(random(trace * 100 + i).to_le_bytes()),
            parent_id: if i == 0 { SpanId::default() } else { SpanId(random(trace * 100 + i / 2).to_le_bytes()) },
            name: format!("GET {route}"),
            kind: SpanKind::from_number(2 + i % 2),
            start,
            end: start + random(trace * 7 + i) % 20_000_000,
            flags: 0x101,
            source: Arc::clone(&sources[(i % 3) as usize]),
            attributes: vec![
                attribute("http.request.method", text("GET")),
                attribute("http.route", text(&route)),
                attribute("http.response.status_code", AttributeValue::Int(200)),
                attribute("url.scheme", text("https")),
                attribute("url.path", text(&format!("/api/{}", random(trace + i) % 5_000))),
                attribute("server.address", text("shop.example")),
                attribute("client.address", text(&format!("10.1.{}.{}", random(trace) % 7, random(trace + 1) % 251))),
                attribute("user_agent.original", text("Mozilla/5.0 (X11; Linux x86_64)")),
            ],
            ..Span::default()
        }
    };
    let id = |trace: u64| {
        TraceId([random(trace).to_le_bytes(), random(trace + 1_000_000).to_le_bytes()].concat().try_into().expect("16"))
    };
    (0..traces as u64)
        .map(|trace| TraceSpans { trace_id: id(trace), spans: (0..8).map(|i| span(trace, i)).collect() })
        .collect()
}

#[test]
fn a_kept_span_takes_no_more_than_sixty_bytes() {
    for traces in [125, 1_000] {
        let block = encode(&usual(traces)).expect("encodes");
        let bytes = block.len() as f64 / (traces * 8) as f64;
        assert!(bytes <= 60.0, "{traces} traces of 8 spans: {bytes:.1} B a span");
    }
}

#[test]
fn traces_are_found_by_an_attribute_of_a_span_or_its_resource() {
    let traces = usual(50);
    let block = Block::decode(&encode(&traces).expect("encodes")).expect("decodes");
    assert_eq!(block.with_attribute("service.name", "cart").len(), 50);
    assert_eq!(block.with_attribute("http.response.status_code", "200").len(), 50);
    assert!(block.with_attribute("http.response.status_code", "500").is_empty());
    let one = &traces[7].spans[3].attributes[4];
    let found = block.with_attribute("url.path", &one.value.scalar().expect("a scalar"));
    assert!(found.contains(&traces[7].trace_id) && found.len() <= 8, "{found:?}");
}
