-- Consoles in a browser: a link that opens once, and the session that it becomes.

CREATE TABLE console (
    -- Stands in the path of the pages; whoever knows it alone can do nothing.
    id TEXT PRIMARY KEY,
    account_id BIGINT NOT NULL REFERENCES account (id),
    server_id BIGINT NOT NULL REFERENCES server (id),
    -- The account's when the link was made: a changed password ends its consoles.
    token_epoch BIGINT NOT NULL,
    -- SHA-256 of the link's token and of the session's secret, hexadecimal.
    token_hash TEXT NOT NULL,
    session_hash TEXT,
    created_at BIGINT NOT NULL,
    -- Until when the link opens.
    expires_at BIGINT NOT NULL,
    opened_at BIGINT,
    -- When somebody last typed or pointed at something, within a minute.
    used_at BIGINT,
    -- Until when the session lasts at most.
    ends_at BIGINT,
    revoked_at BIGINT
);
CREATE INDEX console_account ON console (account_id) WHERE revoked_at IS NULL;
CREATE INDEX console_created ON console (created_at);
