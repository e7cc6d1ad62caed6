//! The transcoder against the generated types, and the table of bad input.
#![expect(clippy::indexing_slicing, reason = "a test that indexes wrongly fails")]

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::{metric::Data, number_data_point::Value as Number};
use prost::Message;

use super::*;

fn metrics(json: &str) -> ExportMetricsServiceRequest {
    let wire = metrics_to_wire(json.as_bytes(), 1 << 20).expect("transcodes");
    ExportMetricsServiceRequest::decode(&wire[..]).expect("decodes")
}

#[test]
fn every_kind_of_metric_arrives() {
    let request = metrics(
        r#"{"resourceMetrics":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"shop"}}]},
        "scopeMetrics":[{"scope":{"name":"s","version":"1"},"metrics":[
          {"name":"g","unit":"1","gauge":{"dataPoints":[{"timeUnixNano":"5","asDouble":"NaN"}]}},
          {"name":"s","sum":{"aggregationTemporality":2,"isMonotonic":true,"dataPoints":[{"timeUnixNano":7,"asInt":"-9"}]}},
          {"name":"h","histogram":{"aggregationTemporality":1,"dataPoints":[{"count":"3","sum":1,
             "bucketCounts":["1",2],"explicitBounds":[0.5],"min":0.1}]}},
          {"name":"e","exponentialHistogram":{"dataPoints":[{"scale":-2,"zeroCount":1,
             "positive":{"offset":-3,"bucketCounts":["1","2"]},
             "exemplars":[{"spanId":"00f067aa0ba902b7","traceId":"4bf92f3577b34da6a3ce929d0e0e4736","asDouble":1.5}]}]}},
          {"name":"q","summary":{"dataPoints":[{"count":"1","quantileValues":[{"quantile":0.5,"value":2}]}]}}
        ]}]}]}"#,
    );
    let scope = &request.resource_metrics[0].scope_metrics[0];
    assert_eq!(scope.metrics.len(), 5);
    let data = |i: usize| scope.metrics[i].data.clone().expect("has data");
    assert!(
        matches!(data(0), Data::Gauge(g) if matches!(g.data_points[0].value, Some(Number::AsDouble(v)) if v.is_nan()))
    );
    assert!(matches!(data(1), Data::Sum(s) if s.data_points[0].value == Some(Number::AsInt(-9)) && s.is_monotonic));
    assert!(
        matches!(data(2), Data::Histogram(h) if h.data_points[0].bucket_counts == [1, 2] && h.data_points[0].min == Some(0.1))
    );
    let Data::ExponentialHistogram(e) = data(3) else { panic!("exponential") };
    let point = &e.data_points[0];
    assert_eq!((point.scale, point.positive.as_ref().map(|p| (p.offset, p.bucket_counts.len()))), (-2, Some((-3, 2))));
    assert_eq!(point.exemplars[0].trace_id.len(), 16);
    assert!(matches!(data(4), Data::Summary(s) if s.data_points[0].quantile_values[0].value == 2.0));
}

#[test]
fn attributes_of_every_type_arrive() {
    let request = metrics(
        r#"{"resourceMetrics":[{"resource":{"attributes":[
        {"key":"a","value":{"arrayValue":{"values":[{"intValue":"1"},{"boolValue":true}]}}},
        {"key":"b","value":{"kvlistValue":{}}},{"key":"c","value":{"bytesValue":"AP8="}},
        {"key":"d","value":{"doubleValue":"Infinity"}},{"key":"e","value":{}},{"key":"f"}]}}]}"#,
    );
    let attributes = &request.resource_metrics[0].resource.as_ref().expect("resource").attributes;
    let value = |i: usize| attributes[i].value.clone().and_then(|v| v.value);
    assert!(matches!(value(0), Some(Value::ArrayValue(a)) if a.values.len() == 2));
    assert!(matches!(value(1), Some(Value::KvlistValue(_))));
    assert_eq!(value(2), Some(Value::BytesValue(vec![0, 255])));
    assert_eq!(value(3), Some(Value::DoubleValue(f64::INFINITY)));
    assert_eq!((value(4), value(5)), (None, None));
}

#[test]
fn spans_arrive() {
    let json = r#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"4bf92f3577b34da6a3ce929d0e0e4736",
        "spanId":"00f067aa0ba902b7","parentSpanId":"","name":"GET","kind":2,"startTimeUnixNano":"1","endTimeUnixNano":"9",
        "flags":257,"status":{"code":2,"message":"no"},"events":[{"name":"e","timeUnixNano":"3"}],
        "links":[{"traceId":"4bf92f3577b34da6a3ce929d0e0e4736","spanId":"00f067aa0ba902b7"}],"unknown":{"x":[1,{}]}}]}]}]}"#;
    let wire = traces_to_wire(json.as_bytes(), 1 << 20).expect("transcodes");
    let request = ExportTraceServiceRequest::decode(&wire[..]).expect("decodes");
    let span = &request.resource_spans[0].scope_spans[0].spans[0];
    assert_eq!((span.kind, span.flags, span.end_time_unix_nano), (2, 257, 9));
    assert_eq!((span.events.len(), span.links.len(), span.status.as_ref().map(|s| s.code)), (1, 1, Some(2)));
}

#[test]
fn null_is_absent_unknown_is_ignored_and_the_last_of_a_key_wins() {
    let request = metrics(
        r#"{"resourceMetrics":[{"resource":null,"scope_metrics":[1],"schemaUrl":"a","scopeMetrics":[{},{}],
        "schemaUrl":"b","scopeMetrics":[{"metrics":null}]}]}"#,
    );
    let resource = &request.resource_metrics[0];
    assert_eq!((resource.schema_url.as_str(), resource.scope_metrics.len()), ("b", 1));
}

#[test]
fn bad_input_is_an_error_that_names_the_field() {
    let check = |json: &str, expect: &str| {
        let error = metrics_to_wire(json.as_bytes(), 1 << 20).expect_err(json).to_string();
        assert!(error.contains(expect), "{json}: {error}");
    };
    let point =
        |fields: &str| format!(r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"sum":{fields}}}]}}]}}]}}"#);
    check(&point(r#"{"aggregationTemporality":"AGGREGATION_TEMPORALITY_DELTA"}"#), "aggregationTemporality");
    check(&point(r#"{"isMonotonic":1}"#), "isMonotonic");
    check(&point(r#"{"dataPoints":[{"exemplars":[{"traceId":"abcd"}]}]}"#), "traceId: must be 32 hex digits");
    check(&point(r#"{"dataPoints":[{"timeUnixNano":-1}]}"#), "timeUnixNano");
    check(&point(r#"{"dataPoints":{}}"#), "dataPoints");
    check("\u{feff}{}", "line 1");
    check(r#"{"resourceMetrics":["#, "EOF");
    check("{} x", "trailing");
    let deep = format!("{}1{}", r#"{"arrayValue":{"values":["#.repeat(40), "]}}".repeat(40));
    check(&format!(r#"{{"resourceMetrics":[{{"resource":{{"attributes":[{{"value":{deep}}}]}}}}]}}"#), "nested");
}

#[test]
fn what_would_grow_past_the_limit_is_given_up() {
    let counts = "1,".repeat(10_000);
    let point = format!(r#"{{"bucketCounts":[{counts}1]}}"#);
    let json = format!(
        r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"histogram":{{"dataPoints":[{point}]}}}}]}}]}}]}}"#
    );
    assert!(metrics_to_wire(json.as_bytes(), 200_000).is_ok());
    assert!(matches!(metrics_to_wire(json.as_bytes(), 50_000), Err(JsonError::TooLarge)));
}
