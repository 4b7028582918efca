-- What the shapes work on. Names say what they are.
create table public.customers (
    id bigint primary key, name text, email text, city text, notes text
);
create table public.orders (
    id bigint primary key, customer_id bigint references public.customers (id) on delete cascade, amount numeric
);
insert into public.customers
select n, 'name ' || n, n || '@example.com', 'city ' || n % 3, null from generate_series(1, 10) as n;
insert into public.orders select n, 1 + n % 5, 10 * n from generate_series(1, 20) as n;
create index orders_customer on public.orders (customer_id);
create view public.names as select id, name from public.customers;
create view public.names_of_names as select name from public.names where id < 5;
create view public.cities with (security_barrier) as select distinct city from public.customers;
create materialized view public.totals as select customer_id, sum(amount) as total from public.orders group by 1;
create unique index totals_customer on public.totals (customer_id);
create table public.people (id int, name text);
create table public.staff (salary numeric) inherits (public.people);
insert into public.people values (1, 'a');
insert into public.staff values (2, 'b', 10);
create table public.log (at date, line text) partition by range (at);
create table public.log_2025 partition of public.log for values from ('2025-01-01') to ('2026-01-01');
create table public.log_2026 partition of public.log for values from ('2026-01-01') to ('2027-01-01');
insert into public.log values ('2025-05-05', 'x'), ('2026-05-05', 'y');
create table public.ruled (a int, b int);
create table public.ruled_log (a int);
create rule also as on insert to public.ruled do also insert into public.ruled_log values (new.a);
create rule instead as on delete to public.ruled do instead update public.ruled set b = 0 where a = old.a;
create table public.audited (a int, b int);
create table public.audited_log (a int, what text);
create function public.note_it() returns trigger language plpgsql
as $$begin insert into public.audited_log values (new.a, tg_op); return new; end$$;
create trigger note after insert or update on public.audited for each row execute function public.note_it();
create function public.one() returns int language sql immutable as 'select 1';
create function public.plus_one(a int) returns int language sql stable as 'select a + 1';
create function public.total_of(customer bigint) returns numeric language plpgsql stable
as $$begin return (select sum(o.amount) from public.orders o where o.customer_id = customer); end$$;
create function public.names_like(pattern text) returns setof text language plpgsql
as $$begin return query execute 'select name from public.customers where name like $1' using pattern; end$$;
create function public.owner_reads() returns bigint language plpgsql security definer
as $$begin return (select count(id) from public.customers); end$$;
create function public.makes(name text) returns void language plpgsql
as $$begin execute format('create table public.%I (a int)', name); execute format('drop table public.%I', name); end$$;
create function public.add(a int, b int) returns int language sql immutable strict as 'select a + b';
create aggregate public.sum_up(int) (sfunc = public.add, stype = int, initcond = '0');
create procedure public.raise_all(by numeric) language plpgsql
as $$begin update public.orders set amount = amount + by; commit; update public.orders set amount = amount - by; end$$;
create sequence public.numbers;
create type public.mood as enum ('sad', 'ok');
create table public.spare (a int, b text);
create table public.pair (a int, b text);
insert into public.spare select n, 'b' from generate_series(1, 3) as n;
create table public.doomed (a int primary key);
create view public.doomed_view as select a from public.doomed;
create view public.doomed_view_2 as select a from public.doomed_view;
create schema doomed_schema;
create table doomed_schema.t (a int);
create function doomed_schema.f() returns int language sql as 'select 1';
create role clerk;
create role manager;
create schema closed;
create table closed.t (a int);
