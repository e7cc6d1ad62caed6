//! What keeps an alert from being told: silences, maintenance windows, inhibition. Pure.

use chrono::{DateTime, Utc};

use super::evaluate::LabelSet;
use crate::model::{Alert, Inhibition, MaintenanceWindow, Silence, SuppressedBy, Suppression, all_match};

/// Everything that may suppress, as of one moment.
#[derive(Clone, Debug, Default)]
pub(super) struct Suppressors {
    pub(super) silences: Vec<Silence>,
    pub(super) windows: Vec<MaintenanceWindow>,
    pub(super) inhibitions: Vec<Inhibition>,
    /// Fingerprint and matched labels of what fires; empty where nothing inhibits.
    pub(super) firing: Vec<(String, LabelSet)>,
}

impl Suppressors {
    /// Why `alert` is not to be told at `now`.
    pub(super) fn of(&self, alert: &Alert, now: DateTime<Utc>) -> Vec<Suppression> {
        let labels = alert.matched_labels();
        let mut found = Vec::new();
        for silence in self.silences.iter().filter(|s| s.is_active(now) && all_match(&s.matchers, &labels)) {
            let by = if silence.created_by.is_empty() { "somebody" } else { &silence.created_by };
            let reason =
                format!("silenced by {by} until {}: {}", silence.ends_at.format("%F %H:%M UTC"), silence.comment);
            found.push(Suppression { kind: SuppressedBy::Silence, id: silence.id.clone(), reason });
        }
        for window in self.windows.iter().filter(|w| w.is_open(now) && all_match(&w.matchers, &labels)) {
            let reason = format!("maintenance: {}", window.name);
            found.push(Suppression { kind: SuppressedBy::Maintenance, id: window.id.clone(), reason });
        }
        found.extend(self.inhibitor_of(&alert.fingerprint, &labels));
        found
    }

    /// The first alert that explains this one. Nothing explains itself, nor what would explain it in turn.
    fn inhibitor_of(&self, print: &str, labels: &LabelSet) -> Option<Suppression> {
        self.inhibitions.iter().enumerate().find_map(|(number, inhibition)| {
            if !all_match(&inhibition.target, labels) {
                return None;
            }
            let is_source_too = all_match(&inhibition.source, labels);
            let explains = |(other, source): &&(String, LabelSet)| {
                other != print
                    && all_match(&inhibition.source, source)
                    && !(is_source_too && all_match(&inhibition.target, source))
                    && inhibition.equal.iter().all(|name| labels.get(name) == source.get(name))
            };
            let (source, source_labels) = self.firing.iter().find(explains)?;
            let name = source_labels.get("alertname").map_or("", String::as_str);
            let reason = format!("{name} ({source}) fires and explains it, by inhibition {number}");
            Some(Suppression { kind: SuppressedBy::Inhibition, id: source.clone(), reason })
        })
    }
}
