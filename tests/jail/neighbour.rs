//! A jail that misbehaves must not be felt next door: the time that a neighbour needs to answer, while bombs go off.

use std::io::{BufRead, BufReader, Write};
use std::process::{ChildStdin, ChildStdout};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use gaoler_tests::leftovers::Snapshot;
use gaoler_tests::{Jail, exclusive};

use crate::outside::Waiting;

/// What a neighbour's answer may take at the 99th percentile. Processors are shared with whatever else the machine does;
/// a bomb that is felt takes seconds.
const SANE: Duration = Duration::from_millis(250);

/// A jail that sends back each line.
struct Echo {
    _jail: Waiting,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Echo {
    fn start() -> Self {
        let mut jail = Waiting::of(&Jail::command(["/bin/cat"]), "cat");
        let to = jail.child().stdin.take().unwrap();
        let from = BufReader::new(jail.child().stdout.take().unwrap());
        Self { _jail: jail, to, from }
    }

    fn ask(&mut self) -> Duration {
        let start = Instant::now();
        self.to.write_all(b"a line\n").unwrap();
        let mut answer = String::new();
        self.from.read_line(&mut answer).unwrap();
        assert_eq!(answer, "a line\n");
        start.elapsed()
    }

    /// Asks again and again until told to stop; the times in order of length.
    fn watch(&mut self, stop: &AtomicBool) -> Vec<Duration> {
        let mut times = Vec::new();
        while !stop.load(Ordering::Relaxed) {
            times.push(self.ask());
            gaoler_tests::wait::pause(Duration::from_millis(2));
        }
        times.sort_unstable();
        times
    }
}

fn bombs() -> Vec<(&'static str, Jail)> {
    let tool = |words: &[&str]| Jail::tool("probe", words.iter().copied()).within(Duration::from_secs(90));
    vec![
        ("fork bomb", Jail::command(["/bin/sh", "-c", "b() { b | b & }; b; sleep 2"])),
        ("fork bomb of the probe", tool(&["fork-bomb", "100000"])),
        ("thread bomb", tool(&["thread-bomb", "100000"])),
        ("memory bomb", tool(&["memory-bomb", "4000"])),
        ("memory bomb of many", tool(&["memory-bomb-children", "4000"])),
        ("memory file", tool(&["memory-file-bomb", "4000"])),
        ("tmpfs bomb", tool(&["tmpfs-bomb", "/tmp", "4000"])),
        ("pipe bomb", tool(&["pipe-bomb-children", "4000"])),
        ("socket bomb", tool(&["socket-bomb", "4000"])),
        ("inode bomb", tool(&["inode-bomb", "/tmp", "1000000"])),
        ("processor bomb", tool(&["processor-bomb", "1000", "2000"])),
    ]
}

#[test]
fn bombs_are_not_felt_next_door() {
    let _alone = exclusive();
    let before = Snapshot::take();
    let mut echo = Echo::start();
    for (name, bomb) in bombs() {
        let stop = AtomicBool::new(false);
        let (outcome, times) = std::thread::scope(|scope| {
            let watcher = scope.spawn(|| echo.watch(&stop));
            let outcome = bomb.run();
            stop.store(true, Ordering::Relaxed);
            (outcome, watcher.join().unwrap())
        });
        let at = |percent: usize| times[(times.len() - 1) * percent / 100];
        println!(
            "{name}: status {}, {} answers, median {:?}, 99 % {:?}, worst {:?}",
            outcome.code(),
            times.len(),
            at(50),
            at(99),
            at(100)
        );
        assert!(at(99) < SANE, "{name}: a neighbour's answers took {:?} at the 99th percentile", at(99));
    }
    drop(echo);
    before.assert_none();
}
