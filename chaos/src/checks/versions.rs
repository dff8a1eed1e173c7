//! The events of an aggregate are numbered 1, 2, 3 … in the order of their offsets, in one partition.

use std::collections::HashMap;

use super::Check;
use crate::events::Event;

/// `events`: by partition, in the order of the offsets.
pub(super) fn have_no_gap(events: &[Event]) -> Check {
    let mut check =
        Check::new("The versions of every aggregate are 1, 2, 3 … without gap or repeat, in one partition.");
    let mut last: HashMap<_, (i32, u64)> = HashMap::new();
    for event in events {
        let key = (event.model.as_str(), event.aggregate);
        let (partition, version) = last.get(&key).copied().unwrap_or((event.partition, 0));
        if event.version != version + 1 {
            check.violated(format!(
                "{} of {} has version {} after {version}",
                event.place(),
                event.aggregate,
                event.version
            ));
        }
        if event.partition != partition {
            check.violated(format!(
                "{} has events in [{partition}] and at {}",
                event.aggregate,
                event.place()
            ));
        }
        last.insert(key, (event.partition, event.version));
    }
    check.examined(last.len(), "aggregates");
    check
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::testing::event;

    fn versions(of: &[u64]) -> usize {
        let events: Vec<_> = of.iter().map(|version| event("purse", "deposited", 1, *version, "a")).collect();
        have_no_gap(&events).violations.len()
    }

    #[test]
    fn gaps_repeats_and_swaps_are_found() {
        assert_eq!(versions(&[1, 2, 3]), 0);
        assert!(versions(&[1, 3]) > 0);
        assert!(versions(&[1, 2, 2, 3]) > 0);
        assert!(versions(&[2, 1]) > 0);
        assert!(versions(&[2]) > 0);
    }

    #[test]
    fn a_second_partition_is_found() {
        let moved = Event { partition: 1, ..event("purse", "deposited", 1, 2, "b") };
        assert_eq!(have_no_gap(&[event("purse", "opened", 1, 1, "a"), moved]).violations.len(), 1);
    }
}
