-- Checkpoints by time and by the amount of WAL (before 17; from then on they are in pg_stat_checkpointer).
SELECT checkpoints_timed, checkpoints_req FROM pg_stat_bgwriter
