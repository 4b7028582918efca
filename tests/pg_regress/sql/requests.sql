-- A day with requests: who asks, who decides, what is on file. Names and tokens are made on the spot.

create table public.orders as select n as id, n * 10 as amount from generate_series(1, 3) as n;
create table public.customers (id int, iban text);
insert into public.customers values (1, 'DE89370400440532013000');
select mask.protect('public.customers', 'iban', 'null_value');

-- An issuer with a shared secret, and tokens of four people.
select encode(sha256(convert_to(gen_random_uuid()::text, 'UTF8')), 'hex') as secret \gset
create function pg_temp.url(bytes bytea) returns text language sql
    return translate(encode(bytes, 'base64'), E'+/=\n', '-_');
create function pg_temp.pad(key text, byte int) returns bytea language sql return (
    select string_agg(set_byte('\x00', 0, byte # case when n <= length(key) then ascii(substr(key, n, 1)) else 0 end), ''::bytea order by n)
    from generate_series(1, 64) as n);
create function pg_temp.token(key text, person text, groups text[]) returns text language sql return (
    select m.message || '.' || pg_temp.url(sha256(pg_temp.pad(key, 92) || sha256(pg_temp.pad(key, 54) || convert_to(m.message, 'UTF8'))))
    from (select pg_temp.url('{"alg":"HS256"}') || '.' || pg_temp.url(convert_to(json_build_object(
        'iss', 'https://id.example', 'aud', 'shop', 'sub', person, 'email', person || '@example.com', 'groups', groups,
        'iat', floor(extract(epoch from now())), 'exp', floor(extract(epoch from now())) + 600,
        'jti', gen_random_uuid())::text, 'UTF8')) as message) as m);
select custodian.trust_issuer('https://id.example',
    json_build_object('keys', json_build_array(json_build_object('kty', 'oct', 'alg', 'HS256', 'k', pg_temp.url(convert_to(:'secret', 'UTF8')))))::jsonb,
    array['shop'], array['HS256']);
select pg_temp.token(:'secret', 'bob', array['shop-team']) as bob,
       pg_temp.token(:'secret', 'carl', array['shop-team']) as carl,
       pg_temp.token(:'secret', 'dora', array['dba']) as dora,
       pg_temp.token(:'secret', 'max', array['shop-managers']) as max \gset

create role shop_login login;
grant select, update on public.orders, public.customers to shop_login;
select custodian.enroll('shop_login', 'govern');

-- The rules: at once, by one, by two.
select access.set_rule('reads', 'automatic', asker_group => 'shop-team', sensitivity => 'unprotected', longest => '4 hours', priority => 10);
select access.set_rule('personal data', 'one approver', on_object => 'TABLE *', privileges => array['select', 'reveal'], longest => '1 hour', approver_groups => array['dba', 'security'], priority => 20);
select access.set_rule('writes', 'two approvers', privileges => array['select', 'update'], longest => '2 hours', approver_groups => array['shop-team', 'shop-managers'], priority => 30);
select name, decision, on_object, privileges, asker_group, sensitivity, longest, approver_groups, set_by from access.rules;
-- What is wrong with a rule is said.
select access.set_rule('r', 'perhaps');
select access.set_rule('r', 'automatic', time_zone => 'Mars/Olympus');
select access.set_rule('r', 'automatic', from_time => '18:00', until_time => '8:00');
select access.set_rule('r', 'automatic', days => array[0]);
select access.set_rule('r', 'automatic', on_object => 'orders');
select access.set_rule('r', 'automatic', approver_groups => array['dba']);
select access.set_rule('r', 'two approvers', approver_groups => array['dba']);
select access.set_rule('r', 'automatic', longest => '-1 hour');

\c - shop_login
select (custodian.set_identity(:'bob')).user_id;
-- Refused, asked for, granted.
select count(*) from public.orders;
select state, rule, decision, approved_by from access.request_access(array['select'], 'TABLE public.orders', '1 hour', 'count them');
select count(*) from public.orders;
-- Not at once: protected, or written to.
select id, state, rule, approver_groups from access.request_access(array['select'], 'TABLE public.customers', '1 hour', 'refund', ticket => 'SUP-1');
select id, state, rule, approver_groups from access.request_access(array['update'], 'TABLE public.orders', '1 hour', 'correct an amount');
-- Not at all.
select access.request_access(array['export'], 'TABLE public.orders', '1 hour', 'x');
select access.request_access(array['select'], 'TABLE public.customers', '3 hours', 'x');
select access.approve(2, 'I am sure');

select (custodian.set_identity(:'carl')).user_id;
select id, user_id, privileges, object, duration, reason, approved_by from access.pending_approvals;
select access.approve(2, 'not my business');
select state, approved_by from access.approve(3, 'seen the ticket');
select access.approve(3, 'once more');
select (custodian.set_identity(:'max')).user_id;
select state, approved_by from access.approve(3, 'go on');
select (custodian.set_identity(:'dora')).user_id;
select state, rejected_by, comment from access.reject(2, 'use the masked view');
select access.approve(2, 'changed my mind');
select access.break_glass('INC-1', 'curious');

select (custodian.set_identity(:'bob')).user_id;
update public.orders set amount = 11 where id = 1 returning amount;
select id, object, state, approved_by, rejected_by, comment, grant_id from access.my_requests order by id;
select access.cancel(3);
select access.cancel(99);
select * from access.requests;

-- What is on record.
\c - postgres
select audit.sync();
select user_id, detail ->> 'action' as action, detail -> 'request' as request, detail -> 'grant' as "grant",
       detail ->> 'rule' as rule, detail ->> 'comment' as comment
from audit.events where event = 'request' order by seq;
select a ->> 'user_id' as approver, a -> 'as' as "as", a ? 'token_id' as token
from audit.events as e, jsonb_array_elements(e.detail -> 'approvals') as a
where e.event = 'request' and e.detail ->> 'action' = 'grant' order by e.seq, a ->> 'at';
select user_id, sqlstate, what from audit.denials where event = 'statement' and what like '%access.%' order by seq;
drop owned by shop_login;
drop role shop_login;
