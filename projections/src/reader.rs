//! Who reads. Every answer of [`query`](crate::query) and [`history`](crate::history) is for somebody: there is no way to
//! ask without a [`Reader`], so no way to forget what they may see.

use writ_model::access::{Visible, sees_everything, visible};
use writ_model::decide::Actor;
use writ_model::{Model, Timestamp};

use crate::query::{Asked, Subject};

/// Who reads, and when.
#[derive(Debug, Clone, Copy)]
pub struct Reader<'a> {
    /// Who.
    pub actor: &'a Actor,
    /// The wall clock; rules may compare with it.
    pub now: Timestamp,
}

impl<'a> Reader<'a> {
    /// What queries of `what` are about for this reader: a model, a model with those that its references lead to, or an SQL
    /// projection.
    pub fn asks(self, what: impl Into<Asked<'a>>) -> Subject<'a> {
        Subject::new(what.into(), self)
    }

    /// What of a model is visible.
    pub(crate) fn sees(&self, model: &Model) -> Visible {
        visible(model, self.actor, self.now)
    }

    /// Whether nothing is kept from the reader, so also what no declaration speaks of.
    pub fn sees_everything(&self) -> bool {
        sees_everything(self.actor)
    }
}
