#!/bin/sh
# Takes a shared role that is in use from one mode to the next, and looks before and after (docs/access.md):
#
#     adopt.sh [--window INTERVAL] [--watch SECONDS] [--refusals NUMBER] ROLE check|next|back
#
# check  says which mode the role is in, and what would be refused in the next one; changes nothing
# next   does that, and goes there if nothing would be: not enrolled, observe, identify, govern. Then it watches for
#        SECONDS (10), and if more than NUMBER (0) statements were refused it goes back at once
# back   goes one mode back
#
# What would be refused is told from what the ledger has of the last INTERVAL ('1 day'): take one in which everything
# ran that must go on. Which database, and as whom, say PGHOST, PGDATABASE, PGUSER, PGPASSFILE, PGSERVICE and the like; the role
# is a member of custodian_admin and custodian_auditor.
#
# Exits with 0 if all is well, with 1 if something is in the way or had to be taken back, with 2 if it is asked wrongly.

set -eu

window='1 day'
watch=10
refusals=0

usage() {
    echo 'usage: adopt.sh [--window INTERVAL] [--watch SECONDS] [--refusals NUMBER] ROLE check|next|back' >&2
    exit 2
}

while [ $# -gt 2 ]; do
    case $1 in
        --window) window=$2 ;;
        --watch) watch=$2 ;;
        --refusals) refusals=$2 ;;
        *) usage ;;
    esac
    shift 2
done
[ $# -eq 2 ] || usage
role=$1
case $watch$refusals in '' | *[!0-9]*) usage ;; esac

# ask SQL: one value, or rows of text. :'role', :'mode', :'window' and :'since' are what they say.
ask() {
    printf '%s\n' "$1" |
        psql -X -q -A -t -v ON_ERROR_STOP=1 -v "role=$role" -v "window=$window" -v "mode=${mode:-}" -v "since=${since:-now}"
}

# found WHAT ROWS: says what is in the way, if anything is.
found() {
    if [ -n "$2" ]; then
        printf '%s:\n' "$1"
        printf '%s\n' "$2" | sed 's/^/    /'
        in_the_way=yes
    fi
}

mode_of_role() {
    ask "SELECT coalesce((SELECT mode FROM custodian.enrolled_roles WHERE role = :'role'), 'not enrolled')"
}

before_observe() {
    found 'The role does not exist' \
        "$(ask "SELECT :'role' WHERE NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = :'role')")"
    # Nobody could refuse them anything.
    found 'Its rights are more than can be governed' \
        "$(ask "SELECT 'superuser' FROM pg_catalog.pg_roles WHERE rolname = :'role' AND rolsuper")"
    found 'The installation is not in order' \
        "$(ask "SELECT pg_catalog.format('%s: %s', s.check, s.detail) FROM custodian.status() AS s WHERE NOT s.ok")"
}

before_identify() {
    found 'No issuer of tokens is trusted' \
        "$(ask 'SELECT $$custodian.trust_issuer(...)$$ WHERE NOT EXISTS (SELECT FROM custodian.issuers)')"
    found "Came without a person within $window" "$(ask "
        SELECT pg_catalog.format('%s from %s: %s statements, last %s', coalesce(nullif(application, ''), '(no name)'),
                   client_addr, pg_catalog.count(*), pg_catalog.date_trunc('second', pg_catalog.max(at)))
        FROM audit.statements
        WHERE session_role::text = :'role' AND user_id IS NULL AND depth = 0 AND outcome = 'ok'
            AND class IN ('READ', 'WRITE', 'DDL')
            -- Drivers look types up before they identify, and may.
            AND EXISTS (SELECT FROM pg_catalog.unnest(objects) AS o(name) WHERE o.name NOT LIKE 'pg\_catalog.%')
            AND at > pg_catalog.clock_timestamp() - :'window'::pg_catalog.interval
        GROUP BY application, client_addr ORDER BY pg_catalog.count(*) DESC")"
    found 'Nothing was recorded of it, so nothing can be told' "$(ask "
        SELECT pg_catalog.format('within %s', :'window')
        WHERE NOT EXISTS (SELECT FROM audit.statements WHERE session_role::text = :'role'
                              AND at > pg_catalog.clock_timestamp() - :'window'::pg_catalog.interval)")"
}

before_govern() {
    found "Used within $window, and covered by no grant that is live" "$(ask "
        WITH used AS (
            SELECT o.user_id, o.name AS relation, pg_catalog.split_part(o.name, '.', 1) AS schema,
                   CASE WHEN o.command IN ('INSERT', 'UPDATE', 'DELETE', 'TRUNCATE') AND o.class = 'WRITE'
                        THEN pg_catalog.lower(o.command) ELSE 'select' END AS privilege,
                   pg_catalog.count(*) AS times
            FROM audit.objects AS o
            WHERE o.session_role::text = :'role' AND o.user_id IS NOT NULL AND o.outcome = 'ok'
                AND o.class IN ('READ', 'WRITE') AND o.name LIKE '%.%' AND o.type IN ('table', 'view', 'foreign table')
                AND o.at > pg_catalog.clock_timestamp() - :'window'::pg_catalog.interval
            GROUP BY 1, 2, 3, 4)
        SELECT pg_catalog.format('%s times: SELECT access.grant_access(%L, ARRAY[%L], %L, ''8 hours'', ''...'');',
                   u.times, u.user_id, u.privilege, 'TABLE ' || u.relation)
        FROM used AS u
        WHERE u.schema NOT IN ('pg_catalog', 'information_schema', 'custodian', 'access', 'mask', 'audit')
            AND u.schema NOT LIKE 'pg\_temp%'
            AND NOT EXISTS (
                SELECT FROM access.grants AS g
                WHERE g.live AND u.privilege = ANY (g.privileges)
                    -- Who is in a group, only tokens say.
                    AND (g.user_id = u.user_id OR g.group_name IS NOT NULL)
                    AND (g.object IN ('DATABASE', 'SCHEMA ' || u.schema, 'TABLE ' || u.relation)
                         OR g.object LIKE 'COLUMN ' || u.relation || '.%'
                         OR u.schema = 'masked' AND g.object LIKE 'TABLE %.' || pg_catalog.split_part(u.relation, '.', 2)))
        ORDER BY u.times DESC, 1")"
}

ask 'SELECT audit.sync()' >/dev/null
before=$(mode_of_role)
case $before in
    'not enrolled') next=observe previous= ;;
    observe) next=identify previous=unenroll ;;
    identify) next=govern previous=observe ;;
    govern) next='' previous=identify ;;
    *) usage ;;
esac

go() {
    mode=$1
    if [ "$mode" = unenroll ]; then
        ask "SELECT custodian.unenroll(:'role')" >/dev/null
    else
        ask "SELECT custodian.enroll(:'role', :'mode')" >/dev/null
    fi
    echo "$role: $(mode_of_role)"
}

case $2 in
    back)
        [ -n "$previous" ] || { echo "$role is not enrolled"; exit 1; }
        go "$previous"
        exit 0
        ;;
    check | next) ;;
    *) usage ;;
esac

echo "$role: $before"
[ -n "$next" ] || exit 0
in_the_way=no
"before_$next"
if [ "$in_the_way" = yes ]; then
    echo "Not ready for $next."
    exit 1
fi
echo "Ready for $next."
[ "$2" = next ] || exit 0

since=$(ask 'SELECT pg_catalog.clock_timestamp()')
go "$next"
sleep "$watch"
ask 'SELECT audit.sync()' >/dev/null
refused=$(ask "SELECT pg_catalog.format('%s, %s: %s', coalesce(user_id, 'nobody'), sqlstate, pg_catalog.left(what, 100))
               FROM audit.denials WHERE session_role::text = :'role' AND at >= :'since' ORDER BY seq")
count=$(printf '%s' "$refused" | grep -c . || true)
if [ "$count" -gt "$refusals" ]; then
    found "Refused within $watch s" "$refused"
    case $before in 'not enrolled') go unenroll ;; *) go "$before" ;; esac
    exit 1
fi
echo "Within $watch s $count statements were refused."
