CREATE TABLE silences (
    id text PRIMARY KEY,
    definition jsonb NOT NULL,
    starts_at timestamptz NOT NULL,
    ends_at timestamptz NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX silences_ends_at ON silences (ends_at);
COMMENT ON TABLE silences IS 'Time-bound mutes by label matchers; an ended one stays for the record.';
COMMENT ON COLUMN silences.definition IS 'model::Silence as JSON.';

CREATE TABLE maintenance_windows (
    id text PRIMARY KEY,
    definition jsonb NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE maintenance_windows IS 'Planned times, recurring or not, in which nobody is told.';
COMMENT ON COLUMN maintenance_windows.definition IS 'model::MaintenanceWindow as JSON.';

CREATE TABLE alert_routing (
    kind text PRIMARY KEY CHECK (kind IN ('routes', 'inhibitions')),
    definition jsonb NOT NULL,
    revision bigint NOT NULL DEFAULT 1,
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE alert_routing IS 'The routing tree and the inhibitions, each whole; absent until somebody writes them.';
COMMENT ON COLUMN alert_routing.definition IS 'model::Route, or a list of model::Inhibition, as JSON.';

CREATE TABLE slos (
    id text PRIMARY KEY,
    definition jsonb NOT NULL,
    revision bigint NOT NULL DEFAULT 1,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
COMMENT ON TABLE slos IS 'Service level objectives.';
COMMENT ON COLUMN slos.definition IS 'model::Slo as JSON.';
