-- Who may do what. Everything was taken from PUBLIC where it was made; here it is given back.

GRANT USAGE ON SCHEMA custodian, access, mask, masked, queries TO PUBLIC;
GRANT USAGE ON SCHEMA audit TO custodian_admin, custodian_auditor, custodian_forwarder;

-- Everybody: to say who they are, and to see what they may do.
GRANT EXECUTE ON FUNCTION
    custodian.set_identity(text, boolean),
    custodian.clear_identity(),
    custodian.whoami(),
    custodian.user_id(),
    custodian.email(),
    custodian.groups(),
    custodian.has_group(text),
    custodian.claims(),
    custodian.my_limits()
    TO PUBLIC;
-- The function too: a view does not lend its owner's rights to the functions it calls.
GRANT EXECUTE ON FUNCTION access.numbering() TO PUBLIC;
GRANT SELECT ON access.my_grants, access.my_requests, access.pending_approvals, custodian.queries TO PUBLIC;
-- To ask, and to decide as somebody who is asked. Each needs a person, and finds out what that person may.
GRANT EXECUTE ON FUNCTION
    access.request_access(text[], text, interval, text, text, text),
    access.approve(bigint, text),
    access.reject(bigint, text),
    access.cancel(bigint),
    access.break_glass(text, text, text),
    access.renew(bigint),
    access.issue_credential(bigint)
    TO PUBLIC;
-- The mask functions are called with the reader's rights, from within masked views and queries of masked tables. On
-- enrolled roles those that use the key refuse to run when somebody calls them himself.
GRANT EXECUTE ON FUNCTION
    mask.null_value(anyelement),
    mask.constant(anyelement, anyelement),
    mask.email(text),
    mask.email(text[]),
    mask.phone(text),
    mask.phone(text[]),
    mask.card(text),
    mask.card(text[]),
    mask.iban(text),
    mask.iban(text[]),
    mask.name(text),
    mask.name(text[]),
    mask.ip(text),
    mask.ip(text[]),
    mask.redact(text),
    mask.redact(text[]),
    mask.partial(text, integer, text, integer),
    mask.partial(text[], integer, text, integer),
    mask.ip(inet),
    mask.ip(cidr),
    mask.masked_json(text, text[]),
    mask.redacted_json(text),
    mask.jsonb_paths(jsonb, text[]),
    mask.jsonb_paths(json, text[]),
    mask.redact(jsonb),
    mask.redact(json),
    mask.year(date),
    mask.year(timestamp without time zone),
    mask.year(timestamp with time zone),
    mask.month(date),
    mask.month(timestamp without time zone),
    mask.month(timestamp with time zone),
    mask.range(date, integer),
    mask.range(timestamp without time zone, integer),
    mask.range(timestamp with time zone, integer),
    mask.range(smallint, bigint),
    mask.range(integer, bigint),
    mask.range(bigint, bigint),
    mask.range(real, double precision),
    mask.range(double precision, double precision),
    mask.range(numeric, numeric),
    mask.range(numeric, numeric, numeric),
    mask.hash(text),
    mask.hash(text[]),
    mask.hash(bytea),
    mask.token(text),
    mask.token(text[]),
    mask.token(uuid),
    mask.token(integer),
    mask.token(bigint),
    mask.noise(smallint, bigint),
    mask.noise(integer, bigint),
    mask.noise(bigint, bigint),
    mask.noise(real, double precision),
    mask.noise(double precision, double precision),
    mask.noise(numeric, numeric),
    mask.noise(numeric, numeric, numeric),
    mask.noise(date, integer),
    mask.noise(timestamp without time zone, integer),
    mask.noise(timestamp with time zone, integer),
    mask.reveals(bigint, regclass),
    mask.applies(bigint)
    TO PUBLIC;
GRANT EXECUTE ON FUNCTION
    mask.shows_statistics(oid, smallint),
    mask.shows_extended_statistics(oid)
    TO PUBLIC;

-- Administrators of access, who need not be superusers.
GRANT EXECUTE ON FUNCTION
    custodian.trust_issuer(text, jsonb, text[], text[], text, text, text, interval, interval, boolean),
    custodian.rotate_keys(text, jsonb),
    custodian.distrust_issuer(text),
    custodian.revoke_person(text, text, text),
    custodian.reinstate_person(text, text, text),
    custodian.revoke_token(text, text, text),
    custodian.enroll(regrole, text, bigint, bigint, boolean),
    custodian.unenroll(regrole),
    custodian.define_query(text, text, text, text),
    custodian.drop_query(text),
    access.grant_access(text, text[], text, interval, text, text, text, text, text, timestamptz),
    access.revoke_access(bigint, text),
    mask.protect(regclass, name, text, text[], text[]),
    access.set_rule(text, text, text, text[], text, text, integer[], time, time, text, interval, text[], integer, interval),
    access.drop_rule(text),
    access.open_incident(text, text[], text),
    access.close_incident(text),
    mask.unprotect(regclass, name),
    mask.protect_matching(name, text, text, text[], text[]),
    mask.drop_policy(bigint),
    mask.order_policy(bigint, integer),
    mask.generate_view(regclass),
    mask.rotate_key(),
    mask.generate_views(name),
    mask.generate_aggregate_view(regclass, name[], text[], integer),
    mask.preview(regclass, integer),
    mask.find_candidates(),
    audit.retain(interval)
    TO custodian_admin;
-- Somebody else's use of break-glass, as a person.
GRANT EXECUTE ON FUNCTION access.review(bigint, text) TO custodian_admin, custodian_auditor;
GRANT SELECT ON access.rules, access.requests, access.incidents, access.break_glass_uses, access.reviews_due,
    access.break_glass_frequency, access.credentials
    TO custodian_admin, custodian_auditor;
GRANT SELECT ON audit.alerts TO custodian_admin, custodian_auditor;
GRANT SELECT, INSERT, DELETE ON mask.keeper TO custodian_admin;
GRANT SELECT ON mask.keeper TO custodian_auditor;
GRANT SELECT ON custodian.issuers, custodian.revocations, custodian.enrolled_roles, access.grants, mask.policies
    TO custodian_admin, custodian_auditor;
GRANT SELECT ON mask.unprotected_candidates TO custodian_admin;
-- The function too: a view does not lend its owner's rights to the functions it calls.
GRANT SELECT ON custodian.sessions, custodian.people, custodian.settings_in_force
    TO custodian_admin, custodian_auditor;
GRANT EXECUTE ON FUNCTION custodian.list_sessions(), custodian.status(), mask.explain(regclass, text, text, text[])
    TO custodian_admin, custodian_auditor;

-- Auditors: the trail, and its proof.
GRANT SELECT ON audit.ledger, audit.chain, audit.origins, audit.retired, audit.checkpoints, audit.transactions, audit.statements, audit.objects, audit.events, audit.denials, audit.exports, audit.access_log
    TO custodian_auditor;
GRANT EXECUTE ON FUNCTION
    audit.field_policies(text[], text[]),
    audit.sync(interval),
    audit.verify(bigint, bigint, jsonb, integer),
    audit.checkpoint(),
    audit.prove(bigint),
    audit.export(bigint, bigint),
    audit.export_checkpoints()
    TO custodian_auditor;

-- Standbys: to send what they have recorded, and nothing else.
GRANT EXECUTE ON FUNCTION
    audit.accept_forwarded(text, bytea, bigint, integer, bigint, bigint, integer, bigint, bytea)
    TO custodian_forwarder;
