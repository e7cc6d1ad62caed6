//! One table of error codes, mapped once to gRPC and once to HTTP.
