//! A mail server: plain, STARTTLS or TLS from the start, with a certificate of its own; it keeps what it is sent.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;

use super::postgres::open_dir;

/// When TLS begins.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tls {
    Never,
    /// After STARTTLS.
    Started,
    Implicit,
}

/// A mail that was taken.
#[derive(Clone, Debug)]
pub(crate) struct Mail {
    pub(crate) to: Vec<String>,
    pub(crate) data: Vec<u8>,
    /// It came over TLS.
    pub(crate) tls: bool,
    /// What `AUTH PLAIN` carried.
    pub(crate) login: Option<String>,
}

struct Shared {
    mails: Mutex<Vec<Mail>>,
    connections: AtomicUsize,
    /// The answer to a recipient that holds this text.
    refuse: Mutex<Option<(String, String)>>,
    acceptor: TlsAcceptor,
    tls: Tls,
}

/// The server.
pub(crate) struct Smtp {
    pub(crate) port: u16,
    /// The file with the certificate, for `SSL_CERT_FILE`.
    pub(crate) certificate: PathBuf,
    shared: Arc<Shared>,
}

impl Smtp {
    pub(crate) async fn start(tls: Tls) -> Self {
        let _installed_before = rustls::crypto::ring::default_provider().install_default();
        let made = rcgen::generate_simple_self_signed(vec!["localhost".to_owned()]).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let certificate = open_dir("smtp").join(format!("{port}.pem"));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let config = rustls::ServerConfig::builder()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let shared = Arc::new(Shared {
            mails: Mutex::default(),
            connections: AtomicUsize::new(0),
            refuse: Mutex::default(),
            acceptor: TlsAcceptor::from(Arc::new(config)),
            tls,
        });
        let own = Arc::clone(&shared);
        tokio::spawn(async move {
            while let Ok((socket, _)) = listener.accept().await {
                tokio::spawn(serve(socket, Arc::clone(&own)));
            }
        });
        Self { port, certificate, shared }
    }

    /// Answers `answer` to recipients that hold `text`.
    pub(crate) fn refuse(&self, text: &str, answer: &str) {
        *self.shared.refuse.lock() = Some((text.to_owned(), answer.to_owned()));
    }

    pub(crate) fn mails(&self) -> Vec<Mail> {
        self.shared.mails.lock().clone()
    }

    /// Connections on which somebody said hello.
    pub(crate) fn connections(&self) -> usize {
        self.shared.connections.load(Ordering::SeqCst)
    }
}

async fn serve(socket: TcpStream, shared: Arc<Shared>) -> std::io::Result<()> {
    if shared.tls == Tls::Implicit {
        let socket = shared.acceptor.accept(socket).await?;
        talk(&mut BufReader::new(socket), &shared, true, true).await?;
        return Ok(());
    }
    let mut plain = BufReader::new(socket);
    if talk(&mut plain, &shared, false, true).await? {
        let socket = shared.acceptor.accept(plain.into_inner()).await?;
        talk(&mut BufReader::new(socket), &shared, true, false).await?;
    }
    Ok(())
}

/// Talks until QUIT or the end; true when TLS is to begin.
async fn talk<S: AsyncRead + AsyncWrite + Unpin>(
    stream: &mut BufReader<S>,
    shared: &Shared,
    tls: bool,
    greet: bool,
) -> std::io::Result<bool> {
    if greet {
        stream.write_all(b"220 localhost ESMTP\r\n").await?;
    }
    let mut mail = Mail { to: Vec::new(), data: Vec::new(), tls, login: None };
    let mut greeted = false;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).await? == 0 {
            return Ok(false);
        }
        let upper = line.trim_end().to_ascii_uppercase();
        let answer = match upper.split([' ', ':']).next().unwrap_or_default() {
            "EHLO" => {
                if greet && !std::mem::replace(&mut greeted, true) {
                    shared.connections.fetch_add(1, Ordering::SeqCst);
                }
                let offer = shared.tls == Tls::Started && !tls;
                let offer = if offer { "250-STARTTLS\r\n" } else { "" };
                format!("250-localhost\r\n{offer}250-AUTH PLAIN LOGIN\r\n250 8BITMIME\r\n")
            }
            "STARTTLS" => {
                stream.write_all(b"220 go on\r\n").await?;
                return Ok(true);
            }
            "AUTH" => {
                mail.login = line.trim_end().split(' ').nth(2).map(str::to_owned);
                "235 welcome\r\n".to_owned()
            }
            "RCPT" => {
                let refuse = shared.refuse.lock().clone();
                match refuse.filter(|(text, _)| line.contains(text)) {
                    Some((_, answer)) => format!("{answer}\r\n"),
                    None => {
                        mail.to.push(line.trim_end().trim_start_matches("RCPT TO:").to_owned());
                        "250 ok\r\n".to_owned()
                    }
                }
            }
            "MAIL" | "RSET" => {
                mail.to.clear();
                "250 ok\r\n".to_owned()
            }
            "DATA" => {
                stream.write_all(b"354 go on\r\n").await?;
                mail.data = data(stream).await?;
                shared.mails.lock().push(mail.clone());
                "250 taken\r\n".to_owned()
            }
            "QUIT" => {
                stream.write_all(b"221 bye\r\n").await?;
                return Ok(false);
            }
            _ => "250 ok\r\n".to_owned(),
        };
        stream.write_all(answer.as_bytes()).await?;
    }
}

async fn data<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut BufReader<S>) -> std::io::Result<Vec<u8>> {
    let mut data = Vec::new();
    loop {
        let mut line = Vec::new();
        if stream.read_until(b'\n', &mut line).await? == 0 || line == b".\r\n" {
            return Ok(data);
        }
        let stuffed = usize::from(line.starts_with(b"."));
        data.extend_from_slice(&line[stuffed..]);
    }
}
