-- What somebody should look at now.

CREATE VIEW audit.alerts AS
SELECT seq, at, object AS alert, issuer, user_id, user_email, token_id, session, session_role, client_addr,
       detail::jsonb ->> 'incident' AS incident, (detail::jsonb ->> 'grant')::bigint AS grant_id, detail::jsonb AS detail
FROM audit.ledger
WHERE event = 'alert';
REVOKE ALL ON audit.alerts FROM PUBLIC;
COMMENT ON VIEW audit.alerts IS 'Alerts: uses of break-glass, renewals, overdue reviews';
COMMENT ON COLUMN audit.alerts.alert IS 'break_glass, break_glass_renewed or review_overdue';
COMMENT ON COLUMN audit.alerts.user_id IS 'The person whose session raised it; NULL: the steward did';
