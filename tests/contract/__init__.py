"""What the Supabase Auth admin API promises, checked on the sandbox's stand-in or on a real server.

By default a stand-in is started over a database of its own, once without and once with cursor mode. With
GAIAOPS_TEST_AUTH_URL (the root of the API), GAIAOPS_TEST_AUTH_JWT_SECRET and GAIAOPS_TEST_AUTH_DSN set, the
same tests run against that server; run them without xdist there, for they share its one database, and set
GAIAOPS_TEST_AUTH_API_KEY where a gateway wants the header `apikey`.
"""
