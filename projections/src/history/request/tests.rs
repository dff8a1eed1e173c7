use proptest::prelude::*;
use writ_model::diagnostic::Source;

use super::*;

const COUNTER: &str = "
model: counter
fields:
  name: { type: text, key: true }
  pieces: { type: integer }
commands:
  open: { creates: true, input: [name], set: { pieces: '0' }, emits: opened }
  add: { input: { by: { type: integer } }, set: { pieces: state.pieces + input.by }, emits: added }
";
const NOTE: &str = "
model: note
fields: { text: { type: text } }
crud: true
";

fn models() -> Models {
    let source = |name: &str, text: &str| Source { name: name.into(), text: text.into() };
    Models::check("test", &[source("counter.yaml", COUNTER), source("note.yaml", NOTE)]).unwrap()
}

fn parse(params: &[(&str, &str)]) -> Result<EventsRequest, Vec<FieldError>> {
    let params: Vec<(String, String)> =
        params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    EventsRequest::parse(&models(), &params)
}

#[track_caller]
fn refused(params: &[(&str, &str)]) -> (String, String, String) {
    let errors = parse(params).unwrap_err();
    assert_eq!(errors.len(), 1, "{errors:?}");
    (errors[0].pointer.clone(), errors[0].code.clone(), errors[0].detail.clone())
}

#[test]
fn a_type_that_nobody_declares_is_answered_with_the_nearest() {
    let (pointer, code, detail) = refused(&[("type", "test.counter.Oppened")]);
    assert_eq!((&*pointer, &*code), ("/type", "unknown_value"));
    assert!(detail.contains("did you mean `test.counter.Opened`?"), "{detail}");
    assert!(refused(&[("model", "conter")]).2.contains("`counter`"));
    assert!(refused(&[("tiem[gte]", "2026-01-31T00:00:00Z")]).2.contains("`time[gte]`"));
}

#[test]
fn the_model_of_a_type_is_known() {
    let request = parse(&[("type", "test.counter.Opened")]).unwrap();
    assert!(request.conditions.contains(&Condition::Text("model", vec!["counter".into()])));
    let (pointer, code, _) = refused(&[("type", "test.counter.Opened"), ("model", "note")]);
    assert_eq!((&*pointer, &*code), ("/type", "contradiction"));
}

#[test]
fn a_natural_key_needs_its_model() {
    assert_eq!(refused(&[("aggregate_id", "a")]).0, "/aggregate_id");
    let id = models().get("counter").unwrap().id_of_key("a").unwrap();
    let request = parse(&[("aggregate_id", "a"), ("model", "counter")]).unwrap();
    assert!(request.conditions.contains(&Condition::Aggregate(id)));
}

#[test]
fn every_parameter_stands_once() {
    assert_eq!(refused(&[("actor", "a"), ("actor", "b")]).1, "repeated");
    parse(&[("time[gte]", "2026-01-31T00:00:00Z"), ("time[lt]", "2026-02-01T00:00:00+01:00")]).unwrap();
    for (name, value) in [
        ("sort", "version"),
        ("limit", "0"),
        ("limit", "1001"),
        ("time[lt]", "today"),
        ("time", "1"),
        ("actor", "\0"),
    ] {
        refused(&[(name, value)]);
    }
}

#[test]
fn a_cursor_belongs_to_its_query() {
    let request = parse(&[("model", "note")]).unwrap();
    let place = ("2026-01-31T00:00:00.000Z", "note", 3, 7);
    let cursor = cursor::encode(request.fingerprint, &place);
    let found = parse(&[("after", &cursor), ("model", "note"), ("limit", "7")]).unwrap();
    assert_eq!(found.after, Some((place.0.into(), place.1.into(), 3, 7)));
    for other in [&[("model", "counter")][..], &[], &[("model", "note"), ("sort", "time")]] {
        let params: Vec<_> = other.iter().copied().chain([("after", cursor.as_str())]).collect();
        assert_eq!(refused(&params).1, "invalid_cursor", "{other:?}");
    }
    let broken = cursor::encode(request.fingerprint, &("2026-01-31T00:00:00.000Z", "a\0", 3, 7));
    assert_eq!(refused(&[("model", "note"), ("after", &broken)]).1, "invalid_cursor");
}

proptest! {
    #[test]
    fn any_parameter_is_taken_or_refused(
        name in prop_oneof![prop::sample::select(PARAMETERS.to_vec()).prop_map(str::to_owned), "\\PC{0,20}"],
        value in "\\PC{0,40}",
    ) {
        let _ = parse(&[(&name, &value)]);
    }
}
