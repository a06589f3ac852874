"""Supabase Auth: the admin API and SQL on auth.users behind one interface."""
