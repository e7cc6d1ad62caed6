ALTER TABLE deliveries
    ADD COLUMN queued_at timestamptz NOT NULL DEFAULT now(),
    ADD COLUMN attempts_before integer NOT NULL DEFAULT 0;
COMMENT ON COLUMN deliveries.queued_at IS 'When it was queued, first or by a resend: the 24 hours of trying count from here.';
COMMENT ON COLUMN deliveries.attempts_before IS 'Attempts made before queued_at: the backoff begins anew with a resend.';

CREATE INDEX deliveries_queued ON deliveries (receiver_id, next_attempt_at) WHERE state = 'queued';
CREATE INDEX deliveries_queued_group ON deliveries (receiver_id, group_key, id) WHERE state = 'queued';
CREATE INDEX deliveries_receiver ON deliveries (receiver_id, id);
DROP INDEX deliveries_due;
