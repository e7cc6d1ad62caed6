//! Every row of the table of bad OTLP input, on the wire: the right code, an explanation, and nothing lost or left behind.

use std::time::Duration;

use opentelemetry_proto::tonic::collector::metrics::v1::{ExportMetricsServiceRequest, ExportMetricsServiceResponse};
use opentelemetry_proto::tonic::collector::trace::v1::{ExportTraceServiceRequest, ExportTraceServiceResponse};
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::exponential_histogram_data_point::Buckets;
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogram, ExponentialHistogramDataPoint, HistogramDataPoint, Metric, NumberDataPoint, metric::Data,
};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use serde_json::Value;

use crate::support::export::{CUMULATIVE, DELTA, attribute, bytes, counter, gauge, histogram, now, point, request};
use crate::support::server::{Options, Server, client};
use crate::support::wire::{Answer, framed, grpc, gzip, raw};
use crate::support::{Database, eventually};

const METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
const TRACES: &str = "/opentelemetry.proto.collector.trace.v1.TraceService/Export";
const SECOND: u64 = 1_000_000_000;
const MIB: usize = 1 << 20;

const OK: i32 = 0;
const INVALID_ARGUMENT: i32 = 3;
const DEADLINE_EXCEEDED: i32 = 4;
const RESOURCE_EXHAUSTED: i32 = 8;
const UNIMPLEMENTED: i32 = 12;
const INTERNAL: i32 = 13;

fn good() -> Vec<u8> {
    bytes(&request("shop", vec![gauge("good", vec![point(1.0, now(), &[])])]))
}

async fn start() -> Server {
    let database = Database::create().await;
    Options::on(&database)
        .with("FASTBREAK_RECEIVE_BYTES", "4MiB")
        .with("FASTBREAK_IN_FLIGHT_BYTES", "8MiB")
        .with("FASTBREAK_BODY_DEADLINE", "500ms")
        .start()
}

/// The server is as it was: a good export is taken and nothing stays admitted.
async fn still_well(server: &Server) {
    let answer = grpc(&server.grpc, METRICS, &[], framed(0, &good()), false).await;
    assert_eq!(answer.code, Some(OK), "{answer:?}");
    eventually("admitted bytes are given back", async || {
        let text = client().get(format!("{}/metrics", server.http)).send().await.unwrap().text().await.unwrap();
        text.lines().any(|line| line == "fastbreak_ingest_in_flight_bytes 0")
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_calls_are_refused_with_the_code_that_says_whether_to_retry() {
    let server = start().await;
    let zeros = gzip(&vec![0; 10 * MIB]);
    let mut cut = gzip(&good());
    cut.truncate(12);
    let twice = [framed(0, &good()), framed(0, &good())].concat();
    let half = [&[0, 0, 0, 0, 100][..], b"x"].concat();
    let garbage = framed(0, &[0x0a, 0xff, 0xff, 0xff, 0xff, 0x0f, 1]);
    let zstd = framed(1, &zstd::encode_all(&good()[..], 1).unwrap());
    let endless = [&[0, 0xff, 0xff, 0xff, 0xff][..], b"x"].concat();
    type Row<'a> = (&'a str, &'a [(&'a str, &'a str)], Vec<u8>, i32, &'a str);
    let table: &[Row<'_>] = &[
        ("empty request", &[], framed(0, &[]), OK, ""),
        ("message over the limit", &[], framed(0, &vec![0; 5 * MIB]), RESOURCE_EXHAUSTED, "limit of 4194304 bytes"),
        ("length prefix of 4 GiB", &[], endless, RESOURCE_EXHAUSTED, "limit of 4194304 bytes"),
        ("gzip bomb", &[("grpc-encoding", "gzip")], framed(1, &zeros), RESOURCE_EXHAUSTED, "limit of 4194304 bytes"),
        ("cut gzip", &[("grpc-encoding", "gzip")], framed(1, &cut), INVALID_ARGUMENT, "gzip"),
        ("gzip that is none", &[("grpc-encoding", "gzip")], framed(1, b"plain"), INVALID_ARGUMENT, "gzip"),
        ("gzip", &[("grpc-encoding", "gzip")], framed(1, &gzip(&good())), OK, ""),
        ("gzip announced, not used", &[("grpc-encoding", "gzip")], framed(0, &good()), OK, ""),
        ("zstd", &[("grpc-encoding", "zstd")], zstd, OK, ""),
        ("flag without encoding", &[], framed(1, &good()), INTERNAL, "grpc-encoding"),
        ("flag 7", &[], framed(7, &good()), INTERNAL, "flag"),
        ("unknown encoding", &[("grpc-encoding", "snappy")], framed(1, b"x"), UNIMPLEMENTED, "snappy"),
        ("garbage", &[], garbage, INVALID_ARGUMENT, "ends inside a field"),
        ("two messages", &[], twice, INVALID_ARGUMENT, "more than one message"),
        ("no message", &[], Vec::new(), INVALID_ARGUMENT, "no message"),
        ("half a message", &[], half, INVALID_ARGUMENT, "ends before its length"),
        ("bad timeout", &[("grpc-timeout", "10 minutes")], framed(0, &good()), INVALID_ARGUMENT, "grpc-timeout"),
    ];
    for (what, headers, body, code, part) in table {
        let answer = grpc(&server.grpc, METRICS, headers, body.clone(), false).await;
        assert_eq!(answer.code, Some(*code), "{what}: {answer:?}");
        assert!(
            answer.message.contains(&part.replace(' ', "%20")) || answer.message.contains(part),
            "{what}: {answer:?}"
        );
        let retry = answer.details.iter().any(|detail| detail == "RetryInfo");
        assert!(!retry, "{what} would be sent again: {answer:?}");
        if *code == INVALID_ARGUMENT {
            assert!(answer.details.iter().any(|detail| detail == "BadRequest"), "{what}: {answer:?}");
        }
        if *code == UNIMPLEMENTED {
            assert_eq!(answer.headers["grpc-accept-encoding"], "identity,gzip,zstd", "{what}");
        }
    }
    still_well(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_calls_that_are_none_are_told_so() {
    let server = start().await;
    let call =
        async |path: &str, headers: &[(&str, &str)]| grpc(&server.grpc, path, headers, framed(0, &good()), false).await;
    assert_eq!(call(METRICS, &[("content-type", "text/plain")]).await.http, 415);
    assert_eq!(call(METRICS, &[("content-type", "application/grpc-web+proto")]).await.http, 415);
    assert_eq!(call("/no.such.Service/Method", &[]).await.code, Some(UNIMPLEMENTED));
    for service in ["logs.v1.LogsService", "profiles.v1development.ProfilesService"] {
        let answer = call(&format!("/opentelemetry.proto.collector.{service}/Export"), &[]).await;
        assert_eq!(answer.code, Some(UNIMPLEMENTED));
        assert!(answer.message.contains("no"), "{answer:?}");
    }
    let long = "x".repeat(20 << 10);
    assert_eq!(call(METRICS, &[("x-long", &long)]).await.http, 431);
    let get =
        raw(&server.grpc, b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n", Duration::from_secs(5)).await;
    assert!(get.contains("grpc-status: 12"), "{get}");
    let path = format!("GET {METRICS} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    let get = raw(&server.grpc, path.as_bytes(), Duration::from_secs(5)).await;
    assert!(get.starts_with("HTTP/1.1 405"), "{get}");
    still_well(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_falls_silent_ends_by_the_deadline() {
    let server = start().await;
    for body in [vec![0, 0, 0, 1, 0], [&[0, 0, 0, 1, 0][..], &[0; 100]].concat()] {
        let answer = grpc(&server.grpc, METRICS, &[], body, true).await;
        assert_eq!(answer.code, Some(DEADLINE_EXCEEDED), "{answer:?}");
    }
    let head = "POST /v1/metrics HTTP/1.1\r\nHost: x\r\nContent-Type: application/x-protobuf\r\nTransfer-Encoding: chunked\r\n\r\n";
    let answer = raw(&server.otlp_http, format!("{head}5\r\nhello\r\n").as_bytes(), Duration::from_secs(5)).await;
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    still_well(&server).await;
}

fn partial(answer: &Answer) -> (i64, String) {
    assert_eq!(answer.code, Some(OK), "{answer:?}");
    let response = ExportMetricsServiceResponse::decode(&answer.body[5..]).unwrap();
    response.partial_success.map_or((0, String::new()), |partial| (partial.rejected_data_points, partial.error_message))
}

fn distribution(counts: &[u64], bounds: &[f64]) -> HistogramDataPoint {
    HistogramDataPoint {
        time_unix_nano: now(),
        count: counts.iter().sum(),
        sum: Some(1.0),
        bucket_counts: counts.to_vec(),
        explicit_bounds: bounds.to_vec(),
        ..HistogramDataPoint::default()
    }
}

fn exponential(scale: i32, buckets: usize) -> Metric {
    let positive = Some(Buckets { offset: 0, bucket_counts: vec![1; buckets] });
    let data_points = vec![ExponentialHistogramDataPoint {
        time_unix_nano: now(),
        count: buckets as u64,
        scale,
        positive,
        ..ExponentialHistogramDataPoint::default()
    }];
    let data = Data::ExponentialHistogram(ExponentialHistogram { data_points, aggregation_temporality: DELTA });
    Metric { name: "bad.exponential".to_owned(), data: Some(data), ..Metric::default() }
}

fn deep(depth: usize) -> KeyValue {
    let mut value = AnyValue { value: Some(any_value::Value::StringValue("bottom".to_owned())) };
    for _ in 0..depth {
        value = AnyValue { value: Some(any_value::Value::ArrayValue(ArrayValue { values: vec![value] })) };
    }
    KeyValue { key: "deep".to_owned(), value: Some(value), ..KeyValue::default() }
}

fn with_attributes(attributes: Vec<KeyValue>) -> Vec<Metric> {
    vec![gauge("attributed", vec![NumberDataPoint { attributes, ..point(1.0, now(), &[]) }])]
}

/// Bodies with one bad point beside a good one: `(what, metrics, refused, part of the explanation)`.
fn bad_points() -> Vec<(&'static str, Vec<Metric>, i64, &'static str)> {
    let number = |value: f64| vec![counter("bad.sum", DELTA, vec![point(value, now(), &[])])];
    let at = |time: u64| vec![gauge("bad.time", vec![point(1.0, time, &[])])];
    let shape =
        |counts: &[u64], bounds: &[f64]| vec![histogram("bad.histogram", DELTA, vec![distribution(counts, bounds)])];
    let many: Vec<KeyValue> = (0..65).map(|i| attribute(&format!("k{i}"), "v")).collect();
    let unspecified = counter("bad.temporality", 0, vec![point(1.0, now(), &[]), point(2.0, now(), &[("a", "b")])]);
    vec![
        ("no name", vec![gauge("", vec![point(1.0, now(), &[])])], 1, "metric name must be 1 to 255 bytes"),
        ("long name", vec![gauge(&"n".repeat(256), vec![point(1.0, now(), &[])])], 1, "metric name"),
        ("many attributes", with_attributes(many), 1, "more than 64 attributes"),
        ("empty key", with_attributes(vec![attribute("", "v")]), 1, "attribute key"),
        ("long key", with_attributes(vec![attribute(&"k".repeat(257), "v")]), 1, "attribute key"),
        ("long value is cut", with_attributes(vec![attribute("k", &"v".repeat(10_000))]), 0, ""),
        ("twice the same key", with_attributes(vec![attribute("k", "a"), attribute("k", "b")]), 0, ""),
        ("deep value is cut", with_attributes(vec![deep(40)]), 0, ""),
        ("not a number", number(f64::NAN), 1, "must be finite"),
        ("infinite", number(f64::INFINITY), 1, "must be finite"),
        ("monotonic below zero", number(-1.0), 1, "monotonic sum is negative"),
        ("time 0", at(0), 1, "time_unix_nano is 0"),
        ("future", at(now() + 3600 * SECOND), 1, "10 minutes ahead"),
        ("past", at(now() - 100 * 3600 * SECOND), 1, "older than the retention"),
        ("counts and bounds", shape(&[1, 2], &[1.0, 2.0]), 1, "one element more"),
        ("bounds not ascending", shape(&[1, 2, 3], &[2.0, 1.0]), 1, "ascending"),
        (
            "counts do not add up",
            vec![histogram("bad.count", DELTA, vec![HistogramDataPoint { count: 9, ..distribution(&[1, 2], &[1.0]) }])],
            1,
            "add up",
        ),
        ("scale", vec![exponential(21, 3)], 1, "scale must be -10 to 20"),
        ("buckets", vec![exponential(3, 321)], 1, "more than 320 buckets"),
        ("temporality", vec![unspecified], 2, "aggregation_temporality"),
        ("no data", vec![Metric { name: "bad.empty".to_owned(), ..Metric::default() }], 1, "unsupported type"),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_points_are_counted_exactly_and_the_good_ones_beside_them_are_kept() {
    let server = start().await;
    let (mut sent, mut refused) = (0, 0);
    for (i, (what, mut metrics, bad, part)) in bad_points().into_iter().enumerate() {
        metrics.push(counter("kept", DELTA, vec![point(1.0, now(), &[("row", &i.to_string())])]));
        let answer = grpc(&server.grpc, METRICS, &[], framed(0, &bytes(&request("shop", metrics))), false).await;
        let (rejected, message) = partial(&answer);
        assert_eq!(rejected, bad, "{what}: {message}");
        assert!(message.contains(part) && message.len() <= 1024, "{what}: {message}");
        assert_eq!(message.is_empty(), bad == 0, "{what}: {message}");
        (sent, refused) = (sent + 1, refused + bad);
    }
    assert_eq!(server.number("sum(increase(kept_total[1h]))").await, Some(f64::from(sent)));
    assert_eq!(server.number("attributed{k=\"a\"}").await, Some(1.0), "the first of a key wins");
    let ledger = &server.get("/api/ingest/ledger").await["signals"]["metrics"];
    assert_eq!(ledger["rejected"], refused);
    assert_eq!(ledger["received"].as_i64(), ledger["accepted"].as_i64().map(|accepted| accepted + refused));
}

#[tokio::test(flavor = "multi_thread")]
async fn text_that_is_not_utf8_costs_its_own_point_at_most() {
    let server = start().await;
    // Prost will not write such text, so placeholders of equal length are overwritten.
    let spoil = |metrics: Vec<Metric>, placeholder: &[u8]| {
        let mut body = bytes(&request("shop", metrics));
        let at = body.windows(placeholder.len()).position(|window| window == placeholder).unwrap();
        body[at] = 0xff;
        framed(0, &body)
    };
    let beside = || gauge("beside", vec![point(1.0, now(), &[])]);
    let value = spoil(vec![gauge("spoilt.value", vec![point(7.0, now(), &[("k", "VALUE")])]), beside()], b"VALUE");
    assert_eq!(partial(&grpc(&server.grpc, METRICS, &[], value, false).await).0, 0);
    assert_eq!(server.number("{\"spoilt.value\", k=\"\u{fffd}ALUE\"}").await, Some(7.0));
    let key = spoil(vec![gauge("spoilt.key", vec![point(7.0, now(), &[("KEY", "v")])]), beside()], b"KEY");
    let (rejected, message) = partial(&grpc(&server.grpc, METRICS, &[], key, false).await);
    assert_eq!(rejected, 1, "{message}");
    let name = spoil(vec![gauge("NAME", vec![point(7.0, now(), &[])]), beside()], b"NAME");
    assert_eq!(partial(&grpc(&server.grpc, METRICS, &[], name, false).await).0, 1);
    assert_eq!(server.number("beside").await, Some(1.0));
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_fields_are_passed_over_and_unknown_kinds_refused() {
    let server = start().await;
    let mut metric = gauge("plain", vec![point(3.0, now(), &[])]).encode_to_vec();
    // Field 900, and an unknown kind of data: field 30 with a message.
    metric.extend([0xa2, 0x38, 1, b'x']);
    let mut strange = Metric { name: "strange".to_owned(), ..Metric::default() }.encode_to_vec();
    strange.extend([0xf2, 1, 2, 0x0a, 0]);
    let nest = |tag: u8, inner: &[u8]| [&[tag][..], &varint(inner.len()), inner].concat();
    let scope = [nest(0x12, &metric), nest(0x12, &strange)].concat();
    let body = nest(0x0a, &nest(0x12, &scope));
    let (rejected, message) = partial(&grpc(&server.grpc, METRICS, &[], framed(0, &body), false).await);
    assert_eq!((rejected, message.contains("unsupported type")), (1, true), "{message}");
    assert_eq!(server.number("plain").await, Some(3.0));
}

fn varint(mut n: usize) -> Vec<u8> {
    let mut out = Vec::new();
    while n >= 0x80 {
        out.push(n as u8 | 0x80);
        n >>= 7;
    }
    out.push(n as u8);
    out
}

#[tokio::test(flavor = "multi_thread")]
async fn bad_spans_are_counted_exactly_and_the_good_ones_beside_them_are_kept() {
    let server = start().await;
    let end = now();
    let good = || Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        name: "GET /".to_owned(),
        kind: 2,
        start_time_unix_nano: end - SECOND,
        end_time_unix_nano: end,
        ..Span::default()
    };
    let spans = vec![
        good(),
        Span { trace_id: vec![1; 15], ..good() },
        Span { trace_id: vec![0; 16], ..good() },
        Span { span_id: Vec::new(), ..good() },
        Span { end_time_unix_nano: end - 2 * SECOND, ..good() },
        Span { start_time_unix_nano: 0, end_time_unix_nano: 0, ..good() },
    ];
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let request =
        ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }] };
    let answer = grpc(&server.grpc, TRACES, &[], framed(0, &request.encode_to_vec()), false).await;
    assert_eq!(answer.code, Some(OK));
    let partial = ExportTraceServiceResponse::decode(&answer.body[5..]).unwrap().partial_success.unwrap();
    assert_eq!(partial.rejected_spans, 5, "{}", partial.error_message);
    assert!(partial.error_message.contains("trace_id must be 16 bytes"), "{}", partial.error_message);
    assert_eq!(
        server.number("histogram_count(sum(increase({\"traces.span.metrics.duration\"}[5m])))").await,
        Some(1.0)
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn http_requests_are_refused_with_the_status_that_says_whether_to_retry() {
    let server = start().await;
    let protobuf = "application/x-protobuf";
    let nested = format!("{}{}", r#"{"arrayValue":{"values":["#.repeat(40), "]}}".repeat(40));
    let deep = format!(r#"{{"resourceMetrics":[{{"resource":{{"attributes":[{{"key":"k","value":{nested}}}]}}}}]}}"#);
    let id = |id: &str| {
        let span = format!(
            r#"{{"traceId":"{id}","spanId":"0102030405060708","name":"x","startTimeUnixNano":"1","endTimeUnixNano":"2"}}"#
        );
        format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{span}]}}]}}]}}"#)
    };
    type Row<'a> = (&'a str, &'a str, &'a str, &'a str, Vec<u8>, u16, &'a str);
    let json = "application/json";
    let table: Vec<Row<'_>> = vec![
        ("good protobuf", "/v1/metrics", protobuf, "", good(), 200, ""),
        ("good gzip", "/v1/metrics", protobuf, "gzip", gzip(&good()), 200, ""),
        ("good zstd", "/v1/metrics", protobuf, "zstd", zstd::encode_all(&good()[..], 1).unwrap(), 200, ""),
        ("empty", "/v1/metrics", protobuf, "", Vec::new(), 200, ""),
        ("empty JSON", "/v1/metrics", json, "", b"{}".to_vec(), 200, "{}"),
        ("charset", "/v1/metrics", "application/json; charset=utf-8", "", b"{}".to_vec(), 200, "{}"),
        ("wrong path", "/v1/metric", protobuf, "", good(), 404, "/v1/metrics"),
        ("logs", "/v1/logs", protobuf, "", good(), 404, "logs have no store"),
        ("profiles", "/v1development/profiles", protobuf, "", good(), 404, "profiles have no store"),
        ("wrong type", "/v1/metrics", "text/plain", "", good(), 415, "Content-Type"),
        ("unknown encoding", "/v1/metrics", protobuf, "br", good(), 415, "br"),
        ("garbage", "/v1/metrics", protobuf, "", vec![0x0a, 0xff, 0x01, 0x02], 400, "ends inside a field"),
        ("cut gzip", "/v1/metrics", protobuf, "gzip", gzip(&good())[..12].to_vec(), 400, "gzip"),
        ("over the limit", "/v1/metrics", protobuf, "", vec![0; 5 * MIB], 413, "limit of 4194304 bytes"),
        ("gzip bomb", "/v1/metrics", protobuf, "gzip", gzip(&vec![0; 10 * MIB]), 413, "limit of 4194304 bytes"),
        ("cut JSON", "/v1/metrics", json, "", b"{\"resourceMetrics\":[".to_vec(), 400, "code"),
        ("JSON that is a list", "/v1/metrics", json, "", b"[]".to_vec(), 400, "code"),
        ("byte order mark", "/v1/metrics", json, "", b"\xef\xbb\xbf{}".to_vec(), 400, "code"),
        ("deep JSON", "/v1/metrics", json, "", deep.into_bytes(), 400, "nested more than 64 deep"),
        ("snake case is unknown", "/v1/metrics", json, "", b"{\"resource_metrics\":[{\"x\":1}]}".to_vec(), 200, "{}"),
        ("kind as text", "/v1/metrics", json, "", br#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"x","sum":{"aggregationTemporality":"DELTA"}}]}]}]}"#.to_vec(), 400, "aggregationTemporality"),
        ("id that is not hex", "/v1/traces", json, "", id("zz").into_bytes(), 400, "traceId"),
    ];
    for (what, path, content_type, encoding, body, status, part) in table {
        let mut request = client().post(format!("{}{path}", server.otlp_http)).header("content-type", content_type);
        if !encoding.is_empty() {
            request = request.header("content-encoding", encoding);
        }
        let answer = request.body(body).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), status, "{what}");
        assert!(!answer.headers().contains_key("retry-after"), "{what} would be sent again");
        let answered_as = answer.headers().get("content-type").map(|value| value.to_str().unwrap().to_owned());
        let body = answer.bytes().await.unwrap();
        if matches!(status, 200 | 400 | 413) {
            // The error speaks the request's language.
            assert_eq!(answered_as.as_deref(), content_type.split(';').next(), "{what}");
        }
        let said = match answered_as.as_deref() {
            Some("application/x-protobuf") if status != 200 => tonic_types::Status::decode(&body[..]).unwrap().message,
            Some("application/json") if status != 200 => {
                let status: Value = serde_json::from_slice(&body).unwrap();
                format!("code {}: {}", status["code"], status["message"].as_str().unwrap())
            }
            _ => String::from_utf8_lossy(&body).into_owned(),
        };
        assert!(said.contains(part), "{what}: {said}");
    }
    still_well(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn odd_http_is_handled_as_the_standard_says() {
    let server = start().await;
    let send = async |head: &str, body: &[u8]| {
        let bytes = [head.replace('\n', "\r\n").as_bytes(), b"\r\n", body].concat();
        raw(&server.otlp_http, &bytes, Duration::from_secs(5)).await
    };
    let body = good();
    let get = send("GET /v1/metrics HTTP/1.1\nHost: x\nConnection: close\n", b"").await;
    assert!(get.starts_with("HTTP/1.1 405") && get.to_lowercase().contains("allow: post"), "{get}");
    let head = format!(
        "POST /v1/metrics HTTP/1.1\nHost: x\nConnection: close\nContent-Type: application/x-protobuf\nExpect: 100-continue\nContent-Length: {}\n",
        body.len()
    );
    let expected = send(&head, &body).await;
    assert!(expected.starts_with("HTTP/1.1 100") && expected.contains("HTTP/1.1 200"), "{expected}");
    let smuggled = "POST /v1/metrics HTTP/1.1\nHost: x\nContent-Type: application/x-protobuf\nContent-Length: 4\nContent-Length: 5\n";
    let smuggled = send(smuggled, b"0\r\n\r\n").await;
    assert!(smuggled.starts_with("HTTP/1.1 400"), "{smuggled}");
    still_well(&server).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn cumulative_points_that_say_no_recorded_value_end_their_series() {
    let server = start().await;
    let send = async |point: NumberDataPoint| {
        let metrics = vec![
            counter("ended", CUMULATIVE, vec![point]),
            gauge("beside", vec![NumberDataPoint { flags: 1, value: None, ..self::point(0.0, now(), &[]) }]),
        ];
        let answer = grpc(
            &server.grpc,
            METRICS,
            &[],
            framed(0, &bytes(&ExportMetricsServiceRequest { ..request("shop", metrics) })),
            false,
        )
        .await;
        assert_eq!(partial(&answer).0, 0);
    };
    send(NumberDataPoint { start_time_unix_nano: now() - 60 * SECOND, ..point(5.0, now() - 45 * SECOND, &[]) }).await;
    assert_eq!(server.number("ended_total").await, Some(5.0));
    send(NumberDataPoint {
        start_time_unix_nano: now() - 60 * SECOND,
        flags: 1,
        value: None,
        ..point(0.0, now() - 25 * SECOND, &[])
    })
    .await;
    assert_eq!(server.number("ended_total").await, None);
    assert_eq!(server.number("increase(ended_total[5m])").await, Some(5.0));
    assert_eq!(server.number("beside").await, None);
}
