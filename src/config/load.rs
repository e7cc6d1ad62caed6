//! Resolving: every source is read, the strongest wins, and where a value came from is remembered.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use super::settings::{SETTINGS, Setting};

/// Longest secret that a `*_FILE` may hold.
const SECRET_BYTES_MAX: u64 = 64 << 10;
/// Permission bits of those who are neither the owner nor of the group.
const EVERYBODY: u32 = 0o007;

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The table of settings.
    Default,
    /// The file, at this line.
    File(PathBuf, usize),
    /// This variable.
    Environment(String),
    /// The command line.
    Flag,
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File(path, line) => write!(f, "{}:{line}", path.display()),
            Self::Environment(name) => write!(f, "environment {name}"),
            Self::Flag => f.write_str("command line"),
        }
    }
}

/// A mistake.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where it stands.
    pub origin: Origin,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.origin, self.what)
    }
}

/// Values by key, and the mistakes found on the way.
#[derive(Clone, Debug, Default)]
pub struct Resolved {
    /// Value and origin.
    pub values: BTreeMap<&'static str, (String, Origin)>,
    /// Unknown keys, unreadable files.
    pub problems: Vec<Problem>,
}

/// Resolves the settings from `flags` (`key=value`), `environment` and the file: the one given, or `fastbreak.toml` here
/// or under /etc/fastbreak where there is one.
pub fn load(flags: &[String], environment: &[(OsString, OsString)], file: Option<&Path>) -> Resolved {
    let mut resolved = Resolved::default();
    for setting in SETTINGS {
        resolved.values.insert(setting.key, (setting.default.to_owned(), Origin::Default));
    }
    let usual = [Path::new("fastbreak.toml"), Path::new("/etc/fastbreak/fastbreak.toml")];
    if let Some(path) = file.or_else(|| usual.into_iter().find(|path| path.exists())) {
        from_file(path, &mut resolved);
    }
    from_environment(environment, &mut resolved);
    for flag in flags {
        let (key, value) = flag.split_once('=').unwrap_or((flag, "true"));
        set(&mut resolved, key, value.to_owned(), Origin::Flag);
    }
    resolved
}

fn set(resolved: &mut Resolved, key: &str, value: String, origin: Origin) {
    match SETTINGS.iter().find(|setting| setting.key == key) {
        Some(setting) => {
            resolved.values.insert(setting.key, (value, origin));
        }
        None => {
            let hint = nearest(key, SETTINGS.iter().map(|setting| setting.key));
            resolved.problems.push(Problem { origin, what: format!("unknown key {key:?}{hint}") });
        }
    }
}

fn nearest<'a>(key: &str, known: impl Iterator<Item = &'a str>) -> String {
    known
        .map(|candidate| (strsim::jaro_winkler(key, candidate), candidate))
        .filter(|(likeness, _)| *likeness > 0.75)
        .max_by(|a, b| a.0.total_cmp(&b.0))
        .map_or_else(String::new, |(_, candidate)| format!(", did you mean {candidate:?}?"))
}

fn from_file(path: &Path, resolved: &mut Resolved) {
    let mut problem =
        |line, what| resolved.problems.push(Problem { origin: Origin::File(path.to_owned(), line), what });
    let text = match std::fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) => return problem(0, format!("cannot be read: {error}")),
    };
    let line_of = |at: usize| text.get(..at).map_or(0, |before| before.matches('\n').count() + 1);
    let table: toml::Table = match text.parse() {
        Ok(table) => table,
        Err(error) => {
            let error: toml::de::Error = error;
            return problem(error.span().map_or(0, |span| line_of(span.start)), error.message().to_owned());
        }
    };
    for (key, value) in table {
        let line = text.lines().position(|line| line.trim_start().starts_with(&key)).map_or(0, |at| at + 1);
        let value = match value {
            toml::Value::String(text) => text,
            toml::Value::Integer(n) => n.to_string(),
            toml::Value::Boolean(b) => b.to_string(),
            other => {
                let what = format!("{key} must be text, a number or a boolean, not {}", other.type_str());
                resolved.problems.push(Problem { origin: Origin::File(path.to_owned(), line), what });
                continue;
            }
        };
        set(resolved, &key, value, Origin::File(path.to_owned(), line));
    }
}

fn from_environment(environment: &[(OsString, OsString)], resolved: &mut Resolved) {
    let given = |wanted: &str| environment.iter().any(|(name, value)| name == wanted && !value.is_empty());
    for (name, value) in environment {
        let Some(name) = name.to_str() else { continue };
        let origin = Origin::Environment(name.to_owned());
        let file_of = name.strip_suffix("_FILE").and_then(by_variable).filter(|setting| setting.secret);
        let found = match (by_variable(name), file_of) {
            // As most programs do: set to nothing is not set.
            (Some(_), _) | (_, Some(_)) if value.is_empty() => continue,
            (Some(setting), _) => text(value).map(|value| (setting.key, value)),
            (None, Some(setting)) if given(setting.variable) => {
                Err(format!("{} is set too; one of them must go", setting.variable))
            }
            (None, Some(setting)) => secret_in(Path::new(value)).map(|value| (setting.key, value)),
            (None, None) if name == "DEBUG" && !given("RUST_LOG") && debugs_us(value) => {
                Ok(("log_filter", "info,fastbreak=debug".to_owned()))
            }
            (None, None) if name.starts_with("FASTBREAK_") => {
                let hint = nearest(name, SETTINGS.iter().map(|setting| setting.variable));
                Err(format!("unknown variable{hint}"))
            }
            (None, None) => continue,
        };
        match found {
            Ok((key, value)) => _ = resolved.values.insert(key, (value, origin)),
            Err(what) => resolved.problems.push(Problem { origin, what }),
        }
    }
}

fn text(value: &OsStr) -> Result<String, String> {
    value.to_str().map(ToOwned::to_owned).ok_or_else(|| "the value is not UTF-8".to_owned())
}

fn debugs_us(value: &OsStr) -> bool {
    value.to_string_lossy().split(',').any(|part| part.trim().starts_with("fastbreak"))
}

/// The content of a secret's file, which not everybody may read.
fn secret_in(path: &Path) -> Result<String, String> {
    let shown = path.display();
    let unreadable = |error: std::io::Error| format!("{shown} cannot be read: {error}");
    let file = std::fs::File::open(path).map_err(unreadable)?;
    let mode = file.metadata().map_err(unreadable)?.permissions().mode();
    if mode & EVERYBODY != 0 {
        let mode = mode & 0o777;
        return Err(format!("{shown} is open to everybody (mode {mode:03o}); `chmod o= {shown}` closes it"));
    }
    let mut secret = String::new();
    file.take(SECRET_BYTES_MAX + 1).read_to_string(&mut secret).map_err(unreadable)?;
    match secret.trim_end() {
        "" => Err(format!("{shown} is empty")),
        _ if secret.len() as u64 > SECRET_BYTES_MAX => Err(format!("{shown} is longer than {SECRET_BYTES_MAX} bytes")),
        secret => Ok(secret.to_owned()),
    }
}

fn by_variable(name: &str) -> Option<&'static Setting> {
    SETTINGS.iter().find(|setting| setting.variable == name)
}
