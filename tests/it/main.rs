//! Integration tests: the real binary, real Postgres, real Redis, real exporters.

#![expect(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that fails says so by panicking")]
#![expect(clippy::print_stdout, reason = "a test that is skipped says so")]

mod alerting;
mod alerting_doors;
mod alerting_history;
mod alerting_replicas;
mod alerting_told;
mod alerting_torture;
mod api;
mod bad_input;
mod catalog;
mod durability;
mod exporters;
mod floods;
mod grafana;
mod grpcurl;
mod house;
mod ingest;
mod live;
mod memory;
mod notify;
mod own_telemetry;
mod policies;
mod policy_edges;
mod policy_fleet;
mod policy_moves;
mod policy_rollouts;
mod policy_watch;
mod promql;
mod redis;
mod remembered;
mod replicas;
mod service_graph;
mod support;
mod tiers;
mod trace_search;
mod traces;
