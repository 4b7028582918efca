//! The extension's SQL, in the order in which it is run.

pgrx::extension_sql_file!("../sql/schema/00_roles.sql", name = "roles", bootstrap);
pgrx::extension_sql_file!("../sql/schema/10_identity.sql", name = "identity", requires = ["roles"]);
pgrx::extension_sql_file!("../sql/schema/20_access.sql", name = "access", requires = ["identity"]);
pgrx::extension_sql_file!("../sql/schema/30_mask.sql", name = "mask", requires = ["access"]);
pgrx::extension_sql_file!("../sql/schema/50_ledger.sql", name = "ledger", requires = ["mask"]);
pgrx::extension_sql_file!("../sql/schema/55_proof.sql", name = "proof", requires = ["ledger"]);
pgrx::extension_sql_file!("../sql/schema/57_forwarding.sql", name = "forwarding", requires = ["proof"]);
pgrx::extension_sql_file!("../sql/schema/60_reports.sql", name = "reports", requires = ["forwarding"]);
pgrx::extension_sql_file!("../sql/schema/99_rights.sql", name = "rights", requires = ["reports"], finalize);
