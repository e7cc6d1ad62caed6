//! Webhooks, signed as Standard Webhooks have it.
//!
//! `webhook-id` is the notification's id, the same on every attempt; `webhook-signature` carries one signature for each live
//! key, so that a key can be changed without a gap.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, SecondsFormat, Utc};
use hmac::{Hmac, KeyInit, Mac};
use reqwest::Url;
use reqwest::header::{HeaderName, HeaderValue};
use secrecy::{ExposeSecret, SecretSlice};
use serde_json::json;
use sha2::Sha256;

use super::fields::Fields;
use super::outbound::{Call, Outbound};
use super::outcome::{self, Outcome};
use super::template;
use crate::model::Notification;

pub(super) const SECRETS: &[&str] = &["url", "signingKey", "signingKeyPrevious"];
/// Shortest signing key, in bytes: as Standard Webhooks ask.
const KEY_BYTES_MIN: usize = 24;
const KEY_BYTES_MAX: usize = 64;

/// A webhook's settings.
pub(super) struct Webhook {
    url: Url,
    /// The new one first.
    keys: Vec<SecretSlice<u8>>,
    template: Option<String>,
}

impl Webhook {
    pub(super) fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let url = fields.secret_url("url");
        let keys = ["signingKey", "signingKeyPrevious"].into_iter().filter_map(|name| key(fields, name)).collect();
        let template = fields.template("template");
        Some(Self { url: url?, keys, template })
    }

    pub(super) async fn send(&self, outbound: &Outbound, notification: &Notification, now: DateTime<Utc>) -> Outcome {
        let custom = template::render_or_log(self.template.as_deref(), notification);
        let body = custom.unwrap_or_else(|| payload(notification).to_string());
        // A custom body may be anything; it is JSON when it reads as such.
        let json = serde_json::from_str::<serde::de::IgnoredAny>(&body).is_ok();
        let content_type = if json { "application/json" } else { "text/plain; charset=utf-8" };
        let mut headers = Vec::new();
        let signature = signatures(&self.keys, &notification.id, now.timestamp(), &body);
        for (name, value) in [
            ("webhook-id", notification.id.clone()),
            ("webhook-timestamp", now.timestamp().to_string()),
            ("webhook-signature", signature),
        ] {
            if let Some(value) = HeaderValue::from_str(&value).ok().filter(|value| !value.is_empty()) {
                headers.push((HeaderName::from_static(name), value));
            }
        }
        let call = Call { url: self.url.clone(), content_type, headers, body: body.into_bytes() };
        match outbound.post(call).await {
            Ok(answer) => outcome::of_answer(&answer),
            Err(error) => error.into(),
        }
    }
}

/// `whsec_` and base64, as Standard Webhooks write keys.
fn key(fields: &mut Fields<'_>, name: &str) -> Option<SecretSlice<u8>> {
    let text = fields.secret(name)?;
    let bytes = STANDARD.decode(text.expose_secret().trim_start_matches("whsec_")).ok();
    match bytes.filter(|bytes| (KEY_BYTES_MIN..=KEY_BYTES_MAX).contains(&bytes.len())) {
        Some(bytes) => Some(bytes.into()),
        None => {
            let what = format!("must be whsec_ and {KEY_BYTES_MIN} to {KEY_BYTES_MAX} bytes in base64");
            fields.problems.push(super::FieldError { field: format!("secrets.{name}"), what });
            None
        }
    }
}

fn payload(notification: &Notification) -> serde_json::Value {
    let firing = notification.is_firing();
    json!({
        "type": format!("alerts.{}", notification.reason.as_str()),
        "timestamp": notification.decided_at.to_rfc3339_opts(SecondsFormat::Millis, true),
        "data": {
            "title": super::words::title(notification),
            "text": super::words::text(notification),
            "status": if firing { "firing" } else { "resolved" },
            "severity": notification.severity(),
            "notification": notification,
        },
    })
}

/// `v1,…` for each key, over id, time and body.
fn signatures(keys: &[SecretSlice<u8>], id: &str, at: i64, body: &str) -> String {
    let sign = |key: &SecretSlice<u8>| {
        let mut mac = Hmac::<Sha256>::new_from_slice(key.expose_secret()).ok()?;
        mac.update(format!("{id}.{at}.{body}").as_bytes());
        Some(format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes())))
    };
    keys.iter().filter_map(sign).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_signature_is_the_one_of_the_specification() {
        // The example of the Standard Webhooks reference libraries.
        let key = STANDARD.decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw").expect("base64");
        let signed = signatures(&[key.into()], "msg_p5jXN8AQM9LWM0D4loKWxJek", 1_614_265_330, "{\"test\": 2432232314}");
        assert_eq!(signed, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
        assert_eq!(signatures(&[], "x", 1, "y"), "");
    }
}
