//! `/api/alerts/rules`: rules as people write them.

use std::sync::Arc;

use axum::Router;
use axum::extract::{Path, Query, State};
use axum::response::Response;
use axum::routing::{get, post};
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::body::{Body, WriteQuery, expected, read, revised};
use super::json as answer;
use super::problem::Problem;
use crate::alerting::{Alerting, RuleStatus};
use crate::model::{Rule, RuleOrigin};
use crate::storage::Expected;

/// What a rule's answer has beside what was written; taken off a body that was read and sent back.
pub(super) const READ_ONLY: &[&str] = &["revision", "origin", "createdAt", "updatedAt", "health", "alerts"];

/// The routes.
pub(super) fn routes<S: Clone + Send + Sync + 'static>(alerting: &Arc<Alerting>) -> Router<S> {
    Router::new()
        .route("/api/alerts/rules", get(list).post(create))
        .route("/api/alerts/rules/{rule}", get(one).put(replace).delete(delete))
        .route("/api/alerts/rules/{rule}/revisions", get(revisions))
        .route("/api/alerts/rules/{rule}/revert", post(revert))
        .route("/api/alerts/rules/{rule}/test", post(test))
        .route("/api/alerts/rules/{rule}/backtest", post(super::backtest::backtest))
        .route("/api/alerts/explain", get(super::backtest::explain))
        .with_state(Arc::clone(alerting))
}

fn view(status: &RuleStatus) -> Value {
    let stored = &status.stored;
    let mut view = serde_json::to_value(&stored.rule).unwrap_or_default();
    let more = json!({
        "revision": stored.revision,
        "origin": stored.origin,
        "createdAt": stored.created_at,
        "updatedAt": stored.updated_at,
        "health": {
            "state": status.health,
            "lastEvaluationAt": status.evaluated_at,
            "durationSeconds": status.duration_seconds,
            "error": status.error,
        },
        "alerts": { "pending": status.pending, "firing": status.firing },
    });
    if let (Some(view), Value::Object(more)) = (view.as_object_mut(), more) {
        view.extend(more);
    }
    view
}

async fn list(State(alerting): State<Arc<Alerting>>) -> Result<Response, Problem> {
    let rules = alerting.rules().await?;
    Ok(answer(&rules.iter().map(view).collect()))
}

async fn one(State(alerting): State<Arc<Alerting>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let status = alerting.rule(&id).await?;
    Ok(revised(StatusCode::OK, status.stored.revision, &view(&status)))
}

/// The fields that are written, the revision that was seen, and `origin: file` when a file says so.
fn written(mut body: Map<String, Value>) -> (Map<String, Value>, Option<i64>, RuleOrigin) {
    let revision = body.get("revision").and_then(Value::as_i64);
    let from_file = body.get("origin").and_then(Value::as_str) == Some("file");
    body.retain(|name, _| !READ_ONLY.contains(&name.as_str()));
    (body, revision, if from_file { RuleOrigin::File } else { RuleOrigin::Api })
}

async fn create(
    State(alerting): State<Arc<Alerting>>,
    Query(query): Query<WriteQuery>,
    Body(body): Body<Map<String, Value>>,
) -> Result<Response, Problem> {
    let (body, _, origin) = written(body);
    let rule: Rule = read(Value::Object(body))?;
    if query.dry_run {
        alerting.check_rule(&rule)?;
        return Ok(answer(&serde_json::to_value(&rule).unwrap_or_default()));
    }
    let status = alerting.put_rule(&rule, origin, Expected::Absent).await?;
    Ok(revised(StatusCode::CREATED, status.stored.revision, &view(&status)))
}

/// Replaces a rule; a body without `condition` changes only the fields that it has.
async fn replace(
    State(alerting): State<Arc<Alerting>>,
    Path(id): Path<String>,
    Query(query): Query<WriteQuery>,
    headers: HeaderMap,
    Body(body): Body<Map<String, Value>>,
) -> Result<Response, Problem> {
    let (mut body, revision, origin) = written(body);
    let mut expected = expected(&headers, query.revision.or(revision))?;
    if !body.contains_key("condition") {
        let there = alerting.rule(&id).await?;
        let mut whole = serde_json::to_value(&there.stored.rule).unwrap_or_default();
        if let Some(whole) = whole.as_object_mut() {
            if body.contains_key("threshold") {
                // It belonged to the threshold that goes.
                whole.remove("recoveryThreshold");
            }
            whole.extend(std::mem::take(&mut body));
            body = std::mem::take(whole);
        }
        if expected == Expected::Present {
            // What the other fields were taken from must still be there.
            expected = Expected::Revision(there.stored.revision);
        }
    }
    body.entry("id").or_insert_with(|| Value::from(id.as_str()));
    let rule: Rule = read(Value::Object(body))?;
    if rule.id != id {
        return Err(Problem::parameter("id", format!("id: {:?} is not the {id:?} of the path", rule.id)));
    }
    if query.dry_run {
        alerting.check_rule(&rule)?;
        return Ok(answer(&serde_json::to_value(&rule).unwrap_or_default()));
    }
    let status = alerting.put_rule(&rule, origin, expected).await?;
    Ok(revised(StatusCode::OK, status.stored.revision, &view(&status)))
}

async fn delete(
    State(alerting): State<Arc<Alerting>>,
    Path(id): Path<String>,
    Query(query): Query<WriteQuery>,
    headers: HeaderMap,
) -> Result<StatusCode, Problem> {
    if query.dry_run {
        alerting.rule(&id).await?;
    } else {
        alerting.delete_rule(&id, expected(&headers, query.revision)?).await?;
    }
    Ok(StatusCode::NO_CONTENT)
}

async fn revisions(State(alerting): State<Arc<Alerting>>, Path(id): Path<String>) -> Result<Response, Problem> {
    let revisions = alerting.rule_revisions(&id).await?;
    let view = |revision: &crate::alerting::RuleRevision| {
        json!({
            "revision": revision.revision,
            "rule": revision.rule,
            "origin": revision.origin,
            "deleted": revision.deleted,
            "createdAt": revision.created_at,
        })
    };
    Ok(answer(&revisions.iter().map(view).collect()))
}

/// Which revision is to be the newest again.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Revert {
    revision: i64,
}

async fn revert(
    State(alerting): State<Arc<Alerting>>,
    Path(id): Path<String>,
    Query(query): Query<WriteQuery>,
    headers: HeaderMap,
    Body(revert): Body<Revert>,
) -> Result<Response, Problem> {
    if query.dry_run {
        let rule = alerting.rule_as_of(&id, revert.revision).await?;
        return Ok(answer(&serde_json::to_value(&rule).unwrap_or_default()));
    }
    let expected = match expected(&headers, None)? {
        // One that was deleted may come back this way.
        Expected::Present => Expected::Anything,
        other => other,
    };
    let status = alerting.revert_rule(&id, revert.revision, expected).await?;
    Ok(revised(StatusCode::OK, status.stored.revision, &view(&status)))
}

/// Who wants to see it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TestFire {
    #[serde(default)]
    by: String,
}

async fn test(
    State(alerting): State<Arc<Alerting>>,
    Path(id): Path<String>,
    Body(test): Body<TestFire>,
) -> Result<Response, Problem> {
    let by = if test.by.is_empty() { "somebody" } else { &test.by };
    let receivers = alerting.test_fire(&id, by).await?;
    Ok(answer(&json!({ "receivers": receivers })))
}
