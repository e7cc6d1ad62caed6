//! `/api/alerts/rules`: rules as people write them.

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::response::Response;
use chrono::{DateTime, Utc};
use http::{HeaderMap, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

use super::body::{Body, WriteQuery, expected, read, revised};
use super::problem::{Problem, ProblemDocument, Refused};
use super::typed;
use crate::alerting::{Alerting, RuleRevision, RuleStatus};
use crate::model::{Rule, RuleHealth, RuleOrigin};
use crate::storage::Expected;

/// What a rule's answer has beside what was written; taken off a body that was read and sent back.
pub(super) const READ_ONLY: &[&str] = &["revision", "origin", "createdAt", "updatedAt", "health", "alerts"];

/// How the evaluation of a rule fares.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct HealthOfRule {
    #[schema(value_type = RuleHealth)]
    state: String,
    last_evaluation_at: Option<DateTime<Utc>>,
    duration_seconds: f64,
    /// What is wrong.
    error: Option<String>,
}

/// How many alerts a rule has open.
#[derive(Serialize, ToSchema)]
struct OpenAlerts {
    pending: i64,
    firing: i64,
}

/// A rule as it was written, and how it fares.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RuleView {
    #[serde(flatten)]
    rule: Rule,
    /// Grows by one at each accepted change.
    revision: i64,
    origin: RuleOrigin,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
    health: HealthOfRule,
    alerts: OpenAlerts,
}

impl From<RuleStatus> for RuleView {
    fn from(status: RuleStatus) -> Self {
        let stored = status.stored;
        Self {
            rule: stored.rule,
            revision: stored.revision,
            origin: stored.origin,
            created_at: stored.created_at,
            updated_at: stored.updated_at,
            health: HealthOfRule {
                state: status.health,
                last_evaluation_at: status.evaluated_at,
                duration_seconds: status.duration_seconds,
                error: status.error,
            },
            alerts: OpenAlerts { pending: status.pending, firing: status.firing },
        }
    }
}

/// One revision of a rule.
#[derive(Serialize, ToSchema)]
#[serde(rename_all = "camelCase")]
struct RuleRevisionView {
    revision: i64,
    rule: Rule,
    #[schema(value_type = RuleOrigin)]
    origin: String,
    /// It was the end of the rule.
    deleted: bool,
    created_at: DateTime<Utc>,
}

impl From<RuleRevision> for RuleRevisionView {
    fn from(of: RuleRevision) -> Self {
        let RuleRevision { revision, rule, origin, deleted, created_at } = of;
        Self { revision, rule, origin, deleted, created_at }
    }
}

fn answer(status: StatusCode, rule: RuleStatus) -> Response {
    revised(status, rule.stored.revision, &RuleView::from(rule))
}

/// Every rule, by id.
#[utoipa::path(get, path = "/api/alerts/rules", operation_id = "listRules", tag = "rules", responses((status = 200, body = Vec<RuleView>)))]
pub(super) async fn list(State(alerting): State<Arc<Alerting>>) -> Result<Response, Problem> {
    let rules = alerting.rules().await?;
    Ok(typed(&rules.into_iter().map(RuleView::from).collect::<Vec<_>>()))
}

/// One rule; its revision is the `ETag`.
#[utoipa::path(
    get,
    path = "/api/alerts/rules/{rule}",
    operation_id = "getRule",
    tag = "rules",
    params(("rule" = String, Path, description = "the rule's id")),
    responses((status = 200, body = RuleView), (status = 404, body = ProblemDocument))
)]
pub(super) async fn one(State(alerting): State<Arc<Alerting>>, Path(id): Path<String>) -> Result<Response, Problem> {
    Ok(answer(StatusCode::OK, alerting.rule(&id).await?))
}

/// The fields that are written, the revision that was seen, and `origin: file` when a file says so.
fn written(mut body: Map<String, Value>) -> (Map<String, Value>, Option<i64>, RuleOrigin) {
    let revision = body.get("revision").and_then(Value::as_i64);
    let from_file = body.get("origin").and_then(Value::as_str) == Some("file");
    body.retain(|name, _| !READ_ONLY.contains(&name.as_str()));
    (body, revision, if from_file { RuleOrigin::File } else { RuleOrigin::Api })
}

/// Makes a rule; with `dryRun` it is only checked.
#[utoipa::path(
    post,
    path = "/api/alerts/rules",
    operation_id = "createRule",
    tag = "rules",
    params(WriteQuery),
    request_body = Rule,
    responses((status = 201, body = RuleView), (status = 200, description = "checked", body = Rule), Refused)
)]
pub(super) async fn create(
    State(alerting): State<Arc<Alerting>>,
    Query(query): Query<WriteQuery>,
    Body(body): Body<Map<String, Value>>,
) -> Result<Response, Problem> {
    let (body, _, origin) = written(body);
    let rule: Rule = read(Value::Object(body))?;
    if query.dry_run {
        alerting.check_rule(&rule)?;
        return Ok(typed(&rule));
    }
    Ok(answer(StatusCode::CREATED, alerting.put_rule(&rule, origin, Expected::Absent).await?))
}

/// Replaces a rule; a body without `condition` changes only the fields that it has.
#[utoipa::path(
    put,
    path = "/api/alerts/rules/{rule}",
    operation_id = "replaceRule",
    tag = "rules",
    params(("rule" = String, Path, description = "the rule's id"), WriteQuery),
    request_body = Rule,
    responses((status = 200, body = RuleView), Refused)
)]
pub(super) async fn replace(
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
        return Ok(typed(&rule));
    }
    Ok(answer(StatusCode::OK, alerting.put_rule(&rule, origin, expected).await?))
}

/// Ends a rule; its revisions stay.
#[utoipa::path(
    delete,
    path = "/api/alerts/rules/{rule}",
    operation_id = "deleteRule",
    tag = "rules",
    params(("rule" = String, Path, description = "the rule's id"), WriteQuery),
    responses((status = 204), Refused)
)]
pub(super) async fn delete(
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

/// Every revision of a rule.
#[utoipa::path(
    get,
    path = "/api/alerts/rules/{rule}/revisions",
    operation_id = "listRuleRevisions",
    tag = "rules",
    params(("rule" = String, Path, description = "the rule's id")),
    responses((status = 200, body = Vec<RuleRevisionView>), (status = 404, body = ProblemDocument))
)]
pub(super) async fn revisions(
    State(alerting): State<Arc<Alerting>>,
    Path(id): Path<String>,
) -> Result<Response, Problem> {
    let revisions = alerting.rule_revisions(&id).await?;
    Ok(typed(&revisions.into_iter().map(RuleRevisionView::from).collect::<Vec<_>>()))
}

/// Which revision is to be the newest again.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Revert {
    revision: i64,
}

/// Makes an old revision the newest again.
#[utoipa::path(
    post,
    path = "/api/alerts/rules/{rule}/revert",
    operation_id = "revertRule",
    tag = "rules",
    params(("rule" = String, Path, description = "the rule's id"), WriteQuery),
    request_body = Revert,
    responses((status = 200, body = RuleView), Refused)
)]
pub(super) async fn revert(
    State(alerting): State<Arc<Alerting>>,
    Path(id): Path<String>,
    Query(query): Query<WriteQuery>,
    headers: HeaderMap,
    Body(revert): Body<Revert>,
) -> Result<Response, Problem> {
    if query.dry_run {
        let rule = alerting.rule_as_of(&id, revert.revision).await?;
        return Ok(typed(&rule));
    }
    let expected = match expected(&headers, None)? {
        // One that was deleted may come back this way.
        Expected::Present => Expected::Anything,
        other => other,
    };
    Ok(answer(StatusCode::OK, alerting.revert_rule(&id, revert.revision, expected).await?))
}

/// Who wants to see it.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct TestFire {
    #[serde(default)]
    by: String,
}

/// Who is told.
#[derive(Serialize, ToSchema)]
struct TestFired {
    receivers: Vec<String>,
}

/// Tells the rule's receivers, as if it fired, that this is a test.
#[utoipa::path(
    post,
    path = "/api/alerts/rules/{rule}/test",
    operation_id = "testRule",
    tag = "rules",
    params(("rule" = String, Path, description = "the rule's id")),
    request_body = TestFire,
    responses((status = 200, body = TestFired), Refused)
)]
pub(super) async fn test(
    State(alerting): State<Arc<Alerting>>,
    Path(id): Path<String>,
    Body(test): Body<TestFire>,
) -> Result<Response, Problem> {
    let by = if test.by.is_empty() { "somebody" } else { &test.by };
    let receivers = alerting.test_fire(&id, by).await?;
    Ok(typed(&TestFired { receivers }))
}
