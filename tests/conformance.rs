//! The official conformance suites, run against the fixture twice: served directly over HTTP, and through Gaoler as a
//! jailed stdio server. Every check that passes directly must pass through Gaoler, and none may fail.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use gaoler_tests::{Launch, bin, exclusive, paths, wait};
use serde_json::Value;

/// How long one suite may take; alone it takes 3 to 12 s.
const SUITE: Duration = Duration::from_secs(240);

/// One way to run one release of the suite.
struct Suite {
    name: &'static str,
    /// directory of the npm package, as tests/parties/package.json names it
    package: &'static str,
    args: &'static [&'static str],
    /// how many checks the fixture passes when it is served directly
    direct: usize,
    /// the session modes that it is run in
    modes: &'static [&'static str],
}

/// The counts are those of the rmcp project's own reference server (0.1.16, and 0.2.0-alpha.12 by requirements).
const SUITES: [Suite; 3] = [
    Suite {
        name: "0.1.16 active",
        package: "conformance-0-1",
        args: &["--suite", "active"],
        direct: 40,
        // This release leaves its sessions open. In a shared jail a question of the server's that names no request
        // could then be meant for any of them, and Gaoler refuses to guess.
        modes: &["isolated"],
    },
    Suite {
        name: "0.2.0-alpha.12 requirements 2025-11-25",
        package: "conformance-0-2",
        args: &["--requirements", "2025-11-25"],
        direct: 83,
        modes: &["isolated", "shared"],
    },
    Suite {
        name: "0.2.0-alpha.12 requirements 2026-07-28",
        package: "conformance-0-2",
        args: &["--requirements", "2026-07-28"],
        direct: 197,
        modes: &["isolated", "shared"],
    },
];

/// What came of the checks, each named by its scenario and id.
#[derive(Default)]
struct Outcome {
    passed: BTreeMap<String, usize>,
    failed: Vec<String>,
    output: String,
}

impl Outcome {
    fn passes(&self) -> usize {
        self.passed.values().sum()
    }

    /// Checks that passed there and did not pass as often here.
    fn missing<'a>(&self, reference: &'a Self) -> Vec<&'a str> {
        let fewer = |(check, times): &(&String, &usize)| self.passed.get(*check).unwrap_or(&0) < *times;
        reference.passed.iter().filter(fewer).map(|(check, _)| check.as_str()).collect()
    }
}

#[test]
fn what_passes_directly_passes_through_gaoler() {
    let _machine = exclusive();
    let direct = Direct::start();
    let mut worse = Vec::new();
    for suite in &SUITES {
        let reference = suite.run(&direct.url, "direct");
        assert!(reference.failed.is_empty(), "the fixture itself fails {:?}", reference.failed);
        assert_eq!(
            reference.passes(),
            suite.direct,
            "{} on the fixture itself:\n{}",
            suite.name,
            reference.output
        );
        for mode in suite.modes {
            let run = Launch::server("fixture").args(["--stdio"]).flags(["--session-mode", mode]).start();
            let jailed = suite.run(run.url(), mode);
            println!(
                "conformance {}: direct {}/0, through gaoler ({mode}) {}/{}",
                suite.name,
                reference.passes(),
                jailed.passes(),
                jailed.failed.len()
            );
            let missing = jailed.missing(&reference);
            if !jailed.failed.is_empty() || !missing.is_empty() {
                worse.push(format!(
                    "{} ({mode}): failed {:#?}, missing {missing:#?}",
                    suite.name, jailed.failed
                ));
            }
            run.stop();
        }
    }
    assert!(worse.is_empty(), "{}", worse.join("\n"));
}

impl Suite {
    /// Runs the suite against a URL and reads its verdicts from the files it writes.
    fn run(&self, url: &str, way: &str) -> Outcome {
        let parties = paths::target().join("parties/node_modules");
        let out = paths::target().join("conformance").join(way).join(self.name.replace(' ', "-"));
        if out.exists() {
            fs::remove_dir_all(&out).unwrap_or_else(|e| panic!("remove {}: {e}", out.display()));
        }
        fs::create_dir_all(&out).unwrap_or_else(|e| panic!("create {}: {e}", out.display()));
        let output = out.join("output.txt");
        let file = fs::File::create(&output).unwrap_or_else(|e| panic!("create {}: {e}", output.display()));
        let errors = file.try_clone().unwrap_or_else(|e| panic!("duplicate a descriptor: {e}"));
        let mut child = Command::new(parties.join("node/bin/node"))
            .arg(parties.join(self.package).join("dist/index.js"))
            .args(["server", "--url", url])
            .args(self.args)
            .arg("-o")
            .arg(&out)
            .stdin(Stdio::null())
            .stdout(file)
            .stderr(errors)
            .spawn()
            .unwrap_or_else(|e| panic!("start the suite (tests/tools/parties installs it): {e}"));
        if !wait::ended(child.id().cast_signed(), SUITE) {
            child.kill().unwrap_or_else(|e| panic!("kill the suite: {e}"));
            panic!("{} did not end within {SUITE:?}", self.name);
        }
        child.wait().unwrap_or_else(|e| panic!("wait for the suite: {e}"));
        let mut outcome = read(&out);
        outcome.output = fs::read_to_string(&output).unwrap_or_default();
        outcome
    }
}

/// Collects every `server-SCENARIO-TIME/checks.json` below a directory.
fn read(out: &Path) -> Outcome {
    let mut outcome = Outcome::default();
    let entries = fs::read_dir(out).unwrap_or_else(|e| panic!("list {}: {e}", out.display()));
    let files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path().join("checks.json")).collect();
    for file in files.iter().filter(|file| file.is_file()) {
        let scenario = scenario(file);
        let text = fs::read_to_string(file).unwrap_or_else(|e| panic!("read {}: {e}", file.display()));
        let checks: Vec<Value> =
            serde_json::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        for check in checks {
            let text = |key: &str| check.get(key).and_then(Value::as_str).unwrap_or("?").to_owned();
            let name = format!("{scenario}/{}", text("id"));
            match text("status").as_str() {
                "SUCCESS" => *outcome.passed.entry(name).or_default() += 1,
                "FAILURE" => outcome.failed.push(format!("{name}: {}", text("errorMessage"))),
                _ => {}
            }
        }
    }
    outcome
}

/// `server-NAME-2026-11-21T12-13-54-998Z` without its ends.
fn scenario(file: &Path) -> String {
    let name = file.parent().and_then(Path::file_name).unwrap_or_default().to_string_lossy().into_owned();
    let time = "-2026-11-21T12-13-54-998Z".len();
    name.get("server-".len()..name.len().saturating_sub(time)).unwrap_or(&name).to_owned()
}

/// The fixture, served by itself.
struct Direct {
    child: Child,
    url: String,
}

impl Direct {
    fn start() -> Self {
        let mut child = Command::new(bin("fixture"))
            .args(["--http", "127.0.0.1:0"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap_or_else(|e| panic!("start the fixture: {e}"));
        let mut line = String::new();
        let stdout = child.stdout.take().unwrap_or_else(|| panic!("stdout is a pipe"));
        BufReader::new(stdout).read_line(&mut line).unwrap_or_else(|e| panic!("read from the fixture: {e}"));
        let url = line
            .strip_prefix("ready ")
            .unwrap_or_else(|| panic!("the fixture said {line:?}"))
            .trim()
            .to_owned();
        Self { child, url }
    }
}

impl Drop for Direct {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
