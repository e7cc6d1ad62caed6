//! The embedded dashboard: built files, compressed before they are embedded.
//!
//! Files under `assets/` carry a hash in their name and are kept for ever; the page is asked for anew each time, so that an
//! upgrade shows at once. Every path that is not the API's is a route of the page. No path is joined to a directory here.

use std::borrow::Cow;
use std::fmt::Write as _;
use std::sync::Arc;

use axum::extract::{self, Request};
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, Method, StatusCode, header};
use rust_embed::{Embed, EmbeddedFile};

use super::problem::Problem;
use super::{State, page};

/// What `make` built; empty when it was not built, and read from disk by debug builds.
#[derive(Embed)]
#[folder = "clients/dashboard/dist/"]
#[allow_missing = true]
struct Built;

/// Paths below these are the API's: what is not there is a problem, never the page.
const API: [&str; 8] = ["api", "prometheus", "ws", "metrics", "health", "livez", "readyz", "v1"];
const HASHED: &str = "assets/";
const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// Encodings that the files were stored in, best first, and the suffix of each.
const ENCODINGS: [(&str, &str); 2] = [("br", ".br"), ("gzip", ".gz")];

/// Whatever no other route took.
pub(super) async fn fallback(extract::State(state): extract::State<Arc<State>>, request: Request) -> Response {
    let path = request.uri().path().trim_start_matches('/');
    let first = path.split('/').next().unwrap_or_default();
    if API.contains(&first) {
        return Problem::not_found("there is nothing at this path").into_response();
    }
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let detail = "the dashboard is only read";
        return Problem::of(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail).into_response();
    }
    if let Some(answer) = file(path, request.headers()) {
        return answer;
    }
    if path.starts_with(HASHED) {
        return Problem::not_found("this file is of another version; load the page again").into_response();
    }
    file("index.html", request.headers()).unwrap_or_else(|| page::not_built(&state.facts).into_response())
}

/// The file at `path`, in the best encoding that the client takes.
fn file(path: &str, headers: &HeaderMap) -> Option<Response> {
    let kind = content_type(path)?;
    let accepted = headers.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let stored = ENCODINGS.iter().filter(|(name, _)| accepts(accepted, name));
    let packed = stored.filter_map(|(name, suffix)| Some((*name, Built::get(&format!("{path}{suffix}"))?))).next();
    let (encoding, file) = match packed {
        Some((name, file)) => (Some(name), file),
        None => (None, Built::get(path)?),
    };
    let tag = etag(&file, encoding);
    let cache = if path.starts_with(HASHED) { FOR_EVER } else { "no-cache" };
    let known = headers.get(header::IF_NONE_MATCH).and_then(|value| value.to_str().ok());
    let is_known = known.is_some_and(|known| known.split(',').any(|one| one.trim().trim_start_matches("W/") == tag));
    let mut answer = if is_known { StatusCode::NOT_MODIFIED.into_response() } else { body(file.data) };
    let headers = answer.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(kind));
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(cache));
    headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    headers.extend(HeaderValue::from_str(&tag).ok().map(|tag| (header::ETAG, tag)));
    headers.extend(encoding.map(|name| (header::CONTENT_ENCODING, HeaderValue::from_static(name))));
    Some(answer)
}

fn body(data: Cow<'static, [u8]>) -> Response {
    match data {
        Cow::Borrowed(data) => data.into_response(),
        Cow::Owned(data) => data.into_response(),
    }
}

/// Half of the file's SHA-256; another encoding is another body.
fn etag(file: &EmbeddedFile, encoding: Option<&str>) -> String {
    let mut tag = String::from("\"");
    for byte in &file.metadata.sha256_hash()[..16] {
        // Writing to a String cannot fail.
        let _infallible = write!(tag, "{byte:02x}");
    }
    tag.push_str(encoding.map_or("", |name| if name == "br" { "-b" } else { "-g" }));
    tag.push('"');
    tag
}

/// True when `Accept-Encoding` names `encoding` and does not refuse it.
fn accepts(accepted: &str, encoding: &str) -> bool {
    accepted.split(',').any(|one| {
        let (name, quality) = one.split_once(';').unwrap_or((one, ""));
        let refused = quality.trim().strip_prefix("q=").and_then(|q| q.parse::<f32>().ok()) == Some(0.0);
        name.trim().eq_ignore_ascii_case(encoding) && !refused
    })
}

/// Only files that the build makes have a type; a route of the page has none.
fn content_type(path: &str) -> Option<&'static str> {
    let (_, extension) = path.rsplit_once('.')?;
    Some(match extension {
        "html" => "text/html; charset=utf-8",
        "js" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "svg" => "image/svg+xml",
        "png" => "image/png",
        "woff2" => "font/woff2",
        "webmanifest" => "application/manifest+json",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_encoding_is_the_one_that_is_not_refused() {
        for (accepted, br, gzip) in [
            ("gzip, deflate, br, zstd", true, true),
            ("GZIP;q=0.5, br;q=0", false, true),
            ("", false, false),
            ("brotli", false, false),
        ] {
            assert_eq!((accepts(accepted, "br"), accepts(accepted, "gzip")), (br, gzip), "{accepted}");
        }
    }

    #[test]
    fn routes_of_the_page_are_no_files() {
        assert_eq!(content_type("services/shop"), None);
        assert_eq!(content_type("services/my.service"), None);
        assert_eq!(content_type("assets/app-1a2b.js"), Some("text/javascript; charset=utf-8"));
        assert!(file("services/a.svg", &HeaderMap::new()).is_none(), "a service may be called like a file");
    }
}
