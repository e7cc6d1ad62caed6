//! Statements without what is secret in them: every literal and parameter becomes `?`, lists of them one, comments go. Pure.
//!
//! SQL is read by `sqlparser`'s lexer, in the dialect of the database; behind what it cannot read nothing is kept. Where the
//! dialect is not known, neither is what `"` holds, nor anything behind what ends a literal here and not there.

use sqlparser::dialect::{
    BigQueryDialect, ClickHouseDialect, DatabricksDialect, Dialect, DuckDbDialect, GenericDialect, MsSqlDialect,
    MySqlDialect, OracleDialect, PostgreSqlDialect, SQLiteDialect, SnowflakeDialect,
};
use sqlparser::tokenizer::{Token, Tokenizer, Whitespace};

/// Longest statement that is read, in bytes; what is behind is not kept.
pub(super) const READ_MAX: usize = 16 << 10;
/// Longest name in a summary, in characters.
const NAME_MAX: usize = 64;

/// A statement as it may be shown.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Statement {
    /// Without literals.
    pub text: String,
    /// What is done, and to what: such as `SELECT users`.
    pub summary: String,
}

impl Statement {
    /// Of `sql` in the dialect of `system`, a value of `db.system.name`, or of the older `db.system`.
    #[must_use]
    pub fn read(system: &str, sql: &str) -> Self {
        let read = sql.get(..sql.floor_char_boundary(READ_MAX)).unwrap_or_default();
        let dialect = dialect(system);
        let mut tokens = Vec::new();
        // What was read before something odd is in `tokens`; a literal may stand behind it.
        let lexed =
            Tokenizer::new(dialect.unwrap_or(&GenericDialect {}), read).tokenize_with_location_into_buf(&mut tokens);
        let mut tokens: Vec<Token> = tokens.into_iter().map(|token| token.token).collect();
        let mut is_whole = lexed.is_ok() && read.len() == sql.len();
        let is_unclear = |token: &Token| ends_too_early(token) || dialect.is_none() && may_be_read_otherwise(token);
        if let Some(at) = tokens.iter().position(is_unclear) {
            tokens.truncate(at);
            is_whole = false;
        }
        if dialect.is_none() {
            tokens.iter_mut().for_each(quoted_is_literal);
        }
        let mut text = text(&tokens);
        if !is_whole {
            blank(&mut text);
            hide(&mut text);
        }
        Self { summary: summary(&tokens), text }
    }
}

/// None where it is not known what a literal looks like. Redshift, Hive and Teradata are among them: their dialects here know
/// no backslash before a quote.
fn dialect(system: &str) -> Option<&'static dyn Dialect> {
    Some(match system {
        "postgresql" | "cockroachdb" => &PostgreSqlDialect {},
        "mysql" | "mariadb" => &MySqlDialect {},
        "sqlite" => &SQLiteDialect {},
        "microsoft.sql_server" | "mssql" => &MsSqlDialect {},
        "oracle.db" | "oracle" => &OracleDialect {},
        "clickhouse" => &ClickHouseDialect {},
        "gcp.spanner" | "spanner" | "gcp.bigquery" | "bigquery" => &BigQueryDialect {},
        "snowflake" => &SnowflakeDialect {},
        "databricks" | "spark" => &DatabricksDialect {},
        "duckdb" => &DuckDbDialect {},
        _ => return None,
    })
}

/// A quote behind a backslash ends no raw string, and none of bytes, but here it does.
fn ends_too_early(token: &Token) -> bool {
    match token {
        Token::SingleQuotedRawStringLiteral(text)
        | Token::DoubleQuotedRawStringLiteral(text)
        | Token::TripleSingleQuotedRawStringLiteral(text)
        | Token::TripleDoubleQuotedRawStringLiteral(text)
        | Token::SingleQuotedByteStringLiteral(text)
        | Token::DoubleQuotedByteStringLiteral(text)
        | Token::TripleSingleQuotedByteStringLiteral(text)
        | Token::TripleDoubleQuotedByteStringLiteral(text) => text.ends_with('\\'),
        _ => false,
    }
}

/// Whether one of the databases of the world may end this token, or what it looks like, elsewhere.
fn may_be_read_otherwise(token: &Token) -> bool {
    match token {
        Token::EOF => false,
        // A quote in a comment may be none, of a literal that goes on in the next line.
        Token::Whitespace(Whitespace::SingleLineComment { comment, .. } | Whitespace::MultiLineComment(comment)) => {
            comment.contains(['\'', '"', '`'])
        }
        Token::Whitespace(_) => false,
        // Three quotes.
        Token::SingleQuotedString(text) if text.starts_with('\'') => true,
        Token::Word(word) if word.value.contains('"') => true,
        // Comments of some.
        Token::DuckIntDiv => true,
        token => {
            let text = token.to_string();
            text.contains('\\') || !is_hidden(token) && text.contains('#')
        }
    }
}

/// What stands in `"` names things in some databases, and is a literal in others.
fn quoted_is_literal(token: &mut Token) {
    if let Token::Word(word) = token
        && word.quote_style == Some('"')
    {
        *token = Token::DoubleQuotedString(std::mem::take(&mut word.value));
    }
}

fn text(tokens: &[Token]) -> String {
    let mut out = String::new();
    for token in tokens {
        match token {
            Token::EOF => {}
            Token::Whitespace(_) => blank(&mut out),
            Token::RParen => {
                out.push(')');
                fold_rows(&mut out);
            }
            token if is_hidden(token) => hide(&mut out),
            token => out.push_str(&token.to_string()),
        }
    }
    out.truncate(out.trim_end().len());
    out
}

/// One blank, whatever stood there.
fn blank(out: &mut String) {
    if !out.is_empty() && !out.ends_with(' ') {
        out.push(' ');
    }
}

/// A literal; a list of them is one.
fn hide(out: &mut String) {
    let before = out.trim_end();
    if let Some(list) = before.strip_suffix(',').map(str::trim_end)
        && list.ends_with('?')
    {
        let len = list.len();
        out.truncate(len);
        return;
    }
    // The sign belongs to it.
    if let Some(unsigned) = before.strip_suffix('-')
        && unsigned.trim_end().ends_with(['=', '(', ',', '<', '>', '+', '*', '/'])
    {
        let len = unsigned.len();
        out.truncate(len);
        return hide(out);
    }
    out.push('?');
}

/// Rows of literals are one.
fn fold_rows(out: &mut String) {
    const ROW: &str = "(?)";
    let Some(rows) = out.strip_suffix(ROW).and_then(|rows| rows.trim_end().strip_suffix(',')) else { return };
    let rows = rows.trim_end();
    if rows.ends_with(ROW) {
        let len = rows.len();
        out.truncate(len);
    }
}

/// The verb, and the first thing that it is done to.
fn summary(tokens: &[Token]) -> String {
    let mut words = tokens.iter().filter_map(|token| match token {
        Token::Word(word) => Some(word),
        _ => None,
    });
    let Some(verb) = words.next().map(|word| word.value.to_uppercase()) else { return String::new() };
    // Whoever says no verb may have said something secret.
    if !VERBS.contains(&verb.as_str()) {
        return "OTHER".to_owned();
    }
    let mut words = words.peekable();
    let object = if verb == "UPDATE" {
        words.next()
    } else {
        words.by_ref().find(|word| ["FROM", "INTO", "TABLE", "JOIN"].contains(&word.value.to_uppercase().as_str()));
        words.next()
    };
    match object {
        Some(object) => format!("{verb} {}", object.value.chars().take(NAME_MAX).collect::<String>()),
        None => verb,
    }
}

const VERBS: &[&str] = &[
    "ALTER",
    "ANALYZE",
    "BEGIN",
    "CALL",
    "COMMIT",
    "COPY",
    "CREATE",
    "DELETE",
    "DROP",
    "EXPLAIN",
    "INSERT",
    "LISTEN",
    "LOCK",
    "MERGE",
    "NOTIFY",
    "REFRESH",
    "RELEASE",
    "REPLACE",
    "ROLLBACK",
    "SAVEPOINT",
    "SELECT",
    "SET",
    "SHOW",
    "TRUNCATE",
    "UPDATE",
    "VACUUM",
    "VALUES",
    "WITH",
];

/// Every token that holds text but words, which name things.
const fn is_hidden(token: &Token) -> bool {
    matches!(
        token,
        Token::Number(..)
            | Token::Char(_)
            | Token::Placeholder(_)
            | Token::SingleQuotedString(_)
            | Token::DoubleQuotedString(_)
            | Token::TripleSingleQuotedString(_)
            | Token::TripleDoubleQuotedString(_)
            | Token::DollarQuotedString(_)
            | Token::SingleQuotedByteStringLiteral(_)
            | Token::DoubleQuotedByteStringLiteral(_)
            | Token::TripleSingleQuotedByteStringLiteral(_)
            | Token::TripleDoubleQuotedByteStringLiteral(_)
            | Token::SingleQuotedRawStringLiteral(_)
            | Token::DoubleQuotedRawStringLiteral(_)
            | Token::TripleSingleQuotedRawStringLiteral(_)
            | Token::TripleDoubleQuotedRawStringLiteral(_)
            | Token::NationalStringLiteral(_)
            | Token::QuoteDelimitedStringLiteral(_)
            | Token::NationalQuoteDelimitedStringLiteral(_)
            | Token::CopyData { .. }
            | Token::EscapedStringLiteral(_)
            | Token::UnicodeStringLiteral(_)
            | Token::HexStringLiteral(_)
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn literals_go_and_lists_fold() {
        let check = |system: &str, sql: &str, text: &str, summary: &str| {
            let read = Statement::read(system, sql);
            assert_eq!((read.text.as_str(), read.summary.as_str()), (text, summary), "{sql}");
        };
        let pg = "postgresql";
        check(
            pg,
            "SELECT * FROM users WHERE id = 42 AND name = 'O''Brien'",
            "SELECT * FROM users WHERE id = ? AND name = ?",
            "SELECT users",
        );
        check(pg, "select a from \"T\" where b in (1, 2,3) -- me", "select a from \"T\" where b in (?)", "SELECT T");
        check(pg, "select a from t where b in ($1, $2 , $3)", "select a from t where b in (?)", "SELECT t");
        check(pg, "INSERT INTO t VALUES (1, 'a'),(2, 'b'), ($1,$2)", "INSERT INTO t VALUES (?)", "INSERT t");
        check(pg, "UPDATE t SET a = $1, b = -2 /* me */", "UPDATE t SET a = ?, b = ?", "UPDATE t");
        check(pg, "DELETE FROM t WHERE a = 'never closed", "DELETE FROM t WHERE a = ?", "DELETE t");
        check(pg, "SELECT  1\n", "SELECT ?", "SELECT");
        check(pg, "BEGIN", "BEGIN", "BEGIN");
        check(pg, "swordfish", "swordfish", "OTHER");
        check(
            "mysql",
            "SELECT `a` FROM t WHERE b = \"x\" AND c = ?",
            "SELECT `a` FROM t WHERE b = ? AND c = ?",
            "SELECT t",
        );
        check("clickhouse", "SELECT \"a\" FROM t WHERE b = 'it\\'s'", "SELECT \"a\" FROM t WHERE b = ?", "SELECT t");
        check("gcp.spanner", "SELECT a FROM t WHERE b = \"x\"", "SELECT a FROM t WHERE b = ?", "SELECT t");
        check("trino", "SELECT a FROM t WHERE b = 'x' AND c = 1", "SELECT a FROM t WHERE b = ? AND c = ?", "SELECT t");
        check("trino", "SELECT a FROM t WHERE b = \"x\" AND c", "SELECT a FROM t WHERE b = ? AND c", "SELECT t");
        check("aws.redshift", "SELECT a FROM t WHERE b = 'it\\'s' AND c", "SELECT a FROM t WHERE b = ?", "SELECT t");
        check("", "", "", "");
    }

    fn literal() -> impl Strategy<Value = String> {
        prop_oneof![
            "[a-z' \\n-]{0,8}".prop_map(|text| format!(
                "'{}5ecret{}'",
                text.replace('\'', "''"),
                text.replace('\'', "''")
            )),
            "[0-9]{1,4}".prop_map(|digits| format!("57{digits}31")),
            "[a-z ]{0,6}".prop_map(|text| format!("$x${text}5ecret$x$")),
            "[a-z ]{0,6}".prop_map(|text| format!("E'{text}\\'5ecret'")),
            "[a-z ]{0,6}".prop_map(|text| format!("/* {text} 5ecret */ 5731")),
        ]
    }

    /// As `'`, `"` and comments are written somewhere.
    fn literal_somewhere() -> impl Strategy<Value = String> {
        prop_oneof![
            literal(),
            "[a-z' ]{0,6}".prop_map(|text| format!("\"{text}5ecret\"")),
            "[a-z ]{0,6}".prop_map(|text| format!("'{text}\\'5ecret'")),
            "[a-z ]{0,6}".prop_map(|text| format!("\"{text}\\\"5ecret\"")),
            "[a-z ]{0,6}".prop_map(|text| format!("r'{text}\\'5ecret'")),
            "[a-z ]{0,6}".prop_map(|text| format!("b'{text}\\'5ecret'")),
            "[a-z ]{0,6}".prop_map(|text| format!("\"\"\"{text}\"5ecret\"\"\"")),
            "[a-z ]{0,6}".prop_map(|text| format!("'\'\'{text}\'5ecret'\'\'")),
            "[a-z ]{0,6}".prop_map(|text| format!("q'[{text}'5ecret]'")),
            "[a-z ]{0,6}".prop_map(|text| format!("1 # {text}5ecret\n")),
            "[a-z ]{0,6}".prop_map(|text| format!("1 // {text}5ecret\n")),
            "[a-z ]{0,6}".prop_map(|text| format!("'x--{text}\\\n5ecret'")),
        ]
    }

    proptest! {
        #[test]
        fn no_literal_is_left(literals in prop::collection::vec(literal(), 1..6), shape in 0usize..4) {
            let list = literals.join(", ");
            let first = &literals[0];
            let sql = match shape {
                0 => format!("SELECT a FROM t WHERE b IN ({list})"),
                1 => format!("INSERT INTO t (a, b) VALUES ({list}), ({list})"),
                2 => format!("UPDATE t SET a = {first}, b = -{first} WHERE c = f({list})"),
                _ => format!("SELECT {first}::text, x FROM t -- 5ecret {}", list.replace('\n', " ")),
            };
            let Statement { text, summary } = Statement::read("postgresql", &sql);
            for secret in ["5ecret", "57", "31"] {
                prop_assert!(!text.contains(secret) && !summary.contains(secret), "{} of {}", text, sql);
            }
            let again = Statement::read("postgresql", &text).text;
            prop_assert_eq!(again, text, "what is normal stays");
        }

        #[test]
        fn no_literal_of_any_database_is_left(literals in prop::collection::vec(literal_somewhere(), 1..6)) {
            let sql = format!("SELECT a FROM t WHERE b IN ({}) AND c = 'x5ecret'", literals.join(", "));
            for system in ["aws.redshift", "hive", "neo4j", "other_sql", ""] {
                let Statement { text, summary } = Statement::read(system, &sql);
                prop_assert!(!text.contains("5ecret") && !summary.contains("5ecret"), "{} of {}", text, sql);
            }
        }

        #[test]
        fn nothing_makes_it_panic(sql in any::<String>()) {
            for system in ["postgresql", "mysql", "sqlite", "microsoft.sql_server", "oracle.db", "clickhouse", "gcp.spanner",
                "snowflake", "databricks", "duckdb", ""] {
                let _read = Statement::read(system, &sql);
            }
        }
    }
}
