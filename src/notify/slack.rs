//! Slack: an incoming webhook, or a bot whose message is edited as the group changes.
//!
//! With a bot token the first message of a group is kept as `channel/ts`. What changes later edits that message; what people
//! must hear again (more fires, it got worse, nobody came) is also said in its thread and shown in the channel.

use reqwest::Url;
use reqwest::header::{AUTHORIZATION, HeaderValue};
use secrecy::{ExposeSecret, SecretString};
use serde_json::{Value, json};

use super::fields::Fields;
use super::outbound::{Call, Outbound};
use super::outcome::{self, Outcome, Verdict};
use super::{template, words};
use crate::model::{Notification, NotificationReason};

pub(super) const SECRETS: &[&str] = &["webhookUrl", "botToken"];
/// Longest text of a header block.
const HEADER_CHARS_MAX: usize = 150;
/// Longest text of a section block.
const SECTION_CHARS_MAX: usize = 3_000;

/// How messages get to Slack.
enum Way {
    Webhook(Url),
    Bot { api: Url, token: SecretString, channel: String },
}

/// A Slack receiver's settings.
pub(super) struct Slack {
    way: Way,
    template: Option<String>,
}

impl Slack {
    pub(super) fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let template = fields.template("template");
        let channel = fields.text("channel");
        let api = fields.api_base("apiUrl", "https://slack.com/api/");
        let way = match fields.secret("botToken") {
            None => fields.secret_url("webhookUrl").map(Way::Webhook),
            Some(token) => {
                if channel.is_none() {
                    fields.problem("channel", "is missing: a bot needs one");
                }
                channel.zip(api).map(|(channel, api)| Way::Bot { api, token, channel })
            }
        };
        Some(Self { way: way?, template })
    }

    /// True when [`Self::send`] can use what the group's earlier message is called.
    pub(super) const fn edits(&self) -> bool {
        matches!(self.way, Way::Bot { .. })
    }

    pub(super) async fn send(&self, outbound: &Outbound, notification: &Notification, open: Option<&str>) -> Outcome {
        let message = self.message(notification);
        match &self.way {
            Way::Webhook(url) => match outbound.post(Call::json(url.clone(), &message)).await {
                Ok(answer) => outcome::of_answer(&answer),
                Err(error) => error.into(),
            },
            Way::Bot { api, token, channel } => {
                let bot = Bot { outbound, api, token };
                bot.tell(channel, message, open, notification.reason).await
            }
        }
    }

    fn message(&self, notification: &Notification) -> Value {
        let title = words::title(notification);
        let custom = template::render_or_log(self.template.as_deref(), notification);
        let mut blocks = vec![json!({
            "type": "header",
            "text": { "type": "plain_text", "text": words::clip(&title, HEADER_CHARS_MAX), "emoji": false },
        })];
        match custom {
            Some(text) => blocks.push(section(&escape(&text))),
            None => blocks.extend(words::items(notification).iter().map(item)),
        }
        if let Some(rest) = words::rest(notification) {
            blocks.push(json!({ "type": "context", "elements": [{ "type": "mrkdwn", "text": rest }] }));
        }
        json!({
            "text": escape(&title),
            "unfurl_links": false,
            "unfurl_media": false,
            "attachments": [{ "color": words::colour(notification), "fallback": escape(&title), "blocks": blocks }],
        })
    }
}

/// Slack's three control characters; with them escaped, nothing in a text is a link or a mention.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn section(text: &str) -> Value {
    json!({ "type": "section", "text": { "type": "mrkdwn", "text": words::clip(text, SECTION_CHARS_MAX) } })
}

fn item(item: &words::Item) -> Value {
    let mut text = format!("*{}*", escape(&item.headline).replace('*', ""));
    for (name, fact) in &item.facts {
        text.push_str(&format!("\n{}: {}", escape(name), escape(fact)));
    }
    let links: Vec<String> =
        item.links.iter().map(|(name, url)| format!("<{}|{}>", escape(url), escape(name))).collect();
    let links = if links.is_empty() { String::new() } else { format!("\n{}", links.join(" · ")) };
    // A link cut in two is no link: the facts give way.
    let room = SECTION_CHARS_MAX.saturating_sub(links.chars().count());
    section(&(words::clip(&text, room) + &links))
}

struct Bot<'a> {
    outbound: &'a Outbound,
    api: &'a Url,
    token: &'a SecretString,
}

impl Bot<'_> {
    async fn tell(&self, channel: &str, message: Value, open: Option<&str>, reason: NotificationReason) -> Outcome {
        let mut parts = open.unwrap_or_default().splitn(3, '/');
        let (Some(channel_id), Some(ts), wanted) = (parts.next(), parts.next(), parts.next()) else {
            return self.post(channel, message).await;
        };
        // The receiver is about another channel by now.
        if wanted.is_some_and(|wanted| wanted != channel) {
            return self.post(channel, message).await;
        }
        let mut edit = message.clone();
        set(&mut edit, &[("channel", json!(channel_id)), ("ts", json!(ts))]);
        let edited = match self.call("chat.update", &edit).await {
            Ok(_) => Outcome::sent(200, open.map(str::to_owned)),
            // It was deleted, or its channel: tell it anew.
            Err(outcome) if outcome.verdict == Verdict::Refused => return self.post(channel, message).await,
            Err(outcome) => return outcome,
        };
        if reason == NotificationReason::Resolved {
            return edited;
        }
        let mut reply = message;
        set(&mut reply, &[("channel", json!(channel_id)), ("thread_ts", json!(ts)), ("reply_broadcast", json!(true))]);
        match self.call("chat.postMessage", &reply).await {
            Ok(_) => edited,
            Err(outcome) => outcome,
        }
    }

    async fn post(&self, channel: &str, mut message: Value) -> Outcome {
        set(&mut message, &[("channel", json!(channel))]);
        match self.call("chat.postMessage", &message).await {
            Err(outcome) => outcome,
            Ok(answer) => {
                let text = |name: &str| answer.get(name).and_then(Value::as_str);
                let remote_ref = text("channel").zip(text("ts")).map(|(id, ts)| format!("{id}/{ts}/{channel}"));
                Outcome::sent(200, remote_ref)
            }
        }
    }

    /// Calls a method; Slack answers 200 to most mistakes, with `ok: false` and a word for it.
    async fn call(&self, method: &str, body: &Value) -> Result<Value, Outcome> {
        let url = self.api.join(method).map_err(|error| Outcome::refused(None, &error.to_string()))?;
        let mut call = Call::json(url, body);
        call.content_type = "application/json; charset=utf-8";
        if let Ok(mut value) = HeaderValue::from_str(&format!("Bearer {}", self.token.expose_secret())) {
            value.set_sensitive(true);
            call.headers.push((AUTHORIZATION, value));
        }
        let answer = self.outbound.post(call).await.map_err(Outcome::from)?;
        let outcome = outcome::of_answer(&answer);
        if !matches!(outcome.verdict, Verdict::Sent { .. }) {
            return Err(outcome);
        }
        let body: Value = serde_json::from_slice(&answer.body).unwrap_or_default();
        if body.get("ok").and_then(Value::as_bool) == Some(true) {
            return Ok(body);
        }
        let error = body.get("error").and_then(Value::as_str).unwrap_or("the answer is not Slack's");
        let passing =
            ["ratelimited", "rate_limited", "internal_error", "fatal_error", "service_unavailable", "request_timeout"];
        let detail = format!("{method}: {error}");
        let may_pass = passing.contains(&error) || body.is_null();
        Err(if may_pass {
            Outcome::retry(Some(answer.status), answer.retry_after, &detail)
        } else {
            Outcome::refused(Some(answer.status), &detail)
        })
    }
}

fn set(message: &mut Value, fields: &[(&str, Value)]) {
    if let Some(object) = message.as_object_mut() {
        object.extend(fields.iter().map(|(name, value)| ((*name).to_owned(), value.clone())));
    }
}
