//! `and`, `or` and `not` of predicates, leaving out what goes without saying: what is always or never true, what is said
//! twice, and that a field isn't null beside a test that is false of null.

use super::{Path, Predicate, Readable, Test};

impl Readable {
    /// The number of its tests.
    pub(in crate::access) fn size(&self) -> usize {
        if let Readable::Where(predicate) = self { predicate.size() } else { 0 }
    }

    pub(in crate::access) fn always(holds: bool) -> Readable {
        if holds { Readable::All } else { Readable::Nothing }
    }

    pub(in crate::access) fn test(test: Test) -> Readable {
        match test {
            Test::IsNull(Path::Id) => Readable::Nothing,
            Test::In(_, constants) if constants.is_empty() => Readable::Nothing,
            test => Readable::Where(Predicate::Test(test)),
        }
    }

    pub(in crate::access) fn not(self) -> Readable {
        match self {
            Readable::All => Readable::Nothing,
            Readable::Nothing => Readable::All,
            Readable::Where(predicate) => Readable::Where(predicate.negated()),
        }
    }

    pub(in crate::access) fn and(self, other: Readable) -> Readable {
        let (left, right) = match (self, other) {
            (Readable::Nothing, _) | (_, Readable::Nothing) => return Readable::Nothing,
            (Readable::All, other) | (other, Readable::All) => return other,
            (Readable::Where(left), Readable::Where(right)) => (left, right),
        };
        let mut parts: Vec<Predicate> = Vec::new();
        for part in conjuncts(left).into_iter().chain(conjuncts(right)) {
            if parts.iter().any(|known| known.is_opposite_of(&part)) {
                return Readable::Nothing;
            }
            if !parts.iter().any(|known| *known == part || known.implies(&part)) {
                parts.retain(|known| !part.implies(known));
                parts.push(part);
            }
        }
        Readable::Where(joined(parts, Predicate::And))
    }

    pub(in crate::access) fn or(self, other: Readable) -> Readable {
        let (left, right) = match (self, other) {
            (Readable::All, _) | (_, Readable::All) => return Readable::All,
            (Readable::Nothing, other) | (other, Readable::Nothing) => return other,
            (Readable::Where(left), Readable::Where(right)) => (left, right),
        };
        let mut parts: Vec<Predicate> = Vec::new();
        for part in disjuncts(left).into_iter().chain(disjuncts(right)) {
            if parts.iter().any(|known| known.is_opposite_of(&part)) {
                return Readable::All;
            }
            if !parts.contains(&part) {
                parts.push(part);
            }
        }
        Readable::Where(joined(parts, Predicate::Or))
    }
}

impl Predicate {
    fn size(&self) -> usize {
        match self {
            Predicate::And(parts) | Predicate::Or(parts) => parts.iter().map(Predicate::size).sum(),
            Predicate::Test(_) | Predicate::Not(_) => 1,
        }
    }

    fn negated(self) -> Predicate {
        match self {
            Predicate::And(parts) => Predicate::Or(parts.into_iter().map(Predicate::negated).collect()),
            Predicate::Or(parts) => Predicate::And(parts.into_iter().map(Predicate::negated).collect()),
            Predicate::Test(test) => Predicate::Not(test),
            Predicate::Not(test) => Predicate::Test(test),
        }
    }

    fn is_opposite_of(&self, other: &Predicate) -> bool {
        match (self, other) {
            (Predicate::Test(test), Predicate::Not(opposite))
            | (Predicate::Not(opposite), Predicate::Test(test)) => test == opposite,
            _ => false,
        }
    }

    /// Whether `other` says nothing new beside this in an `And`: that a field isn't null which this needs, or a choice of
    /// which this is one.
    fn implies(&self, other: &Predicate) -> bool {
        match (self, other) {
            (Predicate::Test(test), Predicate::Not(Test::IsNull(path))) => test.needs(path),
            (_, Predicate::Or(parts)) => parts.iter().any(|part| self == part || self.implies(part)),
            // Where the part is there, the whole is.
            (
                Predicate::Not(Test::IsNull(Path::Field { names, .. })),
                Predicate::Not(Test::IsNull(Path::Field { names: outer, .. })),
            ) => names.len() > outer.len() && names.starts_with(outer),
            _ => false,
        }
    }
}

impl Test {
    /// Whether it holds only where this field isn't null.
    fn needs(&self, path: &Path) -> bool {
        // A field of an object needs the object.
        let within = |inner: &Path| match (inner, path) {
            (Path::Field { names, .. }, Path::Field { names: outer, .. }) => names.starts_with(outer),
            _ => inner == path,
        };
        match self {
            Test::IsNull(_) => false,
            Test::CompareFields(left, _, right) => within(left) || within(right),
            Test::Compare(of, ..)
            | Test::In(of, _)
            | Test::HasItem(of, _)
            | Test::StartsWith(of, _)
            | Test::EndsWith(of, _)
            | Test::Contains(of, _) => within(of),
        }
    }
}

fn conjuncts(predicate: Predicate) -> Vec<Predicate> {
    if let Predicate::And(parts) = predicate { parts } else { vec![predicate] }
}

fn disjuncts(predicate: Predicate) -> Vec<Predicate> {
    if let Predicate::Or(parts) = predicate { parts } else { vec![predicate] }
}

/// `And` or `Or` of at least one part.
fn joined(mut parts: Vec<Predicate>, of: fn(Vec<Predicate>) -> Predicate) -> Predicate {
    if parts.len() == 1 { parts.swap_remove(0) } else { of(parts) }
}
