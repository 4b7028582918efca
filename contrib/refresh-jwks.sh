#!/bin/sh
# Keeps the keys of a trusted issuer current. The database fetches nothing itself; cron or a systemd timer runs this,
# on any machine that reaches both (docs/jwks.md):
#
#     refresh-jwks.sh [--loopback-http] ISSUER [JWKS_URL]
#
# ISSUER is the name it is trusted by. Without JWKS_URL the issuer's OpenID configuration tells it. Which database,
# and as whom, say PGHOST, PGDATABASE, PGUSER, PGPASSFILE, PGSERVICE and the like.
#
# Calls custodian.rotate_keys if the published keys are not the registered ones, and says so. Says nothing and exits
# with 0 if they are. Whatever goes wrong, it says what, exits with 1 and changes nothing: the keys that were good
# before go on being good. --loopback-http permits http to this machine, for tests.

set -eu

fail() {
    printf 'refresh-jwks: %s\n' "$*" >&2
    exit 1
}

loopback=no
if [ "${1:-}" = --loopback-http ]; then
    loopback=yes
    shift
fi
if [ $# -lt 1 ] || [ $# -gt 2 ]; then
    fail 'usage: refresh-jwks.sh [--loopback-http] ISSUER [JWKS_URL]'
fi
issuer=$1

work=$(mktemp -d) || fail 'cannot make a temporary directory'
trap 'rm -rf "$work"' EXIT
trap 'exit 1' HUP INT TERM
DOCUMENT=$work/document
export DOCUMENT

# fetch URL: into $DOCUMENT. What is fetched decides who may pass for whom, so it comes by https, without redirects.
fetch() {
    case $1 in
        *@*) fail "$1 carries a user name, which URLs of keys do not" ;;
        https://?*) protocol='=https' ;;
        http://127.0.0.1[:/]* | http://localhost[:/]* | 'http://[::1]'[:/]*)
            [ $loopback = yes ] || fail "$1 is not https"
            protocol='=http'
            ;;
        *) fail "$1 is not https" ;;
    esac
    # No key set is longer than a mebibyte; ulimit holds for answers that do not say how long they are.
    status=$(
        ulimit -f 2048
        curl -q --silent --show-error --globoff --proto "$protocol" --max-redirs 0 --connect-timeout 10 --max-time 60 \
            --max-filesize 1048576 --output "$DOCUMENT" --write-out '%{http_code}' -- "$1"
    ) || fail "cannot fetch $1"
    [ "$status" = 200 ] || fail "$1 answers with status $status"
    [ -s "$DOCUMENT" ] || fail "$1 answers with nothing"
}

# ask: runs the query on standard input. The document comes as a psql variable and is quoted by psql.
ask() {
    { printf '%s\n' '\set document `cat "$DOCUMENT"`' && cat; } |
        psql -X -q -A -t -w -v ON_ERROR_STOP=1 -v issuer="$issuer" -f -
}

if [ $# = 2 ]; then
    url=$2
else
    configuration=${issuer%/}/.well-known/openid-configuration
    fetch "$configuration"
    # OpenID Connect Discovery 4.3: the configuration must be that of the issuer asked for.
    url=$(
        ask <<'SQL'
SELECT d.document ->> 'jwks_uri' FROM (SELECT :'document'::pg_catalog.jsonb) AS d (document)
WHERE d.document ->> 'issuer' OPERATOR(pg_catalog.=) :'issuer';
SQL
    ) || fail "cannot read $configuration"
    [ -n "$url" ] || fail "$configuration is not the configuration of $issuer, or names no jwks_uri"
fi

fetch "$url"
state=$(
    ask <<'SQL'
SELECT CASE
    WHEN pg_catalog.jsonb_path_exists(d.document, 'strict $.keys[0]', silent => true) IS NOT TRUE THEN 'empty'
    WHEN i.issuer IS NULL THEN 'unknown'
    WHEN i.jwks_sha256 IS NULL THEN 'secret'
    WHEN i.jwks_sha256 OPERATOR(pg_catalog.=)
        pg_catalog.encode(pg_catalog.sha256(pg_catalog.convert_to(d.document::text, 'UTF8')), 'hex') THEN 'current'
    ELSE 'new' END
FROM (SELECT :'document'::pg_catalog.jsonb) AS d (document)
LEFT JOIN custodian.issuers AS i ON i.issuer OPERATOR(pg_catalog.=) :'issuer';
SQL
) || fail "cannot compare $url with the registered keys"

case $state in
    current) exit 0 ;;
    new) ;;
    empty) fail "$url holds no keys" ;;
    unknown) fail "the database does not trust $issuer" ;;
    secret) fail "$issuer signs with a shared secret, which nobody publishes" ;;
    *) fail "the database gave an unexpected answer" ;;
esac

ask >/dev/null <<'SQL' || fail "the database refuses the keys at $url"
SELECT custodian.rotate_keys(:'issuer', :'document'::pg_catalog.jsonb);
SQL
printf 'refresh-jwks: new keys of %s\n' "$issuer"
