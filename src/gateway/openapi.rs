//! The routes of the JSON API with their OpenAPI 3.1 document: a handler is described where it is written.
//!
//! A new route is a handler with `#[utoipa::path(…)]` and one line below. The copy in `clients/openapi.json` is what clients
//! are generated from; a test keeps it true.

use std::sync::Arc;

use axum::Router;
use axum::middleware::from_fn;
use axum::response::IntoResponse;
use axum::routing::get;
use http::header;
use utoipa::OpenApi;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::nul::no_nul;
use super::problem::ProblemDocument;
use super::same_origin::same_origin;
use super::{
    State, alerts, backtest, catalog, deliveries, discovery, exemplars, fleet, health, indicators, ledger, overrides,
    policies, prometheus_rules, query, receivers, rollouts, routing, rules, service_graph, silences, slos, traces,
};
use crate::alerting::Alerting;
use crate::notify::Notifier;
use crate::policy::Policies;
use crate::traces::Traces;

#[derive(OpenApi)]
#[openapi(
    info(
        title = "FastBreak",
        description = "Measurements, services, alerts and policies as JSON. Errors are problem documents (RFC 9457)."
    ),
    components(schemas(ProblemDocument))
)]
struct Document;

/// What is measured.
fn measurements() -> OpenApiRouter<Arc<State>> {
    OpenApiRouter::with_openapi(Document::openapi())
        .routes(routes!(health::health))
        .routes(routes!(health::system_info))
        .routes(routes!(indicators::current))
        .routes(routes!(indicators::history))
        .routes(routes!(catalog::metrics))
        .routes(routes!(catalog::metric))
        .routes(routes!(catalog::cardinality))
        .routes(routes!(ledger::services))
        .routes(routes!(ledger::ledger))
        .routes(routes!(service_graph::graph))
        .routes(routes!(query::instant, query::instant_form))
        .routes(routes!(query::range, query::range_form))
        .routes(routes!(exemplars::exemplars, exemplars::exemplars_form))
}

/// Rules, alerts, and who is told when.
fn alerting() -> OpenApiRouter<Arc<Alerting>> {
    OpenApiRouter::new()
        .routes(routes!(alerts::active))
        .routes(routes!(alerts::history))
        .routes(routes!(alerts::one))
        .routes(routes!(alerts::acknowledge, alerts::unacknowledge))
        .routes(routes!(backtest::explain))
        .routes(routes!(rules::list, rules::create))
        .routes(routes!(rules::one, rules::replace, rules::delete))
        .routes(routes!(rules::revisions))
        .routes(routes!(rules::revert))
        .routes(routes!(rules::test))
        .routes(routes!(backtest::backtest))
        .routes(routes!(silences::list, silences::create))
        .routes(routes!(silences::preview))
        .routes(routes!(silences::one, silences::replace, silences::expire))
        .routes(routes!(silences::windows, silences::create_window))
        .routes(routes!(silences::window, silences::replace_window, silences::delete_window))
        .routes(routes!(routing::tree, routing::replace_tree))
        .routes(routes!(routing::test))
        .routes(routes!(routing::inhibitions, routing::replace_inhibitions))
        .routes(routes!(slos::list, slos::create))
        .routes(routes!(slos::one, slos::replace, slos::delete))
}

/// Receivers and deliveries.
fn notifications() -> OpenApiRouter<Arc<Notifier>> {
    OpenApiRouter::new()
        .routes(routes!(receivers::list, receivers::create))
        .routes(routes!(receivers::find, receivers::update, receivers::remove))
        .routes(routes!(receivers::test))
        .routes(routes!(deliveries::list))
        .routes(routes!(deliveries::find))
        .routes(routes!(deliveries::resend))
}

/// Policies and their revisions.
fn policies_of_sdks() -> OpenApiRouter<Arc<Policies>> {
    OpenApiRouter::new()
        .routes(routes!(policies::list, policies::create))
        .routes(routes!(policies::one, policies::replace, policies::delete))
        .routes(routes!(policies::revisions))
        .routes(routes!(policies::diff))
        .routes(routes!(policies::revert))
        .routes(routes!(fleet::list))
        .routes(routes!(fleet::invalidations, fleet::invalidate))
        .routes(routes!(fleet::invalidation))
        .routes(routes!(fleet::warmings, fleet::warm))
        .routes(routes!(fleet::warming))
        .routes(routes!(overrides::list, overrides::put))
        .routes(routes!(overrides::end))
        .routes(routes!(overrides::ended))
        .routes(routes!(rollouts::list, rollouts::start))
        .routes(routes!(rollouts::one))
        .routes(routes!(rollouts::go))
}

/// Kept traces.
fn kept_traces() -> OpenApiRouter<Arc<Traces>> {
    OpenApiRouter::new()
        .routes(routes!(traces::search::list))
        .routes(routes!(traces::one))
        .routes(routes!(traces::span))
        .routes(routes!(traces::download))
}

/// The documented routes, and their document at `/api/openapi.json`.
pub(super) fn router(state: &State) -> Router<Arc<State>> {
    let (measurements, mut document) = measurements().split_for_parts();
    let (alerting, of_alerting) = alerting().split_for_parts();
    let (notifications, of_notifications) = notifications().split_for_parts();
    document.merge(of_alerting);
    let (traces, of_traces) = kept_traces().split_for_parts();
    document.merge(of_notifications);
    document.merge(of_traces);
    let (policies, of_policies) = policies_of_sdks().split_for_parts();
    document.merge(of_policies);
    let changing = Router::new()
        .merge(alerting.with_state(Arc::clone(&state.alerting)))
        .merge(notifications.with_state(Arc::clone(&state.notifier)))
        .merge(policies.with_state(Arc::clone(&state.policies)))
        .layer(from_fn(same_origin));
    let text: Arc<str> = document.to_json().unwrap_or_default().into();
    let headers = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")];
    let document = get(move || async move { (headers, text.to_string()).into_response() });
    measurements
        .merge(changing)
        .merge(traces.with_state(Arc::clone(&state.traces)))
        // Prometheus documents these.
        .merge(discovery::routes())
        .merge(prometheus_rules::routes(&state.alerting))
        .route("/api/openapi.json", document)
        .layer(from_fn(no_nul))
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn document() -> utoipa::openapi::OpenApi {
        let mut document = measurements().into_openapi();
        document.merge(alerting().into_openapi());
        document.merge(notifications().into_openapi());
        document.merge(kept_traces().into_openapi());
        document.merge(policies_of_sdks().into_openapi());
        document
    }

    /// `UPDATE_OPENAPI=1 cargo test --lib openapi` writes the copy anew.
    #[test]
    fn the_committed_document_is_the_one_that_is_served() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/openapi.json");
        let served = document().to_pretty_json().expect("JSON") + "\n";
        if std::env::var_os("UPDATE_OPENAPI").is_some() {
            std::fs::write(path, &served).expect("written");
        }
        let committed = std::fs::read_to_string(path).unwrap_or_default();
        assert!(committed == served, "clients/openapi.json is not what is served; see this test's comment");
    }

    #[test]
    fn every_operation_names_what_it_answers() {
        let document = document();
        let mut ids = HashSet::new();
        for (path, item) in &document.paths.paths {
            let operations = [&item.get, &item.post, &item.put, &item.delete];
            for operation in operations.into_iter().flatten() {
                assert!(operation.responses.responses.keys().any(|status| status.starts_with('2')), "{path}");
                assert!(operation.operation_id.as_ref().is_some_and(|id| ids.insert(id.clone())), "{path}");
                assert!(operation.summary.is_some() || operation.description.is_some(), "{path}");
            }
        }
    }
}
