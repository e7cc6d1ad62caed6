//! Old and new semantic-convention names, one through these tables: metrics and their units, labels.
//!
//! A query for the current name also finds what old senders use. Values come in the current unit, whatever unit was sent.
//! Sources: OpenTelemetry semantic conventions 1.20 to 1.37 and their migration guides; the Collector's hostmetrics receiver.

use super::UnitScale;

/// A metric name that stands for another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Alias {
    /// The name as old senders use it.
    pub old: &'static str,
    /// The unit that old senders mean when they name none.
    pub old_unit: &'static str,
    /// The name as the current conventions have it.
    pub new: &'static str,
    /// The current unit.
    pub unit: &'static str,
}

impl Alias {
    /// From the unit that was sent to the current one.
    #[must_use]
    pub fn scale(&self, sent: &str) -> UnitScale {
        let sent = if sent.is_empty() { self.old_unit } else { sent };
        UnitScale::between(sent, self.unit).unwrap_or(UnitScale::ONE)
    }
}

const fn renamed(old: &'static str, new: &'static str, unit: &'static str) -> Alias {
    Alias { old, old_unit: unit, new, unit }
}

const fn from_millis(old: &'static str, new: &'static str) -> Alias {
    Alias { old, old_unit: "ms", new, unit: "s" }
}

/// A current name that some send in another unit.
const fn current(name: &'static str, unit: &'static str) -> Alias {
    Alias { old: name, old_unit: unit, new: name, unit }
}

const METRICS: &[Alias] = &[
    from_millis("http.server.duration", "http.server.request.duration"),
    from_millis("http.client.duration", "http.client.request.duration"),
    from_millis("rpc.server.duration", "rpc.server.call.duration"),
    from_millis("rpc.client.duration", "rpc.client.call.duration"),
    renamed("rpc.server.request.duration", "rpc.server.call.duration", "s"),
    renamed("rpc.client.request.duration", "rpc.client.call.duration", "s"),
    renamed("http.server.request.size", "http.server.request.body.size", "By"),
    renamed("http.server.response.size", "http.server.response.body.size", "By"),
    renamed("db.client.connections.usage", "db.client.connection.count", "{connection}"),
    renamed("db.client.connections.max", "db.client.connection.max", "{connection}"),
    renamed("db.client.connections.idle.max", "db.client.connection.idle.max", "{connection}"),
    renamed("db.client.connections.idle.min", "db.client.connection.idle.min", "{connection}"),
    renamed("db.client.connections.pending_requests", "db.client.connection.pending_requests", "{request}"),
    renamed("db.client.connections.timeouts", "db.client.connection.timeouts", "{timeout}"),
    from_millis("db.client.connections.create_time", "db.client.connection.create_time"),
    from_millis("db.client.connections.wait_time", "db.client.connection.wait_time"),
    from_millis("db.client.connections.use_time", "db.client.connection.use_time"),
    renamed("process.runtime.jvm.memory.usage", "jvm.memory.used", "By"),
    renamed("system.network.packets", "system.network.packet.count", "{packet}"),
    renamed("messaging.publish.duration", "messaging.client.operation.duration", "s"),
    current("http.server.request.duration", "s"),
    current("http.client.request.duration", "s"),
    current("db.client.operation.duration", "s"),
    current("gen_ai.client.operation.duration", "s"),
    current("traces.span.metrics.duration", "s"),
    current("system.cpu.time", "s"),
    current("system.cpu.utilization", "1"),
    current("system.memory.usage", "By"),
    current("system.memory.limit", "By"),
    current("system.memory.utilization", "1"),
    current("system.filesystem.usage", "By"),
    current("system.filesystem.utilization", "1"),
    current("fastbreak.cache.usage", "By"),
];

/// What the metric called `name` stands for: another name, or its own in the unit of the conventions.
#[must_use]
pub fn alias_of(name: &str) -> Option<&'static Alias> {
    METRICS.iter().find(|alias| alias.old == name)
}

/// `(name asked for, name that stands for it too)`, in PromQL's spelling.
const LABELS: &[(&str, &str)] = &[
    ("http_request_method", "http_method"),
    ("http_response_status_code", "http_status_code"),
    ("url_scheme", "http_scheme"),
    ("url_path", "http_target"),
    ("url_full", "http_url"),
    ("user_agent_original", "http_user_agent"),
    ("network_protocol_version", "http_flavor"),
    ("server_address", "net_host_name"),
    ("server_address", "net_peer_name"),
    ("server_port", "net_host_port"),
    ("server_port", "net_peer_port"),
    ("db_system_name", "db_system"),
    ("db_namespace", "db_name"),
    ("db_operation_name", "db_operation"),
    ("db_collection_name", "db_sql_table"),
    ("db_client_connection_pool_name", "pool_name"),
    ("db_client_connection_state", "state"),
    ("cpu_mode", "system_cpu_state"),
    ("cpu_mode", "state"),
    ("cpu_logical_number", "system_cpu_logical_number"),
    ("cpu_logical_number", "cpu"),
    ("system_memory_state", "state"),
    ("system_filesystem_state", "state"),
    ("system_filesystem_mode", "mode"),
    ("system_filesystem_mountpoint", "mountpoint"),
    ("system_filesystem_type", "type"),
    ("system_device", "device"),
];

/// Old names that mean the same on some metrics and something else on others: only the new name finds them.
const ONE_WAY: &[&str] = &["state", "cpu", "mode", "mountpoint", "type", "device"];

/// Other names, in PromQL's spelling, under which the label `name` may have been sent.
pub fn label_aliases(name: &str) -> impl Iterator<Item = &'static str> {
    LABELS.iter().filter_map(move |(new, old)| {
        if *new == name {
            Some(*old)
        } else if *old == name && !ONE_WAY.contains(old) {
            Some(*new)
        } else {
            None
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_both_old_and_new_and_none_stands_twice() {
        for (i, alias) in METRICS.iter().enumerate() {
            let target = METRICS.iter().find(|other| other.old == alias.new);
            assert!(target.is_none_or(|other| other.new == other.old && other.unit == alias.unit), "{}", alias.old);
            assert!(METRICS.iter().skip(i + 1).all(|other| other.old != alias.old), "{}", alias.old);
        }
    }

    #[test]
    fn the_scale_follows_the_unit_that_was_sent() {
        let alias = alias_of("http.server.duration").expect("an old name");
        let second = |sent: &str| alias.scale(sent).of(1_000.0);
        assert_eq!([second("ms"), second(""), second("s"), second("us")], [1.0, 1.0, 1_000.0, 0.001]);
    }

    #[test]
    fn labels_answer_to_both_names_unless_the_old_one_is_ambiguous() {
        let of = |name| label_aliases(name).collect::<Vec<_>>();
        assert_eq!(of("http_response_status_code"), ["http_status_code"]);
        assert_eq!(of("http_status_code"), ["http_response_status_code"]);
        assert_eq!(of("cpu_mode"), ["system_cpu_state", "state"]);
        assert!(of("state").is_empty());
    }
}
