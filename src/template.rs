//! Templates that people write: minijinja, bounded in work, depth and size.
//!
//! Layer 2. Who renders one must have a plain text at hand: a template is never the reason that a page is lost.

use std::io;

use minijinja::Environment;
use serde::Serialize;

/// Instructions of one rendering.
const FUEL: u64 = 50_000;
/// Longest rendering, in bytes.
const RENDERED_BYTES_MAX: usize = 64 << 10;
const RECURSION_MAX: usize = 32;

/// Why a template has no text.
#[derive(Debug, thiserror::Error)]
#[error("{source}{}", .source.line().map(|line| format!(" (line {line})")).unwrap_or_default())]
pub struct TemplateError {
    #[from]
    source: minijinja::Error,
}

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

/// Fills in `source` with the fields of `context`; a field that is not there is empty.
///
/// # Errors
/// When it does not parse, fails, or passes a bound.
pub fn render<T: Serialize>(source: &str, context: &T) -> Result<String, TemplateError> {
    let mut environment = Environment::new();
    environment.set_fuel(Some(FUEL));
    environment.set_recursion_limit(RECURSION_MAX);
    let mut out = Bounded(Vec::new());
    let context = minijinja::Value::from(minijinja::value::Serde(context));
    environment.template_from_str(source)?.render_captured_to(context, &mut out)?;
    Ok(String::from_utf8_lossy(&out.0).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_and_size_are_bounded() {
        let context = serde_json::json!({ "text": "x".repeat(100), "n": { "a": 1 } });
        assert_eq!(render("{{ n.a }}{{ n.b }}{{ nothing }}", &context).expect("sound"), "1");
        for (source, expect) in [
            ("\n{{ title", "line 2"),
            ("{{ text | nosuchfilter }}", "nosuchfilter"),
            ("{% for i in range(9999) %}{% for j in range(9999) %}{% endfor %}{% endfor %}", "fuel"),
            ("{% for i in range(9000) %}{{ text }}{% endfor %}", ""),
        ] {
            let told = render(source, &context).expect_err(source).to_string();
            assert!(told.contains(expect), "{source}: {told}");
        }
    }
}
