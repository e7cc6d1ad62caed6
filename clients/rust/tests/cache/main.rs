//! The cache: levels, flights, invalidation, writes, and coherence against a model, on a real Redis.

#![expect(clippy::unwrap_used, reason = "a test that fails says so by panicking")]

mod behind;
mod flights;
mod levels;
mod model;
mod support;
mod values;
mod writes;
