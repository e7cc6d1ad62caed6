//! config → build (bind, connect, migrate) → run → drain.
