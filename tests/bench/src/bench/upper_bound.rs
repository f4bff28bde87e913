//! `bench upper-bound PORT`: the upper bound of the proxying figures: hyper that answers the calls itself.
//!
//! One thread, no sessions, no child, no checks: what is left of a front when everything but HTTP and one look at the
//! JSON is taken away. It serves on 127.0.0.1 until it is killed.

use std::convert::Infallible;

use gaoler_bench::{Error, Result};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Request, Response, StatusCode, header};
use hyper_util::rt::TokioIo;
use serde::Deserialize;
use serde_json::value::RawValue;
use tokio::net::TcpListener;

#[derive(Deserialize)]
struct Call<'a> {
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    params: Option<Params<'a>>,
}

#[derive(Deserialize)]
struct Params<'a> {
    #[serde(borrow)]
    arguments: Option<Arguments<'a>>,
}

#[derive(Deserialize)]
struct Arguments<'a> {
    #[serde(borrow)]
    text: Option<&'a RawValue>,
}

/// Serves until killed.
pub(crate) fn run(port: u16) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build();
    runtime
        .and_then(|runtime| runtime.block_on(serve(port)))
        .map_err(Error::io(format!("serving port {port}")))
}

async fn serve(port: u16) -> std::io::Result<()> {
    let listener = TcpListener::bind(("127.0.0.1", port)).await?;
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        tokio::spawn(async move {
            // A client that goes away ends only its own connection.
            let _ = hyper::server::conn::http1::Builder::new()
                .serve_connection(TokioIo::new(stream), service_fn(answer))
                .await;
        });
    }
}

async fn answer(request: Request<Incoming>) -> std::result::Result<Response<Full<Bytes>>, Infallible> {
    let body =
        Limited::new(request.into_body(), 1 << 20).collect().await.map(http_body_util::Collected::to_bytes);
    let reply = body.ok().and_then(|bytes| reply(&bytes));
    let (status, body) =
        reply.map_or((StatusCode::ACCEPTED, Bytes::new()), |text| (StatusCode::OK, text.into()));
    let mut response = Response::new(Full::new(body));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("application/json"));
    Ok(response)
}

fn reply(body: &[u8]) -> Option<String> {
    let call: Call<'_> = serde_json::from_slice(body).ok()?;
    let id = call.id?.get();
    let text =
        call.params.and_then(|params| params.arguments).and_then(|a| a.text).map_or(r#""""#, RawValue::get);
    Some(format!(r#"{{"jsonrpc":"2.0","id":{id},"result":{{"content":[{{"type":"text","text":{text}}}]}}}}"#))
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_call_is_echoed_and_a_notification_is_not_answered() {
        let call = br#"{"id":7,"params":{"arguments":{"text":"a\"b"}}}"#;
        let answer = super::reply(call).unwrap();
        assert!(answer.contains(r#""id":7"#) && answer.contains(r#""text":"a\"b""#));
        assert_eq!(super::reply(br#"{"method":"notifications/initialized"}"#), None);
    }
}
