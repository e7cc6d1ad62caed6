CREATE TABLE receivers (
    id text PRIMARY KEY,
    kind text NOT NULL,
    settings jsonb NOT NULL,
    secrets bytea,
    enabled boolean NOT NULL DEFAULT true,
    origin text NOT NULL DEFAULT 'api',
    revision bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE receivers IS 'Configured destinations of notifications.';
COMMENT ON COLUMN receivers.id IS 'The name by which rules and routes mean it, such as email, webhook or slack.';
COMMENT ON COLUMN receivers.kind IS 'email, webhook, slack, pagerduty, teams or telegram.';
COMMENT ON COLUMN receivers.settings IS 'Settings of its kind that may be shown.';
COMMENT ON COLUMN receivers.secrets IS 'Settings that are never shown (URLs with tokens, passwords, signing keys), sealed.';
COMMENT ON COLUMN receivers.origin IS 'environment: made anew from the configuration at each start; api: made by a person.';
COMMENT ON COLUMN receivers.revision IS 'Grows by one at each accepted change.';

CREATE TABLE deliveries (
    id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    notification_id text NOT NULL,
    receiver_id text NOT NULL,
    group_key text NOT NULL,
    notification jsonb NOT NULL,
    state text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'sent', 'dead')),
    attempts integer NOT NULL DEFAULT 0,
    next_attempt_at timestamptz NOT NULL DEFAULT now(),
    lease_holder text,
    lease_epoch bigint NOT NULL DEFAULT 0,
    lease_expires_at timestamptz,
    remote_ref text,
    created_at timestamptz NOT NULL DEFAULT now(),
    ended_at timestamptz,
    UNIQUE (notification_id, receiver_id)
);
CREATE INDEX deliveries_due ON deliveries (next_attempt_at) WHERE state = 'queued';
CREATE INDEX deliveries_group ON deliveries (receiver_id, group_key, id);
CREATE INDEX deliveries_created_at ON deliveries (created_at);
COMMENT ON TABLE deliveries IS 'The outbox: one notification to one receiver, written in the transaction of the transition that caused it.';
COMMENT ON COLUMN deliveries.notification_id IS 'Idempotency key, a function of what is told: the same for every attempt and every replica.';
COMMENT ON COLUMN deliveries.group_key IS 'Names the group of alerts over its life; a receiver that can edit a message edits the one of this key.';
COMMENT ON COLUMN deliveries.notification IS 'model::Notification as JSON.';
COMMENT ON COLUMN deliveries.state IS 'queued until sent, or dead after the last attempt; a resend makes it queued again.';
COMMENT ON COLUMN deliveries.lease_epoch IS 'Grows by one at each claim; the outcome of an attempt names it and is refused when it has passed.';
COMMENT ON COLUMN deliveries.remote_ref IS 'What the receiver calls the message, such as Slack''s ts, so that it can be edited.';

CREATE TABLE delivery_attempts (
    delivery_id bigint NOT NULL REFERENCES deliveries (id) ON DELETE CASCADE,
    number integer NOT NULL,
    holder text NOT NULL,
    began_at timestamptz NOT NULL,
    ended_at timestamptz NOT NULL DEFAULT now(),
    outcome text NOT NULL CHECK (outcome IN ('sent', 'retry', 'refused')),
    status integer,
    detail text NOT NULL DEFAULT '',
    PRIMARY KEY (delivery_id, number)
);
COMMENT ON TABLE delivery_attempts IS 'The delivery log: each try with its outcome.';
COMMENT ON COLUMN delivery_attempts.outcome IS 'sent; retry: it may work later; refused: it never will.';
COMMENT ON COLUMN delivery_attempts.status IS 'HTTP or SMTP status, where there was one.';
COMMENT ON COLUMN delivery_attempts.detail IS 'Why it failed, without secrets.';
