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

diesel::table! {
    rules (id) {
        id -> Text,
        definition -> Jsonb,
        origin -> Text,
        revision -> BigInt,
        deleted -> Bool,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    rule_revisions (rule_id, revision) {
        rule_id -> Text,
        revision -> BigInt,
        definition -> Jsonb,
        origin -> Text,
        deleted -> Bool,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    rule_states (rule_id) {
        rule_id -> Text,
        epoch -> BigInt,
        evaluated_at -> Nullable<Timestamptz>,
        health -> Text,
        error -> Nullable<Text>,
        duration_seconds -> Double,
        left_out -> Integer,
        known -> Jsonb,
        run_kind -> Text,
        run_since -> Nullable<Timestamptz>,
        run_evaluations -> BigInt,
        run_worst -> Nullable<Double>,
    }
}

diesel::table! {
    alert_instances (id) {
        id -> BigInt,
        rule_id -> Text,
        fingerprint -> Text,
        state -> Text,
        severity -> Text,
        alert -> Jsonb,
        machine -> Jsonb,
        chart -> Jsonb,
        acknowledged -> Nullable<Jsonb>,
        suppressed -> Jsonb,
        group_keys -> Array<Text>,
        settled -> Bool,
        pending_since -> Timestamptz,
        starts_at -> Nullable<Timestamptz>,
        ended_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    alert_transitions (id) {
        id -> BigInt,
        alert_id -> BigInt,
        at -> Timestamptz,
        from_state -> Text,
        to_state -> Text,
        severity -> Text,
        value -> Nullable<Double>,
        reason -> Text,
    }
}

diesel::table! {
    alert_groups (key) {
        key -> Text,
        policy -> Jsonb,
        state -> Jsonb,
        next_at -> Nullable<Timestamptz>,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    decisions (id) {
        id -> BigInt,
        rule_id -> Text,
        fingerprint -> Text,
        kind -> Text,
        detail -> Text,
        since -> Timestamptz,
        until -> Timestamptz,
    }
}

diesel::table! {
    replicas (id) {
        id -> Text,
        expires_at -> Timestamptz,
    }
}

diesel::table! {
    alerting_changes (kind) {
        kind -> Text,
        revision -> BigInt,
    }
}

diesel::table! {
    silences (id) {
        id -> Text,
        definition -> Jsonb,
        starts_at -> Timestamptz,
        ends_at -> Timestamptz,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    maintenance_windows (id) {
        id -> Text,
        definition -> Jsonb,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    alert_routing (kind) {
        kind -> Text,
        definition -> Jsonb,
        revision -> BigInt,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    slos (id) {
        id -> Text,
        definition -> Jsonb,
        revision -> BigInt,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    trace_spool (stream_id, seq, written_at) {
        stream_id -> BigInt,
        seq -> BigInt,
        written_at -> Timestamptz,
        marks -> Binary,
        spans -> Binary,
    }
}

diesel::table! {
    trace_tails (stream_id) {
        stream_id -> BigInt,
        stream_epoch -> BigInt,
        epoch -> BigInt,
        expires_at -> Timestamptz,
        decided_seq -> BigInt,
        decided_at -> Timestamptz,
    }
}

diesel::table! {
    trace_blocks (id, class, slot_at) {
        id -> BigInt,
        class -> SmallInt,
        slot_at -> Timestamptz,
        span_count -> Integer,
        pairs -> Binary,
        payload -> Binary,
    }
}

diesel::table! {
    trace_index (trace_id, class, slot_at) {
        trace_id -> Binary,
        class -> SmallInt,
        slot_at -> Timestamptz,
        start_ns -> BigInt,
        end_ns -> BigInt,
        duration_ns -> BigInt,
        root_service -> Nullable<Text>,
        root_operation -> Nullable<Text>,
        services -> Array<Text>,
        terms -> Array<BigInt>,
        reasons -> SmallInt,
        span_count -> Integer,
        error_count -> Integer,
        blocks -> Array<BigInt>,
    }
}

diesel::table! {
    policies (id) {
        id -> Text,
        definition -> Jsonb,
        revision -> BigInt,
        deleted -> Bool,
        author -> Text,
        reason -> Text,
        created_at -> Timestamptz,
        updated_at -> Timestamptz,
    }
}

diesel::table! {
    policy_revisions (policy_id, revision) {
        policy_id -> Text,
        revision -> BigInt,
        definition -> Jsonb,
        deleted -> Bool,
        author -> Text,
        reason -> Text,
        created_at -> Timestamptz,
    }
}

diesel::table! {
    policy_changes (only_row) {
        only_row -> Bool,
        revision -> BigInt,
        invalidation -> BigInt,
    }
}

diesel::table! {
    policy_instances (service, instance) {
        service -> Text,
        instance -> Text,
        session -> Text,
        replica -> Text,
        version -> Text,
        labels -> Jsonb,
        sdk -> Text,
        connected -> Bool,
        lease_ms -> BigInt,
        invalidation -> BigInt,
        running -> Jsonb,
        first_seen_at -> Timestamptz,
        last_seen_at -> Timestamptz,
    }
}

diesel::table! {
    policy_invalidations (sequence) {
        sequence -> BigInt,
        service -> Text,
        service_like -> Text,
        key_space -> Text,
        targets -> Jsonb,
        author -> Text,
        reason -> Text,
        created_at -> Timestamptz,
        committed_at -> Nullable<Timestamptz>,
        applied -> Bool,
        converged_at -> Nullable<Timestamptz>,
    }
}

diesel::table! {
    policy_warmings (id) {
        id -> BigInt,
        batch -> Text,
        service -> Text,
        instance -> Text,
        key_space -> Text,
        keys -> Jsonb,
        created_at -> Timestamptz,
        loaded -> Nullable<BigInt>,
        failed -> Nullable<BigInt>,
    }
}

diesel::table! {
    policy_overrides (id) {
        id -> Text,
        policy_id -> Text,
        adjustment -> Jsonb,
        lease_ms -> BigInt,
        author -> Text,
        reason -> Text,
        rule_id -> Nullable<Text>,
        created_at -> Timestamptz,
        expires_at -> Timestamptz,
    }
}

diesel::table! {
    policy_override_ends (id) {
        id -> BigInt,
        override_id -> Text,
        policy_id -> Text,
        adjustment -> Jsonb,
        rule_id -> Nullable<Text>,
        author -> Text,
        reason -> Text,
        created_at -> Timestamptz,
        ended_at -> Timestamptz,
        end_author -> Text,
        end_reason -> Text,
    }
}

diesel::table! {
    policy_rollouts (id) {
        id -> Text,
        policy_id -> Text,
        from_revision -> BigInt,
        to_revision -> BigInt,
        stages -> Jsonb,
        guards -> Jsonb,
        state -> Text,
        stage -> Integer,
        reach -> Jsonb,
        readings -> Jsonb,
        author -> Text,
        reason -> Text,
        started_at -> Timestamptz,
        stage_started_at -> Timestamptz,
        ended_at -> Nullable<Timestamptz>,
        driver -> Nullable<Text>,
        driven_until -> Nullable<Timestamptz>,
    }
}

use diesel::sql_types::{Array, BigInt, Binary, Jsonb, Text, Timestamptz};

diesel::define_sql_function! {
    /// See the function's comment in the database.
    fn journal_append(stream: BigInt, epoch: BigInt, keys: Array<Binary>, frame: Binary) -> BigInt;
}

diesel::define_sql_function! {
    /// See the function's comment in the database.
    fn journal_append_spans(
        stream: BigInt,
        epoch: BigInt,
        keys: Array<Binary>,
        frame: Binary,
        spool: Array<Binary>,
    ) -> BigInt;
}

diesel::define_sql_function! {
    /// See the function's comment in the database.
    fn trace_index_put(slot: Timestamptz, rows: Jsonb);
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
diesel::allow_tables_to_appear_in_same_query!(streams, trace_tails);
diesel::allow_tables_to_appear_in_same_query!(rules, rule_states, alert_instances, alert_transitions);
diesel::allow_tables_to_appear_in_same_query!(policy_rollouts, policy_revisions);
