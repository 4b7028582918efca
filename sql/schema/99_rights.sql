-- Who may do what. Everything was taken from PUBLIC where it was made; here it is given back.

GRANT USAGE ON SCHEMA custodian, access, mask, masked TO PUBLIC;
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
    custodian.claims()
    TO PUBLIC;
GRANT SELECT ON access.my_grants TO PUBLIC;
-- The mask functions are called with the reader's rights, from within the masked views; enrolled
-- roles cannot call mask.hash themselves, which is checked where statements are analysed.
GRANT EXECUTE ON FUNCTION
    mask.null_value(anyelement),
    mask.email(text),
    mask.partial(text, integer, text, integer),
    mask.hash(text),
    mask.reveals(bigint)
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
    access.grant_access(text, text[], text, interval, text, text, text, text, text),
    access.revoke_access(bigint, text),
    mask.protect(regclass, name, text, text[]),
    mask.unprotect(regclass, name),
    mask.generate_view(regclass),
    audit.retain(interval)
    TO custodian_admin;
GRANT SELECT ON custodian.issuers, custodian.revocations, custodian.enrolled_roles, access.grants, mask.policies
    TO custodian_admin, custodian_auditor;
-- The function too: a view does not lend its owner's rights to the functions it calls.
GRANT SELECT ON custodian.sessions, custodian.people, custodian.settings_in_force
    TO custodian_admin, custodian_auditor;
GRANT EXECUTE ON FUNCTION custodian.list_sessions(), custodian.status()
    TO custodian_admin, custodian_auditor;

-- Auditors: the trail, and its proof.
GRANT SELECT ON audit.ledger, audit.chain, audit.origins, audit.retired, audit.checkpoints, audit.transactions, audit.statements, audit.objects, audit.events, audit.denials, audit.access_log
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
