-- A schema with everything that makes a purge hard; USERID stands for the type of users.id.
-- tests/integration/hard_schema.py says in Python what each reference means, and makes rows.

CREATE SCHEMA "My Schema";

CREATE TABLE users (
    id          USERID PRIMARY KEY,
    email       varchar(255) NOT NULL UNIQUE,
    handle      text UNIQUE,
    name        text,
    referred_by USERID REFERENCES users                                -- attribution: nulled
);
INSERT INTO users VALUES ('GHOSTID', 'ghost@x.io', 'ghost', 'who is meant when nobody is');

-- names: a second schema, keywords, case, quotes, a percent sign, and names like our own
CREATE TABLE "My Schema"."order" (
    id       bigint PRIMARY KEY,
    "user"   USERID NOT NULL REFERENCES users ON DELETE CASCADE,
    g_1      bigint,
    "%s"     text,
    "Select" text
);
CREATE TABLE "My Schema"."line ""items""" (
    id       bigint PRIMARY KEY,
    "Order"  bigint NOT NULL REFERENCES "My Schema"."order" ON DELETE CASCADE,
    g_1      bigint REFERENCES "My Schema"."order" (id),               -- nullable, not of users: nulled
    "%s"     text,
    doubled  text GENERATED ALWAYS AS ("%s" || "%s") STORED,
    computed text GENERATED ALWAYS AS (upper("%s")) VIRTUAL
);

-- self references
CREATE TABLE comments (
    id        bigint PRIMARY KEY,
    author    USERID NOT NULL REFERENCES users,                        -- NO ACTION
    parent_id bigint REFERENCES comments ON DELETE CASCADE,
    quoted_id bigint REFERENCES comments ON DELETE SET NULL,
    pinned_id bigint REFERENCES comments,                              -- NO ACTION
    root_id   bigint REFERENCES comments ON DELETE RESTRICT,
    body      text
);
CREATE INDEX ON comments (author);
CREATE INDEX ON comments (parent_id);

-- a circle of two that can be NULL, one that cannot, and that is not deferrable
CREATE TABLE crews (id bigint PRIMARY KEY, owner_id USERID REFERENCES users ON DELETE CASCADE, leader bigint);
CREATE TABLE crew_members (
    id      bigint PRIMARY KEY,
    crew_id bigint NOT NULL REFERENCES crews ON DELETE CASCADE,
    user_id USERID NOT NULL REFERENCES users ON DELETE CASCADE
);
ALTER TABLE crews ADD FOREIGN KEY (leader) REFERENCES crew_members ON DELETE SET NULL;
CREATE TABLE chickens (id bigint PRIMARY KEY, owner_id USERID NOT NULL REFERENCES users, egg bigint NOT NULL);
CREATE TABLE eggs (
    id      bigint PRIMARY KEY,
    keeper  USERID NOT NULL REFERENCES users,
    chicken bigint NOT NULL REFERENCES chickens
);
ALTER TABLE chickens ADD FOREIGN KEY (egg) REFERENCES eggs;

-- circles of three
CREATE TABLE ring_a (id bigint PRIMARY KEY, user_id USERID NOT NULL REFERENCES users ON DELETE CASCADE, b bigint NOT NULL);
CREATE TABLE ring_b (id bigint PRIMARY KEY, user_id USERID NOT NULL REFERENCES users ON DELETE CASCADE, c bigint NOT NULL);
CREATE TABLE ring_c (
    id      bigint PRIMARY KEY,
    user_id USERID NOT NULL REFERENCES users ON DELETE CASCADE,
    a       bigint NOT NULL REFERENCES ring_a ON DELETE CASCADE
);
ALTER TABLE ring_a ADD FOREIGN KEY (b) REFERENCES ring_b ON DELETE CASCADE;
ALTER TABLE ring_b ADD FOREIGN KEY (c) REFERENCES ring_c;
CREATE TABLE knot_a (id bigint PRIMARY KEY, user_id USERID REFERENCES users ON DELETE CASCADE, b bigint);
CREATE TABLE knot_b (id bigint PRIMARY KEY, c bigint, note text);
CREATE TABLE knot_c (id bigint PRIMARY KEY, a bigint NOT NULL REFERENCES knot_a ON DELETE CASCADE);
ALTER TABLE knot_a ADD FOREIGN KEY (b) REFERENCES knot_b ON DELETE SET NULL;
ALTER TABLE knot_b ADD FOREIGN KEY (c) REFERENCES knot_c;

-- composite keys
CREATE TABLE projects (
    tenant   int,
    no       bigint,
    owner_id USERID REFERENCES users ON DELETE CASCADE,
    PRIMARY KEY (tenant, no)
);
CREATE TABLE tasks (
    id          bigint PRIMARY KEY,
    tenant      int,
    project_no  bigint,
    old_tenant  int,
    old_no      bigint,
    assignee    USERID REFERENCES users,                               -- nullable: nulled
    FOREIGN KEY (tenant, project_no) REFERENCES projects ON DELETE CASCADE,
    FOREIGN KEY (old_tenant, old_no) REFERENCES projects
);
CREATE TABLE deals (
    id     bigint PRIMARY KEY,
    tenant int,
    no     bigint,
    FOREIGN KEY (tenant, no) REFERENCES projects MATCH FULL ON DELETE SET NULL
);
CREATE TABLE bookmarks (
    id         bigint PRIMARY KEY,
    tenant     int NOT NULL,
    project_no bigint,
    FOREIGN KEY (tenant, project_no) REFERENCES projects ON DELETE SET NULL (project_no)
);

-- a default that names somebody
CREATE TABLE tickets (
    id         bigint PRIMARY KEY,
    owner_id   USERID DEFAULT 'GHOSTID' REFERENCES users ON DELETE SET DEFAULT,
    comment_id bigint REFERENCES comments ON DELETE CASCADE,
    crew_id    bigint DEFAULT NULL REFERENCES crews ON DELETE SET DEFAULT
);

-- partitions, with a reference of one of them alone
CREATE TABLE events (
    id      bigint,
    kind    text,
    at      date,
    user_id USERID NOT NULL REFERENCES users ON DELETE CASCADE,
    "order" bigint,
    PRIMARY KEY (id, kind, at)
) PARTITION BY LIST (kind);
CREATE TABLE events_a PARTITION OF events FOR VALUES IN ('a') PARTITION BY RANGE (at);
CREATE TABLE events_a_old PARTITION OF events_a FOR VALUES FROM (MINVALUE) TO ('2020-01-01');
CREATE TABLE events_a_new PARTITION OF events_a FOR VALUES FROM ('2020-01-01') TO (MAXVALUE);
CREATE TABLE "My Schema"."events B" PARTITION OF events FOR VALUES IN ('b');
ALTER TABLE "My Schema"."events B" ADD FOREIGN KEY ("order") REFERENCES "My Schema"."order" ON DELETE CASCADE;
CREATE TABLE events_other PARTITION OF events DEFAULT;
CREATE TABLE event_tags (
    event bigint,
    kind  text,
    at    date,
    tag   bigint,
    PRIMARY KEY (event, kind, at, tag),
    FOREIGN KEY (event, kind, at) REFERENCES events ON DELETE CASCADE
);

-- RESTRICT, and what is checked only at the end
CREATE TABLE invoices (id bigint PRIMARY KEY, user_id USERID NOT NULL REFERENCES users ON DELETE RESTRICT);
CREATE TABLE invoice_lines (id bigint PRIMARY KEY, invoice bigint NOT NULL REFERENCES invoices ON DELETE RESTRICT);
CREATE TABLE pledges (
    id      bigint PRIMARY KEY,
    user_id USERID NOT NULL REFERENCES users DEFERRABLE INITIALLY DEFERRED,
    partner bigint REFERENCES pledges DEFERRABLE INITIALLY DEFERRED
);

-- attribution
CREATE TABLE documents (
    id         bigint PRIMARY KEY,
    created_by USERID NOT NULL REFERENCES users,
    updated_by USERID REFERENCES users,
    actor_id   USERID REFERENCES users ON DELETE SET NULL
);
CREATE TABLE memberships (
    user_id    USERID NOT NULL REFERENCES users ON DELETE CASCADE,
    document   bigint NOT NULL REFERENCES documents ON DELETE CASCADE,
    granted_by USERID NOT NULL REFERENCES users,
    id         bigint,
    PRIMARY KEY (user_id, document, id)
);

-- by another unique column, without a key
CREATE TABLE newsletter (
    id      bigint PRIMARY KEY,
    address varchar(255) REFERENCES users (email) ON UPDATE CASCADE ON DELETE CASCADE
);
CREATE TABLE mentions (id bigint PRIMARY KEY, who text NOT NULL REFERENCES users (handle));
CREATE TABLE clicks (user_id USERID NOT NULL REFERENCES users ON DELETE CASCADE, mention bigint, what text);

-- soft references
CREATE TABLE prefs (user_id text PRIMARY KEY, comment_id bigint REFERENCES comments ON DELETE SET NULL);
CREATE TABLE walls (namespace text, path text, PRIMARY KEY (namespace, path));
CREATE TABLE grants (id bigint PRIMARY KEY, principal text NOT NULL, kind text NOT NULL, granted_by text);

CREATE VIEW orders_of_users AS SELECT u.email, o.* FROM users AS u JOIN "My Schema"."order" AS o ON o."user" = u.id;
CREATE MATERIALIZED VIEW numbers AS SELECT count(*) AS orders FROM orders_of_users;
