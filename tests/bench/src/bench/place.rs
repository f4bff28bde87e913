//! Where the benchmark stands: the product's executables beside it, the C programs it compiles, the peers it finds.
//!
//! It promises: everything it makes lies below `target/bench` of the repository.

use std::path::{Path, PathBuf};
use std::process::Command;

use gaoler_bench::{Error, Result};

/// The paths of one run.
#[derive(Debug)]
pub(crate) struct Place {
    /// the repository
    pub(crate) repository: PathBuf,
    /// where everything is made
    pub(crate) work: PathBuf,
    /// the model server
    pub(crate) echo: PathBuf,
    /// the floor
    pub(crate) floor: PathBuf,
    /// the seccomp program that every launcher gets which takes one
    pub(crate) filter: PathBuf,
    /// a root directory for launchers that want one
    pub(crate) root: PathBuf,
    /// this program's own directory, where the product's executables lie too
    pub(crate) own: PathBuf,
}

impl Place {
    /// Compiles the C programs and makes the directories.
    pub(crate) fn prepare() -> Result<Self> {
        let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let repository = repository.canonicalize().map_err(Error::io("finding the repository"))?;
        let work = repository.join("target/bench");
        let exe = std::env::current_exe().map_err(Error::io("finding this program"))?;
        let place = Self {
            echo: work.join("echo"),
            floor: work.join("floor"),
            filter: work.join("filter.bpf"),
            root: work.join("root"),
            own: exe.parent().unwrap_or(Path::new("/")).to_owned(),
            repository,
            work,
        };
        place.make_root()?;
        place.compile("echo")?;
        place.compile("floor")?;
        let filter = output(Command::new(&place.floor).arg("-b"))?;
        std::fs::write(&place.filter, filter).map_err(Error::io("writing the seccomp program"))?;
        Ok(place)
    }

    /// Installs the peers that are missing; one that cannot be had stays missing.
    pub(crate) fn install_peers(&self) -> Result<()> {
        let script = self.repository.join("tests/bench/install-peers");
        let status =
            Command::new(&script).status().map_err(Error::io(format!("running {}", script.display())))?;
        if status.success() {
            Ok(())
        } else {
            Err(Error::Answer(format!("{} ended with {status}", script.display())))
        }
    }

    /// The product's command, when it is built.
    pub(crate) fn gaoler(&self) -> Option<PathBuf> {
        let path = self.own.join("gaoler");
        path.is_file().then_some(path)
    }

    /// A peer's executable: installed for this benchmark, or found on `PATH`.
    pub(crate) fn program(&self, name: &str) -> Option<PathBuf> {
        let own = self.repository.join("target/peers/bin").join(name);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let elsewhere = std::env::split_paths(&path).chain(["/usr/sbin".into(), "/usr/local/bin".into()]);
        std::iter::once(own)
            .chain(elsewhere.map(|directory| directory.join(name)))
            .find(|path| path.is_file())
    }

    /// A file that the peers' own package managers installed for this benchmark.
    pub(crate) fn peer_file(&self, path: &str) -> Option<PathBuf> {
        let path = self.repository.join("target/peers").join(path);
        path.is_file().then_some(path)
    }

    fn compile(&self, name: &str) -> Result<()> {
        let source = self.repository.join("tests/bench").join(name).with_extension("c");
        let mut compiler = Command::new("cc");
        compiler
            .args(["-O2", "-Wall", "-Wextra", "-Werror", "-static", "-o"])
            .arg(self.work.join(name))
            .arg(source);
        output(&mut compiler).map(drop)
    }

    /// An empty root with the mount points that bind-mounting launchers expect, and a stand-in for their look-up of
    /// the program before the mount.
    fn make_root(&self) -> Result<()> {
        let step = |path: &Path| Error::io(format!("making {}", path.display()));
        for directory in ["usr/bin", "proc", "dev/shm", "tmp", "etc"] {
            let path = self.root.join(directory);
            std::fs::create_dir_all(&path).map_err(step(&path))?;
        }
        for file in ["dev/null", "dev/zero", "dev/full", "dev/random", "dev/urandom"] {
            let path = self.root.join(file);
            std::fs::write(&path, "").map_err(step(&path))?;
        }
        for link in ["bin", "sbin", "lib", "lib64"] {
            let path = self.root.join(link);
            if std::fs::symlink_metadata(&path).is_err() {
                std::os::unix::fs::symlink(format!("usr/{link}"), &path).map_err(step(&path))?;
            }
        }
        let program = self.root.join("usr/bin/true");
        std::fs::copy("/usr/bin/true", &program).map(drop).map_err(step(&program))
    }
}

/// Runs a program to its end and returns what it wrote.
pub(crate) fn output(command: &mut Command) -> Result<Vec<u8>> {
    let name = command.get_program().to_string_lossy().into_owned();
    let output = command.output().map_err(Error::io(format!("starting {name}")))?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    Err(Error::Answer(format!("{name} ended with {}: {}", output.status, said.trim())))
}
