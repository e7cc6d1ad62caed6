//! Statements of databases without what is secret in them: every literal becomes `?`, comments go. Pure.
//!
//! SQL is read as the SDK reads it, which shows no literal either. Commands of key-value stores keep their first word,
//! documents their keys.

use fastbreak_client::database::Statement;
use serde_json::Value;

/// Longest statement that is read; what is behind is not kept.
const READ_MAX: usize = 16 << 10;

/// Attributes that hold a statement.
const STATEMENTS: &[&[u8]] = &[b"db.query.text", b"db.statement"];
/// Attributes that hold one of its parameters.
const PARAMETERS: &[&[u8]] = &[b"db.query.parameter.", b"db.operation.parameter."];

/// What an attribute says of a statement.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The statement.
    Text,
    /// A literal of it.
    Parameter,
}

/// Whether an attribute holds a statement, or a part of one.
#[inline]
pub(super) fn part_of(key: &[u8]) -> Option<Part> {
    if STATEMENTS.contains(&key) {
        return Some(Part::Text);
    }
    PARAMETERS.iter().any(|prefix| key.starts_with(prefix)).then_some(Part::Parameter)
}

/// Writes the statement over itself, without its literals; what is left over becomes blank. The length stays, so that the
/// message around it does.
pub(super) fn mask(system: &str, part: Part, bytes: &mut [u8]) {
    let normal = match part {
        Part::Parameter => "?".to_owned(),
        Part::Text => {
            let text = String::from_utf8_lossy(bytes.get(..READ_MAX).unwrap_or(bytes));
            normalise(system, &text)
        }
    };
    let whole = normal.get(..normal.floor_char_boundary(bytes.len())).unwrap_or_default();
    let padded = whole.bytes().chain(std::iter::repeat(b' '));
    bytes.iter_mut().zip(padded).for_each(|(to, from)| *to = from);
}

/// `text` without literals; `system` is the value of `db.system`.
fn normalise(system: &str, text: &str) -> String {
    match system {
        "redis" | "valkey" | "memcached" | "dragonfly" => match text.split_whitespace().next() {
            Some(command) if text.trim().len() > command.len() => format!("{command} ?"),
            Some(command) => command.to_owned(),
            None => String::new(),
        },
        "mongodb" | "elasticsearch" | "opensearch" | "couchdb" | "azure.cosmosdb" | "aws.dynamodb" => document(text),
        "mssql" => Statement::read("microsoft.sql_server", text).text,
        other => Statement::read(other, text).text,
    }
}

fn document(text: &str) -> String {
    fn hide(value: &mut Value) {
        match value {
            Value::Array(values) => {
                values.truncate(1);
                values.iter_mut().for_each(hide);
            }
            Value::Object(fields) => fields.values_mut().for_each(hide),
            scalar => *scalar = Value::from("?"),
        }
    }
    match serde_json::from_str::<Value>(text) {
        Ok(mut value) => {
            hide(&mut value);
            value.to_string()
        }
        Err(_) => "?".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn literals_go_and_the_rest_stays() {
        let check = |system: &str, text: &str, expect: &str| assert_eq!(normalise(system, text), expect, "{text}");
        let pg = "postgresql";
        check(
            pg,
            "SELECT * FROM users WHERE id = 42 AND name = 'O''Brien'",
            "SELECT * FROM users WHERE id = ? AND name = ?",
        );
        check(pg, "select a, 'x' from \"T\" where b in (1, 2,3) -- secret", "select a, ? from \"T\" where b in (?)");
        check(pg, "INSERT INTO t VALUES (1, 'a'),(2, 'b')", "INSERT INTO t VALUES (?)");
        check(pg, "SELECT $1, $tag$secret$tag$, E'a\\n', x'ff' LIMIT -5", "SELECT ? LIMIT -?");
        check(pg, "SELECT 1 /* traceparent='00-ab' */ + -2", "SELECT ? + ?");
        check(pg, "SELECT * FROM t WHERE a = 'never closed", "SELECT * FROM t WHERE a = ?");
        check("mysql", "SELECT `a` FROM t WHERE b = \"secret\"", "SELECT `a` FROM t WHERE b = ?");
        check("", "SELECT 1.5e3", "SELECT ?");
        check("redis", "SET user:7 secret", "SET ?");
        check("redis", "PING", "PING");
        check("mongodb", r#"{"find":"users","filter":{"id":[7,8]}}"#, r#"{"filter":{"id":["?"]},"find":"?"}"#);
        check("mongodb", "db.users.find(7)", "?");
        check(pg, "", "");
    }

    #[test]
    fn a_statement_is_written_over_itself() {
        let check = |part, text: &str, expect: &str| {
            let mut bytes = text.as_bytes().to_vec();
            mask("postgresql", part, &mut bytes);
            assert_eq!(String::from_utf8_lossy(&bytes), expect);
        };
        check(Part::Text, "SELECT 'abc', b", "SELECT ?, b    ");
        check(Part::Parameter, "secret", "?     ");
        check(Part::Parameter, "", "");
    }

    proptest! {
        #[test]
        fn no_literal_is_left_whatever_stands_around_it(
            before in "(SELECT|a|=|,|\\(|\\)|'x'|\"|--|/\\*|[0-9]| ){0,6}",
            after in "[ -~]{0,20}",
        ) {
            for system in ["postgresql", "mysql", "sqlite", "mssql", "other"] {
                let text = format!("{before} '5ecret7' {after}");
                // Within what only looks like a string, it is a word, and what is between is the literal.
                let quoted = before.matches(['\'', '"']).count() > 0;
                prop_assert!(quoted || !normalise(system, &text).contains("5ecret7"), "{}: {}", system, text);
            }
        }

        #[test]
        fn any_text_ends_in_an_answer(text in ".{0,200}") {
            for system in ["postgresql", "mysql", "redis", "mongodb", ""] {
                let _normal = normalise(system, &text);
            }
        }
    }
}
