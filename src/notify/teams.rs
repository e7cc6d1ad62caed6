//! Microsoft Teams: an Adaptive Card in the envelope that a workflow's webhook takes.

use reqwest::Url;
use serde_json::{Value, json};

use super::fields::Fields;
use super::outbound::{Call, Outbound};
use super::outcome::{self, Outcome};
use super::{template, words};
use crate::model::{Notification, Severity};

pub(super) const SECRETS: &[&str] = &["url"];
/// Teams takes 28 KB in all; what is told of alerts keeps below this, in bytes of JSON.
const ITEMS_BYTES_MAX: usize = 16_000;
/// Longest text block, in characters.
const TEXT_CHARS_MAX: usize = 4_000;
/// Most buttons of a card.
const ACTIONS_MAX: usize = 4;

/// A Teams receiver's settings.
pub(super) struct Teams {
    url: Url,
    template: Option<String>,
}

impl Teams {
    pub(super) fn read(fields: &mut Fields<'_>) -> Option<Self> {
        let url = fields.secret_url("url");
        let template = fields.template("template");
        Some(Self { url: url?, template })
    }

    pub(super) async fn send(&self, outbound: &Outbound, notification: &Notification) -> Outcome {
        match outbound.post(Call::json(self.url.clone(), &self.message(notification))).await {
            Ok(answer) => outcome::of_answer(&answer),
            Err(error) => error.into(),
        }
    }

    fn message(&self, notification: &Notification) -> Value {
        let colour = match (notification.is_firing(), notification.severity()) {
            (false, _) => "Good",
            (true, Severity::Critical) => "Attention",
            (true, Severity::Warning) => "Warning",
            (true, Severity::Info) => "Accent",
        };
        let block = |text: &str, weight: &str, colour: &str| {
            let text = words::clip(&escape(text), TEXT_CHARS_MAX);
            json!({ "type": "TextBlock", "text": text, "wrap": true, "weight": weight, "color": colour })
        };
        let mut body = vec![block(&words::title(notification), "Bolder", colour)];
        let items = words::items(notification);
        match template::render_or_log(self.template.as_deref(), notification) {
            Some(text) => body.push(block(&text, "Default", "Default")),
            None => {
                let mut room = ITEMS_BYTES_MAX;
                for item in &items {
                    let fact =
                        |(name, text): &(String, String)| json!({ "title": escape(name), "value": escape(text) });
                    let facts = json!({ "type": "FactSet", "facts": item.facts.iter().map(fact).collect::<Vec<_>>() });
                    // An alert told in short is better than a message refused for its size.
                    body.push(block(&item.headline, "Bolder", "Default"));
                    let bytes = facts.to_string().len();
                    if let Some(left) = room.checked_sub(bytes) {
                        room = left;
                        body.push(facts);
                    }
                }
            }
        }
        if let Some(rest) = words::rest(notification) {
            body.push(block(&rest, "Default", "Default"));
        }
        let links = items.iter().flat_map(|item| &item.links).take(ACTIONS_MAX);
        let actions: Vec<Value> =
            links.map(|(title, url)| json!({ "type": "Action.OpenUrl", "title": title, "url": url })).collect();
        json!({
            "type": "message",
            "attachments": [{
                "contentType": "application/vnd.microsoft.card.adaptive",
                "contentUrl": null,
                "content": {
                    "$schema": "http://adaptivecards.io/schemas/adaptive-card.json",
                    "type": "AdaptiveCard",
                    "version": "1.4",
                    "body": body,
                    "actions": actions,
                    "msteams": { "width": "Full" },
                },
            }],
        })
    }
}

/// Cards read a part of Markdown; links and emphasis are made by us only.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        if "\\`*_[]<>#".contains(c) {
            out.push('\\');
        }
        out.push(c);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::notify::seal::Secrets;
    use crate::notify::{Guard, words};

    #[test]
    fn a_card_keeps_below_what_teams_takes() {
        let mut notification = words::sample(true);
        let first = notification.alerts[0].clone();
        notification.alerts = (0..50).map(|_| first.clone()).collect();
        for alert in &mut notification.alerts {
            for i in 0..40 {
                alert.labels.insert(format!("label-{i}"), "x".repeat(1_000));
                alert.annotations.insert(format!("note-{i}"), "\"y*".repeat(400));
            }
        }
        let guard = Guard { allow_ports: vec![443..=443], ..Guard::default() };
        let secrets: Secrets = [("url".to_owned(), "https://example.com/".into())].into();
        let settings = serde_json::Map::new();
        let teams = Teams::read(&mut Fields::new(&settings, &secrets, &guard)).expect("sound");
        let message = teams.message(&notification).to_string();
        assert!(message.len() < 28_000, "{}", message.len());
        assert!(message.contains("and 40 more"));
    }

    #[test]
    fn markdown_of_others_is_text() {
        assert_eq!(escape("[x](javascript:y) *b*"), "\\[x\\](javascript:y) \\*b\\*");
    }
}
