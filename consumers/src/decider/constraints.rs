//! Uniqueness that is declared for aggregates that exist already: on taking over a partition, its aggregates claim what
//! they have, and values of constraints that are gone are forgotten.
//!
//! A record of each partition ([`CONSTRAINTS`]) names the constraints for which this has been done. It is committed in
//! the transaction of the last claims, so a crash on the way only repeats claims, and a holder that claims again is
//! granted again.

use std::collections::{BTreeSet, HashMap};

use serde_json::Value;
use writ_model::{Model, Models, State, Unique};

use super::batch::Decided;
use super::reservation::Step;
use super::session::SessionError;
use super::store::Partition;
use crate::state_key::CONSTRAINTS;

/// Steps and records of one transaction.
const CHUNK: usize = 1_000;

/// What has to be committed, one transaction after the other, before commands are decided. Nothing, unless the
/// declarations have changed.
pub(super) fn adapt(
    models: &Models,
    owned: &HashMap<i32, Partition>,
    mut commit: impl FnMut(Decided) -> Result<(), SessionError>,
) -> Result<(), SessionError> {
    let declared: BTreeSet<String> = models
        .models
        .values()
        .flat_map(|model| model.uniques.iter().map(|unique| prefix(model, unique)))
        .collect();
    let (mut last, mut adapted) = (Decided::default(), 0);
    for (&number, partition) in owned {
        let known: BTreeSet<String> = match partition.get(CONSTRAINTS)? {
            None => BTreeSet::new(),
            Some(value) => serde_json::from_slice(&value).map_err(|error| SessionError::Record {
                key: CONSTRAINTS.to_owned(),
                detail: error.to_string(),
            })?,
        };
        if known == declared {
            continue;
        }
        for gone in known.difference(&declared) {
            for record in partition.scan(gone) {
                last.records.insert(record?.0, (number, None));
                if last.records.len() >= CHUNK {
                    commit(std::mem::take(&mut last))?;
                }
            }
        }
        for model in models.models.values() {
            let new: Vec<&Unique> =
                model.uniques.iter().filter(|unique| !known.contains(&prefix(model, unique))).collect();
            if new.is_empty() {
                continue;
            }
            tracing::debug!(model = model.name, kafka.partition = number, "what is newly unique is claimed");
            for record in partition.scan(&format!("{}/", model.name)) {
                let (key, value) = record?;
                last.steps.extend(claims(model, &new, key, &value));
                if last.steps.len() >= CHUNK {
                    commit(std::mem::take(&mut last))?;
                }
            }
        }
        let value = serde_json::to_vec(&declared).expect("a list of text is JSON");
        last.records.insert(CONSTRAINTS.to_owned(), (number, Some(value)));
        commit(std::mem::take(&mut last))?;
        adapted += 1;
    }
    if adapted > 0 {
        tracing::info!(
            decider.partitions = adapted,
            unique.constraints = declared.len(),
            "the reservations of unique values were brought in line with the declarations"
        );
    }
    Ok(())
}

fn prefix(model: &Model, unique: &Unique) -> String {
    unique.prefix(&model.name)
}

/// What the aggregate has under the new constraints. Outcomes and states that can't be read have nothing.
fn claims(model: &Model, new: &[&Unique], key: String, value: &[u8]) -> Vec<(String, Step)> {
    let state = serde_json::from_slice::<Value>(value)
        .ok()
        .filter(|_| !key.contains('#'))
        .and_then(|json| State::from_json(model, &json).ok());
    model
        .unique_keys(state.as_ref())
        .into_iter()
        .filter(|(unique, _)| new.contains(unique))
        .map(|(_, reservation)| (reservation, Step::Claim { aggregate: key.clone(), command: None }))
        .collect()
}

#[cfg(test)]
mod tests {
    use writ_model::unique::RESERVED;

    use super::*;

    #[test]
    fn no_model_can_be_called_like_a_record_of_ours() {
        assert!(CONSTRAINTS.starts_with('@') && RESERVED.starts_with('@'));
    }
}
