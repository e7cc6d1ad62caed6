//! The command line: arguments and exit codes; one file a subcommand.
//!
//! Data goes to standard output, everything else to standard error. Exit codes: 0 done, 1 failed, 2 wrong usage,
//! 3 a check failed or something fires, 78 bad configuration.

mod alerts;
mod check;
mod demo;
mod notify;
mod policies;
mod query;
mod rules;
mod send;
mod serve;
mod server;
mod silences;
mod traces;

use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::config::{Config, ConfigErrors, LogFormat, Resolved, SETTINGS, load};
use crate::telemetry::{LogStyle, Pipeline, init};

/// `EX_CONFIG` of `sysexits.h`.
const EXIT_CONFIG: u8 = 78;
/// How long threads may take to end once the work is done.
const LEAVE_WITHIN: Duration = Duration::from_millis(500);

#[derive(Parser)]
#[command(name = "fastbreak", version, about = "Takes OTLP metrics and traces in, and answers PromQL over them", long_about = None)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server
    #[command(after_long_help = settings_help())]
    Serve(ConfigArgs),
    /// Check configuration, database and Redis, and show where each setting comes from
    #[command(after_long_help = settings_help())]
    Check(ConfigArgs),
    /// Apply database migrations and exit
    Migrate(ConfigArgs),
    /// Run a small shop of several services that sends real OTLP, with an incident now and then
    Demo(demo::DemoArgs),
    /// Send one metric point or span and say whether it was committed
    Send(send::SendArgs),
    /// Evaluate a PromQL query or indicator on a running server
    Query(query::QueryArgs),
    /// Receivers of notifications
    Notify(notify::NotifyArgs),
    /// Rules: files of them, what they would change, what they would have done
    Rules(rules::RulesArgs),
    /// Alerts: what is open, what was, who took it, and why
    Alerts(alerts::AlertsArgs),
    /// Silences: make, list and end them
    Silences(silences::SilencesArgs),
    /// Policies: how caches and batchers of services behave
    Policies(policies::PoliciesArgs),
    /// Traces: those that were kept, and one as a tree
    Traces(traces::TracesArgs),
    /// Print a completion script for a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

/// Where settings come from.
#[derive(Args, Clone, Debug)]
struct ConfigArgs {
    /// Settings file; fastbreak.toml here or in /etc/fastbreak by default
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// A setting, stronger than environment and file; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
    /// Listen beyond loopback although no tokens are configured
    #[arg(long)]
    insecure_no_auth: bool,
}

impl ConfigArgs {
    fn resolve(&self) -> Resolved {
        let mut flags = self.set.clone();
        if self.insecure_no_auth {
            flags.push("insecure_no_auth=true".to_owned());
        }
        load(&flags, &std::env::vars_os().collect::<Vec<_>>(), self.config.as_deref())
    }

    fn read(&self) -> Result<Config, ConfigErrors> {
        Config::read(&self.resolve())
    }
}

fn settings_help() -> String {
    let mut out = String::from("Settings (key in fastbreak.toml, environment variable, default):\n");
    for setting in SETTINGS {
        let default = if setting.default.is_empty() { String::new() } else { format!(" [{}]", setting.default) };
        out.push_str(&format!("  {:<24} {:<32} {}{default}\n", setting.key, setting.variable, setting.help));
    }
    out.push_str(
        "\nSecrets also come from the file named by <variable>_FILE, which not everybody may read.\n\
         Our own telemetry goes where OTEL_EXPORTER_OTLP_ENDPOINT says; the other OTEL_ variables are honoured too.\n",
    );
    out
}

/// Writes to standard output; a closed pipe is the reader's business.
fn print(text: &str) {
    let _closed = std::io::stdout().write_all(text.as_bytes()).and_then(|()| std::io::stdout().flush());
}

/// Writes to standard error.
fn complain(text: &str) {
    let _closed = writeln!(std::io::stderr(), "{text}");
}

/// Reads the arguments and does what they ask.
#[must_use]
pub fn main() -> ExitCode {
    // One TLS provider for the process; a second installation would be the same one.
    let _installed_before = rustls::crypto::ring::default_provider().install_default();
    let cli = Cli::parse();
    match cli.command {
        Command::Completions { shell } => {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "fastbreak", &mut script);
            print(&String::from_utf8_lossy(&script));
            ExitCode::SUCCESS
        }
        Command::Serve(args) => with_config(&args, serve::run),
        Command::Migrate(args) => with_config(&args, serve::migrate),
        Command::Check(args) => run(check::run(args)),
        Command::Demo(args) => run(demo::run(args)),
        Command::Send(args) => run(send::run(args)),
        Command::Query(args) => run(query::run(args)),
        Command::Notify(args) => run(notify::run(args)),
        Command::Rules(args) => run(rules::run(args)),
        Command::Alerts(args) => run(alerts::run(args)),
        Command::Silences(args) => run(silences::run(args)),
        Command::Policies(args) => run(policies::run(args)),
        Command::Traces(args) => run(traces::run(args)),
    }
}

fn with_config<F: Future<Output = anyhow::Result<ExitCode>>>(
    args: &ConfigArgs,
    work: impl FnOnce(Config) -> F,
) -> ExitCode {
    match args.read() {
        Ok(config) => run(work(config)),
        Err(errors) => {
            complain(&format!("fastbreak: the configuration has mistakes:\n{errors}"));
            ExitCode::from(EXIT_CONFIG)
        }
    }
}

/// Starts log lines, and the spans that go out through `own`.
fn start_logs(config: &Config, own: Option<&Pipeline>) {
    let style = if config.log_format == LogFormat::Json { LogStyle::Json } else { LogStyle::Text };
    init(style, &config.log_filter, own);
}

/// Runs `work` on the main thread: children that are to die with us are bound to the thread that started them.
fn run(work: impl Future<Output = anyhow::Result<ExitCode>>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            complain(&format!("fastbreak: no threads to run on: {error}"));
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(work).unwrap_or_else(|error| {
        complain(&format!("fastbreak: {error:#}"));
        ExitCode::FAILURE
    });
    // What is still at work by now waits for something that does not answer.
    runtime.shutdown_timeout(LEAVE_WITHIN);
    code
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_are_sound() {
        Cli::command().debug_assert();
    }
}
