//! The Rust client SDK of FastBreak.
//!
//! Nothing here panics in its host, blocks it, or grows without a bound.
//!
//! | room | what it does |
//! | --- | --- |
//! | [`batcher`] | gathers calls to an external API into batches, as a policy says |

pub mod batcher;
