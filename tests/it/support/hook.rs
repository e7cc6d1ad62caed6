//! An HTTP receiver that keeps what it is sent and answers as the test says.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::{HeaderMap, Uri};
use parking_lot::Mutex;
use serde_json::Value;

/// A request that came.
#[derive(Clone, Debug)]
pub(crate) struct Seen {
    pub(crate) path: String,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
}

impl Seen {
    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }
}

/// What to answer.
#[derive(Clone, Debug)]
pub(crate) enum Reply {
    Status(u16),
    /// `429` with this `Retry-After`.
    TooMany(u64),
    Json(u16, Value),
    /// After a while.
    Late(u16, Duration),
    /// A body of 1 MiB.
    Big(u16),
    /// Somewhere else.
    Redirect(String),
    /// Nothing, ever.
    Hang,
}

type Script = Box<dyn Fn(usize, &Seen) -> Reply + Send + Sync>;

struct Shared {
    seen: Mutex<Vec<Seen>>,
    script: Mutex<Script>,
    under_way: AtomicUsize,
    most: AtomicUsize,
}

/// The receiver.
pub(crate) struct Hook {
    pub(crate) url: String,
    shared: Arc<Shared>,
}

impl Hook {
    /// Answers the n-th request (from 0) as `script` says.
    pub(crate) async fn start(script: impl Fn(usize, &Seen) -> Reply + Send + Sync + 'static) -> Self {
        let shared = Arc::new(Shared {
            seen: Mutex::default(),
            script: Mutex::new(Box::new(script)),
            under_way: AtomicUsize::new(0),
            most: AtomicUsize::new(0),
        });
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}/", listener.local_addr().unwrap());
        let router = Router::new().fallback(answer).with_state(Arc::clone(&shared));
        tokio::spawn(async move { axum::serve(listener, router).await });
        Self { url, shared }
    }

    /// Answers otherwise from now on.
    pub(crate) fn answers(&self, script: impl Fn(usize, &Seen) -> Reply + Send + Sync + 'static) {
        *self.shared.script.lock() = Box::new(script);
    }

    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.shared.seen.lock().clone()
    }

    pub(crate) fn count(&self) -> usize {
        self.shared.seen.lock().len()
    }

    /// Most requests at once so far.
    pub(crate) fn most_at_once(&self) -> usize {
        self.shared.most.load(Ordering::SeqCst)
    }
}

async fn answer(State(shared): State<Arc<Shared>>, uri: Uri, headers: HeaderMap, body: Bytes) -> Response {
    let seen = Seen { path: uri.path().to_owned(), headers, body };
    let now = shared.under_way.fetch_add(1, Ordering::SeqCst) + 1;
    shared.most.fetch_max(now, Ordering::SeqCst);
    let reply = {
        let mut list = shared.seen.lock();
        list.push(seen.clone());
        (shared.script.lock())(list.len() - 1, &seen)
    };
    let status = |status: u16| http::StatusCode::from_u16(status).unwrap();
    let response = match reply {
        Reply::Status(code) => status(code).into_response(),
        Reply::TooMany(seconds) => (status(429), [("retry-after", seconds.to_string())]).into_response(),
        Reply::Json(code, value) => {
            (status(code), [("content-type", "application/json")], value.to_string()).into_response()
        }
        Reply::Late(code, pause) => {
            tokio::time::sleep(pause).await;
            status(code).into_response()
        }
        Reply::Big(code) => (status(code), vec![b'x'; 1 << 20]).into_response(),
        Reply::Redirect(to) => (status(302), [("location", to)]).into_response(),
        Reply::Hang => {
            tokio::time::sleep(Duration::from_secs(3_600)).await;
            status(200).into_response()
        }
    };
    shared.under_way.fetch_sub(1, Ordering::SeqCst);
    response
}
