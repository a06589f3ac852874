"""A whole platform on this machine: real PostgreSQL, real Redis, a stand-in for Supabase Auth.

The sandbox plays the platform, so this folder may import drivers: it stands on the other side of the wire.
"""
