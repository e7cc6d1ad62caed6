//! Proxies: one loses answers (the request arrives, the server's answer is thrown away, the sender sees its connection
//! break), one is a line that can go dead without a word.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// One connection of so many loses its answer.
const LOST_OF: u64 = 5;

/// The proxy.
pub(crate) struct Proxy {
    pub(crate) url: String,
    lost: Arc<AtomicU64>,
}

impl Proxy {
    /// A proxy before `server`, for one request a connection.
    pub(crate) async fn before(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (to, lost) = (server.trim_start_matches("http://").to_owned(), Arc::new(AtomicU64::new(0)));
        let counted = Arc::clone(&lost);
        tokio::spawn(async move {
            for n in 1.. {
                let Ok((sender, _)) = listener.accept().await else { return };
                let (to, lost) = (to.clone(), (n % LOST_OF == 0).then(|| Arc::clone(&counted)));
                tokio::spawn(carry(sender, to, lost));
            }
        });
        Self { url, lost }
    }

    /// Answers that were thrown away.
    pub(crate) fn lost(&self) -> u64 {
        self.lost.load(Ordering::SeqCst)
    }
}

async fn carry(mut sender: TcpStream, to: String, lost: Option<Arc<AtomicU64>>) -> std::io::Result<()> {
    let mut server = TcpStream::connect(to).await?;
    let Some(lost) = lost else {
        tokio::io::copy_bidirectional(&mut sender, &mut server).await?;
        return Ok(());
    };
    let (mut from_server, mut to_server) = server.split();
    let (mut from_sender, _) = sender.split();
    let mut first = [0; 64];
    tokio::select! {
        // What is answered is committed; from here the sender knows nothing of it.
        answered = from_server.read(&mut first) => {
            assert!(first.starts_with(b"HTTP/1.1 200"), "{answered:?}: {}", String::from_utf8_lossy(&first));
            lost.fetch_add(1, Ordering::SeqCst);
        }
        carried = tokio::io::copy(&mut from_sender, &mut to_server) => {
            carried?;
        }
    }
    to_server.shutdown().await
}

/// A line to a server that can go dead: connections stay, and nothing comes through any more.
pub(crate) struct Line {
    pub(crate) url: String,
    dead: watch::Sender<bool>,
}

impl Line {
    pub(crate) async fn to(server: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let (to, dead) = (server.trim_start_matches("http://").to_owned(), watch::Sender::new(false));
        let line = dead.clone();
        tokio::spawn(async move {
            while let Ok((near, _)) = listener.accept().await {
                let Ok(far) = TcpStream::connect(&to).await else { continue };
                let ((near_in, near_out), (far_in, far_out)) = (near.into_split(), far.into_split());
                tokio::spawn(through(near_in, far_out, line.subscribe()));
                tokio::spawn(through(far_in, near_out, line.subscribe()));
            }
        });
        Self { url, dead }
    }

    pub(crate) fn is_dead(&self, dead: bool) {
        self.dead.send_replace(dead);
    }
}

async fn through(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, mut dead: watch::Receiver<bool>) {
    let mut bytes = vec![0; 16 << 10];
    while let Ok(n @ 1..) = from.read(&mut bytes).await {
        if dead.wait_for(|dead| !dead).await.is_err() || to.write_all(&bytes[..n]).await.is_err() {
            return;
        }
    }
}
