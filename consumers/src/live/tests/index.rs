//! What the index finds, against asking every view.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::super::index::Index;
use super::super::views::View;
use super::*;

proptest! {
    /// Whatever views there are and have been: the candidates that match are all that match, and each is named once.
    #[test]
    fn the_candidates_that_match_are_all_that_match(
        steps in prop::collection::vec((any::<bool>(), 0..1000usize, 0..6u128, any::<u8>()), 1..200),
    ) {
        let all: Vec<Arc<View>> = views().iter().map(view).collect();
        let (mut index, mut inside, mut world) = (Index::default(), BTreeSet::new(), World::default());
        for (moves, choice, aggregate, what) in steps {
            if moves {
                let slot = choice % all.len();
                let place = all[slot].place();
                if inside.remove(&slot) {
                    index.remove(place, slot);
                } else {
                    index.insert(place, slot);
                    inside.insert(slot);
                }
                prop_assert_eq!(index.beside(place).contains(&slot), inside.contains(&slot));
            }
            let change = world.event(aggregate, what, 0, 1);
            let candidates = index.candidates(&change);
            let once: BTreeSet<usize> = candidates.iter().copied().collect();
            prop_assert_eq!(once.len(), candidates.len());
            prop_assert!(once.is_subset(&inside));
            let matching = |slots: &BTreeSet<usize>| -> BTreeSet<usize> {
                slots.iter().copied().filter(|slot| all[*slot].kind(&change).is_some()).collect()
            };
            prop_assert_eq!(matching(&once), matching(&inside));
        }
    }
}

/// What a change costs doesn't grow with the views of others.
#[test]
fn views_of_other_ids_are_no_candidates() {
    let mut index = Index::default();
    let (staff, change) = (staff(), World::default().event(3, 1, 0, 1));
    for number in 0..1000 {
        index.insert(view(&wanted(staff.clone(), Some(id(number)), &[])).place(), number as usize);
    }
    for number in 0..1000 {
        index.insert(view(&wanted(customer(number), None, &[])).place(), 1000 + number as usize);
    }
    // The aggregate's own, and that of its customer.
    assert_eq!(change.after.fields["customer"], writ_model::Value::Uuid(id(0)));
    assert_eq!(index.candidates(&change), [3, 1000]);
}
