//! Templates for people: minijinja, checked when saved, bounded in work and size, never the reason that a page is lost.

use std::io;

use minijinja::value::Serde;
use minijinja::{Environment, Error, Value};

use super::words;
use crate::model::Notification;

/// Longest template, in bytes.
pub(super) const TEMPLATE_BYTES_MAX: usize = 16 << 10;
/// Instructions of one rendering.
const FUEL: u64 = 50_000;
/// Longest rendering, in bytes.
const RENDERED_BYTES_MAX: usize = 64 << 10;
const RECURSION_MAX: usize = 32;

struct Bounded(Vec<u8>);

impl io::Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.len() + bytes.len() > RENDERED_BYTES_MAX {
            return Err(io::Error::other(format!("more than {RENDERED_BYTES_MAX} bytes come out")));
        }
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// What a template may name: the notification's fields, and `title`, `text`, `status`, `severity`.
fn context(notification: &Notification) -> Value {
    let mut fields = serde_json::to_value(notification).unwrap_or_default();
    if let Some(fields) = fields.as_object_mut() {
        fields.insert("title".to_owned(), words::title(notification).into());
        fields.insert("text".to_owned(), words::text(notification).into());
        fields.insert("severity".to_owned(), notification.severity().as_str().into());
        let status = if notification.is_firing() { "firing" } else { "resolved" };
        fields.insert("status".to_owned(), status.into());
    }
    Value::from(Serde(fields))
}

/// Fills in `source`.
pub(super) fn render(source: &str, notification: &Notification) -> Result<String, Error> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(RECURSION_MAX);
    let mut out = Bounded(Vec::new());
    environment.template_from_str(source)?.render_captured_to(context(notification), &mut out)?;
    Ok(String::from_utf8_lossy(&out.0).into_owned())
}

/// Fills in `source`, if there is one; when that fails it is logged and nothing comes back, so that the plain text goes out.
pub(super) fn render_or_log(source: Option<&str>, notification: &Notification) -> Option<String> {
    render(source?, notification)
        .inspect_err(|error| {
            tracing::warn!(
                receiver = notification.receiver,
                error = error as &dyn std::error::Error,
                "template failed, the plain text goes out"
            );
        })
        .ok()
}

/// Tries `source` on a firing and a resolved notification; tells what is wrong with it.
pub(super) fn check(source: &str) -> Result<(), String> {
    if source.len() > TEMPLATE_BYTES_MAX {
        return Err(format!("has {} bytes, at most {TEMPLATE_BYTES_MAX} are allowed", source.len()));
    }
    for firing in [true, false] {
        render(source, &words::sample(firing)).map_err(|error| {
            let line = error.line().map(|line| format!(" (line {line})")).unwrap_or_default();
            format!("does not work: {error}{line}")
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sound_templates_pass_and_others_are_told_why() {
        check("{{ title }}: {% for a in alerts %}{{ a.ruleName }} {{ a.labels['service.name'] }}{% endfor %}")
            .expect("ok");
        for (source, expect) in [
            ("{{ title", "line 1"),
            ("{{ title | nosuchfilter }}", "nosuchfilter"),
            (
                "{% for i in range(100000) %}{% for j in range(100000) %}{{ i }}{% endfor %}{% endfor %}",
                "does not work",
            ),
            ("{% for i in range(9000) %}{{ text }}{% endfor %}", "does not work"),
        ] {
            let told = check(source).expect_err(source);
            assert!(told.contains(expect), "{source}: {told}");
        }
        assert!(check(&"x".repeat(TEMPLATE_BYTES_MAX + 1)).expect_err("too long").contains("16384"));
    }

    #[test]
    fn a_template_that_fails_gives_way() {
        assert_eq!(render_or_log(Some("{{ title | nosuchfilter }}"), &words::sample(true)), None);
        assert_eq!(render_or_log(None, &words::sample(true)), None);
        assert!(render_or_log(Some("{{ status }}"), &words::sample(false)).is_some_and(|text| text == "resolved"));
    }
}
