-- Streams: one per replica process; the lease on it is the right to write its journal and to move its cursor.
CREATE TABLE streams (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    holder text NOT NULL,
    epoch bigint NOT NULL DEFAULT 1,
    expires_at timestamptz NOT NULL,
    last_seq bigint NOT NULL DEFAULT 0,
    cursor_seq bigint NOT NULL DEFAULT 0,
    created_at timestamptz NOT NULL DEFAULT now(),
    CHECK (cursor_seq <= last_seq)
);
COMMENT ON TABLE streams IS 'One part of the journal and the lease on it. The holder alone appends and checkpoints; whoever raises the epoch fences it.';
COMMENT ON COLUMN streams.holder IS 'Instance id of the process that holds the lease.';
COMMENT ON COLUMN streams.epoch IS 'Grows by one at each takeover; every write names it and fails when it has passed.';
COMMENT ON COLUMN streams.expires_at IS 'By this database''s clock; past it another process may take the stream over.';
COMMENT ON COLUMN streams.last_seq IS 'Sequence number of the last journal row.';
COMMENT ON COLUMN streams.cursor_seq IS 'Journal rows up to here are in blocks.';

CREATE TABLE journal (
    stream_id bigint NOT NULL,
    seq bigint NOT NULL,
    epoch bigint NOT NULL,
    written_at timestamptz NOT NULL DEFAULT now(),
    frame bytea NOT NULL,
    PRIMARY KEY (stream_id, seq, written_at)
) PARTITION BY RANGE (written_at);
ALTER TABLE journal ALTER COLUMN frame SET STORAGE EXTERNAL;
COMMENT ON TABLE journal IS 'Acknowledged exports, one row a group commit, in hourly partitions that are dropped once every cursor has passed them.';
COMMENT ON COLUMN journal.frame IS 'Records of rollup::frame, version byte and CRC32C first.';

CREATE TABLE journal_seen (
    key bytea PRIMARY KEY,
    seen_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX journal_seen_seen_at ON journal_seen USING brin (seen_at);
COMMENT ON TABLE journal_seen IS 'Keys of committed exports, kept two hours, so that a retried export is counted once.';
COMMENT ON COLUMN journal_seen.key IS '128-bit keyed hash of signal and decompressed body.';

CREATE TABLE journal_secret (
    only_row boolean PRIMARY KEY DEFAULT true CHECK (only_row),
    seed bytea NOT NULL
);
COMMENT ON TABLE journal_secret IS 'Seed of the export keys, the same on every replica.';
INSERT INTO journal_secret (seed) SELECT decode(md5(random()::text || clock_timestamp()::text || gen_random_uuid()::text), 'hex');

-- Appends one group commit: fence, keys and row, or nothing.
CREATE FUNCTION journal_append(p_stream bigint, p_epoch bigint, p_keys bytea[], p_frame bytea) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    next_seq bigint;
    inserted integer;
BEGIN
    UPDATE streams SET last_seq = last_seq + 1 WHERE id = p_stream AND epoch = p_epoch RETURNING last_seq INTO next_seq;
    IF next_seq IS NULL THEN
        RAISE EXCEPTION 'stream % is no longer held at epoch %', p_stream, p_epoch USING ERRCODE = 'FB002';
    END IF;
    INSERT INTO journal_seen (key) SELECT unnest(p_keys) ON CONFLICT DO NOTHING;
    GET DIAGNOSTICS inserted = ROW_COUNT;
    IF inserted <> cardinality(p_keys) THEN
        RAISE EXCEPTION '% of % keys were seen before', cardinality(p_keys) - inserted, cardinality(p_keys) USING ERRCODE = 'FB001';
    END IF;
    INSERT INTO journal (stream_id, seq, epoch, frame) VALUES (p_stream, next_seq, p_epoch, p_frame);
    RETURN next_seq;
END
$$;
COMMENT ON FUNCTION journal_append IS 'One group commit in one round trip. FB001: an export was seen before, FB002: the stream was taken over; nothing is written then.';

CREATE TABLE metrics (
    id bigint PRIMARY KEY,
    name text NOT NULL,
    unit text NOT NULL,
    kind smallint NOT NULL,
    temporality smallint NOT NULL,
    description text NOT NULL DEFAULT '',
    created_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX metrics_name ON metrics (name);
COMMENT ON TABLE metrics IS 'Identities of metrics: name, unit, kind and temporality.';

CREATE TABLE series (
    metric_id bigint NOT NULL,
    id bigint NOT NULL,
    labels jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (metric_id, id)
);
COMMENT ON TABLE series IS 'A metric with one label set. The id is a stable hash, the same on every replica.';

CREATE SEQUENCE blocks_id;
CREATE TABLE blocks (
    metric_id bigint NOT NULL,
    tier smallint NOT NULL,
    starts_at timestamptz NOT NULL,
    id bigint NOT NULL DEFAULT nextval('blocks_id'),
    series_count integer NOT NULL,
    compacted boolean NOT NULL DEFAULT false,
    payload bytea NOT NULL,
    PRIMARY KEY (metric_id, tier, starts_at, id)
) PARTITION BY LIST (tier);
COMMENT ON TABLE blocks IS 'Windows of up to about 1000 series of one metric, column-wise and compressed; immutable, replaced by compaction.';
COMMENT ON COLUMN blocks.tier IS '0: windows as ingested, 1: minutes, 2: hours.';
COMMENT ON COLUMN blocks.starts_at IS 'Start of the span: the hour in tier 0, the day in tier 1, the month in tier 2.';
COMMENT ON COLUMN blocks.compacted IS 'True when written by compaction; false for the part of one checkpoint.';
CREATE TABLE blocks_fine PARTITION OF blocks FOR VALUES IN (0) PARTITION BY RANGE (starts_at);
CREATE TABLE blocks_minute PARTITION OF blocks FOR VALUES IN (1) PARTITION BY RANGE (starts_at);
CREATE TABLE blocks_hour PARTITION OF blocks FOR VALUES IN (2) PARTITION BY RANGE (starts_at);
COMMENT ON TABLE blocks_fine IS 'Tier 0, daily partitions.';
COMMENT ON TABLE blocks_minute IS 'Tier 1, monthly partitions.';
COMMENT ON TABLE blocks_hour IS 'Tier 2, yearly partitions.';

-- Creates the partition of p_parent that begins at p_from, if it is not there.
CREATE FUNCTION ensure_partition(p_parent text, p_from timestamptz, p_to timestamptz) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    child text := p_parent || '_p' || to_char(p_from AT TIME ZONE 'UTC', 'YYYYMMDDHH24');
BEGIN
    IF to_regclass(quote_ident(child)) IS NOT NULL THEN
        RETURN false;
    END IF;
    -- Two replicas that make the same one at once would both fail.
    PERFORM pg_advisory_xact_lock(7217, hashtext(p_parent));
    IF to_regclass(quote_ident(child)) IS NOT NULL THEN
        RETURN false;
    END IF;
    EXECUTE format('CREATE TABLE IF NOT EXISTS %I PARTITION OF %I FOR VALUES FROM (%L) TO (%L)', child, p_parent, p_from, p_to);
    EXECUTE format('COMMENT ON TABLE %I IS %L', child, to_char(p_to AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"'));
    RETURN true;
END
$$;
COMMENT ON FUNCTION ensure_partition IS 'Creates a time partition; its comment holds the end of its range.';

-- Drops the partitions of p_parent that end at or before p_before.
CREATE FUNCTION drop_partitions(p_parent text, p_before timestamptz) RETURNS integer
LANGUAGE plpgsql AS $$
DECLARE
    child regclass;
    dropped integer := 0;
BEGIN
    FOR child IN
        SELECT i.inhrelid::regclass FROM pg_inherits i
        WHERE i.inhparent = quote_ident(p_parent)::regclass
          AND obj_description(i.inhrelid, 'pg_class')::timestamptz <= p_before
    LOOP
        EXECUTE format('DROP TABLE %s', child);
        dropped := dropped + 1;
    END LOOP;
    RETURN dropped;
END
$$;
COMMENT ON FUNCTION drop_partitions IS 'Retention: whole partitions are dropped, rows are never deleted.';
