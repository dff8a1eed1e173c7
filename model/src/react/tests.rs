use std::collections::HashMap;
use std::fmt::Write as _;

use proptest::prelude::*;
use serde_json::{Value as Json, json};

use super::*;
use crate::diagnostic::Source;
use crate::testing::object_of;
use crate::value::Value;
use crate::value::{stored_from_json, stored_to_json};

const ORDER: Uuid = Uuid::from_u128(0x0192_f0c1_6d2e_7cc3_98c4_dc0c_0c07_398f);
const CUSTOMER: Uuid = Uuid::from_u128(0xc);
const EVENT: Uuid = Uuid::from_u128(0xe);
const ACTOR: Uuid = Uuid::from_u128(0xa);
const GUIDE: &str = include_str!("../../tests/good/reactions.yaml");

fn models(text: &str) -> Models {
    let source = Source { name: "a.yaml".to_owned(), text: text.to_owned() };
    Models::check("shop", &[source]).unwrap_or_else(|found| panic!("{found:#?}"))
}

fn at() -> Timestamp {
    "2026-11-27T10:00:00.000Z".parse().unwrap()
}

/// An event of the model `name` with these recorded fields, and the state that it leaves.
struct Given {
    models: Models,
    name: String,
    event: String,
    data: Object,
    state: Option<State>,
}

impl Given {
    fn new(text: &str, name: &str, event: &str, data: &Json) -> Given {
        let models = models(text);
        let model = models.get(name).unwrap();
        let declared = &model.events[event];
        let data = stored_from_json(&declared.fields, data).unwrap();
        let state = Some(crate::evolve(model, None, declared, &data, at()));
        Given { name: name.to_owned(), event: event.to_owned(), data, state, models }
    }

    fn placed(lines: &Json) -> Given {
        let data = json!({ "number": "A-1", "customer": CUSTOMER, "status": "placed", "lines": lines, "total": "12.50",
            "due_at": "2026-12-01T00:00:00Z", "token": "sealed" });
        Given::new(GUIDE, "order", "placed", &data)
    }

    fn model(&self) -> &Model {
        self.models.get(&self.name).unwrap()
    }

    fn happened(&self) -> Happened<'_> {
        Happened {
            event_id: EVENT,
            aggregate: ORDER,
            version: 3,
            event: &self.event,
            data: &self.data,
            state: self.state.as_ref(),
            at: at(),
            actor: Some(ACTOR),
        }
    }

    fn reaction(&self, name: &str) -> &Reaction {
        self.model().reactions.iter().find(|reaction| reaction.name == name).unwrap()
    }

    fn react(&self, name: &str) -> Result<Vec<Firing>, ReactError> {
        react(&self.models, self.model(), self.reaction(name), &self.happened())
    }

    fn rejected(&self, name: &str, item: usize, error: &Rejection) -> Result<Option<Planned>, ReactError> {
        on_rejected(&self.models, self.model(), self.reaction(name), &self.happened(), item, error)
    }

    /// What every reaction makes of it, one in a line.
    fn all(&self) -> String {
        let mut lines = String::new();
        for reaction in &self.model().reactions {
            let fired = react(&self.models, self.model(), reaction, &self.happened());
            for firing in fired.unwrap_or_else(|error| panic!("{}: {error}", reaction.name)) {
                let due = firing.due.map(|due| format!(" at {due}")).unwrap_or_default();
                let unless = match firing.unless.as_slice() {
                    [] => String::new(),
                    events => format!(" unless {}", events.join(", ")),
                };
                writeln!(
                    lines,
                    "{} {} {}{due}{unless}\n    {:?}",
                    reaction.name, firing.item, firing.id, firing.effect
                )
                .unwrap();
            }
        }
        lines
    }
}

fn two_lines() -> Json {
    json!([{ "product": Uuid::from_u128(1), "quantity": 2 }, { "product": Uuid::from_u128(2), "quantity": 5 }])
}

#[test]
fn a_reaction_makes_of_an_event_what_it_says() {
    insta::assert_snapshot!(Given::placed(&two_lines()).all());
}

#[test]
fn each_event_sets_off_its_own_reactions() {
    let placed = Given::placed(&two_lines());
    for (event, data) in [
        ("paid", json!({ "status": "paid" })),
        ("shipped", json!({ "status": "shipped" })),
        ("cancelled", json!({ "status": "cancelled", "reason": null })),
    ] {
        let data = stored_from_json(&placed.model().events[event].fields, &data).unwrap();
        let given = Given { event: event.to_owned(), data, ..Given::placed(&two_lines()) };
        insta::assert_snapshot!(event, given.all());
    }
}

#[test]
fn a_tick_fires_with_a_jitter_that_follows_from_it() {
    let given = Given { event: TICK.into(), ..Given::placed(&json!([])) };
    let firings = given.react("nightly").unwrap();
    let [Firing { due: Some(due), item: 0, effect: Effect::Queue { queue, .. }, .. }] = firings.as_slice()
    else {
        panic!("{firings:?}")
    };
    assert_eq!(queue, "reports");
    assert!(due.0 >= at().0 && due.0 < at().0 + 5 * 60_000, "{due}");
    assert_eq!(given.react("nightly").unwrap(), firings);
    let other = Happened { event_id: Uuid::from_u128(0xf), state: None, ..given.happened() };
    let others = react(&given.models, given.model(), given.reaction("nightly"), &other).unwrap();
    assert_ne!(others[0].due, firings[0].due, "another tick, another part of the jitter");
    let stock = Given::new(GUIDE, "stock", "open", &json!({ "number": "a" }));
    assert_eq!(stock.react("every_open"), Ok(vec![]), "an event is no tick");
    let stock = Given { event: TICK.into(), ..stock };
    let opened = stock.react("every_open").unwrap();
    let key = stock.model().id_of_key("2026-11-27T10:00:00.000Z");
    assert!(
        matches!(&opened[0].effect, Effect::Command(planned) if Some(planned.aggregate) == key),
        "{opened:?}"
    );
    let early = Happened { at: Timestamp(0), ..stock.happened() };
    assert_eq!(
        react(&stock.models, stock.model(), stock.reaction("every_open"), &early),
        Ok(vec![]),
        "`when`"
    );
}

#[test]
fn an_event_that_a_reaction_is_not_on_sets_nothing_off() {
    let given = Given { event: "paid".into(), ..Given::placed(&two_lines()) };
    assert_eq!(given.react("placed_product_reserve"), Ok(vec![]));
}

#[test]
fn a_refused_command_is_followed_by_another() {
    let given = Given::placed(&two_lines());
    let refused = Rejection::GuardFailed { detail: "Sold out.".into() };
    let planned = given.rejected("placed_product_reserve", 1, &refused).unwrap().unwrap();
    let expected = Planned {
        model: "order".into(),
        command: "cancel".into(),
        aggregate: ORDER,
        input: json!({ "reason": "Sold out." }),
    };
    assert_eq!(planned, expected);
    let gone = given.rejected("placed_product_reserve", 2, &refused);
    assert!(matches!(gone, Err(ReactError::Changed { .. })), "{gone:?}");
    assert_eq!(given.rejected("placed_after_24h_cancel", 0, &refused), Ok(None));
    assert_eq!(given.rejected("placed_queue_invoices", 0, &refused), Ok(None));
    let long = Rejection::Failed { detail: "ü".repeat(4000) };
    let planned = given.rejected("placed_product_reserve", 0, &long).unwrap().unwrap();
    let reason = planned.input["reason"].as_str().unwrap();
    assert!(reason.chars().count() == 300 && reason.ends_with('…'), "{reason}");
}

#[test]
fn every_refusal_has_a_code_and_a_sentence() {
    let text = "model: a\nfields: { n: integer }\ncrud: [create]\ncommands: { note: { input: { why: text } } }\nreactions:\n  \
                - { on: created, command: note, input: { why: \"''\" }, on_rejected: { command: note, input: { why: \"error.code + ': ' + error.detail\" } } }\n";
    let given = Given::new(text, "a", "created", &json!({ "n": 1 }));
    let fault = FieldError { pointer: "/why".into(), code: "required".into(), detail: "is missing".into() };
    let mut found = String::new();
    for rejection in [
        Rejection::UnknownCommand { command: "note".into() },
        Rejection::Invalid { errors: vec![fault.clone(), fault] },
        Rejection::NotFound,
        Rejection::Forbidden,
        Rejection::AlreadyExists { version: Some(4) },
        Rejection::VersionMismatch { expected: 3, actual: 4 },
        Rejection::WrongState {
            field: "status".into(),
            actual: "paid".into(),
            allowed: vec!["placed".into(), "new".into()],
        },
        Rejection::GuardFailed { detail: "Sold out.".into() },
        Rejection::Failed { detail: "division by zero in `a / b`".into() },
        Rejection::NotUnique { fields: vec!["email".into()] },
        Rejection::KeyReused,
    ] {
        let planned = given.rejected("created_note", 0, &rejection).unwrap().unwrap();
        writeln!(found, "{}", planned.input["why"].as_str().unwrap()).unwrap();
    }
    insta::assert_snapshot!(found);
}

const FAILING: &str = "\
model: a
fields:
  n: { type: integer, default: 0 }
  note: { type: text, optional: true }
  extra: { type: json, optional: true }
  who: { type: ref, to: a, optional: true }
  waits: { type: duration, default: PT0S }
  when: { type: timestamp, optional: true }
  items: { type: list, of: integer, optional: true }
crud: [create]
commands:
  keep: { input: { text: { type: text, max_length: 3 }, extra: {} } }
reactions:
  - { name: divides, on: created, queue: q, input: { x: 10 / event.n } }
  - { name: asks, on: created, when: size(event.note) > 0, queue: q }
  - { name: too_long, on: created, command: keep, input: { text: \"orElse(event.note, 'long')\" } }
  - { name: nests, on: created, command: keep, input: { text: \"'a'\", extra: event.extra } }
  - { name: opens, on: created, command: b.open, input: { key: \"orElse(event.note, '')\" } }
  - { name: to_nobody, on: created, command: a.keep, to: event.who, input: { text: \"'a'\" } }
  - { name: tells_nobody, on: created, notify: event.who, title: Hello }
  - { name: waits, on: created, after: event.waits, queue: q }
  - { name: never, on: created, at: event.when, queue: q }
  - { name: looks, on: created, when: state.n == 0, queue: q }
  - { name: each, on: created, for_each: { item: event.items }, queue: q, input: { x: 10 / item }, unique: { key: item, within: 1h } }
  - { name: key, on: created, queue: q, unique: { key: event.note, within: 1h } }
---
model: b
fields: { key: { type: text, key: true } }
commands: { open: { creates: true, input: [key] } }
";

fn failing(data: &Json) -> Given {
    Given::new(FAILING, "a", "created", data)
}

#[test]
fn what_fails_says_where() {
    let given = failing(&json!({ "n": 0, "note": null, "extra": null, "waits": "PT0S", "items": [1, 0] }));
    let mut deep = json!(1);
    for _ in 0..100 {
        deep = json!([deep]);
    }
    let far = i64::MAX;
    let mut found = String::new();
    let mut fails = |given: &Given, name: &str| {
        let error = given.react(name).expect_err(name);
        let source =
            std::error::Error::source(&error).map(|source| format!(": {source}")).unwrap_or_default();
        writeln!(found, "{name}: {error}{source}").unwrap();
    };
    for name in ["divides", "asks", "too_long", "opens", "each"] {
        fails(&given, name);
    }
    fails(&failing(&json!({ "n": 0, "extra": deep, "waits": "PT0S" })), "nests");
    let mut data = given.data.clone();
    data.insert("waits".into(), Value::Duration(far));
    data.insert("when".into(), Value::Timestamp(Timestamp(far)));
    let late = Given { data, ..failing(&json!({ "n": 0, "waits": "PT0S" })) };
    fails(&late, "waits");
    fails(&late, "never");
    fails(&Given { state: None, ..failing(&json!({ "n": 0, "waits": "PT0S" })) }, "looks");
    insta::assert_snapshot!(found);
}

#[test]
fn null_is_nobody_and_never() {
    let given = failing(&json!({ "n": 1, "waits": "-PT5S" }));
    for name in ["to_nobody", "tells_nobody", "never", "each"] {
        assert_eq!(given.react(name), Ok(vec![]), "{name}");
    }
    assert_eq!(given.react("waits").unwrap()[0].due, Some(at()), "a negative duration is none");
    let Effect::Queue { trying, .. } = &given.react("key").unwrap()[0].effect else { panic!() };
    assert_eq!(trying.unique, None, "without a key it is the same as no other");
}

#[test]
fn tasks_with_one_key_have_one_id_and_others_have_others() {
    let given = failing(&json!({ "n": 1, "waits": "PT0S", "items": [1, 2, 1] }));
    let ids: Vec<(Uuid, i64)> = given
        .react("each")
        .unwrap()
        .into_iter()
        .map(|firing| match firing.effect {
            Effect::Queue { trying, .. } => trying.unique.unwrap(),
            effect => panic!("{effect:?}"),
        })
        .collect();
    assert_eq!(ids[0], ids[2]);
    assert_ne!(ids[0], ids[1]);
    assert_eq!(ids[0].1, 60 * 60 * 1000);
}

#[test]
fn a_command_that_is_gone_is_no_panic() {
    let given = Given::placed(&two_lines());
    let others = models("model: product\nfields: { name: text }\ncrud: true\n");
    let reaction = given.reaction("placed_product_reserve");
    let fired = react(&others, given.model(), reaction, &given.happened());
    assert!(matches!(fired, Err(ReactError::Changed { .. })), "{fired:?}");
}

/// Ids by reaction.
fn ids(given: &Given) -> HashMap<String, Vec<Uuid>> {
    let ids = |reaction: &Reaction| {
        let fired = react(&given.models, given.model(), reaction, &given.happened()).unwrap();
        (reaction.name.clone(), fired.into_iter().map(|firing| firing.id).collect())
    };
    given.model().reactions.iter().map(ids).collect()
}

/// The reactions of the order in another order.
fn reordered(order: &[usize]) -> String {
    let (before, rest) = GUIDE.split_once("reactions:\n").unwrap();
    let (list, after) = rest.split_once("---").unwrap();
    let mut items: Vec<String> = Vec::new();
    for line in list.lines() {
        if line.starts_with("  - ") {
            items.push(String::new());
        }
        let item = items.last_mut().unwrap();
        item.push_str(line);
        item.push('\n');
    }
    let mut places: Vec<usize> = (0..items.len()).collect();
    places.sort_by_key(|place| (order[place % order.len()], *place));
    let list: String = places.into_iter().map(|place| items[place].as_str()).collect();
    format!("{before}reactions:\n{list}---{after}")
}

fn lines() -> impl Strategy<Value = Json> {
    let line = (any::<u128>(), 1..100_000i64)
        .prop_map(|(product, quantity)| json!({ "product": Uuid::from_u128(product), "quantity": quantity }));
    proptest::collection::vec(line, 0..6).prop_map(Json::from)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn a_repeat_has_the_same_ids_and_another_order_of_the_list_too(
        lines in lines(),
        order in proptest::collection::vec(0..100usize, 1..20),
    ) {
        let given = Given::placed(&lines);
        let first = ids(&given);
        prop_assert_eq!(&first, &ids(&given));
        let text = reordered(&order);
        let data = stored_to_json(&given.model().events["placed"].fields, &given.data);
        prop_assert_eq!(&first, &ids(&Given::new(&text, "order", "placed", &data)));
        let mut all: Vec<Uuid> = first.values().flatten().copied().collect();
        let count = all.len();
        all.sort_unstable();
        all.dedup();
        prop_assert_eq!(all.len(), count, "two firings with one id");
        // One for each item, none for an empty list.
        let lines = lines.as_array().map_or(0, Vec::len);
        prop_assert_eq!(first["placed_product_reserve"].len(), lines);
        prop_assert_eq!(first["placed_after_24h_cancel"].len(), 1);
    }

    /// Also of another type than the declaration says: stored events can be older than it.
    #[test]
    fn no_data_makes_it_panic(
        data in crate::testing::declared_object(),
        names in proptest::collection::vec(proptest::sample::select(&["n", "note", "extra", "who", "waits", "when", "items"][..]), 5),
        version in any::<u64>(),
        at in any::<i64>(),
        item in any::<usize>(),
        has_state in any::<bool>(),
    ) {
        let (fields, object) = data;
        drop(object_of(&fields));
        let values: Vec<Value> = object.into_values().collect();
        let mut given = failing(&json!({ "n": 1, "waits": "PT0S" }));
        for (name, value) in names.into_iter().zip(values) {
            given.data.insert(name.to_owned(), value);
        }
        if !has_state {
            given.state = None;
        }
        for reaction in &given.model().reactions {
            let happened = Happened { version, at: Timestamp(at), ..given.happened() };
            let fired = react(&given.models, given.model(), reaction, &happened);
            let again = react(&given.models, given.model(), reaction, &happened);
            prop_assert_eq!(&fired, &again);
            for firing in fired.unwrap_or_default() {
                prop_assert!(firing.due.is_none_or(Timestamp::is_in_range), "{:?}", firing);
                if let Effect::Command(planned) = &firing.effect {
                    let model = given.models.get(&planned.model).unwrap();
                    prop_assert!(model.commands[&planned.command].parse_sealed_input(&planned.input).is_ok());
                }
            }
            drop(on_rejected(&given.models, given.model(), reaction, &happened, item, &Rejection::NotFound));
        }
    }
}
