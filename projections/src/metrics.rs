//! Names of this crate's metrics, each declared once.

/// Events written to rows, by `model`.
pub(crate) const APPLIED: &str = "writ_projector_events_total";
/// Events whose version is not the row's next one. Above zero is an alarm: a second writer, or lost rows.
pub(crate) const SKIPPED: &str = "writ_projector_events_skipped_total";
/// Events that can't be decoded, counted at each try.
pub(crate) const UNDECODABLE: &str = "writ_projector_events_undecodable_total";
/// Batches that another owner of the partition was faster with.
pub(crate) const FENCED: &str = "writ_projector_batches_fenced_total";
/// Seconds that a batch took, from its first statement to the commit.
pub(crate) const BATCH_DURATION_SECONDS: &str = "writ_projector_batch_duration_seconds";
