//! The table of settings: key in `fastbreak.toml`, environment variables, default, meaning.

/// One setting.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    /// Key in the file; the flag is `--set key=value`.
    pub key: &'static str,
    /// Environment variable. Secrets also come from `<variable>_FILE`.
    pub variable: &'static str,
    /// Text of the default, empty for none.
    pub default: &'static str,
    /// True when its value is never shown.
    pub secret: bool,
    /// What it is.
    pub help: &'static str,
}

const fn setting(key: &'static str, variable: &'static str, default: &'static str, help: &'static str) -> Setting {
    Setting { key, variable, default, secret: false, help }
}

const fn secret(key: &'static str, variable: &'static str, help: &'static str) -> Setting {
    Setting { key, variable, default: "", secret: true, help }
}

/// Every setting.
pub const SETTINGS: &[Setting] = &[
    secret("database_url", "DATABASE_URL", "Postgres, as postgres://user:password@host:port/name?sslmode=verify-full"),
    setting("db_host", "DB_HOST", "", "Postgres host; without it and DATABASE_URL a private Postgres is started"),
    setting("db_port", "DB_PORT", "5432", "Postgres port"),
    setting("db_name", "DB_NAME", "fastbreak", "database name"),
    setting("db_user", "DB_USER", "postgres", "database user"),
    secret("db_password", "DB_PASSWORD", "database password"),
    setting("database_connections", "FASTBREAK_DATABASE_CONNECTIONS", "12", "most connections to Postgres"),
    secret("redis_url", "REDIS_URL", "Redis, as redis://host:port, or off"),
    setting("redis_host", "REDIS_HOST", "", "Redis host; without it and REDIS_URL a private Redis is started"),
    setting("redis_port", "REDIS_PORT", "6379", "Redis port"),
    setting("data_dir", "FASTBREAK_DATA_DIR", "data", "where the private Postgres and Redis keep their files"),
    setting("port", "PORT", "", "port of the dashboard and JSON API, when http_addr is not set"),
    setting("http_addr", "FASTBREAK_HTTP_ADDR", "127.0.0.1:3001", "dashboard, JSON API and /metrics; port 0 is any"),
    setting("grpc_addr", "FASTBREAK_GRPC_ADDR", "127.0.0.1:4317", "OTLP/gRPC and admin services"),
    setting("otlp_http_addr", "FASTBREAK_OTLP_HTTP_ADDR", "127.0.0.1:4318", "OTLP/HTTP"),
    setting(
        "public_url",
        "FASTBREAK_PUBLIC_URL",
        "",
        "where people reach the dashboard, such as https://fb.example; for links, and behind a proxy",
    ),
    setting(
        "insecure_no_auth",
        "FASTBREAK_INSECURE_NO_AUTH",
        "false",
        "allow listening beyond loopback without tokens",
    ),
    setting("window", "FASTBREAK_WINDOW", "10s", "width of the windows; divides an hour"),
    setting("checkpoint", "FASTBREAK_CHECKPOINT", "60s", "how often windows are flushed to Postgres"),
    setting(
        "checkpoints_waiting",
        "FASTBREAK_CHECKPOINTS_WAITING",
        "30",
        "checkpoints that may wait for Postgres to take them; with more, exports are refused",
    ),
    setting("retention_fine", "FASTBREAK_RETENTION_FINE", "48h", "life of windows as ingested"),
    setting("retention_minute", "FASTBREAK_RETENTION_MINUTE", "30d", "life of minutes"),
    setting("retention_hour", "FASTBREAK_RETENTION_HOUR", "400d", "life of hours"),
    setting("receive_bytes", "FASTBREAK_RECEIVE_BYTES", "64MiB", "largest body, before and after inflating"),
    setting("in_flight_bytes", "FASTBREAK_IN_FLIGHT_BYTES", "128MiB", "bytes admitted and not yet answered"),
    setting("body_deadline", "FASTBREAK_BODY_DEADLINE", "10s", "how long a body may take to arrive"),
    setting("max_connections", "FASTBREAK_MAX_CONNECTIONS", "4096", "most connections of one listener"),
    setting(
        "max_connections_per_address",
        "FASTBREAK_MAX_CONNECTIONS_PER_ADDRESS",
        "256",
        "most connections of one listener from one address",
    ),
    setting("max_streams", "FASTBREAK_MAX_STREAMS", "64", "most concurrent streams of one HTTP/2 connection"),
    setting("series_per_service", "FASTBREAK_SERIES_PER_SERVICE", "20000", "most series of one service"),
    setting("series_per_metric", "FASTBREAK_SERIES_PER_METRIC", "2000", "most series of one metric of one service"),
    setting("query_concurrent", "FASTBREAK_QUERY_CONCURRENT", "8", "queries evaluated at once"),
    setting("query_waiting", "FASTBREAK_QUERY_WAITING", "64", "queries that wait for their turn"),
    setting("query_deadline", "FASTBREAK_QUERY_DEADLINE", "10s", "how long a query may take"),
    setting("query_series", "FASTBREAK_QUERY_SERIES", "500000", "most series of one query"),
    setting("query_bytes", "FASTBREAK_QUERY_BYTES", "512MiB", "most bytes of windows that one query may hold"),
    setting("grace_period", "FASTBREAK_GRACE_PERIOD", "10s", "how long a drain may take"),
    setting("log_format", "FASTBREAK_LOG_FORMAT", "text", "text or json"),
    setting("log_filter", "RUST_LOG", "info", "log levels by target; DEBUG=fastbreak:* means debug"),
    setting("trace_wait", "FASTBREAK_TRACE_WAIT", "10s", "how long spans wait for the rest of their trace"),
    setting("trace_remember", "FASTBREAK_TRACE_REMEMBER", "5m", "how long a kept trace takes spans that come late"),
    setting("trace_tail_bytes", "FASTBREAK_TRACE_TAIL_BYTES", "64MiB", "compressed spans that wait in memory"),
    setting(
        "trace_samples",
        "FASTBREAK_TRACE_SAMPLES",
        "2",
        "traces kept of each operation a minute, whatever they are",
    ),
    setting("trace_slow", "FASTBREAK_TRACE_SLOW", "6", "slowest traces kept of each operation a minute"),
    setting(
        "trace_keep",
        "FASTBREAK_TRACE_KEEP",
        "",
        "comma-separated attributes, as name=value, whose traces are all kept",
    ),
    setting("retention_traces", "FASTBREAK_RETENTION_TRACES", "7d", "life of kept traces"),
    setting("traces_bytes", "FASTBREAK_TRACES_BYTES", "20GiB", "most disk of kept traces; plain samples go first"),
    setting("retention_alerts", "FASTBREAK_RETENTION_ALERTS", "90d", "life of alerts, transitions and decisions"),
    setting("smtp_host", "SMTP_HOST", "", "mail server for alerts"),
    setting("smtp_port", "SMTP_PORT", "587", "its port"),
    setting("smtp_tls", "SMTP_TLS", "auto", "auto, starttls, tls or none; auto is plain to loopback only"),
    setting("smtp_user", "SMTP_USER", "", "its user"),
    secret("smtp_pass", "SMTP_PASS", "its password"),
    setting("alert_email_recipients", "ALERT_EMAIL_RECIPIENTS", "", "comma-separated recipients of alerts"),
    setting("alert_email_from", "ALERT_EMAIL_FROM", "", "sender of alerts"),
    secret("alert_webhook_url", "ALERT_WEBHOOK_URL", "webhook for alerts"),
    secret("slack_webhook_url", "SLACK_WEBHOOK_URL", "Slack webhook for alerts"),
    secret("secret_key", "FASTBREAK_SECRET_KEY", "seals receivers' secrets, 32 bytes or more; else a file in data_dir"),
    setting(
        "notify_allow_cidrs",
        "FASTBREAK_NOTIFY_ALLOW_CIDRS",
        "",
        "comma-separated ranges that notifications may go to although they are not public",
    ),
    setting(
        "notify_allow_ports",
        "FASTBREAK_NOTIFY_ALLOW_PORTS",
        "80,443,8000-8999",
        "ports that notifications may go to over HTTP",
    ),
    setting(
        "notify_self_alert_after",
        "FASTBREAK_NOTIFY_SELF_ALERT_AFTER",
        "60s",
        "how long the database may be away before receivers are told",
    ),
];
