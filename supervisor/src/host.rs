//! Facts about this host that every plan depends on, gathered once at start.

use std::fs;
use std::path::{Path, PathBuf};

use gaoler_jail::cgroup::{self, Version};
use gaoler_jail::landlock;
use gaoler_jail::spawn::Spawner;
use gaoler_jail::step::StepFailure;
use gaoler_jail::sys;

/// What this host is like.
#[derive(Clone, Debug)]
pub struct Host {
    /// how control groups are mounted
    pub cgroups: Version,
    /// the Landlock version to enforce: the kernel's, or the newest that the code knows
    pub landlock_abi: u32,
    /// whether executing memory files can be refused
    pub memfd_noexec: bool,
    /// top-level links of a merged `/usr` (`/bin` and its like) with their targets
    pub links: Vec<(String, String)>,
    /// the same names where `/usr` is not merged, so that they are directories
    pub directories: Vec<String>,
    /// host paths that the image `host` shows where they exist
    pub shown: Vec<String>,
    /// what `/etc/localtime` points to
    pub localtime: Option<String>,
}

/// What a jail needs of `/etc`: certificates, alternatives, the loader's cache, nothing of accounts, keys or ids.
const SHOWN: [&str; 6] = [
    "/etc/alternatives",
    "/etc/ld.so.cache",
    "/etc/mime.types",
    "/etc/ssl/certs",
    "/etc/ssl/openssl.cnf",
    "/etc/services",
];

/// The names that a merged `/usr` keeps at the top.
const LINKS: [&str; 5] = ["/bin", "/lib", "/lib32", "/lib64", "/sbin"];

impl Host {
    /// Looks at this host.
    ///
    /// # Errors
    /// When control groups are not usable.
    pub fn look() -> Result<Self, StepFailure> {
        let link = |path: &str| fs::read_link(path).ok().and_then(|t| t.into_os_string().into_string().ok());
        Ok(Self {
            cgroups: cgroup::version()?,
            landlock_abi: sys::landlock_abi().min(landlock::NEWEST),
            memfd_noexec: Path::new("/proc/sys/vm/memfd_noexec").exists(),
            links: LINKS.iter().filter_map(|path| Some(((*path).to_owned(), link(path)?))).collect(),
            directories: LINKS.iter().filter(|path| is_directory(path)).map(|p| (*p).to_owned()).collect(),
            shown: SHOWN.iter().filter(|path| Path::new(path).exists()).map(|p| (*p).to_owned()).collect(),
            localtime: link("/etc/localtime"),
        })
    }

    /// Layers that this kernel cannot give, by name; each stands in every jail's status.
    #[must_use]
    pub fn weakened(&self) -> Vec<String> {
        let mut weaker = Vec::new();
        if !self.memfd_noexec {
            weaker.push("memory files may be executed (needs Linux 6.3)".into());
        }
        if self.landlock_abi < 4 {
            weaker.push("Landlock does not cover TCP ports (needs Linux 6.7)".into());
        }
        if self.landlock_abi < 6 {
            weaker.push("Landlock does not cover signals and abstract sockets (needs Linux 6.12)".into());
        }
        weaker
    }
}

fn is_directory(path: &str) -> bool {
    fs::symlink_metadata(path).is_ok_and(|meta| meta.is_dir())
}

/// Finds a helper executable: beside this one (a development build) or in `libexec/gaoler` next to its directory.
///
/// # Errors
/// One sentence that names both places.
pub fn helper(name: &str) -> Result<PathBuf, String> {
    let own = std::env::current_exe().map_err(|e| format!("cannot find this executable: {e}"))?;
    let beside = own.with_file_name(name);
    if beside.is_file() {
        return Ok(beside);
    }
    let prefix = own.parent().and_then(Path::parent).unwrap_or(Path::new("/usr"));
    let installed = prefix.join("libexec/gaoler").join(name);
    match installed.is_file() {
        true => Ok(installed),
        false => Err(format!(
            "{name} is neither {} nor {}; install it again",
            beside.display(),
            installed.display()
        )),
    }
}

/// Opens the set-up helper.
///
/// # Errors
/// One sentence that says what is missing.
pub fn spawner() -> Result<Spawner, String> {
    Spawner::open(&helper("gaoler-jail-exec")?).map_err(|e| e.to_string())
}
