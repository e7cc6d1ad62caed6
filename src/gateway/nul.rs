//! NUL is kept in no text, so nothing has one in its name: a path or parameter with it is refused by name. What Prometheus
//! documents looks nothing up by a kept text, and has errors of its own.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::Uri;

use super::problem::Problem;

/// Refuses a NUL in the path or a query parameter.
pub(super) async fn no_nul(request: Request, next: Next) -> Response {
    match with_nul(request.uri()) {
        Some(field) => Problem::parameter(field, "must not contain NUL").into_response(),
        None => next.run(request).await,
    }
}

/// The parameter that has one, or `path`. A percent sign that is itself written as `%25` is none.
fn with_nul(uri: &Uri) -> Option<&str> {
    const NUL: &str = "%00";
    if uri.path().starts_with("/prometheus/") {
        return None;
    }
    if uri.path().contains(NUL) {
        return Some("path");
    }
    let pair = uri.query()?.split('&').find(|pair| pair.contains(NUL))?;
    Some(pair.split_once('=').map_or(pair, |(name, _)| name))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_one_with_nul_is_named() {
        for (uri, expect) in [
            ("/api/silences/a", None),
            ("/api/silences/%00", Some("path")),
            ("/api/deliveries?limit=1&receiver=a%00", Some("receiver")),
            ("/api/deliveries?receiver=a%2500", None),
            ("/prometheus/api/v1/query?query=%00", None),
        ] {
            assert_eq!(with_nul(&Uri::from_static(uri)), expect, "{uri}");
        }
    }
}
