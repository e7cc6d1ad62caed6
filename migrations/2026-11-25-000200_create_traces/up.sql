-- Partitions of less than an hour carry their minute in the name too.
CREATE OR REPLACE FUNCTION ensure_partition(p_parent text, p_from timestamptz, p_to timestamptz) RETURNS boolean
LANGUAGE plpgsql AS $$
DECLARE
    child text := p_parent || '_p' || to_char(p_from AT TIME ZONE 'UTC',
        CASE WHEN extract(minute FROM p_from) = 0 THEN 'YYYYMMDDHH24' ELSE 'YYYYMMDDHH24MI' END);
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

-- Spans that are acknowledged and not decided on yet.
CREATE TABLE trace_spool (
    stream_id bigint NOT NULL,
    seq bigint NOT NULL,
    written_at timestamptz NOT NULL DEFAULT now(),
    marks bytea NOT NULL,
    spans bytea NOT NULL,
    PRIMARY KEY (stream_id, seq, written_at)
) PARTITION BY RANGE (written_at);
ALTER TABLE trace_spool ALTER COLUMN spans SET STORAGE EXTERNAL;
COMMENT ON TABLE trace_spool IS 'Spans of acknowledged exports, one row a group commit beside its journal row, in partitions of a quarter of an hour that are dropped once every tail has decided on them.';
COMMENT ON COLUMN trace_spool.marks IS 'Traces that the spans of this row ask to keep: 16 bytes of trace id and a byte of reasons each.';
COMMENT ON COLUMN trace_spool.spans IS 'Bodies of traces::spool, compressed.';

CREATE TABLE trace_tails (
    stream_id bigint PRIMARY KEY,
    stream_epoch bigint NOT NULL,
    epoch bigint NOT NULL DEFAULT 1,
    expires_at timestamptz NOT NULL,
    decided_seq bigint NOT NULL DEFAULT 0,
    decided_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE trace_tails IS 'How far the spool of each stream is decided. Whoever raises the epoch fences the one that decided before.';
COMMENT ON COLUMN trace_tails.stream_epoch IS 'Epoch of the stream that writes it: once that has passed, no more rows come and another process may take the tail over.';
COMMENT ON COLUMN trace_tails.expires_at IS 'By this database''s clock; before it nobody takes the tail over.';
COMMENT ON COLUMN trace_tails.decided_seq IS 'Spool rows up to here are decided: what is kept of them is in trace_blocks.';
COMMENT ON COLUMN trace_tails.decided_at IS 'Spool rows written before this are decided.';

-- Appends one group commit with its spans, or nothing.
CREATE FUNCTION journal_append_spans(p_stream bigint, p_epoch bigint, p_keys bytea[], p_frame bytea, p_spool bytea[]) RETURNS bigint
LANGUAGE plpgsql AS $$
DECLARE
    next_seq bigint := journal_append(p_stream, p_epoch, p_keys, p_frame);
BEGIN
    INSERT INTO trace_tails (stream_id, stream_epoch, decided_seq, expires_at)
        VALUES (p_stream, p_epoch, next_seq - 1, now() + interval '15 seconds') ON CONFLICT DO NOTHING;
    INSERT INTO trace_spool (stream_id, seq, marks, spans) VALUES (p_stream, next_seq, p_spool[1], p_spool[2]);
    RETURN next_seq;
END
$$;
COMMENT ON FUNCTION journal_append_spans IS 'journal_append, and the marks and spans of the same exports into the spool.';

-- Kept traces.
CREATE SEQUENCE trace_blocks_id;
CREATE TABLE trace_blocks (
    id bigint NOT NULL,
    class smallint NOT NULL,
    slot_at timestamptz NOT NULL,
    span_count integer NOT NULL,
    pairs bytea NOT NULL,
    payload bytea NOT NULL,
    PRIMARY KEY (id, class, slot_at)
) PARTITION BY LIST (class);
ALTER TABLE trace_blocks ALTER COLUMN payload SET STORAGE EXTERNAL;
COMMENT ON TABLE trace_blocks IS 'Spans of kept traces, several traces a row, column-wise and compressed; immutable.';
COMMENT ON COLUMN trace_blocks.class IS '0: steady samples, 1: slow, rule or exemplar, 2: errors. Where room is wanted the lowest goes first.';
COMMENT ON COLUMN trace_blocks.slot_at IS 'Start of the twelve hours in which it was stored.';
COMMENT ON COLUMN trace_blocks.pairs IS 'Bloom filter of the attributes in it.';

CREATE TABLE trace_index (
    trace_id bytea NOT NULL,
    class smallint NOT NULL,
    slot_at timestamptz NOT NULL,
    start_ns bigint NOT NULL,
    end_ns bigint NOT NULL,
    duration_ns bigint NOT NULL GENERATED ALWAYS AS (end_ns - start_ns) STORED,
    root_service text,
    root_operation text,
    services text[] NOT NULL,
    terms bigint[] NOT NULL,
    reasons smallint NOT NULL,
    span_count integer NOT NULL,
    error_count integer NOT NULL,
    blocks bigint[] NOT NULL,
    PRIMARY KEY (trace_id, class, slot_at)
) PARTITION BY LIST (class);
CREATE INDEX trace_index_start ON trace_index (start_ns);
CREATE INDEX trace_index_duration ON trace_index (duration_ns);
CREATE INDEX trace_index_terms ON trace_index USING gin (terms);
COMMENT ON TABLE trace_index IS 'One row a kept trace and class: what a search looks at.';
COMMENT ON COLUMN trace_index.root_service IS 'Service of the span that has no parent; null while that span is not here.';
COMMENT ON COLUMN trace_index.terms IS 'Hashes of its services, and of service and operation of its spans.';
COMMENT ON COLUMN trace_index.reasons IS 'Why it is kept: 1 error, 2 slow, 4 exemplar, 8 rule, 16 steady sample.';
COMMENT ON COLUMN trace_index.blocks IS 'Rows of trace_blocks, of the same class and slot.';

CREATE TABLE trace_blocks_sample PARTITION OF trace_blocks FOR VALUES IN (0) PARTITION BY RANGE (slot_at);
CREATE TABLE trace_blocks_notable PARTITION OF trace_blocks FOR VALUES IN (1) PARTITION BY RANGE (slot_at);
CREATE TABLE trace_blocks_error PARTITION OF trace_blocks FOR VALUES IN (2) PARTITION BY RANGE (slot_at);
CREATE TABLE trace_index_sample PARTITION OF trace_index FOR VALUES IN (0) PARTITION BY RANGE (slot_at);
CREATE TABLE trace_index_notable PARTITION OF trace_index FOR VALUES IN (1) PARTITION BY RANGE (slot_at);
CREATE TABLE trace_index_error PARTITION OF trace_index FOR VALUES IN (2) PARTITION BY RANGE (slot_at);
COMMENT ON TABLE trace_blocks_sample IS 'Class 0, in partitions of twelve hours.';
COMMENT ON TABLE trace_blocks_notable IS 'Class 1, in partitions of twelve hours.';
COMMENT ON TABLE trace_blocks_error IS 'Class 2, in partitions of twelve hours.';
COMMENT ON TABLE trace_index_sample IS 'Class 0, in partitions of twelve hours.';
COMMENT ON TABLE trace_index_notable IS 'Class 1, in partitions of twelve hours.';
COMMENT ON TABLE trace_index_error IS 'Class 2, in partitions of twelve hours.';

-- Adds segments of traces to the index; parts of one trace, from whichever replica, become one row.
CREATE FUNCTION trace_index_put(p_slot timestamptz, p_rows jsonb) RETURNS void
LANGUAGE sql AS $$
    INSERT INTO trace_index AS t (trace_id, class, slot_at, start_ns, end_ns, root_service, root_operation,
                                  services, terms, reasons, span_count, error_count, blocks)
    SELECT decode(r.trace_id, 'hex'), r.class, p_slot, r.start_ns, r.end_ns, r.root_service, r.root_operation,
           r.services, r.terms, r.reasons, r.span_count, r.error_count, r.blocks
    FROM jsonb_to_recordset(p_rows) AS r (trace_id text, class smallint, start_ns bigint, end_ns bigint,
         root_service text, root_operation text, services text[], terms bigint[], reasons smallint,
         span_count integer, error_count integer, blocks bigint[])
    -- Two replicas that put the same ones in another order would wait for each other.
    ORDER BY r.trace_id, r.class
    ON CONFLICT (trace_id, class, slot_at) DO UPDATE SET
        start_ns = least(t.start_ns, excluded.start_ns),
        end_ns = greatest(t.end_ns, excluded.end_ns),
        root_service = coalesce(excluded.root_service, t.root_service),
        root_operation = coalesce(excluded.root_operation, t.root_operation),
        services = ARRAY(SELECT DISTINCT s FROM unnest(t.services || excluded.services) AS s ORDER BY s),
        terms = ARRAY(SELECT DISTINCT s FROM unnest(t.terms || excluded.terms) AS s),
        reasons = t.reasons | excluded.reasons,
        span_count = t.span_count + excluded.span_count,
        error_count = t.error_count + excluded.error_count,
        blocks = t.blocks || excluded.blocks
$$;
COMMENT ON FUNCTION trace_index_put IS 'Merges segments into the index; the caller moves its cursor in the same transaction.';

-- Bytes of the kept traces by class and slot, the oldest of the lowest class first.
CREATE FUNCTION trace_usage() RETURNS TABLE (class smallint, ends_at timestamptz, bytes bigint)
LANGUAGE sql STABLE AS $$
    SELECT parents.class, obj_description(i.inhrelid, 'pg_class')::timestamptz,
           sum(pg_total_relation_size(i.inhrelid))::bigint
    FROM (VALUES (0::smallint, 'sample'), (1::smallint, 'notable'), (2::smallint, 'error')) AS parents (class, name)
    JOIN pg_inherits i ON i.inhparent IN (('trace_blocks_' || parents.name)::regclass, ('trace_index_' || parents.name)::regclass)
    GROUP BY 1, 2 ORDER BY 1, 2
$$;
COMMENT ON FUNCTION trace_usage IS 'What the disk budget of traces is compared with.';

-- Sides of calls whose other side another replica has.
CREATE UNLOGGED TABLE trace_calls (
    trace_id bytea NOT NULL,
    span_id bytea NOT NULL,
    is_client boolean NOT NULL,
    at timestamptz NOT NULL DEFAULT now(),
    half jsonb NOT NULL,
    PRIMARY KEY (trace_id, span_id, is_client)
);
COMMENT ON TABLE trace_calls IS 'Sides of calls that wait some seconds for the side that another replica saw; not worth a log.';
COMMENT ON COLUMN trace_calls.span_id IS 'Span of the caller, on either side.';

-- Adds sides of calls; returns those of which both are here, and those that waited in vain, and forgets them.
CREATE FUNCTION trace_calls_meet(p_rows jsonb)
RETURNS TABLE (trace_id bytea, span_id bytea, is_client boolean, half jsonb, is_late boolean)
LANGUAGE plpgsql AS $$
#variable_conflict use_column
BEGIN
    INSERT INTO trace_calls (trace_id, span_id, is_client, half)
    SELECT decode(r.trace_id, 'hex'), decode(r.span_id, 'hex'), r.is_client, r.half
    FROM jsonb_to_recordset(p_rows) AS r (trace_id text, span_id text, is_client boolean, half jsonb)
    ORDER BY 1, 2, 3 ON CONFLICT DO NOTHING;
    RETURN QUERY
        WITH met AS (
            SELECT c.trace_id, c.span_id FROM trace_calls c
            JOIN trace_calls s ON s.trace_id = c.trace_id AND s.span_id = c.span_id AND NOT s.is_client
            WHERE c.is_client FOR UPDATE SKIP LOCKED
        )
        DELETE FROM trace_calls t USING met WHERE t.trace_id = met.trace_id AND t.span_id = met.span_id
        RETURNING t.trace_id, t.span_id, t.is_client, t.half, false;
    RETURN QUERY
        DELETE FROM trace_calls t WHERE t.at < now() - interval '30 seconds'
        RETURNING t.trace_id, t.span_id, t.is_client, t.half, true;
END
$$;
COMMENT ON FUNCTION trace_calls_meet IS 'Where replicas pair the calls between services that each saw one side of.';
