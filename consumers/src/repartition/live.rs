//! What a partition of `writ.state` says: the last value of each key. And a digest of it that doesn't depend on where
//! the records stand.

use std::collections::HashMap;
use std::fmt;

use rdkafka::Message;
use sha2::{Digest as _, Sha256};

use crate::scan::{self, Next, Reader};

/// Hands the last value of each key of a partition to `each`. Reads the partition twice, first for where the last
/// values stand: so the keys are in memory, one partition's at a time, and the values are not.
pub(super) fn read<E: From<scan::Error>>(
    reader: &Reader,
    topic: &str,
    partition: i32,
    mut each: impl FnMut(&[u8], &[u8]) -> Result<(), E>,
) -> Result<(), E> {
    let mut last: HashMap<Vec<u8>, i64> = HashMap::new();
    reader.read::<E>(topic, [(partition, 0)], |record| {
        let key = record.key().unwrap_or_default();
        match (record.payload(), last.get_mut(key)) {
            (Some(_), Some(offset)) => *offset = record.offset(),
            (Some(_), None) => drop(last.insert(key.to_vec(), record.offset())),
            (None, _) => drop(last.remove(key)),
        }
        Ok(Next::Go)
    })?;
    let mut left = last.len();
    if left == 0 {
        return Ok(());
    }
    reader.read::<E>(topic, [(partition, 0)], |record| {
        let key = record.key().unwrap_or_default();
        if let Some(value) = record.payload()
            && last.get(key) == Some(&record.offset())
        {
            each(key, value)?;
            left -= 1;
        }
        Ok(if left == 0 { Next::Stop } else { Next::Go })
    })
}

/// A sum over the SHA-256 of every record, modulo 2^256, and their number: equal for the same records in any order
/// and in any partitions. A sum, since equal records would cancel each other out under XOR.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Digest {
    sum: [u8; 32],
    /// How many records.
    pub records: u64,
}

impl Digest {
    pub(super) fn add(&mut self, key: &[u8], value: &[u8]) {
        let mut hash = Sha256::new();
        // With its length, so that no other split of the same bytes is the same record.
        hash.update((key.len() as u64).to_be_bytes());
        hash.update(key);
        hash.update(value);
        let mut carry = 0;
        for (sum, byte) in self.sum.iter_mut().zip(hash.finalize()).rev() {
            let total = u16::from(*sum) + u16::from(byte) + carry;
            *sum = total.to_be_bytes()[1];
            carry = total >> 8;
        }
        self.records += 1;
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.sum.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digest(records: &[(&str, &str)]) -> Digest {
        let mut digest = Digest::default();
        records.iter().for_each(|(key, value)| digest.add(key.as_bytes(), value.as_bytes()));
        digest
    }

    #[test]
    fn a_digest_knows_the_records_and_not_their_order() {
        let all = digest(&[("a", "1"), ("b", "2"), ("c", "3")]);
        assert_eq!(all, digest(&[("c", "3"), ("a", "1"), ("b", "2")]));
        for other in [
            &[("a", "1"), ("b", "2")][..],
            &[("a", "1"), ("b", "2"), ("c", "4")],
            &[("a", "1"), ("b", "3"), ("c", "2")],
            &[("a", "1"), ("b", "2"), ("c3", "")],
            &[("a", "1"), ("b", "2"), ("c", "3"), ("c", "3"), ("c", "3")],
        ] {
            assert_ne!(all, digest(other), "{other:?}");
        }
        assert_eq!(all.to_string().len(), 64);
    }
}
