-- # Joins
-- / inner join
select c.name, o.amount, o.card from customers as c join orders as o on o.customer_id = c.id order by o.id;
-- / left join with masks on the nullable side
select o.id, c.email, c.iban, c.ssn from orders as o left join customers as c on c.id = o.customer_id order by o.id;
-- / right join
select o.id, o.card, c.id, c.email from orders as o right join customers as c on c.id = o.customer_id order by c.id, o.id;
-- / full join
select o.id, o.card, c.id, c.iban from orders as o full join customers as c on c.id = o.customer_id and o.amount > 40 order by o.id, c.id;
-- / cross join
select count(*), count(a.email || b.email) from customers as a cross join customers as b;
-- / join on a masked column
select a.id, b.id, a.iban from customers as a join customers as b on a.iban = b.iban and a.id < b.id order by 1, 2;
-- / join by a merge on a masked column
set local enable_hashjoin = off;
set local enable_nestloop = off;
select a.id, b.id from customers as a join customers as b on a.iban = b.iban order by 1, 2;
-- / join by a hash on a masked column
set local enable_mergejoin = off;
set local enable_nestloop = off;
select a.id, b.id from customers as a join customers as b on a.member = b.member order by 1, 2;
-- / join by a nested loop with memoize
set local enable_mergejoin = off;
set local enable_hashjoin = off;
select a.id, b.id from customers as a join customers as b on a.email = b.email order by 1, 2;
-- / full join by a merge on a masked column
set local enable_hashjoin = off;
select a.id, b.id, a.iban from customers as a full join (select * from customers where id < 9) as b on a.iban = b.iban order by 1, 2;
-- / full join by a hash on a masked column
set local enable_mergejoin = off;
select a.id, b.id from customers as a full join staff as b on a.email = b.email::text order by 1, 2;
-- / left join on a masked column
select a.id, b.id from customers as a left join customers as b on a.ssn = b.ssn order by 1, 2;
-- / join on a masked and a plain column
select a.id, b.id from customers as a join customers as b on a.city = b.city and a.email < b.email order by 1, 2;
-- / USING a masked column
select email, count(*) from customers join (select email from customers where id < 9) as x using (email) group by email order by email;
-- / full join USING a masked column
select iban, a.id, b.id from (select * from customers where id < 12) as a full join (select * from customers where id > 8) as b using (iban) order by 1, 2, 3;
-- / USING with an alias
select u.iban, a.id from customers as a join customers as b using (iban) as u order by 1, 2;
-- / natural join
select * from (select id, email from customers) as a natural join (select id, email from customers) as b order by id;
-- / natural full join
select * from (select email from customers where id < 8) as a natural full join (select email from customers where id > 4) as b order by 1;
-- / a join of joins with nulls
select c.id, o.id, s.id, s.email from customers as c left join (orders as o left join staff as s on s.id = o.id % 20) on o.customer_id = c.id order by 1, 2, 3;
-- / COALESCE across an outer join
select o.id, coalesce(c.email, 'nobody'), coalesce(c.ssn, 'nothing'), coalesce(c.credit, -1) from orders as o left join customers as c on c.id = o.customer_id and c.city = 'Turin' order by o.id;
-- / a condition on the nullable side
select o.id from orders as o left join customers as c on c.id = o.customer_id where c.email is null order by o.id;
-- / an outer join that is reduced
select o.id, c.iban from orders as o left join customers as c on c.id = o.customer_id where c.iban > 'E' order by o.id;
-- / a join that is removed
select o.id from orders as o left join customers as c on c.id = o.customer_id order by o.id;
-- / three tables
select s.name, c.email, o.card from staff as s, customers as c, orders as o where o.customer_id = c.id and s.id = c.id and s.email like 'staff%' order by o.id;
-- / a self join over a hierarchy
select s.id, s.salary, m.email, m.salary from staff as s left join staff as m on m.id = s.manager_id order by s.id;
-- / a parenthesised join with an alias
select j.a_email, j.b_card from (customers as c join orders as o on o.customer_id = c.id) as j (a, b, c, a_email, e, f, g, h, i, k, l, m, n, p, q, b_card) order by n;
-- / join with VALUES of masks
select v.m, c.id from (values ('DE89****0021'), ('PT50****8154')) as v (m) join customers as c on c.iban = v.m order by 1, 2;
-- / join on a composite
select a.id, b.id from staff as a join staff as b on a.pay = b.pay order by 1, 2;
-- / join on IS NOT DISTINCT FROM
select a.id, b.id from customers as a join customers as b on a.ssn is not distinct from b.ssn and a.id + 1 = b.id order by 1;
-- / anti-join shape by EXCEPT of ids
select c.id from customers as c where c.id not in (select customer_id from orders where customer_id is not null and card like '%4444') order by 1;
-- / whole rows through an outer join
select o.id, c from orders as o left join customers as c on c.id = o.customer_id and c.id < 4 order by o.id;
-- / count of whole rows through an outer join
select count(c), count(c.*), count(*) from orders as o left join customers as c on c.id = o.customer_id and c.id < 4;
-- / join on typed masks
select a.id, b.id from readings as a join readings as b on a.device = b.device and a.id < b.id order by 1, 2;
-- / join on a year
select c.id, r.id from customers as c join readings as r on c.born = r.taken - 13000 or c.born > r.seen::date - 14000 order by 1, 2;
-- / join of numbers of two types
select s.id, c.id from staff as s join customers as c on c.credit between s.salary and s.salary + 500 order by 1, 2;
-- / full join on a typed mask
select a.id, b.id, a.level from readings as a full join (select * from readings where id < 9) as b on a.level = b.level order by 1, 2;
-- / full join on one side that a filter makes a left join
select o.id, c.id from orders as o full join customers as c on c.email < 'd' where o.card like '%-1111' order by 1, 2;
-- / full join on no equality that a filter makes a left join
select a.id, b.id from customers as a full join customers as b on a.iban < b.iban where a.email > 'd' order by 1, 2;
-- / full join on no equality that a filter makes a right join
select s.id, c.id from staff as s full join customers as c on s.salary < c.credit where c.born > '1970-06-06' order by 1, 2;
-- / full join on no equality that two filters make an inner join
select v.id, c.id from visits as v full join customers as c on v.id < c.id where v.address > '10.77.9.0' and c.profile ->> 'secret' = '***' order by 1, 2;
-- / full join on no equality that a join above makes a left join
select a.id, b.id, o.id from customers as a full join staff as b on a.id > b.id join orders as o on o.card = '****-' || left(a.iban, 0) || '1111' where a.member is not null order by 1, 2, 3;
-- / full join on no equality under a filter on a domain
select s.id, c.id from staff as s full join customers as c on s.id < c.id where s.email like 's%' order by 1, 2;
-- / full join on no equality under a filter on a partitioned table
select v.id, c.name from visits as v full join cities as c on v.id > c.people where v.who > 'v' order by 1, 2;
-- / full join on no equality under a filter on an array
select r.id, c.name from readings as r full join cities as c on r.id > c.people where r.marks && array['f*'] order by 1, 2;
-- / full join on no equality that stays one
select a.id, b.id from customers as a full join customers as b on a.iban < b.iban order by 1, 2;
-- / full join that a filter that takes NULLs leaves one
select a.id, b.id from customers as a full join customers as b on a.iban < b.iban where a.email is null order by 1, 2;
-- / full join on a constant mask that stays one
select a.id, b.id from readings as a full join readings as b on a.id < b.id where coalesce(a.note, 'x') = 'hidden' order by 1, 2;
-- / left joins that filters make inner ones
select o.id, c.id, r.id from orders as o left join customers as c on c.id = o.customer_id left join readings as r on r.id = c.id where c.email < 'k' and r.weight > 50 order by 1;
-- / left join that a filter above a view makes an inner one
select o.id, c.email from orders as o left join contacts as c on c.id = o.customer_id where c.iban like 'DE%' order by 1;
-- / left join under a mask that is not NULL
select o.id, c.id from orders as o left join customers as c on c.id = o.customer_id and c.id < 9 where c.email is not null order by 1;
-- / left join under a mask that is NULL
select o.id, c.id from orders as o left join customers as c on c.id = o.customer_id and c.id < 9 where c.email is null order by 1;
-- / left join under a constant mask
select o.id, r.note, r.id from orders as o left join readings as r on r.id = o.customer_id and r.id < 9 where r.note is null or r.note = 'hidden' order by 1;
-- / masks of a side without a row, through subqueries
select o.id, x.email, x.iban, x.note, x.ssn from orders as o left join (select c.id, c.email, c.iban, c.ssn, r.note from customers as c join readings as r using (id)) as x on x.id = o.customer_id and x.id < 7 order by 1;
-- / masks of a side without a row, grouped
select x.note, x.ssn, x.email is null, count(*) from orders as o left join (select c.id, c.email, c.ssn, r.note from customers as c join readings as r using (id)) as x on x.id = o.customer_id group by rollup (1, 2, 3) order by 1, 2, 3;

-- # Subqueries
-- / EXISTS
select id from customers as c where exists (select from orders as o where o.customer_id = c.id and o.card like '%-1111') order by id;
-- / NOT EXISTS
select id from customers as c where not exists (select from orders as o where o.customer_id = c.id and o.card is null) order by id;
-- / IN a subquery of masked values
select id from customers where email in (select email::text from staff union select email from customers where id < 5) order by id;
-- / NOT IN a subquery with NULLs
select id from customers where iban not in (select iban from customers where id < 3) order by id;
-- / a scalar subquery
select id, (select c.email from customers as c where c.id = o.customer_id) from orders as o order by id;
-- / a scalar subquery without correlation
select (select max(email) from customers), (select count(distinct iban) from customers);
-- / a correlated masked condition
select id from customers as c where email = (select max(d.email) from customers as d where d.city = c.city) order by id;
-- / correlated through two levels
select id, (select (select max(o.card) from orders as o where o.customer_id = c.id and o.card > d.iban) from customers as d where d.id = c.id) from customers as c order by id;
-- / ANY over a subquery
select id from customers where iban > any (select iban from customers where id in (3, 4)) order by id;
-- / ALL over a subquery
select id from customers where email >= all (select email from customers where email is not null and city = 'Turin') order by id;
-- / row IN a subquery
select id from customers where (iban, city) in (select iban, city from customers where id < 9) order by id;
-- / row equal to a subquery
select id from customers where (email, iban) = (select email, iban from customers where id = 5);
-- / hashed subplan on a masked column
select id, iban in (select iban from customers where id > 12 and iban is not null) from customers order by id;
-- / a subquery in the select list that returns a row
select id, (select c from customers as c where c.id = o.customer_id) from orders as o order by id;
-- / ARRAY of a correlated subquery
select id, array(select o.card from orders as o where o.customer_id = c.id order by o.id) from customers as c order by id;
-- / a subquery in FROM
select x.email, x.n from (select email, count(*) as n from customers group by email) as x where x.n > 0 order by 1;
-- / a subquery that is not pulled up
select x.email from (select email, iban from customers order by id offset 2) as x where x.iban like 'D%' order by 1;
-- / a subquery with LIMIT under a masked filter
select * from (select id, email from customers order by id limit 9) as x where email > 'c' order by id;
-- / a qual pushed into a subquery
select * from (select distinct iban, city from customers) as x where iban like 'P%' order by 1, 2;
-- / a qual pushed into a window subquery
select * from (select iban, id, row_number() over (partition by iban order by id) as n from customers) as x where n <= 2 and iban is not null order by 1, 2;
-- / a subquery that returns too many rows
select (select email from customers where id < 3);
-- / sublinks in CASE and COALESCE
select id, coalesce((select card from orders as o where o.id = c.id), c.email, 'none') from customers as c order by id;
-- / an aggregate of the outer query
select city, (select max(c.email)) from customers as c group by city order by city;
-- / EXISTS in the select list
select id, exists (select from customers as d where d.iban = c.iban and d.id <> c.id) from customers as c order by id;

-- # LATERAL
-- / a lateral subquery
select c.id, x.card from customers as c, lateral (select o.card from orders as o where o.customer_id = c.id order by o.id limit 1) as x order by c.id;
-- / a lateral left join
select c.id, x.card, c.email from customers as c left join lateral (select max(o.card) as card from orders as o where o.customer_id = c.id and o.card > c.iban) as x on true order by c.id;
-- / a lateral function of a masked column
select c.id, u from customers as c, unnest(string_to_array(c.email, '.')) as u order by 1, 2;
-- / a lateral VALUES
select c.id, v.x from customers as c, lateral (values (c.email), (c.iban), (c.ssn)) as v (x) order by 1, 2;
-- / a lateral aggregate of masked columns
select c.id, x.n from customers as c, lateral (select count(*) as n from customers as d where d.email > c.email) as x order by 1;
-- / ROWS FROM
select * from rows from (generate_series(1, 3), unnest(array(select email from customers order by id limit 3))) as r (n, e);
-- / WITH ORDINALITY
select u.* from unnest(array(select iban from customers order by id)) with ordinality as u (iban, n);
-- / lateral over a partitioned table
select v.id, x.n from visits as v, lateral (select count(*) as n from visits as w where w.who = v.who) as x order by 1;

-- # WITH
-- / a CTE
with x as (select id, email from customers) select * from x where email like 'a%' order by id;
-- / a materialized CTE
with x as materialized (select id, email, ssn from customers) select * from x where email > 'c' order by id;
-- / a CTE that is not materialized
with x as not materialized (select * from customers) select a.id, b.id from x as a join x as b on a.iban = b.iban and a.id < b.id order by 1, 2;
-- / CTEs that use each other
with a as (select email, id from customers), b as (select email, count(*) as n from a group by email), c as (select a.id, b.n from a join b using (email)) select * from c order by id;
-- / a recursive CTE
with recursive r as (select id, email::text, 1 as d from staff where manager_id is null union all select s.id, r.email || '>' || s.email, d + 1 from staff as s join r on s.manager_id = r.id) select * from r order by id;
-- / a recursive CTE over masked values
with recursive r (iban, n) as (select min(iban), 1 from customers union select c.iban, n + 1 from r join customers as c on c.iban > r.iban and n < 4) select distinct * from r order by 1, 2;
-- / SEARCH and CYCLE
with recursive r (id, email) as (select id, email::text from staff where id = 1 union all select s.id, s.email::text from staff as s join r on s.manager_id = r.id) search depth first by email set o cycle email set is_cycle using path select * from r;
-- / a CTE in a subquery
select (with x as (select max(email) as e from customers) select e from x), id from cities, customers where name = 'Graz' order by id;
-- / a CTE over a whole row
with x as (select c from customers as c) select (c).email, c from x order by (c).id;
-- / a CTE in an EXISTS
select id from customers as c where exists (with x as (select card from orders as o where o.customer_id = c.id) select from x where card like '%2222') order by id;

-- # Set operations
-- / UNION
select email from customers union select email::text from staff order by 1;
-- / UNION ALL
select email, 'c' from customers union all select card, 'o' from orders order by 1, 2;
-- / INTERSECT
select iban from customers where id < 12 intersect select iban from customers where id > 12;
-- / INTERSECT ALL
select iban from customers where id < 12 intersect all select iban from customers where id > 6;
-- / EXCEPT
select email from customers except select email from customers where id % 2 = 0;
-- / EXCEPT ALL
select iban from customers except all select iban from customers where id < 9;
-- / a set operation of whole rows
select count(*) from (select c from customers as c union select c from customers as c) as x;
-- / nested set operations
(select email, id from customers union all select card, id from orders) except (select email, id from customers where id < 9) order by 1, 2 limit 20;
-- / a set operation under a join
select c.id, u.v from customers as c join (select iban as v from customers where id < 9 union select email from customers where id > 15) as u on u.v = c.iban or u.v = c.email order by 1, 2;
-- / a set operation with different types
select salary from staff union select id from staff order by 1;
-- / VALUES beside a table
select iban from customers union values ('DE89****0021'), ('x') order by 1;
