//! The routes of the JSON API with their OpenAPI 3.1 document: a handler is described where it is written.
//!
//! A new route is a handler with `#[utoipa::path(…)]` and one line below. The copy in `clients/openapi.json` is what clients
//! are generated from; a test keeps it true.

use std::sync::Arc;

use axum::Router;
use axum::response::IntoResponse;
use axum::routing::get;
use http::header;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::problem::ProblemDocument;
use super::{State, catalog, health, indicators, ledger, query};

#[derive(OpenApi)]
#[openapi(
    info(
        title = "FastBreak",
        description = "Measurements, services, alerts and policies as JSON. Errors are problem documents (RFC 9457)."
    ),
    components(schemas(ProblemDocument))
)]
struct Document;

fn documented() -> OpenApiRouter<Arc<State>> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(health::health))
        .routes(routes!(health::system_info))
        .routes(routes!(indicators::current))
        .routes(routes!(indicators::history))
        .routes(routes!(catalog::metrics))
        .routes(routes!(catalog::metric))
        .routes(routes!(ledger::services))
        .routes(routes!(ledger::ledger))
        .routes(routes!(query::instant, query::instant_form))
        .routes(routes!(query::range, query::range_form))
}

/// The documented routes, and their document at `/api/openapi.json`.
pub(super) fn router() -> Router<Arc<State>> {
    let (router, document) = documented().split_for_parts();
    let text: Arc<str> = document.to_json().unwrap_or_default().into();
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")];
    router.route("/api/openapi.json", get(move || async move { (headers, text.to_string()).into_response() }))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `UPDATE_OPENAPI=1 cargo test --lib openapi` writes the copy anew.
    #[test]
    fn the_committed_document_is_the_one_that_is_served() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/openapi.json");
        let served = documented().into_openapi().to_pretty_json().expect("JSON") + "\n";
        if std::env::var_os("UPDATE_OPENAPI").is_some() {
            std::fs::write(path, &served).expect("written");
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(committed == served, "clients/openapi.json is not what is served; see this test's comment");
    }

    #[test]
    fn every_operation_names_what_it_answers() {
        let document = documented().into_openapi();
        for (path, item) in &document.paths.paths {
            let operations = [&item.get, &item.post, &item.put, &item.delete];
            for operation in operations.into_iter().flatten() {
                assert!(operation.responses.responses.contains_key("200"), "{path}");
                assert!(operation.summary.is_some() || operation.description.is_some(), "{path}");
            }
        }
    }
}
