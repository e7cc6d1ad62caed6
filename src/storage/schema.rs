//! The tables as diesel sees them; the comments live in the database.

diesel::table! {
    streams (id) {
        id -> BigInt,
        holder -> Text,
        epoch -> BigInt,
        expires_at -> Timestamptz,
        last_seq -> BigInt,
        cursor_seq -> BigInt,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    journal (stream_id, seq, written_at) {
        stream_id -> BigInt,
        seq -> BigInt,
        epoch -> BigInt,
        written_at -> Timestamptz,
        frame -> Binary,
    }
}

diesel::table! {
    journal_seen (key) {
        key -> Binary,
        seen_at -> Timestamptz,
    }
}

diesel::table! {
    journal_secret (only_row) {
        only_row -> Bool,
        seed -> Binary,
    }
}

diesel::table! {
    metrics (id) {
        id -> BigInt,
        name -> Text,
        unit -> Text,
        kind -> SmallInt,
        temporality -> SmallInt,
        description -> Text,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    series (metric_id, id) {
        metric_id -> BigInt,
        id -> BigInt,
        labels -> Jsonb,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    blocks (metric_id, tier, starts_at, id) {
        metric_id -> BigInt,
        tier -> SmallInt,
        starts_at -> Timestamptz,
        id -> BigInt,
        series_count -> Integer,
        compacted -> Bool,
        payload -> Binary,
    }
}

diesel::table! {
    receivers (id) {
        id -> Text,
        kind -> Text,
        settings -> Jsonb,
        secrets -> Nullable<Binary>,
        enabled -> Bool,
        origin -> Text,
        revision -> BigInt,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    deliveries (id) {
        id -> BigInt,
        notification_id -> Text,
        receiver_id -> Text,
        group_key -> Text,
        notification -> Jsonb,
        state -> Text,
        attempts -> Integer,
        next_attempt_at -> Timestamptz,
        lease_holder -> Nullable<Text>,
        lease_epoch -> BigInt,
        lease_expires_at -> Nullable<Timestamptz>,
        remote_ref -> Nullable<Text>,
        created_at -> Timestamptz,
        ended_at -> Nullable<Timestamptz>,
        queued_at -> Timestamptz,
        attempts_before -> Integer,
    }
}

diesel::table! {
    delivery_attempts (delivery_id, number) {
        delivery_id -> BigInt,
        number -> Integer,
        holder -> Text,
        began_at -> Timestamptz,
        ended_at -> Timestamptz,
        outcome -> Text,
        status -> Nullable<Integer>,
        detail -> Text,
    }
}

use diesel::sql_types::{Array, BigInt, Binary, Text, Timestamptz};

diesel::define_sql_function! {
    /// See the function's comment in the database.
    fn journal_append(stream: BigInt, epoch: BigInt, keys: Array<Binary>, frame: Binary) -> BigInt;
}

diesel::define_sql_function! {
    /// See the function's comment in the database.
    fn ensure_partition(parent: Text, from: Timestamptz, to: Timestamptz) -> Bool;
}

diesel::define_sql_function! {
    /// See the function's comment in the database.
    fn drop_partitions(parent: Text, before: Timestamptz) -> Integer;
}

diesel::allow_tables_to_appear_in_same_query!(streams, journal);
