//! The states before and after events: from memory, else from PostgreSQL.
//!
//! An event of version *n* needs the state of version *n − 1*, exactly. After an event its state is kept, so an aggregate that changes
//! often costs no query; what is missing for a batch of events is read at once ([`History::states_at`]). That the projector
//! isn't there yet is waited for: the feed of this model stalls and goes on, it never guesses. Where there is no such state (an
//! earlier event of the aggregate was passed over by the projector, too), nobody gets the event, as no row shows it.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use quick_cache::Weighter;
use quick_cache::sync::Cache;
use uuid::Uuid;
use writ_model::{Model, State, evolve};
use writ_projections::history::History;

use super::change::{Change, weight};
use super::event::Happened;
use super::metrics;

/// Pauses while the projector isn't there: it is behind by milliseconds as a rule.
const FIRST_PAUSE: Duration = Duration::from_millis(3);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// Bytes of a usual state: how many are expected at once.
const USUAL: u64 = 1024;

/// States by model and aggregate, the last ones used.
pub(super) type Recent = Cache<(usize, Uuid), Arc<State>, Bytes>;

#[derive(Debug, Clone, Copy)]
pub(super) struct Bytes;

impl Weighter<(usize, Uuid), Arc<State>> for Bytes {
    fn weight(&self, _: &(usize, Uuid), state: &Arc<State>) -> u64 {
        weight(state) as u64 + 64
    }
}

pub(super) fn recent(mib: u64) -> Recent {
    let bytes = mib.max(1) * 1024 * 1024;
    Cache::with_weighter(usize::try_from(bytes / USUAL).unwrap_or(usize::MAX), bytes, Bytes)
}

/// The states of one model.
#[derive(Debug, Clone)]
pub(super) struct States {
    pub(super) model: Arc<Model>,
    /// The model's number among all: a part of the keys.
    pub(super) number: usize,
    pub(super) history: History,
    pub(super) recent: Arc<Recent>,
}

/// What is known of the aggregates of some events, before the first of them.
#[derive(Debug)]
pub(super) struct Before(HashMap<Uuid, Known>);

/// What is known of an aggregate before an event.
#[derive(Debug, Clone)]
enum Known {
    Nothing,
    State(Arc<State>),
    /// It can't be known.
    Never,
}

impl States {
    /// What each event did, in their order; `Err`: where an event stands that nobody gets.
    pub(super) fn changes(
        &self,
        mut before: Before,
        events: Vec<Happened>,
    ) -> impl Iterator<Item = Result<Change, (i32, i64)>> {
        events.into_iter().map(move |event| self.change(&mut before.0, event))
    }

    fn change(&self, known: &mut HashMap<Uuid, Known>, event: Happened) -> Result<Change, (i32, i64)> {
        let id = event.aggregate;
        let before = match known.get(&id) {
            Some(Known::Nothing) if event.version == 1 => None,
            Some(Known::State(state)) if state.version + 1 == event.version => Some(state.clone()),
            Some(Known::State(state)) if state.version >= event.version => {
                return Err(self.passed_over(&event, "repeated"));
            }
            _ => return Err(self.passed_over(&event, "unknown")),
        };
        let declared = event.event(&self.model);
        let state = before.as_deref().cloned();
        let after = Arc::new(evolve(&self.model, state, declared, &event.fields, event.at));
        known.insert(id, Known::State(after.clone()));
        self.recent.insert((self.number, id), after.clone());
        Ok(Change { happened: event, before, after })
    }

    fn passed_over(&self, event: &Happened, reason: &'static str) -> (i32, i64) {
        let model = self.model.name.clone();
        ::metrics::counter!(metrics::PASSED_OVER, "model" => model, "reason" => reason).increment(1);
        tracing::warn!(
            model = self.model.name,
            kafka.partition = event.partition,
            kafka.offset = event.offset,
            kafka.key = %event.aggregate,
            version = event.version,
            reason,
            "an event doesn't follow on the state of its aggregate; no subscription gets it"
        );
        (event.partition, event.offset)
    }

    /// What is known of each aggregate before its first event among these.
    /// `None`: `goes_on` said no.
    pub(super) async fn before(&self, events: &[Happened], goes_on: impl Fn() -> bool) -> Option<Before> {
        let mut known = HashMap::with_capacity(events.len());
        let mut wanted: HashMap<Uuid, u64> = HashMap::new();
        for event in events {
            let id = event.aggregate;
            if known.contains_key(&id) || wanted.contains_key(&id) {
                continue;
            }
            match self.recent.get(&(self.number, id)) {
                Some(state) if state.version + 1 >= event.version => {
                    known.insert(id, Known::State(state));
                }
                _ if event.version <= 1 => {
                    known.insert(id, Known::Nothing);
                }
                _ => {
                    wanted.insert(id, event.version - 1);
                }
            }
        }
        ::metrics::counter!(metrics::STATES_READ, "model" => self.model.name.clone())
            .increment(wanted.len() as u64);
        let mut pause = FIRST_PAUSE;
        while !wanted.is_empty() {
            self.read(&mut wanted, &mut known).await;
            if wanted.is_empty() {
                break;
            }
            if !goes_on() {
                return None;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
        Some(Before(known))
    }

    /// Takes from `wanted` what is known now: all but what the projector hasn't reached yet.
    async fn read(&self, wanted: &mut HashMap<Uuid, u64>, known: &mut HashMap<Uuid, Known>) {
        let asked: Vec<(Uuid, u64)> = wanted.iter().map(|(id, version)| (*id, *version)).collect();
        let found = match self.history.states_at(&self.model, &asked).await {
            Ok(found) => found,
            Err(error) => {
                tracing::warn!(%error, model = self.model.name, "states can't be read; the live feed waits");
                return;
            }
        };
        for (id, state) in found {
            let now = match state {
                Some(state) => Known::State(Arc::new(state)),
                None => Known::Never,
            };
            wanted.remove(&id);
            known.insert(id, now);
        }
    }
}
