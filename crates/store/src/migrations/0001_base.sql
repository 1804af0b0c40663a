-- The first schema. Integers are BIGINT everywhere (flags are 0 and 1, times microseconds since 1970, money
-- micro-units), so that both databases bind and read one type. {id} and {blob} are filled in per database.

CREATE TABLE setting (
    name TEXT PRIMARY KEY,
    value TEXT NOT NULL
);

CREATE TABLE signing_key (
    kid TEXT PRIMARY KEY,
    sealed TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    retired_at BIGINT
);

CREATE TABLE account (
    id {id},
    email TEXT NOT NULL UNIQUE,
    user_name TEXT UNIQUE,
    first_name TEXT NOT NULL,
    last_name TEXT NOT NULL,
    password_hash TEXT NOT NULL,
    standing TEXT NOT NULL,
    is_operator BIGINT NOT NULL,
    is_verified BIGINT NOT NULL,
    token_epoch BIGINT NOT NULL,
    revision BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    last_login_at BIGINT
);

-- A family of refresh tokens: one sign-in and what grew from it.
CREATE TABLE session (
    id TEXT PRIMARY KEY,
    account_id BIGINT NOT NULL REFERENCES account (id),
    current_token TEXT NOT NULL,
    token_epoch BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    expires_at BIGINT NOT NULL,
    revoked_at BIGINT
);
CREATE INDEX session_expires ON session (expires_at);

-- Double entry: the entries of one posting add up to zero.
CREATE TABLE ledger_posting (
    id {id},
    idempotency_key TEXT NOT NULL UNIQUE,
    kind TEXT NOT NULL,
    description TEXT NOT NULL,
    reference TEXT NOT NULL,
    created_at BIGINT NOT NULL
);
CREATE TABLE ledger_entry (
    id {id},
    posting_id BIGINT NOT NULL REFERENCES ledger_posting (id),
    book TEXT NOT NULL,
    account_id BIGINT REFERENCES account (id),
    amount_micros BIGINT NOT NULL
);
CREATE INDEX ledger_entry_account ON ledger_entry (account_id, book);
CREATE INDEX ledger_entry_posting ON ledger_entry (posting_id);

CREATE TABLE region (
    id {id},
    slug TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    country TEXT NOT NULL,
    active BIGINT NOT NULL,
    position BIGINT NOT NULL
);

CREATE TABLE package (
    id {id},
    slug TEXT NOT NULL UNIQUE,
    cpu BIGINT NOT NULL,
    memory_mib BIGINT NOT NULL,
    disk_gib BIGINT NOT NULL,
    traffic_tb BIGINT NOT NULL,
    hourly_micros BIGINT NOT NULL,
    monthly_micros BIGINT NOT NULL,
    active BIGINT NOT NULL,
    position BIGINT NOT NULL
);
CREATE TABLE package_region (
    package_id BIGINT NOT NULL REFERENCES package (id),
    region_id BIGINT NOT NULL REFERENCES region (id),
    PRIMARY KEY (package_id, region_id)
);

CREATE TABLE image (
    id {id},
    slug TEXT NOT NULL UNIQUE,
    name TEXT NOT NULL,
    distribution TEXT NOT NULL,
    kind TEXT NOT NULL,
    min_cpu BIGINT,
    min_memory_mib BIGINT,
    min_disk_gib BIGINT,
    default_user TEXT NOT NULL,
    active BIGINT NOT NULL,
    position BIGINT NOT NULL,
    cac_id BIGINT UNIQUE,
    files TEXT
);
CREATE TABLE image_region (
    image_id BIGINT NOT NULL REFERENCES image (id),
    region_id BIGINT NOT NULL REFERENCES region (id),
    PRIMARY KEY (image_id, region_id)
);

CREATE TABLE ssh_key (
    id {id},
    account_id BIGINT NOT NULL REFERENCES account (id),
    name TEXT NOT NULL,
    public_key TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    CONSTRAINT ssh_key_name UNIQUE (account_id, name),
    CONSTRAINT ssh_key_fingerprint UNIQUE (account_id, fingerprint)
);

CREATE TABLE node (
    id {id},
    region_id BIGINT NOT NULL REFERENCES region (id),
    name TEXT NOT NULL UNIQUE,
    driver TEXT NOT NULL,
    state TEXT NOT NULL,
    cpu_capacity BIGINT NOT NULL,
    memory_mib_capacity BIGINT NOT NULL,
    disk_gib_capacity BIGINT NOT NULL,
    cpu_reserved BIGINT NOT NULL,
    memory_mib_reserved BIGINT NOT NULL,
    disk_gib_reserved BIGINT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE address_pool (
    id {id},
    region_id BIGINT NOT NULL REFERENCES region (id),
    family BIGINT NOT NULL,
    network TEXT NOT NULL UNIQUE,
    prefix BIGINT NOT NULL,
    gateway TEXT NOT NULL,
    resolvers TEXT NOT NULL,
    state TEXT NOT NULL,
    created_at BIGINT NOT NULL
);

CREATE TABLE server (
    id {id},
    account_id BIGINT NOT NULL REFERENCES account (id),
    region_id BIGINT NOT NULL REFERENCES region (id),
    node_id BIGINT NOT NULL REFERENCES node (id),
    package_id BIGINT NOT NULL REFERENCES package (id),
    image_id BIGINT NOT NULL REFERENCES image (id),
    name TEXT NOT NULL,
    hostname TEXT NOT NULL,
    cpu BIGINT NOT NULL,
    memory_mib BIGINT NOT NULL,
    disk_gib BIGINT NOT NULL,
    traffic_tb BIGINT NOT NULL,
    phase TEXT NOT NULL,
    power TEXT NOT NULL,
    instance_id TEXT NOT NULL,
    -- The image's files when the disk was made: a newer build of the image must not change a server's kernel.
    image_files TEXT NOT NULL,
    ssh_keys TEXT NOT NULL,
    sealed_password TEXT,
    user_data TEXT,
    ipv6 TEXT,
    ipv6_prefix BIGINT,
    ipv6_gateway TEXT,
    ssh_endpoint TEXT,
    seed_secret BIGINT NOT NULL,
    reserved BIGINT NOT NULL,
    created_at BIGINT NOT NULL,
    destroyed_at BIGINT
);
CREATE INDEX server_account ON server (account_id, phase);
CREATE INDEX server_node ON server (node_id, phase);

-- Every address of a pool stands here from the start; the unique constraint is what makes an address
-- impossible to give twice, whoever asks at the same time.
CREATE TABLE address (
    id {id},
    pool_id BIGINT NOT NULL REFERENCES address_pool (id),
    address TEXT NOT NULL UNIQUE,
    server_id BIGINT UNIQUE REFERENCES server (id),
    reserved BIGINT NOT NULL,
    released_at BIGINT NOT NULL
);
CREATE INDEX address_free ON address (pool_id, server_id, released_at);

CREATE TABLE tag (
    server_id BIGINT NOT NULL REFERENCES server (id),
    tag TEXT NOT NULL,
    created_at BIGINT NOT NULL,
    PRIMARY KEY (server_id, tag)
);

CREATE TABLE operation (
    id {id},
    account_id BIGINT NOT NULL REFERENCES account (id),
    server_id BIGINT NOT NULL REFERENCES server (id),
    node_id BIGINT NOT NULL REFERENCES node (id),
    kind TEXT NOT NULL,
    status BIGINT NOT NULL,
    message TEXT,
    params TEXT NOT NULL,
    direction TEXT NOT NULL,
    step BIGINT NOT NULL,
    attempt BIGINT NOT NULL,
    failures BIGINT NOT NULL,
    run_at BIGINT NOT NULL,
    owner TEXT,
    lease_until BIGINT NOT NULL,
    last_error TEXT,
    created_at BIGINT NOT NULL,
    completed_at BIGINT
);
-- One live operation holds a server.
CREATE UNIQUE INDEX operation_one_live ON operation (server_id) WHERE status = 0;
CREATE INDEX operation_due ON operation (run_at) WHERE status = 0;
CREATE INDEX operation_account ON operation (account_id, created_at);
