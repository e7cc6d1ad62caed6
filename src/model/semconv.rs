//! Old and new semantic-convention names, one through this table.

/// A metric name that stands for another, with the factor that turns its values into the other's unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Alias {
    /// The name as old senders use it.
    pub old: &'static str,
    /// The name as the current conventions have it.
    pub new: &'static str,
    /// Multiply old values by this to get the new unit.
    pub factor: f64,
}

const TABLE: &[Alias] = &[Alias { old: "http.server.duration", new: "http.server.request.duration", factor: 0.001 }];

/// The alias whose old name is `name`.
#[must_use]
pub fn alias_of(name: &str) -> Option<&'static Alias> {
    TABLE.iter().find(|alias| alias.old == name)
}

/// The aliases that stand for the current name `name`.
pub fn aliases(name: &str) -> impl Iterator<Item = &'static Alias> {
    TABLE.iter().filter(move |alias| alias.new == name)
}
