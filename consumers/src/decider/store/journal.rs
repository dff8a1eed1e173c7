//! Finds holes in the journals of the LSM store.
//!
//! The journals are numbered files; writes go to the newest, the older ones are sealed and wait until all their writes
//! are in other files, then the oldest goes. At its start the library reads them in order. An entry that it can't parse
//! ends a journal: it is cut there, without an error, and the next journal is read. That is right for the newest one,
//! which a crash may have torn. In a sealed one it leaves a hole: later writes are there, earlier ones are not. So we look
//! at what the library has cut off: only the zeros that a journal is allocated with may go.
//!
//! What this can't see is a journal that was the oldest and was deleted by somebody: the library deletes it too, when
//! its time has come.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;

use super::Error;

const EXTENSION: &str = "jnl";
const CHUNK: usize = 64 * 1024;
/// The library seals a journal when it is longer than this.
const SEALED_AT: u64 = 64_000_000;

/// The sealed journals before the library has touched them.
#[derive(Debug)]
pub(super) struct Sealed {
    /// Each as an open file, since the library may delete it, with the length of its data.
    journals: Vec<(u64, File, u64)>,
}

impl Sealed {
    /// Those in `folder`.
    ///
    /// # Errors
    /// One is missing, or can't be read.
    pub(super) fn find(folder: &Path) -> Result<Sealed, Error> {
        let mut numbers = Vec::new();
        for entry in std::fs::read_dir(folder)? {
            let path = entry?.path();
            if path.extension().is_some_and(|extension| extension == EXTENSION)
                && let Some(number) = path.file_stem().and_then(|stem| stem.to_str()?.parse::<u64>().ok())
            {
                numbers.push(number);
            }
        }
        numbers.sort_unstable();
        if let Some(hole) = numbers.windows(2).find(|pair| pair[0] + 1 != pair[1]) {
            return Err(Error::Damaged(format!("the journal {} is missing", hole[0] + 1)));
        }
        // The newest may have a torn end.
        numbers.pop();
        let journals = numbers.into_iter().map(|number| {
            let mut file = File::open(folder.join(format!("{number}.{EXTENSION}")))?;
            let length = length_of_data(&mut file)?;
            Ok((number, file, length))
        });
        Ok(Sealed { journals: journals.collect::<std::io::Result<_>>()? })
    }

    /// After the library has read them: whether it has used all of each.
    ///
    /// # Errors
    /// [`Error::Damaged`].
    pub(super) fn check(self) -> Result<(), Error> {
        for (number, file, length) in self.journals {
            let left = file.metadata()?.len();
            let expected = length.max(SEALED_AT);
            if left < expected {
                return Err(Error::Damaged(format!(
                    "the journal {number} is readable up to byte {left} of {expected}"
                )));
            }
        }
        Ok(())
    }
}

/// Up to the last byte that isn't zero.
fn length_of_data(file: &mut File) -> std::io::Result<u64> {
    let mut end = file.metadata()?.len();
    let mut chunk = vec![0; CHUNK];
    while end > 0 {
        let size = end.min(CHUNK as u64);
        let part = &mut chunk[..usize::try_from(size).unwrap_or(CHUNK)];
        file.seek(SeekFrom::Start(end - size))?;
        file.read_exact(part)?;
        if let Some(last) = part.iter().rposition(|byte| *byte != 0) {
            return Ok(end - size + last as u64 + 1);
        }
        end -= size;
    }
    Ok(0)
}
