-- A schema with every kind of object that `gaiaops schema diff` compares, for PostgreSQL 13 to 18.

CREATE SCHEMA "My Schema";
CREATE EXTENSION citext;
CREATE TYPE public.mood AS ENUM ('sad', 'ok', 'happy');
CREATE TYPE public.point3 AS (x int, y int, label text);
CREATE DOMAIN public.email AS text NOT NULL DEFAULT 'nobody@x.io' CONSTRAINT has_at CHECK (VALUE LIKE '%@%');
CREATE TYPE public.span AS RANGE (subtype = float8);
CREATE SEQUENCE public.tickets_no START 100 INCREMENT 5 CACHE 3;
CREATE FUNCTION public.twice(n int) RETURNS int LANGUAGE sql IMMUTABLE STRICT AS 'SELECT n * 2';
CREATE FUNCTION public.stamp() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    NEW.note := 'stamped';
    RETURN NEW;
END
$$;
CREATE PROCEDURE public.noop(INOUT a int DEFAULT 1) LANGUAGE plpgsql AS 'BEGIN END';
CREATE AGGREGATE public.total(int) (SFUNC = int4pl, STYPE = int, INITCOND = '0');
CREATE TABLE public.users (
    id     serial PRIMARY KEY,
    email  varchar(255) NOT NULL UNIQUE,
    name   text DEFAULT 'anon',
    mood   public.mood DEFAULT 'ok',
    born   date CHECK (born > '1900-01-01'),
    score  numeric(10, 2) CONSTRAINT score_positive CHECK (score > 0),
    upper_name text GENERATED ALWAYS AS (upper(name)) STORED,
    note   text COLLATE "C"
);
CREATE INDEX users_name ON public.users (lower(name)) WHERE mood <> 'sad';
CREATE INDEX ON public.users (born DESC NULLS LAST);
CREATE UNIQUE INDEX users_note ON public.users (note text_pattern_ops) INCLUDE (name);
CREATE STATISTICS public.users_stat (ndistinct) ON name, note FROM public.users;
CREATE TABLE "My Schema"."Order" (
    id      bigint GENERATED ALWAYS AS IDENTITY (START WITH 10) PRIMARY KEY,
    "user"  int NOT NULL REFERENCES public.users ON DELETE CASCADE,
    buyer   int CONSTRAINT buyer_fk REFERENCES public.users ON UPDATE SET NULL DEFERRABLE INITIALLY DEFERRED,
    during  int4range,
    EXCLUDE USING gist (during WITH &&)
);
CREATE TABLE public.events (id int NOT NULL, at date NOT NULL, kind text DEFAULT 'x', PRIMARY KEY (id, at)) PARTITION BY RANGE (at);
CREATE TABLE public.events_2024 PARTITION OF public.events FOR VALUES FROM ('2024-01-01') TO ('2025-01-01');
CREATE TABLE public.events_rest PARTITION OF public.events DEFAULT;
CREATE INDEX ON public.events (kind);
CREATE TABLE public.parent (a int, b text);
CREATE TABLE public.child (c int) INHERITS (public.parent);
CREATE UNLOGGED TABLE public.scratch (a int) WITH (fillfactor = 70);
ALTER TABLE public.users ENABLE ROW LEVEL SECURITY;
CREATE POLICY own ON public.users FOR SELECT USING (name = CURRENT_USER);
CREATE TRIGGER stamp BEFORE INSERT OR UPDATE OF name ON public.users FOR EACH ROW WHEN (NEW.note IS NULL) EXECUTE FUNCTION public.stamp();
CREATE TRIGGER stamp_events AFTER INSERT ON public.events FOR EACH ROW EXECUTE FUNCTION public.stamp();
CREATE CONSTRAINT TRIGGER late AFTER INSERT ON public.parent DEFERRABLE FOR EACH ROW EXECUTE FUNCTION public.stamp();
CREATE VIEW public.happy AS SELECT id, email, lower(name) AS name FROM public.users WHERE mood = 'happy';
CREATE VIEW public.orders_of AS SELECT u.id, o.id AS order_id FROM public.users u JOIN "My Schema"."Order" o ON o."user" = u.id;
CREATE MATERIALIZED VIEW public.counts AS SELECT mood, count(*) AS n FROM public.users GROUP BY mood;
CREATE UNIQUE INDEX counts_mood ON public.counts (mood);
CREATE RULE keep AS ON DELETE TO public.parent DO INSTEAD NOTHING;
CREATE FUNCTION public.on_ddl() RETURNS event_trigger LANGUAGE plpgsql AS 'BEGIN END';
CREATE EVENT TRIGGER watch_ddl ON ddl_command_end WHEN TAG IN ('CREATE TABLE') EXECUTE FUNCTION public.on_ddl();
CREATE SEQUENCE public.note_ids OWNED BY public.users.note;
CREATE PUBLICATION feed FOR TABLE public.users;
CREATE FOREIGN DATA WRAPPER nothing;
CREATE SERVER elsewhere FOREIGN DATA WRAPPER nothing;
CREATE FOREIGN TABLE public.remote (id int OPTIONS (key 'yes')) SERVER elsewhere OPTIONS (tab 'x');
CREATE COLLATION public.german (provider = libc, locale = 'C');
CREATE TEXT SEARCH CONFIGURATION public.plain (COPY = pg_catalog.simple);
CREATE CAST (public.point3 AS public.mood) WITH INOUT;
CREATE OPERATOR public.=== (LEFTARG = int, RIGHTARG = int, FUNCTION = int4eq);
CREATE TEXT SEARCH DICTIONARY public.short (TEMPLATE = pg_catalog.simple, STOPWORDS = english);
CREATE TABLE public.odd ("a ""b" int, "select" text, CHECK ("a ""b" > 0));
CREATE INDEX "odd ""idx" ON public.odd ("select");
CREATE TRIGGER " ON public.odd " BEFORE DELETE ON public.odd FOR EACH STATEMENT EXECUTE FUNCTION public.stamp();
COMMENT ON TABLE public.odd IS 'comments do not count';
