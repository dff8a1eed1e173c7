//! Names of this crate's metrics, each declared once.

/// Events written to rows, by `model`.
pub(crate) const APPLIED: &str = "writ_projector_events_total";
/// Events whose version the row has already. Above zero is an alarm: a second writer.
pub(crate) const SKIPPED: &str = "writ_projector_events_skipped_total";
/// Events that went to the dead letters, by `reason`: `undecodable`, `refused` (by PostgreSQL), `waits` (for an earlier
/// event of its aggregate). Above zero, some rows are older than their events.
pub(crate) const DEAD_LETTERS: &str = "writ_projector_dead_letters_total";
/// Batches that another owner of the partition was faster with.
pub(crate) const FENCED: &str = "writ_projector_batches_fenced_total";
/// Seconds that a batch took, from its first statement to the commit.
pub(crate) const BATCH_DURATION_SECONDS: &str = "writ_projector_batch_duration_seconds";
/// Looks into the cache by `kind` (`row`, `list`) and `outcome`: `hit`, `miss`, `skipped` (nothing that is cached), `failed`
/// (Redis doesn't answer).
pub(crate) const CACHE_READS: &str = "writ_cache_reads_total";
