//! What people read: title, lines and links of a notification, before any receiver's markup.

use std::fmt::Write as _;
use std::time::Duration;

use chrono::{DateTime, SecondsFormat, Utc};
use reqwest::Url;

use crate::model::{Notification, NotificationReason, NotifiedAlert, Severity};

/// Alerts that are told of one by one; the rest are counted.
const ALERTS_TOLD: usize = 10;
/// Longest text of a label or annotation, in characters.
const TEXT_CHARS_MAX: usize = 500;

/// One alert, told.
pub(super) struct Item {
    /// Rule and what tells the alert apart.
    pub(super) headline: String,
    /// Name and text, in the order of reading.
    pub(super) facts: Vec<(String, String)>,
    /// Where to read on; only http and https.
    pub(super) links: Vec<(String, String)>,
}

/// At most `chars` characters of `text`.
pub(super) fn clip(text: &str, chars: usize) -> String {
    if text.chars().count() <= chars {
        return text.to_owned();
    }
    text.chars().take(chars.saturating_sub(1)).chain(['…']).collect()
}

/// On one line: what goes into headers and headings.
pub(super) fn one_line(text: &str, chars: usize) -> String {
    let spaced: String = text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    clip(&spaced.split_whitespace().collect::<Vec<_>>().join(" "), chars)
}

/// True for what may be a link.
pub(super) fn is_link(text: &str) -> bool {
    Url::parse(text).is_ok_and(|url| matches!(url.scheme(), "http" | "https") && url.has_host())
        && !text.chars().any(|c| c.is_control() || c.is_whitespace() || "<>\"|".contains(c))
}

fn labels(labels: &std::collections::BTreeMap<String, String>) -> String {
    labels.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
}

/// The title, such as `[FIRING 2] critical: High latency (service.name=checkout)`.
pub(super) fn title(notification: &Notification) -> String {
    let firing = notification.alerts.iter().filter(|alert| alert.firing).count();
    let word = match notification.reason {
        NotificationReason::Test => "TEST".to_owned(),
        _ if firing == 0 => "RESOLVED".to_owned(),
        NotificationReason::Escalated => format!("ESCALATED {firing}"),
        NotificationReason::Unacknowledged => format!("UNACKNOWLEDGED {firing}"),
        NotificationReason::Repeated => format!("STILL FIRING {firing}"),
        NotificationReason::Fired | NotificationReason::Resolved => format!("FIRING {firing}"),
    };
    let mut names: Vec<&str> = notification.alerts.iter().map(|alert| alert.rule_name.as_str()).collect();
    names.dedup();
    let group = labels(&notification.group_labels);
    let group = if group.is_empty() { String::new() } else { format!(" ({group})") };
    one_line(&format!("[{word}] {}: {}{group}", notification.severity().as_str(), names.join(", ")), 200)
}

/// A number with its unit, as short as it is exact enough.
pub(super) fn number(value: f64, unit: &str) -> String {
    let rounded = if value.abs() >= 100.0 || value == value.trunc() {
        format!("{value:.0}")
    } else {
        format!("{value:.3}").trim_end_matches('0').trim_end_matches('.').to_owned()
    };
    match unit {
        "" | "1" => rounded,
        "%" => format!("{rounded} %"),
        unit => format!("{rounded} {}", unit.trim_matches(|c| c == '{' || c == '}')),
    }
}

fn moment(at: DateTime<Utc>) -> String {
    at.to_rfc3339_opts(SecondsFormat::Secs, true)
}

fn span(from: DateTime<Utc>, to: DateTime<Utc>) -> String {
    let seconds = u64::try_from((to - from).num_seconds()).unwrap_or_default();
    humantime::format_duration(Duration::from_secs(seconds)).to_string()
}

fn item(alert: &NotifiedAlert, notification: &Notification) -> Item {
    let state = if alert.firing { "firing" } else { "resolved" };
    let apart = labels(&alert.labels);
    let apart = if apart.is_empty() { String::new() } else { format!(" ({apart})") };
    let headline =
        one_line(&format!("{} {state}: {}{apart}", alert.severity.as_str(), alert.rule_name), TEXT_CHARS_MAX);
    let mut facts = Vec::new();
    let mut fact = |name: &str, text: String| facts.push((name.to_owned(), clip(&text, TEXT_CHARS_MAX)));
    for (name, text) in alert.annotations.iter().filter(|(_, text)| !is_link(text)) {
        fact(&one_line(name, 80), text.clone());
    }
    fact("condition", alert.condition.clone());
    if let Some(value) = alert.value {
        let threshold = alert.threshold.map(|t| format!(" (threshold {})", number(t, &alert.unit))).unwrap_or_default();
        fact("value", number(value, &alert.unit) + &threshold);
    }
    if let Some(peak) = alert.peak {
        fact("peak", number(peak, &alert.unit));
    }
    fact("since", moment(alert.starts_at));
    if let Some(ends_at) = alert.ends_at {
        let reason = alert.resolved_reason.as_deref().unwrap_or("recovered").replace('_', " ");
        fact("resolved", format!("{} after {}: {reason}", moment(ends_at), span(alert.starts_at, ends_at)));
    }
    if let Some(by) = &alert.acknowledged_by {
        fact("acknowledged by", by.clone());
    }
    let mut links = vec![("Open".to_owned(), format!("{}/alerts/{}", notification.dashboard_url, alert.fingerprint))];
    links.extend(alert.annotations.iter().map(|(name, text)| (one_line(&name.replace('_', " "), 80), text.clone())));
    links.retain(|(_, url)| is_link(url));
    Item { headline, facts, links }
}

/// The alerts told one by one.
pub(super) fn items(notification: &Notification) -> Vec<Item> {
    notification.alerts.iter().take(ALERTS_TOLD).map(|alert| item(alert, notification)).collect()
}

/// The line about alerts that are not told one by one.
pub(super) fn rest(notification: &Notification) -> Option<String> {
    let more = notification.alerts.len().saturating_sub(ALERTS_TOLD) + notification.alerts_left_out as usize;
    (more > 0).then(|| format!("and {more} more"))
}

/// Everything as plain text.
pub(super) fn text(notification: &Notification) -> String {
    let mut out = format!("{}\n", title(notification));
    for item in items(notification) {
        // Writing to a String cannot fail.
        let _infallible = write!(out, "\n{}\n", item.headline);
        for (name, text) in &item.facts {
            let _infallible = writeln!(out, "  {name}: {text}");
        }
        for (name, url) in &item.links {
            let _infallible = writeln!(out, "  {name}: {url}");
        }
    }
    if let Some(rest) = rest(notification) {
        let _infallible = write!(out, "\n{rest}\n");
    }
    out
}

/// The colour of the whole: red, amber, blue, or green once resolved.
pub(super) fn colour(notification: &Notification) -> &'static str {
    match (notification.is_firing(), notification.severity()) {
        (false, _) => "#2e7d32",
        (true, Severity::Critical) => "#c62828",
        (true, Severity::Warning) => "#ef6c00",
        (true, Severity::Info) => "#1565c0",
    }
}

/// A notification on which templates are tried.
pub(super) fn sample(firing: bool) -> Notification {
    let at = DateTime::from_timestamp(1_700_000_000, 0).unwrap_or_default();
    let pairs = |pairs: &[(&str, &str)]| pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
    Notification {
        id: "sample".to_owned(),
        receiver: "sample".to_owned(),
        reason: if firing { NotificationReason::Fired } else { NotificationReason::Resolved },
        group_key: "sample".to_owned(),
        group_labels: pairs(&[("service.name", "checkout")]),
        alerts: vec![NotifiedAlert {
            fingerprint: "00112233445566ff".to_owned(),
            rule_id: "high-response-time".to_owned(),
            rule_name: "High response time".to_owned(),
            condition: "avgResponseTime > threshold".to_owned(),
            firing,
            severity: Severity::Critical,
            labels: pairs(&[("service.name", "checkout")]),
            annotations: pairs(&[("summary", "Responses are slow"), ("runbook_url", "https://example.com/runbook")]),
            value: Some(812.5),
            threshold: Some(500.0),
            unit: "ms".to_owned(),
            starts_at: at,
            ends_at: (!firing).then(|| at + chrono::TimeDelta::seconds(732)),
            peak: Some(1_204.0),
            resolved_reason: (!firing).then(|| "recovered".to_owned()),
            acknowledged_by: None,
            chart: (0..60).map(|i| (1_700_000_000_000 + i * 10_000, 300.0 + 10.0 * i as f64)).collect(),
        }],
        alerts_left_out: 0,
        decided_at: at,
        dashboard_url: "https://fastbreak.example".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_resolved_notification_tells_duration_peak_and_reason() {
        let text = text(&sample(false));
        assert!(text.starts_with("[RESOLVED] critical: High response time (service.name=checkout)\n"), "{text}");
        for part in
            ["after 12m 12s: recovered", "peak: 1204 ms", "Open: https://fastbreak.example/alerts/00112233445566ff"]
        {
            assert!(text.contains(part), "{part}\n{text}");
        }
    }

    #[test]
    fn only_web_addresses_are_links() {
        assert!(is_link("https://example.com/a?b=c"));
        for not in ["javascript:alert(1)", "data:text/html,x", "https://a b", "ftp://x/", "https://x/|y", "plain"] {
            assert!(!is_link(not), "{not}");
        }
    }

    #[test]
    fn headings_are_one_line() {
        let mut notification = sample(true);
        notification.alerts[0].rule_name = "a\r\nBcc: x@y".to_owned();
        assert_eq!(title(&notification), "[FIRING 1] critical: a Bcc: x@y (service.name=checkout)");
        assert_eq!(clip("héllo", 3), "hé…");
    }

    #[test]
    fn numbers_are_short() {
        assert_eq!((number(0.1254, "%").as_str(), number(1204.4, "ms").as_str()), ("0.125 %", "1204 ms"));
        assert_eq!((number(3.0, "{request}").as_str(), number(2.5, "1").as_str()), ("3 request", "2.5"));
    }
}
