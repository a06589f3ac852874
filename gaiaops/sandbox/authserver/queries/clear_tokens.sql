-- Pending changes and the tokens that would confirm them, forgotten because the address or number changed.
UPDATE auth.users SET
    confirmation_token = '', confirmation_sent_at = NULL, recovery_token = '', recovery_sent_at = NULL,
    email_change = '', email_change_token_current = '', email_change_token_new = '',
    email_change_sent_at = NULL, email_change_confirm_status = 0, phone_change = '', phone_change_token = '',
    phone_change_sent_at = NULL, reauthentication_token = '', reauthentication_sent_at = NULL
WHERE id = %(id)s
