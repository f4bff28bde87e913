//! `kill -9` of the supervisor, of its front, of a jail's process 1 and of a hosted server, at random moments under
//! load: the service is back by itself, and nothing is leaked. A killed `gaoler run` takes everything with it, and
//! the next start cleans what it could not.
//!
//! The seed is printed; `GAOLER_SEED=N` repeats the choices.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use gaoler_tests::http::Client;
use gaoler_tests::leftovers::{Left, Snapshot};
use gaoler_tests::mcp::Session;
use gaoler_tests::random::Random;
use gaoler_tests::{Launch, Run, exclusive, proc, wait};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::json;

/// How many processes are killed (issue: 50).
const MOMENTS: u32 = 50;

/// The most kills in one supervisor's life: with more, a front's back-off would make up most of the test.
const KILLS_IN_A_LIFE: u32 = 10;

/// Clients that call all the time.
const CLIENTS: usize = 3;

/// How long the service may be away: the longest back-off after many deaths in a row, on a loaded machine.
const BACK: Duration = Duration::from_secs(40);

/// How long the kernel may take to end what belonged to a killed supervisor.
const DEAD: Duration = Duration::from_secs(10);

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Victim {
    Supervisor,
    Front,
    Init,
    Server,
    Spare,
}

/// Clients that call, check every answer, and open a new session whenever theirs is gone.
struct Load {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    threads: Vec<JoinHandle<()>>,
}

impl Load {
    fn start(run: &Run) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
        let threads = (0..CLIENTS)
            .map(|n| {
                let (stop, answered) = (Arc::clone(&stop), Arc::clone(&answered));
                let (addr, path) = (run.addr(), run.path().to_owned());
                std::thread::spawn(move || {
                    let client = || Client::new(addr).deadline(Duration::from_secs(10));
                    call_until(&stop, &answered, n, || Session::reach(client(), &path).ok());
                })
            })
            .collect();
        Self { stop, answered, threads }
    }

    fn answered(&self) -> u64 {
        self.answered.load(Ordering::SeqCst)
    }

    fn end(self) {
        self.stop.store(true, Ordering::SeqCst);
        for thread in self.threads {
            thread.join().expect("no client saw a wrong answer");
        }
    }
}

fn call_until(stop: &AtomicBool, answered: &AtomicU64, client: usize, open: impl Fn() -> Option<Session>) {
    let mut session = None;
    for n in 0_u64.. {
        if stop.load(Ordering::SeqCst) {
            return;
        }
        let text = format!("client {client}, call {n}");
        let answer =
            session.as_mut().and_then(|s: &mut Session| s.try_call("echo", json!({"text": text})).ok());
        match answer {
            Some(answer)
                if answer.status == 200
                    && answer.messages.last().is_some_and(|m| m.get("result").is_some()) =>
            {
                assert_eq!(answer.tool_text(), text);
                answered.fetch_add(1, Ordering::SeqCst);
            }
            // An error that says so: the server died, and the session is still there.
            Some(answer) if answer.status == 200 => {}
            _ => {
                session = open();
                if session.is_none() {
                    wait::pause(Duration::from_millis(10));
                }
            }
        }
    }
}

fn launch() -> Run {
    Launch::server("hostile").isolated().start()
}

#[test]
fn whatever_is_killed_the_service_comes_back_and_nothing_leaks() {
    let _alone = exclusive();
    let mut random = Random::seeded("crash");
    let before = Snapshot::take();
    let mut killed = 0;
    while killed < MOMENTS {
        killed += one_life(&mut random, KILLS_IN_A_LIFE.min(MOMENTS - killed));
        before.assert_none();
    }
}

/// One supervisor from its start to its end, by a kill or in order; gives how many processes were killed.
fn one_life(random: &mut Random, most: u32) -> u32 {
    let run = launch();
    let load = Load::start(&run);
    for killed in 0..most {
        wait_for_answers(&load, random.below(20) + 1);
        let victim = choose(random);
        wait::pause(Duration::from_micros(random.below(20_000)));
        let Some(pid) = pid_of(&run, victim, random) else { continue };
        eprintln!("kill -9 {victim:?} {pid}");
        let _ = kill_process(Pid::from_raw(pid).expect("a process id"), Signal::KILL);
        if victim == Victim::Supervisor {
            load.end();
            everything_died(run);
            return killed + 1;
        }
        assert!(wait::ended(pid, DEAD), "{victim:?} {pid} did not die");
        serves_again(&run);
        run.assert_nothing_left();
    }
    load.end();
    run.stop();
    most
}

fn choose(random: &mut Random) -> Victim {
    match random.below(7) {
        0 => Victim::Supervisor,
        1 | 2 => Victim::Front,
        3 => Victim::Init,
        4 => Victim::Spare,
        _ => Victim::Server,
    }
}

fn pid_of(run: &Run, victim: Victim, random: &mut Random) -> Option<i32> {
    let jail = |random: &mut Random| {
        let mut jails = run.instances();
        let at = usize::try_from(random.below(jails.len() as u64)).ok()?;
        (at < jails.len()).then(|| jails.swap_remove(at))
    };
    match victim {
        Victim::Supervisor => Some(run.pid()),
        Victim::Front => run.try_front().map(|front| front.pid),
        Victim::Init => jail(random).map(|jail| jail.init.pid),
        Victim::Server => jail(random).map(|jail| jail.server.pid),
        Victim::Spare => run.spares().first().map(|spare| spare.init.pid),
    }
}

/// A new client is served, without anybody's help.
fn serves_again(run: &Run) {
    let mut session = wait::until_some(BACK, "a new session after a kill", || {
        Session::reach(run.client().deadline(Duration::from_secs(10)), run.path()).ok()
    });
    assert_eq!(session.call("echo", json!({"text": "back"})).tool_text(), "back");
    assert!((200..300).contains(&session.delete().expect("an answer").status));
}

fn wait_for_answers(load: &Load, more: u64) {
    let goal = load.answered() + more;
    wait::until(BACK, "answers after a kill", || load.answered() >= goal);
}

/// Without its supervisor nothing of a run may live; what has no life (cgroups, leases) the next start removes.
fn everything_died(mut run: Run) {
    assert_eq!(gaoler_tests::run::signal_of(run.wait(DEAD)), Some(9));
    let alive =
        || run.before().new_since().into_iter().filter(|left| matches!(left, Left::Process { .. })).count();
    wait::until(DEAD, "the death of every process of a killed supervisor", || alive() == 0);
    let next = launch();
    let mut session = Session::open(&next);
    assert_eq!(session.call("echo", json!({"text": "again"})).tool_text(), "again");
    next.stop();
    run.assert_nothing_left();
}

/// The front alone, where its restart is seen from outside: same address, new process, old sessions gone for good.
#[test]
fn a_killed_front_is_replaced_on_the_same_address() {
    let _alone = exclusive();
    let run = launch();
    let mut session = Session::open(&run);
    let first = run.front_pid();
    kill_process(Pid::from_raw(first).expect("a process id"), Signal::KILL).expect("the front is there");
    assert!(wait::ended(first, DEAD));
    let mut fresh = wait::until_some(BACK, "a session of the next front", || {
        Session::reach(run.client().deadline(Duration::from_secs(2)), run.path()).ok()
    });
    assert_ne!(run.front_pid(), first);
    assert_eq!(fresh.call("count", json!({})).tool_text(), "1");
    let lost =
        wait::until_some(BACK, "an answer for the lost session", || session.request("ping", &json!({})).ok());
    assert_eq!(lost.status, 404, "{}", lost.text);
    wait::until(DEAD, "the end of the lost session's jail", || run.instances().len() == 1);
    run.stop();
}

/// What a supervisor cannot do any more when it is killed, the next one does at its start, before it serves.
#[test]
fn the_next_start_removes_what_a_killed_supervisor_left() {
    let _alone = exclusive();
    let run = Launch::server("hostile").args(["--deaf"]).isolated().start();
    let mut session = Session::open(&run);
    session.call("daemon", json!({}));
    let members = proc::descendants(run.pid());
    assert!(members.len() >= 4, "{members:?}");
    run.signal(Signal::KILL);
    for process in members {
        assert!(wait::ended(process.pid, DEAD), "{process:?} outlives its supervisor");
    }
    everything_died(run);
}
