//! The Rust client SDK of FastBreak.
//!
//! Nothing here panics in its host, blocks it, or grows without a bound.
//!
//! | room | what it does |
//! | --- | --- |
//! | [`FastBreak`] | one call that sets all of it up, and one that ends it |
//! | [`http`] | a layer for tower that measures an HTTP server |
//! | [`database`] | measures the calls of a database, finds slow ones, and shows no literal |
//! | [`policy`] | policies, watched while the service runs, and given to what obeys them |
//! | [`cache`] | keeps what was loaded, in memory and in Redis, as a policy says |
//! | [`batcher`] | gathers calls to an external API into batches, as a policy says |
//! | [`measure`] | caches and batchers as instruments, for a meter of your own; what is given to [`FastBreak`] is measured already |
//! | [`telemetry`] | metrics and traces over OTLP/gRPC |
//! | [`proto`] | the messages of the contract, generated |
//!
//! What is measured goes out as plain OTLP, to whatever takes it; only policies need FastBreak's server.

pub mod batcher;
pub mod cache;
#[cfg(feature = "database")]
pub mod database;
#[cfg(feature = "tower")]
pub mod http;
#[cfg(feature = "policies")]
pub mod measure;
#[cfg(feature = "policies")]
pub mod policy;
#[cfg(feature = "policies")]
pub mod proto;
mod retry;
#[cfg(all(feature = "otlp", feature = "policies"))]
mod start;
#[cfg(feature = "otlp")]
pub mod telemetry;
mod told;

#[cfg(all(feature = "otlp", feature = "policies"))]
pub use start::{Builder, FastBreak, StartError};

#[cfg(all(doctest, feature = "axum", feature = "database", feature = "otlp", feature = "policies"))]
#[doc = include_str!("../README.md")]
struct Readme;
