//! A list's conditions, evaluated in memory: does an aggregate in this state belong to the list, and what does its row show?
//!
//! The live feed asks this of the states before and after every event. The truth is what PostgreSQL answers to the same
//! request, so everything here follows an SQL expression: [`condition`] follows `filter.rs`, [`pattern`] its `LIKE` and
//! `ILIKE`, [`contained`] its `@>`, [`row`] follows `select.rs`; what the reader may read is
//! [`Readable::holds`](writ_model::access::Readable::holds), which `permitted.rs` follows. The test suite holds them to
//! PostgreSQL, with rows of random models and random requests.
//!
//! A state here is a whole one, as [`states_at`](crate::history::History::states_at) and `evolve` give it: by today's
//! declaration, with secrets and with what is hidden from the reader. What can't be said of one row by itself is refused: words
//! (`q`), an order, pages, rows that references lead to.

mod condition;
mod contained;
mod keys;
mod pattern;
mod row;

use uuid::Uuid;
use writ_model::access::Visible;
use writ_model::{FieldError, Model, State};

use super::request::{ListRequest, fault};
use super::select::Fields;
use condition::Condition;

pub use keys::Keyed;

/// What belongs to a list, and what of it is shown. Two that are equal say the same of every state of a model.
#[derive(Debug, Clone, PartialEq)]
pub struct Matching {
    model: String,
    conditions: Vec<Condition>,
    visible: Visible,
    /// `None`: everything that is visible.
    fields: Option<Fields>,
    keys: Option<Keyed>,
}

impl ListRequest<'_> {
    /// What belongs to this list, to be asked of states instead of PostgreSQL. Errors: every parameter that is about more than
    /// one row (`not_followable`); also if this is a request for rows of a projection, which have no states.
    pub fn matching(&self) -> Result<Matching, Vec<FieldError>> {
        let mut errors = refused_parameters(&self.given);
        if self.subject.model().is_none() {
            errors.push(refused("", "the rows of a projection can't be followed one by one"));
        }
        if !errors.is_empty() {
            return Err(errors);
        }
        let visible = self.subject.visible().clone();
        Ok(Matching {
            model: self.name().to_owned(),
            conditions: self.filters.iter().map(Condition::of).collect(),
            keys: keys::best(&self.filters, &visible.rows, self.subject.asked.fields),
            fields: self.shown.fields.clone(),
            visible,
        })
    }
}

/// What is wrong with these parameters for who follows a list.
pub(super) fn refused_parameters(given: &[&str]) -> Vec<FieldError> {
    given.iter().filter_map(|name| Some(refused(name, refusal(name)?))).collect()
}

/// Why a parameter can't be followed. `None`: it can.
fn refusal(name: &str) -> Option<&'static str> {
    Some(match name {
        "q" => "words can't be followed; ask for a part of a text with `[ilike]=%…%`",
        "sort" => "changes come in the order in which they happen; leave this out",
        "limit" | "after" | "count" => "there are no pages of changes; leave this out",
        "expand" => "what references lead to isn't followed; leave this out",
        "format" => "changes are no export; leave this out",
        _ => return None,
    })
}

pub(super) fn refused(name: &str, detail: &str) -> FieldError {
    match name {
        "" => FieldError { pointer: String::new(), code: CODE.into(), detail: detail.into() },
        name => fault(name, (CODE, detail.into())),
    }
}

const CODE: &str = "not_followable";

impl Matching {
    /// Whether an aggregate in this state is one of the list's rows: it isn't deleted, its reader may read it, and all filters
    /// hold.
    pub fn holds(&self, id: Uuid, state: &State) -> bool {
        !state.deleted
            && self.conditions.iter().all(|condition| condition.holds(id, state))
            && self.visible.rows.holds(id, &state.fields)
    }

    /// The name of the model.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// What the reader sees of the model.
    pub fn visible(&self) -> &Visible {
        &self.visible
    }

    /// The JSON text of the row that the list shows of an aggregate in this state, to the byte: the fields that were asked for,
    /// without what is hidden.
    pub fn row_json(&self, model: &Model, id: Uuid, state: &State) -> String {
        let shown = row::state(model, state, &self.visible, self.fields.as_ref());
        let (created, updated) = (state.created_at.to_string(), state.updated_at.to_string());
        row::item(id, state.version, &shown, &created, &updated)
    }

    /// An equality that every state fulfils of which it [holds](Matching::holds), so that an index by such values finds all
    /// that may hold of a state. Of several the one that is likely to be rarest. `None`: there is none.
    pub fn keys(&self) -> Option<&Keyed> {
        self.keys.as_ref()
    }
}
