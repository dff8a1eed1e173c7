//! Model files: whatever the text, the check ends with models or with findings that point into it.

use writ_model::compatibility::{Registered, Version, compare};
use writ_model::declaration::{Trigger, is_name};
use writ_model::diagnostic::Source;
use writ_model::react::{Happened, TICK, on_rejected, react};
use writ_model::{Model, Models, Object, Rejection, Timestamp, cron, json_schema};

/// The line between two files of one input.
const NEXT_FILE: &str = "\n@@@\n";
/// Files of one input.
const MOST_FILES: usize = 3;
/// A day in 2026, in milliseconds.
const NOW: i64 = 1_795_000_000_000;

/// One to three files of YAML, each with any number of documents.
pub fn model_file(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let sources: Vec<Source> = text
        .splitn(MOST_FILES, NEXT_FILE)
        .enumerate()
        .map(|(nth, text)| Source { name: format!("{nth}.yaml"), text: text.to_owned() })
        .collect();
    match Models::check("shop", &sources) {
        Ok(models) => derive(&models),
        Err(findings) => {
            assert!(!findings.is_empty(), "refused without a reason");
            for finding in findings {
                let source = sources.iter().find(|source| source.name == finding.file);
                let source = source.unwrap_or_else(|| panic!("{finding:?} is about none of the files"));
                assert!(source.text.get(finding.span.clone()).is_some(), "{finding:?} is not in the text");
                assert!(finding.one_line(source).starts_with(&finding.file));
                source.line_at(finding.span.start);
            }
        }
    }
}

/// What passed the check has every form that the system derives from it.
fn derive(models: &Models) {
    let mut registered = Vec::new();
    for model in models.models.values() {
        json_schema::of_state(model);
        model.commands.values().map(json_schema::of_input).for_each(drop);
        for event in model.events.values() {
            json_schema::of_event(event);
            registered.push(Registered {
                subject: format!("writ.{}-{}", model.name, event.type_name),
                type_name: event.type_name.clone(),
                versions: vec![Version { number: 1, schema: event.codec.schema_json.clone() }],
            });
        }
    }
    models.models.values().for_each(|model| react_to_nothing(models, model));
    for projection in models.projections.values() {
        assert!(!projection.key.is_empty() && !projection.statements.is_empty(), "{projection:?}");
        for statement in &projection.statements {
            assert_eq!(statement.pieces.len(), statement.parameters.len() + 1, "{statement:?}");
            assert!(
                models.get(&statement.model).is_some_and(|model| model.events.contains_key(&statement.event))
            );
        }
    }
    #[cfg(feature = "server")]
    derive_for_server(models);
    let comparison = compare(models, &registered);
    assert!(comparison.findings.is_empty(), "incompatible with itself: {:?}", comparison.findings);
    assert!(comparison.changes.is_empty(), "differs from itself: {:?}", comparison.changes);
}

/// Each reaction has a name of its own, and an answer to an event that records nothing and to any time.
fn react_to_nothing(models: &Models, model: &Model) {
    let data = Object::new();
    let (event_id, aggregate) = (uuid::Uuid::nil(), uuid::Uuid::max());
    for (nth, reaction) in model.reactions.iter().enumerate() {
        assert!(is_name(&reaction.name), "{reaction:?}");
        assert!(model.reactions[..nth].iter().all(|other| other.name != reaction.name), "{reaction:?}");
        let (event, at) = match &reaction.trigger {
            Trigger::On(events) => (events.first().map_or("", String::as_str), Timestamp(0)),
            Trigger::Every(every) => {
                let tick = every.cron.next_after(Timestamp(NOW)).unwrap_or(Timestamp(NOW));
                let ticks = cron::due(&every.cron, every.catch_up, Timestamp(NOW), tick);
                assert!(ticks.len() <= 1, "{reaction:?} {ticks:?}");
                (TICK, tick)
            }
        };
        let happened =
            Happened { event_id, aggregate, version: 1, event, data: &data, state: None, at, actor: None };
        assert_eq!(
            react(models, model, reaction, &happened),
            react(models, model, reaction, &happened),
            "{reaction:?}"
        );
        drop(on_rejected(models, model, reaction, &happened, 0, &Rejection::NotFound));
    }
}

/// The tables and the OpenAPI document.
#[cfg(feature = "server")]
fn derive_for_server(models: &Models) {
    let schema = writ_projections::tables::Schema::new("writ");
    let of_models =
        models.models.values().map(|model| writ_projections::tables::Table::derive(&schema, model));
    let of_projections = models
        .projections
        .values()
        .map(|projection| writ_projections::tables::Table::of_projection(&schema, projection));
    for table in of_models.chain(of_projections) {
        assert!(!table.create().contains('\0'));
        let mut indexes: Vec<String> = table.create_indexes().into_iter().map(|(name, _)| name).collect();
        let count = indexes.len();
        indexes.sort_unstable();
        indexes.dedup();
        assert_eq!(indexes.len(), count, "two indexes have one name: {}", table.create());
    }
    writ_api::openapi::document(models, false);
}
