//! Kept traces are found by what they are, page by page, over JSON, gRPC and the command line.

use prost::Message;
use serde_json::Value;

use crate::support::export::now;
use crate::support::server::{Options, client, fastbreak};
use crate::support::spans::{failed, kept_spans, send, span, trace_id, with};
use crate::support::wire::{framed, grpc};
use crate::support::{Database, Server, eventually};

/// A server that keeps sixty traces of two services, every sixth with an error.
async fn filled() -> Server {
    let options = Options::on(&Database::create().await).with("FASTBREAK_TRACE_WAIT", "1s");
    let server = options.with("FASTBREAK_TRACE_KEEP", "keep.me=true").start();
    let mut front = Vec::new();
    let mut stock = Vec::new();
    for trace in 1..=60u64 {
        let user = format!("user-{}", trace % 20);
        let keep = ("keep.me", "true");
        front.push(with(span(trace, (1, 0), "GET /cart", trace * 10), &[("user.id", &user), keep]));
        let call = with(span(trace, (2, 1), if trace % 2 == 0 { "reserve" } else { "release" }, 5), &[("shard", "7")]);
        stock.push(if trace % 6 == 0 { failed(call) } else { call });
    }
    send(&server, "front", front).await;
    send(&server, "stock", stock).await;
    eventually("all are kept", async || kept_spans(&server, 60).await == Some(2)).await;
    server
}

async fn search(server: &Server, query: &str) -> (Vec<String>, Option<String>) {
    let answer = client().get(format!("{}/api/traces?{query}", server.http)).send().await.unwrap();
    let link = answer.headers().get("link").map(|link| {
        let link = link.to_str().unwrap();
        link.split(['<', '>', '?']).nth(2).unwrap().to_owned()
    });
    let body: Value = answer.json().await.unwrap();
    let ids = body["traces"].as_array().unwrap_or_else(|| panic!("{query}: {body}")).iter();
    (ids.map(|found| found["traceId"].as_str().unwrap().to_owned()).collect(), link)
}

#[tokio::test(flavor = "multi_thread")]
async fn traces_are_found_by_what_they_are() {
    let server = filled().await;
    let ids = |numbers: &mut dyn Iterator<Item = u64>| {
        let mut ids: Vec<String> = numbers.map(trace_id).collect();
        ids.sort_unstable();
        ids
    };
    for (query, mut numbers) in [
        ("service=front", Box::new(1..=60u64) as Box<dyn Iterator<Item = u64>>),
        ("service=front&with=stock&error=true", Box::new((6..=60).step_by(6))),
        ("service=front&with=nobody", Box::new(0..0u64)),
        ("service=stock&operation=reserve", Box::new((2..=60).step_by(2))),
        ("operation=release", Box::new((1..=60).step_by(2))),
        ("service=front&operation=reserve", Box::new(0..0u64)),
        ("minDuration=300ms&maxDuration=405ms", Box::new(30..=40u64)),
        ("error=true", Box::new((6..=60).step_by(6))),
        ("error=true&operation=release", Box::new(0..0u64)),
        ("attribute=user.id%3Duser-7", Box::new([7, 27, 47].into_iter())),
        ("attribute=user.id%3Duser-7&attribute=shard%3D7&error=false", Box::new([7, 27, 47].into_iter())),
        ("attribute=user.id%3Duser-7&attribute=shard%3D8", Box::new(0..0u64)),
        ("attribute=service.name%3Dstock&minDuration=590ms", Box::new(59..=60u64)),
        ("to=1000000000&from=0", Box::new(0..0u64)),
    ] {
        let (mut found, next) = search(&server, &format!("{query}&limit=100")).await;
        found.sort_unstable();
        assert_eq!((found, next), (ids(&mut numbers), None), "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_follow_each_other_and_hold_each_trace_once() {
    let server = filled().await;
    for query in ["order=slowest", "order=newest", "order=slowest&attribute=shard%3D7"] {
        let (mut all, mut next) = (Vec::new(), Some(format!("{query}&limit=7")));
        while let Some(query) = next {
            let (page, link) = search(&server, &query).await;
            assert!(page.len() == 7 || link.is_none(), "{query}");
            all.extend(page);
            next = link;
        }
        if query.starts_with("order=slowest") {
            assert_eq!(all, (1..=60).rev().map(trace_id).collect::<Vec<_>>(), "{query}");
        }
        all.sort_unstable();
        all.dedup();
        assert_eq!(all.len(), 60, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn grpc_and_the_command_line_tell_the_same() {
    use fastbreak::proto::{GetTraceRequest, SearchTracesRequest, SearchTracesResponse, Trace};
    let server = filled().await;
    let call = async |method: &str, request: Vec<u8>| {
        let path = format!("/fastbreak.v1.TraceService/{method}");
        grpc(&server.grpc, &path, &[], framed(0, &request), false).await
    };
    let request = SearchTracesRequest {
        service: "stock".to_owned(),
        with: "front".to_owned(),
        attributes: [("user.id".to_owned(), "user-7".to_owned())].into(),
        order: 2,
        ..SearchTracesRequest::default()
    };
    let answer = call("SearchTraces", request.encode_to_vec()).await;
    assert_eq!(answer.code, Some(0), "{}", answer.message);
    let found = SearchTracesResponse::decode(answer.body.slice(5..)).unwrap();
    let ids: Vec<String> = found.traces.iter().map(|found| found.trace_id.clone()).collect();
    assert_eq!(ids, [47, 27, 7].map(trace_id));
    assert_eq!(found.traces[0].reasons.first().map(String::as_str), Some("rule"));
    let answer = call("GetTrace", GetTraceRequest { trace_id: trace_id(6) }.encode_to_vec()).await;
    let trace = Trace::decode(answer.body.slice(5..)).unwrap();
    let spans: Vec<(&str, &str)> = trace.spans.iter().map(|s| (s.operation.as_str(), s.status.as_str())).collect();
    assert_eq!(spans, [("GET /cart", "unset"), ("reserve", "error")]);
    let answer = call("GetTrace", GetTraceRequest { trace_id: "x".to_owned() }.encode_to_vec()).await;
    assert_eq!((answer.code, answer.details), (Some(3), vec!["BadRequest".to_owned()]));
    let answer = call("GetTrace", GetTraceRequest { trace_id: trace_id(999) }.encode_to_vec()).await;
    assert_eq!((answer.code, answer.details), (Some(5), vec!["ErrorInfo".to_owned()]));
    let told = |arguments: &[&str]| {
        let output = fastbreak(&[&["traces", "--url", &server.http], arguments].concat()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    let list = told(&["list", "--service", "stock", "--with", "front", "--error", "--slowest", "--limit", "2"]);
    let lines: Vec<&str> = list.lines().collect();
    assert_eq!(lines.len(), 2, "{list}");
    assert!(lines[0].starts_with(&trace_id(60)) && lines[0].contains("2 spans 1 failed"), "{list}");
    let tree = told(&["get", &trace_id(6)]);
    assert!(tree.contains("  front GET /cart\n") && tree.contains("    stock reserve !\n"), "{tree}");
}

/// Traces of the index alone: number `i` began `i` milliseconds after `base` and took `micros(i)`.
const MANY: u64 = 30_000;

fn micros(i: u64) -> u64 {
    i * 7_919 % 30_011
}

/// Every trace has the service `common`, every three thousandth `rare`, the shortest third `quick`.
async fn filled_with_many(database: &Database) -> u64 {
    let base = (now() / 1_000_000_000 - 60) * 1_000_000_000;
    let term = |service: &str| xxhash_rust::xxh3::xxh3_64(service.as_bytes()) as i64;
    let (common, rare, quick) = (term("common"), term("rare"), term("quick"));
    let slot = "to_timestamp(floor(extract(epoch FROM now()) / 43200) * 43200)";
    database
        .execute(&format!("SELECT ensure_partition('trace_index_error', {slot}, {slot} + interval '12 hours')"))
        .await;
    database
        .execute(&format!(
            "INSERT INTO trace_index (trace_id, class, slot_at, start_ns, end_ns, services, terms, reasons, span_count, \
                 error_count, blocks) \
             SELECT decode(lpad(to_hex(i), 32, '0'), 'hex'), 2, {slot}, {base} + i * 1000000, \
                 {base} + i * 1000000 + i * 7919 % 30011 * 1000, '{{}}', \
                 ARRAY[{common}] || CASE WHEN i % 3000 = 0 THEN ARRAY[{rare}] ELSE '{{}}' END \
                     || CASE WHEN i * 7919 % 30011 < 10000 THEN ARRAY[{quick}] ELSE '{{}}' END, \
                 1, 1, 1, '{{}}' FROM generate_series(1::bigint, {MANY}) AS i"
        ))
        .await;
    base
}

#[tokio::test(flavor = "multi_thread")]
async fn however_many_are_met_the_first_ones_in_order_are_found() {
    let database = Database::create().await;
    let server = Options::on(&database).start();
    let base = filled_with_many(&database).await;
    let base = base / 1_000_000_000;
    let narrow = format!("from={}&to={}", base + 20, base + 25);
    let is_quick = |i: &u64| micros(*i) < 10_000;
    let is_within = |i: &u64| (20_000..=25_000).contains(i);
    type Meets<'a> = Box<dyn Fn(&u64) -> bool + 'a>;
    let asked: [(&str, Meets<'_>); 9] = [
        ("", Box::new(|_| true)),
        ("service=common", Box::new(|_| true)),
        ("service=rare", Box::new(|i| i % 3_000 == 0)),
        ("service=quick", Box::new(is_quick)),
        ("service=nobody", Box::new(|_| false)),
        ("minDuration=29990us", Box::new(|i| micros(*i) >= 29_990)),
        ("service=common&maxDuration=20us", Box::new(|i| micros(*i) <= 20)),
        (&narrow, Box::new(is_within)),
        (&format!("service=quick&{narrow}"), Box::new(|i| is_quick(i) && is_within(i))),
    ];
    for (query, meets) in &asked {
        let mut newest: Vec<u64> = (1..=MANY).rev().filter(meets).collect();
        let mut slowest = newest.clone();
        slowest.sort_by_key(|i| std::cmp::Reverse(micros(*i)));
        for (order, expected) in [("newest", &mut newest), ("slowest", &mut slowest)] {
            expected.truncate(21);
            let expected: Vec<String> = expected.iter().map(|i| format!("{i:032x}")).collect();
            let (mut found, mut next) = (Vec::new(), Some(format!("{query}&order={order}&limit=7")));
            while let Some(query) = next.filter(|_| found.len() < 21) {
                let (page, link) = search(&server, &query).await;
                found.extend(page);
                next = link;
            }
            assert_eq!(found, expected, "{query} {order}");
        }
    }
}
