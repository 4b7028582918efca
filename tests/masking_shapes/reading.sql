-- # Plain reading
-- / every column
select * from customers order by id;
-- / one masked column
select email from customers order by id;
-- / the command TABLE
table orders;
-- / a masked column under another name
select c.iban as account, c.email as "E" from customers as c order by c.id;
-- / columns renamed in the range table
select a, b, f from customers as x (a, b, c, d, e, f) order by a;
-- / expressions of masked columns
select id, upper(email), length(iban), iban || '/' || email, coalesce(ssn, 'none') from customers order by id;
-- / concatenation with a NULL
select id, 'x' || ssn, concat('x', ssn), concat_ws('-', email, iban, ssn) from customers order by id;
-- / CASE over masked columns
select id, case when email like 'a%' then 'a' when email is null then 'null' else 'other' end from customers order by id;
-- / CASE with a masked operand
select id, case iban when 'DE89****0021' then 1 when null then 2 else 3 end from customers order by id;
-- / NULLIF, GREATEST, LEAST
select id, nullif(email, iban), greatest(email, iban, name), least(ssn, iban) from customers order by id;
-- / casts of masked columns
select id, email::varchar(5), iban::char(8), born::text, credit::int, profile::text from customers order by id;
-- / a cast that fails on the mask
select iban::int from customers where id = 1;
-- / a cast that fails on a hashed value
select member::uuid from customers where id = 1;
-- / collation
select id, email collate "C" < iban collate "C" from customers order by 1;
-- / arithmetic on masked numbers
select id, salary + 1, salary * 2 - id, -salary, salary % 7, salary / nullif(id, 3) from staff order by id;
-- / arithmetic on masked dates
select id, born + 1, born - date '2000-01-01', extract(year from born), age(date '2025-01-01', born) from customers order by id;
-- / json operators on a masked document
select id, profile -> 'level', profile ->> 'secret', profile @> '{"level": 1}', profile ? 'secret' from customers order by id;
-- / json functions over masked columns
select id, to_json(email), to_jsonb(iban), json_build_object('e', email, 's', ssn), jsonb_build_array(email, born, credit) from customers order by id;
-- / inet functions
select id, host(address), masklen(address), address << '10.0.0.0/8', family(address) from visits order by id;
-- / string functions
select id, substr(iban, 2, 5), position('*' in iban), reverse(email), md5(iban), split_part(email, '@', 2), left(iban, -4), ascii(ssn) from customers order by id;
-- / regular expressions
select id, regexp_replace(email, '[aeiou]', '#', 'g'), email ~ 'ada', substring(iban from '^[A-Z]+'), regexp_match(iban, '(..)(..)') from customers order by id;
-- / a set-returning function in the select list
select id, regexp_split_to_table(email, '@') from customers order by id, 2;
-- / two of them
select id, unnest(array[email, iban]), generate_series(1, 2) from customers where id < 4 order by 1, 3;
-- / format
select format('%s and %L and %I', email, iban, member) from customers order by id;
-- / whether a masked column is null
select id, email is null, iban is not null, ssn is null, born isnull, credit notnull from customers order by id;
-- / IS DISTINCT FROM
select id, email is distinct from iban, ssn is not distinct from null, email is distinct from email from customers order by id;
-- / boolean tests
select id, (email like 'a%') is true, (email like 'a%') is not unknown, (ssn = ssn) is unknown from customers order by id;
-- / size and type of a value
select id, pg_column_size(iban) > 0, pg_typeof(email), pg_typeof(born) from customers order by id;
-- / size of a value in bytes
select id, octet_length(iban), bit_length(email), char_length(ssn), pg_column_size(iban || '') from customers order by id;
-- / quoting and encoding
select quote_literal(email), quote_nullable(ssn), encode(convert_to(iban, 'UTF8'), 'hex') from customers order by id;
-- / XML of masked columns
select xmlelement(name c, xmlattributes(email as e), iban), xmlforest(email, ssn) from customers order by id;
-- / XML of a query
select query_to_xml('select id, email, ssn from customers order by id', true, false, '');
-- / XML of a table
select table_to_xml('orders', true, false, '');
-- / XML with its schema
select query_to_xml_and_xmlschema('select id, iban from customers where id < 4 order by id', false, true, '');
-- / XML of a cursor
declare c cursor for select id, email from customers order by id;
select cursor_to_xml('c', 5, true, false, '');
-- / XMLTABLE
select x.e from customers as c, xmltable('/r' passing xmlelement(name r, xmlattributes(c.email as e)) columns e text path '@e') as x order by c.id;
-- / an enum beside masked columns
select feels, min(salary), max(email) from staff group by feels order by feels;
-- / a masked domain
select id, email, pg_typeof(email), email::text, upper(email) from staff order by id;
-- / a masked composite
select id, pay, (pay).amount, (pay).unit, pay is null, pay is not null from staff order by id;
-- / a masked composite taken apart
select id, (pay).* from staff order by id;
-- / system columns
select tableoid::regclass, ctid, email from customers order by id;
-- / constants only
select 1 from customers;
-- / no column at all
select from customers;
-- / every masking of the others
select * from readings order by id;
-- / masks of a type each
select id, device, level + 1, weight * 2, charge - 0.05, taken + 3, seen at time zone 'UTC', broadcast(net), encode(raw, 'hex'), marks[1], length(note) from readings order by id;
-- / a year behind which there is none
select id, extract(month from born), extract(doy from born), date_trunc('month', born) from customers order by id;
-- / steps of a masked number
select salary, count(*), min(id) from staff group by salary order by salary nulls first;
-- / parts of a masked document
select id, profile -> 'secret', profile #>> '{secret}', profile - 'secret', jsonb_path_query_array(profile, '$.*') from customers order by id;
-- / hosts of a masked network
select id, host(address), address - network(set_masklen(address, 24))::inet, address <<= '10.77.4.0/24' from visits order by id;
-- / differences of noise
select a.id, b.id, a.level - b.level from readings as a join readings as b on a.id = b.id - 5 order by 1;
-- / whole rows of typed masks
select r, row_to_json(r), (r).marks from readings as r order by (r).id;
-- / a type that the search path leads to another one of
create type lab.text as enum ('x');
set local search_path = lab, public, pg_catalog;
select id, email, iban, member from public.customers order by id;
select id, pay, feels from public.staff order by id;

-- # Filters
-- / equality with a mask
select id, name from customers where email = 'ada.b***@example.com' order by id;
-- / equality with a true value
select id from customers where iban = 'GB29SECRET200140021';
-- / IN a list of masks and values
select id from customers where iban in ('DE89****0021', 'PT50****8154', 'GB29SECRET200140021') order by id;
-- / NOT IN
select id from customers where email not in ('ada.b***@example.com', 'x') order by id;
-- / ANY and ALL over an array
select id from customers where email = any (array['ada.b***@example.com', null]) or iban <> all (array['DE89****0021']) order by id;
-- / LIKE, ILIKE, SIMILAR TO, starts_with
select id from customers where email like 'a%' or iban ilike 'pt%' or email similar to '%(b|c)***%' or starts_with(email, 'b') or email ^@ 'c' order by id;
-- / a range of masked values
select id from customers where email between 'b' and 'm' and iban > 'E' order by id;
-- / BETWEEN SYMMETRIC
select id from customers where iban between symmetric 'Z' and 'A' order by id;
-- / a range of masked numbers
select id from staff where salary between 77000 and 79000 or salary is null order by id;
-- / a masked date
select id from customers where born > date '1970-01-01' or credit > 77731 order by id;
-- / row comparison
select id from customers where (email, iban) > ('b', 'A') order by id;
-- / row comparison with IN
select id from customers where (city, email) in (('Turin', 'ada.b***@example.com'), ('Lisbon', 'eda.f***@example.com')) order by id;
-- / IS NULL of a masked column
select id from customers where email is null or born is null order by id;
-- / a negated condition
select id from customers where not (email like 'a%') order by id;
-- / OR over masked and plain columns
select id from customers where city = 'Turin' or ssn = '91-55-5031' order by id;
-- / a function of a masked column
select id from customers where md5(iban) = md5('DE89****0021') order by id;
-- / an index condition
set local enable_seqscan = off;
select id, email from customers where email > 'a' order by email, id;
-- / a bitmap of two indexes
set local enable_seqscan = off;
select id from customers where email > 'c' and city = 'Turin' or ssn is null order by id;
-- / an index-only scan
set local enable_seqscan = off;
select email from customers where email is not null order by email;
-- / a masked condition that divides
select id from customers where 10 / (length(iban) - 11) > 2 order by id;
-- / a filter that raises by division
select id from customers where 1 / (length(ssn) - 10) > 0 order by id;
-- / TID scan
select email from customers where ctid = '(0,3)';
-- / a range of TIDs
select email from customers where ctid < '(0,7)' order by id;
-- / text search
select id from customers where to_tsvector('simple', email) @@ to_tsquery('simple', 'example.com') order by id;
-- / a number within a step
select id from staff where salary > 77500 order by id;
-- / a day within a year
select id from customers where born between '1965-02-02' and '1985-11-30' order by id;
-- / a host of a network
select id from visits where address = '10.77.4.12' or address << '10.77.5.0/28' order by id;
-- / a path of a document
select id from customers where profile @> '{"secret": "profile-secret-3"}' or profile @> '{"secret": "***"}' and profile @> '{"level": 2}' order by id;
-- / typed masks by their values
select id from readings where weight = 45 or charge = 1001.5 or taken = '2025-04-01' or net = '10.20.5.0/26' or note = 'hidden' or phone like '+49%10' order by id;
-- / typed masks in lists and ranges
select id from readings where device in (select device from readings where id < 5) or level between 290 and 300 or raw = any (select raw from readings where id = 8) order by id;

-- # Order and limits
-- / by a masked column
select id, email from customers order by email, id;
-- / by a masked column that is not shown
select id from customers order by iban desc nulls first, id;
-- / by an expression
select id from customers order by length(email), md5(iban), id;
-- / by position
select iban, id from customers order by 1, 2;
-- / by operator
select id, email from customers order by email using >, id;
-- / by all-null masks
select id from customers order by ssn, id desc;
-- / limit after a masked order
select id from customers order by email, id limit 5 offset 3;
-- / FETCH FIRST WITH TIES
select id, iban from customers order by iban fetch first 3 rows with ties;
-- / incremental sort
set local enable_seqscan = off;
select city, email, id from customers order by city, email, id;
-- / the smallest and the largest
select min(email), max(email), min(iban), max(ssn), min(born), max(credit) from customers;
-- / by a whole row
select id from customers as c order by c;
-- / a limit that is read
select id from customers order by email, id limit (select count(*) / 4 from customers where email like '%@%');

-- # Distinct
-- / distinct masked values
select distinct iban from customers;
-- / distinct on a masked column
select distinct on (iban) iban, id from customers order by iban, id;
-- / distinct on an expression
select distinct on (left(email, 1)) left(email, 1), id, email from customers order by left(email, 1), id;
-- / count distinct
select count(distinct email), count(distinct iban), count(distinct ssn), count(distinct member), count(email), count(ssn) from customers;
-- / distinct rows
select distinct email, city from customers;
-- / distinct whole rows
select count(*) from (select distinct c from customers as c) as d;

-- # Rows, arrays and composites
-- / a whole row
select c from customers as c order by id;
-- / a whole row as text
select c::text from customers as c order by id;
-- / row_to_json
select row_to_json(c) from customers as c order by id;
-- / to_jsonb of a row and its members
select to_jsonb(c) -> 'email', to_jsonb(c) ->> 'ssn', to_jsonb(o) from customers as c join orders as o on o.customer_id = c.id order by o.id;
-- / json_agg of rows
select json_agg(c order by c.id) from customers as c;
-- / jsonb_object_agg
select jsonb_object_agg(id, iban) from customers;
-- / ROW of columns
select row(id, email, ssn), (id, iban)::text from customers order by id;
-- / a row's column
select (c).email, (c).ssn from customers as c order by (c).id;
-- / a row taken apart
select (c).* from customers as c order by (c).id;
-- / rows compared
select a.id, b.id from customers as a, customers as b where a = b order by 1, 2;
-- / rows compared with record operators
select a.id, b.id from staff as a join staff as b on a < b order by 1, 2;
-- / whether a row is null
select id, c is null, c is not null from customers as c order by id;
-- / whether an outer row is null
select o.id, c is null, c is not null, c from orders as o left join customers as c on c.id = o.customer_id and c.id < 5 order by o.id;
-- / arrays of masked values
select id, array[email, iban, ssn], array[[email], [iban]] from customers order by id;
-- / array_agg and slices
select (array_agg(email order by id))[2:5], array_agg(ssn order by id) from customers;
-- / ARRAY of a query
select array(select iban from customers order by id);
-- / array of rows
select array_agg(s order by s.id) from staff as s;
-- / unnest of an aggregate
select u from (select array_agg(email) as a from customers) as x, unnest(a) as u;
-- / array operators
select id, array[iban] && array['DE89****0021', 'PT50****0021'], array[email] @> array['ada.b***@example.com'], array_position(array[iban, email], 'DE89****0021') from customers order by id;
-- / array_to_string and string_to_array
select array_to_string(array[email, ssn, iban], ',', 'NULL'), string_to_array(email, '@') from customers order by id;
-- / a record that a function makes
select r from (select row_to_json(x) as r from (select id, email, ssn from customers order by id) as x) as y;
-- / json_populate_record
select (json_populate_record(null::customers, json_build_object('id', id, 'email', email))).email from customers order by id;
-- / json_to_recordset
select * from json_to_recordset((select json_agg(json_build_object('e', email) order by id) from customers)) as x (e text);
-- / jsonb_each of a row
select c.id, e.key, e.value from customers as c, jsonb_each(to_jsonb(c)) as e order by c.id, e.key;
-- / jsonb_path_query
select jsonb_path_query(to_jsonb(c), '$.* ? (@ starts with "a")') from customers as c order by id, 1;
-- / a row in a row
select row(c, c.email) from customers as c order by id;
-- / a row constructor of the table's type
select row(id, name, city, email, iban, ssn, member, born, credit, joined, profile, tags)::customers from customers order by id;
-- / hash of a row
select count(distinct hash_record_extended(row(email, iban), 0)) from customers;
-- / jsonb_set of a row
select jsonb_set(to_jsonb(s), '{name}', to_jsonb(s.email)) from staff as s order by id;

-- # Partitions, inheritance, samples
-- / a partitioned table
select * from visits order by id;
-- / one partition
select * from visits_2025 order by id;
-- / partition pruning
select who, address from visits where at >= date '2025-01-01' and who like 'vis%' order by id;
-- / a masked aggregate over partitions
select who, count(*), min(address) from visits group by who order by who;
-- / partitionwise aggregate
set local enable_partitionwise_aggregate = on;
select at, who, count(*) from visits group by at, who order by at, who;
-- / partitionwise join
set local enable_partitionwise_join = on;
select a.id, b.who from visits as a join visits as b on a.at = b.at and a.who = b.who order by 1, 2;
-- / whole rows of a partitioned table
select v from visits as v order by id;
-- / whole rows of a partition whose columns stand otherwise
select v, to_jsonb(v) from visits_2025 as v order by id;
-- / an ordered append
select at, who from visits order by at, id limit 7;
-- / a parent with its children
select tableoid::regclass, * from things order by id;
-- / ONLY the parent
select * from only things order by id;
-- / a child
select * from machines order by id;
-- / a child's whole row as its parent's
select m::things from machines as m order by id;
-- / a parent's rows as text
select t::text from things as t order by id;
-- / a sample by rows
select id, email from customers tablesample bernoulli (50) repeatable (7) order by id;
-- / a sample by pages
select id, iban from customers tablesample system (100) repeatable (7) order by id;
-- / a sample with a filter on a masked column
select id from customers tablesample bernoulli (60) repeatable (3) where email like 'a%' order by id;
-- / row security beside masks
select * from memos order by id;
-- / row security and a filter on a masked column
select id from memos where body like 'memo%' order by body;

-- # Parallel
-- / a parallel scan
set local parallel_setup_cost = 0;
set local parallel_tuple_cost = 0;
set local min_parallel_table_scan_size = 0;
select count(*), count(distinct email), min(iban) from customers where email is not null;
-- / a parallel join
set local parallel_setup_cost = 0;
set local parallel_tuple_cost = 0;
set local min_parallel_table_scan_size = 0;
select o.card, c.email from orders as o join customers as c on c.id = o.customer_id where c.iban like 'D%';
-- / a parallel aggregate by a masked column
set local parallel_setup_cost = 0;
set local parallel_tuple_cost = 0;
set local min_parallel_table_scan_size = 0;
select iban, count(*) from customers group by iban order by iban;
-- / gather merge by a masked column
set local parallel_setup_cost = 0;
set local parallel_tuple_cost = 0;
set local min_parallel_table_scan_size = 0;
set local enable_hashagg = off;
select card, count(*) from orders group by card order by card;
-- / a parallel append
set local parallel_setup_cost = 0;
set local parallel_tuple_cost = 0;
set local min_parallel_table_scan_size = 0;
select who, count(*) from visits where who > 'v' group by who;
-- / a parallel hash join
set local parallel_setup_cost = 0;
set local parallel_tuple_cost = 0;
set local min_parallel_table_scan_size = 0;
set local enable_mergejoin = off;
set local enable_nestloop = off;
select count(*), count(a.iban) from customers as a join customers as b on a.iban = b.iban;
