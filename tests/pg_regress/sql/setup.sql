create extension pg_custodian;
