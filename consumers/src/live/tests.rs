//! The feed without Kafka and PostgreSQL: a log in memory, the hub, and what subscribers make of it.

mod index;
mod seam;
mod subscription;

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use serde_json::json;
use uuid::Uuid;
use writ_model::decide::Actor;
use writ_model::diagnostic::Source;
use writ_model::value::object_from_json;
use writ_model::{Model, Models, State, Timestamp, evolve};

use super::change::Change;
use super::event::Happened;
use super::views::View;
use super::{Error, Wanted};

const ORDER: &str = "
model: order
fields:
  customer: { type: uuid, optional: true }
  status: { type: enum, values: [placed, paid, shipped] }
  total: { type: decimal, precision: 12, scale: 2, optional: true }
  ship_to: { type: object, optional: true, fields: { city: { type: text, optional: true } } }
  secret_note: { type: text, optional: true }
crud: true
allow:
  read: role('staff') || state.customer == actor.id
  fields:
    secret_note: role('staff')
";

const OFFER: &str = "
model: offer
fields:
  until: { type: timestamp }
crud: true
allow:
  read: state.until > now
";

static MODELS: LazyLock<Arc<Models>> = LazyLock::new(|| {
    let source = |text: &str| Source { name: "model.yaml".into(), text: text.into() };
    let sources = [ORDER, OFFER].map(source);
    Arc::new(Models::check("shop", &sources).unwrap_or_else(|findings| panic!("{findings:#?}")))
});

fn model() -> &'static Arc<Model> {
    MODELS.get("order").unwrap()
}

/// The same id for the same number.
fn id(number: u128) -> Uuid {
    Uuid::from_u128(number + 1)
}

fn staff() -> Actor {
    Actor { roles: vec!["staff".into()], ..Actor::default() }
}

fn customer(number: u128) -> Actor {
    Actor { id: Some(id(number)), ..Actor::default() }
}

fn wanted(actor: Actor, only: Option<Uuid>, params: &[(&str, &str)]) -> Wanted {
    let params = params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
    Wanted { model: "order".into(), id: only, params, actor }
}

fn view(wanted: &Wanted) -> Arc<View> {
    Arc::new(wanted.view(&MODELS).unwrap_or_else(|error: Error| panic!("{error:?}")))
}

/// Views of every kind: by id, by field, by a part of an object, by the reader, by nothing.
fn views() -> Vec<Wanted> {
    let mut all = vec![
        wanted(staff(), None, &[]),
        wanted(staff(), None, &[("status", "paid")]),
        wanted(staff(), None, &[("status[in]", "placed,shipped")]),
        wanted(staff(), None, &[("total", "5")]),
        wanted(staff(), None, &[("total[gte]", "5")]),
        wanted(staff(), None, &[("total[in]", "1.50,7.00"), ("status", "placed")]),
        wanted(staff(), None, &[("ship_to.city", "Ulm")]),
        wanted(staff(), None, &[("ship_to.city[is_null]", "true")]),
        wanted(Actor::default(), None, &[]),
    ];
    all.extend((0..4).map(|number| wanted(customer(number), None, &[])));
    all.extend((0..4).map(|number| wanted(customer(number), None, &[("status[ne]", "paid")])));
    all.extend((0..6).map(|number| wanted(staff(), Some(id(number)), &[])));
    all.extend((0..3).map(|number| wanted(customer(number), Some(id(number)), &[("total[lt]", "6")])));
    let ids = |numbers: [u128; 3]| numbers.map(|number| id(number).to_string()).join(",");
    all.extend([[0, 1, 2], [2, 4, 5]].map(|some| wanted(staff(), None, &[("id[in]", &ids(some))])));
    all
}

/// Events of one partition's log with what they did.
#[derive(Debug, Default)]
struct World {
    states: BTreeMap<Uuid, Arc<State>>,
}

impl World {
    /// The next event of an aggregate: what it does is up to `choice`.
    fn event(&mut self, number: u128, choice: u8, partition: i32, offset: i64) -> Change {
        let (id, model) = (id(number), model());
        let before = self.states.get(&id).cloned();
        let exists = before.as_ref().is_some_and(|state| !state.deleted);
        let name = match (exists, choice % 8) {
            (false, _) => "created",
            (true, 0) => "deleted",
            (true, _) => "updated",
        };
        let (index, _, event) = model.events.get_full(name).unwrap();
        let recorded = if name == "deleted" {
            json!({})
        } else {
            let choice = usize::from(choice);
            let customer = [Some(self::id(0)), Some(self::id(1)), Some(self::id(2)), None][choice / 2 % 4];
            let status = ["placed", "paid", "shipped"][choice % 3];
            let total = [Some("5.00"), Some("1.5"), Some("7"), None][choice / 3 % 4];
            let ship_to = (choice / 5 % 2 == 1).then(|| json!({ "city": "Ulm" }));
            json!({
                "customer": customer, "status": status, "total": total, "ship_to": ship_to, "secret_note": "hush",
            })
        };
        let fields = object_from_json(&event.fields, &recorded, true).unwrap();
        let at = Timestamp(offset);
        let after = Arc::new(evolve(model, before.as_deref().cloned(), event, &fields, at));
        self.states.insert(id, after.clone());
        let happened = Happened {
            partition,
            offset,
            written: None,
            aggregate: id,
            version: after.version,
            at,
            index,
            id: self::id(1000),
            actor: None,
            correlation_id: None,
            causation_id: None,
            fields,
        };
        Change { happened, before, after }
    }
}
