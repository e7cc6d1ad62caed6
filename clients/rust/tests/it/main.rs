//! The SDK against a scripted server, which is the outside world and fails as told.

#![expect(clippy::unwrap_used, reason = "a test that fails says so by panicking")]

mod collector;
mod hosts;
mod policy;
mod start;
mod support;
