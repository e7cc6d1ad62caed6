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
/// Below it each whole number is one of its own as a float.
const EXACT: f64 = (1_u64 << 53) as f64;

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
    environment.add_filter("round", round);
    let mut out = Bounded(Vec::new());
    let context = minijinja::Value::from(minijinja::value::Serde(context));
    environment.template_from_str(source)?.render_captured_to(context, &mut out)?;
    Ok(String::from_utf8_lossy(&out.0).into_owned())
}

/// Rounds; to whole numbers without the `.0` that minijinja's own filter leaves.
fn round(value: f64, digits: Option<i32>) -> minijinja::Value {
    let scale = 10_f64.powi(digits.unwrap_or(0));
    let rounded = (value * scale).round() / scale;
    if digits.unwrap_or(0) <= 0 && rounded.abs() < EXACT {
        return minijinja::Value::from(rounded as i64);
    }
    minijinja::Value::from(rounded)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_numbers_are_written_whole() {
        let context = serde_json::json!({ "ms": 346.6, "count": 7, "share": 0.12345, "huge": 1e300, "below": -0.4 });
        for (source, expect) in [
            ("{{ ms | round(0) }}", "347"),
            ("{{ ms | round }}", "347"),
            ("{{ ms | round(-2) }}", "300"),
            ("{{ count | round(0) }}", "7"),
            ("{{ share | round(2) }}", "0.12"),
            ("{{ below | round }}", "0"),
            ("{{ (ms | round) + 1 }}", "348"),
        ] {
            assert_eq!(render(source, &context).expect(source), expect, "{source}");
        }
        assert!(render("{{ huge | round }}", &context).expect("sound").len() > 3);
        assert!(render("{{ nothing | round }}", &context).is_err());
    }

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
