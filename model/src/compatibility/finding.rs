//! Findings in words: what changed, whose reading breaks, and the way out.

use super::Registered;
use super::differences::{Difference, Path};
use crate::declaration::{Event, Model, places};
use crate::diagnostic::{Diagnostic, Source};

/// A change that is refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The model that it is about.
    pub model: String,
    /// The event, by its declared name, if it is declared.
    pub event: Option<String>,
    /// Where in the event: names of fields, of today. Empty for the event itself.
    pub path: Vec<String>,
    /// What changed, and whose reading breaks.
    pub message: String,
    /// The way out.
    pub hint: String,
}

impl Finding {
    pub(super) fn of(
        model: &Model,
        event: &Event,
        path: Path,
        difference: Difference,
        versions: &[u32],
    ) -> Finding {
        let (message, hint) = words(model, event, &path, difference, versions);
        Finding { model: model.name.clone(), event: Some(event.name.clone()), path, message, hint }
    }

    pub(super) fn unreadable(model: &Model, event: &Event, version: u32, detail: &str) -> Finding {
        Finding {
            model: model.name.clone(),
            event: Some(event.name.clone()),
            path: Vec::new(),
            message: format!(
                "version {version} of `{}` in the registry is no schema of an event: {detail}",
                event.type_name
            ),
            hint: "somebody else registered it: delete that version in the registry, or give the event another name"
                .into(),
        }
    }

    pub(super) fn undeclared(model: &Model, registered: &Registered) -> Finding {
        Finding {
            model: model.name.clone(),
            event: None,
            path: Vec::new(),
            message: format!(
                "`{}` is registered, but no command of `{}` emits it any more: events of this type are in Kafka, and the \
                 projector stops at what it can't read",
                registered.type_name, model.name
            ),
            hint: format!(
                "keep the command; one that nobody shall send any more gets `require: [{{ that: \"false\", else: … }}]`. \
                 If no such event was ever written, delete the subject `{}` in the registry",
                registered.subject
            ),
        }
    }

    /// The finding at its place in the model files: the field, where there is one, else the command, else the model.
    pub fn diagnostic(&self, sources: &[Source]) -> Diagnostic {
        let place = places::find(sources, &self.model, self.event.as_deref(), &self.path);
        let (file, span) = place.unwrap_or_default();
        Diagnostic { file, span, message: self.message.clone(), hint: Some(self.hint.clone()) }
    }
}

fn words(
    model: &Model,
    event: &Event,
    path: &Path,
    difference: Difference,
    versions: &[u32],
) -> (String, String) {
    let (field, ty) = (path.join("."), &event.type_name);
    let by = match versions {
        [one] => format!("version {one}"),
        [first, .., last] => format!("versions {first} to {last}"),
        [] => "some version".to_owned(),
    };
    // A field of the state has one type in all events, and a creating event records them all: there the old event would
    // change with the new one.
    let of_state = path.first().is_some_and(|first| model.fields.contains_key(first));
    let unless = |in_both: bool| if in_both { "" } else { ", or emit a new event" };
    match difference {
        Difference::Removed { field: name, optional, maybe } => {
            let full = path.iter().map(String::as_str).chain([name.as_str()]).collect::<Vec<_>>().join(".");
            let why = if optional {
                "its readers would find it empty in every new event, and its old values would vanish from state and rows"
            } else {
                "its readers can't read an event without it"
            };
            let keep = if path.is_empty() && model.fields.contains_key(&name) {
                format!("record it as before: `set: {{ {name}: state.{name} }}`")
            } else if path.is_empty() {
                "keep it, if only as an input that the event records".to_owned()
            } else {
                format!("keep it{}", unless(of_state))
            };
            let hint = match maybe {
                Some(new) => {
                    format!("if `{new}` is the same field, write `renamed_from: {name}` on it; else {keep}")
                }
                None => {
                    format!("{keep}; a field with another name takes its place by `renamed_from: {name}`")
                }
            };
            (format!("`{ty}` no longer has `{full}`, which {by} has: {why}"), hint)
        }
        Difference::AddedWithoutValue => (
            format!("`{field}` is new in `{ty}` and always has a value: the events of {by} have none for it"),
            format!("make it `optional: true`, or give it a `default`{}", unless(of_state && event.creates)),
        ),
        Difference::Retyped { was, is } => (
            format!(
                "`{field}` of `{ty}` is {was} in {by}, and {is} today: neither reads what was written as the other"
            ),
            format!("keep the type, and add a field with another name for the new one{}", unless(of_state)),
        ),
        Difference::MadeRequired => (
            format!(
                "`{field}` of `{ty}` may be null by {by}, and not today: old events without it can't be read"
            ),
            match path.as_slice() {
                [field] => format!(
                    "keep `optional: true`; a command can ask for it: `require: [{{ that: input.{field} != null, else: … }}]`"
                ),
                _ => "keep `optional: true`; a command can ask for it with `require`".to_owned(),
            },
        ),
        Difference::MadeOptional => (
            format!(
                "`{field}` of `{ty}` always has a value by {by}, and may be null today: its readers can't read null"
            ),
            "keep it required; a `default` lets callers leave it out; or add a new optional field".to_owned(),
        ),
        Difference::ValuesRemoved(values) => {
            let names = values.iter().map(|value| format!("`{value}`")).collect::<Vec<_>>().join(", ");
            (
                format!(
                    "`{field}` of `{ty}` has lost {names}, which {by} has: old events and aggregates carry it"
                ),
                "keep the value; that no command leads to it is enough".to_owned(),
            )
        }
        Difference::DefaultChanged { was, is } => (
            format!(
                "the default of `{field}` of `{ty}` is {was} by {by}, and {is} today: events from before the field would \
                 mean something else than they did"
            ),
            format!("keep the default {was}; a command gives another value with `set`"),
        ),
    }
}
