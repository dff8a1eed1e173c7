//! What a process is called in Kafka, from one start to the next: the file `node` in its data folder. Transactional ids are made
//! from it, so that a restarted process ends what it left open before (`init_transactions`), instead of waiting for the broker's
//! timeout.

use std::fs;
use std::io::{Error, ErrorKind};
use std::path::Path;

use uuid::Uuid;

/// Within the data folder.
pub(crate) const NODE: &str = "node";

/// The id in `folder`, or a new one that is kept there. Roles of one process may ask at the same time: all get the same.
///
/// # Errors
/// The folder can't be made, read or written.
pub(crate) fn id(folder: &Path) -> Result<Uuid, Error> {
    fs::create_dir_all(folder)?;
    let file = folder.join(NODE);
    loop {
        match fs::read_to_string(&file) {
            Ok(text) => {
                if let Ok(node) = text.trim().parse() {
                    return Ok(node);
                }
                tracing::warn!(path = %file.display(), "the file holds no node id; a new one is made");
                fs::remove_file(&file)?;
            }
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        let node = Uuid::now_v7();
        // Whole under another name first: nobody reads half of it, and of two that make one the first counts.
        let made = folder.join(format!("{NODE}.{node}"));
        fs::write(&made, node.to_string())?;
        let linked = fs::hard_link(&made, &file);
        fs::remove_file(&made)?;
        match linked {
            Ok(()) => return Ok(node),
            Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
            Err(error) => return Err(error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_who_ask_get_the_same_one_and_garbage_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let asked: Vec<_> = (0..8)
            .map(|_| folder.path().to_owned())
            .map(|folder| std::thread::spawn(move || id(&folder).unwrap()))
            .collect();
        let found: Vec<Uuid> = asked.into_iter().map(|thread| thread.join().unwrap()).collect();
        assert!(found.iter().all(|node| *node == found[0]), "{found:?}");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);

        fs::write(folder.path().join(NODE), "garbage").unwrap();
        let other = id(folder.path()).unwrap();
        assert!(other != found[0] && other == id(folder.path()).unwrap());
    }
}
