//! Silences, maintenance windows, the routing tree and inhibitions as people write them.

use chrono::{DateTime, Utc};
use serde::Serialize;
use utoipa::ToSchema;

use super::error::AlertingError;
use super::routes::{EVERY, default_tree, matching};
use super::{Alerting, evaluate::LabelSet, stored, validate};
use crate::model::{Alert, Inhibition, LabelMatcher, MaintenanceWindow, Route, Silence, all_match};
use crate::storage::{ActiveFilter, Expected};

/// A silence with what it does now.
#[derive(Clone, Debug)]
pub struct SilenceStatus {
    /// The silence.
    pub silence: Silence,
    /// `pending`, `active` or `expired`.
    pub state: &'static str,
    /// Open alerts that it meets.
    pub affected: usize,
}

/// A maintenance window with whether it is open.
#[derive(Clone, Debug)]
pub struct WindowStatus {
    /// The window.
    pub window: MaintenanceWindow,
    /// It is open now.
    pub active: bool,
}

/// Where an alert with some labels would go.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct RouteAnswer {
    /// Receivers, `*` resolved.
    pub receivers: Vec<String>,
    /// The routes that take it.
    pub path: Vec<String>,
}

fn new_id() -> String {
    format!("{:016x}", rand::random::<u64>())
}

fn silence_named(id: &str) -> String {
    format!("silence {id:?}")
}

fn window_named(id: &str) -> String {
    format!("maintenance window {id:?}")
}

fn met(alerts: &[Alert], matchers: &[LabelMatcher]) -> Vec<Alert> {
    alerts.iter().filter(|alert| all_match(matchers, &alert.matched_labels())).cloned().collect()
}

impl Alerting {
    /// Every silence, the newest first.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn silences(&self) -> Result<Vec<SilenceStatus>, AlertingError> {
        let now = self.now().await?;
        let alerts = self.active_alerts(&ActiveFilter::default()).await?;
        let rows = self.storage.silence_list().await?;
        let silences = rows.iter().filter_map(|row| stored::read::<Silence>("silence", row));
        Ok(silences.map(|silence| status(silence, &alerts, now)).collect())
    }

    /// One silence.
    ///
    /// # Errors
    /// When there is none.
    pub async fn silence(&self, id: &str) -> Result<SilenceStatus, AlertingError> {
        let silence = self.stored_silence(id).await?;
        let alerts = self.active_alerts(&ActiveFilter::default()).await?;
        Ok(status(silence, &alerts, self.now().await?))
    }

    async fn stored_silence(&self, id: &str) -> Result<Silence, AlertingError> {
        let row = self.storage.silence_find(id).await?;
        row.and_then(|row| stored::read("silence", &row)).ok_or_else(|| AlertingError::Absent(silence_named(id)))
    }

    /// Keeps a silence: a new one when `expected` says so, with an id made for it unless it has one. One that creates what
    /// is there already, word for word, is answered with that.
    ///
    /// # Errors
    /// When it is not sound, or what is there is not what was expected.
    pub async fn put_silence(
        &self,
        mut silence: Silence,
        expected: Expected,
        dry_run: bool,
    ) -> Result<SilenceStatus, AlertingError> {
        let now = self.now().await?;
        if silence.id.is_empty() {
            silence.id = new_id();
        }
        if silence.starts_at == DateTime::<Utc>::default() {
            silence.starts_at = now;
        }
        validate::silence(&silence)?;
        if !dry_run {
            let definition = stored::write(&silence);
            let span = (silence.starts_at, silence.ends_at);
            let written = self.storage.silence_put((&silence.id, &definition), span, expected).await;
            match written.map_err(|error| AlertingError::of_write(error, silence_named(&silence.id))) {
                Err(AlertingError::Exists(_)) if self.stored_silence(&silence.id).await? == silence => {}
                other => other?,
            }
        }
        let alerts = self.active_alerts(&ActiveFilter::default()).await?;
        Ok(status(silence, &alerts, now))
    }

    /// Ends a silence now; it stays for the record.
    ///
    /// # Errors
    /// When there is none.
    pub async fn expire_silence(&self, id: &str) -> Result<SilenceStatus, AlertingError> {
        let mut silence = self.stored_silence(id).await?;
        let now = self.now().await?;
        if silence.ends_at > now {
            silence.ends_at = now;
            silence.starts_at = silence.starts_at.min(now);
            let span = (silence.starts_at, silence.ends_at);
            let written = self.storage.silence_put((id, &stored::write(&silence)), span, Expected::Present).await;
            written.map_err(|error| AlertingError::of_write(error, silence_named(id)))?;
        }
        Ok(status(silence, &[], now))
    }

    /// The open alerts that `matchers` meet.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn preview(&self, matchers: &[LabelMatcher]) -> Result<Vec<Alert>, AlertingError> {
        Ok(met(&self.active_alerts(&ActiveFilter::default()).await?, matchers))
    }

    /// Every maintenance window, by id.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn windows(&self) -> Result<Vec<WindowStatus>, AlertingError> {
        let now = self.now().await?;
        let rows = self.storage.window_list().await?;
        let windows = rows.iter().filter_map(|row| stored::read::<MaintenanceWindow>("maintenance window", row));
        Ok(windows.map(|window| WindowStatus { active: window.is_open(now), window }).collect())
    }

    /// One maintenance window.
    ///
    /// # Errors
    /// When there is none.
    pub async fn window(&self, id: &str) -> Result<WindowStatus, AlertingError> {
        let windows = self.windows().await?;
        let found = windows.into_iter().find(|status| status.window.id == id);
        found.ok_or_else(|| AlertingError::Absent(window_named(id)))
    }

    /// Keeps a maintenance window.
    ///
    /// # Errors
    /// When it is not sound, or what is there is not what was expected.
    pub async fn put_window(
        &self,
        mut window: MaintenanceWindow,
        expected: Expected,
    ) -> Result<WindowStatus, AlertingError> {
        if window.id.is_empty() {
            window.id = new_id();
        }
        validate::window(&window)?;
        let written = self.storage.window_put(&window.id, Some(&stored::write(&window)), expected).await;
        written.map_err(|error| AlertingError::of_write(error, window_named(&window.id)))?;
        Ok(WindowStatus { active: window.is_open(self.now().await?), window })
    }

    /// Deletes a maintenance window.
    ///
    /// # Errors
    /// When there is none.
    pub async fn delete_window(&self, id: &str) -> Result<(), AlertingError> {
        let written = self.storage.window_put(id, None, Expected::Present).await;
        written.map_err(|error| AlertingError::of_write(error, window_named(id)))
    }

    /// The routing tree and its revision; 0 while nobody has written one.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn routes(&self) -> Result<(Route, i64), AlertingError> {
        Ok(self.route_tree().await?)
    }

    /// Replaces the routing tree; returns its new revision.
    ///
    /// # Errors
    /// When it is not sound, or not at the revision that was expected.
    pub async fn put_routes(&self, tree: &Route, expected: Option<i64>) -> Result<i64, AlertingError> {
        validate::routes(tree)?;
        let mut tree = tree.clone();
        // Without a word on grouping, a rule's alerts are told together and not those of the whole house.
        tree.group_by = tree.group_by.or_else(|| default_tree().group_by);
        let written = self.storage.routing_put("routes", &stored::write(&tree), expected).await;
        written.map_err(|error| AlertingError::of_write(error, "routing tree".to_owned()))
    }

    /// Where an alert with `labels` would go.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn test_routes(&self, labels: &LabelSet) -> Result<RouteAnswer, AlertingError> {
        let (tree, _) = self.route_tree().await?;
        let matched = matching(&tree, labels);
        let mut receivers: Vec<String> = matched.iter().flat_map(|route| route.receivers.clone()).collect();
        if receivers.iter().any(|receiver| receiver == EVERY) {
            receivers.extend(self.storage.receivers_enabled().await?);
            receivers.retain(|receiver| receiver != EVERY);
        }
        receivers.sort();
        receivers.dedup();
        Ok(RouteAnswer { receivers, path: matched.into_iter().map(|route| route.path).collect() })
    }

    /// The inhibitions and their revision.
    ///
    /// # Errors
    /// When the database is away.
    pub async fn inhibitions(&self) -> Result<(Vec<Inhibition>, i64), AlertingError> {
        let written = self.storage.routing_find("inhibitions").await?;
        let read =
            written.and_then(|revised| Some((stored::read("inhibitions", &revised.definition)?, revised.revision)));
        Ok(read.unwrap_or_default())
    }

    /// Replaces the inhibitions; returns their new revision.
    ///
    /// # Errors
    /// When they are not sound, or not at the revision that was expected.
    pub async fn put_inhibitions(&self, new: &[Inhibition], expected: Option<i64>) -> Result<i64, AlertingError> {
        validate::inhibitions(new)?;
        let written = self.storage.routing_put("inhibitions", &stored::write(&new), expected).await;
        written.map_err(|error| AlertingError::of_write(error, "list of inhibitions".to_owned()))
    }
}

fn status(silence: Silence, alerts: &[Alert], now: DateTime<Utc>) -> SilenceStatus {
    let state = silence.state(now);
    let affected = if state == "expired" { 0 } else { met(alerts, &silence.matchers).len() };
    SilenceStatus { silence, state, affected }
}
