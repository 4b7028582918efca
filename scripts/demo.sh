#!/usr/bin/env bash
# What pg_custodian does, in a minute of reading, on a throwaway server: scripts/demo.sh 15
#
# Every step shows the statement and the server's own answer, and checks it: if one does not
# behave as it says, this ends there and exits with 1. Nothing stays behind.
set -euo pipefail
source "$(dirname "$0")/env.sh"

major=${1:-15}
bin=$("$(pg_config_of "$major")" --bindir)
here=$(as_postgres mktemp -d "${TMPDIR:-/tmp}/pg_custodian-demo.XXXXXX")
as_postgres chmod 755 "$here"
keys=$(mktemp -d)
cleanup() {
    as_postgres "$bin/pg_ctl" -D "$here/data" -s -m immediate stop >/dev/null 2>&1 || true
    rm -rf "$here" "$keys"
}
trap cleanup EXIT

if [ -t 1 ]; then bold=$'\033[1m' dim=$'\033[2m' green=$'\033[32m' plain=$'\033[0m'; else bold='' dim='' green='' plain=''; fi
number=0
started=$SECONDS
step() { number=$((number + 1)) && printf '\n%s%d. %s%s\n' "$bold" "$number" "$*" "$plain"; }
note() { printf '%s   %s%s\n' "$dim" "$*" "$plain"; }
show() { printf '   %s%s%s\n' "$green" "$1" "$plain" && printf '%s\n' "$2" | sed '/^$/d; s/^/     /'; }
fail() {
    printf '\nThis is not what the demo claims: %s\n' "$1" >&2
    tail -20 "$here/log" >&2
    exit 1
}

# ---- the server

start_server() {
    as_postgres "$bin/pg_ctl" -D "$here/data" -w -s -l "$here/log" start >/dev/null || fail 'the server starts'
}

make_server() {
    local checksums=()
    # Version 18 checks pages by itself; here the ledger's own chain is to find the edit.
    [ "$major" -lt 18 ] || checksums=(--no-data-checksums)
    as_postgres "$bin/initdb" -D "$here/data" -U postgres -A trust --no-sync -E UTF8 --locale=C ${checksums[@]+"${checksums[@]}"} >/dev/null
    cat >>"$here/data/postgresql.conf" <<-CONF
	shared_preload_libraries = 'pg_custodian'
	listen_addresses = ''
	unix_socket_directories = '$here'
	fsync = off
	CONF
    # The shared login has a password, as everywhere.
    sed -i '1i local all readonly scram-sha-256' "$here/data/pg_hba.conf"
    start_server
}

psql_as() {
    local role=$1
    shift
    PGOPTIONS='' PGPASSWORD=$password "$bin/psql" -X -q -h "$here" -U "$role" -d shop -v VERBOSITY=default \
        -v ON_ERROR_STOP=1 -P footer=off -P null=NULL "$@"
}

# ---- the identity provider: a key made on the spot, tokens signed with openssl

base64url() { openssl base64 -A | tr '+/' '-_' | tr -d '='; }

make_issuer() {
    openssl genrsa -out "$keys/key.pem" 2048 2>/dev/null
    local modulus
    modulus=$(openssl rsa -in "$keys/key.pem" -noout -modulus | sed 's/.*=//' | hex_to_bytes | base64url)
    jwks="{\"keys\":[{\"kty\":\"RSA\",\"kid\":\"demo\",\"use\":\"sig\",\"alg\":\"RS256\",\"n\":\"$modulus\",\"e\":\"AQAB\"}]}"
}

# printf understands \xNN, which saves us a tool.
hex_to_bytes() { printf "$(sed 's/../\\x&/g')"; }

token_for() {
    local now head claims
    now=$(date +%s)
    head=$(printf '{"alg":"RS256","typ":"JWT","kid":"demo"}' | base64url)
    claims=$(printf '{"iss":"https://id.shop.example","aud":"pg_custodian","sub":"%s","email":"%s@shop.example","groups":["%s"],"iat":%d,"exp":%d,"jti":"%s"}' \
        "$1" "$1" "$2" "$now" $((now + 900)) "$(openssl rand -hex 8)" | base64url)
    printf '%s.%s.%s' "$head" "$claims" \
        "$(printf '%s.%s' "$head" "$claims" | openssl dgst -sha256 -sign "$keys/key.pem" | base64url)"
}

# ---- who runs what: each of these shows the statement, leaves the answer in $said

# A session of the shared login in which a person says who he is, then runs one string.
person() {
    local who=$1 group=$2 statement=$3 token ok=true
    token=$(token_for "$who" "$group")
    said=$(psql_as readonly 2>&1 <<-SQL
	\\o /dev/null
	select custodian.set_identity('$token');
	\\o
	$statement
	SQL
    ) || ok=false
    show "$who on readonly> $statement" "$said"
    "$ok"
}

somebody() {
    local ok=true
    said=$(psql_as readonly -c "$1" 2>&1) || ok=false
    show "readonly> $1" "$said"
    "$ok"
}

superuser() {
    local ok=true
    said=$(psql_as postgres -c "$1" 2>&1) || ok=false
    show "superuser> $1" "$said"
    "$ok"
}

quietly() { psql_as postgres -A -t "$@" </dev/null; }
must() { "$@" || fail "refused: ${*: -1}"; }
must_fail() { if "$@"; then fail "not refused: ${*: -1}"; fi; }
says() { [[ $said == *"$1"* ]] || fail "the answer does not say: $1"; }
says_not() { [[ $said != *"$1"* ]] || fail "the answer says: $1"; }

make_data() {
    "$bin/psql" -X -q -h "$here" -U postgres -d postgres -c 'create database shop'
    psql_as postgres >/dev/null <<-SQL
	create extension pg_custodian;
	create table customers (id int primary key, name text, email text, iban text, ssn text, date_of_birth date);
	insert into customers values
	    (1, 'Ada Winter', 'ada.winter@example.com', 'DE89370400440532013000', '078-05-1120', '1984-03-11'),
	    (2, 'Bruno Costa', 'bruno.costa@example.com', 'PT50000201231234567890154', '219-09-9999', '1990-07-02'),
	    (3, 'Chioma Eze', 'chioma.eze@example.com', 'GB29NWBK60161331926819', '457-55-5462', '1977-12-24');
	create table orders (id int primary key, customer_id int references customers, amount numeric(8, 2), placed date);
	insert into orders select n, 1 + n % 3, 10 + 7.5 * n, date '2026-03-01' + n from generate_series(1, 30) n;
	create role readonly login password '$password';
	grant select on orders to readonly;
	select custodian.trust_issuer('https://id.shop.example', '$jwks', array['pg_custodian']);
	select mask.protect('customers', 'iban', 'partial(4, ''**************'', 4)', reveal_to => array['support']);
	select mask.protect('customers', 'ssn', 'null_value');
	select mask.protect('customers', 'email', 'email', reveal_to => array['support']);
	select mask.protect('customers', 'date_of_birth', 'null_value', reveal_to => array['support']);
	select mask.generate_view('customers');
	grant usage on schema masked to readonly;
	grant select on masked.customers to readonly;
	select custodian.enroll('readonly', 'identify');
	SQL
}

password=$(openssl rand -hex 12)
make_issuer
make_server
make_data

printf '%sA shop. Its whole team uses one login, "readonly", whose password is in many places.%s\n' "$bold" "$plain"
note "customers: iban and email are shown to the group support only, ssn to nobody."

step 'The password alone is worth nothing.'
must_fail somebody 'select * from orders limit 1'
says 'ERROR'
code=$(psql_as readonly -v VERBOSITY=sqlstate -c 'select now()' 2>&1 || true)
[[ $code == *28000* ]] || fail "SQLSTATE 28000, not: $code"

step 'Alice (support) and Bob (analytics) each present a token signed by the company. Same role, different eyes.'
must person alice support 'select * from masked.customers;'
says DE89370400440532013000
says ada.winter@example.com
says_not 078-05-1120
must person bob analytics 'select * from masked.customers;'
says 'DE89**************3000'
says_not DE89370400440532013000
says_not ada.winter@example.com

step 'One step up the ladder: no table without a live grant. The refusal says how to ask.'
must superuser "select custodian.enroll('readonly', 'govern')"
must_fail person bob analytics 'select iban from masked.customers where id = 1 /* refused */;'
says 'HINT'
says 'access.request_access('

step 'Bob has a ticket: he gets the table in clear, for three seconds.'
must superuser "select access.grant_access('bob', array['select','reveal'], 'TABLE public.customers', '3 s', 'ticket SUP-4711')"
granted=$SECONDS
must person bob analytics 'begin; select name, iban from masked.customers where id = 1 /* rolled back */; rollback;'
says DE89370400440532013000
sleep $((4 - (SECONDS - granted) > 0 ? 4 - (SECONDS - granted) : 0))
note 'four seconds later'
must_fail person bob analytics 'select name, iban from masked.customers where id = 1;'
says 'HINT'

step 'All of it is in the ledger, under the right name: the refused statement, and the one rolled back.'
quietly -c 'select audit.sync()' >/dev/null
must superuser "select user_id, outcome, rows, fields, statement from audit.statements where user_id = 'bob' and class = 'READ' and command = 'SELECT' and statement like '%customers%' order by seq"
trail=$(quietly -F ' ' -c "select user_id, outcome, coalesce(fields ->> 'iban', '-'), statement from audit.statements")
grep -q '^bob denied .*/\* refused \*/' <<<"$trail" || fail 'the refused statement is in the ledger as denied'
grep -q '^bob ok revealed .*/\* rolled back \*/' <<<"$trail" || fail 'the rolled-back statement is in the ledger, iban revealed'
grep -q '^bob ok masked ' <<<"$trail" || fail 'the masked read is in the ledger, iban masked'
grep -q '^alice ok revealed ' <<<"$trail" || fail "Alice's read is in the ledger"

step 'Nobody rewrites it, the superuser included.'
must_fail superuser "update audit.ledger set user_id = 'alice' where user_id = 'bob'"
says 'ERROR'
must_fail superuser "set session_replication_role = replica; delete from audit.ledger"
says 'ERROR'
quietly -c 'select audit.sync()' >/dev/null
must superuser 'select ok, rows from audit.verify()'
[ "$(quietly -c 'select ok from audit.verify()')" = t ] || fail 'the chain holds'

step 'And who goes below SQL is found out: we stop the server and edit the table'"'"'s file.'
as_postgres "$bin/pg_ctl" -D "$here/data" -w -s -m fast stop
edited=
while read -r file; do
    offset=$(grep -obUaF '/* refused */' "$file" | head -1 | cut -d: -f1 || true)
    [ -n "$offset" ] || continue
    printf '/* allowed */' | dd of="$file" bs=1 seek="$offset" conv=notrunc status=none
    edited=$file
    break
done < <(find "$here/data/base" -type f -size +0 -exec grep -lUaF '/* refused */' {} +)
[ -n "$edited" ] || fail 'the statement is in a file of the database'
show 'sed s/refused/allowed/' "${edited#"$here/"}"
start_server
must superuser 'select ok, first_bad, problem from audit.verify()'
report=$(quietly -F ' ' -c 'select ok, first_bad from audit.verify()')
[[ $report == 'f '[0-9]* ]] || fail "verify names the edited row: $report"
must superuser "select seq, user_id, statement from audit.statements where seq = ${report#f }"
says '/* allowed */'

printf '\n%sEvery step behaved as claimed (%d s).%s\n' "$bold" $((SECONDS - started)) "$plain"
