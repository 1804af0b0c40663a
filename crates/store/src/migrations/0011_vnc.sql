-- Direct VNC: the port at which a server's screen is reached, and the password that opens it.

CREATE TABLE vnc_door (
    server_id BIGINT PRIMARY KEY REFERENCES server (id),
    node_id BIGINT NOT NULL REFERENCES node (id),
    port BIGINT NOT NULL,
    sealed_password TEXT NOT NULL,
    UNIQUE (node_id, port)
);
