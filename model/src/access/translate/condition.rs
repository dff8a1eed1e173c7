//! A condition as two predicates, and its connectives.

use super::super::predicate::Readable;

/// Where a condition has a value, and where that is true. Where it has none, `holds` may be anything.
#[derive(Debug, Clone)]
pub(super) struct Condition {
    pub(super) has_value: Readable,
    pub(super) holds: Readable,
}

impl Condition {
    /// One that has a value everywhere.
    pub(super) fn total(holds: Readable) -> Condition {
        Condition { has_value: Readable::All, holds }
    }

    /// One that has none anywhere.
    pub(super) fn failed() -> Condition {
        Condition { has_value: Readable::Nothing, holds: Readable::Nothing }
    }

    pub(super) fn readable(self) -> Readable {
        self.has_value.and(self.holds)
    }

    pub(super) fn not(self) -> Condition {
        Condition { holds: self.holds.not(), ..self }
    }

    /// The right side needs a value only where the left one doesn't decide.
    pub(super) fn and(self, right: Condition) -> Condition {
        let needed = self.holds.clone().not().or(right.has_value);
        Condition { has_value: self.has_value.and(needed), holds: self.holds.and(right.holds) }
    }

    pub(super) fn or(self, right: Condition) -> Condition {
        let needed = self.holds.clone().or(right.has_value);
        Condition { has_value: self.has_value.and(needed), holds: self.holds.or(right.holds) }
    }

    /// `self ? yes : no`.
    pub(super) fn choose(self, yes: Condition, no: Condition) -> Condition {
        let pick = |yes: Readable, no: Readable| match (&yes, &no) {
            (Readable::All, Readable::All) => Readable::All,
            _ => self.holds.clone().and(yes).or(self.holds.clone().not().and(no)),
        };
        let needed = pick(yes.has_value, no.has_value);
        let holds = pick(yes.holds, no.holds);
        Condition { has_value: self.has_value.clone().and(needed), holds }
    }
}
