//! Telegram, Bot API: `sendMessage` with the small HTML that it takes.

use std::time::Duration;

use reqwest::Url;
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::fields::Fields;
use super::outbound::{Call, Outbound};
use super::outcome::{self, Outcome, Verdict};
use super::{template, words};
use crate::model::Notification;

pub(super) const SECRETS: &[&str] = &["botToken"];
/// Longest message, in characters after its marks are read.
const TEXT_CHARS_MAX: usize = 4_096;
/// Room kept for what stands around the items.
const MARGIN_CHARS: usize = 300;

/// A Telegram receiver's settings.
pub(super) struct Telegram {
    api: Url,
    token: SecretString,
    chat_id: String,
    thread_id: Option<i64>,
    template: Option<String>,
}

impl Telegram {
    pub(super) fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let api = fields.api_base("apiUrl", "https://api.telegram.org/");
        let token = fields.required_secret("botToken");
        let sound = |c: char| c.is_ascii_alphanumeric() || ":_-".contains(c);
        if !token.expose_secret().chars().all(sound) {
            let what = "has characters that no bot token has".to_owned();
            fields.problems.push(super::FieldError { field: "secrets.botToken".to_owned(), what });
        }
        let chat_id = fields.required("chatId");
        let thread_id = fields.text("threadId").and_then(|text| {
            let number = text.parse().ok();
            if number.is_none() {
                fields.problem("threadId", "must be a number in quotes");
            }
            number
        });
        let template = fields.template("template");
        Some(Self { api: api?, token, chat_id, thread_id, template })
    }

    pub(super) async fn send(&self, outbound: &Outbound, notification: &Notification) -> Outcome {
        // Without the dot, a token's colon would make a scheme of what stands before it.
        let Ok(url) = self.api.join(&format!("./bot{}/sendMessage", self.token.expose_secret())) else {
            return Outcome::refused(None, "the bot token makes no URL");
        };
        let answer = match outbound.post(Call::json(url, &self.message(notification))).await {
            Ok(answer) => answer,
            Err(error) => return error.into(),
        };
        let mut outcome = outcome::of_answer(&answer);
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        if let Some(said) = body.get("description").and_then(Value::as_str) {
            outcome.detail = words::one_line(said, 300);
        }
        match &mut outcome.verdict {
            // The wait is in the body here.
            Verdict::Retry { after } => {
                let seconds = body.pointer("/parameters/retry_after").and_then(Value::as_u64);
                *after = after.or(seconds.map(|seconds| Duration::from_secs(seconds.min(24 * 3_600))));
            }
            Verdict::Sent { remote_ref } => {
                outcome.detail.clear();
                *remote_ref = body.pointer("/result/message_id").and_then(Value::as_i64).map(|id| id.to_string());
            }
            Verdict::Refused | Verdict::Gone => {}
        }
        outcome
    }

    fn message(&self, notification: &Notification) -> Value {
        let mut message = json!({
            "chat_id": self.chat_id,
            "text": self.text(notification),
            "parse_mode": "HTML",
            "link_preview_options": { "is_disabled": true },
        });
        if let (Some(id), Some(message)) = (self.thread_id, message.as_object_mut()) {
            message.insert("message_thread_id".to_owned(), id.into());
        }
        message
    }

    /// Whole items only: half a mark would make Telegram refuse the message.
    fn text(&self, notification: &Notification) -> String {
        let mut out = format!("<b>{}</b>\n", escape(&words::title(notification)));
        if let Some(text) = template::render_or_log(self.template.as_deref(), notification) {
            return out + &escape(&words::clip(&text, TEXT_CHARS_MAX / 2));
        }
        let mut left_out = 0;
        for item in words::items(notification) {
            let text = markup(&item);
            if out.chars().count() + text.chars().count() + MARGIN_CHARS > TEXT_CHARS_MAX {
                left_out += 1;
            } else {
                out.push_str(&text);
            }
        }
        if left_out > 0 {
            out.push_str(&format!("\nand {left_out} more, too long for one message"));
        }
        if let Some(rest) = words::rest(notification) {
            out.push_str(&format!("\n{rest}"));
        }
        out
    }
}

fn markup(item: &words::Item) -> String {
    let mut out = format!("\n<b>{}</b>\n", escape(&item.headline));
    for (name, text) in &item.facts {
        out.push_str(&format!("{}: {}\n", escape(name), escape(text)));
    }
    for (name, url) in &item.links {
        out.push_str(&format!("<a href=\"{}\">{}</a>\n", escape(url), escape(name)));
    }
    out
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
