-- The identity behind an address or a phone number: made once, its data merged from then on.
INSERT INTO auth.identities
    (provider_id, user_id, identity_data, provider, last_sign_in_at, created_at, updated_at)
VALUES (%(id)s::uuid::text, %(id)s::uuid, %(data)s, %(provider)s, now(), now(), now())
ON CONFLICT (provider_id, provider) DO UPDATE SET identity_data = identities.identity_data || %(changes)s
