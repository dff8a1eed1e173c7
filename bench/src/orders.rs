//! A large shop, event by event: categories, products and customers, then orders that are placed and, some time later,
//! paid, shipped or cancelled.
//!
//! Every event is a decision of the model itself ([`mod@writ_model::decide`]), so that what is measured later is what the
//! decider would have written, whatever the model files say. The same count gives the same events in the same order.

mod catalogue;

use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap, VecDeque};
use std::sync::Arc;

use anyhow::{Context, Result, anyhow};
use rand::{Rng as _, SeedableRng as _};
use rand_chacha::ChaCha8Rng;
use serde_json::json;
use uuid::Uuid;
use writ_model::decide::{Actor, Request};
use writ_model::{Model, Models, Object, State, Timestamp, decide, evolve};

use catalogue::Catalogue;

/// Decides every random choice.
const SEED: u64 = 5;
/// When the first order was placed: 2024-01-01T00:00:00Z, milliseconds since 1970.
const FIRST: i64 = 1_704_067_200_000;
/// From the first order to the last: a thousand days, so that the event log has more than thirty months.
const SPAN: i64 = 1000 * DAY;
const DAY: i64 = 24 * 60 * 60 * 1000;
/// How many orders are placed before the next thing happens to one, at most: as much time passes as they span.
const LATEST: usize = 20_000;

/// An event before it has a place in Kafka.
#[derive(Debug)]
pub(crate) struct Made {
    /// The model.
    pub(crate) model: Arc<Model>,
    /// As the model declares it.
    pub(crate) event: String,
    /// The aggregate.
    pub(crate) aggregate: Uuid,
    /// The event.
    pub(crate) id: Uuid,
    /// The command that it answers, which is also what it is correlated with.
    pub(crate) command: Uuid,
    /// Whose command.
    pub(crate) actor: Uuid,
    /// When.
    pub(crate) at: Timestamp,
    /// What is recorded.
    pub(crate) fields: Object,
    /// The aggregate after it.
    pub(crate) state: State,
}

/// What still happens to an order.
#[derive(Debug, Clone, Copy)]
enum Step {
    Pay,
    Ship,
    Cancel,
}

/// An order to which something will happen.
#[derive(Debug)]
struct Open {
    state: State,
    steps: &'static [Step],
}

/// All events, in the order in which they happen.
#[derive(Debug)]
pub(crate) struct Orders {
    order: Arc<Model>,
    catalogue: Catalogue,
    /// What is there before the first order.
    before: VecDeque<Made>,
    rng: ChaCha8Rng,
    count: usize,
    placed: usize,
    open: HashMap<Uuid, Open>,
    /// By the number of orders that are placed by then.
    due: BinaryHeap<Reverse<(usize, Uuid)>>,
}

impl Orders {
    /// A shop with `count` orders.
    ///
    /// # Errors
    /// The models aren't those of the sample shop.
    pub(crate) fn new(models: &Models, count: usize) -> Result<Orders> {
        let mut rng = ChaCha8Rng::seed_from_u64(SEED);
        let (catalogue, before) = Catalogue::open(models, count, &mut rng, Timestamp(FIRST - DAY))?;
        Ok(Orders {
            order: models.get("order").context("the shop has orders")?.clone(),
            catalogue,
            before: before.into(),
            rng,
            count,
            placed: 0,
            open: HashMap::new(),
            due: BinaryHeap::new(),
        })
    }

    /// The next event; `None` when everything has happened.
    ///
    /// # Errors
    /// The model refuses the command: the files are not those of the sample shop.
    pub(crate) fn next(&mut self) -> Result<Option<Made>> {
        if let Some(made) = self.before.pop_front() {
            return Ok(Some(made));
        }
        let all_placed = self.placed == self.count;
        match self.due.peek() {
            Some(Reverse((due, _))) if all_placed || *due <= self.placed => {
                let Reverse((_, id)) = self.due.pop().expect("invariant: it was just looked at");
                self.go_on(id).map(Some)
            }
            _ if all_placed => Ok(None),
            _ => self.place().map(Some),
        }
    }

    fn now(&self) -> Timestamp {
        let part = self.placed as f64 / self.count as f64;
        Timestamp(FIRST + (SPAN as f64 * part) as i64)
    }

    fn place(&mut self) -> Result<Made> {
        let number = number(self.placed);
        let now = self.now();
        let order = self.order.clone();
        let id = order.id_of_key(&number).context("an order's key is its number")?;
        let input = self.catalogue.order(&number, now, &mut self.rng);
        let actor = self.catalogue.customer_of(&input)?;
        let made = self.happen(&order, id, None, "place", &input, actor, now)?;
        self.placed += 1;
        // In the end, of a hundred: 28 placed, 20 paid, 43 shipped, 9 called off.
        let steps: &'static [Step] = match self.rng.random_range(0..100) {
            0..5 => &[Step::Cancel],
            5..33 => &[],
            33..53 => &[Step::Pay],
            53..57 => &[Step::Pay, Step::Cancel],
            _ => &[Step::Pay, Step::Ship],
        };
        self.wait(id, &made.state, steps);
        Ok(made)
    }

    fn go_on(&mut self, id: Uuid) -> Result<Made> {
        let Open { state, steps } = self.open.remove(&id).context("invariant: what is due is open")?;
        let (step, rest) = steps.split_first().context("invariant: what is open has steps")?;
        let now = self.now();
        let order = self.order.clone();
        let (command, input) = match step {
            Step::Pay => ("pay", json!({ "reference": format!("P-{:010}", self.rng.random::<u32>()) })),
            Step::Ship => ("ship", json!({ "shipped_on": catalogue::date(now) })),
            Step::Cancel => ("cancel", json!({ "reason": "Ordered by mistake" })),
        };
        let actor = self.catalogue.staff(&mut self.rng);
        let made = self.happen(&order, id, Some(state), command, &input, actor, now)?;
        self.wait(id, &made.state, rest);
        Ok(made)
    }

    fn wait(&mut self, id: Uuid, state: &State, steps: &'static [Step]) {
        if !steps.is_empty() {
            let due = self.placed + self.rng.random_range(1..=LATEST);
            self.due.push(Reverse((due, id)));
            self.open.insert(id, Open { state: state.clone(), steps });
        }
    }

    #[expect(clippy::too_many_arguments, reason = "the parts of a command")]
    fn happen(
        &mut self,
        model: &Arc<Model>,
        id: Uuid,
        state: Option<State>,
        command: &str,
        input: &serde_json::Value,
        actor: Uuid,
        now: Timestamp,
    ) -> Result<Made> {
        let command_id = Uuid::from_u128(self.rng.random());
        happen(model, id, state, (command, command_id), input, actor, now)
    }
}

/// The number of the `nth` order.
pub(crate) fn number(nth: usize) -> String {
    format!("L{nth:08}")
}

/// Decides a command and gives its event.
pub(crate) fn happen(
    model: &Arc<Model>,
    aggregate: Uuid,
    state: Option<State>,
    (name, command): (&str, Uuid),
    input: &serde_json::Value,
    actor: Uuid,
    at: Timestamp,
) -> Result<Made> {
    let who = Actor { id: Some(actor), ..Actor::unrestricted() };
    let request =
        Request { id: aggregate, command: name, input, expected_version: None, now: at, actor: &who };
    let decision = decide(model, state.as_ref(), &request)
        .map_err(|rejection| anyhow!("{}.{name} with {input} is refused: {rejection:?}", model.name))?;
    let event = model.events.get(&decision.event).context("a decision names an event of its model")?;
    let state = evolve(model, state, event, &decision.fields, at);
    Ok(Made {
        model: model.clone(),
        event: decision.event,
        aggregate,
        // As the decider derives it.
        id: Uuid::new_v5(&command, aggregate.as_bytes()),
        command,
        actor,
        at,
        fields: decision.fields,
        state,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dataset::sample_models;

    #[test]
    fn the_shop_of_a_count_is_always_the_same_and_has_every_status() {
        let models = sample_models(false).unwrap();
        let all = |count| {
            let mut orders = Orders::new(&models, count).unwrap();
            std::iter::from_fn(|| orders.next().unwrap()).collect::<Vec<Made>>()
        };
        let (one, two) = (all(500), all(500));
        let ids = |made: &[Made]| made.iter().map(|made| made.id).collect::<Vec<_>>();
        assert_eq!(ids(&one), ids(&two));
        let of =
            |event: &str| one.iter().filter(|made| made.model.name == "order" && made.event == event).count();
        assert_eq!(of("placed"), 500);
        assert!(of("paid") > of("shipped") && of("shipped") > of("cancelled") && of("cancelled") > 0);
        let mut versions: HashMap<Uuid, u64> = HashMap::new();
        for made in &one {
            let version = versions.entry(made.aggregate).or_default();
            *version += 1;
            assert_eq!(made.state.version, *version);
        }
    }
}
