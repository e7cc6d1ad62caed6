//! The axum gateway: JSON API, probes, `/metrics`.
