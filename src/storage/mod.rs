//! All diesel: schema, one file a table family.
