//! Templates of receivers: checked when saved; when one fails, the plain text goes out.

use super::words;
use crate::model::Notification;
use crate::template::{TemplateError, render as fill};

/// Longest template, in bytes.
pub(super) const TEMPLATE_BYTES_MAX: usize = 16 << 10;

/// What a template may name: the notification's fields, and `title`, `text`, `status`, `severity`.
fn context(notification: &Notification) -> serde_json::Value {
    let mut fields = serde_json::to_value(notification).unwrap_or_default();
    if let Some(fields) = fields.as_object_mut() {
        fields.insert("title".to_owned(), words::title(notification).into());
        fields.insert("text".to_owned(), words::text(notification).into());
        fields.insert("severity".to_owned(), notification.severity().as_str().into());
        let status = if notification.is_firing() { "firing" } else { "resolved" };
        fields.insert("status".to_owned(), status.into());
    }
    fields
}

/// Fills in `source`.
pub(super) fn render(source: &str, notification: &Notification) -> Result<String, TemplateError> {
    fill(source, &context(notification))
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
        render(source, &words::sample(firing)).map_err(|error| format!("does not work: {error}"))?;
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
