-- What is left of a soft-deleted user: a row that says that, when, and nothing about whom.
UPDATE auth.users SET
    email = %(email)s, phone = %(phone)s, email_change = %(email_change)s, phone_change = %(phone_change)s,
    encrypted_password = NULL, confirmation_token = '', recovery_token = '', email_change_token_current = '',
    email_change_token_new = '', phone_change_token = '', raw_app_meta_data = '{}', raw_user_meta_data = '{}',
    deleted_at = now(), updated_at = now()
WHERE id = %(id)s
