use indexmap::IndexMap;
use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::avro::EventCodec;
use crate::declaration::{Field, Guard, Type};
use crate::evolve::evolve;
use crate::expression::{Compiled, Env, Expected};
use crate::testing::{any_fields, decimal, field, fields, object_of, optional, text};

/// An order as `models/order.yaml` might have it, without the expressions.
fn order() -> Model {
    let status = Type::Enum(vec!["placed".into(), "paid".into(), "shipped".into()]);
    let state = fields([
        Field { key: true, immutable: true, ..field("number", text()) },
        Field { default: Some(Value::Text("placed".into())), ..field("status", status) },
        optional("note", Type::Text { min_length: None, max_length: Some(5), pattern: None }),
        Field { default: Some(Value::Decimal("0.00".parse().unwrap())), ..field("discount", decimal(5, 2)) },
    ]);
    let pick = |names: &[&str]| fields(names.iter().map(|name| state[*name].clone()));
    let mut paid = pick(&["status"]);
    paid.insert("reference".into(), field("reference", text()));
    let events = [
        event("placed", state.clone(), true, false),
        event("paid", paid, false, false),
        event("changed", pick(&["note", "discount"]), false, false),
        event("removed", fields([]), false, true),
    ];
    let commands = [
        Command {
            creates: true,
            to: Some("placed".into()),
            ..command("place", pick(&["number", "note", "discount"]), "placed")
        },
        Command {
            from: vec!["placed".into()],
            to: Some("paid".into()),
            ..command("pay", fields([field("reference", text())]), "paid")
        },
        Command {
            state_inputs: vec!["note".into(), "discount".into()],
            ..command("change", pick(&["note", "discount"]), "changed")
        },
        Command { deletes: true, ..command("remove", fields([]), "removed") },
    ];
    model(state, Some("number"), Some("status"), commands, events)
}

fn model(
    fields: IndexMap<String, Field>,
    key: Option<&str>,
    state_field: Option<&str>,
    commands: impl IntoIterator<Item = Command>,
    events: impl IntoIterator<Item = Event>,
) -> Model {
    Model {
        app: "shop".into(),
        name: "order".into(),
        doc: None,
        fields,
        key: key.map(str::to_owned),
        state_field: state_field.map(str::to_owned),
        commands: commands.into_iter().map(|command| (command.name.clone(), command)).collect(),
        events: events.into_iter().map(|event| (event.name.clone(), event)).collect(),
        allow: Vec::new(),
        uniques: Vec::new(),
        indexes: Vec::new(),
        search: Vec::new(),
        reactions: Vec::new(),
        field_rules: Vec::new(),
    }
}

fn event(name: &str, fields: IndexMap<String, Field>, creates: bool, deletes: bool) -> Event {
    let type_name = format!("shop.order.{name}");
    let codec = EventCodec::new(&type_name, &fields).unwrap();
    Event { name: name.into(), type_name, fields, creates, deletes, codec }
}

fn command(name: &str, input: IndexMap<String, Field>, emits: &str) -> Command {
    Command {
        name: name.into(),
        doc: None,
        creates: false,
        deletes: false,
        input,
        state_inputs: Vec::new(),
        partial: false,
        require: Vec::new(),
        from: Vec::new(),
        to: None,
        set: IndexMap::new(),
        emits: emits.into(),
    }
}

/// Sends commands to one aggregate, folding what happens.
struct Aggregate<'a> {
    model: &'a Model,
    id: Uuid,
    state: Option<State>,
}

impl<'a> Aggregate<'a> {
    fn new(model: &'a Model) -> Self {
        Aggregate { model, id: model.id_of_key("A-1").unwrap_or_default(), state: None }
    }

    fn send(&mut self, command: &str, input: Json) -> Result<Decision, Rejection> {
        self.send_expecting(command, input, None)
    }

    fn send_expecting(
        &mut self,
        command: &str,
        input: Json,
        expected_version: Option<u64>,
    ) -> Result<Decision, Rejection> {
        let (now, actor) = (Timestamp(1000), &Actor::unrestricted());
        let request = Request { id: self.id, command, input: &input, expected_version, now, actor };
        let decision = decide(self.model, self.state.as_ref(), &request)?;
        assert_eq!(decide(self.model, self.state.as_ref(), &request).as_ref(), Ok(&decision));
        let event = &self.model.events[&decision.event];
        assert!(
            decision.fields.keys().eq(event.fields.keys()),
            "an event records all of its fields, in order"
        );
        self.state = Some(evolve(self.model, self.state.take(), event, &decision.fields, now));
        Ok(decision)
    }

    fn public(&self) -> Json {
        self.state.as_ref().unwrap().public_json()
    }
}

fn placed(model: &Model) -> Aggregate<'_> {
    let mut order = Aggregate::new(model);
    order.send("place", json!({ "number": "A-1", "note": "gift" })).unwrap();
    order
}

#[test]
fn a_creating_event_is_complete() {
    let model = order();
    let mut order = Aggregate::new(&model);
    let decision = order.send("place", json!({ "number": "A-1" })).unwrap();
    let complete = json!({ "number": "A-1", "status": "placed", "note": null, "discount": "0.00" });
    assert_eq!(decision.event, "placed");
    assert_eq!(crate::value::object_to_json(&decision.fields), complete);
    assert_eq!(order.public(), complete);
    assert_eq!(order.state.as_ref().map(|state| state.version), Some(1));
}

#[test]
fn what_is_absent_is_kept_and_null_clears() {
    let model = order();
    let mut order = placed(&model);
    let decision = order.send("change", json!({ "discount": "1.5" })).unwrap();
    assert_eq!(crate::value::object_to_json(&decision.fields), json!({ "note": "gift", "discount": "1.50" }));
    order.send("change", json!({ "note": null, "discount": "2" })).unwrap();
    assert_eq!(order.public()["note"], Json::Null);
    assert_eq!(order.public()["discount"], "2.00");
}

#[test]
fn inputs_that_are_no_fields_stay_in_the_event() {
    let model = order();
    let mut order = placed(&model);
    let decision = order.send("pay", json!({ "reference": "R" })).unwrap();
    assert_eq!(crate::value::object_to_json(&decision.fields), json!({ "status": "paid", "reference": "R" }));
    assert_eq!(order.public()["status"], "paid");
    assert_eq!(order.public().get("reference"), None);
}

#[test]
fn rejections_come_in_the_order_of_the_checks() {
    let model = order();
    let mut order = Aggregate::new(&model);
    let bad = json!({ "x": 1 });
    assert_eq!(order.send("fly", bad.clone()), Err(Rejection::UnknownCommand { command: "fly".into() }));
    assert_eq!(order.send("pay", bad.clone()), Err(Rejection::NotFound));
    let good = json!({ "number": "A-1" });
    assert_eq!(order.send_expecting("place", good.clone(), Some(1)), Err(Rejection::NotFound));
    assert!(
        matches!(order.send("place", bad.clone()), Err(Rejection::Invalid { errors }) if errors.len() == 2)
    );

    let mut order = placed(&model);
    assert_eq!(
        order.send_expecting("place", good, Some(9)),
        Err(Rejection::AlreadyExists { version: Some(1) })
    );
    let stale = Rejection::VersionMismatch { expected: 2, actual: 1 };
    assert_eq!(order.send_expecting("pay", json!({ "reference": "R" }), Some(2)), Err(stale));
    order.send_expecting("pay", json!({ "reference": "R" }), Some(1)).unwrap();
    assert!(matches!(order.send("pay", bad), Err(Rejection::Invalid { .. })));
    let wrong = Rejection::WrongState {
        field: "status".into(),
        actual: "paid".into(),
        allowed: vec!["placed".into()],
    };
    assert_eq!(order.send("pay", json!({ "reference": "R" })), Err(wrong));
}

#[test]
fn a_deleted_aggregate_can_only_be_created_again() {
    let model = order();
    let mut order = placed(&model);
    order.send("remove", json!({})).unwrap();
    assert_eq!(order.send("remove", json!({})), Err(Rejection::NotFound));
    assert_eq!(order.send("pay", json!({ "reference": "R" })), Err(Rejection::NotFound));
    order.send("place", json!({ "number": "A-1" })).unwrap();
    assert_eq!(order.state.as_ref().unwrap().version, 3);
    assert_eq!(order.public()["note"], Json::Null);
}

#[test]
fn a_natural_key_belongs_to_one_id() {
    let model = order();
    let mut order = Aggregate::new(&model);
    let rejection = order.send("place", json!({ "number": "B-2" })).unwrap_err();
    assert!(matches!(rejection, Rejection::Failed { detail } if detail.contains("number `B-2`")));
}

#[test]
fn a_kept_value_that_the_event_no_longer_takes_fails_the_command() {
    let model = order();
    let mut order = placed(&model);
    let state = order.state.as_mut().unwrap();
    state.fields.insert("discount".into(), Value::Decimal("12345.678".parse().unwrap()));
    let rejection = order.send("change", json!({ "note": "x" })).unwrap_err();
    assert!(matches!(rejection, Rejection::Failed { detail } if detail.contains("discount")));
    order.send("change", json!({ "discount": "1" })).unwrap();
}

#[test]
fn rejections_survive_as_json() {
    let rejection = Rejection::Invalid {
        errors: vec![FieldError {
            pointer: "/a".into(),
            code: "required".into(),
            detail: "is missing".into(),
        }],
    };
    let json = serde_json::to_value(&rejection).unwrap();
    assert_eq!(json["reason"], "invalid");
    assert_eq!(serde_json::from_value::<Rejection>(json).unwrap(), rejection);
}

/// Two numbers that `swap` exchanges, `raise` adds to and `share` divides.
fn pair() -> Model {
    let bounded = || Type::Integer { min: Some(0), max: Some(100) };
    let state = fields([field("left", bounded()), field("right", bounded())]);
    let amount = || fields([optional("amount", Type::Integer { min: None, max: None })]);
    let compile = |source: &str, input: &IndexMap<String, Field>, expected: Expected<'_>| {
        let env = Env { input: Some(input), state: Some(&state), channel: None };
        Compiled::compile(source, env, expected).unwrap()
    };
    let set = |input: &IndexMap<String, Field>, assignments: &[(&str, &str)]| -> IndexMap<String, Compiled> {
        let compiled = |(name, source): &(&str, &str)| {
            ((*name).to_owned(), compile(source, input, Expected::Field(&state[*name])))
        };
        assignments.iter().map(compiled).collect()
    };
    let guard = |source: &str, otherwise: &str| Guard {
        that: compile(source, &amount(), Expected::Boolean),
        otherwise: otherwise.into(),
    };
    let commands = [
        Command { creates: true, ..command("create", state.clone(), "created") },
        Command {
            set: set(&fields([]), &[("left", "state.right"), ("right", "state.left")]),
            ..command("swap", fields([]), "changed")
        },
        Command {
            require: vec![
                guard("input.amount != null", "An amount is needed."),
                guard("input.amount > 0", "The amount must be positive."),
            ],
            set: set(&amount(), &[("left", "state.left + input.amount")]),
            ..command("raise", amount(), "changed")
        },
        Command {
            set: set(&amount(), &[("left", "state.left / input.amount")]),
            ..command("share", amount(), "changed")
        },
    ];
    let events =
        [event("created", state.clone(), true, false), event("changed", state.clone(), false, false)];
    model(state, None, None, commands, events)
}

#[test]
fn assignments_all_see_the_old_state() {
    let model = pair();
    let mut pair = Aggregate::new(&model);
    pair.send("create", json!({ "left": 1, "right": 2 })).unwrap();
    pair.send("swap", json!({})).unwrap();
    assert_eq!(pair.public(), json!({ "left": 2, "right": 1 }));
}

#[test]
fn the_first_guard_that_fails_answers() {
    let model = pair();
    let mut pair = Aggregate::new(&model);
    pair.send("create", json!({ "left": 1, "right": 2 })).unwrap();
    let failed = |detail: &str| Err(Rejection::GuardFailed { detail: detail.into() });
    assert_eq!(pair.send("raise", json!({})), failed("An amount is needed."));
    assert_eq!(pair.send("raise", json!({ "amount": -1 })), failed("The amount must be positive."));
    pair.send("raise", json!({ "amount": 5 })).unwrap();
    assert_eq!(pair.public(), json!({ "left": 6, "right": 2 }));
}

#[test]
fn a_value_that_cannot_be_computed_or_held_fails_the_command() {
    let model = pair();
    let mut pair = Aggregate::new(&model);
    pair.send("create", json!({ "left": 1, "right": 2 })).unwrap();
    let detail = |rejection: Result<Decision, Rejection>| match rejection {
        Err(Rejection::Failed { detail }) => detail,
        other => panic!("{other:?}"),
    };
    let held = detail(pair.send("raise", json!({ "amount": 100 })));
    assert_eq!(
        held,
        "`state.left + input.amount` gives a value that `left` can't hold: /left: must be at most 100"
    );
    assert!(detail(pair.send("raise", json!({ "amount": i64::MAX }))).contains("state.left + input.amount"));
    assert!(detail(pair.send("share", json!({ "amount": 0 }))).contains("zero"));
    assert!(detail(pair.send("share", json!({}))).contains("null"));
    assert_eq!(pair.public(), json!({ "left": 1, "right": 2 }));
}

/// A crud model of any fields, and bodies for `create` and then `update`.
fn crud_story() -> impl Strategy<Value = (IndexMap<String, Field>, Vec<Object>)> {
    any_fields().prop_flat_map(|fields| {
        let bodies = prop::collection::vec(object_of(&fields), 1..5);
        (Just(fields), bodies)
    })
}

proptest! {
    /// Whatever is decided, folding the events as they come out of Kafka gives the decider's state.
    #[test]
    fn folding_events_equals_the_deciders_state((declared, bodies) in crud_story()) {
        let model = model(
            declared.clone(),
            None,
            None,
            [
                Command { creates: true, ..command("create", declared.clone(), "created") },
                Command {
                    partial: true,
                    state_inputs: declared.keys().cloned().collect(),
                    ..command("update", declared.clone(), "updated")
                },
            ],
            [event("created", declared.clone(), true, false), event("updated", declared, false, false)],
        );
        let mut aggregate = Aggregate::new(&model);
        let mut replayed = None;
        for (index, body) in bodies.iter().enumerate() {
            let command = if index == 0 { "create" } else { "update" };
            let mut body = crate::value::object_to_json(body);
            if let (1.., Some(members)) = (index, body.as_object_mut()) {
                members.retain(|name, _| name.len() % 2 == index % 2 || name.ends_with('0'));
            }
            let decision = aggregate.send(command, body).map_err(|error| TestCaseError::fail(format!("{error:?}")))?;
            let event = &model.events[&decision.event];
            let mut datum = Vec::new();
            event.codec.encode(&decision.fields, &mut datum).unwrap();
            let decoded = event.codec.decode(&event.codec.schema, &datum).unwrap();
            replayed = Some(evolve(&model, replayed, event, &decoded, Timestamp(1000)));
        }
        prop_assert_eq!(&replayed, &aggregate.state);
        let stored = aggregate.state.unwrap().to_json(&model);
        prop_assert_eq!(State::from_json(&model, &stored).ok(), replayed);
    }
}

#[test]
fn a_secret_has_to_be_sealed() {
    let source = crate::diagnostic::Source {
        name: "door.yaml".into(),
        text: "
model: door
fields: { code: { type: text, secret: true, optional: true, max_length: 8, pattern: '[0-9]+' } }
commands:
  build: { creates: true, input: [code] }
"
        .into(),
    };
    let models = crate::Models::check("house", &[source]).unwrap();
    let model = models.get("door").unwrap();
    let decided = |body: serde_json::Value| {
        let request = Request {
            id: Uuid::nil(),
            command: "build",
            input: &body,
            expected_version: None,
            now: Timestamp(0),
            actor: &Actor::unrestricted(),
        };
        decide(model, None, &request).map(|decision| crate::value::object_to_json(&decision.fields))
    };
    // The constraints are those of the clear text, which the api has seen.
    let sealed = json!({ "code": "sealed:1:630dcd2966c43366:H3y_cSO9sdXgrNILfkJ686GJi28YUJ1RRX92JY" });
    assert_eq!(decided(sealed.clone()), Ok(sealed));
    assert_eq!(decided(json!({})), Ok(json!({ "code": null })));
    let Err(Rejection::Invalid { errors }) = decided(json!({ "code": "1234" })) else { panic!() };
    assert_eq!(errors[0].code, "not_sealed");

    let command = &model.commands["build"];
    let mut body = json!({ "code": "1234" });
    assert!(command.parse_input(&body).is_ok());
    command.seal(&mut body, |field, text| format!("sealed:1:{}:{text}", field.name));
    assert_eq!(body, json!({ "code": "sealed:1:code:1234" }));
    assert!(command.parse_sealed_input(&body).is_ok());
}

/// The order of the questions: what the actor may not know of decides nothing that the actor sees.
#[test]
fn who_may_not_learns_nothing() {
    let source = crate::diagnostic::Source {
        name: "letter.yaml".into(),
        text: "
model: letter
fields:
  code: { type: text, key: true }
  to: { type: uuid }
  from: { type: uuid }
  status: { type: enum, values: [closed, opened] }
commands:
  write: { creates: true, input: [code, to, from], set: { status: \"'closed'\" } }
  open: { from: closed, to: opened }
allow:
  write: actor.id != null
  open: state.to == actor.id
  read: state.to == actor.id || state.from == actor.id
"
        .into(),
    };
    let models = crate::Models::check("post", &[source]).unwrap();
    let model = models.get("letter").unwrap();
    let [receiver, sender, stranger] = [1, 2, 3].map(Uuid::from_u128);
    let body = json!({ "code": "a", "to": receiver, "from": sender });
    let id = model.id_of_key("a").unwrap();
    let ask = |state: Option<&State>, command: &str, by: Option<Uuid>, expected_version: Option<u64>| {
        let actor = Actor { id: by, ..Actor::default() };
        let input = if command == "write" { body.clone() } else { json!({}) };
        let now = Timestamp(1);
        let request = Request { id, command, input: &input, expected_version, now, actor: &actor };
        decide(model, state, &request)
    };
    assert_eq!(ask(None, "write", None, None), Err(Rejection::Forbidden));
    let written = ask(None, "write", Some(sender), None).unwrap();
    let event = &model.events[&written.event];
    let state = evolve(model, None, event, &written.fields, Timestamp(1));

    let open = |by, version| ask(Some(&state), "open", Some(by), version);
    assert_eq!(open(stranger, None), Err(Rejection::NotFound));
    assert_eq!(open(stranger, None), ask(None, "open", Some(stranger), None));
    assert_eq!(open(stranger, Some(7)), Err(Rejection::NotFound), "no word on the version");
    assert_eq!(open(sender, Some(7)), Err(Rejection::Forbidden));
    assert_eq!(open(receiver, Some(7)), Err(Rejection::VersionMismatch { expected: 7, actual: 1 }));
    let opened = open(receiver, None).unwrap();
    let opened =
        evolve(model, Some(state.clone()), &model.events[&opened.event], &opened.fields, Timestamp(1));
    for (by, rejection) in [(stranger, Rejection::NotFound), (sender, Rejection::Forbidden)] {
        assert_eq!(ask(Some(&opened), "open", Some(by), None), Err(rejection), "no word on the status");
    }
    assert!(matches!(ask(Some(&opened), "open", Some(receiver), None), Err(Rejection::WrongState { .. })));
    assert_eq!(
        ask(Some(&state), "write", Some(stranger), None),
        Err(Rejection::AlreadyExists { version: None })
    );
    assert_eq!(
        ask(Some(&state), "write", Some(receiver), None),
        Err(Rejection::AlreadyExists { version: Some(1) })
    );
}
