-- # Groups
-- / by a masked column
select iban, count(*) from customers group by iban order by iban;
-- / by an expression of a masked column
select left(email, 1), count(*), array_agg(id order by id) from customers group by left(email, 1) order by 1;
-- / by a masked column that becomes NULL
select ssn, count(*) from customers group by ssn;
-- / by position and by name
select iban as i, city, count(*) from customers group by i, 2 order by 1, 2;
-- / by the primary key
select id, email, iban, count(*) from customers group by id order by id;
-- / by hashing
set local enable_sort = off;
select member, count(*) from customers group by member;
-- / by sorting
set local enable_hashagg = off;
select member, email, count(*) from customers group by member, email;
-- / HAVING over a masked column
select iban, count(*) from customers group by iban having iban > 'E' and count(*) > 1 order by 1;
-- / HAVING over an aggregate
select city, max(email) from customers group by city having max(email) > 'v' order by 1;
-- / GROUPING SETS
select iban, city, count(*), grouping(iban, city) from customers group by grouping sets ((iban), (city), ()) order by 1, 2, 4;
-- / ROLLUP over masked columns
select iban, email, count(*), grouping(iban), grouping(email) from customers group by rollup (iban, email) order by 1, 2, 4, 5;
-- / CUBE over masked columns
select iban, ssn, count(*), grouping(iban, ssn) from customers group by cube (iban, ssn) order by 1, 2, 4;
-- / GROUPING SETS over expressions
select left(iban, 2), length(email), count(*) from customers group by grouping sets ((left(iban, 2)), (length(email)), (left(iban, 2), length(email))) order by 1, 2, 3;
-- / GROUPING SETS with a plain column functionally behind
select id, email, count(*) from customers group by grouping sets ((id, email), (email)) order by 1, 2;
-- / mixed hashing and sorting of GROUPING SETS
set local enable_hashagg = on;
select member, iban, city, count(*) from customers group by cube (member, iban, city) order by 1, 2, 3, 4;
-- / GROUP BY DISTINCT
select iban, city, count(*) from customers group by distinct rollup (iban, city), rollup (iban) order by 1, 2, 3;
-- / ROLLUP with HAVING
select iban, count(*) from customers group by rollup (iban) having grouping(iban) = 1 or iban like 'D%' order by 1;
-- / ROLLUP over an outer join
select c.iban, count(o.card), grouping(c.iban) from orders as o left join customers as c on c.id = o.customer_id and c.id < 9 group by rollup (c.iban) order by 1, 3;
-- / CUBE over a hashed column and its length
select member, length(member), count(*) from customers group by cube (member, length(member)) order by 1, 2, 3;
-- / groups of whole rows
select c, count(*) from customers as c group by c order by (c).id;
-- / groups in a subquery, joined again
select c.id, g.n from customers as c join (select iban, count(*) as n from customers group by iban) as g on g.iban = c.iban order by 1;

-- # Aggregates
-- / string_agg in an order
select string_agg(email, ',' order by email, id), string_agg(distinct iban, ',' order by iban) from customers;
-- / with a filter on a masked column
select count(*) filter (where email like 'a%'), sum(id) filter (where iban > 'E'), max(name) filter (where ssn is not null) from customers;
-- / of a masked number
select sum(salary), avg(salary), stddev(salary), min(salary), max(salary), count(salary), bit_or(salary) from staff;
-- / of a masked numeric
select sum(credit), avg(credit), variance(credit) from customers;
-- / WITHIN GROUP
select percentile_disc(0.5) within group (order by email), mode() within group (order by iban), percentile_cont(0.3) within group (order by salary) from customers, staff;
-- / hypothetical sets
select rank('c') within group (order by email), dense_rank('D') within group (order by iban) from customers;
-- / boolean aggregates
select bool_and(email like '%@%'), bool_or(iban like 'D%'), every(ssn is null) from customers;
-- / regression
select regr_count(salary, id), corr(salary, id), covar_pop(id, salary) from staff;
-- / XML
select xmlagg(xmlelement(name e, email) order by id) from customers;
-- / json
select json_object_agg(id, email order by id), jsonb_agg(iban order by id) from customers;
-- / of one's own
select glue(email order by id), glue(distinct iban order by iban) from customers;
-- / array of arrays
select array_agg(array[email, iban] order by id) from customers;
-- / of an aggregate, nested
select max(m) from (select min(email) as m from customers group by city) as x;
-- / count of all-null masks
select count(ssn), count(*), count(distinct ssn) from customers;
-- / range aggregate
select range_agg(daterange(born, born + 1)) from customers;
-- / any_value
-- since 16
select count(any) from (select any_value(ssn) as any from customers group by city) as x;

-- # Windows
-- / partition by a masked column
select id, iban, count(*) over (partition by iban) from customers order by id;
-- / order by a masked column
select id, rank() over (order by email), dense_rank() over (order by iban), row_number() over (order by email, id) from customers order by id;
-- / lag and lead
select id, lag(email) over (order by id), lead(iban, 2, 'none') over (order by id), lag(ssn) over (order by id) from customers order by id;
-- / first, last, nth
select id, first_value(email) over w, last_value(iban) over w, nth_value(email, 2) over w from customers window w as (partition by city order by id) order by id;
-- / frames by rows
select id, string_agg(iban, ',') over (order by id rows between 1 preceding and 1 following) from customers order by id;
-- / frames by groups
select id, count(*) over (order by iban groups between 1 preceding and current row exclude ties) from customers order by id;
-- / frames by range of a masked number
select id, count(*) over (order by salary range between 500 preceding and 500 following) from staff order by id;
-- / frames by range of a masked date
select id, count(*) over (order by born range between interval '2 years' preceding and current row) from customers order by id;
-- / filter in a window
select id, count(*) filter (where email like 'b%') over (order by id) from customers order by id;
-- / ntile, percent_rank, cume_dist
select id, ntile(3) over (order by email, id), percent_rank() over (order by iban), cume_dist() over (order by iban) from customers order by id;
-- / a window over groups
select iban, count(*), rank() over (order by count(*), iban), sum(count(*)) over (order by iban) from customers group by iban order by iban;
-- / two windows
select id, count(*) over (partition by iban), count(*) over (partition by email order by id) from customers order by id;
-- / a window function of a whole row
select id, lag(s) over (order by id) from staff as s order by id;
-- / an aggregate of one's own as a window
select id, glue(iban) over (partition by city order by id) from customers order by id;
-- / a run condition
select * from (select id, email, row_number() over (order by email, id) as n from customers) as x where n <= 5 order by n;
