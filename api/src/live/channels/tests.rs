//! Several processes (handles, each with its own task and connections) over one real Redis.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use serde_json::value::to_raw_value;
use serde_json::{Value as Json, json};
use tokio::task::JoinHandle;
use writ_model::Models;
use writ_model::diagnostic::Source;

use super::room::Ask;
use super::seat::Next;
use super::*;

/// Longer than a lease and a comparison.
const LIMIT: Duration = Duration::from_secs(40);

fn client() -> Client {
    let url = std::env::var("WRIT_REDIS_URL").expect("WRIT_REDIS_URL is not set: run `cargo dev test`");
    Client::open(url).unwrap()
}

fn lobby() -> Declared {
    let text = "channel: lobby\nkey: text\npresence: { name: text }\n";
    let source = Source { name: "lobby.yaml".into(), text: text.into() };
    Models::check("shop", &[source]).unwrap().channels["lobby"].clone()
}

/// A process.
struct Process {
    channels: Channels,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl Process {
    fn start(prefix: &str) -> Process {
        let channels = Channels::new(client(), prefix, 100).unwrap();
        let cancel = CancellationToken::new();
        let task = tokio::spawn(channels.clone().run(cancel.clone()));
        Process { channels, cancel, task }
    }

    fn names(&self) -> &Names {
        &self.channels.0.names
    }

    async fn join(&self, room: &str, name: Option<&str>) -> Member {
        let taken = self.channels.enter(&lobby(), room).await.unwrap();
        if let Some(name) = name {
            taken.put(Some(entry(taken.member, name))).await.unwrap();
        }
        let (seat, list) = taken.sit(Arc::default());
        Member { list: list.iter().map(|entry| read(entry.get())).collect(), taken, seat }
    }

    async fn listed(&self, room: &str) -> BTreeMap<String, String> {
        let entries = self.channels.members("lobby", room).await.unwrap();
        entries.iter().map(|entry| read(entry.get())).collect()
    }
}

fn entry(member: Uuid, name: &str) -> Entry {
    to_raw_value(&json!({ "member": member, "state": { "name": name } })).unwrap().into()
}

fn of_json(entry: &Json) -> (String, String) {
    let text = |json: &Json| json.as_str().unwrap().to_owned();
    (text(&entry["member"]), text(&entry["state"]["name"]))
}

fn read(entry: &str) -> (String, String) {
    of_json(&serde_json::from_str(entry).unwrap())
}

/// A member, with the list as its client has it.
struct Member {
    list: BTreeMap<String, String>,
    taken: Taken,
    seat: Arc<Seat>,
}

impl Member {
    fn id(&self) -> String {
        self.taken.member.to_string()
    }

    fn follow(&mut self) {
        while let Some(next) = self.seat.next() {
            match next {
                Next::Missed(_) => {}
                Next::List => {
                    let Some(list) = self.taken.room.list_for(&self.seat) else { continue };
                    self.list = list.iter().map(|entry| read(entry.get())).collect();
                }
                Next::Text(text) => {
                    let message: Json = serde_json::from_str(&text.message("s")).unwrap();
                    for left in message["left"].as_array().unwrap() {
                        self.list.remove(left.as_str().unwrap());
                    }
                    self.list.extend(message["joined"].as_array().unwrap().iter().map(of_json));
                }
            }
        }
    }
}

async fn redis() -> redis::aio::MultiplexedConnection {
    client().get_multiplexed_async_connection().await.unwrap()
}

async fn run(command: &mut redis::Cmd) {
    command.query_async::<redis::Value>(&mut redis().await).await.unwrap();
}

fn prefix() -> String {
    format!("t-{}", Uuid::new_v4().simple())
}

/// Numbers that look random, the same for the same seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(self.0 >> 33).unwrap() % sides
    }
}

/// Whatever is done, and whatever Redis loses meanwhile: in the end every list is the truth.
#[tokio::test(flavor = "multi_thread")]
async fn lists_converge() {
    let seed = Uuid::new_v4().as_u128() as u64;
    let (mut dice, prefix) = (Dice(seed), prefix());
    let processes: Vec<Process> = (0..3).map(|_| Process::start(&prefix)).collect();
    let rooms = ["a", "b"];
    let mut members: Vec<(usize, &str, Member)> = Vec::new();
    let mut truth: BTreeMap<&str, BTreeMap<String, String>> =
        rooms.iter().map(|room| (*room, BTreeMap::new())).collect();
    for step in 0..120 {
        let (process, room) = (dice.roll(processes.len()), rooms[dice.roll(rooms.len())]);
        let name = format!("n{step}");
        let hash = processes[0].names().members(&Names::room("lobby", room));
        match dice.roll(12) {
            0..=3 => {
                let shows = dice.roll(4) > 0;
                let member = processes[process].join(room, shows.then_some(&name)).await;
                if shows {
                    truth.get_mut(room).unwrap().insert(member.id(), name);
                }
                members.push((process, room, member));
            }
            4..=6 if !members.is_empty() => {
                let (_, room, member) = &members[dice.roll(members.len())];
                let of_room = truth.get_mut(room).unwrap();
                if dice.roll(3) == 0 {
                    member.taken.put(None).await.unwrap();
                    of_room.remove(&member.id());
                } else {
                    member.taken.put(Some(entry(member.taken.member, &name))).await.unwrap();
                    of_room.insert(member.id(), name);
                }
            }
            7..=8 if !members.is_empty() => {
                let (_, room, member) = members.swap_remove(dice.roll(members.len()));
                truth.get_mut(room).unwrap().remove(&member.id());
            }
            // A list is lost.
            9 => run(redis::cmd("DEL").arg(&hash)).await,
            // A process looked dead for a moment, and was cleared away; or was not seen to be.
            10 => {
                run(redis::cmd("DEL").arg(processes[process].names().lease())).await;
                let gone = Ask::for_list(String::new(), Names::room("lobby", room));
                let shared = &processes[(process + 1) % 3].channels.0;
                shared.link.presence(&shared.names, (100, 0), &[gone]).await.unwrap();
            }
            // Members of a process that is gone, and one that this process knows nothing of.
            _ => {
                let is_in = members.iter().any(|(whose, of, _)| *whose == process && *of == room);
                let own = is_in.then_some(processes[process].names().process);
                for whose in own.into_iter().chain([Uuid::new_v4()]) {
                    let ghost = Uuid::new_v4();
                    let field = format!("{whose}:{ghost}");
                    run(redis::cmd("HSET").arg(&hash).arg(field).arg(entry(ghost, "ghost").get())).await;
                }
            }
        }
        members.iter_mut().for_each(|(_, _, member)| member.follow());
    }
    let since = Instant::now();
    loop {
        members.iter_mut().for_each(|(_, _, member)| member.follow());
        // A room that nobody is in is seen by nobody; who asks for its list finds it cleared.
        let mut wrong: Vec<String> = members
            .iter()
            .filter(|(_, room, member)| member.list != truth[room])
            .map(|(process, room, member)| {
                format!("{process} {room} {:?}, not {:?}", member.list, truth[room])
            })
            .collect();
        for room in rooms {
            let listed = processes[0].listed(room).await;
            if listed != truth[room] && members.iter().any(|(_, of, _)| *of == room) {
                wrong.push(format!("Redis {room} {listed:?}, not {:?}", truth[room]));
            }
        }
        if wrong.is_empty() {
            break;
        }
        assert!(since.elapsed() < LIMIT, "seed {seed}: {wrong:#?}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // And everything comes to its end by itself.
    drop(members);
    for process in processes {
        process.cancel.cancel();
        tokio::time::timeout(LIMIT, process.task).await.expect("the task ends").unwrap();
        assert!(process.channels.0.rooms.lock().is_empty(), "no room is left behind");
    }
}

/// A call that was given up, and is done when the next connection has told better.
#[tokio::test]
async fn what_comes_late_is_refused() {
    let process = Process::start(&prefix());
    let shared = &process.channels.0;
    let room = Names::room("lobby", "a");
    let (say, member) = (shared.names.say(&room), Uuid::new_v4());
    let ask = |set: Vec<(Uuid, String)>, del: Vec<Uuid>| Ask {
        set,
        del,
        ..Ask::for_list(say.clone(), room.clone())
    };
    let text = entry(member, "late").get().to_owned();
    let told = async |connection: u64, ask: Ask| {
        shared.link.presence(&shared.names, (100, connection), &[ask]).await
    };
    assert_eq!(told(1, ask(vec![(member, text.clone())], Vec::new())).await.unwrap()[0].2.len(), 1);
    assert_eq!(told(2, ask(Vec::new(), vec![member])).await.unwrap()[0].2.len(), 0);
    let late = told(1, ask(vec![(member, text)], Vec::new())).await.unwrap_err();
    assert!(late.to_string().contains("STALE"), "{late}");
    assert!(process.listed("a").await.is_empty());
}

#[tokio::test]
async fn a_full_list_makes_room_of_those_who_are_gone() {
    let process = Process::start(&prefix());
    let shared = &process.channels.0;
    let room = Names::room("lobby", "a");
    let hash = shared.names.members(&room);
    for _ in 0..2 {
        let ghost = Uuid::new_v4();
        let field = format!("{}:{ghost}", Uuid::new_v4());
        run(redis::cmd("HSET").arg(&hash).arg(field).arg(entry(ghost, "ghost").get())).await;
    }
    let member = Uuid::new_v4();
    let set = |member| vec![(member, entry(member, "new").get().to_owned())];
    let told = async |set| {
        let ask = Ask { set, say: shared.names.say(&room), room: room.clone(), ..Ask::default() };
        shared.link.presence(&shared.names, (2, 1), &[ask]).await.unwrap().remove(0).1
    };
    assert!(told(set(member)).await.is_empty());
    assert!(told(set(Uuid::new_v4())).await.is_empty());
    let third = Uuid::new_v4();
    assert_eq!(told(set(third)).await, [third], "two are there");
}

/// Nobody publishes what Redis has lost; whose process is gone can't put it back.
#[tokio::test]
async fn what_redis_has_lost_of_those_who_are_gone_is_noticed() {
    let prefix = prefix();
    let (stays, goes) = (Process::start(&prefix), Process::start(&prefix));
    let mut member = stays.join("a", Some("stays")).await;
    let gone = goes.join("a", Some("gone")).await;
    let follows = async |member: &mut Member, names: &[&str]| {
        let since = Instant::now();
        loop {
            member.follow();
            let mut seen: Vec<_> = member.list.values().map(String::as_str).collect();
            seen.sort_unstable();
            if seen == names {
                return;
            }
            assert!(since.elapsed() < LIMIT, "{seen:?}, not {names:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    follows(&mut member, &["gone", "stays"]).await;
    // As if it was killed, and Redis with it.
    goes.task.abort();
    assert!(goes.task.await.unwrap_err().is_cancelled());
    let names = &goes.channels.0.names;
    run(redis::cmd("DEL").arg(names.members(&Names::room("lobby", "a"))).arg(names.lease())).await;
    follows(&mut member, &["stays"]).await;
    drop(gone);
}
