-- Mail and what it is about: a queue of letters, links that open once, top-ups, and accounts whose balance runs out.

-- A queue. What a letter says is made of its details when it is sent; no secret stands in them.
CREATE TABLE mail (
    id {id},
    -- Part of the Message-ID, so that a letter that is sent twice can be told to be one.
    uuid TEXT NOT NULL UNIQUE,
    account_id BIGINT REFERENCES account (id),
    recipient TEXT NOT NULL,
    template TEXT NOT NULL,
    details TEXT NOT NULL,
    -- What a letter is written once for, such as an invoice; NULL where each one counts.
    once_key TEXT UNIQUE,
    state TEXT NOT NULL,
    attempt BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    run_at BIGINT NOT NULL,
    owner TEXT,
    lease_until BIGINT NOT NULL,
    last_error TEXT,
    created_at BIGINT NOT NULL,
    -- From when on it would tell nothing any more.
    expires_at BIGINT,
    settled_at BIGINT
);
CREATE INDEX mail_due ON mail (run_at) WHERE state = 'waiting';
CREATE INDEX mail_settled ON mail (settled_at);
CREATE INDEX mail_account ON mail (account_id, created_at);

-- Links of letters: to confirm an address, and to choose a new password.
CREATE TABLE account_link (
    -- A keyed digest of the link's token, hexadecimal.
    token_digest TEXT PRIMARY KEY,
    account_id BIGINT NOT NULL REFERENCES account (id),
    purpose TEXT NOT NULL,
    -- What the account had when the link was made: an address or a password that changed ends it.
    email TEXT NOT NULL,
    token_epoch BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    used_at BIGINT
);
CREATE INDEX account_link_expires ON account_link (expires_at);

-- Keys of payment providers and billing systems, which may credit accounts.
CREATE TABLE payment_key (
    id {id},
    name TEXT NOT NULL,
    sealed_secret TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    last_used_at BIGINT,
    removed_at BIGINT
);

-- What was paid in with such a key, once for each of the sender's own names for a payment.
CREATE TABLE payment (
    id {id},
    payment_key_id BIGINT NOT NULL REFERENCES payment_key (id),
    idempotency_key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    account_id BIGINT NOT NULL REFERENCES account (id),
    amount_micros BIGINT NOT NULL,
    balance_micros BIGINT NOT NULL,
    reference TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    CONSTRAINT payment_once UNIQUE (payment_key_id, idempotency_key)
);

-- Whether the account is suspended because its balance is used up; an operator's own suspension is its standing.
ALTER TABLE account ADD COLUMN lacks_funds BIGINT NOT NULL DEFAULT 0;

-- How far an account is whose balance runs out.
CREATE TABLE dunning (
    account_id BIGINT PRIMARY KEY REFERENCES account (id),
    stage TEXT NOT NULL,
    -- Rises each time that it begins anew: part of the keys of its letters.
    round BIGINT NOT NULL,
    entered_at BIGINT NOT NULL,
    -- When the next stage may begin, at the earliest; NULL where none follows.
    due_at BIGINT
);

-- Servers that were running when the account was suspended.
CREATE TABLE dunning_server (
    server_id BIGINT PRIMARY KEY REFERENCES server (id),
    account_id BIGINT NOT NULL REFERENCES account (id)
);
CREATE INDEX dunning_server_account ON dunning_server (account_id);

-- What happened to accounts, as they are told: what events of servers do not say.
CREATE TABLE account_event (
    id {id},
    account_id BIGINT NOT NULL REFERENCES account (id),
    kind TEXT NOT NULL,
    message TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE INDEX account_event_account ON account_event (account_id, id);
