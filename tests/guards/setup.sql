-- What attackers have at hand beside the ledger.
create table public.forged (like audit.ledger);
create table public.parent (like audit.ledger);
create table public.parted (like audit.ledger) partition by range (seq);
create table public.orders (id integer primary key, note text);
create view public.window as select * from audit.ledger;
create view public.window_on_chain as select * from audit.chain;
create role nobody_in_particular;
create schema evil;
create function evil.trigger() returns trigger language plpgsql as 'begin return null; end';
create function evil.yes(text, text) returns boolean language sql immutable as 'select true';
create function evil.meddle() returns event_trigger language plpgsql as 'begin perform 1; end';
create function evil.nothing(jsonb, text, text) returns jsonb language sql immutable as 'select ''{"evil": true}''::jsonb';
create extension pg_surgery;
create extension file_fdw;
create server nowhere foreign data wrapper file_fdw;
create type public.row_type as (a integer);
