//! FastBreak: OTLP metrics and traces in, committed before they are acknowledged, aggregated in windows,
//! answered through PromQL.

pub mod cli;

pub mod app;
pub mod config;

pub mod gateway;

pub mod ingest;

pub mod query;

pub mod rollup;

pub mod redis;
pub mod storage;

pub mod telemetry;

pub mod model;

pub mod error;
