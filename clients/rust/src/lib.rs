//! The Rust client SDK of FastBreak.
//!
//! Nothing here panics in its host, blocks it, or grows without a bound.
//!
//! | room | what it does |
//! | --- | --- |
//! | [`cache`] | keeps what was loaded, in memory and in Redis, as a policy says |
//! | [`batcher`] | gathers calls to an external API into batches, as a policy says |

pub mod batcher;
pub mod cache;
mod retry;
