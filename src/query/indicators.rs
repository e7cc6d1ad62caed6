//! Indicators: the seed's words as named expressions over semantic-convention names, with span-derived RED as the fallback.
//!

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

/// Every indicator.
pub const INDICATORS: &[Indicator] = &[
    define(
        "avgResponseTime",
        "ms",
        "mean duration of HTTP server requests over five minutes",
        "1000 * histogram_avg(sum(rate(http_server_request_duration_seconds[5m]))) \
         or 1000 * histogram_avg(sum(rate({\"traces.span.metrics.duration\", span_kind=\"SPAN_KIND_SERVER\"}[5m])))",
    ),
    define(
        "p95ResponseTime",
        "ms",
        "95th percentile of HTTP server request durations over five minutes",
        "1000 * histogram_quantile(0.95, sum(rate(http_server_request_duration_seconds[5m]))) \
         or 1000 * histogram_quantile(0.95, sum(rate({\"traces.span.metrics.duration\", span_kind=\"SPAN_KIND_SERVER\"}[5m])))",
    ),
    define(
        "p99ResponseTime",
        "ms",
        "99th percentile of HTTP server request durations over five minutes",
        "1000 * histogram_quantile(0.99, sum(rate(http_server_request_duration_seconds[5m]))) \
         or 1000 * histogram_quantile(0.99, sum(rate({\"traces.span.metrics.duration\", span_kind=\"SPAN_KIND_SERVER\"}[5m])))",
    ),
    define(
        "throughput",
        "1/s",
        "HTTP server requests a second over five minutes",
        "histogram_count(sum(rate(http_server_request_duration_seconds[5m]))) \
         or histogram_count(sum(rate({\"traces.span.metrics.duration\", span_kind=\"SPAN_KIND_SERVER\"}[5m])))",
    ),
    define(
        "errorRate",
        "%",
        "share of HTTP server requests answered with 5xx, or of server spans with an error, over five minutes",
        "100 * (sum(rate(http_server_request_duration_seconds_count{http_response_status_code=~\"5..\"}[5m])) \
         or 0 * sum(rate(http_server_request_duration_seconds_count[5m]))) \
         / (sum(rate(http_server_request_duration_seconds_count[5m])) > 0) \
         or 100 * (histogram_count(sum(rate({\"traces.span.metrics.duration\", span_kind=\"SPAN_KIND_SERVER\", status_code=\"STATUS_CODE_ERROR\"}[5m]))) \
         or 0 * histogram_count(sum(rate({\"traces.span.metrics.duration\", span_kind=\"SPAN_KIND_SERVER\"}[5m])))) \
         / (histogram_count(sum(rate({\"traces.span.metrics.duration\", span_kind=\"SPAN_KIND_SERVER\"}[5m]))) > 0)",
    ),
    define("activeRequests", "{request}", "HTTP server requests in flight", "sum({\"http.server.active_requests\"})"),
    define(
        "dbPoolUsage",
        "%",
        "share of database connections in use",
        "100 * sum({\"db.client.connection.count\", db_client_connection_state=\"used\"}) / (sum({\"db.client.connection.max\"}) > 0)",
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
        "1000 * histogram_avg(sum(rate({\"db.client.operation.duration\"}[5m]))) \
         or 1000 * histogram_avg(sum(rate({\"traces.span.metrics.duration\", span_kind=\"SPAN_KIND_CLIENT\", db_system!=\"\"}[5m])))",
    ),
    define(
        "slowQueries",
        "1/min",
        "database calls that took longer than a second, a minute",
        "60 * (sum(rate({\"db.client.operation.duration_count\"}[5m])) - sum(rate({\"db.client.operation.duration_bucket\", le=\"1\"}[5m])))",
    ),
    define(
        "cacheHitRate",
        "%",
        "share of cache look-ups that hit, over five minutes",
        "100 * (sum(rate({\"fastbreak.cache.requests\", fastbreak_cache_result=\"hit\"}[5m])) or 0 * sum(rate({\"fastbreak.cache.requests\"}[5m]))) \
         / (sum(rate({\"fastbreak.cache.requests\"}[5m])) > 0)",
    ),
    define("cacheMemory", "By", "memory that caches hold", "sum({\"fastbreak.cache.usage\"})"),
    define(
        "aiProcessingTime",
        "ms",
        "mean duration of AI calls over five minutes",
        "1000 * histogram_avg(sum(rate({\"gen_ai.client.operation.duration\"}[5m])))",
    ),
    define(
        "aiConfidence",
        "1",
        "mean confidence of AI answers over five minutes",
        "histogram_avg(sum(rate({\"fastbreak.ai.confidence\"}[5m]))) or avg(avg_over_time({\"fastbreak.ai.confidence\"}[5m]))",
    ),
    define("cpuUsage", "%", "busiest host's CPU", "100 * max({\"system.cpu.utilization\"})"),
    define("memoryUsage", "%", "fullest host's memory", "100 * max({\"system.memory.utilization\"})"),
    define("diskUsage", "%", "fullest file system", "100 * max({\"system.filesystem.utilization\"})"),
];

/// The indicator called `name`.
#[must_use]
pub fn indicator(name: &str) -> Option<&'static Indicator> {
    INDICATORS.iter().find(|indicator| indicator.name == name)
}
