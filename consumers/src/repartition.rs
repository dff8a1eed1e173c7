//! More partitions for `writ.commands`, offline, with a proof that nothing changed.
//!
//! Partition `n` of `writ.state` belongs to partition `n` of `writ.commands`. With another number of partitions a key
//! belongs elsewhere, so its state, its outcomes and its reservations move there with it:
//!
//! 1. Nobody decides (the deciders' group has no member), and everything is decided: no command stands behind
//!    `@next`, the offset that the deciders keep in `writ.state`.
//! 2. `writ.state` gets its partitions. From here to the end no server starts: the counts of the two topics differ
//!    ([`writ_producers::topics::ensure`]).
//! 3. Each record that belongs elsewhere is written there and deleted here, in one transaction. So at every moment it
//!    is in exactly one partition, and a run that was killed is simply begun again: what has moved is at home, and the
//!    transactional id is the same, so the open transaction is ended before anything is read.
//! 4. All is read again: the digest of all records is that of before, and each stands where its key belongs.
//! 5. Only then `writ.commands` gets its partitions.
//!
//! Old commands stay where they are. They stand below `@next`, and are passed over if Kafka ever hands them out again.
//! Event topics keep their partitions: an aggregate's events stay in one, in order.
//!
//! Memory holds the keys of one partition at a time ([`live`]). Everything here blocks.

use rdkafka::consumer::Consumer;
use writ_producers::kafka::{Options, REQUEST_TIMEOUT};
use writ_producers::topics::{self, Topics};
use writ_producers::transaction::{self, Record, TransactionalProducer};

pub use self::error::Error;
pub use self::live::Digest;
use self::routing::{Route, home, route};
use crate::scan::{Next, Reader};
use crate::state_key::{CONSTRAINTS, NEXT};

mod error;
mod live;
mod routing;

/// Records moved by one transaction.
const CHUNK: usize = 500;
/// Or as many as have these bytes.
const CHUNK_BYTES: usize = 8 * 1024 * 1024;

/// What there is, and what is to do.
#[derive(Debug, Clone)]
pub struct Plan {
    /// Partitions of `writ.commands` now.
    pub commands: i32,
    /// Partitions of `writ.state` now: more, if an earlier run was interrupted.
    pub state: i32,
    /// Partitions of both at the end.
    pub wanted: i32,
    /// All records that belong to a key, wherever they stand.
    pub digest: Digest,
    /// How many of them belong elsewhere.
    pub to_move: u64,
    /// By partition of the commands.
    constraints: Vec<Option<Vec<u8>>>,
}

/// What was reached.
#[derive(Debug, Clone, Copy)]
pub enum Progress<'a> {
    /// All was looked at.
    Planned(&'a Plan),
    /// A partition of `writ.state` has only what belongs there.
    Moved {
        /// Partition.
        partition: i32,
        /// Records that went elsewhere.
        records: u64,
    },
    /// Every record is where it belongs, and none has changed.
    Proved(Digest),
    /// Commands arrived meanwhile, from a server that still runs. They don't stand where their keys belong.
    Late {
        /// How many.
        commands: u64,
    },
}

/// A change of the number of partitions.
#[derive(Debug)]
pub struct Repartition {
    options: Options,
    topics: Topics,
    wanted: i32,
}

impl Repartition {
    /// To `wanted` partitions.
    pub fn new(options: &Options, wanted: i32) -> Repartition {
        Repartition { topics: Topics::new(&options.topic_prefix), options: options.clone(), wanted }
    }

    /// What would be done. Changes nothing.
    ///
    /// # Errors
    /// It can't be done now, or never.
    pub fn check(&self) -> Result<Plan, Error> {
        let reader = Reader::new(&self.options)?;
        self.check_offline(&reader)?;
        let (commands, state) = self.counts(&reader)?;
        let topic = self.topics.state();
        let mut plan = Plan {
            commands,
            state,
            wanted: self.wanted,
            digest: Digest::default(),
            to_move: 0,
            constraints: Vec::new(),
        };
        for partition in 0..state {
            let (mut next, mut constraints) = (0, None);
            live::read::<Error>(&reader, &topic, partition, |key, value| {
                if key == NEXT.as_bytes() {
                    next = std::str::from_utf8(value).ok().and_then(|text| text.parse().ok()).unwrap_or(0);
                } else if key == CONSTRAINTS.as_bytes() {
                    constraints = Some(value.to_vec());
                }
                let Some(owner) = self.owner(partition, key)? else { return Ok(()) };
                plan.digest.add(key, value);
                if home(owner, self.wanted) != partition {
                    if home(owner, commands) != partition {
                        let key = String::from_utf8_lossy(key).into_owned();
                        return Err(Error::Misplaced { topic: topic.clone(), partition, key });
                    }
                    plan.to_move += 1;
                }
                Ok(())
            })?;
            if partition < commands {
                plan.constraints.push(constraints);
                let count = self.undecided(&reader, partition, next)?;
                if count > 0 {
                    return Err(Error::Undecided { topic: self.topics.commands(), partition, count });
                }
            }
        }
        Ok(plan)
    }

    /// Does it.
    ///
    /// # Errors
    /// It can't be done, or not to its end: run it again.
    pub fn run(&self, mut tell: impl FnMut(Progress<'_>)) -> Result<(), Error> {
        let writer = self.topics.repartition_writer();
        // Fences a run that still goes on, and ends the transaction of one that was killed.
        drop(TransactionalProducer::new(&self.options, &writer)?);
        let plan = self.check()?;
        tell(Progress::Planned(&plan));
        let ends = self.ends(plan.commands)?;
        self.grow(&self.topics.state())?;
        // With new clients, which know the new partitions.
        let reader = Reader::new(&self.options)?;
        // Whoever started before the partitions came is in the group by now or finds another count.
        self.check_offline(&reader)?;
        let mut producer = TransactionalProducer::new(&self.options, &writer)?;
        for partition in 0..self.wanted {
            let records = self.move_from(&reader, &mut producer, partition)?;
            tell(Progress::Moved { partition, records });
        }
        self.copy_constraints(&mut producer, &plan)?;
        tell(Progress::Proved(self.prove(&reader, &plan)?));
        self.check_offline(&reader)?;
        let commands = self.late(&reader, &ends)?;
        if commands > 0 {
            tell(Progress::Late { commands });
        }
        self.grow(&self.topics.commands())
    }

    /// Partitions of the commands and of the state, if they can become what is wanted.
    fn counts(&self, reader: &Reader) -> Result<(i32, i32), Error> {
        let (commands, state) = (self.topics.commands(), self.topics.state());
        let (found, found_state) = (reader.partitions(&commands)?, reader.partitions(&state)?);
        let wanted = self.wanted;
        if found_state > found && found_state != wanted {
            return Err(Error::Unfinished { begun: found_state });
        }
        for (topic, found) in [(&commands, found), (&state, found_state)] {
            if found > wanted {
                return Err(Error::Fewer { topic: topic.clone(), found, wanted });
            }
        }
        if found == wanted {
            return Err(Error::Same { topic: commands, found });
        }
        Ok((found, found_state))
    }

    fn check_offline(&self, reader: &Reader) -> Result<(), Error> {
        let group = self.topics.decider_group();
        let members = reader
            .client()
            .fetch_group_list(Some(&group), REQUEST_TIMEOUT)
            .map(|list| list.groups().iter().map(|group| group.members().len()).sum())
            .map_err(|source| Error::Group { group: group.clone(), source })?;
        match members {
            0 => Ok(()),
            members => Err(Error::Online { group, members }),
        }
    }

    /// The key by which a record finds its partition; `None`: it stays.
    fn owner<'a>(&self, partition: i32, key: &'a [u8]) -> Result<Option<&'a str>, Error> {
        let route = std::str::from_utf8(key).map_or(Route::Unknown, route);
        match route {
            Route::Key(owner) => Ok(Some(owner)),
            Route::Stays => Ok(None),
            Route::Unknown => {
                let key = String::from_utf8_lossy(key).into_owned();
                Err(Error::UnknownKey { topic: self.topics.state(), partition, key })
            }
        }
    }

    /// Commands from `next` on. Not the difference of two offsets: the markers of transactions have some too.
    fn undecided(&self, reader: &Reader, partition: i32, next: i64) -> Result<u64, Error> {
        let mut count = 0;
        reader.read::<Error>(&self.topics.commands(), [(partition, next)], |_| {
            count += 1;
            Ok(Next::Go)
        })?;
        Ok(count)
    }

    /// By partition of the commands, where what is there now ends.
    fn ends(&self, partitions: i32) -> Result<Vec<(i32, i64)>, Error> {
        let (reader, topic) = (Reader::new(&self.options)?, self.topics.commands());
        (0..partitions).map(|partition| Ok((partition, reader.end(&topic, partition)?))).collect()
    }

    fn late(&self, reader: &Reader, ends: &[(i32, i64)]) -> Result<u64, Error> {
        ends.iter().map(|(partition, end)| self.undecided(reader, *partition, *end)).sum()
    }

    fn grow(&self, topic: &str) -> Result<(), Error> {
        let runtime =
            tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(Error::Runtime)?;
        Ok(runtime.block_on(topics::grow(&self.options, topic, self.wanted))?)
    }

    /// Moves what doesn't belong into `partition`. How many records.
    fn move_from(
        &self,
        reader: &Reader,
        producer: &mut TransactionalProducer,
        partition: i32,
    ) -> Result<u64, Error> {
        let topic = self.topics.state();
        let (mut moved, mut chunk, mut bytes) = (0, Vec::new(), 0);
        live::read::<Error>(reader, &topic, partition, |key, value| {
            let Some(owner) = self.owner(partition, key)? else { return Ok(()) };
            let target = home(owner, self.wanted);
            if target == partition {
                return Ok(());
            }
            bytes += key.len() + value.len();
            chunk.push(Move { key: key.to_vec(), value: value.to_vec(), from: partition, to: target });
            moved += 1;
            if chunk.len() >= CHUNK || bytes >= CHUNK_BYTES {
                bytes = 0;
                commit(producer, &topic, &std::mem::take(&mut chunk))?;
            }
            Ok(())
        })?;
        commit(producer, &topic, &chunk)?;
        Ok(moved)
    }

    /// `@constraints` says of a partition which uniqueness constraints all its aggregates have claimed. If all
    /// partitions agree it holds for any set of their aggregates, so for the new ones too. If not it is deleted
    /// everywhere: the deciders claim anew at their start, which changes nothing for values that are claimed.
    fn copy_constraints(&self, producer: &mut TransactionalProducer, plan: &Plan) -> Result<(), Error> {
        let Some(first) = plan.constraints.first() else { return Ok(()) };
        let agreed = first.as_deref().filter(|_| plan.constraints.iter().all(|value| value == first));
        if agreed.is_none() && plan.constraints.iter().all(Option::is_none) {
            return Ok(());
        }
        let mut transaction = producer.begin()?;
        for partition in if agreed.is_some() { plan.commands } else { 0 }..self.wanted {
            transaction.write(Record {
                topic: &self.topics.state(),
                partition: Some(partition),
                key: CONSTRAINTS.as_bytes(),
                value: agreed,
                headers: None,
            })?;
        }
        transaction.commit_records()?;
        Ok(())
    }

    fn prove(&self, reader: &Reader, plan: &Plan) -> Result<Digest, Error> {
        let topic = self.topics.state();
        let mut after = Digest::default();
        for partition in 0..self.wanted {
            live::read::<Error>(reader, &topic, partition, |key, value| {
                let Some(owner) = self.owner(partition, key)? else { return Ok(()) };
                after.add(key, value);
                match home(owner, self.wanted) == partition {
                    true => Ok(()),
                    false => {
                        let key = String::from_utf8_lossy(key).into_owned();
                        Err(Error::Misplaced { topic: topic.clone(), partition, key })
                    }
                }
            })?;
        }
        match after == plan.digest {
            true => Ok(after),
            false => Err(Error::Changed { topic: self.topics.commands(), before: plan.digest, after }),
        }
    }
}

/// A record that belongs elsewhere.
struct Move {
    key: Vec<u8>,
    value: Vec<u8>,
    from: i32,
    to: i32,
}

fn commit(
    producer: &mut TransactionalProducer,
    topic: &str,
    moves: &[Move],
) -> Result<(), transaction::Error> {
    if moves.is_empty() {
        return Ok(());
    }
    let mut transaction = producer.begin()?;
    for Move { key, value, from, to } in moves {
        for (partition, value) in [(*to, Some(value.as_slice())), (*from, None)] {
            transaction.write(Record { topic, partition: Some(partition), key, value, headers: None })?;
        }
    }
    transaction.commit_records()?;
    Ok(())
}
