//! Where a subscription goes on: the next offset of every partition of its model's topic, as an opaque text.
//!
//! The text is the model, a colon and base64url of one byte (the form, 1) and the offsets as variable-length integers
//! (LEB128, the partitions in their order). Each vector has one text only, and only that is read: what a client sends is
//! not trusted, and whether Kafka has these offsets is asked elsewhere.

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
const FORM: u8 = 1;

/// Where a subscription goes on, in any process. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Resume {
    model: Arc<str>,
    next: Arc<[i64]>,
}

/// The text is none of ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this is no place to resume from; take the `resume` of the last message as it is")]
pub struct InvalidResume;

impl Resume {
    /// `next`: the next offset of every partition, none of them negative.
    pub(super) fn new(model: &Arc<str>, next: impl Into<Arc<[i64]>>) -> Resume {
        Resume { model: model.clone(), next: next.into() }
    }

    /// The model whose events these are.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// The next offset of every partition.
    pub(super) fn next(&self) -> &[i64] {
        &self.next
    }

    /// The same place, moved on where `other` is further.
    pub(super) fn merged(&self, other: &[i64]) -> Resume {
        let mut next = self.next.to_vec();
        merge(&mut next, other);
        Resume::new(&self.model, next)
    }

    /// Whether it is not behind `other` in any partition.
    pub(super) fn reaches(&self, other: &[i64]) -> bool {
        reaches(&self.next, other)
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
        let mut bytes = Vec::with_capacity(1 + 5 * self.next.len());
        bytes.push(FORM);
        for offset in &*self.next {
            push(&mut bytes, offset.cast_unsigned());
        }
        write!(f, "{}:{}", self.model, URL_SAFE_NO_PAD.encode(bytes))
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
        let (&FORM, mut rest) = bytes.split_first().ok_or(InvalidResume)? else { return Err(InvalidResume) };
        let mut next = Vec::new();
        while !rest.is_empty() {
            let (offset, left) = take(rest).ok_or(InvalidResume)?;
            next.push(offset);
            rest = left;
        }
        if next.is_empty() || next.len() > MAX_PARTITIONS {
            return Err(InvalidResume);
        }
        Ok(Resume { model: model.into(), next: next.into() })
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

    fn resume(next: &[i64]) -> Resume {
        Resume::new(&"order".into(), next)
    }

    #[test]
    fn a_text_stays_what_it_is() {
        // Clients keep it: another form needs another first byte.
        assert_eq!(resume(&[0, 127, 128, i64::MAX]).to_string(), "order:AQB_gAH__________38");
    }

    #[test]
    fn what_is_not_exactly_a_text_of_ours_is_refused() {
        let encode = |bytes: &[u8]| format!("order:{}", URL_SAFE_NO_PAD.encode(bytes));
        let too_many = [&[FORM][..], &[0; MAX_PARTITIONS + 1]].concat();
        for text in [
            "",
            "order",
            ":AQA",
            "order:",
            "order:AQ",
            "Order:AQA",
            "order:AQA=",
            "order:AQA:",
            " order:AQA",
            "order:A+A",
            "order:5:1234",
            // Not all bits are used.
            "order:AQB",
            // Another form, a number that is cut off, not in its shortest form, above 2^63.
            &encode(&[2, 0]),
            &encode(&[FORM, 0x80]),
            &encode(&[FORM, 0x80, 0]),
            &encode(&[FORM, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
            &encode(&too_many),
            &format!("order:{}", "A".repeat(MAX_LENGTH)),
        ] {
            assert_eq!(text.parse::<Resume>(), Err(InvalidResume), "{text}");
        }
    }

    proptest! {
        #[test]
        fn a_text_is_read_as_what_it_was(next in prop::collection::vec(0..=i64::MAX, 1..50)) {
            let resume = resume(&next);
            prop_assert_eq!(resume.to_string().parse::<Resume>(), Ok(resume));
        }

        #[test]
        fn no_text_has_two_forms(text in "order:AQ[A-Za-z0-9_-]{0,12}") {
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
