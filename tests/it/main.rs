//! Integration tests: the real binary, real Postgres, real Redis, real exporters.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails says so by panicking")]
#![expect(clippy::print_stdout, reason = "a test that is skipped says so")]

mod api;
mod bad_input;
mod durability;
mod exporters;
mod ingest;
mod live;
mod memory;
mod redis;
mod replicas;
mod support;
