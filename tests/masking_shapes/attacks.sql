-- # Errors that show values
-- / invalid input syntax for integer
select code::int from vault;
-- / a cast inside a function
do $$declare n int; begin select code into n from vault where id = 1; end$$;
-- / a type's length
create temp table t (c varchar(3));
insert into t select code from vault;
-- / a domain's check tells the value
create domain lab.short as text check (length(value) < 3);
select code::lab.short from vault;
-- / a domain's check is told the value
create function pg_temp.told(text) returns boolean language plpgsql as $$begin raise notice 'told %', $1; return true; end$$;
create domain pg_temp.teller as text check (pg_temp.told(value));
select count(code::pg_temp.teller) from vault;
-- / division by zero
select 1 / (case when code = 'v4243-vault-secret' then 0 else 1 end) from vault;
-- / division by zero in a condition
select id from vault where 1 / (length(code) - 18) > 100;
-- / division by a masked number
select id, 100 / (spent - 37) from vault order by id;
-- / overflow
select id, spent * 100000000 from vault order by id;
-- / numeric out of range in a LIMIT
select id from vault order by id limit (select -spent from vault where id = 1);
-- / a regular expression that is wrong
select 'x' ~ ('[' || code) from vault;
-- / a format string
select format('%' || code, 'x') from vault where id = 1;
-- / an enum
select code::mood from vault;
-- / XML
select xmlparse(document code) from vault where id = 1;
-- / JSON
select code::json from vault where id = 1;
-- / dates
select to_date(code, 'YYYY') from vault where id = 2;
-- / a name that is not there
select pg_temp.email_of(1), code::regclass from vault where id = 1;
-- / regclass
select code::regclass from vault where id = 1;
-- / setting a setting
select set_config('work_mem', code, true) from vault where id = 1;
-- / setting one's own setting
select set_config('my.value', code, true), current_setting('my.value') from vault where id = 1;
-- / a subscript
select (array[1, 2])[spent] from vault order by id;
-- / raise with a value
do $$declare v public.vault; begin select * into v from vault where id = 3; raise exception 'code %', v using detail = v.code, hint = v.code_end, column = v.code; end$$;
-- / an exception's context
do $$declare c text; begin select code into c from vault where id = 1; execute 'select ' || quote_literal(c) || '::int'; exception when others then get stacked diagnostics c = pg_exception_context; raise notice '% %', sqlerrm, c; end$$;

-- # Errors of constraints
-- / a row that has no value
update vault set ceiling = null where id = 2;
-- / the detail caught in a block
do $$declare d text; begin update vault set ceiling = null where id = 2; exception when others then get stacked diagnostics d = pg_exception_detail; raise notice '% [%]', sqlerrm, d; end$$;
-- / a partition that does not take the row
update visits_2024 set at = '2025-05-05' where id = 3;
-- / a check of the table
-- documented
update vault set ceiling = 50 where id = 2;
-- / the detail of a check of the table
update vault set ceiling = -1 where id = 2;
-- / a unique value
-- documented
insert into vault (id, code, ceiling) values (100, 'v4243-vault-secret', 1);
-- / the detail of a unique value that the person gave
insert into vault (id, code, ceiling) values (100, 'mine', 1), (101, 'mine', 1);
-- / a unique value by UPDATE
-- documented
update vault set code = 'v4244-vault-secret' where id = 1;
-- / a unique value by ON CONFLICT
-- documented
insert into vault (id, code, ceiling) values (100, 'v4243-vault-secret', 1) on conflict (code) do nothing returning id;
-- / a unique value by ON CONFLICT DO UPDATE
-- documented
insert into vault (id, code, ceiling) values (100, 'v4243-vault-secret', 1) on conflict (code) do update set ceiling = 1000 returning id, code;
-- / a foreign key to a masked column
-- documented
insert into vault_uses values (1, 'v4243-vault-secret');
-- / a foreign key that finds nothing
insert into vault_uses values (1, 'no such code');
-- / a foreign key of one's own
create table lab.mine (code text references vault (code));
insert into lab.mine values ('v9-nobody');
-- / a foreign key over what is there
create table lab.mine (code text);
insert into lab.mine values ('nobody');
alter table lab.mine add foreign key (code) references vault (code);
-- / a unique index over what is masked
create temp table t as select left(code, 1) as c from vault;
create unique index on t (c);
-- / an exclusion of masks
create temp table t (c text, exclude using btree (c with =));
insert into t select code from vault;
-- / row security's own error
insert into memos values (1, 'a', 'b', false);
-- / a CHECK OPTION of one's own
create temp view v as select id, ceiling from vault where code like 'v4243%' with check option;
update v set ceiling = ceiling where id = 1;
update v set ceiling = ceiling where id = 2;
insert into v values (100, 1);
-- / a CHECK OPTION over a masked column, without a where
create temp view v as select * from vault where spent < 100 with check option;
update v set ceiling = 5000;

-- # Operators, casts and types
-- / an operator of one's own
create function lab.tell(text, text) returns boolean language plpgsql cost 0.0000001 as $$begin raise notice 'told % %', $1, $2; return true; end$$;
create operator lab.<<< (leftarg = text, rightarg = text, function = lab.tell);
select id from vault where code operator(lab.<<<) 'x' order by id;
-- / an operator that shadows PostgreSQL's own
create function lab.tell(text, text) returns boolean language plpgsql as $$begin raise notice 'told % %', $1, $2; return true; end$$;
create operator lab.= (leftarg = text, rightarg = text, function = lab.tell);
set local search_path = lab, public, pg_catalog;
select id from vault where code = 'x' order by id;
-- / an operator class's function
create function lab.told(text, text) returns int language plpgsql immutable as $$begin raise notice 'told % %', $1, $2; return 0; end$$;
select id from vault order by lab.told(code, 'x'), id;
-- / a cast of one's own
create type lab.mine as (a text);
create function lab.to_mine(text) returns lab.mine language plpgsql as $$begin raise notice 'told %', $1; return row($1)::lab.mine; end$$;
create cast (text as lab.mine) with function lab.to_mine(text);
select (code::lab.mine).a from vault order by 1;
-- / a function of the row
create function lab.tell(public.vault) returns text language plpgsql as $$begin raise notice 'told %', $1; return 'x'; end$$;
select lab.tell(v) from vault as v order by id;
-- / an aggregate of one's own
create function lab.add(text, text) returns text language plpgsql as $$begin raise notice 'told %', $2; return $2; end$$;
create aggregate lab.last (text) (sfunc = lab.add, stype = text);
select lab.last(code order by id) from vault;
-- / a window aggregate of one's own
create function lab.add(text, text) returns text language plpgsql as $$begin raise notice 'told %', $2; return $2; end$$;
create aggregate lab.last (text) (sfunc = lab.add, stype = text);
select id, lab.last(code) over (order by id) from vault order by id;
-- / a range type of one's own
create type lab.text_range as range (subtype = text);
select lab.text_range(code, null) from vault order by id;

-- # Functions that tell
-- / a cheap function before the filter
create function lab.tell(text) returns boolean language plpgsql cost 0.0000001 as $$begin raise notice 'told %', $1; return true; end$$;
select id from vault where lab.tell(code) and id < 3 order by id;
-- / one that says LEAKPROOF is refused
create function lab.tell(text) returns boolean language plpgsql leakproof as $$begin raise notice 'told %', $1; return true; end$$;
-- / one that says IMMUTABLE, over a constant
create function lab.tell() returns text language sql immutable as 'select string_agg(code, '','' order by id) from public.vault';
select lab.tell();
-- / one that says IMMUTABLE, over a constant, in PL/pgSQL
create function lab.tell() returns text language plpgsql immutable as $$begin return (select string_agg(code, ',' order by id) from public.vault); end$$;
select lab.tell();
-- / a set-returning one, inlined
create function lab.tell() returns setof public.vault language sql stable as 'select * from public.vault';
select code, spent, t from lab.tell() as t order by id;
-- / one with a parsed body, inlined
create function lab.tell() returns table (c text) language sql stable begin atomic select code from public.vault; end;
select * from lab.tell() order by 1;
-- / one in a lateral join under another
create function lab.tell(int) returns setof text language sql stable as 'select code from public.vault where id = $1';
create function lab.tell2(int) returns setof text language sql stable as 'select * from lab.tell($1)';
select v.id, t from vault as v, lab.tell2(v.id) as t order by 1;
-- / a default of a parameter
create function lab.tell(t text default (select code from public.vault where id = 1)) returns text language sql as 'select t';
-- / a default of a parameter that calls
create function pg_temp.code() returns text language sql stable as 'select code from public.vault where id = 1';
create function pg_temp.tell(t text default pg_temp.code()) returns text language sql as 'select t';
select pg_temp.tell();
-- / a default of a column
create function pg_temp.code() returns text language sql stable as 'select code from public.vault where id = 1';
create temp table t (a int, b text default pg_temp.code());
insert into t (a) values (1) returning *;
-- / a generated column of one's own
create function pg_temp.code(int) returns text language sql immutable as 'select code from public.vault where id = $1';
create temp table t (a int, b text generated always as (pg_temp.code(a)) stored);
insert into t values (1), (2) returning *;
-- / a check of one's own
create function pg_temp.code(int) returns text language sql immutable as 'select code from public.vault where id = $1';
create temp table t (a int, check (pg_temp.code(a) like '%secret'));
insert into t values (1);
-- / an index over a function
create function pg_temp.code(int) returns text language sql immutable as 'select code from public.vault where id = $1';
create temp table t as select 1 as a;
create index on t (pg_temp.code(a));
analyze t;
select attname, most_common_vals, histogram_bounds from pg_stats where schemaname like 'pg_temp%';
-- / a policy of one's own
create function pg_temp.code(int) returns text language sql stable as 'select code from public.vault where id = $1';
create temp table t as select 1 as a;
create policy p on t using (pg_temp.code(a) like '%secret');
alter table t enable row level security;
alter table t force row level security;
select * from t;
-- / a trigger of one's own on one's own table
create temp table t (a int, b text);
create function pg_temp.fill() returns trigger language plpgsql as $$begin new.b := (select code from public.vault where id = new.a); return new; end$$;
create trigger f before insert on t for each row execute function pg_temp.fill();
insert into t values (1), (2) returning *;
-- / a rule of one's own on one's own table
create temp table t (a int);
create temp table u (b text);
create rule r as on insert to t do also insert into u select code from public.vault where id = new.a;
insert into t values (1);
select * from u;

-- # Triggers and rules
-- / a trigger of one's own on the masked table
create function lab.tell() returns trigger language plpgsql as $$begin raise notice 'told % %', old.code, new.spent; return new; end$$;
create trigger mine before update on vault for each row execute function lab.tell();
update vault set ceiling = ceiling where id = 1;
-- / transition tables
create function lab.tell() returns trigger language plpgsql as $$begin raise notice 'told %', (select string_agg(code, ',') from o); return null; end$$;
create trigger mine after update on vault referencing old table as o for each statement execute function lab.tell();
update vault set ceiling = ceiling;
-- / a trigger's condition
create function lab.tell() returns trigger language plpgsql as $$begin raise notice 'fired'; return new; end$$;
create trigger mine before update on vault for each row when (old.code = 'v4243-vault-secret') execute function lab.tell();
update vault set ceiling = ceiling;
-- / a rule on the masked table
create rule mine as on update to vault do also select old.code;
-- / the table's own trigger
update vault set ceiling = ceiling where id = 1 returning id, code;

-- # Views as probes
-- / a condition before a barrier
create temp view v as select id, code from vault where id < 4;
select id from v where code = 'v4243-vault-secret';
-- / a view that counts
create temp view v as select count(*) from vault where code like 'v4243%' or spent = 37;
table v;
-- / updates through a barrier
update guarded set name = name where ssn like '91-%' returning id;
-- / a materialized view
create materialized view lab.m as select code from vault;

-- # Conditions as probes
-- / LIKE, letter by letter
select id, code like 'v%', code like 'v4%', code like 'v42%', code like '%secret' from vault order by id;
-- / comparison
select id, code > 'v4244', spent > 100, spent = 37 from vault order by id;
-- / order and limit
select id from vault order by code, id limit 3;
-- / order by a masked number
select id from vault order by spent desc, id;
-- / a join with guesses
select g, id from generate_series(1, 300) as g join vault on spent = g order by 1;
-- / a hash join with guesses
set local enable_mergejoin = off;
set local enable_nestloop = off;
select g.code from (values ('v4243-vault-secret'), ('v*')) as g (code) join vault using (code);
-- / a count with a filter
select count(*) filter (where code = 'v4243-vault-secret'), count(*) filter (where spent < 100) from vault;
-- / the number of rows changed
update vault set ceiling = ceiling where code = 'v4243-vault-secret';
delete from vault where spent = 37;
-- / a partial index's condition
set local enable_seqscan = off;
select id from vault where code like 'v4244%';
-- / an index on an expression
set local enable_seqscan = off;
select id from vault where lower(code) = 'v4243-vault-secret';
-- / an index scan on the masked column
set local enable_seqscan = off;
select id from vault where code = 'v4243-vault-secret';
-- / an index-only scan on the masked column
set local enable_seqscan = off;
select count(*) from vault where code < 'v4245';
-- / the generated column
select id, code_end from vault order by id;
-- / the generated column in a condition
select id from vault where code_end = 'ecret' order by id;
-- / the generated column by COPY
copy vault (id, code_end) to stdout;
-- / the generated column in a row
select to_jsonb(v) from vault as v order by id;
-- / the generated column returned
update vault set code = 'mine' where id = 1 returning code, code_end;
-- / a lock that waits for nobody
select id from vault where code = 'v4243-vault-secret' for update skip locked;
-- / ctid of what is found
select ctid from vault where spent = 37;
-- / MERGE that acts on what is masked
-- since 15
merge into vault as v using (values ('v4243-vault-secret')) as g (code) on v.code = g.code when matched then delete when not matched then do nothing;
-- / MERGE whose action depends on what is masked
-- since 15
merge into vault as v using (values (1), (2)) as g (id) on v.id = g.id when matched and v.spent < 50 then delete when matched then update set ceiling = 999;

-- # EXPLAIN
-- / row estimates
explain select id from vault where code = 'v4243-vault-secret';
-- / row estimates of a range
explain select id from customers where email > 'm' and iban < 'F' and born < '1970-01-01';
-- / widths
explain (verbose) select code, spent from vault;
-- / widths of rows
explain (verbose) select v, c from vault as v, customers as c;
-- / rows of a join
explain select a.id from customers as a join customers as b on a.iban = b.iban;
-- / groups
explain select iban, count(*) from customers group by iban;
-- / distinct values in an IN
explain select id from customers where ssn in (select ssn from customers);
-- / ANALYZE
explain (analyze, timing off, summary off, buffers off) select id from vault where code like 'v4243%' and spent < 100;
-- / ANALYZE of an update
explain (analyze, timing off, summary off, buffers off) update vault set ceiling = ceiling where code like 'v4243%';
-- / JSON
explain (format json, verbose) select code from vault where spent = 37;
-- / a generic plan
prepare p (text) as select id from vault where code = $1;
set local plan_cache_mode = force_generic_plan;
explain (verbose) execute p ('v4243-vault-secret');
deallocate p;
-- / an aggregate
explain (verbose) select code, count(*) from vault group by code having max(spent) > 3;
-- / auto-explained by a function
do $$declare l text; begin for l in explain select id from vault where spent < 100 loop raise notice '%', l; end loop; end$$;

-- # Statistics
-- / pg_stats
select * from pg_stats where tablename in ('vault', 'customers', 'orders', 'visits', 'visits_2024') order by schemaname, tablename, attname;
-- / pg_stats of an index on an expression
select * from pg_stats where tablename in ('vault_expression', 'vault_part') order by attname;
-- / pg_stats_ext
select * from pg_stats_ext where tablename = 'vault';
-- / pg_stats_ext_exprs
select * from pg_stats_ext_exprs where tablename = 'vault';
-- / pg_statistic
select count(*) from pg_statistic where starelid = 'vault'::regclass;
-- / pg_statistic_ext_data
select count(*) from pg_statistic_ext_data;
-- / statistics of one's own table with masks
create temp table t as select code from vault;
analyze t;
select most_common_vals, histogram_bounds, avg_width, n_distinct from pg_stats where schemaname like 'pg_temp%';
-- / statistics through a view of one's own
create temp view s as select tablename, attname, avg_width, n_distinct, most_common_vals::text, histogram_bounds::text from pg_catalog.pg_stats;
select * from s where tablename = 'vault' order by attname;
-- / statistics by a function
create function pg_temp.s() returns setof text language sql stable as $$select s::text from pg_catalog.pg_stats as s where tablename = 'vault' order by attname$$;
select * from pg_temp.s();
-- / sizes
select pg_relation_size('vault'), pg_table_size('customers'), pg_total_relation_size('vault'), relpages, reltuples from pg_class where oid = 'vault'::regclass;
-- / sizes of values
select id, pg_column_size(code), octet_length(code), pg_column_size(v), pg_column_compression(code) from vault as v order by id;
-- / ANALYZE is not the person's
analyze vault;

-- # Ways out
-- / the row as text
select format('%s', v), v::text, quote_literal(v), concat(v), v || '' from vault as v order by id;
-- / to_json, row_to_json, json_agg
select to_json(v), row_to_json(v), json_agg(v) over (order by id) from vault as v order by id;
-- / query_to_xml
select query_to_xml('select * from vault order by id', true, false, '');
-- / table_to_xml
select table_to_xml('vault', true, false, '');
-- / schema_to_xml
select schema_to_xml('lab', true, false, '');
-- / database_to_xml
select length(database_to_xml(true, false, '')::text) > 0, database_to_xml(true, false, '')::text like '%vault-secret%';
-- / query_to_xml that probes
select query_to_xml('select id from vault where code = ''v4243-vault-secret''', true, false, '');
-- / COPY
copy vault to stdout;
-- / COPY of a query
copy (select * from vault order by id) to stdout with (format csv, header, force_quote *);
-- / COPY FROM with a condition that reads
-- < 100	x	5	1
copy vault (id, code, ceiling, spent) from stdin where id in (select id from vault);
-- / COPY FROM with a condition that calls
-- < 1
create function pg_temp.code(int) returns text language sql stable as 'select code from public.vault where id = $1';
create temp table t (a int);
copy t from stdin where pg_temp.code(a) = 'v4243-vault-secret';
select * from t;
-- / COPY to a file
copy vault to '/tmp/vault';
-- / large objects
select lo_from_bytea(777000 + id, convert_to(code, 'UTF8')) from vault order by id;
select convert_from(lo_get(777001), 'UTF8');
-- / advisory locks
select pg_advisory_xact_lock(hashtext(code)) from vault where id = 1;
select objid from pg_locks where locktype = 'advisory' and pid = pg_backend_pid();
-- / notifications
select pg_notify('c', code) from vault where id = 1;
-- / a sequence
create temp sequence s;
select setval('s', spent) from vault where id = 2;
select currval('s'), last_value from s;
-- / a cursor by name
declare c scroll cursor for select code from vault order by id;
fetch all from c;
-- / pg_get_expr of a column
select pg_get_expr(adbin, adrelid) from pg_attrdef where adrelid = 'vault'::regclass;
-- / definitions
select pg_get_constraintdef(oid) from pg_constraint where conrelid = 'vault'::regclass order by 1;
-- / index definitions
select pg_get_indexdef(indexrelid) from pg_index where indrelid = 'vault'::regclass order by 1;
-- / page contents
select * from get_raw_page('vault', 0);
-- / the mask's own functions
select mask.hash('member-1-secret');
-- / the policy's parameters
select * from mask.policy;
-- / unmasking oneself
select mask.unprotect('vault', 'code');
-- / session_user and SET ROLE
set local role postgres;
-- / SET SESSION AUTHORIZATION
set local session authorization postgres;
-- / row_security off
set local row_security = off;
select code, spent from vault order by id;
-- / session_replication_role
set local session_replication_role = replica;
-- / a setting of ours
set local pg_custodian.audit_roles = 'none';
-- / a search path with a table of the same name
create temp table vault (code text);
select * from vault;
-- / a subscripted composite
select (array_agg(v))[1].code, (array_agg(v order by id))[2:3] from vault as v;
-- / TABLESAMPLE
select code from vault tablesample bernoulli (100) repeatable (1) order by id;
-- / parallel workers
set local parallel_setup_cost = 0;
set local parallel_tuple_cost = 0;
set local min_parallel_table_scan_size = 0;
select max(code), min(spent) from vault;
-- / hash of a row
select id, hash_record_extended(v, 0) = hash_record_extended(v, 1), record_out(v) from vault as v order by id;
-- / text search
select to_tsvector(code), ts_headline(code, to_tsquery('v')) from vault order by id;
-- / a foreign table's stand-in
create extension postgres_fdw;

-- # Writes
-- / over itself
update vault set code = code;
-- / over another column
update vault set ceiling = length(code);
-- / through a function
create function lab.code(int) returns text language sql stable as 'select code from public.vault where id = $1';
update customers set name = lab.code(1) where id = 1 returning name;
-- / into a table that stays
create table lab.kept as select * from vault;
-- / by MERGE
-- since 15
merge into vault as v using customers as c on c.id = v.id when matched then update set code = c.email;
-- / by RETURNING of a delete
with x as (delete from vault returning *) select * from x order by id;

-- # Of an owner
-- / reads
select * from lab.owned order by id;
-- / a type that fails
alter table lab.owned alter code type int using code::int;
-- / a type that keeps
alter table lab.owned alter code type text using 'x' || code;
select * from lab.owned order by id;
-- / a check
alter table lab.owned add check (code <> 'o5151-owned-secret');
-- / a generated column
alter table lab.owned add copy text generated always as (code) stored;
select * from lab.owned order by id;
-- / an index that tells
create function lab.tell(text) returns text language plpgsql immutable as $$begin raise notice 'told %', $1; return $1; end$$;
create index on lab.owned (lab.tell(code));
-- / a unique index
insert into lab.owned values (100, 'mine'), (101, 'mine');
create unique index on lab.owned (code);
-- / a trigger
create function lab.tell() returns trigger language plpgsql as $$begin raise notice 'told %', old.code; return new; end$$;
create trigger t before update on lab.owned for each row execute function lab.tell();
update lab.owned set id = id;
-- / a rule
create rule r as on update to lab.owned do also select old.code;
update lab.owned set id = id where id = 1;
-- / a policy
create function lab.tell(text) returns boolean language plpgsql as $$begin raise notice 'told %', $1; return true; end$$;
create policy p on lab.owned using (lab.tell(code));
alter table lab.owned force row level security;
alter table lab.owned enable row level security;
select id from lab.owned order by id;
-- / a child
create table lab.child () inherits (lab.owned);
insert into lab.child values (100, 'mine');
select * from lab.owned order by id;
-- / a parent
create table lab.parent (id int not null, code text);
alter table lab.owned inherit lab.parent;
select * from lab.parent order by id;
-- / a partitioned parent
create table lab.parent (id int not null, code text) partition by range (id);
alter table lab.parent attach partition lab.owned for values from (0) to (1000);
select * from lab.parent order by id;
-- / renamed
alter table lab.owned rename column code to kode;
select kode from lab.owned order by id;
-- / moved
alter table lab.owned rename to disowned;
select * from lab.disowned order by id;
-- / analyzed
analyze lab.owned;
select most_common_vals, histogram_bounds, n_distinct from pg_stats where tablename = 'owned' and attname = 'code';
-- / a foreign key of the masked column
create table lab.codes (code text primary key);
insert into lab.codes values ('o5151-owned-secret');
alter table lab.owned add foreign key (code) references lab.codes;
-- / given to a view's rule
create view lab.v as select code from lab.owned;
select * from lab.v order by 1;

-- # Typed masks
-- / halving a number
select n, (select count(*) from staff where salary < n) from generate_series(77000, 82000, 400) as n;
-- / halving a date
select n, (select count(*) from customers where born < date '1965-01-01' + n) from generate_series(0, 9000, 800) as n;
-- / division by zero at a value
select id, 1 / (salary - 77311) from staff order by id;
-- / a day of a week
select id, extract(isodow from born), extract(epoch from seen), to_char(seen, 'MMDDHH24MISS'), to_char(taken, 'DD') from customers join readings using (id) order by id;
-- / a window over numbers
select id, salary - lag(salary) over (order by salary), percent_rank() over (order by salary, id) from staff order by id;
-- / statistics of values
select avg(salary), stddev(salary), sum(credit), var_pop(credit), min(weight), max(charge) from staff, customers, readings;
-- / noise averaged out
select id, stddev(level), count(distinct level) from readings, generate_series(1, 50) group by id order by 1;
-- / noise of a value of one's own
insert into readings (id, level) values (9001, 301) returning level between 291 and 311;
-- / a call of noise
select mask.noise(301::smallint, 10);
-- / hosts of a network
select n, (select count(*) from visits where address = inet '10.77.4.0' + n) from generate_series(10, 20) as n;
-- / a path of a document
select id, profile #> '{secret}', profile @? '$.secret ? (@ starts with "profile")', jsonb_pretty(profile), length(profile::text) from customers order by id;
-- / the size of a document
select id, pg_column_size(profile), pg_column_size(marks), octet_length(raw) from customers join readings using (id) order by id;
-- / elements of an array
select id, m, n from readings, unnest(marks) with ordinality as u (m, n) where m like '%mark%' or n = 1 order by id, n;
-- / what a redaction leaves
select id, remark, substring(remark from 'ada[^ ]*'), position('@' in remark) from readings order by id;
-- / words behind a name
select id, owner from readings where owner like '%en' or owner ~ 'Pet' order by id;
-- / a sum that does not fit
select id, (salary::int2 + 32767 - 300) from staff order by id;
select id, (level * 109)::int2 from readings order by id;
-- / a cast that tells
select owner::int from readings where id = 1;
select note::date from readings where id = 1;
-- / a sort
select id from readings order by weight, charge, taken, seen, net, id;
-- / a left join as a probe
select o.id, s.id from orders as o left join staff as s on s.salary = 77000 + o.id * 311 where s.salary is not null order by 1, 2;
-- / a full join as a probe
select a.id, b.id from staff as a full join orders as b on a.salary < 77000 + b.id where a.salary > 77311 order by 1, 2;
