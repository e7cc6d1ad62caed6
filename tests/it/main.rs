//! Integration tests: real Postgres, real Redis, real exporters.
