CREATE INDEX deliveries_due ON deliveries (next_attempt_at) WHERE state = 'queued';
DROP INDEX deliveries_receiver;
DROP INDEX deliveries_queued_group;
DROP INDEX deliveries_queued;
ALTER TABLE deliveries DROP COLUMN attempts_before, DROP COLUMN queued_at;
