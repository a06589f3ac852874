"""Whether Supabase Auth, the environments' profiles and their caches agree."""
