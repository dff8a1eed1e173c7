//! Events: what the commands that emit them record.

use std::collections::HashMap;

use indexmap::IndexMap;

use super::commands::Draft;
use super::names::pascal_case;
use super::report::Report;
use super::{Event, Field};
use crate::avro::EventCodec;

/// Derives every event of a model. Faults are reported at the `emits` that brings them in.
pub(super) fn derive(
    report: &mut Report<'_>,
    app: &str,
    model: &str,
    state: &IndexMap<String, Field>,
    state_field: Option<&str>,
    drafts: &[Draft<'_>],
) -> IndexMap<String, Event> {
    let mut by_event: IndexMap<&str, Vec<&Draft<'_>>> = IndexMap::new();
    for draft in drafts {
        by_event.entry(&draft.emits.0).or_default().push(draft);
    }
    report_collisions(report, &by_event);
    let mut events = IndexMap::new();
    for (name, emitters) in by_event {
        let Some(first) = emitters.first() else { continue };
        for other in emitters.iter().filter(|other| phase(other) != phase(first)) {
            report.error(
                &other.emits.1,
                format!(
                    "`{}` {}, but `{}` {}: they can't emit the same event `{name}`",
                    first.name,
                    phase(first),
                    other.name,
                    phase(other)
                ),
                "give one of them another event with `emits`",
            );
        }
        let fields = fields(report, name, state, state_field, &emitters);
        let type_name = format!("{app}.{model}.{}", pascal_case(name));
        match EventCodec::new(&type_name, &fields) {
            Ok(codec) => {
                let (creates, deletes) = (first.creates, first.deletes);
                let event = Event { name: name.to_owned(), type_name, fields, creates, deletes, codec };
                events.insert(name.to_owned(), event);
            }
            Err(error) => {
                let message = format!("the event `{name}` has no Avro form: {}", error.detail);
                report.error(&first.emits.1, message, "rename the field that the message names");
            }
        }
    }
    events
}

fn phase(draft: &Draft<'_>) -> &'static str {
    match (draft.creates, draft.deletes) {
        (true, _) => "creates",
        (_, true) => "deletes",
        _ => "changes",
    }
}

/// Names that differ only in `_` or in case would be one type for some consumers, and one file for others.
fn report_collisions(report: &mut Report<'_>, by_event: &IndexMap<&str, Vec<&Draft<'_>>>) {
    let mut types: HashMap<String, &str> = HashMap::new();
    for (name, emitters) in by_event {
        let known = *types.entry(pascal_case(name).to_lowercase()).or_insert(*name);
        if known != *name
            && let Some(first) = emitters.first()
        {
            report.error(
                &first.emits.1,
                format!("the events `{known}` and `{name}` would have the same type `{}`", pascal_case(name)),
                "rename one of them with `emits`",
            );
        }
    }
}

/// The recorded fields: those of the state in declared order, then inputs that are only recorded.
fn fields(
    report: &mut Report<'_>,
    event: &str,
    state: &IndexMap<String, Field>,
    state_field: Option<&str>,
    emitters: &[&Draft<'_>],
) -> IndexMap<String, Field> {
    let changes = |draft: &&Draft<'_>, name: &str| {
        draft.creates
            || draft.input.contains_key(name)
            || draft.set.iter().any(|entry| entry.key == name)
            || (draft.to.is_some() && state_field == Some(name))
    };
    let mut fields: IndexMap<String, Field> = state
        .iter()
        .filter(|(name, _)| emitters.iter().any(|draft| changes(draft, name)))
        .map(|(name, field)| (name.clone(), field.clone()))
        .collect();
    for draft in emitters {
        for (name, field) in draft.input.iter().filter(|(name, _)| !state.contains_key(*name)) {
            match fields.get_mut(name) {
                None => {
                    let mut field = field.clone();
                    // Another command that emits the event has no value for it.
                    field.optional |= emitters.iter().any(|draft| !draft.input.contains_key(name));
                    fields.insert(name.clone(), field);
                }
                Some(known) => {
                    if known.ty != field.ty {
                        report.error(
                            &draft.emits.1,
                            format!("`{name}` would have two types in the event `{event}`"),
                            "declare the input alike in all commands that emit it, or give one another event",
                        );
                    }
                    if known.wire_name() != field.wire_name() {
                        report.error(
                            &draft.emits.1,
                            format!("`{name}` would have two names on the wire in the event `{event}`"),
                            "give the input the same `renamed_from` in all commands that emit it",
                        );
                    }
                    known.optional |= field.optional;
                }
            }
        }
    }
    fields
}
