//! What tells one view from another, in every process and at any time: the rows that a request is about, and what is shown of them.
//!
//! Whoever goes on from what they have been told must ask for the same as before, and may see the same. Else some of what they have
//! would stay for ever: a row that the new view never had is never said to leave it. So a place to go on from carries
//! [`ListRequest::identity`], and with another one it is of no use.
//!
//! # Equal numbers mean equal views
//!
//! What a request shows of a state follows from its subject's name, its filters, its fields and what its reader
//! [sees](writ_model::access::Visible), which has all that the rules say of the reader worked out: constants in place of roles and ids. All of these
//! are hashed as texts, in which every name and constant is quoted. Where a rule names the time, what is seen has that moment's
//! value in it, and what it will be later follows from rules and reader. There these are hashed in its place, with everything that a rule can ask of
//! a reader: so the number stays while time passes, and two readers whose views would part later have two. Both err to the safe side
//! only: roles in another order, or a filter that says the same in other words, are another view, and cost a snapshot. Two views share a
//! number by chance once in 2^64. Nothing is kept from anyone by it: what is shown is always chosen anew, by the reader's rights.

use std::collections::BTreeSet;

use serde_json::json;
use writ_model::access::READ;
use writ_model::declaration::FieldRule;
use writ_model::expression::Compiled;

use super::asked::Kinds;
use super::request::ListRequest;
use crate::tables::fnv1a;

impl ListRequest<'_> {
    /// The same for requests that show the same of the same rows, whoever asks, here and elsewhere, now and later. Of what no order,
    /// page or format changes.
    pub fn identity(&self) -> u64 {
        let filters: BTreeSet<String> = self
            .filters
            .iter()
            .map(|filter| {
                let operator = format!("{:?}", filter.operator);
                json!([filter.target.name, operator, filter.values]).to_string()
            })
            .collect();
        let words = self.words.as_ref().map(|words| &words.query);
        let fields = self.shown.fields.as_ref().map(|fields| fields.names().collect::<Vec<_>>());
        fnv1a(json!([self.name(), filters, words, fields, self.seen()]).to_string().as_bytes())
    }

    /// Whether a rule may have another answer later for the same reader and row. By its text: one that compares with the time names
    /// it.
    pub fn depends_on_time(&self) -> bool {
        self.rules().iter().any(|rule| rule.source.contains("now"))
    }

    fn seen(&self) -> serde_json::Value {
        if !self.depends_on_time() {
            return json!(format!("{:?}", self.subject.visible()));
        }
        let rules: Vec<&String> = self.rules().iter().map(|rule| &rule.source).collect();
        let actor = self.subject.reader().actor;
        let roles: BTreeSet<&String> = actor.roles.iter().collect();
        json!([rules, actor.id, roles, actor.permissions, actor.scopes])
    }

    /// Those that say what is seen.
    fn rules(&self) -> Vec<&Compiled> {
        fn of_fields(rules: &[FieldRule]) -> impl Iterator<Item = &Compiled> {
            rules.iter().map(|rule| &rule.that)
        }
        match self.subject.asked.kind {
            Kinds::Model(model, _) => {
                let rows = model.allow.iter().filter(|rule| rule.applies_to.iter().any(|name| name == READ));
                rows.map(|rule| &rule.that).chain(of_fields(&model.field_rules)).collect()
            }
            Kinds::Projection(projection) => {
                projection.read.iter().chain(of_fields(&projection.field_rules)).collect()
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;
    use writ_model::decide::Actor;
    use writ_model::diagnostic::Source;
    use writ_model::{Models, Timestamp};

    use super::*;
    use crate::Reader;

    const NOTE: &str = "
model: note
fields:
  owner: { type: uuid }
  text: { type: text }
  mark: { type: text, optional: true }
crud: true
allow:
  update: now > timestamp('2020-01-01T00:00:00Z')
  read: role('staff') || state.owner == actor.id
  fields: { mark: role('staff') }
";
    const OFFER: &str = "
model: offer
fields:
  owner: { type: uuid }
  until: { type: timestamp }
crud: true
allow:
  read: role('staff') || (state.until > now && state.owner == actor.id)
";

    fn models() -> Models {
        let source = |text: &str| Source { name: "model.yaml".into(), text: text.into() };
        Models::check("shop", &[NOTE, OFFER].map(source)).unwrap_or_else(|findings| panic!("{findings:#?}"))
    }

    fn identity(model: &str, actor: &Actor, now: i64, params: &[(&str, &str)]) -> u64 {
        let models = models();
        let params: Vec<(String, String)> =
            params.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let reader = Reader { actor, now: Timestamp(now) };
        ListRequest::parse(reader.asks(models.get(model).unwrap()), &params).unwrap().identity()
    }

    fn person(number: u128, roles: &[&str]) -> Actor {
        let roles = roles.iter().map(|role| (*role).to_owned()).collect();
        Actor { id: Some(Uuid::from_u128(number)), roles, ..Actor::default() }
    }

    #[test]
    fn a_number_stays_what_it_is() {
        // Clients keep it: another one costs each of them a snapshot.
        let one = identity("note", &person(1, &[]), 0, &[("text", "a"), ("fields", "text,owner")]);
        assert_eq!(format!("{one:016x}"), "c65a76ed644826cb");
    }

    #[test]
    fn what_is_asked_and_what_is_seen_tell_views_apart() {
        let (ada, bob) = (person(1, &[]), person(2, &[]));
        let (staff, others) = (person(1, &["staff"]), person(2, &["staff", "smiths"]));
        let note = |actor: &Actor, params: &[(&str, &str)]| identity("note", actor, 0, params);
        let all = [
            note(&ada, &[]),
            note(&bob, &[]),
            note(&staff, &[]),
            note(&staff, &[("text", "a")]),
            note(&staff, &[("text", "b")]),
            note(&staff, &[("mark", "a")]),
            note(&staff, &[("text[ne]", "a")]),
            note(&staff, &[("text[in]", "a,b")]),
            note(&staff, &[("text", "a,b")]),
            note(&staff, &[("text", "a"), ("mark", "b")]),
            note(&staff, &[("fields", "text")]),
            note(&staff, &[("fields", "text,mark")]),
            identity("offer", &staff, 0, &[]),
        ];
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
        assert_eq!(note(&staff, &[]), note(&others, &[]), "staff sees the same, whoever it is");
        let (one, other) = ([("text", "a"), ("mark", "b")], [("mark", "b"), ("text", "a")]);
        assert_eq!(note(&staff, &one), note(&staff, &other));
    }

    #[test]
    fn time_alone_makes_no_other_view() {
        let offer = |actor: &Actor, now| identity("offer", actor, now, &[]);
        let (ada, bob) = (person(1, &["a", "b"]), person(2, &["a", "b"]));
        assert_eq!(offer(&ada, 0), offer(&ada, 1_000_000_000));
        assert_eq!(offer(&ada, 0), offer(&person(1, &["b", "a"]), 0));
        // What they see differs at some times only, but it may at the next.
        assert_ne!(offer(&ada, 0), offer(&bob, 0));
        assert_ne!(offer(&ada, 0), offer(&person(1, &["a", "b", "staff"]), 0));
    }
}
