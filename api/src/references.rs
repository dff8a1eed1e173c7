//! Whether what a command refers to exists. Best effort: the read model is behind the events, so a reference that it
//! doesn't know is looked for again for a moment; without PostgreSQL commands go on unchecked.

use std::time::Duration;

use indexmap::IndexMap;
use quick_cache::sync::Cache;
use tokio::time::Instant;
use uuid::Uuid;
use writ_model::{Field, FieldError, Models, Object, Type, Value};
use writ_projections::query::Queries;

/// References that are remembered as existing. One takes under 100 bytes.
const CACHE_SIZE: usize = 100_000;
const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LONGEST_PAUSE: Duration = Duration::from_millis(200);

/// One reference in an input.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reference {
    /// The model that it refers to.
    pub(crate) to: String,
    /// The aggregate.
    pub(crate) id: Uuid,
    /// Where it stands in the input.
    pub(crate) pointer: String,
}

/// Every reference in a checked input.
pub(crate) fn find(fields: &IndexMap<String, Field>, input: &Object) -> Vec<Reference> {
    let mut found = Vec::new();
    find_in_object(fields, input, "", &mut found);
    found
}

fn find_in_object(
    fields: &IndexMap<String, Field>,
    object: &Object,
    pointer: &str,
    found: &mut Vec<Reference>,
) {
    for (name, value) in object {
        if let Some(field) = fields.get(name) {
            find_in_value(&field.ty, value, &format!("{pointer}/{name}"), found);
        }
    }
}

fn find_in_value(ty: &Type, value: &Value, pointer: &str, found: &mut Vec<Reference>) {
    match (ty, value) {
        (Type::Ref { to, .. }, Value::Uuid(id)) => {
            found.push(Reference { to: to.clone(), id: *id, pointer: pointer.to_owned() });
        }
        (Type::List { of, .. }, Value::List(items)) => {
            for (index, item) in items.iter().enumerate() {
                find_in_value(&of.ty, item, &format!("{pointer}/{index}"), found);
            }
        }
        (Type::Object(fields), Value::Object(object)) => find_in_object(fields, object, pointer, found),
        _ => {}
    }
}

/// The check, with its memory of what exists. What doesn't exist is never remembered: it may be created any time.
#[derive(Debug)]
pub(crate) struct References {
    known: Cache<(String, Uuid), ()>,
    wait: Duration,
}

impl References {
    /// Waits up to `wait` for what the read model doesn't know yet.
    pub(crate) fn new(wait: Duration) -> Self {
        References { known: Cache::new(CACHE_SIZE), wait }
    }

    /// The aggregate was created just now: no need to wait for the read model.
    pub(crate) fn remember(&self, model: &str, id: Uuid) {
        self.known.insert((model.to_owned(), id), ());
    }

    /// The aggregate was deleted.
    pub(crate) fn forget(&self, model: &str, id: Uuid) {
        self.known.remove(&(model.to_owned(), id));
    }

    /// An error for every reference to something that doesn't exist.
    pub(crate) async fn check(
        &self,
        models: &Models,
        queries: &Queries,
        mut references: Vec<Reference>,
    ) -> Result<(), Vec<FieldError>> {
        let deadline = Instant::now() + self.wait;
        let mut pause = FIRST_PAUSE;
        loop {
            references.retain(|reference| !self.is_known(reference));
            if references.is_empty() {
                return Ok(());
            }
            if let Err(error) = self.look_up(models, queries, &references).await {
                tracing::debug!(error = %error, "references go unchecked");
                return Ok(());
            }
            references.retain(|reference| !self.is_known(reference));
            if references.is_empty() {
                return Ok(());
            }
            if Instant::now() + pause > deadline {
                return Err(references.iter().map(unknown).collect());
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    fn is_known(&self, reference: &Reference) -> bool {
        self.known.get(&(reference.to.clone(), reference.id)).is_some()
    }

    /// One query for each model.
    async fn look_up(
        &self,
        models: &Models,
        queries: &Queries,
        references: &[Reference],
    ) -> Result<(), writ_projections::query::Error> {
        let mut by_model: IndexMap<&str, Vec<Uuid>> = IndexMap::new();
        for reference in references {
            by_model.entry(&reference.to).or_default().push(reference.id);
        }
        for (name, mut ids) in by_model {
            let model = models.get(name).expect("invariant: a checked model refers to declared models");
            ids.sort_unstable();
            ids.dedup();
            for id in queries.existing(model, &ids).await? {
                self.remember(name, id);
            }
        }
        Ok(())
    }
}

fn unknown(reference: &Reference) -> FieldError {
    FieldError {
        pointer: reference.pointer.clone(),
        code: "unknown_reference".into(),
        detail: format!("There is no {} with the id {}; create it first.", reference.to, reference.id),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use writ_model::diagnostic::Source;

    use super::*;

    const MODEL: &str = r"
model: trip
fields:
  guide: { type: ref, to: trip, optional: true }
  stops: { type: list, of: { after: { type: ref, to: trip, optional: true }, name: { type: text } } }
  home: { type: object, optional: true, fields: { from: { type: ref, to: trip } } }
crud: true
";

    #[test]
    fn references_are_found_wherever_they_stand() {
        let source = Source { name: "trip.yaml".into(), text: MODEL.into() };
        let models = Models::check("tours", &[source]).unwrap();
        let command = &models.get("trip").unwrap().commands["create"];
        let id = |number| Uuid::from_u128(number).to_string();
        let input = json!({
            "stops": [{ "name": "a" }, { "name": "b", "after": id(1) }],
            "home": { "from": id(2) },
        });
        let found = find(&command.input, &command.parse_input(&input).unwrap());
        let mut pointers: Vec<_> =
            found.iter().map(|found| (found.pointer.as_str(), found.id.as_u128())).collect();
        pointers.sort_unstable();
        assert_eq!(pointers, [("/home/from", 2), ("/stops/1/after", 1)]);
        assert!(found.iter().all(|found| found.to == "trip"));
    }

    #[test]
    fn what_was_created_is_known_until_it_is_deleted() {
        let references = References::new(Duration::ZERO);
        let reference = Reference { to: "trip".into(), id: Uuid::from_u128(1), pointer: "/guide".into() };
        references.remember("trip", reference.id);
        assert!(references.is_known(&reference));
        assert!(!references.is_known(&Reference { to: "tour".into(), ..reference.clone() }));
        references.forget("trip", reference.id);
        assert!(!references.is_known(&reference));
    }
}
