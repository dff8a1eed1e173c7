//! Which enum field `from` and `to` move.

use std::collections::BTreeSet;
use std::ops::Range;

use super::Type;
use super::commands::{Draft, Name};
use super::fields::Fields;
use super::report::{Report, list, shown, suggest};

/// The field that holds all values which some `from` or `to` names. `None`: no command has them, or which field is
/// meant is unclear, and that is reported at `at`, the name of the model.
pub(super) fn find(
    report: &mut Report<'_>,
    at: &Range<usize>,
    state: &Fields,
    drafts: &[Draft<'_>],
) -> Option<String> {
    let used: Vec<&Name> = drafts.iter().flat_map(|draft| draft.from.iter().chain(&draft.to)).collect();
    let first = used.first()?;
    let names: BTreeSet<&str> = used.iter().map(|(name, _)| name.as_str()).collect();
    let enums: Vec<(&str, &Vec<String>)> = state
        .fields
        .values()
        .filter_map(|field| match &field.ty {
            Type::Enum(values) => Some((field.name.as_str(), values)),
            _ => None,
        })
        .collect();
    let missing = |values: &[String]| names.iter().filter(|name| !values.iter().any(|v| v == *name)).count();
    let usual = |name: &str| name == "status" || name == "state";
    let fitting: Vec<&str> =
        enums.iter().filter(|(_, values)| missing(values) == 0).map(|(name, _)| *name).collect();
    match fitting.as_slice() {
        [one] => return Some((*one).to_owned()),
        [] => {}
        several => {
            let preferred: Vec<&&str> = several.iter().filter(|name| usual(name)).collect();
            if let [one] = preferred.as_slice() {
                return Some((**one).to_owned());
            }
            let message = format!("`from` and `to` fit several fields: {}", list(several.iter().copied()));
            report.error(
                at,
                message,
                "call the one that they move `status`, or give the others other values",
            );
            return None;
        }
    }
    // The values of a broken field are unknown; it may be the one.
    if !state.broken.is_empty() {
        return None;
    }
    let closest = enums.iter().min_by_key(|(name, values)| (missing(values), !usual(name)));
    let Some((field, values)) = closest else {
        report.error(
            &first.1,
            "`from` and `to` need a field of type enum",
            format!(
                "declare one: `status: {{ type: enum, values: [{}] }}`",
                names.into_iter().collect::<Vec<_>>().join(", ")
            ),
        );
        return None;
    };
    for (name, span) in used {
        if !values.contains(name) {
            let message = format!("`{field}` has no value {}", shown(name));
            report.error(span, message, suggest(name, values.iter().map(String::as_str)));
        }
    }
    None
}
