//! Generated from `proto/fastbreak/v1/policies.proto`; nothing is written here by hand.

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
