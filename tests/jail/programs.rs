//! What the jail is for: real programs run in it, with the environment, the files and the space that they were given.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::PathBuf;

use gaoler_tests::jail::Outcome;
use gaoler_tests::leftovers::UID_FIRST;
use gaoler_tests::{Jail, exclusive};

/// A directory that is removed again.
struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("gaoler-programs-{}-{name}", std::process::id()));
        fs::create_dir_all(&path).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o777)).unwrap();
        Self(path)
    }

    fn bind(&self, how: &str) -> String {
        format!("{}:/srv/files:{how}", self.0.display())
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn clean(jail: &Jail) -> Outcome {
    let _alone = exclusive();
    jail.run_clean()
}

fn prints(jail: &Jail, wanted: &str) {
    let outcome = clean(jail);
    assert_eq!((outcome.code(), outcome.stdout.trim()), (0, wanted), "{}", outcome.stderr);
}

#[test]
fn node_runs_with_workers_and_children() {
    prints(&Jail::command(["node", "-e", "console.log(6*7)"]), "42");
    let workers = "const {Worker}=require('worker_threads');let n=0;for(let i=0;i<4;i++)\
        new Worker('require(\"worker_threads\").parentPort.postMessage(1)',{eval:true}).on('message',m=>{n+=m;if(n==4)console.log(n)})";
    prints(&Jail::command(["node", "-e", workers]), "4");
    let child = "console.log(require('child_process').execFileSync('/bin/echo',['x']).toString())";
    prints(&Jail::command(["node", "-e", child]), "x");
    let crypto = "require('crypto').pbkdf2('a','b',1000,32,'sha256',(e,k)=>console.log(k.length,os=require('os').cpus().length>=0))";
    prints(&Jail::command(["node", "-e", crypto]), "32 true");
}

#[test]
fn python_runs_with_a_pool_sqlite_and_tls() {
    let script = "
import multiprocessing, sqlite3, ssl, subprocess, threading, asyncio, tempfile
def square(x): return x * x
if __name__ == '__main__':
    with multiprocessing.Pool(4) as pool: squares = sum(pool.map(square, range(10)))
    base = sqlite3.connect('/tmp/base'); base.execute('create table t (x)'); base.execute('insert into t values (1)'); base.commit()
    ssl.create_default_context()
    asyncio.run(asyncio.sleep(0))
    with tempfile.TemporaryFile() as f: f.write(b'x')
    out = subprocess.run(['/bin/echo', 'x'], capture_output=True).stdout
    t = threading.Thread(target=lambda: None); t.start(); t.join()
    print(squares, base.execute('select x from t').fetchone()[0], out)
";
    prints(&Jail::command(["python3", "-c", script]), "285 1 b'x\\n'");
}

#[test]
fn git_makes_a_repository_and_commits() {
    let script = "cd /tmp && git init -q r && cd r && echo x > f && git add f && \
        git -c user.name=a -c user.email=a@b commit -qm one && git log --oneline | wc -l";
    prints(&Jail::command(["/bin/sh", "-c", script]), "1");
}

#[test]
fn a_static_program_runs() {
    let outcome = clean(&Jail::tool("probe", ["--ids"]));
    assert_eq!(outcome.stdout, "uid 1000\ngid 1000\ncapabilities 0:0\n", "{}", outcome.stderr);
}

#[test]
fn the_environment_holds_what_was_given_and_nothing_of_the_callers() {
    let jail = Jail::command(["/usr/bin/env"])
        .env("GAOLER_TEST_OTHER", "leaks")
        .env("GAOLER_TEST_GIVEN", "from the caller");
    let jail = jail.flags([
        "--env",
        "PLAIN=value with spaces=and more",
        "--env",
        "GAOLER_TEST_GIVEN",
        "--env",
        "EMPTY=",
    ]);
    let outcome = clean(&jail);
    let mut lines: Vec<&str> = outcome.stdout.lines().collect();
    lines.sort_unstable();
    let wanted = [
        "EMPTY=",
        "GAOLER_TEST_GIVEN=from the caller",
        "HOME=/tmp",
        "LANG=C.UTF-8",
        "PATH=/usr/local/bin:/usr/bin:/bin",
        "PLAIN=value with spaces=and more",
        "TMPDIR=/tmp",
        "USER=server",
    ];
    assert_eq!(lines, wanted, "{}", outcome.stderr);
}

#[test]
fn a_secret_reaches_the_payload_and_no_command_line() {
    let scratch = Scratch::new("secret");
    let file = scratch.0.join("key");
    fs::write(&file, "s3cret-of-the-test\n").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let jail = Jail::command(["/bin/sh", "-c", "echo \"$KEY\""]);
    prints(&jail.flags(["--secret-env", &format!("KEY={}", file.display())]), "s3cret-of-the-test");
}

#[test]
fn a_bind_is_read_only_unless_it_says_otherwise() {
    let scratch = Scratch::new("binds");
    fs::write(scratch.0.join("given"), "x").unwrap();
    let script = "cat /srv/files/given; echo y > /srv/files/new && echo wrote";
    for (how, wanted) in [("ro", "x"), ("rw", "xwrote")] {
        let jail = Jail::command(["/bin/sh", "-c", script]).flags(["--bind", &scratch.bind(how)]);
        let outcome = clean(&jail);
        assert_eq!(outcome.stdout.replace('\n', ""), wanted, "{how}: {}", outcome.stderr);
        assert_eq!(scratch.0.join("new").exists(), how == "rw");
    }
    let owner = fs::metadata(scratch.0.join("new")).unwrap().uid();
    assert!(owner >= UID_FIRST, "a jail wrote as the host's user {owner}");
}

#[test]
fn set_user_id_files_cannot_be_made_on_a_bind() {
    let scratch = Scratch::new("setid");
    let script = "cd /srv/files && cp /bin/true a && (chmod 4755 a; chmod 2755 a; install -m 6755 a b; cp --preserve=mode /usr/bin/passwd c); \
        python3 -c 'import os; os.open(\"d\", os.O_CREAT|os.O_WRONLY, 0o6755)'; echo done";
    let outcome = clean(&Jail::command(["/bin/sh", "-c", script]).flags(["--bind", &scratch.bind("rw")]));
    assert!(outcome.stdout.contains("done"), "{}", outcome.stderr);
    for entry in fs::read_dir(&scratch.0).unwrap().flatten() {
        let mode = entry.metadata().unwrap().permissions().mode();
        assert_eq!(mode & 0o6000, 0, "{:?} has mode {mode:o}", entry.path());
    }
}

#[test]
fn host_state_cannot_be_bound() {
    let _alone = exclusive();
    for place in
        ["/", "/proc", "/sys", "/dev", "/run", "/etc", "/etc/shadow", "/boot", "/dev/sda", "/proc/1/root"]
    {
        let outcome =
            Jail::command(["/bin/true"]).flags(["--bind", &format!("{place}:/srv/x:ro")]).run_clean();
        assert!([2, 125].contains(&outcome.code()), "{place} was bound: {}", outcome.code());
        assert_eq!(outcome.stderr.lines().count(), 1, "{place}: {}", outcome.stderr);
    }
}

#[test]
fn a_symbolic_link_cannot_smuggle_host_state_into_a_bind() {
    let scratch = Scratch::new("links");
    let link = scratch.0.join("link");
    let _alone = exclusive();
    for target in ["/etc", "/etc/shadow", "/", "/run", "/proc/self/root"] {
        let _ = fs::remove_file(&link);
        std::os::unix::fs::symlink(target, &link).unwrap();
        let jail = Jail::command(["/bin/cat", "/srv/x/shadow", "/srv/x/etc/shadow", "/srv/x"]);
        let outcome = jail.flags(["--bind", &format!("{}:/srv/x:ro", link.display())]).run_clean();
        assert_ne!(outcome.code(), 0, "{target}");
        assert!(!outcome.stdout.contains("root:"), "{target}: {}", outcome.stdout);
    }
}

/// Takes a volume away that a product in earnest would keep.
fn remove_volume(name: &str) {
    let _ = fs::remove_file(PathBuf::from("/var/lib/gaoler/data").join(format!("{name}.ext4")));
}

#[test]
fn data_has_its_size_and_stays() {
    let name = format!("test/data-{}", std::process::id());
    let jail =
        |script: &str| Jail::command(["/bin/sh", "-c", script]).flags(["--data", "64M", "--name", &name]);
    let first = clean(&jail(
        "pwd; echo kept > /data/file; head -c 100M /dev/zero > /data/big; stat -c %s /data/big; rm /data/big",
    ));
    let lines: Vec<&str> = first.stdout.lines().collect();
    assert_eq!((first.code(), lines.first().copied()), (0, Some("/data")), "{}", first.stderr);
    let written: u64 = lines[1].parse().unwrap();
    assert!(written > 30 << 20 && written <= 64 << 20, "{written} bytes fit on 64M");
    prints(
        &jail(
            "cat /data/file; cp /bin/true /data/t; chmod +x /data/t; /data/t 2>/dev/null && echo ran; true",
        ),
        "kept",
    );
    remove_volume(&name);
}
