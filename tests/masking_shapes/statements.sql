-- # Cursors
-- / a cursor
declare c cursor for select id, email from customers order by id;
fetch 3 from c;
fetch all from c;
-- / a scrolling cursor
declare c scroll cursor for select id, email from customers order by email, id;
fetch last from c;
fetch prior from c;
fetch absolute 4 from c;
fetch relative -2 from c;
fetch first from c;
fetch backward all from c;
-- / MOVE
declare c scroll cursor for select iban from customers order by id;
move 5 from c;
fetch next from c;
-- / a cursor over a masked filter
declare c cursor for select id from customers where email like 'a%' order by id;
fetch all from c;
-- / a holdable cursor
-- alone
begin;
declare h scroll cursor with hold for select id, email, ssn from customers order by id;
commit;
fetch 2 from h;
fetch last from h;
close h;
-- / a holdable cursor that was fetched from before
-- alone
begin;
declare h cursor with hold for select iban from customers order by id;
fetch 4 from h;
commit;
fetch 4 from h;
close h;
-- / a binary cursor
declare b binary cursor for select id, email, born from customers order by id;
fetch 3 from b;
-- / WHERE CURRENT OF
declare c cursor for select id, email from customers where email like 'a%' for update;
fetch next from c;
update customers set name = 'here' where current of c returning id, name, email;
-- / an insensitive cursor
declare c insensitive cursor for select id, iban from customers order by id;
update customers set name = 'changed' where id = 1;
fetch 2 from c;

-- # Prepared statements
-- / without parameters
prepare p as select id, email from customers order by id;
execute p;
execute p;
deallocate p;
-- / with a parameter that is compared with a mask
prepare p (text) as select id from customers where iban = $1 order by id;
execute p ('DE89****0021');
execute p ('GB29SECRET200140021');
deallocate p;
-- / a generic plan
set local plan_cache_mode = force_generic_plan;
prepare p (text) as select id, ssn from customers where email like $1 order by id;
execute p ('a%');
execute p ('b%');
deallocate p;
-- / a custom plan
set local plan_cache_mode = force_custom_plan;
prepare p (int) as select email from customers where id = $1;
execute p (1);
execute p (2);
deallocate p;
-- / six times, until the plan is generic
prepare p (int) as select id, email, iban from customers where id > $1 order by id;
execute p (20);
execute p (20);
execute p (20);
execute p (20);
execute p (20);
execute p (20);
execute p (20);
deallocate p;
-- / a prepared write
prepare p (int, text) as update customers set name = $2 where id = $1 returning id, name, email;
execute p (1, 'a');
execute p (2, 'b');
deallocate p;
-- / a table made of a prepared statement
prepare p as select id, email from customers;
create temp table t as execute p;
select * from t order by id;
deallocate p;

-- # COPY
-- / a table
copy customers to stdout;
-- / columns
copy orders (id, card) to stdout with (format csv, header);
-- / a query
copy (select email, ssn from customers order by id) to stdout;
-- / a partition
copy visits_2025 to stdout;
-- / a parent without its children
copy things to stdout;
-- / a query with a filter
copy (select id from customers where iban = 'GB29SECRET200140021' or email like 'a%' order by id) to stdout;
-- / a write that returns
copy (update customers set name = 'copied' where id < 4 returning id, name, email) to stdout;
-- / binary
copy (select id, email from customers order by id) to stdout with (format binary);
-- / a table under row security
copy memos to stdout;
-- / in
-- < 200	New	Graz	new.comer@example.com	DE89SECRET0000021
copy customers (id, name, city, email, iban) from stdin;
-- / in, and read
-- < 4000-1-SECRET-1234	500	1	3	open	2025-03-03
copy orders (card, id, customer_id, amount, status, ordered_on) from stdin;
-- / in, with a condition
-- < 500	1	3	4000-1-SECRET-1234	open	2025-03-03
copy orders from stdin where card like '4%' and id > 4;
-- / in, and wrong
-- < x	New
copy customers (id, name) from stdin;

-- # EXPLAIN
-- / of a masked column
explain (costs off, verbose off) select id, name from customers order by id;
-- / ANALYZE without timing
explain (analyze, costs off, timing off, summary off, buffers off) select city from customers where id > 20;

-- # Locks
-- / FOR UPDATE
select id, email from customers where id < 5 order by id for update;
-- / FOR SHARE OF
select c.id, c.email, o.card from customers as c join orders as o on o.customer_id = c.id where c.id < 4 order by o.id for share of c;
-- / FOR NO KEY UPDATE with a masked filter
select id, ssn from customers where iban like 'D%' order by id for no key update;
-- / FOR KEY SHARE SKIP LOCKED
select id, iban from customers order by id for key share skip locked;
-- / FOR UPDATE in a subquery
select x.email from (select email, id from customers for update) as x order by x.id;
-- / FOR UPDATE in a CTE
with x as (select id, email from customers where email like 'a%' for update) select * from x order by id;
-- / LOCK TABLE
lock table customers in share mode;
select count(email) from customers;

-- # Temporary tables
-- / CREATE TABLE AS
create temp table t as select * from customers;
select * from t order by id;
-- / SELECT INTO
select id, email, ssn into temp t from customers;
select * from t order by id;
-- / INSERT ... SELECT
create temp table t (a int, b text);
insert into t select id, email from customers returning *;
-- / LIKE
create temp table t (like customers including all);
insert into t select * from customers;
select id, email, iban from t order by id;
-- / a materialized CTE into a table
create temp table t as with x as materialized (select iban, count(*) from customers group by iban) select * from x;
select * from t order by 1;
-- / an index over masks
create temp table t as select id, email from customers;
create index on t (email);
analyze t;
select most_common_vals is not null from pg_stats where tablename = 't' and attname = 'email' and schemaname like 'pg_temp%';
-- / a join with a temporary table
create temp table t as select iban from customers where id < 9;
select c.id, t.iban from customers as c join t on t.iban = c.iban order by 1, 2;
-- / a temporary table of its own values
create temp table t (email text);
insert into t values ('ada.b***@example.com'), ('ada.binter1@example.org');
select c.id from customers as c join t using (email) order by id;

-- # Transactions
-- / a savepoint
savepoint a;
update customers set name = 'gone' where id = 1;
rollback to a;
select id, name, email from customers where id = 1;
-- / an error and a savepoint
savepoint a;
select iban::int from customers where id = 1;
rollback to a;
select email from customers where id = 1;
-- / read only
set transaction read only;
select id, email from customers order by id;
-- / repeatable read
set transaction isolation level repeatable read;
select id, iban from customers order by id;
-- / several statements in one message
select email from customers where id = 1; select iban from customers where id = 2;
-- / another search path
set local search_path = pg_catalog;
select email from public.customers order by id;
-- / JIT
set local jit = on;
set local jit_above_cost = 0;
select sum(length(email)), max(iban) from customers;
