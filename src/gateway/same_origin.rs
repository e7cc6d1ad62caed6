//! Changes come from our own pages or from programs: a page of another origin cannot make a browser ask for one.

use axum::extract::Request;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, StatusCode, header};

use super::problem::Problem;

/// Refuses requests that change something when a browser says that a foreign page sent them.
pub(super) async fn same_origin(request: Request, next: Next) -> Response {
    if !request.method().is_safe() && is_foreign(request.headers()) {
        let detail = "changes are taken from this origin only";
        return Problem::of(StatusCode::FORBIDDEN, "foreign-origin", detail).into_response();
    }
    next.run(request).await
}

/// Browsers send `Sec-Fetch-Site` or `Origin`; programs send neither.
fn is_foreign(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    if let Some(site) = text("sec-fetch-site") {
        return !matches!(site, "same-origin" | "none");
    }
    let Some(origin) = text(header::ORIGIN.as_str()) else { return false };
    let host = text(header::HOST.as_str()).unwrap_or_default();
    origin.split_once("://").is_none_or(|(_, from)| from != host)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_pages_and_programs_pass() {
        let foreign = |pairs: &[(&'static str, &'static str)]| {
            is_foreign(&pairs.iter().map(|(n, v)| (n.parse().expect("name"), v.parse().expect("value"))).collect())
        };
        assert!(!foreign(&[("host", "localhost:3001")]));
        assert!(!foreign(&[("host", "localhost:3001"), ("origin", "http://localhost:3001")]));
        assert!(!foreign(&[("sec-fetch-site", "same-origin")]));
        assert!(foreign(&[("host", "localhost:3001"), ("origin", "http://evil.example")]));
        assert!(foreign(&[("host", "localhost:3001"), ("origin", "null")]));
        assert!(foreign(&[("sec-fetch-site", "cross-site"), ("origin", "http://localhost:3001")]));
    }
}
