//! The JSON API of a running server, as the subcommands that talk to it use it.

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use reqwest::Method;
use serde_json::Value;

/// Which server, and how to print what it says.
#[derive(Args, Clone, Debug)]
pub(super) struct ServerArgs {
    /// The server's HTTP address
    #[arg(long, env = "FASTBREAK_URL", default_value = "http://127.0.0.1:3001", global = true)]
    url: String,
    /// How to print
    #[arg(long, value_enum, default_value = "table", global = true)]
    pub(super) output: Output,
}

/// How an answer is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Output {
    /// For people: a line each
    Table,
    /// The server's JSON
    Json,
}

/// What the server said.
pub(super) struct Answer {
    pub(super) status: u16,
    pub(super) body: Value,
}

impl Answer {
    /// The problem in words.
    pub(super) fn problem(&self) -> String {
        let detail = self.body.get("detail").and_then(Value::as_str);
        detail.map_or_else(|| format!("the server answered {}", self.status), ToOwned::to_owned)
    }

    pub(super) const fn is_success(&self) -> bool {
        self.status / 100 == 2
    }
}

impl ServerArgs {
    /// Calls the server; an answer is an answer, also when it refuses.
    pub(super) async fn try_call(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Answer> {
        let url = format!("{}{path}", self.url.trim_end_matches('/'));
        let mut request = reqwest::Client::builder().no_proxy().build()?.request(method, &url);
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.with_context(|| format!("{url} does not answer"))?;
        let status = answer.status().as_u16();
        let text = answer.text().await.context("the server's answer broke off")?;
        let body =
            if text.is_empty() { Value::Null } else { serde_json::from_str(&text).unwrap_or(Value::String(text)) };
        Ok(Answer { status, body })
    }

    /// Calls the server; a refusal is an error.
    pub(super) async fn call(&self, method: Method, path: &str, body: Option<&Value>) -> anyhow::Result<Value> {
        let answer = self.try_call(method, path, body).await?;
        if answer.is_success() { Ok(answer.body) } else { bail!("{}", answer.problem()) }
    }

    pub(super) async fn get(&self, path: &str) -> anyhow::Result<Value> {
        self.call(Method::GET, path, None).await
    }

    /// Prints JSON as it came, or each of `rows` by `line`.
    pub(super) fn show(&self, body: &Value, line: impl Fn(&Value) -> String) {
        if self.output == Output::Json {
            return super::print(&format!("{body}\n"));
        }
        let rows = body.as_array().map_or(std::slice::from_ref(body), Vec::as_slice);
        super::print(&rows.iter().map(|row| line(row) + "\n").collect::<String>());
    }
}

/// A part of a path, percent-encoded.
pub(super) fn segment(text: &str) -> String {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"-._~:".contains(&b);
    text.bytes().map(|b| if plain(b) { char::from(b).to_string() } else { format!("%{b:02X}") }).collect()
}

/// The text of a field, empty when it has none.
pub(super) fn text(row: &Value, pointer: &str) -> String {
    match row.pointer(pointer) {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(other) => other.to_string(),
    }
}
