//! Indicators: the seed's words as named expressions over semantic-convention names, with span-derived RED as the fallback.

/// A named expression.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Indicator {
    /// As rules and the API name it.
    pub name: &'static str,
    /// Unit of its value.
    pub unit: &'static str,
    /// What it tells.
    pub description: &'static str,
    /// PromQL.
    pub query: &'static str,
}

const fn define(name: &'static str, unit: &'static str, description: &'static str, query: &'static str) -> Indicator {
    Indicator { name, unit, description, query }
}

/// Spans that answer a request, and spans that call a database.
macro_rules! span {
    (server) => {
        "{\"traces.span.metrics.duration\", span_kind=\"SPAN_KIND_SERVER\"}[5m]"
    };
    (server error) => {
        "{\"traces.span.metrics.duration\", span_kind=\"SPAN_KIND_SERVER\", status_code=\"STATUS_CODE_ERROR\"}[5m]"
    };
    (database) => {
        "{\"traces.span.metrics.duration\", span_kind=\"SPAN_KIND_CLIENT\", db_system_name!=\"\"}[5m]"
    };
}

/// Quantile of HTTP server requests, in milliseconds.
macro_rules! response_time {
    ($q:literal) => {
        concat!(
            "1000 * histogram_quantile(",
            $q,
            ", sum(rate(http_server_request_duration_seconds[5m]))) ",
            "or 1000 * histogram_quantile(",
            $q,
            ", sum(rate(",
            span!(server),
            ")))"
        )
    };
}

/// Calls that took longer than a second, a minute. Without any call their share is no number, and the count stands.
macro_rules! slow {
    ($range:expr) => {
        concat!(
            "(60 * histogram_count(sum(rate(",
            $range,
            "))) * histogram_fraction(1, Inf, sum(rate(",
            $range,
            "))) >= 0 ",
            "or 60 * histogram_count(sum(rate(",
            $range,
            "))))"
        )
    };
}

/// Every indicator. Sums and counts are taken apart for means, so that senders with explicit and with exponential buckets
/// meet in one. What is idle, free or cached is left out of usage, and senders that tell no state mean what is used.
pub const INDICATORS: &[Indicator] = &[
    define(
        "avgResponseTime",
        "ms",
        "mean duration of HTTP server requests over five minutes",
        concat!(
            "1000 * sum(increase(http_server_request_duration_seconds_sum[5m])) ",
            "/ (sum(increase(http_server_request_duration_seconds_count[5m])) > 0) ",
            "or 1000 * histogram_avg(sum(rate(",
            span!(server),
            ")))"
        ),
    ),
    define(
        "p95ResponseTime",
        "ms",
        "95th percentile of HTTP server request durations over five minutes",
        response_time!("0.95"),
    ),
    define(
        "p99ResponseTime",
        "ms",
        "99th percentile of HTTP server request durations over five minutes",
        response_time!("0.99"),
    ),
    define(
        "throughput",
        "1/s",
        "HTTP server requests a second over five minutes",
        concat!(
            "sum(rate(http_server_request_duration_seconds_count[5m])) ",
            "or histogram_count(sum(rate(",
            span!(server),
            ")))"
        ),
    ),
    define(
        "errorRate",
        "%",
        "share of HTTP server requests answered with 5xx, or of server spans with an error, over five minutes",
        concat!(
            "100 * (sum(rate(http_server_request_duration_seconds_count{http_response_status_code=~\"5..\"}[5m])) ",
            "or 0 * sum(rate(http_server_request_duration_seconds_count[5m]))) ",
            "/ (sum(rate(http_server_request_duration_seconds_count[5m])) > 0) ",
            "or 100 * (histogram_count(sum(rate(",
            span!(server error),
            "))) ",
            "or 0 * histogram_count(sum(rate(",
            span!(server),
            ")))) ",
            "/ (histogram_count(sum(rate(",
            span!(server),
            "))) > 0)"
        ),
    ),
    define("activeRequests", "{request}", "HTTP server requests in flight", "sum({\"http.server.active_requests\"})"),
    define(
        "dbPoolUsage",
        "%",
        "share of database connections in use",
        "100 * sum({\"db.client.connection.count\", db_client_connection_state=\"used\"}) \
         / (sum({\"db.client.connection.max\"}) > 0)",
    ),
    define(
        "dbPoolActive",
        "{connection}",
        "database connections in use",
        "sum({\"db.client.connection.count\", db_client_connection_state=\"used\"})",
    ),
    define(
        "avgQueryTime",
        "ms",
        "mean duration of database calls over five minutes",
        concat!(
            "1000 * sum(increase(db_client_operation_duration_seconds_sum[5m])) ",
            "/ (sum(increase(db_client_operation_duration_seconds_count[5m])) > 0) ",
            "or 1000 * histogram_avg(sum(rate(",
            span!(database),
            ")))"
        ),
    ),
    define(
        "slowQueries",
        "1/min",
        "database calls that took longer than a second, a minute",
        concat!(slow!("db_client_operation_duration_seconds[5m]"), " or ", slow!(span!(database))),
    ),
    define(
        "cacheHitRate",
        "%",
        "share of cache look-ups that hit, over five minutes",
        "100 * (sum(rate({\"fastbreak.cache.requests\", fastbreak_cache_result=\"hit\"}[5m])) \
         or 0 * sum(rate({\"fastbreak.cache.requests\"}[5m]))) \
         / (sum(rate({\"fastbreak.cache.requests\"}[5m])) > 0)",
    ),
    define("cacheMemory", "By", "memory that caches hold", "sum({\"fastbreak.cache.usage\"})"),
    define(
        "aiProcessingTime",
        "ms",
        "mean duration of AI calls over five minutes",
        "1000 * sum(increase(gen_ai_client_operation_duration_seconds_sum[5m])) \
         / (sum(increase(gen_ai_client_operation_duration_seconds_count[5m])) > 0)",
    ),
    define(
        "aiConfidence",
        "1",
        "mean confidence of AI answers over five minutes",
        "sum(increase({\"fastbreak.ai.confidence_sum\"}[5m])) / (sum(increase({\"fastbreak.ai.confidence_count\"}[5m])) > 0) \
         or avg(avg_over_time({\"fastbreak.ai.confidence\"}[5m]))",
    ),
    define(
        "cpuUsage",
        "%",
        "busiest host's CPU, mean of its cores",
        "100 * max(avg without (cpu_logical_number) (sum without (cpu_mode) \
         ({\"system.cpu.utilization\", cpu_mode!~\"idle|iowait|wait\"})) \
         or avg without (cpu_logical_number) (sum without (cpu_mode) \
         (rate({\"system.cpu.time\", cpu_mode!~\"idle|iowait|wait\"}[5m]))))",
    ),
    define(
        "memoryUsage",
        "%",
        "fullest host's memory",
        "100 * max(sum without (system_memory_state) ({\"system.memory.utilization\", system_memory_state=~\"used|\"}) \
         or sum without (system_memory_state) ({\"system.memory.usage\", system_memory_state=\"used\"}) \
         / (sum without (system_memory_state) \
         ({\"system.memory.usage\", system_memory_state=~\"used|free|cached|buffered|buffers|inactive\"}) > 0))",
    ),
    define(
        "diskUsage",
        "%",
        "fullest file system that can be written to",
        "100 * max(sum without (system_filesystem_state) ({\"system.filesystem.utilization\", \
         system_filesystem_state=~\"used|\", system_filesystem_mode!=\"ro\"}) \
         or sum without (system_filesystem_state) ({\"system.filesystem.usage\", \
         system_filesystem_state=\"used\", system_filesystem_mode!=\"ro\"}) \
         / (sum without (system_filesystem_state) ({\"system.filesystem.usage\", \
         system_filesystem_state=~\"used|free\"}) > 0))",
    ),
];

/// The indicator called `name`.
#[must_use]
pub fn indicator(name: &str) -> Option<&'static Indicator> {
    INDICATORS.iter().find(|indicator| indicator.name == name)
}
