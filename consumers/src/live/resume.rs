//! Where a subscription goes on: the next offset of every partition of its model's topic, and for which view, as an opaque text.
//!
//! The text is the model, a colon and base64url of one byte (the form, 2), the identity of the view (8 bytes) and the offsets as
//! variable-length integers (LEB128, the partitions in their order). Each has one text only, and only that is read: what a client
//! sends is not trusted, and whether Kafka has these offsets is asked elsewhere. The first nine bytes are twelve characters, so the
//! text of the offsets is made once for all views.
//!
//! **Another view.** What was missed is told as changes of the rows that the client has: those that its view of before has shown. For
//! a client that asks for something else now, or may see something else, that isn't so: a row that the view of before had and
//! the present one never did would neither change nor leave. So the text says whose rows the client has, by
//! [`identity`](writ_projections::query::ListRequest::identity), and if that isn't the view that it subscribes to, it gets a snapshot. If it is,
//! it doesn't matter what else it may have seen or asked for in between: each change that it gets is one of this view, and depends on the event alone.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use writ_model::declaration::is_name;

/// Longest text, bytes.
pub const MAX_LENGTH: usize = 4096;
/// Most partitions: with offsets of usual size their text is within [`MAX_LENGTH`].
const MAX_PARTITIONS: usize = 1024;
/// First byte.
const FORM: u8 = 2;
/// Bytes of the identity of a view.
const VIEW: usize = 8;

/// How far a model's events have come, whoever follows them. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    model: Arc<str>,
    next: Arc<[i64]>,
}

/// Where a subscription goes on, in any process. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resume {
    place: Place,
    view: u64,
}

/// The text is none of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no place to resume from; take the `resume` of the last message as it is")]
pub struct InvalidResume;

impl Place {
    /// `next`: the next offset of every partition, none of them negative.
    pub(super) fn new(model: &Arc<str>, next: impl Into<Arc<[i64]>>) -> Place {
        Place { model: model.clone(), next: next.into() }
    }

    /// The next offset of every partition.
    pub(super) fn next(&self) -> &[i64] {
        &self.next
    }

    /// For the view of this identity.
    pub(super) fn of(&self, view: u64) -> Resume {
        Resume { place: self.clone(), view }
    }

    /// The part of the text that is the same for all views.
    pub(super) fn text(&self) -> String {
        let mut bytes = Vec::with_capacity(5 * self.next.len());
        for offset in &*self.next {
            push(&mut bytes, offset.cast_unsigned());
        }
        URL_SAFE_NO_PAD.encode(bytes)
    }
}

impl Resume {
    /// The model whose events these are.
    pub fn model(&self) -> &str {
        &self.place.model
    }

    /// The next offset of every partition.
    pub(super) fn next(&self) -> &[i64] {
        &self.place.next
    }

    /// The identity of the view that the client has the rows of.
    pub(super) fn view(&self) -> u64 {
        self.view
    }

    /// The same place, moved on where `other` is further.
    pub(super) fn merged(&self, other: &[i64]) -> Resume {
        let mut next = self.next().to_vec();
        merge(&mut next, other);
        Place::new(&self.place.model, next).of(self.view)
    }

    /// Whether it is not behind `other` in any partition.
    pub(super) fn reaches(&self, other: &[i64]) -> bool {
        reaches(self.next(), other)
    }

    /// Its text, of which that of its [place](Place::text) is there already.
    pub(super) fn text(&self, place: &str) -> String {
        let mut bytes = [FORM; 1 + VIEW];
        bytes[1..].copy_from_slice(&self.view.to_be_bytes());
        format!("{}:{}{place}", self.model(), URL_SAFE_NO_PAD.encode(bytes))
    }
}

/// Moves `at` on where `other` is further.
pub(super) fn merge(at: &mut [i64], other: &[i64]) {
    for (at, other) in at.iter_mut().zip(other) {
        *at = (*at).max(*other);
    }
}

/// Whether `at` is not behind `other` in any partition.
pub(super) fn reaches(at: &[i64], other: &[i64]) -> bool {
    at.iter().zip(other).all(|(at, other)| at >= other)
}

impl fmt::Display for Resume {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text(&self.place.text()))
    }
}

impl FromStr for Resume {
    type Err = InvalidResume;

    fn from_str(text: &str) -> Result<Resume, InvalidResume> {
        if text.len() > MAX_LENGTH {
            return Err(InvalidResume);
        }
        let (model, encoded) =
            text.split_once(':').filter(|(model, _)| is_name(model)).ok_or(InvalidResume)?;
        let bytes = URL_SAFE_NO_PAD.decode(encoded).map_err(|_| InvalidResume)?;
        let (&FORM, rest) = bytes.split_first().ok_or(InvalidResume)? else { return Err(InvalidResume) };
        let (view, mut rest) = rest.split_first_chunk::<VIEW>().ok_or(InvalidResume)?;
        let mut next = Vec::new();
        while !rest.is_empty() {
            let (offset, left) = take(rest).ok_or(InvalidResume)?;
            next.push(offset);
            rest = left;
        }
        if next.is_empty() || next.len() > MAX_PARTITIONS {
            return Err(InvalidResume);
        }
        Ok(Place::new(&model.into(), next).of(u64::from_be_bytes(*view)))
    }
}

fn push(bytes: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        bytes.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
}

/// The number at the beginning, below 2^63 and in its shortest form, and what follows.
fn take(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let mut number: i64 = 0;
    for (index, byte) in bytes.iter().enumerate().take(9) {
        number |= i64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let is_shortest = *byte != 0 || index == 0;
            return is_shortest.then_some((number, &bytes[index + 1..]));
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn resume(view: u64, next: &[i64]) -> Resume {
        Place::new(&"order".into(), next).of(view)
    }

    #[test]
    fn a_text_stays_what_it_is() {
        // Clients keep it: another form needs another first byte.
        let resume = resume(0x0123_4567_89ab_cdef, &[0, 127, 128, i64::MAX]);
        assert_eq!(resume.to_string(), "order:AgEjRWeJq83vAH-AAf__________fw");
    }

    #[test]
    fn what_is_not_exactly_a_text_of_ours_is_refused() {
        let encode = |bytes: &[u8]| format!("order:{}", URL_SAFE_NO_PAD.encode(bytes));
        let none = [FORM, 1, 2, 3, 4, 5, 6, 7, 8];
        let with = |rest: &[u8]| encode(&[&none[..], rest].concat());
        assert!(with(&[0]).parse::<Resume>().is_ok());
        for text in [
            "",
            "order",
            ":AQA",
            "order:",
            "order:AgECAwQFBgcI",
            "Order:AgECAwQFBgcIAA",
            "order:AgECAwQFBgcIAA=",
            "order:AgECAwQFBgcIAA:",
            " order:AgECAwQFBgcIAA",
            "order:AgECAwQFBgcI+A",
            "order:5:1234",
            // Not all bits are used.
            "order:AgECAwQFBgcIAB",
            // Another form, half of a view, a number that is cut off, not in its shortest form, above 2^63.
            &encode(&[1, 0]),
            &encode(&[1, 1, 2, 3, 4, 5, 6, 7, 8, 0]),
            &encode(&none[..8]),
            &with(&[0x80]),
            &with(&[0x80, 0]),
            &with(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
            &with(&[0; MAX_PARTITIONS + 1]),
            &format!("order:{}", "A".repeat(MAX_LENGTH)),
        ] {
            assert_eq!(text.parse::<Resume>(), Err(InvalidResume), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_text_is_read_as_what_it_was(view: u64, next in prop::collection::vec(0..=i64::MAX, 1..50)) {
            let resume = resume(view, &next);
            prop_assert_eq!(resume.to_string().parse::<Resume>(), Ok(resume));
        }

        #[test]
        fn no_text_has_two_forms(text in "order:Ag[A-Za-z0-9_-]{10,24}") {
            if let Ok(resume) = text.parse::<Resume>() {
                prop_assert_eq!(resume.to_string(), text);
            }
        }

        #[test]
        fn nothing_makes_it_panic(text in "\\PC{0,40}") {
            let _ = text.parse::<Resume>();
        }
    }
}
