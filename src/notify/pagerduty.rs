//! PagerDuty, Events API v2: trigger and resolve, one incident a group by its `dedup_key`.

use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use super::fields::Fields;
use super::outbound::{Call, Outbound};
use super::outcome::{self, Outcome};
use super::words;
use crate::model::Notification;

pub(super) const SECRETS: &[&str] = &["routingKey"];
/// Longest `dedup_key`.
const DEDUP_KEY_CHARS_MAX: usize = 255;
/// Longest `summary`.
const SUMMARY_CHARS_MAX: usize = 1_024;

/// A PagerDuty receiver's settings.
pub(super) struct PagerDuty {
    api: Url,
    routing_key: SecretString,
}

impl PagerDuty {
    pub(super) fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let api = fields.api_url("apiUrl", "https://events.pagerduty.com/v2/enqueue");
        let routing_key = fields.required_secret("routingKey");
        Some(Self { api: api?, routing_key })
    }

    pub(super) async fn send(&self, outbound: &Outbound, notification: &Notification) -> Outcome {
        match outbound.post(Call::json(self.api.clone(), &self.event(notification))).await {
            Ok(answer) => outcome::of_answer(&answer),
            Err(error) => error.into(),
        }
    }

    fn event(&self, notification: &Notification) -> Value {
        let mut event = json!({
            "routing_key": self.routing_key.expose_secret(),
            "event_action": if notification.is_firing() { "trigger" } else { "resolve" },
            "dedup_key": dedup_key(&notification.group_key),
        });
        if notification.is_firing()
            && let Some(event) = event.as_object_mut()
        {
            event.extend(trigger(notification));
        }
        event
    }
}

/// The group's key, or its hash when it is too long.
fn dedup_key(group_key: &str) -> String {
    if group_key.chars().count() <= DEDUP_KEY_CHARS_MAX {
        return group_key.to_owned();
    }
    Sha256::digest(group_key).iter().map(|byte| format!("{byte:02x}")).collect()
}

fn trigger(notification: &Notification) -> Map<String, Value> {
    let first = notification.alerts.first();
    let service = |name: &str| notification.group_labels.get(name).or_else(|| first?.labels.get(name)).cloned();
    let links = words::items(notification).into_iter().flat_map(|item| item.links);
    let links: Vec<Value> = links.map(|(text, href)| json!({ "href": href, "text": text })).collect();
    let mut out = Map::new();
    out.insert(
        "payload".to_owned(),
        json!({
            "summary": words::clip(&words::title(notification), SUMMARY_CHARS_MAX),
            "source": service("service.name").or_else(|| service("host.name")).unwrap_or_else(|| "fastbreak".to_owned()),
            "severity": notification.severity(),
            "timestamp": first.map(|alert| alert.starts_at).unwrap_or(notification.decided_at),
            "group": words::clip(&notification.group_key, DEDUP_KEY_CHARS_MAX),
            "class": first.map(|alert| alert.rule_name.as_str()).unwrap_or_default(),
            "custom_details": {
                "id": notification.id,
                "reason": notification.reason,
                "text": words::text(notification),
                "labels": notification.group_labels,
            },
        }),
    );
    out.insert("client".to_owned(), json!("FastBreak"));
    if words::is_link(&notification.dashboard_url) {
        out.insert("client_url".to_owned(), json!(notification.dashboard_url));
    }
    if !links.is_empty() {
        out.insert("links".to_owned(), json!(links));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn long_keys_are_hashed_and_short_ones_kept() {
        assert_eq!(dedup_key("a/b"), "a/b");
        assert_eq!(dedup_key(&"x".repeat(256)).len(), 64);
    }
}
