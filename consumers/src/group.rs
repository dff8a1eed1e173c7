//! Membership of a consumer group, as a role sees it: which partitions came and went since it last looked.
//!
//! Rebalances are eager (`range`): every change first takes all partitions away, then gives the new set. librdkafka
//! reports them inside `poll`, on the role's own thread, so between two polls nothing changes under its hands.

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::consumer::{BaseConsumer, ConsumerContext, Rebalance};

/// One step of a rebalance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// These partitions are ours now, by topic and number.
    Assigned(Vec<(String, i32)>),
    /// Nothing is ours any more. What was read and not committed will be read by the next owner.
    Revoked,
}

/// Context of a consumer that remembers rebalances until they are taken.
#[derive(Debug, Default)]
pub struct Membership {
    changes: Mutex<Vec<Change>>,
}

impl Membership {
    /// The changes since the last call, oldest first.
    pub fn take(&self) -> Vec<Change> {
        std::mem::take(&mut *self.changes.lock())
    }
}

impl ClientContext for Membership {}

impl ConsumerContext for Membership {
    fn pre_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        match rebalance {
            Rebalance::Revoke(_) => self.changes.lock().push(Change::Revoked),
            Rebalance::Error(error) => {
                tracing::warn!(%error, "rebalance failed");
                self.changes.lock().push(Change::Revoked);
            }
            Rebalance::Assign(_) => {}
        }
    }

    fn post_rebalance(&self, _: &BaseConsumer<Self>, rebalance: &Rebalance<'_>) {
        if let Rebalance::Assign(partitions) = rebalance {
            let partitions = partitions.elements();
            let partitions =
                partitions.iter().map(|element| (element.topic().to_owned(), element.partition())).collect();
            self.changes.lock().push(Change::Assigned(partitions));
        }
    }
}
