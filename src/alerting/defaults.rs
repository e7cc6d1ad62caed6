//! The rules that are on from the first start: HTTP, database, cache, AI, the host, FastBreak itself.

use serde_json::{Value, json};

use super::reports::LAG;
use crate::model::Rule;

/// How a shipped rule differs from the others.
struct Shipped {
    id: &'static str,
    name: &'static str,
    condition: &'static str,
    warning: f64,
    critical: f64,
    recovery: (f64, f64),
    hold_for: &'static str,
    summary: &'static str,
}

const SHIPPED: &[Shipped] = &[
    Shipped {
        id: "http_response_time",
        name: "Slow HTTP responses",
        condition: "p95ResponseTime > threshold",
        warning: 1_000.0,
        critical: 3_000.0,
        recovery: (800.0, 2_400.0),
        hold_for: "2m",
        summary: "95 of 100 requests are answered within {{ value | round(0) }} ms; {{ threshold }} ms is the limit",
    },
    Shipped {
        id: "http_error_rate",
        name: "HTTP errors",
        condition: "errorRate > threshold",
        warning: 5.0,
        critical: 20.0,
        recovery: (3.0, 15.0),
        hold_for: "1m",
        summary: "{{ value | round(1) }} % of the requests fail",
    },
    Shipped {
        id: "database_pool_usage",
        name: "Database connections run out",
        condition: "dbPoolUsage > threshold",
        warning: 80.0,
        critical: 95.0,
        recovery: (70.0, 90.0),
        hold_for: "1m",
        summary: "{{ value | round(0) }} % of the database connections are in use",
    },
    Shipped {
        id: "database_query_time",
        name: "Slow database calls",
        condition: "avgQueryTime > threshold",
        warning: 200.0,
        critical: 1_000.0,
        recovery: (150.0, 800.0),
        hold_for: "2m",
        summary: "a database call takes {{ value | round(0) }} ms on average",
    },
    Shipped {
        id: "cache_hit_rate",
        name: "Cache misses",
        condition: "cacheHitRate < threshold",
        warning: 70.0,
        critical: 40.0,
        recovery: (75.0, 50.0),
        hold_for: "5m",
        summary: "only {{ value | round(0) }} % of the look-ups hit",
    },
    Shipped {
        id: "ai_processing_time",
        name: "Slow AI calls",
        condition: "aiProcessingTime > threshold",
        warning: 10_000.0,
        critical: 30_000.0,
        recovery: (8_000.0, 25_000.0),
        hold_for: "5m",
        summary: "an AI call takes {{ (value / 1000) | round(1) }} s on average",
    },
    Shipped {
        id: "ai_confidence",
        name: "Unsure AI answers",
        condition: "aiConfidence < threshold",
        warning: 0.6,
        critical: 0.4,
        recovery: (0.65, 0.5),
        hold_for: "5m",
        summary: "the mean confidence of AI answers is {{ value | round(2) }}",
    },
    Shipped {
        id: "system_cpu_usage",
        name: "CPU is busy",
        condition: "cpuUsage > threshold",
        warning: 90.0,
        critical: 98.0,
        recovery: (80.0, 95.0),
        hold_for: "10m",
        summary: "the busiest host's CPU is at {{ value | round(0) }} %",
    },
    Shipped {
        id: "system_memory_usage",
        name: "Memory runs out",
        condition: "memoryUsage > threshold",
        warning: 90.0,
        critical: 97.0,
        recovery: (85.0, 95.0),
        hold_for: "5m",
        summary: "the fullest host's memory is at {{ value | round(0) }} %",
    },
    Shipped {
        id: "system_disk_usage",
        name: "Disk runs out",
        condition: "diskUsage > threshold",
        warning: 85.0,
        critical: 95.0,
        recovery: (83.0, 93.0),
        hold_for: "5m",
        summary: "the fullest file system is at {{ value | round(0) }} %",
    },
];

/// The shipped rules, by id.
pub(super) fn rules() -> Vec<Value> {
    SHIPPED.iter().map(Shipped::definition).chain([own(), silent()]).map(as_stored).collect()
}

/// FastBreak watches itself by the host's measurements, which it takes whatever others send.
fn own() -> Value {
    json!({
        "id": "fastbreak_ingest_silent",
        "name": "FastBreak measures nothing",
        "condition": "absent_over_time({\"system.cpu.utilization\"}[5m])",
        "severity": "critical",
        "for": "1m",
        "annotations": { "summary": "FastBreak has not even had its own host's measurements for five minutes" },
    })
}

/// A service that has stopped to report, by its own usual interval.
fn silent() -> Value {
    json!({
        "id": "service_silent",
        "name": "A service does not report",
        "condition": format!("max by (reporting_service) ({{\"{LAG}\"}}) > threshold"),
        "threshold": 3.0,
        "severity": "critical",
        "groupBy": ["reporting_service"],
        "limit": 1_000,
        "annotations": {
            "summary": "{{ labels.reporting_service }} has not reported for {{ value | round(0) }} of its usual intervals",
        },
    })
}

/// Written as a rule writes itself, so that it compares equal with what is stored.
fn as_stored(definition: Value) -> Value {
    serde_json::from_value::<Rule>(definition).ok().and_then(|rule| serde_json::to_value(rule).ok()).unwrap_or_default()
}

impl Shipped {
    fn definition(&self) -> Value {
        let critical =
            json!({ "severity": "critical", "threshold": self.critical, "recoveryThreshold": self.recovery.1 });
        json!({
            "id": self.id,
            "name": self.name,
            "condition": self.condition,
            "threshold": self.warning,
            "severity": "warning",
            "recoveryThreshold": self.recovery.0,
            "thresholds": [critical],
            "for": self.hold_for,
            "annotations": { "summary": self.summary },
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{RuleOrigin, StoredRule};

    #[test]
    fn every_shipped_rule_is_sound() {
        for definition in rules() {
            let rule: Rule = serde_json::from_value(definition).expect("a rule");
            let stored = StoredRule {
                rule,
                revision: 1,
                origin: RuleOrigin::Default,
                created_at: chrono::DateTime::default(),
                updated_at: chrono::DateTime::default(),
                deleted: false,
            };
            if let Err(error) = super::super::validate::rule(stored.clone()) {
                panic!("{}: {error}", stored.rule.id);
            }
        }
    }
}
