//! The seccomp profiles on the real kernel: every rule both ways, foreign calling conventions, real programs.
//!
//! Each call is made in a forked child, once without and once with the filter. An allowed call must do the same in
//! both, and something else than its denial; a denied call must get exactly its denial. What is expected comes from
//! the shipped program run by the tests' own interpreter, which the unit tests hold against an oracle. Belongs to the
//! package gaoler-jail, because the filter is tested before there is a jail to put around it.

#![expect(
    unsafe_code,
    clippy::multiple_unsafe_ops_per_block,
    reason = "forks, raw system calls and pre_exec are what is tested"
)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicI64, Ordering};

use gaoler_jail::seccomp::{Profile, install};

#[path = "../jail/src/seccomp/compile/mod.rs"]
mod compile;
#[path = "../jail/src/seccomp/interpreter.rs"]
mod interpreter;

use compile::profile::{self, Profile as Rules};
use compile::program::Insn;
use compile::tables::Tables;
use interpreter::{Call, run};

const ALLOW: u32 = 0x7fff_0000;
const KILL: u32 = 0x8000_0000;

/// How a call in a child ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Outcome {
    /// it returned this error, or none
    Returned(Option<i32>),
    /// the child ended by itself
    Exited,
    /// a signal ended the child
    Signalled(i32),
}

/// How a child enters the kernel.
#[derive(Clone, Copy, Debug)]
enum Entry {
    Native,
    /// as `Native`, for calls whose other side returns too: that one ends at once
    Twice,
    /// the 32-bit convention, `int 0x80`
    Legacy,
}

/// A word that a child leaves for its parent.
struct Shared(*mut libc::c_void);

impl Shared {
    fn new() -> Self {
        // SAFETY: a new anonymous mapping, no existing memory is touched.
        let page = unsafe {
            libc::mmap(std::ptr::null_mut(), 4096, 3, libc::MAP_SHARED | libc::MAP_ANONYMOUS, -1, 0)
        };
        assert!(page != libc::MAP_FAILED, "mmap");
        Self(page)
    }

    fn word(&self) -> &AtomicI64 {
        // SAFETY: the page is mapped, aligned and zeroed, and lives as long as self; both sides use it atomically.
        unsafe { &*self.0.cast::<AtomicI64>() }
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        // SAFETY: the mapping is ours and no reference outlives self.
        unsafe { libc::munmap(self.0, 4096) };
    }
}

const PENDING: i64 = i64::MIN;

/// Makes one call in a child, under `profile` if there is one. A call that blocks ends the child by SIGALRM.
fn observe(profile: Option<Profile>, entry: Entry, number: u32, args: [u64; 6]) -> Outcome {
    let shared = Shared::new();
    shared.word().store(PENDING, Ordering::SeqCst);
    // SAFETY: the child makes system calls only, until it ends: no lock or allocator is used on its side.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork");
    if pid == 0 {
        child(shared.word(), profile, entry, number, args);
    }
    let mut status = 0;
    // SAFETY: `status` lives through the call; the child is ours and not awaited elsewhere.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    match shared.word().load(Ordering::SeqCst) {
        PENDING if libc::WIFSIGNALED(status) => Outcome::Signalled(libc::WTERMSIG(status)),
        PENDING => Outcome::Exited,
        error @ -4095..0 => Outcome::Returned(Some(i32::try_from(-error).unwrap())),
        _ => Outcome::Returned(None),
    }
}

fn child(word: &AtomicI64, profile: Option<Profile>, entry: Entry, number: u32, args: [u64; 6]) -> ! {
    confine(profile, 200_000);
    word.store(enter(entry, number, args), Ordering::SeqCst);
    // SAFETY: ends this process.
    unsafe { libc::_exit(0) }
}

/// An alarm after so many microseconds, `no_new_privs`, and the filter. Safe in a forked child.
fn confine(profile: Option<Profile>, alarm: libc::suseconds_t) {
    let never = libc::timeval { tv_sec: 0, tv_usec: 0 };
    let timer = libc::itimerval { it_interval: never, it_value: libc::timeval { tv_sec: 0, tv_usec: alarm } };
    // SAFETY: `timer` lives through the call.
    unsafe { libc::setitimer(libc::ITIMER_REAL, &raw const timer, std::ptr::null_mut()) };
    // SAFETY: takes numbers only.
    unsafe { libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) };
    if let Some(profile) = profile
        && install(profile.program()).is_err()
    {
        // SAFETY: ends this process.
        unsafe { libc::abort() };
    }
}

/// The kernel's own answer, negative for an error.
fn enter(entry: Entry, number: u32, args: [u64; 6]) -> i64 {
    let mut result = i64::from(number);
    let [a, b, c, d, e, f] = args;
    // SAFETY: the numbers and arguments are chosen so that no call can harm this process or another; what a call
    // may do to this child (end it, block it) the parent observes.
    unsafe {
        match entry {
            Entry::Native => {
                std::arch::asm!("syscall", inlateout("rax") result, in("rdi") a, in("rsi") b, in("rdx") c,
                in("r10") d, in("r8") e, in("r9") f, out("rcx") _, out("r11") _)
            }
            Entry::Twice => {
                std::arch::asm!("syscall", "test rax, rax", "jnz 2f", "mov eax, 60", "xor edi, edi", "syscall", "2:",
                inlateout("rax") result, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f, inlateout("rdi") a => _,
                out("rcx") _, out("r11") _)
            }
            Entry::Legacy => {
                std::arch::asm!("int 0x80", inlateout("rax") result, out("r8") _, out("r9") _, out("r10") _,
                out("r11") _)
            }
        }
    }
    result
}

/// Rules and program of each profile.
struct Loaded {
    tables: Tables,
    profiles: Vec<(Profile, Rules, Vec<Insn>)>,
}

fn load() -> Loaded {
    let directory = concat!(env!("CARGO_MANIFEST_DIR"), "/profiles");
    let read = |file: &str| std::fs::read_to_string(format!("{directory}/{file}")).unwrap();
    let tables = Tables::parse(&read("x86_64.tbl"), &read("constants.toml")).unwrap();
    let mut parsed = BTreeMap::new();
    let mut profiles = Vec::new();
    for (name, profile) in compile::PROFILES.into_iter().zip(Profile::ALL) {
        let rules = profile::parse(&read(&format!("{name}.toml")), &tables, &parsed).unwrap();
        let program = profile.program().iter();
        let program: Vec<Insn> = program.map(|i| Insn { code: i.code, jt: i.jt, jf: i.jf, k: i.k }).collect();
        assert!(program == compile::program::compile(&rules).unwrap(), "{name}: the product has other rules");
        parsed.insert(name, rules.clone());
        profiles.push((profile, rules, program));
    }
    Loaded { tables, profiles }
}

/// Arguments with which a call does no harm: bad descriptors and pointers, unless that would do something or tell
/// nothing about the filter.
fn harmless(name: &str) -> [u64; 6] {
    let mut args = [u64::MAX; 6];
    let given: &[u64] = match name {
        "clone" => &[0x0001_0000],     // threads without shared handlers: EINVAL
        "kill" => &[0x3fff_fff0, 0],   // nobody has this number
        "futex" => &[u64::MAX, 1],     // an unknown operation would be ENOSYS
        "msgget" => &[0x7a6f_6c72, 0], // no queue is made
        _ => &[],
    };
    args[..given.len()].copy_from_slice(given);
    args
}

/// For each case of each rule of a call: arguments that fit it, and that miss it; and plain ones.
fn probes(rules: &Rules, name: &str, number: u32) -> BTreeSet<[u64; 6]> {
    let plain = harmless(name);
    let conditions: Vec<_> =
        rules.rules.iter().filter(|rule| rule.calls.contains(&number)).flat_map(|r| &r.cases).collect();
    let mut base = plain;
    for condition in conditions.iter().copied().flatten() {
        base[usize::from(condition.arg)] = if name == "clone" { plain[0] } else { 0 };
    }
    let mut probes = BTreeSet::from([base]);
    for case in conditions {
        let mut fits = base;
        for condition in case {
            fits[usize::from(condition.arg)] |= condition.value;
        }
        probes.insert(fits);
        for condition in case {
            let mut misses = fits;
            misses[usize::from(condition.arg)] ^= 1 << condition.mask.trailing_zeros();
            probes.insert(misses);
            misses[usize::from(condition.arg)] = condition.mask & 0x7fff_ffff;
            probes.insert(misses);
        }
    }
    probes
}

fn entry(name: &str) -> Entry {
    if matches!(name, "fork" | "vfork" | "clone") { Entry::Twice } else { Entry::Native }
}

/// Every error that a filter gives for a call of a profile.
fn denials(rules: &Rules, number: u32) -> BTreeSet<i32> {
    let own = rules.rules.iter().filter(|rule| rule.calls.contains(&number)).map(|rule| rule.action);
    let errno = |action| match action {
        profile::Action::Errno(errno) => Some(i32::from(errno)),
        _ => None,
    };
    own.chain([rules.unlisted]).filter_map(errno).collect()
}

/// Calls that some kernels or processors do not have: there an allowed one looks like a refused one.
const OPTIONAL: [&str; 10] = [
    "futex_requeue",
    "futex_wait",
    "futex_wake",
    "getxattrat",
    "listxattrat",
    "map_shadow_stack",
    "mseal",
    "removexattrat",
    "setxattrat",
    "uprobe",
];

/// Calls about which newer kernels ask no filter, because they make them themselves.
const UNASKED: [&str; 2] = ["uprobe", "uretprobe"];

/// What is wrong with the kernel's treatment of one call, if anything.
fn complaint(profile: Profile, rules: &Rules, name: &str, call: &Call, expected: u32) -> Option<String> {
    let (number, args) = (call.number, call.args);
    let observed = observe(Some(profile), entry(name), number, args);
    let wrong = match expected {
        // Without a handler's frame it ends the caller by whichever signal the bytes on its stack lead to.
        ALLOW if name == "rt_sigreturn" => {
            !matches!(observed, Outcome::Signalled(signal) if signal != libc::SIGSYS)
        }
        ALLOW => {
            let free = observe(None, entry(name), number, args);
            let denied = denials(rules, number).into_iter().any(|e| free == Outcome::Returned(Some(e)));
            observed != free || denied && !OPTIONAL.contains(&name)
        }
        KILL => observed != Outcome::Signalled(libc::SIGSYS),
        errno => observed != Outcome::Returned(i32::try_from(errno & 0xffff).ok()),
    };
    (wrong && !UNASKED.contains(&name))
        .then(|| format!("{profile:?} {name} {args:x?}: {observed:?}, expected {expected:#x}"))
}

#[test]
fn every_rule_decides_in_the_kernel_as_written() {
    let loaded = load();
    let (mut allowed, mut denied, mut killed, mut complaints) = (0, 0, 0, Vec::new());
    for (profile, rules, program) in &loaded.profiles {
        for (name, number) in &loaded.tables.calls {
            for args in probes(rules, name, *number) {
                let call = Call::native(*number, args);
                let expected = run(program, &call);
                *match expected {
                    ALLOW => &mut allowed,
                    KILL => &mut killed,
                    _ => &mut denied,
                } += 1;
                complaints.extend(complaint(*profile, rules, name, &call, expected));
            }
        }
    }
    println!("{allowed} allowed, {denied} denied, {killed} killed");
    assert!(complaints.is_empty(), "{}", complaints.join("\n"));
    assert!(allowed > 700 && denied > 200 && killed > 500, "{allowed} {denied} {killed}");
}

#[test]
fn the_32_bit_convention_is_killed() {
    const GETPID_32: u32 = 20;
    assert_eq!(
        observe(None, Entry::Legacy, GETPID_32, [0; 6]),
        Outcome::Returned(None),
        "this kernel has no int 0x80"
    );
    for profile in Profile::ALL {
        let observed = observe(Some(profile), Entry::Legacy, GETPID_32, [0; 6]);
        assert_eq!(observed, Outcome::Signalled(libc::SIGSYS), "{profile:?}");
    }
}

#[test]
fn x32_numbers_are_as_unknown_as_new_ones() {
    for number in [0x4000_0000 | 39, 0x4000_0000 | 520, 600, 1023] {
        for profile in [Profile::Default, Profile::Strict] {
            assert_eq!(
                observe(Some(profile), Entry::Native, number, [0; 6]),
                Outcome::Returned(Some(libc::ENOSYS))
            );
        }
        for profile in [Profile::Front, Profile::Init] {
            assert_eq!(
                observe(Some(profile), Entry::Native, number, [0; 6]),
                Outcome::Signalled(libc::SIGSYS)
            );
        }
    }
}

/// Runs a program under a profile, with a bound of a minute.
fn output(profile: Profile, command: &mut Command) -> Output {
    // SAFETY: between fork and exec only system calls are made.
    unsafe {
        command.pre_exec(move || {
            confine(Some(profile), 0);
            libc::alarm(60);
            Ok(())
        })
    };
    command.output().unwrap()
}

/// Runs a script in a fresh directory and gives its output, which must be a success.
fn script(profile: Profile, program: &str, args: &[&str], text: &str) -> String {
    static RUNS: AtomicI64 = AtomicI64::new(0);
    let run = RUNS.fetch_add(1, Ordering::Relaxed);
    let directory = std::env::temp_dir().join(format!("gaoler-seccomp-{}-{run}", std::process::id()));
    std::fs::create_dir_all(&directory).unwrap();
    let out = output(
        profile,
        Command::new(program).args(args).arg(text).current_dir(&directory).env("HOME", &directory),
    );
    std::fs::remove_dir_all(&directory).unwrap();
    let errors = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{profile:?} {program} {text}\n{:?} {errors}", out.status);
    String::from_utf8(out.stdout).unwrap().trim().to_owned()
}

const NODE: &str = r"
const { Worker } = require('worker_threads'), cp = require('child_process'), http = require('http');
const said = [cp.execSync('echo sub | tr a-z A-Z').toString().trim()];
const worker = new Promise(r => new Worker('require(`worker_threads`).parentPort.postMessage(`worker`)', { eval: true }).on('message', r));
const spawned = new Promise(r => cp.spawn('true').on('exit', c => r('exit' + c)));
const served = new Promise(r => { const s = http.createServer((q, a) => a.end('served')).listen(0, '127.0.0.1', async () => {
  r(await (await fetch('http://127.0.0.1:' + s.address().port)).text()); s.close(); }); });
require('os').networkInterfaces(); require('fs').watch('.', () => {}).close();
Promise.all([worker, spawned, served]).then(all => console.log([...said, ...all].join(' ')));
";

const PYTHON: &str = r"
import asyncio, concurrent.futures as cf, multiprocessing as mp, os, sqlite3, subprocess, threading
def square(x): return x * x
async def main():
    p = await asyncio.create_subprocess_exec('echo', 'async', stdout=asyncio.subprocess.PIPE)
    return (await p.communicate())[0].decode().strip() + await asyncio.to_thread(lambda: 'thread')
said = [asyncio.run(main())]
with mp.get_context('fork').Pool(2) as p: said.append(str(p.map(square, [2, 3])))
db = sqlite3.connect('x.db'); db.execute('pragma journal_mode=wal'); db.execute('create table t(a)')
db.execute('insert into t values (5)'); db.commit(); said.append(str(db.execute('select a from t').fetchone()[0]))
said.append(subprocess.run('echo sub | cat', shell=True, capture_output=True, text=True).stdout.strip())
os.mkfifo('f'); print(' '.join(said))
";

const SHELL: &str = "set -e -o pipefail; git init -q a; cd a; echo text > f; git add f; \
    git -c user.name=n -c user.email=e@x commit -qm m; git clone -q . ../b; cd ..; tar czf b.tgz b; mkdir c; tar xzf b.tgz -C c; \
    cp -a c d; mkfifo p; seq 100 | sort -n | tail -1; cat d/b/f; nice true; timeout 5 true; stat -c %s d/b/f";

#[test]
fn real_programs_run_under_default() {
    assert_eq!(script(Profile::Default, "node", &["-e"], NODE), "SUB worker exit0 served");
    assert_eq!(script(Profile::Default, "python3", &["-c"], PYTHON), "asyncthread [4, 9] 5 sub");
    assert_eq!(script(Profile::Default, "bash", &["-c"], SHELL), "100\ntext\n5");
}

#[test]
fn strict_runs_what_generates_no_code() {
    assert_eq!(script(Profile::Strict, "python3", &["-c"], PYTHON), "asyncthread [4, 9] 5 sub");
    assert_eq!(script(Profile::Strict, "bash", &["-c"], SHELL), "100\ntext\n5");
    assert_eq!(script(Profile::Strict, "node", &["--jitless", "-p"], "1 + 1"), "2");
    let compiled = output(
        Profile::Strict,
        Command::new("node").args(["-e", "for (let i = 0, s = 0; i < 1e7; i++) s += i"]),
    );
    assert!(!compiled.status.success(), "node generates code, which strict refuses");
}

#[test]
fn another_program_ends_under_front() {
    let out = output(Profile::Front, &mut Command::new("true"));
    assert_eq!(out.status.signal(), Some(libc::SIGSYS), "{out:?}");
}
