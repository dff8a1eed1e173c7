//! Declarations of commands: what each says, before it is held against the rest of its model.

use std::collections::HashSet;
use std::ops::Range;

use indexmap::IndexMap;

use super::fields::{self, Fields, Place};
use super::report::{Report, shown, suggest};
use super::types::Directory;
use super::yaml::{self, Entry, Kind, Members, Node};
use super::{Field, names, renames};

/// Every key that the declaration of a command may have.
pub(super) const KEYS: &[&str] =
    &["doc", "creates", "deletes", "input", "require", "from", "to", "set", "emits"];

/// What `crud` adds, with the events.
pub(super) const CRUD: &[(&str, &str)] =
    &[("create", "created"), ("update", "updated"), ("delete", "deleted")];

/// A name and where it stands.
pub(super) type Name = (String, Range<usize>);

/// A command as declared.
pub(super) struct Draft<'n> {
    pub(super) name: String,
    /// Where the name stands, or `crud`.
    pub(super) span: Range<usize>,
    pub(super) doc: Option<String>,
    pub(super) creates: bool,
    pub(super) deletes: bool,
    pub(super) partial: bool,
    pub(super) input: IndexMap<String, Field>,
    pub(super) state_inputs: Vec<Name>,
    /// Inputs whose type is unknown because of a fault that is reported.
    pub(super) broken: HashSet<String>,
    /// Conditions with their messages.
    pub(super) require: Vec<(&'n Node, String)>,
    pub(super) from: Vec<Name>,
    pub(super) to: Option<Name>,
    pub(super) set: &'n [Entry],
    pub(super) emits: Name,
}

/// Reads `commands:`, and adds what `crud:` asks for.
pub(super) fn read_all<'n>(
    report: &mut Report<'_>,
    directory: &Directory,
    state: &Fields,
    model: &Members<'n>,
) -> Vec<Draft<'n>> {
    let mut drafts: Vec<Draft<'n>> = Vec::new();
    if let Some(entry) = model.get("crud") {
        drafts.extend(crud(report, state, entry));
    }
    let hint = "write the name of each command and what it does: `pay: { from: placed, to: paid }`";
    let entries = model.value("commands").and_then(|node| yaml::entries(report, node, hint));
    for entry in entries.unwrap_or_default() {
        if !names::check_command(report, &entry.key_span, &entry.key) {
            continue;
        }
        if drafts.iter().any(|known| known.name == entry.key) {
            let message = format!("`crud` already adds a command `{}`", entry.key);
            let hint = "rename this one, or list what `crud` shall add: `crud: [create, delete]`";
            report.error(&entry.key_span, message, hint);
            continue;
        }
        drafts.extend(read(report, directory, state, entry));
    }
    drafts
}

fn crud<'n>(report: &mut Report<'_>, state: &Fields, entry: &Entry) -> Vec<Draft<'n>> {
    let node = &entry.value;
    let hint = "write `crud: true`, or some of them: `crud: [create, update]`";
    let mut wanted = Vec::new();
    match &node.kind {
        Kind::List(items) => {
            for item in items {
                let Some(name) = yaml::text(report, item, hint) else { continue };
                match CRUD.iter().find(|(known, _)| *known == name) {
                    Some(found) => wanted.push(found),
                    None => {
                        let message = format!("`crud` has no {}", shown(name));
                        report.error(&item.span, message, suggest(name, CRUD.iter().map(|(name, _)| *name)));
                    }
                }
            }
            wanted.dedup();
        }
        _ => match node.scalar().and_then(|scalar| scalar.as_bool()) {
            Some(true) => wanted.extend(CRUD),
            Some(false) => {}
            None => {
                report.error(&node.span, format!("`crud` is true or a list, found {}", node.what()), hint)
            }
        },
    }
    let draft = |(name, event): &(&str, &str)| {
        let input: IndexMap<String, Field> = match *name {
            "create" => state.fields.clone(),
            "update" => {
                let changes = state.fields.iter().filter(|(_, field)| !field.immutable);
                changes.map(|(name, field)| (name.clone(), field.clone())).collect()
            }
            _ => IndexMap::new(),
        };
        Draft {
            name: (*name).to_owned(),
            span: entry.key_span.clone(),
            doc: None,
            creates: *name == "create",
            deletes: *name == "delete",
            partial: *name == "update",
            state_inputs: input.keys().map(|name| (name.clone(), entry.key_span.clone())).collect(),
            input,
            broken: HashSet::new(),
            require: Vec::new(),
            from: Vec::new(),
            to: None,
            set: &[],
            emits: ((*event).to_owned(), entry.key_span.clone()),
        }
    };
    wanted.into_iter().map(draft).collect()
}

fn read<'n>(
    report: &mut Report<'_>,
    directory: &Directory,
    state: &Fields,
    entry: &'n Entry,
) -> Option<Draft<'n>> {
    let mut draft = Draft {
        name: entry.key.clone(),
        span: entry.key_span.clone(),
        doc: None,
        creates: false,
        deletes: false,
        partial: false,
        input: IndexMap::new(),
        state_inputs: Vec::new(),
        broken: HashSet::new(),
        require: Vec::new(),
        from: Vec::new(),
        to: None,
        set: &[],
        emits: (entry.key.clone(), entry.key_span.clone()),
    };
    // `touch: {}` and `touch:` are commands that only leave their event.
    if entry.value.is_null() {
        return Some(draft);
    }
    let members = yaml::members(report, &entry.value, "a command", KEYS)?;
    draft.doc = members
        .value("doc")
        .and_then(|node| yaml::text(report, node, "say in a sentence what the command does"))
        .map(str::to_owned);
    draft.creates = yaml::flag(report, members.get("creates"));
    draft.deletes = yaml::flag(report, members.get("deletes"));
    if let (true, true, Some(entry)) = (draft.creates, draft.deletes, members.get("deletes")) {
        let hint = "keep one of `creates` and `deletes`";
        report.error(&entry.key_span, "a command can't create and delete", hint);
    }
    if let Some(entry) = members.get("input") {
        read_input(report, directory, state, &mut draft, &entry.value);
    }
    if let Some(node) = members.value("require") {
        draft.require = guards(report, node);
    }
    if let Some(entry) = members.get("from") {
        draft.from = from(report, &entry.value);
        if draft.creates {
            let hint = "before it there is no state; remove `from`";
            report.error(&entry.key_span, "a creating command can't have `from`", hint);
        }
    }
    if let Some(node) = members.value("to") {
        let to = yaml::text(report, node, "one value of the state field, such as `to: paid`");
        draft.to = to.map(|to| (to.to_owned(), node.span.clone()));
    }
    if let Some(node) = members.value("set") {
        let hint = "write the fields and their expressions: `set: { paid_at: now }`";
        draft.set = yaml::entries(report, node, hint).unwrap_or_default();
    }
    if let Some(node) = members.value("emits")
        && let Some(event) = yaml::text(report, node, "the name of the event, such as `emits: paid`")
        && names::check(report, &node.span, "an event", event)
    {
        draft.emits = (event.to_owned(), node.span.clone());
    }
    Some(draft)
}

fn read_input(
    report: &mut Report<'_>,
    directory: &Directory,
    state: &Fields,
    draft: &mut Draft<'_>,
    node: &Node,
) {
    let of_state = |report: &mut Report<'_>, draft: &mut Draft<'_>, name: &str, span: &Range<usize>| {
        if state.broken.contains(name) {
            draft.broken.insert(name.to_owned());
        }
        if draft.input.contains_key(name) {
            report.error(span, format!("the input {} is given twice", shown(name)), "remove one of them");
        } else if let Some(field) = state.fields.get(name) {
            draft.state_inputs.push((name.to_owned(), span.clone()));
            draft.input.insert(name.to_owned(), field.clone());
        } else if !state.has(name) {
            draft.broken.insert(name.to_owned());
            let hint = suggest(name, state.fields.keys().map(String::as_str)).unwrap_or_default();
            let message = format!("the model has no field {}", shown(name));
            let own = "; an input that is only recorded needs a type: `input: { reference: text }`";
            report.error(span, message, format!("{hint}{own}").trim_start_matches("; ").to_owned());
        }
    };
    match &node.kind {
        Kind::List(items) => {
            for item in items {
                let hint =
                    "the list names fields of the model; others need a map: `input: { reference: text }`";
                if let Some(name) = yaml::text(report, item, hint) {
                    of_state(report, draft, name, &item.span);
                }
            }
        }
        Kind::Map(entries) => {
            for entry in entries {
                let empty = matches!(&entry.value.kind, Kind::Map(entries) if entries.is_empty());
                if entry.value.is_null() || empty {
                    of_state(report, draft, &entry.key, &entry.key_span);
                } else if state.has(&entry.key) {
                    report.error(
                        &entry.key_span,
                        format!(
                            "`{0}` is a field of the model, so its input can't be declared again",
                            entry.key
                        ),
                        format!("leave it empty, `{0}: {{}}`, or take another name", entry.key),
                    );
                } else if names::check_field(report, &entry.key_span, &entry.key, Place::Input)
                    && let Some(field) = fields::read(report, directory, entry, Place::Input)
                {
                    draft.input.insert(entry.key.clone(), field);
                } else {
                    draft.broken.insert(entry.key.clone());
                }
            }
            let taken =
                |name: &str| state.has(name) || draft.input.contains_key(name) || draft.broken.contains(name);
            for name in renames::check(report, entries, &draft.input, taken) {
                draft.input[&name].renamed_from.clear();
            }
        }
        Kind::Scalar(_) => {
            let hint = "a list of fields, `input: [number, note]`, or a map: `input: { reference: text }`";
            report.error(&node.span, format!("expected a list or a map, found {}", node.what()), hint);
        }
    }
}

fn guards<'n>(report: &mut Report<'_>, node: &'n Node) -> Vec<(&'n Node, String)> {
    let hint = "write a list: `- { that: size(input.lines) > 0, else: An order needs a line. }`";
    let mut guards = Vec::new();
    for item in yaml::items(report, node, hint).unwrap_or_default() {
        let Some(members) = yaml::members(report, item, "a `require`", &["that", "else"]) else { continue };
        let that = members.value("that");
        if that.is_none() {
            let hint = "`that` is the condition, such as `that: input.quantity > 0`";
            report.error(&item.span, "a `require` needs `that`", hint);
        }
        let otherwise = match members.value("else") {
            Some(node) => yaml::text(report, node, "a sentence for the caller"),
            None => {
                let hint = "`else` is the sentence that the caller reads when the condition doesn't hold";
                report.error(&item.span, "a `require` needs `else`", hint);
                None
            }
        };
        if let Some(that) = that {
            guards.push((that, otherwise.unwrap_or_default().trim().to_owned()));
        }
    }
    guards
}

fn from(report: &mut Report<'_>, node: &Node) -> Vec<Name> {
    let hint = "a value of the state field, or a list: `from: [placed, paid]`";
    let items = match &node.kind {
        Kind::List(items) => items.iter().collect(),
        _ => vec![node],
    };
    if items.is_empty() {
        report.error(&node.span, "`from` names no value, so the command could never run", hint);
    }
    items
        .into_iter()
        .filter_map(|item| Some((yaml::text(report, item, hint)?.to_owned(), item.span.clone())))
        .collect()
}
