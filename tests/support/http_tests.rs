//! The client against canned responses.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use super::Client;
use crate::sse::Events;

/// Serves one connection for each list of responses, in order.
fn serve(connections: Vec<Vec<&'static str>>) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        for responses in connections {
            let (mut stream, _) = listener.accept().unwrap();
            for response in responses {
                let mut request = [0; 4096];
                assert_ne!(stream.read(&mut request).unwrap(), 0);
                stream.write_all(response.as_bytes()).unwrap();
            }
        }
    });
    addr
}

#[test]
fn a_connection_is_kept_and_made_anew_when_it_was_closed() {
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";
    let mut client = Client::new(serve(vec![vec![ok, ok], vec![ok]]));
    for _ in 0..3 {
        assert_eq!(client.get("/", &[]).unwrap().text(), "hi");
    }
}

#[test]
fn bodies_end_by_length_by_chunks_and_with_the_connection() {
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3;x\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    let mut client = Client::new(serve(vec![vec![chunked, "HTTP/1.1 200 OK\r\n\r\nuntil the end"]]));
    assert_eq!(client.get("/", &[]).unwrap().text(), "abcde");
    assert_eq!(client.get("/", &[]).unwrap().text(), "until the end");
}

#[test]
fn a_body_that_is_cut_off_is_an_error() {
    let mut client = Client::new(serve(vec![vec!["HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort"]]));
    assert!(client.get("/", &[]).is_err());
}

#[test]
fn silence_is_a_timeout() {
    let mut client = Client::new(serve(vec![vec!["", ""]])).deadline(Duration::from_millis(50));
    assert_eq!(client.get("/", &[]).unwrap_err().kind(), std::io::ErrorKind::TimedOut);
}

#[test]
fn events_come_one_by_one_whatever_the_chunks() {
    let stream = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\nid: \r\n9\r\n7\ndata: 1\r\n9\r\n\n\n: x\n\nda\r\n\
                  b\r\nta: 2\r\n\r\n0 \r\n0\r\n\r\n";
    let mut client = Client::new(serve(vec![vec![stream]]));
    let mut events = Events::new(client.open("GET", "/", &[], b"").unwrap().body);
    let first = events.next_data(Duration::from_secs(1)).unwrap();
    assert_eq!((first.id.as_deref(), first.data.as_str()), (Some("7"), "1"));
    assert_eq!(events.next_data(Duration::from_secs(1)).unwrap().data, "2");
    assert_eq!(events.comments, 1);
}
