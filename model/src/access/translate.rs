//! The `read` rule to a [`Predicate`](super::Predicate): what depends on the actor alone is evaluated, the rest becomes tests.
//!
//! An evaluation ends with true, with false, or without a value, and what comes first decides: `a || b` has no value where
//! `a` has none, even if `b` is true. A predicate only has true and false. So each condition becomes two: where it has a
//! value, and where it is true, which only counts where it has a value.

mod condition;
mod faults;
mod operand;

use indexmap::IndexMap;

use self::condition::Condition;
use self::operand::{Operand, Side, is_present, without_widening};
use super::predicate::{Comparison, Kind, Readable, Test};
use crate::decide::Actor;
use crate::declaration::Field;
use crate::expression::functions::Function;
use crate::expression::tree::{self, Node, Typed};
use crate::expression::{Compiled, Fault, Scope};
use crate::value::{Object, Timestamp, Value};

/// Tests of one predicate: what a database plans without trouble.
const MAX_TESTS: usize = 500;
/// Tests of one part of it, before what goes without saying is left out.
const MAX_PART: usize = 4 * MAX_TESTS;
/// Visits to nodes. Every branch of a default or of `?:` visits again what it is compared with.
const MAX_VISITS: usize = 5_000;

/// Holds a `read` rule against what a query can do, whoever asks. Errors: every part that none can do.
pub(crate) fn check(rule: &Compiled, fields: &IndexMap<String, Field>) -> Result<(), Vec<Fault>> {
    let mut translation = Translation::new(rule, fields, None);
    let readable = translation.condition(rule.root()).readable();
    let mut faults = translation.faults;
    // Branches are visited again with each side that they are compared with.
    faults
        .sort_by(|a, b| (a.span.start, a.span.end, &a.message).cmp(&(b.span.start, b.span.end, &b.message)));
    faults.dedup();
    let is_long = translation.is_too_long || readable.size() > MAX_TESTS;
    if faults.is_empty() && is_long {
        faults.push(Fault {
            span: 0..rule.source.len(),
            message: format!("`read` becomes a query, of more than {MAX_TESTS} conditions here"),
            hint: Some("keep the answer in a field of the model, and read that".to_owned()),
        });
    }
    if faults.is_empty() { Ok(()) } else { Err(faults) }
}

/// What the actor may read. The rule was checked; what wasn't and can't be translated, nobody may read.
pub(super) fn readable(
    rule: &Compiled,
    fields: &IndexMap<String, Field>,
    actor: &Actor,
    now: Timestamp,
) -> Readable {
    let nothing = Object::new();
    let scope = Scope { id: uuid::Uuid::nil(), input: &nothing, state: None, now, actor };
    let mut translation = Translation::new(rule, fields, Some(scope));
    let readable = translation.condition(rule.root()).readable();
    if translation.is_too_long || !translation.faults.is_empty() { Readable::Nothing } else { readable }
}

struct Translation<'r> {
    rule: &'r Compiled,
    fields: &'r IndexMap<String, Field>,
    /// Who asks and when. `None`: nobody yet, the rule is only checked; then every part that depends on the actor
    /// stands for a test, so that the predicate is as long as it can get.
    asker: Option<Scope<'r>>,
    faults: Vec<Fault>,
    visits: usize,
    is_too_long: bool,
}

/// Whether nothing in it depends on the aggregate.
fn is_known(typed: &Typed) -> bool {
    !typed.any(&|node| matches!(node, Node::State(_) | Node::Id))
}

impl<'r> Translation<'r> {
    fn new(rule: &'r Compiled, fields: &'r IndexMap<String, Field>, asker: Option<Scope<'r>>) -> Self {
        Translation { rule, fields, asker, faults: Vec::new(), visits: 0, is_too_long: false }
    }

    /// The value of a part that is known. `None`: it has none.
    fn known(&self, typed: &Typed) -> Option<Value> {
        match &self.asker {
            Some(scope) => self.rule.evaluate_part(typed, scope).0.ok(),
            // Any value that isn't null makes as many tests as another. Each place has its own, so that none are the same.
            None => Some(Value::Integer(typed.span.start as i64)),
        }
    }

    /// Whether there is room for one more node.
    fn visit(&mut self) -> bool {
        self.visits += 1;
        self.is_too_long |= self.visits > MAX_VISITS;
        !self.is_too_long
    }

    /// `test ? yes : no`, which doubles the test. What gets too long isn't carried on.
    fn choose(&mut self, test: Condition, yes: Condition, no: Condition) -> Condition {
        let chosen = test.choose(yes, no);
        self.is_too_long |= chosen.has_value.size().max(chosen.holds.size()) > MAX_PART;
        if self.is_too_long { Condition::failed() } else { chosen }
    }

    fn condition(&mut self, typed: &Typed) -> Condition {
        if !self.visit() {
            return Condition::failed();
        }
        if is_known(typed) {
            return match (self.known(typed), &self.asker) {
                (_, None) => Condition::total(operand::placeholder(typed)),
                (Some(Value::Boolean(holds)), _) => Condition::total(Readable::always(holds)),
                // Without a value, or null, which is no condition.
                _ => Condition::failed(),
            };
        }
        match &typed.node {
            Node::Not(operand) => self.condition(operand).not(),
            Node::And(left, right) => {
                let left = self.condition(left);
                left.and(self.condition(right))
            }
            Node::Or(left, right) => {
                let left = self.condition(left);
                left.or(self.condition(right))
            }
            Node::Conditional(branches) => {
                let [test, yes, no] = &**branches;
                let (test, yes) = (self.condition(test), self.condition(yes));
                let no = self.condition(no);
                self.choose(test, yes, no)
            }
            Node::OrElse(first, second) => {
                let (is_null, second) = (self.is_null(first), self.condition(second));
                let first = self.condition(first);
                self.choose(is_null, second, first)
            }
            Node::Compare(comparison, left, right) => {
                self.compare(*comparison, Side::bare(left), Side::bare(right))
            }
            Node::In(item, list) => self.is_in(Side::bare(item), list),
            Node::Has(operand) => self.is_null(operand).not(),
            Node::Role(name) => self.role(name),
            Node::Call(Function::Contains | Function::StartsWith | Function::EndsWith, args) => {
                self.text(typed, args)
            }
            Node::State(_) | Node::Member(..) => self.flag(typed),
            _ => self.not_in_a_query(typed),
        }
    }

    /// A boolean field by itself.
    fn flag(&mut self, typed: &Typed) -> Condition {
        let Some(path) = self.path(typed) else { return Condition::failed() };
        let has_value = is_present(&path);
        let holds = Readable::test(Test::Compare(path, Comparison::Equal, Value::Boolean(true)));
        Condition { has_value, holds }
    }

    /// Whether what `has` or `orElse` asks for is null, be it because an object on the way is.
    fn is_null(&mut self, typed: &Typed) -> Condition {
        if is_known(typed) {
            return match (self.known(typed), &self.asker) {
                (_, None) => Condition::total(operand::placeholder(typed)),
                (Some(value), _) => Condition::total(Readable::always(value == Value::Null)),
                (None, _) => Condition::failed(),
            };
        }
        let typed = without_widening(typed);
        if !matches!(typed.node, Node::State(_) | Node::Id | Node::Member(..)) {
            let hint = "write `has(state.note)`, `orElse(state.note, '')`";
            return self.no_condition(typed, "only knows whether a field is null", hint);
        }
        match self.path(typed) {
            Some(path) => Condition::total(Readable::test(Test::IsNull(path))),
            None => Condition::failed(),
        }
    }

    fn compare(&mut self, comparison: tree::Comparison, left: Side<'_>, right: Side<'_>) -> Condition {
        if !self.visit() {
            return Condition::failed();
        }
        if let Some((test, yes, no)) = self.branches(left) {
            let yes = self.compare(comparison, yes, right);
            let no = self.compare(comparison, no, right);
            return self.choose(test, yes, no);
        }
        if let Some((test, yes, no)) = self.branches(right) {
            let yes = self.compare(comparison, left, yes);
            let no = self.compare(comparison, left, no);
            return self.choose(test, yes, no);
        }
        let a = self.operand(left, right.is_null_literal());
        let (Some(a), Some(b)) = (a, self.operand(right, left.is_null_literal())) else {
            return Condition::failed();
        };
        let ordering = match comparison {
            tree::Comparison::Equal => return operand::equal_as_written(left, &a, right, &b),
            tree::Comparison::NotEqual => return operand::equal_as_written(left, &a, right, &b).not(),
            tree::Comparison::Less => Comparison::Less,
            tree::Comparison::LessOrEqual => Comparison::LessOrEqual,
            tree::Comparison::Greater => Comparison::Greater,
            tree::Comparison::GreaterOrEqual => Comparison::GreaterOrEqual,
        };
        operand::in_order(a, ordering, b)
    }

    fn is_in(&mut self, item: Side<'_>, list: &Typed) -> Condition {
        if !self.visit() {
            return Condition::failed();
        }
        if let Some((test, yes, no)) = self.branches(item) {
            let yes = self.is_in(yes, list);
            let no = self.is_in(no, list);
            return self.choose(test, yes, no);
        }
        if is_known(list) {
            let Some(item) = self.operand(item, false) else { return Condition::failed() };
            return match self.known(list) {
                Some(Value::List(items)) => operand::is_one_of(&item, items),
                Some(constant) if self.asker.is_none() => {
                    operand::is_one_of(&item, vec![constant, Value::Null])
                }
                _ => Condition::failed(),
            };
        }
        match &without_widening(list).node {
            Node::List(items) => self.is_one_of(item, items),
            Node::State(_) | Node::Member(..) => self.has_item(list, item),
            _ => self.not_in_a_query(list),
        }
    }

    /// `item in [state.a, state.b]`.
    fn is_one_of(&mut self, side: Side<'_>, items: &[Typed]) -> Condition {
        let item = self.operand(side, false);
        let others: Vec<Option<Operand>> =
            items.iter().map(|other| self.operand(Side::wrapped(other), false)).collect();
        let (Some(item), Some(others)) = (item, others.into_iter().collect::<Option<Vec<Operand>>>()) else {
            return Condition::failed();
        };
        let start = Condition { has_value: item.has_value(), holds: Readable::Nothing };
        // Unlike with `||`, all items are evaluated.
        let found = others.iter().map(|other| operand::equal(&item, other)).fold(start, |found, next| {
            Condition { has_value: found.has_value.and(next.has_value), holds: found.holds.or(next.holds) }
        });
        // Nobody is in a list of accounts while nobody is signed in.
        if side.is_actor() && matches!(item, Operand::Known(Some(Value::Null))) {
            return Condition { holds: Readable::Nothing, ..found };
        }
        found
    }

    /// `item in state.list`.
    fn has_item(&mut self, list: &Typed, side: Side<'_>) -> Condition {
        let typed = without_widening(list);
        let Some(path) = self.path(typed) else { return Condition::failed() };
        let Some(item) = self.operand(side, false) else { return Condition::failed() };
        let plain = [Kind::Text, Kind::Integer, Kind::Boolean, Kind::Timestamp, Kind::Date, Kind::Uuid];
        let is_plain = self.item_kind(typed).is_some_and(|kind| plain.contains(&kind));
        // An integer of a list of decimals has another form than its equal among them.
        let is_converted = side.is_widened() || matches!(list.node, Node::Widen(_));
        let (Operand::Known(item), true, false) = (item, is_plain, is_converted) else {
            return self.no_condition(
                list,
                "only looks into a list of text, enum, integer, boolean, timestamp, date, uuid or ref, for what doesn't \
                 depend on the state",
                "write `actor.id in state.members`",
            );
        };
        let has_value = is_present(&path);
        let holds = match item {
            None => return Condition::failed(),
            // The items of a list are never null.
            Some(constant) if constant == Value::Null || !operand::is_storable(&constant) => {
                Readable::Nothing
            }
            Some(constant) => Readable::test(Test::HasItem(path, constant)),
        };
        Condition { has_value, holds }
    }

    /// `role(state.team)`.
    fn role(&mut self, name: &Typed) -> Condition {
        let Some(name) = self.operand(Side::bare(name), false) else { return Condition::failed() };
        let roles = match &self.asker {
            Some(scope) => scope.actor.roles.iter().cloned().map(Value::Text).collect(),
            None => vec![Value::Integer(0)],
        };
        Condition { has_value: name.is_present(), ..operand::is_one_of(&name, roles) }
    }

    /// `contains`, `startsWith`, `endsWith`.
    fn text(&mut self, call: &Typed, args: &[Typed]) -> Condition {
        let Node::Call(function, _) = &call.node else { return self.not_in_a_query(call) };
        let sides: Vec<_> = args.iter().map(|arg| self.operand(Side::bare(arg), false)).collect();
        let [Some(text), Some(part)] = sides.as_slice() else { return Condition::failed() };
        let (Operand::Path(path), Operand::Known(part)) = (text, part) else {
            return self.no_condition(
                call,
                "only looks into a field, for a text that doesn't depend on the state",
                "write `startsWith(state.code, 'X')`",
            );
        };
        let has_value = is_present(path);
        let part = match part {
            Some(Value::Text(part)) => part.clone(),
            Some(Value::Integer(place)) if self.asker.is_none() => place.to_string(),
            _ => return Condition::failed(),
        };
        if !operand::is_storable(&Value::Text(part.clone())) {
            return Condition { has_value, holds: Readable::Nothing };
        }
        let test = match function {
            Function::StartsWith => Test::StartsWith(path.clone(), part),
            Function::EndsWith => Test::EndsWith(path.clone(), part),
            _ => Test::Contains(path.clone(), part),
        };
        Condition { has_value, holds: Readable::test(test) }
    }
}
