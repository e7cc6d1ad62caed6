//! OTLP in: admission, decoding in place, the committer.
