//! Runs one row outside and inside and says what is wrong with the answers, if anything is.

use std::fmt;
use std::fs::File;
use std::io::Read;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::{Command, Output, Stdio};
use std::thread::JoinHandle;
use std::time::Duration;

use gaoler_tests::{bin, wait};
use rustix::net::{SendAncillaryBuffer, SendAncillaryMessage, SendFlags, sendmsg};

use crate::row::{Layer, Outside, Row, Stdin};
use crate::scene::{PROBE, Scene};

/// How long one verb may take; the probe itself gives up after a minute.
const LIMIT: Duration = Duration::from_secs(90);

/// What the probe printed.
#[derive(serde::Deserialize)]
struct Report {
    outcome: String,
    detail: String,
    errno: i32,
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({}: {})", self.outcome, self.errno, self.detail)
    }
}

/// A variable that is set for `gaoler` and must not reach a jail.
const SECRET: (&str, &str) = ("GAOLER_JAIL_TEST_SECRET", "of the caller");

/// Runs the row both ways; one sentence for each answer that is not as the table says.
pub fn check(scene: &Scene, row: &Row) -> Vec<String> {
    let mut wrong = Vec::new();
    let outside = outside(scene, row);
    let as_told = match (row.outside, &outside) {
        (Outside::Refused(errno), Ok(report)) => report.outcome == "stopped" && report.errno == errno,
        (Outside::Kept, Ok(report)) => report.outcome == "stopped" && report.errno == 0,
        (_, Ok(report)) => report.outcome == "succeeded",
        (_, Err(_)) => false,
    };
    if !as_told {
        wrong.push(format!(
            "{} {:?} outside, meant to be {:?}: {outside:?}",
            row.verb, row.arguments, row.outside
        ));
    }
    let inside = inside(scene, row);
    let held = match &inside {
        Ok(report) if row.layer == Layer::Nothing => report.outcome == "succeeded",
        Ok(report) => report.outcome == "stopped" && row.layer.answers().contains(&report.errno),
        // The whole jail was ended for it: the status says SIGKILL, and why stands on standard error.
        Err(ended) => row.layer == Layer::Cgroup && ended.contains("exit status: 137"),
    };
    if !held {
        wrong.push(format!(
            "{} {:?} in a jail, to be stopped by {:?}: {inside:?}",
            row.verb, row.arguments, row.layer
        ));
    }
    wrong
}

fn outside(scene: &Scene, row: &Row) -> Result<Report, String> {
    let arguments: Vec<String> = row.arguments.iter().map(|word| scene.outside(word)).collect();
    let mut command = match row.outside {
        Outside::Own | Outside::Kept => own_namespaces(),
        Outside::Nobody => unprivileged(),
        _ => Command::new(bin("probe")),
    };
    command.arg(row.verb).args(&arguments).current_dir("/root");
    leave_descriptor_open(row, &mut command);
    run(scene, row, command)
}

/// A shell as process 1 of throw-away namespaces, with a private /tmp and /dev/shm; it runs the words that follow.
fn own_namespaces() -> Command {
    let mut command = Command::new("unshare");
    command.args(["--mount", "--uts", "--ipc", "--net", "--pid", "--cgroup", "--fork", "--mount-proc"]);
    command.args(["--propagation", "private", "setsid", "sh", "-c"]);
    command.arg("mount -t tmpfs -o size=2g none /tmp && mount -t tmpfs -o size=2g none /dev/shm && cd /root && \"$@\"; exit $?");
    command.arg("sh").arg(bin("probe"));
    command
}

/// An ordinary user, who runs the words that follow.
fn unprivileged() -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "65534", "--regid", "65534", "--clear-groups"]).arg(bin("probe"));
    command
}

fn inside(scene: &Scene, row: &Row) -> Result<Report, String> {
    let arguments: Vec<String> = row.arguments.iter().map(|word| scene.inside(word)).collect();
    let mut command = Command::new(bin("gaoler"));
    command.arg("jail").args(scene.flags()).args(row.flags).args(["--", PROBE, row.verb]).args(&arguments);
    // A directory of the host, so that a descriptor or path of it that leaked would be of use.
    command.current_dir("/root");
    leave_descriptor_open(row, &mut command);
    run(scene, row, command)
}

/// Hands on a descriptor of the host's root directory, as a careless service manager might, and the terminal as the
/// controlling one.
fn leave_descriptor_open(row: &Row, command: &mut Command) {
    command.env(SECRET.0, SECRET.1);
    let mut shell = Command::new("setsid");
    shell.arg("--wait");
    if row.stdin == Stdin::Terminal {
        shell.arg("--ctty");
    }
    shell.arg("sh");
    let inner = std::mem::replace(command, shell);
    command.args(["-c", "exec 9</ && exec \"$@\"", "sh"]).arg(inner.get_program()).args(inner.get_args());
    command.envs(inner.get_envs().filter_map(|(name, value)| Some((name, value?))));
    if let Some(directory) = inner.get_current_dir() {
        command.current_dir(directory);
    }
}

fn run(scene: &Scene, row: &Row, mut command: Command) -> Result<Report, String> {
    let kept = streams(scene, row.stdin, &mut command);
    let output = match row.outside {
        Outside::Network => scene.network.on_host(move || finish(command, kept)),
        _ => finish(command, kept),
    }?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let line = text.lines().rev().find(|line| line.starts_with('{'));
    line.and_then(|line| serde_json::from_str(line).ok()).ok_or_else(|| {
        format!(
            "{}, standard output {text:?}, standard error {:?}",
            output.status,
            String::from_utf8_lossy(&output.stderr)
        )
    })
}

/// Runs a command to its end, which must come; a socket's other end gives its standard output.
fn finish(mut command: Command, other_end: Option<UnixStream>) -> Result<Output, String> {
    let mut child = command.stderr(Stdio::piped()).spawn().map_err(|e| e.to_string())?;
    // The command holds copies of the streams that were given to it.
    drop(command);
    let stdout = match other_end {
        Some(socket) => collect(Some(socket)),
        None => collect(child.stdout.take()),
    };
    let stderr = collect(child.stderr.take());
    let ended = wait::ended(child.id().cast_signed(), LIMIT);
    if !ended {
        let _ = child.kill();
    }
    let status = child.wait().map_err(|e| e.to_string())?;
    let output = Output {
        status,
        stdout: stdout.join().unwrap_or_default(),
        stderr: stderr.join().unwrap_or_default(),
    };
    if ended { Ok(output) } else { Err(format!("it did not end within {LIMIT:?}: {output:?}")) }
}

fn collect(stream: Option<impl Read + Send + 'static>) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        if let Some(mut stream) = stream {
            let _ = stream.read_to_end(&mut bytes);
        }
        bytes
    })
}

/// Sets standard input and output; the result is the other end of a socket that became standard output.
fn streams(scene: &Scene, stdin: Stdin, command: &mut Command) -> Option<UnixStream> {
    command.stdout(Stdio::piped());
    match stdin {
        Stdin::Null => command.stdin(Stdio::null()),
        Stdin::File => command.stdin(scene.file()),
        Stdin::Terminal => command.stdin(terminal()),
        Stdin::Socket => {
            let (input, ours) = UnixStream::pair().unwrap();
            send_root(&ours);
            let (output, theirs) = UnixStream::pair().unwrap();
            command.stdin(OwnedFd::from(input)).stdout(OwnedFd::from(output));
            return Some(theirs);
        }
    };
    None
}

/// The near end of a new terminal. The far end stays open for as long as the test runs, or the near end hangs up.
fn terminal() -> File {
    use std::os::fd::AsRawFd;
    let far = File::options().read(true).write(true).open("/dev/ptmx").unwrap();
    let number = rustix::pty::ptsname(&far, Vec::new()).unwrap();
    rustix::pty::unlockpt(&far).unwrap();
    let near = File::options().read(true).write(true).open(number.to_string_lossy().as_ref()).unwrap();
    assert!(near.as_raw_fd() > 2);
    std::mem::forget(far);
    near
}

/// Queues a descriptor of the host's root directory on a socket.
fn send_root(socket: &UnixStream) {
    let root = File::open("/").unwrap();
    let fds = [std::os::fd::AsFd::as_fd(&root)];
    let mut space = [std::mem::MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    assert!(control.push(SendAncillaryMessage::ScmRights(&fds)));
    sendmsg(socket, &[std::io::IoSlice::new(b"\n")], &mut control, SendFlags::NOSIGNAL).unwrap();
}
