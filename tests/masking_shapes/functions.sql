-- # Functions
-- / an SQL function, STABLE, inlined
select id, email_of(id) from customers order by id;
-- / an SQL function, VOLATILE
select id, email_of_volatile(id) from customers order by id;
-- / an SQL function that says IMMUTABLE
select id, email_of_immutable(id) from customers order by id;
-- / an IMMUTABLE function of a constant
select email_of_immutable(3), email_of_immutable(5);
-- / a function of a parsed body
select id, atomic(id) from customers order by id;
-- / a set-returning SQL function, inlined
select * from emails_in('Turin') as e order by 1;
-- / a set-returning SQL function with a filter
select * from emails_in('Turin') as e (email) where email > 'c' order by 1;
-- / a set-returning function of rows
select * from customers_in('Lisbon') order by id;
-- / the same in the select list
select customers_in('Lisbon');
-- / one column of its rows
select (customers_in('Turin')).email;
-- / RETURNS TABLE
select * from pairs() order by id;
-- / a lateral set-returning function
select c.name, e.e from cities as c, emails_in(c.name) as e (e) order by 1, 2;
-- / WITH ORDINALITY over an inlined function
select * from emails_in('Turin') with ordinality as e (email, n) order by n;
-- / a set-returning function under an outer join
select c.name, e.id, e.email from cities as c left join customers_in(c.name) as e on true order by 1, 2;
-- / a whole row of a set-returning function
select e, e.ssn from customers_in('Ghent') as e order by e.id;
-- / ROWS FROM over two of them
select * from rows from (emails_in('Turin'), emails_in('Ghent')) as r (a, b);
-- / a PL/pgSQL function
select id, plpgsql_email(id) from customers order by id;
-- / a PL/pgSQL row
select (plpgsql_row(4)).email, plpgsql_row(5);
-- / a PL/pgSQL loop
select * from plpgsql_loop();
-- / RETURN QUERY
select * from plpgsql_query() order by 1;
-- / dynamic SQL
select plpgsql_dynamic('email', 3), plpgsql_dynamic('ssn', 3), plpgsql_dynamic('iban', 3);
-- / a PL/pgSQL cursor
select plpgsql_cursor();
-- / a cursor that a function hands out
select refcursor('handed');
fetch all from handed;
-- / SECURITY DEFINER, SQL
select id, definer(id) from customers order by id;
-- / SECURITY DEFINER, PL/pgSQL
select id, definer_plpgsql(id) from customers order by id;
-- / SECURITY DEFINER, a set
select * from definer_set('Turin') order by id;
-- / a function of a row
select id, has_email(c), shout(c) from customers as c order by id;
-- / the same as if it were a column
select id, c.shout, c.has_email from customers as c order by id;
-- / a PL/pgSQL function of a row
select whole(c) from customers as c order by id;
-- / a function of a masked value
select twice(email), twice(ssn) from customers order by id;
-- / functions in conditions
select id from customers as c where c.shout like 'A%' or email_of(id) = 'cda.d***@example.org' order by id;
-- / a function in an aggregate
select max(email_of(id)), glue(email_of(id) order by id) from customers;
-- / a procedure that reads
call read_into(3, null);
-- / a temporary function, IMMUTABLE
create function pg_temp.peek(int) returns text language sql immutable as 'select iban from public.customers where id = $1';
select pg_temp.peek(1), pg_temp.peek(2);
-- / a temporary function, a set
create function pg_temp.peek() returns setof text language sql stable as 'select ssn || iban || email from public.customers';
select * from pg_temp.peek();
-- / a temporary set-returning function of rows
create function pg_temp.peek() returns setof public.staff language sql stable as 'select * from public.staff';
select * from pg_temp.peek() where salary > 0;
select count(salary), max(email::text) from pg_temp.peek();
-- / a temporary function of a parsed body
create function pg_temp.peek() returns setof text language sql stable begin atomic select iban from public.customers; end;
select * from pg_temp.peek();
-- / a temporary PL/pgSQL function
create function pg_temp.peek(int) returns text language plpgsql as $$begin return (select c::text from public.customers as c where c.id = $1); end$$;
select pg_temp.peek(1);
-- / a polymorphic function
create function pg_temp.same(anyelement) returns anyelement language sql immutable as 'select $1';
select id, pg_temp.same(email), pg_temp.same(born), pg_temp.same(c) from customers as c order by id;
-- / a VARIADIC function
create function pg_temp.all_of(variadic text[]) returns text language sql immutable as 'select array_to_string($1, '','')';
select pg_temp.all_of(email, iban, ssn) from customers order by id;
-- / a function with defaults
create function pg_temp.d(a text, b text default 'b') returns text language sql immutable as 'select a || b';
select pg_temp.d(email), pg_temp.d(b => iban, a => email) from customers order by id;
-- / a DO block
do $$declare r record; begin for r in select id, email, ssn from customers order by id loop raise notice '% % %', r.id, r.email, r.ssn; end loop; end$$;
-- / a DO block with an exception
do $$begin perform iban::int from customers where id = 1; exception when others then raise notice '% %', sqlstate, sqlerrm; end$$;
-- / PERFORM and FOUND
do $$begin perform from customers where email = 'ada.b***@example.com'; raise notice '%', found; end$$;
-- / STRICT
do $$declare e text; begin select email into strict e from customers where email like 'zz%'; end$$;
-- / ASSERT and CASE in PL/pgSQL
do $$declare c public.customers; begin select * into c from customers where id = 2; case when c.email like '%@%' then raise notice 'mail'; else raise notice 'none'; end case; end$$;
-- / GET DIAGNOSTICS
do $$declare n int; begin perform from customers where iban like 'D%'; get diagnostics n = row_count; raise notice '%', n; end$$;
-- / EXECUTE ... INTO ... USING
do $$declare e text; begin execute 'select email from customers where id = $1' into e using 4; raise notice '%', e; end$$;
-- / an array of rows in PL/pgSQL
do $$declare a public.customers[]; begin select array_agg(c order by c.id) into a from customers as c; raise notice '%', a[3].email; end$$;
-- / FOREACH
do $$declare e text; begin foreach e in array array(select iban from customers order by id) loop raise notice '%', e; end loop; end$$;
