-- The session that tests/clients.rs expects of every client, as psql does it. A line such as @alice@ stands for
-- the documented way to identify with this version of psql. Whatever has no label belongs to the label before.

\set alice `printenv PGC_ALICE`
\set bob `printenv PGC_BOB`
\set carol `printenv PGC_CAROL`
\set forged `printenv PGC_FORGED`
\set iban 'from masked.customers where id = 1'
\set whoami 'select custodian.user_id();'
\set four 'execute psql_shared(1); execute psql_shared(2); execute psql_shared(3); execute psql_shared(4);'
\pset null null

\echo 'connected	ok'
\echo -n 'nobody	'
select iban as psql_nobody :iban;
\echo :SQLSTATE
@alice@
\echo -n 'identified	'
:whoami
\echo -n 'alice	'
select iban as psql_alice_reads :iban;
prepare psql_shared(bigint) as select iban as psql_shared from masked.customers where id = $1;
\echo -n 'prepared	'
:four
:four
begin;
\echo -n 'in transaction	'
select iban as psql_alice_rolls_back :iban;
rollback;
\echo -n 'rolled back	'
:whoami
begin;
\echo -n 'fails	'
select 1/0 as psql_alice_fails;
\echo :SQLSTATE
\echo -n 'aborted	'
:whoami
\echo :SQLSTATE
rollback;
\echo -n 'failed	'
:whoami
@bob@
\echo -n 'bob	'
select iban as psql_bob_reads :iban;
\echo -n 'prepared	'
:four
:four
@carol@
\echo -n 'carol	'
select iban as psql_carol_reads :iban;
\if :ERROR
\echo :SQLSTATE
\endif
\echo -n 'forged	'
@forged@
\echo :SQLSTATE
\echo -n 'after forged	'
select iban as psql_nobody_after :iban;
\echo :SQLSTATE

-- psql has no pool; one connection goes from hand to hand.
discard all;
@alice@
prepare psql_shared(bigint) as select iban as psql_shared from masked.customers where id = $1;
\echo -n 'pool alice	'
select iban as psql_alice_in_pool :iban;
\echo -n '	'
:four
:four
select custodian.clear_identity() \g /dev/null
\echo -n 'pool nobody	'
select iban as psql_nobody_in_pool :iban;
\echo :SQLSTATE
@bob@
\echo -n 'pool bob	'
select iban as psql_bob_in_pool :iban;
\echo -n '	'
:four
:four
discard all;
begin;
@alice, for_transaction => true@
\echo -n 'transaction alice	'
select iban as psql_alice_for_transaction :iban;
commit;
\echo -n 'transaction nobody	'
select iban as psql_nobody_for_transaction :iban;
\echo :SQLSTATE
