//! Answers, and what leads from one to another. Pure.

use std::cmp::Ordering;
use std::sync::Arc;

use sha2::{Digest as _, Sha256};
use writ_projections::query::KeyedRow;

use crate::live::frame::{self, Frame, Kind};
use crate::live::resume::{Place, Resume};

/// A row of a projection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Keyed {
    /// The columns of its key, the JSON text of an object.
    pub key: Arc<str>,
    /// Its JSON text, as the list shows it.
    pub row: Arc<str>,
}

/// All rows at one moment.
#[derive(Debug)]
pub(super) struct Answer {
    /// In the order of their keys, as texts.
    rows: Vec<Keyed>,
    /// Who goes on from here has exactly these rows.
    pub(super) resume: Resume,
}

/// What becomes of one row.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) kind: Kind,
    pub(super) key: Arc<str>,
    /// `None`: it leaves.
    pub(super) row: Option<Arc<str>>,
}

impl Answer {
    /// Shares what is equal with the answer before. Error: a key that two rows show, whose columns differ in what JSON doesn't show,
    /// such as the microseconds of a time; nobody could tell them apart.
    pub(super) fn new(
        (projection, view): (&Arc<str>, u64),
        rows: Vec<KeyedRow>,
        before: Option<&Answer>,
    ) -> Result<Answer, Arc<str>> {
        let mut rows: Vec<Keyed> = rows.into_iter().map(|one| shared(one, before)).collect();
        rows.sort_unstable_by(|a, b| a.key.cmp(&b.key));
        if let Some([twice, _]) = rows.array_windows().find(|[a, b]| a.key == b.key) {
            return Err(twice.key.clone());
        }
        let resume = Place::new(projection, digest(&rows)).of(view);
        Ok(Answer { rows, resume })
    }

    pub(super) fn rows(&self) -> &[Keyed] {
        &self.rows
    }

    /// Whether both have the same rows.
    pub(super) fn is(&self, other: &Answer) -> bool {
        self.rows == other.rows
    }

    /// What leads from here to `after`: rows that leave first.
    pub(super) fn steps_to(&self, after: &Answer) -> Vec<Step> {
        let (mut leave, mut others) = (Vec::new(), Vec::new());
        let (mut old, mut new) = (self.rows.iter().peekable(), after.rows.iter().peekable());
        loop {
            let order = match (old.peek(), new.peek()) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(old), Some(new)) => old.key.cmp(&new.key),
            };
            let gone = if order.is_le() { old.next() } else { None };
            let come = if order.is_ge() { new.next() } else { None };
            match (gone, come) {
                (Some(gone), None) => {
                    leave.push(Step { kind: Kind::Leave, key: gone.key.clone(), row: None });
                }
                (gone, Some(come)) => {
                    let kind = match gone {
                        Some(gone) if gone.row == come.row => continue,
                        Some(_) => Kind::Change,
                        None => Kind::Enter,
                    };
                    others.push(Step { kind, key: come.key.clone(), row: Some(come.row.clone()) });
                }
                (None, None) => {}
            }
        }
        leave.append(&mut others);
        leave
    }

    /// The same as it is sent.
    pub(super) fn frames_to(&self, after: &Answer, projection: &Arc<str>) -> Vec<frame::Shared> {
        let steps = self.steps_to(after);
        let (last, amid) = (after.resume.clone(), amid(projection, after.resume.view()));
        let count = steps.len();
        let frame = |(index, step): (usize, Step)| {
            let more = index + 1 < count;
            let resume = if more { &amid } else { &last };
            Arc::new(Frame::of_row(
                projection,
                step.kind,
                (&step.key, step.row.as_deref()),
                resume.clone(),
                more,
            ))
        };
        steps.into_iter().enumerate().map(frame).collect()
    }
}

/// Where a copy is that has only part of a difference: nowhere, so that who goes on from there gets all rows. An answer's digest has
/// two numbers.
fn amid(projection: &Arc<str>, view: u64) -> Resume {
    Place::new(projection, [0]).of(view)
}

fn shared(one: KeyedRow, before: Option<&Answer>) -> Keyed {
    let known = before.and_then(|answer| {
        let index = answer.rows.binary_search_by(|known| (*known.key).cmp(&*one.key)).ok()?;
        Some(&answer.rows[index])
    });
    match known {
        Some(known) if *known.row == *one.row => known.clone(),
        Some(known) => Keyed { key: known.key.clone(), row: one.row.into() },
        None => Keyed { key: one.key.into(), row: one.row.into() },
    }
}

/// 126 bits of SHA-256 over all keys and rows, each with its length: as good as the rows themselves, also where somebody chooses what
/// is in them. In the form of a [`Resume`], whose numbers are not negative. Clients keep it: another computation makes their
/// copies begin anew, no more.
fn digest(rows: &[Keyed]) -> [i64; 2] {
    let mut hash = Sha256::new();
    for Keyed { key, row } in rows {
        for text in [key, row] {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text.as_bytes());
        }
    }
    let bytes = hash.finalize();
    let number = |at: usize| {
        let mut eight = [0; 8];
        eight.copy_from_slice(&bytes[at..at + 8]);
        i64::from_le_bytes(eight) & i64::MAX
    };
    [number(0), number(8)]
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    type Copy = BTreeMap<String, String>;

    fn answer(copy: &Copy, before: Option<&Answer>) -> Answer {
        // In another order than that of the keys.
        let rows = copy.iter().rev().map(|(key, row)| KeyedRow { key: key.clone(), row: row.clone() });
        Answer::new((&"sales".into(), 7), rows.collect(), before).unwrap()
    }

    /// As a client applies what it gets: an `enter` of what it has, or a `change` or `leave` of what it hasn't, is a fault.
    fn apply(copy: &mut Copy, step: &Step) {
        let (key, row) = (step.key.to_string(), step.row.as_deref().map(str::to_owned));
        let had = match (step.kind, row) {
            (Kind::Enter | Kind::Change, Some(row)) => copy.insert(key, row),
            (Kind::Leave, None) => copy.remove(&key),
            other => panic!("{other:?}"),
        };
        assert_eq!(had.is_some(), step.kind != Kind::Enter, "{step:?}");
    }

    fn copies() -> impl Strategy<Value = Copy> {
        prop::collection::btree_map("[a-d]{0,2}", "[0-2]", 0..12)
    }

    proptest! {
        #[test]
        fn a_difference_leads_from_the_first_answer_to_the_second(first in copies(), second in copies()) {
            let before = answer(&first, None);
            let after = answer(&second, Some(&before));
            let steps = before.steps_to(&after);
            let mut copy = first.clone();
            steps.iter().for_each(|step| apply(&mut copy, step));
            prop_assert_eq!(&copy, &second);
            let equal = first.iter().filter(|(key, row)| second.get(*key) == Some(row)).count();
            let common = first.keys().filter(|key| second.contains_key(*key)).count();
            prop_assert_eq!(steps.len(), first.len() + second.len() - common - equal, "nothing superfluous");
        }

        #[test]
        fn equal_rows_have_equal_resumes_and_others_have_others(first in copies(), second in copies()) {
            let (a, b) = (answer(&first, None), answer(&second, None));
            prop_assert_eq!(a.resume == b.resume, first == second);
            prop_assert_eq!(a.is(&b), first == second);
            prop_assert_eq!(a.resume.to_string().parse::<Resume>(), Ok(a.resume.clone()));
            for (key, row) in &first {
                let mut other = first.clone();
                other.insert(key.clone(), format!("{row}0"));
                prop_assert_ne!(&answer(&other, None).resume, &a.resume);
            }
        }

        /// Only behind the last frame the copy is an answer; no answer has the resume of the others.
        #[test]
        fn only_the_last_frame_says_where_to_go_on(first in copies(), second in copies()) {
            let (before, after) = (answer(&first, None), answer(&second, None));
            let frames = before.frames_to(&after, &"sales".into());
            for (index, frame) in frames.iter().enumerate() {
                let is_last = index + 1 == frames.len();
                prop_assert_eq!(frame.more, !is_last);
                prop_assert_eq!(frame.resume == after.resume, is_last);
                prop_assert!(is_last || frame.resume.next().len() == 1);
            }
        }
    }

    #[test]
    fn a_resume_stays_what_it_is() {
        let copy = Copy::from([("{\"day\":\"2026-01-31\"}".into(), "{\"orders\":1}".into())]);
        assert_eq!(answer(&copy, None).resume.to_string(), "sales:AgAAAAAAAAAHq4b8kcPStJBrs92Hk7r-gJEw");
        assert_eq!(
            answer(&Copy::new(), None).resume.to_string(),
            "sales:AgAAAAAAAAAH4-GSloSTv44UmvfTx5zz29wk"
        );
    }

    #[test]
    fn a_text_that_moves_from_the_key_to_the_row_is_another_answer() {
        let of = |key: &str, row: &str| answer(&Copy::from([(key.into(), row.into())]), None).resume;
        assert_ne!(of("ab", "c"), of("a", "bc"));
    }

    #[test]
    fn rows_that_show_the_same_key_are_no_answer() {
        let row = |key: &str| KeyedRow { key: key.into(), row: "1".into() };
        let twice = Answer::new((&"sales".into(), 7), vec![row("b"), row("a"), row("b")], None);
        assert_eq!(&*twice.unwrap_err(), "b");
    }

    #[test]
    fn two_answers_share_what_is_equal_in_both() {
        let first = Copy::from([("a".into(), "1".into()), ("b".into(), "1".into())]);
        let second = Copy::from([("a".into(), "1".into()), ("b".into(), "2".into())]);
        let before = answer(&first, None);
        let after = answer(&second, Some(&before));
        assert!(Arc::ptr_eq(&before.rows[0].row, &after.rows[0].row));
        assert!(Arc::ptr_eq(&before.rows[1].key, &after.rows[1].key));
    }
}
