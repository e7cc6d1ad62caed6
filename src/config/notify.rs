//! Settings of notifications, and the receivers that the seed's variables name.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use secrecy::SecretString;
use serde_json::{Map, Value, json};

use super::Reader;
use crate::notify::{Config, Draft, Guard, KEY_BYTES_MIN, Kind};

pub(super) fn read(read: &mut Reader<'_>) -> Config {
    let guard = Guard { allow_cidrs: cidrs(read), allow_ports: ports(read) };
    let secret_key = read.optional("secret_key").map(SecretString::from);
    if read.optional("secret_key").is_some_and(|key| key.len() < KEY_BYTES_MIN) {
        read.problem("secret_key", format!("secret_key has fewer than {KEY_BYTES_MIN} bytes"));
    }
    let drafts = [email(read), url_receiver(read, Kind::Webhook), url_receiver(read, Kind::Slack)];
    let environment: Vec<Draft> = drafts.into_iter().flatten().collect();
    for draft in &environment {
        for problem in draft.problems(&guard, true) {
            let key = setting_of(draft.kind, &problem.field);
            read.problem(key, format!("{key} {}", problem.what));
        }
    }
    Config {
        guard,
        self_alert_after: read.duration("notify_self_alert_after"),
        secret_key,
        data_dir: PathBuf::from(read.text("data_dir")),
        environment,
    }
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|part| !part.is_empty())
}

fn cidrs(read: &mut Reader<'_>) -> Vec<ipnet::IpNet> {
    let text = read.text("notify_allow_cidrs");
    let parsed: Result<Vec<_>, _> = list(&text).map(|part| part.parse().map_err(|_| part)).collect();
    parsed.unwrap_or_else(|part| {
        read.problem("notify_allow_cidrs", format!("notify_allow_cidrs has {part:?}, not a range such as 10.0.0.0/8"));
        Vec::new()
    })
}

fn ports(read: &mut Reader<'_>) -> Vec<RangeInclusive<u16>> {
    fn range(part: &str) -> Option<RangeInclusive<u16>> {
        let (from, to) = part.split_once('-').unwrap_or((part, part));
        let range = from.trim().parse().ok()?..=to.trim().parse().ok()?;
        (!range.is_empty() && *range.start() > 0).then_some(range)
    }
    let text = read.text("notify_allow_ports");
    let parsed: Result<Vec<_>, _> = list(&text).map(|part| range(part).ok_or(part)).collect();
    parsed.unwrap_or_else(|part| {
        let what = format!("notify_allow_ports has {part:?}, not a port or a range such as 8000-8999");
        read.problem("notify_allow_ports", what);
        // So that no second mistake is told where there is none.
        vec![1..=u16::MAX]
    })
}

fn draft(id: &str, kind: Kind, settings: Value, secrets: &[(&str, Option<String>)]) -> Draft {
    let secrets = secrets.iter().filter_map(|(name, secret)| {
        secret.as_ref().map(|secret| ((*name).to_owned(), SecretString::from(secret.as_str())))
    });
    let settings = match settings {
        Value::Object(settings) => settings,
        _ => Map::new(),
    };
    Draft { id: id.to_owned(), kind, settings, secrets: secrets.collect(), enabled: true }
}

/// There is one when a mail server is named; then recipients must be, too.
fn email(read: &mut Reader<'_>) -> Option<Draft> {
    let recipients = read.text("alert_email_recipients");
    let Some(host) = read.optional("smtp_host") else {
        if !recipients.is_empty() {
            read.problem("alert_email_recipients", "alert_email_recipients needs smtp_host".to_owned());
        }
        return None;
    };
    let port: u16 = read.number("smtp_port", 1..=u16::MAX);
    let user = read.optional("smtp_user");
    let from = read.optional("alert_email_from").or_else(|| user.clone());
    let mut settings = json!({
        "host": host,
        "port": port,
        "tls": read.text("smtp_tls"),
        "from": from,
        "recipients": list(&recipients).collect::<Vec<_>>(),
    });
    if let (Some(user), Some(settings)) = (user, settings.as_object_mut()) {
        settings.insert("username".to_owned(), user.into());
    }
    Some(draft("email", Kind::Email, settings, &[("password", read.optional("smtp_pass"))]))
}

fn url_receiver(read: &Reader<'_>, kind: Kind) -> Option<Draft> {
    let (key, secret) =
        if kind == Kind::Slack { ("slack_webhook_url", "webhookUrl") } else { ("alert_webhook_url", "url") };
    let url = read.optional(key)?;
    Some(draft(kind.as_str(), kind, json!({}), &[(secret, Some(url))]))
}

/// The setting from which a receiver's field was made.
fn setting_of(kind: Kind, field: &str) -> &'static str {
    match (kind, field) {
        (Kind::Slack, _) => "slack_webhook_url",
        (Kind::Email, "settings.host") => "smtp_host",
        (Kind::Email, "settings.port") => "smtp_port",
        (Kind::Email, "settings.tls") => "smtp_tls",
        (Kind::Email, "settings.username") => "smtp_user",
        (Kind::Email, "settings.from") => "alert_email_from",
        (Kind::Email, "settings.recipients") => "alert_email_recipients",
        (Kind::Email, _) => "smtp_pass",
        _ => "alert_webhook_url",
    }
}
