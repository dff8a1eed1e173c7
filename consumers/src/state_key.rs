//! The keys of `writ.state` beside those of aggregates (`model/id`) and outcomes (`model/id#command`). No model begins
//! like one of them, nor like a reservation ([`writ_model::unique::RESERVED`]).

/// Says how far its partition of the commands is decided.
pub(crate) const NEXT: &str = "@next";
/// Names the uniqueness constraints whose values the aggregates of its partition have claimed.
pub(crate) const CONSTRAINTS: &str = "@constraints";
/// Before `model/id`: the command that waits for a reservation.
pub(crate) const PENDING: &str = "@pending/";
/// Before `model/id/offset`: a command that waits behind it.
pub(crate) const WAITING: &str = "@waiting/";
