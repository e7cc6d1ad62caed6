//! HTTP that only an attacker writes: floods of frames, and bodies of two lengths. The connection ends, the server does not.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::support::Server;
use crate::support::export::{bytes, gauge, now, point, request};
use crate::support::wire::{framed, grpc, raw};

const METRICS: &str = "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export";
const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
const PATIENCE: Duration = Duration::from_secs(10);

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_HEADERS: u8 = 4;
const ENHANCE_YOUR_CALM: u8 = 11;

/// `POST http://x/`, as HPACK has it.
const REQUEST: &[u8] = &[0x83, 0x86, 0x84, 0x41, 1, b'x'];

/// One HTTP/2 frame.
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// The error code of the GOAWAY that answers `frames`.
async fn goaway(server: &Server, frames: &[u8]) -> Option<u8> {
    let mut stream = TcpStream::connect(server.grpc.trim_start_matches("http://")).await.unwrap();
    let (mut from, mut to) = stream.split();
    let opening = [PREFACE, &frame(SETTINGS, 0, 0, &[]), frames].concat();
    let mut answer = Vec::new();
    let talk = async {
        // It may be closed before all is written.
        let _closed = tokio::join!(to.write_all(&opening), from.read_to_end(&mut answer));
    };
    tokio::time::timeout(PATIENCE, talk).await.expect("the connection ends");
    let mut rest = &answer[..];
    while let Some((head, after)) = rest.split_first_chunk::<9>() {
        let length = usize::from(head[0]) << 16 | usize::from(head[1]) << 8 | usize::from(head[2]);
        if head[3] == GOAWAY && after[7] != 0 {
            return Some(after[7]);
        }
        rest = &after[length.min(after.len())..];
    }
    None
}

#[tokio::test(flavor = "multi_thread")]
async fn floods_of_frames_end_their_connection_and_nothing_else() {
    let server = Server::start().await;
    let resets = (0..2_000).flat_map(|i| {
        let stream = 2 * i + 1;
        [frame(HEADERS, END_HEADERS, stream, REQUEST), frame(RST_STREAM, 0, stream, &[0, 0, 0, 8])].concat()
    });
    let field = [0, 1, b'a', 1, b'b'];
    let continuations = [frame(HEADERS, 0, 1, REQUEST), frame(CONTINUATION, 0, 1, &field).repeat(2_000)].concat();
    let path = [&[0x83, 0x86, 0x41, 1, b'x', 0x04, METRICS.len() as u8][..], METRICS.as_bytes()].concat();
    let grpc_type = [&[0x5f, 16][..], b"application/grpc"].concat();
    let call = frame(HEADERS, END_HEADERS, 1, &[path, grpc_type].concat());
    let empty_data = [call, frame(DATA, 0, 1, &[]).repeat(20_000)].concat();
    for (what, flood) in
        [("rapid resets", resets.collect()), ("continuations", continuations), ("empty data", empty_data)]
    {
        assert_eq!(goaway(&server, &flood).await, Some(ENHANCE_YOUR_CALM), "{what}");
        let body = bytes(&request("shop", vec![gauge("good", vec![point(1.0, now(), &[])])]));
        assert_eq!(grpc(&server.grpc, METRICS, &[], framed(0, &body), false).await.code, Some(0), "after {what}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_smuggled_behind_a_body_of_two_lengths_is_never_read() {
    let server = Server::start().await;
    let head = "POST /v1/metrics HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n";
    let smuggled = "GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n";
    // With both, chunks say where the body ends, and the connection ends with the answer (RFC 9112, 6.1).
    let lengths = [
        ("Content-Length: 3\r\nTransfer-Encoding: chunked\r\n", "2\r\n{}\r\n0\r\n\r\n", 200),
        ("Transfer-Encoding: chunked\r\nContent-Length: 60\r\n", "2\r\n{}\r\n0\r\n\r\n", 200),
        ("Transfer-Encoding: chunked, identity\r\n", "2\r\n{}\r\n0\r\n\r\n", 400),
        ("Content-Length: 2\r\nContent-Length: 3\r\n", "{}", 400),
    ];
    for (length, body, status) in lengths {
        let answer = raw(&server.otlp_http, format!("{head}{length}\r\n{body}{smuggled}").as_bytes(), PATIENCE).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {status}")), "{length}: {answer}");
        assert_eq!(answer.matches("HTTP/1.1 ").count(), 1, "{length}: {answer}");
    }
}
