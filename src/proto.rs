//! Generated from `proto/fastbreak/v1`; nothing is written here by hand.

#![allow(
    missing_docs,
    unreachable_pub,
    unused_qualifications,
    clippy::all,
    clippy::pedantic,
    clippy::restriction,
    reason = "generated"
)]

tonic::include_proto!("fastbreak.v1");

/// Every message and service, for reflection.
pub const DESCRIPTORS: &[u8] = tonic::include_file_descriptor_set!("fastbreak");
