//! Old and new semantic-convention names, one through this table.
//!
//! A query for the current name also finds what old senders use; values are turned into the current unit. Only metrics
//! whose buckets are explicit (or that are not histograms) can change their unit exactly.

/// A metric name that stands for another.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Alias {
    /// The name as old senders use it.
    pub old: &'static str,
    /// The name as the current conventions have it.
    pub new: &'static str,
    /// The current unit.
    pub unit: &'static str,
    /// Multiply old values by this to get the current unit.
    pub factor: f64,
}

const fn renamed(old: &'static str, new: &'static str, unit: &'static str) -> Alias {
    Alias { old, new, unit, factor: 1.0 }
}

const fn from_millis(old: &'static str, new: &'static str) -> Alias {
    Alias { old, new, unit: "s", factor: 0.001 }
}

const TABLE: &[Alias] = &[
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
];

/// The alias whose old name is `name`.
#[must_use]
pub fn alias_of(name: &str) -> Option<&'static Alias> {
    TABLE.iter().find(|alias| alias.old == name)
}

/// The aliases that stand for the current name `name`.
pub fn aliases(name: &str) -> impl Iterator<Item = &'static Alias> {
    TABLE.iter().filter(move |alias| alias.new == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_both_old_and_new_and_none_stands_twice() {
        for (i, alias) in TABLE.iter().enumerate() {
            assert_eq!(aliases(alias.old).count(), 0, "{}", alias.old);
            assert!(TABLE.iter().skip(i + 1).all(|other| other.old != alias.old), "{}", alias.old);
        }
    }
}
