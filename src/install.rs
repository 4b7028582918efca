//! The extension's SQL, in the order in which it is run.

pgrx::extension_sql_file!("../sql/schema/00_roles.sql", name = "roles", bootstrap);
pgrx::extension_sql_file!("../sql/schema/10_identity.sql", name = "identity", requires = ["roles"]);
pgrx::extension_sql_file!("../sql/schema/20_access.sql", name = "access", requires = ["identity"]);
pgrx::extension_sql_file!("../sql/schema/22_requests.sql", name = "requests", requires = ["access"]);
pgrx::extension_sql_file!("../sql/schema/24_incidents.sql", name = "incidents", requires = ["requests"]);
pgrx::extension_sql_file!("../sql/schema/26_credentials.sql", name = "credentials", requires = ["incidents"]);
pgrx::extension_sql_file!("../sql/schema/27_queries.sql", name = "queries", requires = ["credentials"]);
pgrx::extension_sql_file!("../sql/schema/28_volume.sql", name = "volume", requires = ["queries"]);
pgrx::extension_sql_file!(
    "../sql/schema/30_mask_functions.sql",
    name = "mask_functions",
    requires = ["volume"]
);
pgrx::extension_sql_file!("../sql/schema/32_mask.sql", name = "mask", requires = ["mask_functions"]);
pgrx::extension_sql_file!("../sql/schema/34_masked_tables.sql", name = "masked_tables", requires = ["mask"]);
pgrx::extension_sql_file!("../sql/schema/50_ledger.sql", name = "ledger", requires = ["masked_tables"]);
pgrx::extension_sql_file!("../sql/schema/55_proof.sql", name = "proof", requires = ["ledger"]);
pgrx::extension_sql_file!("../sql/schema/57_forwarding.sql", name = "forwarding", requires = ["proof"]);
pgrx::extension_sql_file!("../sql/schema/58_exports.sql", name = "exports", requires = ["forwarding"]);
pgrx::extension_sql_file!("../sql/schema/60_reports.sql", name = "reports", requires = ["exports"]);
pgrx::extension_sql_file!("../sql/schema/62_alerts.sql", name = "alerts", requires = ["reports"]);
pgrx::extension_sql_file!("../sql/schema/99_rights.sql", name = "rights", requires = ["alerts"], finalize);
