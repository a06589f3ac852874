-- What the active people of one environment did: keys, conversations, messages. Needs seed_platform.sql.
-- The seeds of ids name the environment: the same person has other rows in another environment.

-- The first key works (and never expires, or not for decades), a second was switched off, a third ran out.
INSERT INTO api_keys (id, user_id, key_hash, name, permissions, is_active, expires_at, last_used_at, created_at, updated_at)
SELECT pg_temp.seed_uuid(e.env || ':key:' || a.id || ':' || k.k), a.id,
       encode(sha256(convert_to(e.env || ':key:' || a.id || ':' || k.k, 'UTF8')), 'hex'),
       (ARRAY['Laptop', 'CI pipeline', 'Notebook', 'Mobile app', 'Unity client', 'Backup script'])[1 + mod(a.rank + k.k, 6)],
       CASE mod(a.rank, 3) WHEN 0 THEN '["chat:read", "chat:write", "kb:read"]'::jsonb
                           WHEN 1 THEN '["chat:read", "chat:write"]' ELSE '{"admin": false, "scopes": ["kb:read"]}' END,
       k.k <> 2,
       CASE WHEN k.k = 3 THEN timestamp '2026-10-01' - mod(a.rank, 90) * interval '1 day'
            WHEN mod(a.rank, 2) = 0 THEN timestamp '2099-12-31 23:59:59' END,
       a.since + mod(a.rank, 50) * interval '1 hour', a.since + interval '1 minute', a.since + interval '1 minute'
  FROM seed_active AS a, generate_series(1, 3) AS k (k),
       LATERAL (SELECT current_setting('gaia_seed.environment')) AS e (env)
 WHERE (k.k = 1 AND mod(a.rank, 10) <> 9) OR (k.k = 2 AND mod(a.rank, 3) = 0) OR (k.k = 3 AND mod(a.rank, 7) = 0)
 ORDER BY a.rank, k.k;

-- Twelve little conversations, told again and again.
CREATE TEMPORARY TABLE seed_topic ON COMMIT DROP AS
SELECT t.topic, t.title, t.lines FROM (VALUES
    (0, 'Packing for a week in Lisbon', ARRAY['What should I pack for a week in Lisbon in May?', 'Light layers, comfortable shoes for the hills, and a windbreaker for the evenings.', 'Do I need an adapter?', 'If you come from outside continental Europe, yes: types C and F.', 'Perfect, thank you!', 'Enjoy the pastéis de nata.']),
    (1, 'Explain recursion', ARRAY['Can you explain recursion to a ten-year-old?', 'Imagine two mirrors facing each other: each picture holds a smaller copy of itself.', 'And when does it stop?', 'When the copy is so small that the answer is obvious. We call that the base case.', 'She got it at once.', 'Then she is ready for the Tower of Hanoi.']),
    (2, 'Sourdough will not rise', ARRAY['My sourdough does not rise. The kitchen is at 18 °C.', 'At 18 °C give it 10 to 12 hours, and check that the starter doubles within 6.', 'It floats in water, is that good?', 'Yes, it is ready to use.', 'Baking tomorrow.', 'Score it deeper than you think.']),
    (3, 'Weekly report', ARRAY['Summarise these notes in five bullet points.', 'Done: shipped search, fixed two incidents, hired one engineer, moved the launch, budget unchanged.', 'Make it friendlier.', 'A good week! Search is live, both incidents are behind us, and we have a new colleague.', 'Send-ready.', 'Shall I draft next week''s agenda?']),
    (4, '日本語の練習', ARRAY['自己紹介を直してください。', 'とても良いです。「よろしくお願いします」で終えると自然です。', 'ありがとう!', 'どういたしまして。次は趣味について話しましょう。', 'また明日。', 'お待ちしています。']),
    (5, 'Slow query', ARRAY['This query takes 40 seconds: SELECT * FROM orders WHERE lower(email) = $1', 'An index on email cannot serve lower(email). Create one on the expression.', 'Down to 3 ms.', 'And select only the columns you need.', 'Will do.', 'Remember to ANALYZE afterwards.']),
    (6, 'Names for a cat', ARRAY['Names for a grey cat, please.', 'Pebble, Ash, Sterling, Nimbus, Earl Grey.', 'Nimbus it is. 🐈', 'Welcome home, Nimbus!', 'He likes the name.', 'Cats usually pretend otherwise.']),
    (7, 'Préparer un entretien', ARRAY['Comment me préparer à un entretien ?', 'Relisez l''annonce, préparez trois exemples concrets et deux questions.', 'Et pour le salaire ?', 'Donnez une fourchette que vous pouvez justifier.', 'Merci beaucoup.', 'Bon courage, vous serez très bien.']),
    (8, 'Unit tests for a parser', ARRAY['How do I test a parser well?', 'Round trips, malformed input, and properties over generated documents.', 'Any tool?', 'In Python, hypothesis finds the odd ones for you.', 'It found three bugs.', 'That is three fewer for your users.']),
    (9, 'A bedtime story', ARRAY['Tell a short bedtime story about a lighthouse.', 'Once there was a lighthouse that was afraid of the dark, so it learned to shine.', 'More!', 'Every ship that passed blinked back, and it was never alone again.', 'Goodnight.', 'Sleep well.']),
    (10, 'Plan a garden', ARRAY['What grows in the shade?', 'Ferns, hostas, foxgloves, and for the kitchen: mint and chard.', 'And slugs?', 'Copper tape, or a hedgehog.', 'We have a hedgehog!', 'Then you have won.']),
    (11, 'Lease question', ARRAY['My lease says three months'' notice. From when?', 'Usually from the start of the next month; check the clause on delivery.', 'It says registered post.', 'Then the date of receipt counts.', 'Good to know.', 'This is not legal advice, but a good reason to post it today.'])
) AS t (topic, title, lines);

CREATE TEMPORARY TABLE seed_conversation ON COMMIT DROP AS
SELECT pg_temp.seed_uuid(current_setting('gaia_seed.environment') || ':conversation:' || a.id || ':' || c.c) AS id,
       a.id AS user_id, t.title, t.lines, 2 + mod(a.rank + c.c, 5) AS length,
       a.since + c.c * interval '3 days' + mod(a.rank, 24) * interval '1 hour' AS at, a.rank, c.c
  FROM seed_active AS a
 CROSS JOIN generate_series(1, 3) AS c (c)
  JOIN seed_topic AS t ON t.topic = mod(a.rank * 5 + c.c * 7, 12)
 WHERE c.c <= mod(a.rank, 4)                               -- 0 to 3 conversations a person
 ORDER BY a.rank, c.c;

INSERT INTO conversations (id, user_id, title, preview, is_active, created_at, updated_at)
SELECT c.id, c.user_id, c.title, left(c.lines[2], 80), mod(c.rank, 11) <> 0, c.at, c.at + c.length * interval '2 minutes'
  FROM seed_conversation AS c
 ORDER BY c.rank, c.c;

-- Odd lines are the person's, even ones the model's; both carry the person's user_id.
INSERT INTO chat_messages (id, user_id, conversation_id, role, content, model, provider, tokens_used, created_at)
SELECT pg_temp.seed_uuid('message:' || c.id || ':' || l.l), c.user_id, c.id,
       CASE WHEN mod(l.l, 2) = 1 THEN 'user' ELSE 'assistant' END, c.lines[l.l],
       CASE WHEN mod(l.l, 2) = 0 THEN (ARRAY['claude-sonnet', 'gpt-large', 'gemini-pro'])[1 + mod(c.rank, 3)] END,
       CASE WHEN mod(l.l, 2) = 0 THEN (ARRAY['anthropic', 'openai', 'google'])[1 + mod(c.rank, 3)] END,
       CASE WHEN mod(l.l, 2) = 0 THEN 20 + length(c.lines[l.l])::integer END,
       c.at + l.l * interval '2 minutes'
  FROM seed_conversation AS c, generate_series(1, c.length) AS l (l)
 ORDER BY c.rank, c.c, l.l;
