//! All Redis.
