//! Requests with every byte chosen by the test.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request};
use http_body_util::{BodyExt, StreamBody, combinators::BoxBody};
use hyper_util::client::legacy::Client;
use hyper_util::rt::TokioExecutor;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// What came back from a gRPC call.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) http: u16,
    /// `grpc-status`, from headers or trailers.
    pub(crate) code: Option<i32>,
    pub(crate) message: String,
    /// Type names of the `google.rpc` details.
    pub(crate) details: Vec<String>,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

type Body = BoxBody<Bytes, std::convert::Infallible>;

/// One HTTP/2 connection.
pub(crate) type Connection = Client<hyper_util::client::legacy::connect::HttpConnector, Body>;

/// A connection that is made with its first call.
pub(crate) fn connection() -> Connection {
    Client::builder(TokioExecutor::new()).http2_only(true).build_http()
}

/// Flag and length before `message`.
pub(crate) fn framed(flag: u8, message: &[u8]) -> Vec<u8> {
    [&[flag][..], &(message.len() as u32).to_be_bytes(), message].concat()
}

/// A call of `path` with exactly this body. With `silent`, nothing more follows and the stream stays open.
pub(crate) async fn grpc(endpoint: &str, path: &str, headers: &[(&str, &str)], body: Vec<u8>, silent: bool) -> Answer {
    grpc_on(&connection(), (endpoint, path), headers, body, silent).await
}

/// The same on a connection that others use too.
pub(crate) async fn grpc_on(
    connection: &Connection,
    (endpoint, path): (&str, &str),
    headers: &[(&str, &str)],
    body: Vec<u8>,
    silent: bool,
) -> Answer {
    let mut request = Request::builder().method(Method::POST).uri(format!("{endpoint}{path}")).header("te", "trailers");
    if !headers.iter().any(|(name, _)| *name == "content-type") {
        request = request.header("content-type", "application/grpc");
    }
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let first = futures::stream::once(async move { Ok(http_body::Frame::data(Bytes::from(body))) });
    let body: Body = if silent {
        StreamBody::new(futures::StreamExt::chain(first, futures::stream::pending())).boxed()
    } else {
        StreamBody::new(first).boxed()
    };
    let response = connection.request(request.body(body).unwrap()).await.expect("an answer");
    let (parts, body) = response.into_parts();
    let collected = body.collect().await.expect("a whole answer");
    let trailers = collected.trailers().cloned().unwrap_or_default();
    let find = |name: &str| {
        let value = parts.headers.get(name).or_else(|| trailers.get(name))?;
        Some(value.to_str().unwrap().to_owned())
    };
    let details = find("grpc-status-details-bin").map(|text| details(&text)).unwrap_or_default();
    Answer {
        http: parts.status.as_u16(),
        code: find("grpc-status").map(|code| code.parse().unwrap()),
        message: find("grpc-message").unwrap_or_default(),
        details,
        headers: parts.headers,
        body: collected.to_bytes(),
    }
}

fn details(base64: &str) -> Vec<String> {
    use base64::Engine as _;
    let engine = base64::engine::general_purpose::STANDARD_NO_PAD;
    let bytes = engine.decode(base64.trim_end_matches('=')).unwrap();
    let status = tonic_types::Status::decode(&bytes[..]).unwrap();
    status.details.into_iter().map(|any| any.type_url.rsplit('.').next().unwrap().to_owned()).collect()
}

/// Sends raw bytes over TCP; returns all that comes until the end, or what came within `patience`.
pub(crate) async fn raw(address: &str, bytes: &[u8], patience: Duration) -> String {
    let mut stream = tokio::net::TcpStream::connect(address.trim_start_matches("http://")).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut out = Vec::new();
    let _late = tokio::time::timeout(patience, stream.read_to_end(&mut out)).await;
    String::from_utf8_lossy(&out).into_owned()
}

/// `bytes` in one gzip member.
pub(crate) fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut compressor = libdeflater::Compressor::new(libdeflater::CompressionLvl::default());
    let mut out = vec![0; compressor.gzip_compress_bound(bytes.len())];
    let n = compressor.gzip_compress(bytes, &mut out).unwrap();
    out.truncate(n);
    out
}
