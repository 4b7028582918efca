-- # Views
-- / of one layer
select * from contacts order by id;
-- / of two layers
select * from turin order by id;
-- / of three layers
select * from turin_emails order by 1;
-- / a filter on a view's masked column
select id from contacts where email like 'a%' and iban > 'E' order by id;
-- / a barrier
select * from guarded order by id;
-- / a barrier and a function
select id from guarded where twice(email) like '%a%' order by id;
-- / aggregates in a view
select * from totals order by city;
-- / a union in a view
select * from card_or_email order by id, what;
-- / a recursive view
select * from ranks order by id;
-- / a view's whole row
select v, to_jsonb(v) from contacts as v order by id;
-- / views joined
select t.email, g.ssn from turin as t join guarded as g on g.email = t.email order by t.id, g.id;
-- / a view with CHECK OPTION
select * from checked order by id;
-- / a temporary view
create temp view mine as select id, email, ssn from customers;
select * from mine order by id;
-- / a temporary view over a view
create temp view mine as select * from turin;
create temp view mine2 as select email || '!' as e from mine;
select * from mine2 order by 1;
-- / a temporary view with a probe
create temp view mine as select id from customers where iban = 'GB29SECRET200140021';
select * from mine;
-- / a security invoker view
-- since 15
create temp view mine with (security_invoker) as select id, email, iban from customers;
select * from mine order by id;
-- / a security invoker view over another
-- since 15
create temp view mine with (security_invoker) as select id, email, iban from contacts;
create temp view mine2 with (security_invoker, security_barrier) as select * from mine where iban > 'E';
select * from mine2 where email like '%@%' order by id;
-- / a view of one's own schema
create view lab.mine as select id, ssn, profile from public.customers;
select * from lab.mine order by id;
-- / a recursive temporary view
create temp recursive view up (id, e) as select id, email::text from staff where id = 1 union all select s.id, up.e || s.email from staff as s join up on s.manager_id = up.id;
select * from up order by id;
-- / an update through a view
update contacts set name = 'seen' where email like 'a%' returning *;
-- / an update through two views
update turin set name = 'seen' where id > 3 returning *;
-- / an update through a barrier
update guarded set name = 'seen' where ssn is null returning id, name, ssn;
-- / an update through a barrier that probes
update guarded set name = 'seen' where ssn = '91-55-5031' returning id;
-- / a delete through a view
delete from checked where email like 'b%' and not exists (select from orders where customer_id = checked.id) returning *;
-- / an insert through a view
insert into contacts (id, name, email, iban, city) values (100, 'New', 'new.comer@example.com', 'DE89SECRET0000021', 'Graz') returning *;
-- / an insert against a CHECK OPTION
insert into checked (id, name, city, email) values (100, 'New', 'Graz', 'new.comer@example.com');
-- / a view's columns by pg_get_viewdef
select pg_get_viewdef('turin'::regclass);
