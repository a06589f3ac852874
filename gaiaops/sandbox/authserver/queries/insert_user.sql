-- A new user as the server writes it: every token column is '', none is NULL.
INSERT INTO auth.users (
    instance_id, id, aud, role, email, phone, encrypted_password,
    raw_app_meta_data, raw_user_meta_data, email_confirmed_at, phone_confirmed_at, banned_until,
    confirmation_token, recovery_token, email_change_token_new, email_change, is_super_admin,
    created_at, updated_at
) VALUES (
    '00000000-0000-0000-0000-000000000000', %(id)s, %(aud)s, %(role)s, nullif(%(email)s, ''),
    nullif(%(phone)s, ''), %(password)s, %(app_metadata)s, %(user_metadata)s,
    CASE WHEN %(email_confirm)s THEN now() END, CASE WHEN %(phone_confirm)s THEN now() END,
    now() + %(ban)s, '', '', '', '', false, now(), now()
)
