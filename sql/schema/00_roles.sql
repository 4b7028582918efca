-- Roles and schemas. Roles belong to the cluster: a second database finds them made.

DO $$
BEGIN
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'custodian_admin') THEN
        CREATE ROLE custodian_admin NOLOGIN;
        COMMENT ON ROLE custodian_admin IS 'pg_custodian: trusts issuers, enrols roles, grants access, sets masking policies';
    END IF;
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'custodian_auditor') THEN
        CREATE ROLE custodian_auditor NOLOGIN;
        COMMENT ON ROLE custodian_auditor IS 'pg_custodian: reads and verifies the audit trail';
    END IF;
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'custodian_forwarder') THEN
        CREATE ROLE custodian_forwarder NOLOGIN;
        COMMENT ON ROLE custodian_forwarder IS 'pg_custodian: standbys forward to the primary''s ledger as a member of it';
    END IF;
    IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = 'custodian_heir') THEN
        CREATE ROLE custodian_heir NOLOGIN;
        COMMENT ON ROLE custodian_heir IS 'pg_custodian: owns what the roles of ended credentials have left, and may do nothing';
    END IF;
END
$$;

CREATE SCHEMA custodian;
COMMENT ON SCHEMA custodian IS 'pg_custodian: identity and administration';
CREATE SCHEMA access;
COMMENT ON SCHEMA access IS 'pg_custodian: time-limited access';
CREATE SCHEMA mask;
COMMENT ON SCHEMA mask IS 'pg_custodian: masking functions and policies';
CREATE SCHEMA masked;
COMMENT ON SCHEMA masked IS 'pg_custodian: views that show tables with their protected columns masked';
CREATE SCHEMA audit;
COMMENT ON SCHEMA audit IS 'pg_custodian: the audit trail';
