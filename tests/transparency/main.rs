//! The proxy is transparent: frames go in at one side and come out at the other JSON-equal and in order.
//!
//! Numbers are compared as they are spelled. The members that a shared jail needs rewritten (the id, the progress
//! token) are the only ones that may differ at the server, and none may differ at the client.

mod equal;
mod frames;
mod link;
mod real;

use equal::Tree;
use gaoler_tests::random::Random;
use gaoler_tests::{Launch, exclusive};
use link::{Era, Link, Request, head};

/// Requests per era; each is two frames, one in each direction.
const REQUESTS: u64 = 200;
/// Notifications per legacy era.
const NOTIFICATIONS: u64 = 100;
/// Calls that make the mirror speak, and how many frames it says in each.
const SPEECHES: u64 = 20;
const SAID: u64 = 10;
/// What the issue asks for, in frames.
const LEAST: usize = 500;

#[test]
fn isolated_sessions_change_nothing() {
    let _machine = exclusive();
    let run = Launch::server("mirror").isolated().start();
    let mut link = Link::open(&run, Era::Isolated);
    let mut random = Random::seeded("transparency");
    let mut count =
        requests(&mut link, &mut random) + speeches(&mut link, &mut random) + real_results(&mut link);
    count += notifications(&mut link, &mut random) + dialogue(&mut link, &mut random);
    report("2025-11-25 isolated", count);
    run.stop();
}

#[test]
fn a_shared_jail_rewrites_only_ids_and_tokens() {
    let _machine = exclusive();
    let run = Launch::server("mirror").shared().start();
    let mut link = Link::open(&run, Era::Shared);
    let mut random = Random::seeded("transparency");
    let mut count =
        requests(&mut link, &mut random) + speeches(&mut link, &mut random) + real_results(&mut link);
    count += notifications(&mut link, &mut random);
    report("2025-11-25 shared", count);
    run.stop();
}

#[test]
fn stateless_requests_lose_nothing() {
    let _machine = exclusive();
    let run = Launch::server("mirror").start();
    let mut link = Link::open(&run, Era::Modern);
    let mut random = Random::seeded("transparency");
    let count = requests(&mut link, &mut random) + speeches(&mut link, &mut random) + real_results(&mut link);
    report("2026-07-28", count);
    run.stop();
}

fn report(era: &str, count: usize) {
    println!("transparency, {era}: {count} frames equal and in order");
    assert!(count >= LEAST, "only {count} frames were compared, the issue asks for {LEAST}");
}

/// Requests in, and the answers that hold them out.
fn requests(link: &mut Link, random: &mut Random) -> usize {
    for n in 0..REQUESTS {
        let method = ["vendor/echo", "tools/call", "x"][usize::try_from(n % 3).unwrap_or(0)];
        let request =
            Request { id: frames::id(n), method, token: token(n), params: frames::extras(random, n) };
        let frame = request.frame(link.era);
        let sent = if n % 4 == 3 { frames::spread(&frame) } else { frame.clone() };
        let messages = link.ask(&request, &sent);
        let [answer] = messages.as_slice() else { panic!("{} answers to {}", messages.len(), head(&frame)) };
        let answer = Tree::read(answer);
        assert_eq!(
            answer.get("id"),
            Some(&Tree::read(&request.id)),
            "the id of the answer to {}",
            head(&frame)
        );
        let received = answer.get("result").and_then(|result| result.get("received")).and_then(Tree::text);
        let received = received.unwrap_or_else(|| panic!("no mirror image in {answer:?}"));
        same(&at_server(received, link.era, &request), &Tree::read(&frame), "request");
    }
    usize::try_from(2 * REQUESTS).unwrap_or(0)
}

/// The frame that reached the server, with the documented members as the client wrote them.
fn at_server(received: &str, era: Era, request: &Request) -> Tree {
    let mut tree = Tree::read(received);
    if era != Era::Isolated {
        tree.replace(&["id"], &Tree::read(&request.id));
        tree.replace(&["params", "_meta", "progressToken"], &Tree::read(&request.token));
    }
    tree
}

/// Notifications that the server sends while it works on a call, and its answer.
fn speeches(link: &mut Link, random: &mut Random) -> usize {
    let mut count = 0;
    for n in 0..SPEECHES {
        let said: Vec<String> = (0..SAID).map(|m| notice(random, link.era, n * SAID + m)).collect();
        let answer = format!(r#"{{"resultType":"complete",{}}}"#, frames::extras(random, n));
        count += speak(link, n, &said, &answer);
    }
    count
}

/// A notification of the server's. Without a token it belongs to the only session, or to the only request that wants
/// log messages; a stateless client has no stream for others.
fn notice(random: &mut Random, era: Era, n: u64) -> String {
    let extras = frames::extras(random, n);
    match n % 3 {
        0 if era != Era::Modern => {
            format!(r#"{{"jsonrpc":"2.0","method":"notifications/x-vendor","params":{{{extras}}}}}"#)
        }
        1 => format!(
            r#"{{"params":{{"level":"info","data":{{{extras}}},"x":1.0}},"method":"notifications/message","jsonrpc":"2.0"}}"#
        ),
        _ => format!(
            r#"{{"jsonrpc":"2.0","x-top":[],"method":"notifications/progress","params":{{"progressToken":"%TOKEN%","progress":{n}.0,"total":1e3,{extras}}}}}"#
        ),
    }
}

/// Has the mirror say frames and an answer, and compares what came.
fn speak(link: &mut Link, n: u64, said: &[String], answer: &str) -> usize {
    let params = format!(r#""say":{},"answer":{}"#, serde_json::json!(said), serde_json::json!(answer));
    let request = Request { id: frames::id(n), method: "tools/call", token: token(n), params };
    let frame = request.frame(link.era);
    let messages = link.ask(&request, &frame);
    let response = format!(r#"{{"jsonrpc":"2.0","id":{},"result":{answer}}}"#, request.id);
    let expected: Vec<String> =
        said.iter().map(|text| text.replace("\"%TOKEN%\"", &request.token)).chain([response]).collect();
    // The call's own stream and the session's other one each keep their order; every frame is on one of them.
    let mut messages = messages.into_iter().map(|text| Tree::read(&text)).peekable();
    for expected in &expected {
        let expected = Tree::read(expected);
        match messages.next_if_eq(&expected) {
            Some(_) => {}
            None if expected.get("method").is_some() => {
                same(&Tree::read(&link.overhear()), &expected, "frame of the server")
            }
            None => same(
                &messages.next().unwrap_or(Tree::Plain("nothing".into())),
                &expected,
                "answer of the server",
            ),
        }
    }
    let more: Vec<Tree> = messages.collect();
    assert!(more.is_empty(), "the server never said {}", head(&format!("{more:?}")));
    expected.len()
}

/// Results of real servers, said word for word by the mirror.
fn real_results(link: &mut Link) -> usize {
    let results = real::results();
    assert!(results.len() >= 40, "the real servers gave only {} results", results.len());
    results.iter().zip(0..).map(|((_, result), n)| speak(link, n, &[], result)).sum()
}

/// Notifications of the client, in order.
fn notifications(link: &mut Link, random: &mut Random) -> usize {
    let frame = |n| {
        let extras = frames::extras(random, n);
        format!(
            r#"{{"jsonrpc":"2.0","method":"notifications/x-vendor","params":{{"n":{n},{extras}}},"x-top":1.0}}"#
        )
    };
    let sent: Vec<String> = (0..NOTIFICATIONS).map(frame).collect();
    tell_all(link, &sent)
}

/// Requests of the server to the client, and the client's answers.
fn dialogue(link: &mut Link, random: &mut Random) -> usize {
    let extras: Vec<String> = (0..SAID).map(|n| frames::extras(random, n)).collect();
    let asked = (0..).zip(&extras).map(|(n, extras)| {
        format!(
            r#"{{"jsonrpc":"2.0","id":{},"method":"sampling/createMessage","params":{{{extras}}}}}"#,
            frames::id(n)
        )
    });
    let count = speak(link, 500, &asked.collect::<Vec<_>>(), "{}");
    let answers = (0..)
        .zip(&extras)
        .map(|(n, extras)| format!(r#"{{"id":{},"result":{{{extras}}},"jsonrpc":"2.0"}}"#, frames::id(n)));
    count + tell_all(link, &answers.collect::<Vec<_>>())
}

fn tell_all(link: &mut Link, sent: &[String]) -> usize {
    let before = link.kept();
    for frame in sent {
        assert_eq!(link.tell(frame), 202, "{}", head(frame));
    }
    let kept = link.kept();
    assert_eq!(kept.len(), sent.len(), "frames that reached the server, after {before:?}");
    for (came, sent) in kept.iter().zip(sent) {
        same(&Tree::read(came), &Tree::read(sent), "frame of the client");
    }
    kept.len()
}

/// A progress token: a string or an integer, as the protocol allows.
fn token(n: u64) -> String {
    if n.is_multiple_of(2) { format!("\"token-{n}\"") } else { n.to_string() }
}

fn same(came: &Tree, sent: &Tree, what: &str) {
    assert!(
        came == sent,
        "a {what} was changed\ncame: {}\nsent: {}",
        head(&format!("{came:?}")),
        head(&format!("{sent:?}"))
    );
}
