//! PromQL evaluation, indicators, catalog: the only way to read measurements.
