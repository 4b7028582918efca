-- What the shapes, the random statements and the attacks work on. tests/harness/masked.rs says which columns are
-- masked and how, and what differs between two databases that a masked person must not be able to tell apart.
-- Tables are small: each fits in one page, so that sizes tell nothing. The people are invented.
create role reader login;
create schema lab;
grant usage, create on schema lab to reader;

create domain public.address as text check (value like '%@%');
create type public.sum_of_money as (amount numeric, unit text);
create type public.mood as enum ('calm', 'glad', 'cross');

create table public.customers (
    id int primary key,
    name text not null,
    city text,
    email text,
    iban text,
    ssn text,
    member text,
    born date,
    credit numeric,
    joined date not null,
    profile jsonb,
    tags text[]
);
insert into public.customers
select n,
       (array['Ada', 'Bruno', 'Chioma', 'Dmitri', 'Elif', 'Femi'])[1 + n % 6] || ' ' || chr(64 + n),
       (array['Lisbon', 'Turin', null, 'Ghent', 'Turin'])[1 + n % 5],
       case when n % 7 <> 3 then chr(96 + n) || 'da.' || chr(97 + n % 5) || 'inter' || n || '@' || (array['example.com', 'example.org'])[1 + n % 2] end,
       case when n % 6 <> 2 then (array['DE89', 'PT50', 'GB29'])[1 + n % 3] || 'SECRET' || (10007 * n) || (array['0021', '8154', '0021'])[1 + n % 3] end,
       case when n % 5 <> 4 then '9' || n || '-55-' || (5000 + 31 * n) end,
       case when n % 8 <> 5 then 'member-' || (n / 2) || '-secret' end,
       case when n % 6 <> 1 then date '1960-03-04' + 397 * n end,
       case when n % 9 <> 4 then 1000.5 * (n % 7) + 77731 end,
       date '2024-01-15' + 20 * n,
       case when n % 4 <> 1 then jsonb_build_object('level', n % 3, 'secret', 'profile-secret-' || n) end,
       array['t' || n % 3, 'u' || n % 2]
from generate_series(1, 24) as n;
create index customers_email on public.customers (email);
create index customers_ssn on public.customers (ssn);
create index customers_city on public.customers (city);

create table public.orders (
    id int primary key,
    customer_id int references public.customers (id),
    amount numeric not null,
    card text,
    status text not null,
    ordered_on date not null
);
insert into public.orders
select n,
       case when n % 11 <> 0 then 1 + (n * 5) % 20 end,
       (n * 37) % 90 + 0.25,
       case when n % 7 <> 2 then '4000-' || (1000 + n * 13) || '-SECRET-' || (1111 * (1 + n % 4)) end,
       (array['open', 'paid', 'sent'])[1 + n % 3],
       date '2025-01-01' + n
from generate_series(1, 48) as n;
create index orders_customer on public.orders (customer_id);

create table public.staff (
    id int primary key,
    name text not null,
    manager_id int,
    salary int,
    email public.address,
    pay public.sum_of_money,
    feels public.mood
);
insert into public.staff
select n, 'staff ' || n, nullif(n / 2, 0), case when n % 5 <> 0 then 77000 + n * 311 end,
       case when n % 6 <> 0 then 'staff' || n || '.office' || n || '@example.com' end,
       case when n % 4 <> 0 then row(88000 + n * 7, 'EUR')::public.sum_of_money end,
       (array['calm', 'glad', 'cross'])[1 + n % 3]::public.mood
from generate_series(1, 15) as n;

create table public.visits (
    id int not null,
    at date not null,
    who text,
    address inet,
    page text
) partition by range (at);
create table public.visits_2024 partition of public.visits for values from ('2024-01-01') to ('2025-01-01');
-- columns in another order than the parent's
create table public.visits_2025 (page text, gone int, address inet, who text, at date not null, id int not null);
alter table public.visits_2025 drop column gone;
alter table public.visits attach partition public.visits_2025 for values from ('2025-01-01') to ('2026-01-01');
insert into public.visits
select n, date '2024-07-01' + 11 * n, case when n % 9 <> 2 then 'visitor-' || n % 12 || '-secret' end,
       case when n % 5 <> 3 then ('10.77.' || n || '.' || 3 * n)::inet end,
       (array['/', '/cart', '/pay'])[1 + n % 3]
from generate_series(1, 40) as n;

create table public.things (id int, label text, serial text);
create table public.machines (power int) inherits (public.things);
insert into public.things select n, 'thing ' || n, 'serial-secret-' || n || '-x' from generate_series(1, 6) as n;
insert into public.machines select n, 'machine ' || n, case when n <> 8 then 'serial-secret-' || n || '-y' end, n * 10 from generate_series(7, 12) as n;

create table public.memos (id int primary key, author text, body text, public boolean not null);
insert into public.memos
select n, 'author ' || n % 3, 'memo secret ' || n || ' ends here', n % 2 = 0 from generate_series(1, 10) as n;
alter table public.memos enable row level security;
create policy open_ones on public.memos using (public) with check (public);

-- One column for each masking that the others have not.
create table public.readings (
    id int primary key,
    place text,
    device uuid,
    owner text,
    phone varchar(24),
    remark text,
    note text,
    marks text[],
    level smallint,
    weight double precision,
    charge numeric(8, 2),
    taken date,
    seen timestamptz,
    net cidr,
    raw bytea
);
insert into public.readings
select n, (array['Turin', null, 'Graz'])[1 + n % 3],
       case when n % 6 <> 5 then overlay('5ec4e700-0000-4000-8000-000000000000' placing lpad((n / 2)::text, 4, '0') from 10)::uuid end,
       case when n % 7 <> 2 then (array['Greta', 'Hamid', 'Ines'])[1 + n % 3] || ' ' || (array['Olsen', 'Petrova'])[1 + n % 2] end,
       case when n % 5 <> 1 then '+49 171 555' || 3010 + n end,
       case when n % 8 <> 4 then 'asked ada' || n || '.inter' || n || '@example.com about it' end,
       case when n % 4 <> 3 then 'note ' || n end,
       case when n % 6 <> 4 then array['first mark ' || n, null, 'last mark ' || n % 3] end,
       case when n % 7 <> 3 then 300 + n % 5 end,
       case when n % 5 <> 2 then 40.125 + 3 * n end,
       case when n % 8 <> 7 then 1000.05 + n * 0.37 end,
       case when n % 6 <> 0 then date '2025-03-04' + 11 * n end,
       case when n % 5 <> 3 then timestamptz '2023-02-03 04:05:06+00' + n * interval '45 days' end,
       case when n % 7 <> 6 then ('10.20.' || n || '.' || 64 * (n % 3) || '/26')::cidr end,
       case when n % 4 <> 2 then ('reading-' || n / 2 || '-secret')::bytea end
from generate_series(1, 16) as n;

-- What the attacks are made on: every kind of constraint, with masked columns in it.
create table public.vault (
    id int primary key,
    code text unique,
    ceiling int not null,
    spent int,
    code_end text generated always as (right(code, 5)) stored,
    check (spent <= ceiling)
);
insert into public.vault (id, code, ceiling, spent)
select n, 'v' || 4242 + n || '-vault-secret', 100 * n, 37 * n from generate_series(1, 6) as n;
create index vault_part on public.vault (id) where code like 'v4244%';
create index vault_expression on public.vault (lower(code));
create statistics public.vault_statistics on (upper(code)), spent from public.vault;
create table public.vault_uses (id int primary key, code text references public.vault (code) on update cascade);
create function public.tell() returns trigger language plpgsql
as $$begin raise notice 'trigger: % %', tg_op, new.id; return new; end$$;
create trigger tell before update on public.vault for each row execute function public.tell();
create table lab.owned (id int primary key, code text);
insert into lab.owned select n, 'o' || 5150 + n || '-owned-secret' from generate_series(1, 5) as n;
alter table lab.owned owner to reader;

-- Nothing in this one is masked.
create table public.cities (name text primary key, country text, people int);
insert into public.cities values ('Lisbon', 'PT', 545), ('Turin', 'IT', 850), ('Ghent', 'BE', 265), ('Graz', 'AT', 290);

create view public.contacts as select id, name, email, iban, city from public.customers;
create view public.turin as select id, name, email from public.contacts where city = 'Turin';
create view public.turin_emails as select email from public.turin where id > 0;
create view public.guarded with (security_barrier) as select id, name, ssn, email, city from public.customers where id < 20;
create view public.checked as select id, name, city, email from public.customers where city = 'Turin' with check option;
create view public.totals as
select c.city, count(*)::int as customers, count(distinct c.email)::int as emails, min(c.iban) as iban, sum(o.amount) as amount
from public.customers as c left join public.orders as o on o.customer_id = c.id group by c.city;
create view public.card_or_email as select id, email as what from public.customers union all select id, card from public.orders;
create recursive view public.ranks (id, name, email, depth) as
    select id, name, email::text, 1 from public.staff where manager_id is null
    union all select s.id, s.name, s.email::text, r.depth + 1 from public.staff as s join ranks as r on s.manager_id = r.id;

create function public.email_of(int) returns text language sql stable as 'select email from public.customers where id = $1';
create function public.email_of_volatile(int) returns text language sql volatile as 'select email from public.customers where id = $1';
create function public.email_of_immutable(int) returns text language sql immutable as 'select email from public.customers where id = $1';
create function public.emails_in(text) returns setof text language sql stable as 'select email from public.customers where city = $1';
create function public.customers_in(text) returns setof public.customers language sql stable as 'select * from public.customers where city = $1';
create function public.atomic(int) returns text language sql stable begin atomic select iban from public.customers where id = $1; end;
create function public.pairs() returns table (id int, email text) language sql stable rows 7 as 'select id, email from public.customers';
create function public.plpgsql_email(which int) returns text language plpgsql stable
as $$declare found_email text; begin select c.email into found_email from public.customers as c where c.id = which; return found_email; end$$;
create function public.plpgsql_row(which int) returns public.customers language plpgsql
as $$declare r public.customers; begin select * into r from public.customers as c where c.id = which; return r; end$$;
create function public.plpgsql_loop() returns setof text language plpgsql stable
as $$declare r record; begin for r in select c.ssn, c.name from public.customers as c order by c.id loop return next r.name || coalesce(r.ssn, '-'); end loop; end$$;
create function public.plpgsql_query() returns table (who text, mail text) language plpgsql
as $$begin return query select c.name, c.email from public.customers as c where c.id < 5; end$$;
create function public.plpgsql_dynamic(what text, which int) returns text language plpgsql
as $$declare found_value text; begin execute format('select %I::text from public.customers where id = $1', what) into found_value using which; return found_value; end$$;
create function public.plpgsql_cursor() returns text language plpgsql
as $$declare c cursor for select email from public.customers order by id; e text; all_of_it text := '';
begin open c; loop fetch c into e; exit when not found; all_of_it := all_of_it || coalesce(e, '-') || ','; end loop; close c; return all_of_it; end$$;
create function public.refcursor(inout c refcursor) language plpgsql
as $$begin open c for select id, email, ssn from public.customers order by id; end$$;
create function public.definer(which int) returns text language sql stable security definer set search_path = public, pg_temp
as 'select ssn from public.customers where id = $1';
create function public.definer_plpgsql(which int) returns text language plpgsql security definer set search_path = public, pg_temp
as $$begin return (select c.iban from public.customers as c where c.id = which); end$$;
create function public.definer_set(where_from text) returns setof public.customers language sql stable security definer
as 'select * from public.customers where city = $1';
create function public.has_email(public.customers) returns boolean language sql immutable as 'select $1.email is not null';
create function public.shout(public.customers) returns text language sql immutable as $$select upper($1.email)$$;
create function public.twice(text) returns text language sql immutable as 'select $1 || $1';
create function public.whole(public.customers) returns text language plpgsql immutable as $$begin return $1::text; end$$;
create function public.keep(state text, value text) returns text language sql immutable as $$select coalesce(state, '') || coalesce(value, '-')$$;
create aggregate public.glue(text) (sfunc = public.keep, stype = text);
create procedure public.rename_customer(which int, new_name text) language sql
as 'update public.customers set name = new_name where id = which';
create procedure public.read_into(which int, inout found_email text) language plpgsql
as $$begin select email into found_email from public.customers where id = which; end$$;

grant usage on schema public to reader;
grant select, insert, update, delete on all tables in schema public to reader;
grant trigger, references on public.vault to reader;
grant execute on all routines in schema public to reader;
