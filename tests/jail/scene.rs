//! What the table's rows meet: private files of the host, directories that are bound into jails, a sibling jail, and
//! the network. It promises to take everything away again when it is dropped.

use std::fs::{self, File};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::time::Duration;

use gaoler_tests::{Jail, bin, proc, wait};
use rustix::process::{Pid, Signal, kill_process};

use crate::network::Network;

/// Where directories of the host appear in a jail.
pub const WORK: &str = "/srv/work";
/// The read-only one.
pub const FIXED: &str = "/srv/fixed";
/// The probe.
pub const PROBE: &str = "/srv/probe";

/// Directories of the host in which a private file is put, and the words by which rows name it.
const PRIVATE: [(&str, &str); 6] = [
    ("@root-home", "/root"),
    ("@home", "/home"),
    ("@var", "/var/lib"),
    ("@run", "/run"),
    ("@host-tmp", "/tmp"),
    ("@srv", "/srv"),
];

/// A host to be attacked.
pub struct Scene {
    directory: PathBuf,
    sibling: Child,
    sibling_pid: i32,
    /// two namespaces of the scene's own
    pub network: Network,
}

impl Scene {
    /// Sets everything up.
    pub fn new() -> Self {
        let directory = PathBuf::from(format!("/tmp/gaoler-jail-test-{}", std::process::id()));
        for name in ["work", "fixed", "outside"] {
            fs::create_dir_all(directory.join(name)).unwrap();
        }
        fs::set_permissions(directory.join("work"), fs::Permissions::from_mode(0o777)).unwrap();
        for (_, place) in PRIVATE {
            fs::write(private(place), "of the host").unwrap();
        }
        fs::write(directory.join("outside/file"), "of root").unwrap();
        privileged_copies(&directory.join("fixed"));
        keep_listening(&directory.join("outside/socket"));
        let (sibling, sibling_pid) = sibling();
        let network = Network::new(&abstract_name());
        Self { directory, sibling, sibling_pid, network }
    }

    /// The flags of every jail here.
    pub fn flags(&self) -> Vec<String> {
        let place = |name: &str, inside: &str, how: &str| {
            format!("{}/{name}:{inside}:{how}", self.directory.display())
        };
        let binds = [
            format!("{}:{PROBE}:ro", bin("probe").display()),
            place("work", WORK, "rw"),
            place("fixed", FIXED, "ro"),
        ];
        binds.into_iter().flat_map(|bind| ["--bind".to_owned(), bind]).collect()
    }

    /// A file of root's, opened for reading.
    pub fn file(&self) -> File {
        File::open(self.directory.join("outside/file")).unwrap()
    }

    /// What a word of the table means on the host.
    pub fn outside(&self, word: &str) -> String {
        let below = |name: &str| self.directory.join(name).to_string_lossy().into_owned();
        match word {
            "@work" => below("work"),
            "@fixed" => below("outside"),
            "@set-user-id" => below("fixed/set-user-id"),
            "@file-capabilities" => below("fixed/file-capabilities"),
            "@data" => "/tmp".into(),
            other => self.both(other),
        }
    }

    /// What a word of the table means in a jail.
    pub fn inside(&self, word: &str) -> String {
        match word {
            "@work" => WORK.into(),
            "@fixed" => FIXED.into(),
            "@set-user-id" => format!("{FIXED}/set-user-id"),
            "@file-capabilities" => format!("{FIXED}/file-capabilities"),
            "@data" => "/data".into(),
            other => self.both(other),
        }
    }

    fn both(&self, word: &str) -> String {
        if let Some((_, place)) = PRIVATE.iter().find(|(name, _)| *name == word) {
            return private(place).to_string_lossy().into_owned();
        }
        match word {
            "@sibling" => self.sibling_pid.to_string(),
            "@host-name" => fs::read_to_string("/proc/sys/kernel/hostname").unwrap().trim().to_owned(),
            "@disk" => "/dev/loop0".into(),
            "@path-socket" => self.directory.join("outside/socket").to_string_lossy().into_owned(),
            "@abstract" => abstract_name(),
            other => Network::address(other).unwrap_or_else(|| other.to_owned()),
        }
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        // Politely, so that its launcher takes everything away.
        if let Some(pid) = Pid::from_raw(self.sibling.id().cast_signed()) {
            let _ = kill_process(pid, Signal::TERM);
        }
        let _ = self.sibling.wait();
        for (_, place) in PRIVATE {
            let _ = fs::remove_file(private(place));
        }
        let _ = fs::remove_dir_all(&self.directory);
        let _ = fs::remove_file("/var/lib/gaoler/data/test/probe-volume.ext4");
    }
}

fn private(place: &str) -> PathBuf {
    PathBuf::from(format!("{place}/gaoler-jail-test-{}-private", std::process::id()))
}

fn abstract_name() -> String {
    format!("gaoler-jail-test-{}", std::process::id())
}

/// Copies of the probe that give whoever runs them more rights: root's id, and a capability.
fn privileged_copies(directory: &Path) {
    for (name, mode) in [("set-user-id", 0o6755), ("file-capabilities", 0o755)] {
        let copy = directory.join(name);
        fs::copy(bin("probe"), &copy).unwrap();
        fs::set_permissions(&copy, fs::Permissions::from_mode(mode)).unwrap();
    }
    // Version 2 of the attribute (linux/capability.h): cap_net_admin, permitted and effective.
    let attribute = [1, 0, 0, 2, 0, 16, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    let copy = File::open(directory.join("file-capabilities")).unwrap();
    rustix::fs::fsetxattr(&copy, "security.capability", &attribute, rustix::fs::XattrFlags::empty()).unwrap();
}

fn keep_listening(path: &Path) {
    let listener = UnixListener::bind(path).unwrap();
    fs::set_permissions(path, fs::Permissions::from_mode(0o777)).unwrap();
    std::thread::spawn(move || listener.incoming().for_each(drop));
}

/// Another jail that lives as long as the scene, and its payload as the host sees it.
fn sibling() -> (Child, i32) {
    let jail = Jail::command(["/bin/sleep", "3600"]).spawn();
    let pid = wait::until_some(Duration::from_secs(20), "a sibling jail", || {
        let below = proc::descendants(jail.id().cast_signed());
        below.into_iter().find(|process| process.comm == "sleep").map(|process| process.pid)
    });
    (jail, pid)
}
