-- # INSERT
-- / values
insert into customers (id, name, email, iban, ssn, joined) values (100, 'New', 'new.comer@example.com', 'DE89SECRET0000021', '1-2', '2025-01-01') returning *;
-- / values, and read
insert into orders values (100, 1, 5, '4000-1-SECRET-1234', 'open', '2025-01-01');
select * from orders where id = 100;
-- / a masked filter in the source
insert into orders select 100 + id, id, 1, null, 'new', '2025-01-01' from customers where email like 'a%' returning id, customer_id;
-- / DEFAULT VALUES
insert into things default values returning *;
-- / RETURNING an expression
insert into customers (id, name, email, joined) values (100, 'New', 'new.comer@example.com', '2025-01-01') returning upper(email), length(email), name;
-- / RETURNING a whole row
insert into customers (id, name, email, joined) values (100, 'New', 'new.comer@example.com', '2025-01-01') returning customers, to_jsonb(customers);
-- / RETURNING a subquery
insert into orders values (100, 3, 5, null, 'open', '2025-01-01') returning (select email from customers where id = customer_id);
-- / into a partitioned table
insert into visits values (100, '2025-03-03', 'visitor-secret', '10.1.2.3', '/') returning *;
-- / into a child
insert into machines values (100, 'new', 'serial-secret', 5) returning *;
-- / a duplicate key
insert into customers (id, name, joined) values (1, 'New', '2025-01-01');
-- / a null in a column that has none
insert into orders (id, customer_id, card, status) values (100, 1, '4000-1-SECRET-1234', 'open');
-- / a domain's check
insert into staff (id, name, email) values (100, 'x', 'no mail');
-- / a foreign key
insert into orders values (100, 999, 5, '4000-1-SECRET-1234', 'open', '2025-01-01');
-- / against row security
insert into memos values (100, 'a', 'memo secret new', false);
-- / no partition
insert into visits values (100, '2030-03-03', 'visitor-secret', '10.1.2.3', '/');
-- / ON CONFLICT DO NOTHING
insert into customers (id, name, joined) values (1, 'New', '2025-01-01'), (100, 'New', '2025-01-01') on conflict do nothing returning id, email;
-- / ON CONFLICT DO UPDATE
insert into customers (id, name, joined) values (1, 'New', '2025-01-01') on conflict (id) do update set name = excluded.name returning *;
-- / ON CONFLICT DO UPDATE with a masked condition
insert into customers as c (id, name, joined) values (1, 'New', '2025-01-01'), (2, 'New', '2025-01-01'), (3, 'New', '2025-01-01') on conflict (id) do update set name = 'again' where c.email like 'a%' returning id, name, c.email;
-- / ON CONFLICT DO UPDATE with a probe
insert into customers as c (id, name, joined) values (1, 'New', '2025-01-01') on conflict (id) do update set name = 'again' where c.ssn = '91-55-5031' returning id;
-- / ON CONFLICT DO UPDATE from EXCLUDED into a masked column
insert into customers (id, name, email, joined) values (1, 'New', 'new.comer@example.com', '2025-01-01') on conflict (id) do update set email = excluded.email returning id, email;
-- / ON CONFLICT DO UPDATE that takes a masked column
insert into customers as c (id, name, joined) values (1, 'New', '2025-01-01') on conflict (id) do update set name = c.name || '!' returning id, name;
-- / an overriding value list with a subquery
insert into customers (id, name, joined) values (100, (select 'from ' || name from cities where country = 'IT'), '2025-01-01') returning name;

-- # UPDATE
-- / a plain column
update customers set name = 'changed' where id < 4 returning *;
-- / a plain column, by a masked condition
update customers set name = 'changed' where email like 'a%' returning id, name, email;
-- / a plain column, by a probe
update customers set name = 'changed' where ssn = '91-55-5031';
-- / a masked column to a constant
update customers set email = 'new.comer@example.com' where id = 1 returning id, email;
-- / a masked column to NULL
update customers set ssn = null, iban = null where id < 5 returning id, ssn, iban;
-- / a masked column to a parameter
prepare p (text) as update customers set iban = $1 where id = 1 returning iban;
execute p ('DE89SECRET0000021');
deallocate p;
-- / all rows
update orders set status = 'done' returning id, card;
-- / FROM, joined on a masked column
update orders as o set status = 'found' from customers as c where c.id = o.customer_id and c.iban = 'DE89****0021' returning o.id, o.card, c.email;
-- / FROM a subquery
update customers as c set name = x.n from (select city, count(*)::text as n from customers group by city) as x where x.city = c.city and c.id < 5 returning c.id, c.name, c.email;
-- / several columns from a row
update customers set (name, city) = ('a', 'Graz') where id = 2 returning *;
-- / several columns from a subquery
update customers as c set (name, city) = (select country, name from cities where name = 'Turin') where c.id = 2 returning id, name, city, email;
-- / a partition key
update visits set at = at + 365 where at < '2024-12-31' and id = 3 returning *;
-- / a child by its parent
update things set label = 'new' where serial like 'se%' returning tableoid::regclass, *;
-- / RETURNING from the other table
update orders set amount = 1 from customers as c where c.id = customer_id and orders.id < 5 returning c, c.ssn;
-- / in a CTE
with x as (update customers set name = 'cte' where id < 4 returning id, email, ssn) select * from x order by id;
-- / in two CTEs
with x as (update customers set name = 'cte' where email like 'a%' returning id, email), y as (delete from orders where customer_id in (select id from x) returning id, card) select * from x full join y using (id) order by id;
-- / of nothing
update customers set name = name where false returning email;
-- / current row by ctid
update customers set name = 'ctid' where ctid = '(0,2)' returning id, email;
-- / under row security
update memos set author = 'x' where body like 'memo%' returning *;
-- / with a subquery in the condition
update customers as c set name = 'rich' where c.id = (select o.customer_id from orders as o where o.card like '%-1111' and o.customer_id is not null order by o.id limit 1) returning c.id, c.iban;
-- / with old values
-- since 18
update customers set name = 'old' where id < 4 returning old.name, old.email, new.email, old, new;

-- # Writes that would store masks
-- / a masked column into itself
-- refused
update customers set email = email;
-- / a masked column changed
-- refused
update customers set email = upper(email) where id = 1;
-- / a masked column into a plain one
-- refused
update customers set name = email where id = 1;
-- / through an alias and a join
-- refused
update customers as c set name = d.iban from customers as d where d.id = c.id;
-- / through a subquery
-- refused
update customers as c set name = (select d.ssn from customers as d where d.id = c.id) where c.id = 1;
-- / through a CTE
-- refused
with x as (select id, email from customers) update customers as c set name = x.email from x where x.id = c.id;
-- / through several columns
-- refused
update customers as c set (name, city) = (select d.email, d.city from customers as d where d.id = c.id);
-- / through a set operation
-- refused
update customers as c set name = x.v from (select id, city as v from customers union all select id, email from customers) as x where x.id = c.id;
-- / through a view
-- refused
update contacts set name = email where id = 1;
-- / through LATERAL
-- refused
update customers as c set name = y.v from orders as o, lateral (select o.card as v) as y where o.customer_id = c.id;
-- / through VALUES
-- refused
update customers as c set name = y.v from orders as o, lateral (values (o.card)) as y (v) where o.customer_id = c.id;
-- / a number into itself
-- refused
update staff set salary = salary + 100;
-- / through ON CONFLICT
-- refused
insert into customers as c (id, name, joined) values (1, 'New', '2025-01-01') on conflict (id) do update set name = c.email;
-- / through MERGE
-- refused
-- since 15
merge into customers as c using orders as o on o.id = c.id when matched then update set name = o.card;
-- / through a whole row
-- refused
update customers as c set profile = to_jsonb(d) from customers as d where d.id = c.id;
-- / INSERT of masks into a table that stays
-- refused
insert into cities (name, country) select distinct iban, city from customers where iban is not null;
-- / CREATE TABLE AS that stays
-- refused
create table lab.kept as select id, email from customers;
-- / SELECT INTO a table that stays
-- refused
select email into lab.kept from customers;
-- / a materialized view
-- refused
create materialized view lab.kept as select email from customers;
-- / an updated condition on what is masked is allowed, its value is not
-- refused
update orders as o set status = case when c.email like 'a%' then 'a' else 'b' end from customers as c where c.id = o.customer_id;

-- # DELETE
-- / by a masked condition
delete from orders where card like '%-2222' returning *;
-- / by a probe
delete from orders where card = '4000-1013-SECRET-2222';
-- / USING a masked table
delete from orders using customers as c where c.id = customer_id and c.email like 'a%' returning orders.id, c.email;
-- / all
delete from visits returning who, address;
-- / in a CTE
with x as (delete from orders returning customer_id, card) select c.id, c.email, x.card from customers as c join x on x.customer_id = c.id order by 1, 3;
-- / a row that is referenced
delete from customers where id = 1;
-- / of a child by its parent
delete from things where serial is null returning *;
-- / under row security
delete from memos returning id, body;
-- / TRUNCATE is not granted
truncate orders;

-- # MERGE
-- / update and insert
-- since 15
merge into customers as c using (values (1, 'One'), (100, 'Hundred')) as v (id, name) on v.id = c.id when matched then update set name = v.name when not matched then insert (id, name, joined) values (v.id, v.name, '2025-01-01');
select id, name, email from customers where id in (1, 100) order by id;
-- / a masked condition
-- since 15
merge into customers as c using cities as t on t.name = c.city when matched and c.email like 'a%' then update set name = 'merged' when matched and c.ssn = '91-55-5031' then delete when not matched then do nothing;
select id, name from customers order by id;
-- / joined on a masked column
-- since 15
merge into orders as o using (select distinct iban, id from customers where iban = 'DE89****0021') as x on x.id = o.customer_id when matched then update set status = 'merged';
select id, status from orders order by id;
-- / a masked source
-- since 15
merge into orders as o using customers as c on c.id = o.id when matched and c.iban like 'P%' then delete;
select id, card from orders order by id;
-- / a partitioned target
-- since 15
merge into visits as v using (select 5 as id) as x on x.id = v.id when matched and v.who like 'vis%' then update set page = 'merged';
select id, page, who from visits where page = 'merged';
-- / RETURNING
-- since 17
merge into customers as c using (values (1, 'One'), (100, 'Hundred')) as v (id, name) on v.id = c.id when matched then update set name = v.name when not matched then insert (id, name, email, joined) values (v.id, v.name, 'new.comer@example.com', '2025-01-01') returning merge_action(), c.*, v.*;
-- / WHEN NOT MATCHED BY SOURCE
-- since 17
merge into orders as o using (select id from customers where email like 'a%') as x on x.id = o.customer_id when not matched by source and o.card like '%-1111' then delete returning o.id, o.card;
-- / RETURNING OLD and NEW
-- since 18
merge into customers as c using (values (1, 'One')) as v (id, name) on v.id = c.id when matched then update set name = v.name returning old.email, new.email, old.name, new.name;

-- # Functions and procedures that write
-- / a procedure
call rename_customer(1, 'called');
select id, name, email from customers where id = 1;
-- / a DO block
do $$declare r record; begin update customers set name = 'done' where email like 'a%' returning id, email into r; raise notice '%', r; end$$;
-- / a loop over RETURNING
do $$declare r record; begin for r in update customers set name = 'done' where id < 4 returning id, ssn, iban loop raise notice '%', r; end loop; end$$;
