//! Revisions on their way through the fleet.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Nullable, Text, Timestamptz};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl};
use serde_json::Value;

use super::policies::{
    Change, PolicyRow, at_rest_in_txn, changed_in_txn, lock_in_txn, next_revision_in_txn, remember_in_txn, stand_in_txn,
};
use super::rules::{Expected, WriteError};
use super::schema::{policy_revisions, policy_rollouts};
use super::{Storage, StorageError};

/// A rollout that is asked for.
#[derive(Clone, Debug)]
pub struct NewRollout {
    /// Names it for ever.
    pub id: String,
    /// Which policy.
    pub policy_id: String,
    /// `model::Policy` as it is to be, as JSON.
    pub definition: Value,
    /// `Vec<model::RolloutStage>` as JSON.
    pub stages: Value,
    /// `Vec<model::RolloutGuard>` as JSON.
    pub guards: Value,
    /// Share of the fleet that the first stage means.
    pub reach: f64,
    /// Who, and why.
    pub change: Change,
}

/// A rollout.
#[derive(Clone, Debug, Queryable, Selectable, QueryableByName)]
#[diesel(table_name = policy_rollouts)]
pub struct RolloutRow {
    /// Names it for ever.
    pub id: String,
    /// Which policy.
    pub policy_id: String,
    /// What everybody else has.
    pub from_revision: i64,
    /// What is rolled out.
    pub to_revision: i64,
    /// `Vec<model::RolloutStage>` as JSON.
    pub stages: Value,
    /// `Vec<model::RolloutGuard>` as JSON.
    pub guards: Value,
    /// `model::RolloutState`.
    pub state: String,
    /// Counted from 0.
    pub stage: i32,
    /// By stage that was reached: the share of the fleet that it means.
    pub reach: Value,
    /// `Vec<model::GuardReading>` as JSON.
    pub readings: Value,
    /// Who started it, or moved it last.
    pub author: String,
    /// Why it is where it is.
    pub reason: String,
    /// When it began.
    pub started_at: DateTime<Utc>,
    /// When its stage began, or went on.
    pub stage_started_at: DateTime<Utc>,
    /// When it was done or rolled back.
    pub ended_at: Option<DateTime<Utc>>,
}

/// What becomes of a rollout.
#[derive(Clone, Debug, PartialEq)]
pub enum RolloutMove {
    /// It goes on at its stage.
    Resume,
    /// It stays at its stage.
    Pause,
    /// To the next stage, which means this share of the fleet.
    Next(f64),
    /// Everybody has the new revision.
    Done,
    /// Everybody has the revision from before.
    RollBack,
}

/// Of each server that is asked, one at a time looks at the guards of a rollout; it is taken over when it is not heard.
const DRIVE: &str = "UPDATE policy_rollouts SET driver = $1, driven_until = now() + interval '10 seconds' \
     WHERE state = 'running' AND (driver IS NULL OR driver = $1 OR driven_until < now()) RETURNING *";

/// The rollout, locked, when it has not ended.
async fn lock_rollout_in_txn(conn: &mut AsyncPgConnection, id: &str) -> Result<RolloutRow, WriteError> {
    let found = policy_rollouts::table.find(id).select(RolloutRow::as_select()).for_update();
    let row: RolloutRow = found.first(conn).await.optional()?.ok_or(WriteError::Absent)?;
    if row.ended_at.is_some() { Err(WriteError::Stale(row.to_revision)) } else { Ok(row) }
}

impl Storage {
    /// Starts a rollout: the next revision is written, and given to the first stage only.
    ///
    /// # Errors
    /// When what is there is not what was expected, or a rollout is under way.
    pub async fn rollout_start(&self, new: &NewRollout, expected: Expected) -> Result<RolloutRow, WriteError> {
        let mut conn = self.conn().await?;
        conn.transaction(async |conn| {
            let there = lock_in_txn(conn, &new.policy_id).await?.filter(|policy| !policy.deleted);
            expected.check(there.as_ref().map(|policy| policy.revision))?;
            let Some(standing) = there else { return Err(WriteError::Absent) };
            at_rest_in_txn(conn, &new.policy_id).await?;
            changed_in_txn(conn).await?;
            let next = PolicyRow {
                definition: new.definition.clone(),
                revision: next_revision_in_txn(conn, &new.policy_id).await?,
                author: new.change.author.clone(),
                reason: new.change.reason.clone(),
                ..standing.clone()
            };
            remember_in_txn(conn, &next).await?;
            Ok(diesel::insert_into(policy_rollouts::table)
                .values((
                    policy_rollouts::id.eq(&new.id),
                    policy_rollouts::policy_id.eq(&new.policy_id),
                    policy_rollouts::from_revision.eq(standing.revision),
                    policy_rollouts::to_revision.eq(next.revision),
                    policy_rollouts::stages.eq(&new.stages),
                    policy_rollouts::guards.eq(&new.guards),
                    policy_rollouts::state.eq("running"),
                    policy_rollouts::stage.eq(0),
                    policy_rollouts::reach.eq(serde_json::json!([new.reach])),
                    policy_rollouts::readings.eq(serde_json::json!([])),
                    policy_rollouts::author.eq(&new.change.author),
                    policy_rollouts::reason.eq(&new.change.reason),
                ))
                .returning(RolloutRow::as_returning())
                .get_result(conn)
                .await?)
        })
        .await
    }

    /// One rollout.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn rollout_find(&self, id: &str) -> Result<Option<RolloutRow>, StorageError> {
        let mut conn = self.conn().await?;
        let found = policy_rollouts::table.find(id).select(RolloutRow::as_select());
        Ok(found.first(&mut conn).await.optional()?)
    }

    /// The last hundred rollouts of a policy, or of all when it is empty, the newest first.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn rollout_list(&self, policy: &str) -> Result<Vec<RolloutRow>, StorageError> {
        let mut conn = self.conn().await?;
        let mut rows = policy_rollouts::table.select(RolloutRow::as_select()).into_boxed();
        if !policy.is_empty() {
            rows = rows.filter(policy_rollouts::policy_id.eq(policy));
        }
        let newest_first = (policy_rollouts::started_at.desc(), policy_rollouts::id);
        Ok(rows.order(newest_first).limit(100).load(&mut conn).await?)
    }

    /// The rollouts that have not ended, each with what it rolls out.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn rollouts_open(&self) -> Result<Vec<(RolloutRow, Value)>, StorageError> {
        let mut conn = self.conn().await?;
        let of_rollout = policy_revisions::policy_id
            .eq(policy_rollouts::policy_id)
            .and(policy_revisions::revision.eq(policy_rollouts::to_revision));
        Ok(policy_rollouts::table
            .inner_join(policy_revisions::table.on(of_rollout))
            .filter(policy_rollouts::ended_at.is_null())
            .select((RolloutRow::as_select(), policy_revisions::definition))
            .order(policy_rollouts::id)
            .load(&mut conn)
            .await?)
    }

    /// The running rollouts whose guards `replica` looks at from now on, for ten seconds.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn rollouts_drive(&self, replica: &str) -> Result<Vec<RolloutRow>, StorageError> {
        let mut conn = self.conn().await?;
        Ok(diesel::sql_query(DRIVE).bind::<Text, _>(replica).load(&mut conn).await?)
    }

    /// Writes down what its guards measured.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn rollout_read(&self, id: &str, readings: &Value) -> Result<(), StorageError> {
        let mut conn = self.conn().await?;
        let running = policy_rollouts::table.find(id).filter(policy_rollouts::ended_at.is_null());
        diesel::update(running).set(policy_rollouts::readings.eq(readings)).execute(&mut conn).await?;
        Ok(())
    }

    /// Moves a rollout that is at `stage`; a revision that everybody has becomes the policy as it stands. With `since` it must
    /// still run the stage that began then: whoever measured for a while may not undo what a person did meanwhile.
    ///
    /// # Errors
    /// When there is none, it has ended ([`WriteError::Stale`]), or it is elsewhere by now ([`WriteError::Busy`]).
    pub async fn rollout_move(
        &self,
        (id, stage, since): (&str, i32, Option<DateTime<Utc>>),
        to: &RolloutMove,
        change: &Change,
    ) -> Result<RolloutRow, WriteError> {
        let mut conn = self.conn().await?;
        conn.transaction(async |conn| {
            let rollout = lock_rollout_in_txn(conn, id).await?;
            if rollout.stage != stage {
                return Err(WriteError::Busy(format!("stage {}", rollout.stage)));
            }
            if since.is_some_and(|since| rollout.state != "running" || rollout.stage_started_at != since) {
                return Err(WriteError::Busy(format!("stage {}, {}", rollout.stage, rollout.state)));
            }
            let mut reach = rollout.reach.clone();
            let (state, ended) = match to {
                RolloutMove::Resume => ("running", false),
                RolloutMove::Pause => ("paused", false),
                RolloutMove::Next(share) => {
                    reach.as_array_mut().into_iter().for_each(|reach| reach.push(serde_json::json!(share)));
                    ("running", false)
                }
                RolloutMove::Done => ("done", true),
                RolloutMove::RollBack => ("rolled_back", true),
            };
            if *to == RolloutMove::Done {
                settle_in_txn(conn, &rollout).await?;
            }
            changed_in_txn(conn).await?;
            let next = if matches!(to, RolloutMove::Next(_)) { stage + 1 } else { stage };
            // A pause tells nothing of how long it has been good.
            let begins = matches!(to, RolloutMove::Next(_) | RolloutMove::Resume);
            let stage_started = if begins { "now()" } else { "stage_started_at" };
            let ended_at = if ended { "now()" } else { "NULL" };
            Ok(diesel::update(policy_rollouts::table.find(id))
                .set((
                    policy_rollouts::state.eq(state),
                    policy_rollouts::stage.eq(next),
                    policy_rollouts::reach.eq(reach),
                    policy_rollouts::stage_started_at.eq(diesel::dsl::sql::<Timestamptz>(stage_started)),
                    policy_rollouts::ended_at.eq(diesel::dsl::sql::<Nullable<Timestamptz>>(ended_at)),
                    policy_rollouts::author.eq(&change.author),
                    policy_rollouts::reason.eq(&change.reason),
                ))
                .returning(RolloutRow::as_returning())
                .get_result(conn)
                .await?)
        })
        .await
    }
}

/// What was rolled out is the policy as it stands.
async fn settle_in_txn(conn: &mut AsyncPgConnection, rollout: &RolloutRow) -> Result<(), WriteError> {
    let standing = lock_in_txn(conn, &rollout.policy_id).await?.ok_or(WriteError::Absent)?;
    let revision = policy_revisions::table.find((&rollout.policy_id, rollout.to_revision));
    let (definition, author, reason): (Value, String, String) = revision
        .select((policy_revisions::definition, policy_revisions::author, policy_revisions::reason))
        .first(conn)
        .await?;
    let next = PolicyRow { definition, revision: rollout.to_revision, author, reason, ..standing };
    stand_in_txn(conn, &next).await?;
    Ok(())
}
